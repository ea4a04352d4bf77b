//! The supervisor of a one-shot run, begun before it is known what is to be run.
//!
//! A command line has to be read and an environment looked up; making namespaces takes as long, and is the same for every run. So the first thing
//! that `pyro run` does is to make a copy of its process. The copy is the supervisor: it enters the place where sandboxes are made, begins a
//! sandbox, and waits for the request. When the answer is given, its caller is gone at once, and the copy clears up.
//!
//! A caller that has nothing to run after all just goes away: the copy finds its socket closed, and ends with what it has begun.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};
use pyro_sys::spawn::{Namespaces as Kinds, fork_into};

use crate::backend::namespaces::Namespaces;
use crate::home::Home;
use crate::supervisor::control::Connection;
use crate::{begin, ops, privilege, role};

/// A supervisor that waits for a run: for [`crate::Host::with_ahead`].
#[derive(Debug)]
pub struct RunAhead {
    stream: UnixStream,
}

/// Longest path of a home: `PATH_MAX` of linux/limits.h.
const PATH_BYTES_MAX: usize = 4096;

impl RunAhead {
    /// Begins. The process must have one thread, and is to end when the run is answered: the copy is not waited for.
    ///
    /// # Errors
    /// When there can be no copy; the run can still be made without.
    pub fn begin(binary: &Path) -> Result<Self> {
        let internal = |error: std::io::Error| Error::internal("a supervisor cannot be begun").because(error);
        let (ours, theirs) = UnixStream::pair().map_err(internal)?;
        let mut ends = Some((ours, theirs));
        let copy = fork_into(Kinds::NONE, None, || {
            // Without our copy of its end, we learn when the caller is gone.
            let Some((_, theirs)) = ends.take() else { return 1 };
            u8::from(supervise(binary, theirs).is_err())
        });
        drop(copy.map_err(internal)?);
        match ends.take() {
            Some((ours, _)) => Ok(Self { stream: ours }),
            None => Err(Error::internal("the copy's end was taken here")),
        }
    }

    /// Says which home it is for; the call comes next on the socket.
    pub(crate) fn hand_over(self, home: &Home) -> Result<UnixStream> {
        let path = home.root().as_os_str().as_bytes();
        let length = u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut stream = self.stream;
        let sent = stream.write_all(&length).and_then(|()| stream.write_all(path));
        sent.map_err(|error| Error::sandbox("the run's supervisor is gone").because(error)).map(|()| stream)
    }
}

/// What the copy does: the whole run.
fn supervise(binary: &Path, mut caller: UnixStream) -> Result<()> {
    // What our caller's own caller waits for at the ends of pipes must not stay open while we clear up.
    let signals = role::step_back()?;
    let begun = privilege::detect().and_then(|privilege| {
        privilege::enter_self(&privilege)?;
        let backend = Namespaces::new(binary.to_owned(), privilege.clone());
        backend.begin()?;
        Ok((privilege, backend))
    });
    let Some(root) = hear_home(&mut caller) else { return Ok(()) };
    let mut connection = Connection::new(caller).map_err(|error| Error::internal("the caller is not ours").because(error))?;
    let (call, inputs) = role::hear_call(&mut connection)?;
    let (privilege, backend) = match begun {
        Ok(begun) => begun,
        Err(error) => return begin::last_answer(&mut connection, Err(error)),
    };
    let home = Home::open(&root)?;
    let setting = begin::Setting { home: &home, privilege: &privilege, binary, namespaces: &backend };
    begin::run(setting, signals, &ops::parse(call.request)?, connection, call.stdin, inputs)
}

/// The home of the run; `None` when there is none after all.
fn hear_home(caller: &mut UnixStream) -> Option<PathBuf> {
    let mut length = [0; 4];
    caller.read_exact(&mut length).ok()?;
    let mut path = vec![0; usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= PATH_BYTES_MAX)?];
    caller.read_exact(&mut path).ok()?;
    Some(PathBuf::from(OsStr::from_bytes(&path)))
}
