//! Our end of the link, never blocking: frames in, frames out, and what the socket does not take yet.
//!
//! The queue is short: whoever has bulk data asks [`Link::is_blocked`] first.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};

use pyro_wire::frame::{data_header, encode_control};
use pyro_wire::{Decoder, Frame, FromAgent, Stream, ToAgent};
use rustix::event::epoll::EventFlags;
use rustix::fs::FileType;

use crate::End;

/// The link and its two buffers.
#[derive(Debug)]
pub struct Link {
    /// A stream socket, or a machine's port.
    socket: File,
    /// A read that fills less than it could has taken all there is. Not so for a port, which gives one buffer at a time.
    short_is_all: bool,
    decoder: Decoder,
    /// Encoded frames; what is before `sent` is gone. Holds one data frame and a few messages at most.
    queue: Vec<u8>,
    sent: usize,
    readable: bool,
    /// The other side will send no more: what is in the socket is the rest.
    hung_up: bool,
    closed: bool,
}

impl Link {
    /// Takes the socket over.
    pub fn new(socket: File) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let short_is_all = FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) == FileType::Socket;
        Ok(Self {
            socket,
            short_is_all,
            decoder: Decoder::new(),
            queue: Vec::new(),
            sent: 0,
            readable: true,
            hung_up: false,
            closed: false,
        })
    }

    /// Takes note of an event.
    pub fn note(&mut self, flags: EventFlags) -> Result<(), End> {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR) {
            self.readable = true;
            self.hung_up |= flags.intersects(EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR);
        }
        self.flush()
    }

    /// There may be something to read.
    pub fn may_read(&self) -> bool {
        self.readable && !self.closed
    }

    /// The socket does not take more now.
    pub fn is_blocked(&self) -> bool {
        self.sent < self.queue.len()
    }

    /// The other side is gone.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Reads once.
    pub fn fill(&mut self) -> Result<(), End> {
        match self.decoder.fill(&mut self.socket) {
            Ok(fill) if fill.bytes == 0 => self.closed = true,
            // Edge-triggered: the next byte causes a new event. The end had its event together with the last bytes, so read on to it.
            Ok(fill) => self.readable = !fill.short || !self.short_is_all || self.hung_up,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => self.readable = false,
                ErrorKind::Interrupted => {}
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => self.closed = true,
                _ => return Err(error.into()),
            },
        }
        Ok(())
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame<ToAgent>>, End> {
        Ok(self.decoder.next_frame()?)
    }

    /// Sends one message.
    pub fn control(&mut self, channel: u32, message: &FromAgent) -> Result<(), End> {
        encode_control(channel, message, &mut self.queue)?;
        self.flush()
    }

    /// Sends frames that are encoded already.
    pub fn frames(&mut self, frames: &[u8]) -> Result<(), End> {
        self.send(&[], frames)
    }

    /// Sends one data frame, without copying it when the socket takes it.
    pub fn data(&mut self, channel: u32, stream: Stream, bytes: &[u8]) -> Result<(), End> {
        let header = data_header(channel, stream, bytes.len())?;
        self.send(&header, bytes)
    }

    fn send(&mut self, header: &[u8], payload: &[u8]) -> Result<(), End> {
        let mut sent = 0;
        if !self.is_blocked() {
            sent = self.write(|socket| (&*socket).write_vectored(&[IoSlice::new(header), IoSlice::new(payload)]))?;
        }
        let from_header = sent.min(header.len());
        self.queue.extend_from_slice(&header[from_header..]);
        self.queue.extend_from_slice(&payload[sent - from_header..]);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), End> {
        while self.is_blocked() {
            let (queue, start) = (std::mem::take(&mut self.queue), self.sent);
            let sent = self.write(|socket| (&*socket).write(&queue[start..]));
            self.queue = queue;
            match sent? {
                0 => return Ok(()),
                sent => self.sent += sent,
            }
        }
        self.sent = 0;
        self.queue.clear();
        // A queue that was once long is not kept.
        self.queue.shrink_to(QUEUE_BYTES_KEPT);
        Ok(())
    }

    /// Writes once; 0 when the socket takes nothing now, or never again.
    fn write(&mut self, write: impl Fn(&File) -> io::Result<usize>) -> Result<usize, End> {
        loop {
            match write(&self.socket) {
                Ok(sent) => return Ok(sent),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(0),
                    ErrorKind::Interrupted => {}
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                        self.closed = true;
                        return Ok(0);
                    }
                    _ => return Err(error.into()),
                },
            }
        }
    }
}

/// Room for a few messages.
const QUEUE_BYTES_KEPT: usize = 1024;
