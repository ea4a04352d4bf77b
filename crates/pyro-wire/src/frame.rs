//! Bounded codec: read one frame, write one frame. To be filled by its owner.

/// Which stream of a channel a data frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// To a command.
    Stdin,
    /// From a command.
    Stdout,
    /// From a command.
    Stderr,
    /// File content, either way.
    Content,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<M> {
    /// One message.
    Control {
        /// Whose.
        channel: u32,
        /// What.
        message: M,
    },
    /// Raw bytes.
    Data {
        /// Whose.
        channel: u32,
        /// Of which stream.
        stream: Stream,
        /// At most `FRAME_PAYLOAD_BYTES_MAX`.
        bytes: Vec<u8>,
    },
}

/// What is wrong with bytes from the other side. There is no way on after one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);
