//! A call, what happens meanwhile, and the reply: JSON lines of the control socket (but for output, which goes over it as it is) and of RPC.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;

/// First line from a caller.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Name of the op: `workspace exec`.
    pub op: String,
    /// Its request.
    pub request: Value,
    /// Send [`Event`]s before the reply.
    #[serde(default)]
    pub stream: bool,
    /// [`Input::Stdin`] follows, and ends with [`Input::StdinEnd`].
    #[serde(default)]
    pub stdin: bool,
}

/// Further lines from a caller, while its call runs. Closing the connection cancels the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Input {
    /// Bytes for standard input.
    Stdin(#[serde(with = "base64_bytes")] Vec<u8>),
    /// No more standard input.
    StdinEnd,
    /// Signal for the command.
    Signal(i32),
    /// The caller's terminal has this size, for a command that has one.
    Resize {
        /// Characters in a row.
        columns: u16,
        /// Rows.
        rows: u16,
    },
}

/// What happens before the reply. The reply is complete without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Output of a command, as it came.
    Stdout(#[serde(with = "base64_bytes")] Vec<u8>),
    /// Error output of a command, as it came.
    Stderr(#[serde(with = "base64_bytes")] Vec<u8>),
    /// How far long work is.
    Progress(Progress),
}

/// How far long work is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done: `unpacking debian:12`.
    pub step: String,
    /// How much of it is done, in `unit`.
    pub done: u64,
    /// How much there is, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is counted: `bytes`, `files`, `packages`; empty when nothing is.
    pub unit: String,
}

/// What a caller is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// More will follow.
    Event(Event),
    /// The response. Last line.
    Response(Value),
    /// The error. Last line.
    Error(Error),
    /// Nothing was done, and nothing will be: whoever answers is ending. The same call can be made again, of whoever comes next. Last line.
    Declined,
}

mod base64_bytes {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(<std::borrow::Cow<'de, str>>::deserialize(deserializer)?.as_bytes()).map_err(D::Error::custom)
    }
}
