//! Where Firecracker makes its sockets and we find them: a directory that is the root of a file system in memory, attached nowhere. Both sides have it
//! as a descriptor, and from there no way leads anywhere.
//!
//! Firecracker may put there what it likes. So what is there is looked up without following links, and must be a socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use pyro_api::{Error, Result};
use pyro_sys::beneath::{self, Mounts};
use pyro_sys::mount::{self, Refuses, Setting};
use pyro_sys::socket;
use pyro_wire::machine::VSOCK_PORT;

/// Where it is told what to do.
pub const API: &str = "api";

/// What leads to the guest's vsock ports. For what a guest itself wants to reach, Firecracker looks for `v_PORT`: there is none.
pub const VSOCK: &str = "v";

/// The directory.
pub struct Sockets(OwnedFd);

impl Sockets {
    /// Makes it. Room for two sockets and as good as nothing else.
    pub fn make() -> io::Result<Self> {
        // It may be written to under the id that Firecracker has in its sandbox, and nobody else can get there.
        let settings = [
            Setting::Text("source", "pyro"),
            Setting::Text("mode", "0777"),
            Setting::Text("size", "4k"),
            Setting::Text("nr_inodes", "8"),
        ];
        mount::new_filesystem("tmpfs", &settings, Refuses::ALL_BUT_WRITES).map(Self)
    }

    /// Connects to one of them.
    pub fn connect(&self, name: &str) -> io::Result<UnixStream> {
        socket::connect_to_place(beneath::entry(&self.0, Path::new(name), Mounts::Stay)?)
    }
}

impl AsFd for Sockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Longest answer to `CONNECT`: `OK ` and a number of 32 bits.
const ANSWER_BYTES_MAX: usize = 16;

/// Has a connection led on to the guest's agent. `None` when nobody listens there yet.
///
/// # Errors
/// When Firecracker says something else than that, or nothing in time.
pub fn connect_guest(mut stream: UnixStream, deadline: Instant) -> Result<Option<UnixStream>> {
    match ask_for_guest(&mut stream, deadline) {
        Ok(true) => Ok(Some(stream)),
        Ok(false) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err(Error::timeout("Firecracker does not lead to the guest's agent"))
        }
        Err(error) => Err(Error::sandbox("Firecracker does not lead to the guest's agent").because(error)),
    }
}

fn ask_for_guest(stream: &mut UnixStream, deadline: Instant) -> io::Result<bool> {
    let is_gone = |error: &io::Error| matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
    match stream.write_all(format!("CONNECT {VSOCK_PORT}\n").as_bytes()) {
        Err(error) if is_gone(&error) => return Ok(false),
        written => written?,
    }
    let mut answer = Vec::new();
    // Byte by byte: what follows is the agent's.
    while answer.last() != Some(&b'\n') {
        if answer.len() == ANSWER_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer does not end"));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return Ok(false),
            Ok(_) => answer.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    stream.set_read_timeout(None)?;
    let number = std::str::from_utf8(&answer).ok().and_then(|answer| answer.trim_end_matches('\n').strip_prefix("OK "));
    match number.and_then(|number| number.parse::<u32>().ok()) {
        Some(_) => Ok(true),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is not OK")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pyro_api::ErrorKind;

    use super::*;

    #[test]
    fn a_guest_is_reached_by_its_port_and_nothing_of_what_it_says_is_lost() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"OK 1073741824\nhello").unwrap();
        let mut link = connect_guest(ours, Instant::now() + Duration::from_secs(20)).unwrap().unwrap();
        let mut heard = [0; 13];
        theirs.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"CONNECT 1024\n");
        drop(theirs);
        let mut said = String::new();
        link.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello");
    }

    #[test]
    fn nobody_is_there_yet_or_it_is_not_firecracker() {
        let asked = |said: &[u8]| {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(said).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            connect_guest(ours, Instant::now() + Duration::from_secs(20)).map(|link| link.is_some()).map_err(|error| error.kind)
        };
        assert_eq!(asked(b""), Ok(false));
        assert_eq!(asked(b"OK 12"), Ok(false));
        assert_eq!(asked(b"OK 12\n"), Ok(true));
        for said in
            [b"OK\n".as_slice(), b"OK x\n", b"OK -1\n", b"NO 1\n", b"\xff\n", b"OK 99999999999\n", b"OK 11111111111111111111\n"]
        {
            assert_eq!(asked(said), Err(ErrorKind::Sandbox), "{}", String::from_utf8_lossy(said));
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(connect_guest(ours, Instant::now() + Duration::from_secs(20)).unwrap().is_none());
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(connect_guest(ours, Instant::now() + Duration::from_millis(50)).unwrap_err().kind, ErrorKind::Timeout);
    }
}
