//! The side of our own user: connections to the control socket, one call at a time on each, as JSON lines.
//!
//! Whoever connects has entered a directory of mode 0700 and has our user id: it is checked all the same, because a home may be
//! shared by mistake. Nothing here blocks.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use pyro_api::envelope::Input;
use pyro_api::{Call, Error, Event, Reply};
use serde_json::Value;

/// Longest line: a file of 16 MiB in base64 is 22 MiB.
pub const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Events wait here at most, bytes; above it a command's output is not asked for any more.
pub const OUTPUT_HIGH_WATER_BYTES: usize = 256 * 1024;

/// One caller.
pub struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// A call is under way.
    busy: bool,
    /// Its caller wants events.
    wants_events: bool,
    /// Nothing more is read, and when all is written it is closed.
    closing: bool,
}

/// What a caller says.
#[derive(Debug)]
pub enum Said {
    /// It begins a call.
    Call(Call),
    /// It adds to its call.
    Input(Input),
}

impl Connection {
    /// Takes a connection.
    ///
    /// # Errors
    /// When it cannot be made non-blocking, or comes from another user.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        if peer.uid != rustix::process::geteuid() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self { stream, input: Vec::new(), output: Vec::new(), written: 0, busy: false, wants_events: false, closing: false })
    }

    /// Its call came another way.
    #[must_use]
    pub fn with_call(mut self, call: &Call) -> Self {
        self.busy = true;
        self.wants_events = call.stream;
        self
    }

    /// For polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether something waits to be written.
    pub fn wants_to_write(&self) -> bool {
        self.pending_bytes() > 0
    }

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> usize {
        self.output.len() - self.written
    }

    /// All was said and written: it can be dropped.
    pub fn is_finished(&self) -> bool {
        self.closing && !self.wants_to_write()
    }

    /// Whether a read would not wait: the caller said something more, or hung up.
    pub fn has_something_to_read(&self) -> bool {
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(self.fd(), rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Reads what is there and hands on each whole line.
    ///
    /// # Errors
    /// When the caller is gone, or says what cannot be understood: then the answer is queued already and it is closing.
    pub fn read(&mut self) -> io::Result<Vec<Said>> {
        let mut said = Vec::new();
        let mut buffer = [0_u8; 16 * 1024];
        while !self.closing {
            match self.stream.read(&mut buffer) {
                Ok(0) => return if said.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(said) },
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    self.take_lines(&mut said);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(said)
    }

    fn take_lines(&mut self, said: &mut Vec<Said>) {
        let mut start = 0;
        while let Some(length) = self.input[start..].iter().position(|byte| *byte == b'\n') {
            let line = &self.input[start..start + length];
            start += length + 1;
            let parsed = if self.busy {
                serde_json::from_slice(line).map(Said::Input)
            } else {
                serde_json::from_slice::<Call>(line).map(|call| {
                    self.busy = true;
                    self.wants_events = call.stream;
                    Said::Call(call)
                })
            };
            match parsed {
                Ok(line) => said.push(line),
                Err(error) => {
                    self.input.clear();
                    self.answer(Err(Error::invalid("a line of the control socket cannot be read")
                        .because(error)
                        .hint("the workspace may run under another version of pyro: stop it and start it again")));
                    self.closing = true;
                    return;
                }
            }
        }
        self.input.drain(..start);
        if self.input.len() > LINE_BYTES_MAX {
            self.input = Vec::new();
            self.answer(Err(Error::limit(format!("the request is longer than {LINE_BYTES_MAX} bytes"))));
            self.closing = true;
        }
    }

    /// Queues an event, if the caller wants events.
    pub fn event(&mut self, event: Event) {
        if self.wants_events {
            self.line(&Reply::Event(event));
        }
    }

    /// Whether the caller wants events.
    pub fn wants_events(&self) -> bool {
        self.wants_events
    }

    /// Queues the answer. The connection is then free for another call.
    pub fn answer(&mut self, answer: pyro_api::Result<Value>) {
        self.busy = false;
        self.line(&match answer {
            Ok(response) => Reply::Response(response),
            Err(error) => Reply::Error(error),
        });
    }

    /// Closes it once all is written.
    pub fn close(&mut self) {
        self.closing = true;
    }

    fn line(&mut self, reply: &Reply) {
        serde_json::to_writer(&mut self.output, reply).expect("replies have only text keys");
        self.output.push(b'\n');
    }

    /// Writes what the socket takes now.
    ///
    /// # Errors
    /// When the caller is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.wants_to_write() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A reader that keeps up but for a little must not make what it has read stay here for ever.
                    self.output.drain(..std::mem::take(&mut self.written));
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        if self.output.capacity() > 64 * 1024 {
            self.output = Vec::new()
        } else {
            self.output.clear()
        }
        Ok(())
    }
}
