//! The hostile side: our end of the link to the agent.
//!
//! It never blocks. What comes in is decoded by `pyro-wire` and handed on as frames; what goes out waits in a buffer that is
//! bounded by the credit of its channels. Who a frame is for and whether it may come now is checked by the channel's task.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use pyro_wire::frame::{self, Decoder, Frame, Stream, Violation};
use pyro_wire::{FromAgent, ToAgent};

use crate::buffer::Unsent;

/// Our end of the link.
pub struct Link {
    stream: UnixStream,
    decoder: Decoder,
    out: Unsent,
}

/// Why the link is of no more use.
#[derive(Debug)]
pub enum Broken {
    /// The other end is gone.
    Closed,
    /// The other end broke the protocol.
    Violation(Violation),
}

impl From<Violation> for Broken {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Link {
    /// Takes the socket.
    ///
    /// # Errors
    /// When it cannot be made non-blocking.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, decoder: Decoder::new(), out: Unsent::default() })
    }

    /// For polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether something waits to be written.
    pub fn wants_to_write(&self) -> bool {
        !self.out.is_empty()
    }

    /// Queues a message.
    ///
    /// # Errors
    /// When the message breaks a bound of the protocol: the caller let something through that it should have refused.
    pub fn send(&mut self, channel: u32, message: &ToAgent) -> Result<(), Violation> {
        frame::encode_control(channel, message, self.out.end())
    }

    /// Queues bytes of a stream, in as many frames as it takes.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub fn send_data(&mut self, channel: u32, stream: Stream, bytes: &[u8]) -> Result<(), Violation> {
        for piece in bytes.chunks(pyro_wire::limits::FRAME_PAYLOAD_BYTES_MAX) {
            frame::encode_data(channel, stream, piece, self.out.end())?;
        }
        Ok(())
    }

    /// Writes what the socket takes now.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn flush(&mut self) -> Result<(), Broken> {
        self.out.flush_to(&self.stream).map_err(|_| Broken::Closed)
    }

    /// Reads once and hands on each whole frame. `Ok(false)`: nothing more to read now.
    ///
    /// # Errors
    /// When the other end is gone or broke the protocol.
    pub fn read(&mut self, mut take: impl FnMut(Frame<FromAgent>)) -> Result<bool, Broken> {
        let fill = match self.decoder.fill(&mut self.stream) {
            Ok(fill) if fill.bytes == 0 => return Err(Broken::Closed),
            Ok(fill) => fill,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(_) => return Err(Broken::Closed),
        };
        while let Some(frame) = self.decoder.next_frame()? {
            take(frame);
        }
        Ok(!fill.short)
    }
}
