//! placeholder

pub mod interrupt;
