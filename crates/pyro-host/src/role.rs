//! Role processes: the same binary, started to be a supervisor, a keeper of layers, an environment builder or a janitor.
//!
//! A role process is started in its own session and as root of the user namespace that sandboxes and layers belong to
//! (see `privilege`), with its caller's socket as standard input. The first line on it is the call that tells what to do.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use pyro_api::envelope::Input;
use pyro_api::{Call, Error, Result};

use crate::home::Home;
use crate::supervisor::control::{Connection, Said};

/// What a process can be started as. The word is its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns one sandbox.
    Supervisor,
    /// Answers one call about layers that no sandbox is needed for.
    Keeper,
    /// Builds one environment.
    Builder,
    /// Empties the trash.
    Janitor,
}

impl Role {
    /// First argument of the process.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Supervisor => "@supervisor",
            Self::Keeper => "@keeper",
            Self::Builder => "@builder",
            Self::Janitor => "@janitor",
        }
    }
}

/// Starts a role process and gives our end of its standard input. It is nobody's to wait for: when it ends while we
/// live, a thread reaps it.
///
/// # Errors
/// `Unavailable` when it cannot be started.
pub fn start(binary: &Path, home: &Home, role: Role) -> Result<UnixStream> {
    let cannot = |error: std::io::Error| Error::unavailable(format!("{} cannot be started", binary.display())).because(error);
    let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
    let mut child = Command::new(binary)
        .arg(role.word())
        .arg(home.root())
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| passes(name)))
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    // A zombie is no leak, but a long-lived caller would collect them.
    let reaper = std::thread::Builder::new().name("reaper".into()).stack_size(64 * 1024).spawn(move || child.wait());
    drop(reaper);
    Ok(ours)
}

/// What a role process gets of our environment: what finds programs and mirrors, and nothing that might be a secret.
fn passes(name: &std::ffi::OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    matches!(name, "PATH" | "HOME" | "USER" | "LANG" | "TMPDIR" | "RUST_BACKTRACE")
        || matches!(
            name.to_ascii_lowercase().as_str(),
            "http_proxy" | "https_proxy" | "no_proxy" | "ssl_cert_file" | "ssl_cert_dir"
        )
}

/// Makes this process, a copy of its caller's, one that nobody at a terminal or at the end of a pipe waits for: a session of its own, nothing on
/// its standard descriptors. Gives what becomes readable when it is asked to end.
///
/// # Errors
/// When there is no `/dev/null`, or no descriptor is free.
pub fn step_back() -> Result<OwnedFd> {
    let cannot = |error: std::io::Error| Error::unavailable("a supervisor cannot begin").because(error);
    rustix::process::setsid().map_err(|error| cannot(error.into()))?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(cannot)?;
    for put in [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr] {
        put(&null).map_err(|error| cannot(error.into()))?;
    }
    std::env::set_current_dir("/").map_err(cannot)?;
    let (signals, handler) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| cannot(error.into()))?;
    pyro_sys::interrupt::to_pipe(handler, 0).map_err(cannot)?;
    Ok(signals)
}

/// What a role process begins with: a session of its own, and the call that its caller sends.
///
/// # Errors
/// When the caller is gone or says nothing that can be understood.
pub fn take_call() -> Result<(Connection, Call, Vec<Input>)> {
    let stdin = std::io::stdin();
    let stream = stdin
        .as_fd()
        .try_clone_to_owned()
        .map(UnixStream::from)
        .map_err(|error| Error::internal("standard input").because(error))?;
    // The connection alone holds it now: what we drop is closed.
    let null = std::fs::File::open("/dev/null").map_err(|error| Error::unavailable("/dev/null").because(error))?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| Error::internal("standard input").because(error))?;
    let mut connection = Connection::new(stream).map_err(|error| Error::internal("the caller is not ours").because(error))?;
    let (call, inputs) = hear_call(&mut connection)?;
    Ok((connection, call, inputs))
}

/// Waits for the call of a caller, and what came with it.
///
/// # Errors
/// When the caller is gone or says nothing that can be understood.
pub fn hear_call(connection: &mut Connection) -> Result<(Call, Vec<Input>)> {
    loop {
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(connection.fd(), rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::internal("poll").because(error)),
        }
        let said = connection.read().map_err(|error| Error::internal("the caller is gone").because(error))?;
        let mut said = said.into_iter();
        match said.next() {
            None => {}
            Some(Said::Input(_)) => return Err(Error::internal("input came before a call")),
            Some(Said::Call(call)) => {
                let inputs = said.filter_map(|said| match said {
                    Said::Input(input) => Some(input),
                    Said::Call(_) => None,
                });
                return Ok((call, inputs.collect()));
            }
        }
    }
}
