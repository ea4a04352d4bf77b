//! The side of our own user: connections to the control socket, one call at a time on each, as JSON lines; what it is told is in [`replies`].
//!
//! Whoever connects has entered a directory of mode 0700 and has our user id: it is checked all the same, because a home may be
//! shared by mistake. Nothing here blocks.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use pyro_api::envelope::{Input, Progress};
use pyro_api::{Call, Error, Event, Reply};
use serde_json::Value;

use crate::buffer::{Lines, Unsent};
use crate::replies;

/// Longest line: a file of 16 MiB in base64 is 22 MiB.
pub const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Read of one caller before all others have their turn. A line of any length arrives in such pieces.
const READ_BYTES_PER_TURN: usize = 256 * 1024;

/// Events wait here at most, bytes; above it a command's output is not asked for any more.
pub const OUTPUT_HIGH_WATER_BYTES: usize = 256 * 1024;

/// One caller.
pub struct Connection {
    stream: UnixStream,
    input: Lines,
    output: Unsent,
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
        Ok(Self { stream, input: Lines::default(), output: Unsent::default(), busy: false, wants_events: false, closing: false })
    }

    /// For polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether something waits to be written.
    pub fn wants_to_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Bytes that wait to be written.
    pub fn pending_bytes(&self) -> usize {
        self.output.len()
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

    /// Whether what it says is of interest still.
    pub fn wants_to_read(&self) -> bool {
        !self.closing
    }

    /// Reads what is there, up to a limit so that nobody else waits for long, and hands on each whole line.
    ///
    /// # Errors
    /// When the caller is gone. One that says what cannot be understood gets an answer, and is closed once it is written.
    pub fn read(&mut self) -> io::Result<Vec<Said>> {
        let mut said = Vec::new();
        let mut buffer = [0_u8; 16 * 1024];
        let mut left = READ_BYTES_PER_TURN;
        while !self.closing && left > 0 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return if said.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(said) },
                Ok(count) => {
                    left = left.saturating_sub(count);
                    self.input.add(&buffer[..count]);
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
        while let Some(line) = self.input.next_line() {
            match understand(line, self.busy) {
                Ok(Some(Said::Call(call))) => {
                    self.busy = true;
                    self.wants_events = call.stream;
                    said.push(Said::Call(call));
                }
                Ok(Some(Said::Input(input))) => said.push(Said::Input(input)),
                Ok(None) => {}
                Err(error) => {
                    let error = Error::invalid("a line of the control socket cannot be read").because(error);
                    return self
                        .refuse(error.hint("the workspace may run under another version of pyro: stop it and start it again"));
                }
            }
        }
        if self.input.unfinished_bytes() > LINE_BYTES_MAX {
            self.refuse(Error::limit(format!("the request is longer than {LINE_BYTES_MAX} bytes")));
        }
    }

    /// The last answer: what else the caller says is not read.
    fn refuse(&mut self, error: Error) {
        self.input.clear();
        self.answer(Err(error));
        self.closing = true;
    }

    /// Queues an event, if the caller wants events.
    pub fn event(&mut self, event: Event) {
        if self.wants_events {
            self.line(&Reply::Event(event));
        }
    }

    /// Queues how far long work is, unless the caller has not read what was said before: then only its bar jumps.
    pub fn progress(&mut self, progress: Progress) {
        if !self.wants_to_write() {
            self.event(Event::Progress(progress));
        }
    }

    /// Whether the caller wants events.
    pub fn wants_events(&self) -> bool {
        self.wants_events
    }

    /// Queues the answer. The connection is then free for another call.
    pub fn answer(&mut self, answer: pyro_api::Result<Value>) {
        self.busy = false;
        let before = self.output.end().len();
        self.line(&match answer {
            Ok(response) => Reply::Response(response),
            Err(error) => Reply::Error(error),
        });
        let length = self.output.end().len() - before;
        // The caller would not read it to its end.
        if length > LINE_BYTES_MAX {
            self.output.end().truncate(before);
            let error =
                Error::limit(format!("the answer is {length} bytes, more than {LINE_BYTES_MAX}")).hint("ask for less at once");
            self.line(&Reply::Error(error));
        }
    }

    /// Closes it once all is written.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Lets a caller know that its call will not be begun, and closes the connection once that is written. One whose call is under way gets
    /// its own answer; one that has had it hears this no more.
    pub fn decline(&mut self) {
        if !self.busy && !self.closing {
            self.line(&Reply::Declined);
        }
        self.closing = true;
    }

    /// Takes a call back that was said but not begun.
    pub fn put_off(&mut self) {
        self.busy = false;
        self.decline();
    }

    fn line(&mut self, reply: &Reply) {
        replies::push(reply, self.output.end());
    }

    /// Writes everything, where no loop would. That the caller is gone is no error.
    ///
    /// # Errors
    /// When the caller cannot be waited for.
    pub fn send_all(&mut self) -> pyro_api::Result<()> {
        while self.wants_to_write() {
            if self.flush().is_err() {
                break;
            }
            let mut fds = [rustix::event::PollFd::from_borrowed_fd(self.fd(), rustix::event::PollFlags::OUT)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(pyro_api::Error::internal("poll").because(error)),
            }
        }
        Ok(())
    }

    /// Writes what the socket takes now.
    ///
    /// # Errors
    /// When the caller is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush_to(&self.stream)
    }
}

/// A line of a caller that is `busy` with a call, or is not. `None`: nobody needs it.
fn understand(line: &[u8], busy: bool) -> Result<Option<Said>, serde_json::Error> {
    if busy {
        return serde_json::from_slice(line).map(Said::Input).map(Some);
    }
    match serde_json::from_slice(line) {
        Ok(call) => Ok(Some(Said::Call(call))),
        // It was on its way when its command ended.
        Err(_) if serde_json::from_slice::<Input>(line).is_ok() => Ok(None),
        Err(error) => Err(error),
    }
}
