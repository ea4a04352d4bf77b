//! The caller's side of a control socket: one call, with whatever passes to and fro while it runs.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use pyro_api::envelope::Input;
use pyro_api::{Call, Error, Op, Reply, Result, ops};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;

use crate::Session;
use crate::buffer::Unsent;
use crate::replies::Replies;

/// What a person types to leave a shell: Ctrl-], as in telnet and systemd-nspawn.
const LEAVE: u8 = 0x1d;
/// SIGWINCH (signal(7)).
const WINDOW_CHANGED: u8 = 28;

/// Standard input is passed on in pieces of this size: small enough to interleave with output, large enough to be cheap.
const STDIN_PIECE_BYTES: usize = 32 * 1024;

/// So much of what is said to us is taken at a time.
const READ_BYTES: usize = 64 * 1024;

/// The address of a socket of any path length: Unix addresses end at 108 bytes, so the directory is named by a descriptor.
pub struct SocketPath {
    path: String,
    // Keeps the descriptor open that `path` names.
    _directory: OwnedFd,
}

impl SocketPath {
    /// # Errors
    /// When the directory cannot be opened.
    pub fn new(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
        Ok(Self { path: format!("/proc/self/fd/{number}/{}", name.to_string_lossy()), _directory: directory })
    }

    /// What to connect or bind to.
    pub fn as_str(&self) -> &str {
        &self.path
    }
}

/// Connects to the supervisor that listens at `path`; `None` when nobody does.
///
/// # Errors
/// Those of the file system.
pub fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    let address = match SocketPath::new(path) {
        Ok(address) => address,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match UnixStream::connect(address.as_str()) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What came of a call.
#[derive(Debug)]
pub enum Answered {
    /// Its response.
    Response(Value),
    /// Nothing was done, and nothing was taken from the caller's standard input: the same call can be made again.
    Declined,
    /// The caller has left what goes on without it.
    Left,
}

/// Makes one call and waits for its reply.
///
/// # Errors
/// The reply's own error; `Sandbox` when the other end goes away without one.
pub fn converse(stream: &UnixStream, call: &Call, session: &mut Session<'_>) -> Result<Value> {
    match ask(stream, call, session)? {
        Answered::Response(response) => Ok(response),
        Answered::Declined => Err(ending()),
        Answered::Left => Ok(Value::Null),
    }
}

/// As [`converse`], for whoever can ask again.
///
/// # Errors
/// As [`converse`].
pub fn ask(stream: &UnixStream, call: &Call, session: &mut Session<'_>) -> Result<Answered> {
    let mut line = serde_json::to_vec(call).expect("calls have only text keys");
    line.push(b'\n');
    let broken = |error: io::Error| {
        Error::sandbox("the workspace's supervisor is gone").because(error).hint("using the workspace starts it again")
    };
    let lost = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => Error::unavailable("the answer of the workspace's supervisor cannot be read")
            .because(error)
            .hint("it may run under another version of pyro: stop the workspace and start it again"),
        _ => broken(error),
    };
    stream.set_nonblocking(true).map_err(broken)?;
    let mut conversation = Conversation { stream, out: Unsent::new(line), hears_us: true, replies: Replies::default() };
    let mut stdin = call.stdin.then_some(session.stdin).flatten();
    let mut signals = session.signals;
    let mut took_stdin = false;
    if call.stdin && stdin.is_none() {
        conversation.say(&Input::StdinEnd);
    }
    let terminal = session.stdin.filter(|_| session.terminal);
    conversation.say_size(terminal);
    // Only what goes on without its caller can be left.
    let can_leave = call.op == ops::ShellAttach::NAME;
    loop {
        conversation.flush();
        // More input is taken only when the last was sent: what the command does not read stays with the caller.
        let wants_stdin = stdin.filter(|_| conversation.hears_us && !conversation.wants_to_write());
        let ready = wait(&conversation, wants_stdin, signals).map_err(broken)?;
        if ready.stream {
            for reply in conversation.read().map_err(lost)? {
                match reply {
                    Reply::Event(event) => (session.on_event)(event),
                    Reply::Response(response) => return Ok(Answered::Response(response)),
                    Reply::Error(error) => return Err(error),
                    // What was read for it is lost to a second call.
                    Reply::Declined if took_stdin => return Err(ending()),
                    Reply::Declined => return Ok(Answered::Declined),
                }
            }
        }
        if ready.stdin
            && let Some(fd) = wants_stdin
        {
            let mut piece = vec![0; STDIN_PIECE_BYTES];
            let count = match rustix::io::read(fd, &mut piece) {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                // A standard input that cannot be read has ended.
                Err(_) => 0,
            };
            if count == 0 {
                stdin = None;
                conversation.say(&Input::StdinEnd);
            } else {
                took_stdin = true;
                piece.truncate(count);
                if can_leave && piece.contains(&LEAVE) {
                    return Ok(Answered::Left);
                }
                conversation.say(&Input::Stdin(piece));
            }
        }
        if ready.signals
            && let Some(fd) = signals
        {
            let mut bytes = [0; 16];
            match rustix::io::read(fd, &mut bytes) {
                Ok(0) => signals = None,
                Ok(count) if can_leave && bytes[..count].contains(&0) => return Ok(Answered::Left),
                Ok(count) => bytes[..count].iter().for_each(|byte| match byte {
                    &WINDOW_CHANGED => conversation.say_size(terminal),
                    byte => conversation.say(&Input::Signal(i32::from(*byte))),
                }),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(broken(error.into())),
            }
        }
    }
}

fn ending() -> Error {
    Error::conflict("the workspace is being stopped").hint("try again: using it starts it")
}

struct Ready {
    stream: bool,
    stdin: bool,
    signals: bool,
}

fn wait(conversation: &Conversation<'_>, stdin: Option<BorrowedFd<'_>>, signals: Option<BorrowedFd<'_>>) -> io::Result<Ready> {
    let mut flags = PollFlags::IN;
    flags.set(PollFlags::OUT, conversation.wants_to_write());
    let mut fds = vec![PollFd::from_borrowed_fd(conversation.stream.as_fd(), flags)];
    fds.extend(stdin.into_iter().chain(signals).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let stdin = stdin.map(|_| 1);
    let signals = signals.map(|_| fds.len() - 1);
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let is_ready = |place: Option<usize>| place.is_some_and(|place| !fds[place].revents().is_empty());
    Ok(Ready { stream: is_ready(Some(0)), stdin: is_ready(stdin), signals: is_ready(signals) })
}

struct Conversation<'a> {
    stream: &'a UnixStream,
    out: Unsent,
    /// The other end takes what we say. One that has answered need not, and its answer may wait to be read.
    hears_us: bool,
    replies: Replies,
}

impl Conversation<'_> {
    fn say<T: serde::Serialize>(&mut self, line: &T) {
        if self.hears_us {
            serde_json::to_writer(self.out.end(), line).expect("calls have only text keys");
            self.out.end().push(b'\n');
        }
    }

    /// Tells the size of the caller's terminal, if it has one.
    fn say_size(&mut self, terminal: Option<BorrowedFd<'_>>) {
        if let Some(size) = terminal.and_then(|terminal| rustix::termios::tcgetwinsize(terminal).ok()) {
            self.say(&Input::Resize { columns: size.ws_col, rows: size.ws_row });
        }
    }

    fn wants_to_write(&self) -> bool {
        !self.out.is_empty()
    }

    fn flush(&mut self) {
        // What the other end said before it went is still to be read; if that is nothing, reading tells.
        if self.out.flush_to(self.stream).is_err() {
            self.hears_us = false;
            self.out.clear();
        }
    }

    fn read(&mut self) -> io::Result<Vec<Reply>> {
        let mut buffer = [0; READ_BYTES];
        let mut stream = self.stream;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.replies.add(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        let mut replies = Vec::new();
        while let Some(reply) = self.replies.next()? {
            replies.push(reply);
        }
        Ok(replies)
    }
}
