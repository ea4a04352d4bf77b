//! Bounded codec: bytes to one frame, one frame to bytes.
//!
//! It assumes nothing about the bytes. It checks a length before it allocates, gives no frame before every bound of its
//! message was checked, and never repairs. It knows nothing of channels: which ones are open, in which phase they are
//! and how much credit they have is checked by the two ends.
//!
//! Three ways in, one set of rules: [`read_frame`] for a blocking reader, [`Decoder`] for an event loop, and both end in
//! [`decode`].

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::{FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, JSON_DEPTH_MAX, VIOLATION_BYTES_MAX};
use crate::untrusted::escape;

#[cfg(test)]
mod tests;

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
        /// At least one and at most `FRAME_PAYLOAD_BYTES_MAX`.
        bytes: Vec<u8>,
    },
}

/// Something that a control frame can carry: [`ToAgent`](crate::ToAgent) one way, [`FromAgent`](crate::FromAgent) the other.
pub trait Message: Serialize + DeserializeOwned {
    /// Checks every bound that the type alone does not hold. Called by the codec in both directions.
    ///
    /// # Errors
    /// Names the field and the bound.
    fn validate(&self) -> Result<(), Violation>;
}

/// What is wrong with bytes from the other side. There is no way on after one.
///
/// One sentence, safe to print: whatever it quotes from the other side is escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Violation {}

/// Why a frame could not be read or written.
#[derive(Debug)]
pub enum LinkError {
    /// The link itself failed or ended in the middle of a frame. This says nothing about the other side's honesty: it is
    /// also what a killed sandbox looks like.
    Link(io::Error),
    /// The other side broke the protocol; or, when writing, this side was about to.
    Violation(Violation),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(error) => write!(f, "the link failed: {error}"),
            Self::Violation(violation) => write!(f, "protocol violation: {violation}"),
        }
    }
}

impl Error for LinkError {}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Link(error)
    }
}

impl From<Violation> for LinkError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// Reads one frame from a blocking reader. `None` when the link ended between two frames.
///
/// # Errors
/// [`LinkError::Violation`] after which the reader must not be used again.
pub fn read_frame<M: Message>(reader: &mut impl Read) -> Result<Option<Frame<M>>, LinkError> {
    let mut bytes = [0; FRAME_HEADER_BYTES];
    let (first, rest) = bytes.split_at_mut(1);
    loop {
        match reader.read(first) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    reader.read_exact(rest)?;
    let header = Header::parse(&bytes)?;
    let mut payload = vec![0; header.payload_bytes];
    reader.read_exact(&mut payload)?;
    Ok(Some(decode(&header, payload)?))
}

/// Writes one frame with one `write_all`.
///
/// # Errors
/// [`LinkError::Violation`] when the frame itself breaks a bound: nothing was written then.
pub fn write_frame<M: Message>(writer: &mut impl Write, frame: &Frame<M>) -> Result<(), LinkError> {
    let mut bytes = Vec::new();
    encode(frame, &mut bytes)?;
    writer.write_all(&bytes)?;
    Ok(())
}

/// Appends one frame to a buffer.
///
/// # Errors
/// When the frame breaks a bound; the buffer is then as it was.
pub fn encode<M: Message>(frame: &Frame<M>, buffer: &mut Vec<u8>) -> Result<(), Violation> {
    match frame {
        Frame::Control { channel, message } => encode_control(*channel, message, buffer),
        Frame::Data { channel, stream, bytes } => encode_data(*channel, *stream, bytes, buffer),
    }
}

/// Appends one control frame to a buffer.
///
/// # Errors
/// When the message breaks a bound; the buffer is then as it was.
pub fn encode_control<M: Message>(channel: u32, message: &M, buffer: &mut Vec<u8>) -> Result<(), Violation> {
    message.validate()?;
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    let appended = serde_json::to_writer(&mut *buffer, message)
        .map_err(|error| Violation(format!("a message cannot be written as JSON: {error}")))
        .and_then(|()| header(KIND_CONTROL, channel, buffer.len().saturating_sub(start.saturating_add(FRAME_HEADER_BYTES))));
    match appended {
        Ok(header) => {
            if let Some(place) = buffer.get_mut(start..start.saturating_add(FRAME_HEADER_BYTES)) {
                place.copy_from_slice(&header);
            }
            Ok(())
        }
        Err(violation) => {
            buffer.truncate(start);
            Err(violation)
        }
    }
}

/// Appends one data frame to a buffer.
///
/// # Errors
/// When there are no bytes or too many; the buffer is then as it was.
pub fn encode_data(channel: u32, stream: Stream, bytes: &[u8], buffer: &mut Vec<u8>) -> Result<(), Violation> {
    buffer.extend_from_slice(&data_header(channel, stream, bytes.len())?);
    buffer.extend_from_slice(bytes);
    Ok(())
}

/// The header that goes before so many bytes of a stream: for a sender that has the bytes in a buffer of its own.
///
/// # Errors
/// When there are no bytes or too many.
pub fn data_header(channel: u32, stream: Stream, payload_bytes: usize) -> Result<[u8; FRAME_HEADER_BYTES], Violation> {
    let kind = match stream {
        Stream::Stdin => KIND_STDIN,
        Stream::Stdout => KIND_STDOUT,
        Stream::Stderr => KIND_STDERR,
        Stream::Content => KIND_CONTENT,
    };
    header(kind, channel, payload_bytes)
}

/// Turns bytes into frames as they come, for a descriptor that must not block.
///
/// It holds the bytes of at most one unfinished frame and of what one read brought after it, never more than
/// [`Decoder::BYTES_MAX`], and gives its memory back when it is empty.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were already given out as frames. Never more than `buffer.len()`.
    taken: usize,
}

/// How much is read at least: many small frames, or the head of a large one.
const READ_BYTES: usize = 8 * 1024;

impl Decoder {
    /// Largest number of bytes ever held.
    pub const BYTES_MAX: usize = FRAME_HEADER_BYTES + FRAME_PAYLOAD_BYTES_MAX;

    /// An empty one; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads once, as much as there is room for. Take all frames out with [`Decoder::next_frame`] before the next call.
    /// [`Fill::short`] says that the reader had less than was asked for, so another read now would block.
    ///
    /// # Errors
    /// Those of the reader, `WouldBlock` and `Interrupted` too.
    pub fn fill(&mut self, reader: &mut impl Read) -> io::Result<Fill> {
        self.compact();
        let held = self.buffer.len();
        let goal = match Header::peek(&self.buffer) {
            Some(Ok(header)) => FRAME_HEADER_BYTES.saturating_add(header.payload_bytes).max(READ_BYTES),
            Some(Err(_)) | None => READ_BYTES,
        };
        let goal = goal.max(held).min(Self::BYTES_MAX);
        let asked = goal.saturating_sub(held);
        self.buffer.resize(goal, 0);
        let result = match self.buffer.get_mut(held..) {
            Some(room) if !room.is_empty() => reader.read(room),
            // Full: the caller has not taken its frames out. A read of nothing must not look like the end of the link.
            _ => Err(io::ErrorKind::WouldBlock.into()),
        };
        let bytes = result.as_ref().map_or(0, |bytes| (*bytes).min(asked));
        self.buffer.truncate(held.saturating_add(bytes));
        self.release();
        result.map(|_| Fill { bytes, short: bytes < asked })
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// After a violation the decoder must not be used again.
    pub fn next_frame<M: Message>(&mut self) -> Result<Option<Frame<M>>, Violation> {
        let waiting = self.buffer.get(self.taken..).unwrap_or_default();
        let Some(header) = Header::peek(waiting) else {
            self.release();
            return Ok(None);
        };
        let header = header?;
        let end = FRAME_HEADER_BYTES.saturating_add(header.payload_bytes);
        let Some(payload) = waiting.get(FRAME_HEADER_BYTES..end) else { return Ok(None) };
        let frame = decode(&header, payload)?;
        self.taken = self.taken.saturating_add(end);
        Ok(Some(frame))
    }

    /// Bytes of memory held now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// True between two frames: the link may end here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken >= self.buffer.len()
    }

    fn compact(&mut self) {
        let taken = self.taken.min(self.buffer.len());
        self.buffer.drain(..taken);
        self.taken = 0;
    }

    fn release(&mut self) {
        if self.is_empty() {
            self.taken = 0;
            self.buffer.clear();
            if self.buffer.capacity() > READ_BYTES {
                self.buffer = Vec::new();
            }
        }
    }
}

/// What one [`Decoder::fill`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// How many bytes came; 0 is the end of the link.
    pub bytes: usize,
    /// Fewer came than there was room for.
    pub short: bool,
}

const KIND_CONTROL: u8 = 0;
const KIND_STDIN: u8 = 1;
const KIND_STDOUT: u8 = 2;
const KIND_STDERR: u8 = 3;
const KIND_CONTENT: u8 = 4;

/// A header that was checked: the kind exists and the length is within its limit.
struct Header {
    payload_bytes: usize,
    kind: Kind,
    channel: u32,
}

enum Kind {
    Control,
    Data(Stream),
}

impl Header {
    /// Looks at the header at the start of some bytes; `None` when there are too few. Nothing is allocated here, and a
    /// wrong header is refused before its payload has come.
    fn peek(bytes: &[u8]) -> Option<Result<Self, Violation>> {
        let header = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        Some(Self::parse(header))
    }

    fn parse(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, Violation> {
        let [l0, l1, l2, l3, kind, c0, c1, c2, c3] = *bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let channel = u32::from_le_bytes([c0, c1, c2, c3]);
        let kind = match kind {
            KIND_CONTROL => Kind::Control,
            KIND_STDIN => Kind::Data(Stream::Stdin),
            KIND_STDOUT => Kind::Data(Stream::Stdout),
            KIND_STDERR => Kind::Data(Stream::Stderr),
            KIND_CONTENT => Kind::Data(Stream::Content),
            other => return Err(Violation(format!("a frame has the unknown kind {other}"))),
        };
        match usize::try_from(length) {
            Ok(0) => Err(Violation("a frame has no payload".to_owned())),
            Ok(payload_bytes) if payload_bytes <= FRAME_PAYLOAD_BYTES_MAX => Ok(Self { payload_bytes, kind, channel }),
            Ok(_) | Err(_) => Err(Violation(format!("a frame announces {length} bytes; the limit is {FRAME_PAYLOAD_BYTES_MAX}"))),
        }
    }
}

fn header(kind: u8, channel: u32, payload_bytes: usize) -> Result<[u8; FRAME_HEADER_BYTES], Violation> {
    let length = match u32::try_from(payload_bytes) {
        Ok(0) => return Err(Violation("a frame would have no payload".to_owned())),
        Ok(length) if payload_bytes <= FRAME_PAYLOAD_BYTES_MAX => length,
        Ok(_) | Err(_) => {
            return Err(Violation(format!("a frame would have {payload_bytes} bytes; the limit is {FRAME_PAYLOAD_BYTES_MAX}")));
        }
    };
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [c0, c1, c2, c3] = channel.to_le_bytes();
    Ok([l0, l1, l2, l3, kind, c0, c1, c2, c3])
}

/// The one place where a payload becomes a value.
fn decode<M: Message>(header: &Header, payload: impl AsRef<[u8]> + Into<Vec<u8>>) -> Result<Frame<M>, Violation> {
    let channel = header.channel;
    match header.kind {
        Kind::Data(stream) => Ok(Frame::Data { channel, stream, bytes: payload.into() }),
        Kind::Control => {
            let payload = payload.as_ref();
            check_depth(payload)?;
            // The words of the parser may quote what came: unknown names, for example.
            let message: M = serde_json::from_slice(payload).map_err(|error| Violation(quoted("not a message", &error)))?;
            message.validate()?;
            Ok(Frame::Control { channel, message })
        }
    }
}

/// Refuses deep nesting before the parser recurses. Malformed JSON is left to the parser: this only must not count too low.
fn check_depth(json: &[u8]) -> Result<(), Violation> {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (true, _) => {}
            (false, b'"') => in_string = true,
            (false, b'{' | b'[') => {
                depth = depth.saturating_add(1);
                if depth > JSON_DEPTH_MAX {
                    return Err(Violation(format!("a message is nested deeper than {JSON_DEPTH_MAX} levels")));
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            (false, _) => {}
        }
    }
    Ok(())
}

/// The words of the parser behind our own, escaped and cut: they may quote what the other side sent.
pub(crate) fn quoted(what: &str, error: &serde_json::Error) -> String {
    let mut text = escape(&error.to_string().replace('\n', " "));
    if text.len() > VIOLATION_BYTES_MAX {
        let cut = text.floor_char_boundary(VIOLATION_BYTES_MAX);
        text.truncate(cut);
        text.push('…');
    }
    format!("{what}: {text}")
}
