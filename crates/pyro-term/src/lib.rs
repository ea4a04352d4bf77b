//! What commands write, as a model or a person should see it.
//!
//! Two kinds of output come from commands. What was written to a pipe is a stream, of which a [`Digest`] keeps what is worth showing, and [`stored`] reads parts
//! of it again. What was written to a terminal is drawn: a [`Terminal`] holds the screen that a person would see, and gives the text that is new on it.
//!
//! This crate starts no process and touches no file. Whatever the bytes are, it does not panic, its memory is bounded ([`limits`]) and its time linear, and nothing
//! it gives out acts on the terminal of whoever reads it.

mod digest;
pub mod integration;
mod keys;
pub mod limits;
mod parse;
mod row;
pub mod stored;
mod terminal;
pub mod words;

pub use digest::{Digest, Shown};
pub use keys::{UnknownKey, encode_key, encode_paste};
pub use terminal::{Command, Fresh, Modes, Screen, Size, Terminal};
