//! placeholder
pub mod command;
pub mod inside;
