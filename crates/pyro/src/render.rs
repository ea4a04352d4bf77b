//! Responses as text: for a person at a terminal or in a pipe, and for a model. One file for each area of ops; what is common is in `page`.
//!
//! Everything that can come from inside a sandbox (names, output, contents) goes out escaped, but for contents that a person has sent to a
//! file or another program: those are exact.

use pyro_api::{Op, Result, for_each_op, ops};
use serde_json::Value;

pub(crate) mod page;

mod disk;
mod edit;
mod environment;
mod exec;
mod file;
mod host;
mod job;
mod names;
mod past;
mod search;
mod shell;
mod transfer;
mod workspace;

#[cfg(test)]
mod tests;

/// How text for a person is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// With colours.
    pub color: bool,
    /// Standard output is a terminal: contents are escaped.
    pub terminal: bool,
    /// Now, for "3 min ago".
    pub now: jiff::Timestamp,
}

/// What a person is shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// For standard output.
    pub out: Vec<u8>,
    /// For standard error: what would be wrong inside the contents.
    pub note: Option<String>,
}

impl From<String> for Shown {
    fn from(text: String) -> Self {
        Self { out: text.into_bytes(), note: None }
    }
}

/// A response that can be shown.
trait Show {
    /// For a person.
    fn person(&self, style: &Style) -> Shown;
    /// For a model: the first line is a status, at most `room` characters.
    fn model(&self, room: usize) -> String;
}

macro_rules! shows {
    ($($op:ident,)*) => {
        /// A response of the op of this name, as a value that can be shown. An op without text does not compile.
        fn typed(op: &str, response: Value) -> Result<Box<dyn Show>> {
            match op {
                $(<ops::$op as Op>::NAME => Ok(Box::new(parsed::<<ops::$op as Op>::Response>(op, response)?)),)*
                _ => Err(pyro_api::Error::internal(format!("{op} has no text"))),
            }
        }
    };
}
for_each_op!(shows);

/// Responses come from another process at times, and it may be of another version.
pub(crate) fn parsed<T: serde::de::DeserializeOwned>(op: &str, response: Value) -> Result<T> {
    serde_json::from_value(response).map_err(|error| {
        pyro_api::Error::unavailable(format!("the answer to {op} is not understood: {error}"))
            .hint("the workspace was started by another version of pyro; stop it and start it again")
    })
}

/// A response for a person.
pub(crate) fn for_person(op: &str, response: Value, style: &Style) -> Result<Shown> {
    Ok(typed(op, response)?.person(style))
}

/// A response for a model, in at most `room` characters.
pub(crate) fn for_model(op: &str, response: Value, room: usize) -> Result<String> {
    Ok(page::cut_to(&typed(op, response)?.model(room), room))
}
