//! The one error of the product: kind, sentence, hint. The same words on every surface.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Result of an op.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in kinds a caller can branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request itself is wrong.
    Invalid,
    /// The thing named is not there.
    NotFound,
    /// The thing is in a state that refuses this.
    Conflict,
    /// This machine or build cannot do it, and the hint says what would make it work.
    Unavailable,
    /// A named limit was reached.
    Limit,
    /// It took longer than it may.
    Timeout,
    /// The sandbox failed or broke the protocol.
    Sandbox,
    /// The caller took the request back.
    Cancelled,
    /// Our own fault.
    Internal,
}

/// An error as users see it: a sentence that says what is wrong with which thing and why, and a hint that says what to do next.
/// Sentences begin in lower case and have no full stop.
#[derive(Debug, Serialize, Deserialize)]
pub struct Error {
    /// Its kind.
    pub kind: ErrorKind,
    /// The sentence.
    pub message: String,
    /// What to do next, when that is not obvious.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The error below, for logs; never sent.
    #[serde(skip)]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error below and its text to the sentence: `open /x: permission denied`.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.message = format!("{}: {source}", self.message);
        self.source = Some(Box::new(source));
        self
    }

    /// Exit status of the command line for this kind.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Invalid => 2,
            ErrorKind::Timeout => 124,
            ErrorKind::Cancelled => 130,
            ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Unavailable
            | ErrorKind::Limit
            | ErrorKind::Sandbox
            | ErrorKind::Internal => 125,
        }
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident,)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(ErrorKind::$kind, message) })*
        }
    };
}
constructors! {
    /// The request itself is wrong.
    invalid => Invalid,
    /// The thing named is not there.
    not_found => NotFound,
    /// The thing is in a state that refuses this.
    conflict => Conflict,
    /// This machine or build cannot do it.
    unavailable => Unavailable,
    /// A named limit was reached.
    limit => Limit,
    /// It took longer than it may.
    timeout => Timeout,
    /// The sandbox failed or broke the protocol.
    sandbox => Sandbox,
    /// Our own fault.
    internal => Internal,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// For values that every text is.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
