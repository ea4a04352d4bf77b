//! Sockets between our own processes: pairs, descriptors sent over them, and who is at the other end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, socketpair,
};

/// Most descriptors in one message: `SCM_MAX_FD` of the kernel (net/scm.h).
pub const DESCRIPTORS_MAX: usize = 253;

/// Two connected sockets that keep message boundaries; close-on-exec.
///
/// # Errors
/// When there are too many descriptors.
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Two connected stream sockets; close-on-exec.
///
/// # Errors
/// When there are too many descriptors.
pub fn stream_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    Ok((one.into(), other.into()))
}

/// Sends bytes with descriptors. `bytes` must not be empty: descriptors travel with data.
///
/// # Errors
/// `EPIPE` when the other end is gone; no signal is raised.
pub fn send_descriptors(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(descriptors).size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives bytes and descriptors: how many bytes (0 at the end), and the descriptors, close-on-exec.
///
/// # Errors
/// When descriptors were lost (`EMSGSIZE`).
pub fn receive_descriptors(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let flags = RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result?,
        }
    };
    if received.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok((received.bytes, descriptors))
}

/// Takes a connected Unix stream socket that was handed over as a descriptor of this number when the program was started: once.
///
/// # Errors
/// `EBADF` when there is none, `ENOTSOCK` when it is something else, `EBUSY` the second time that one is taken.
pub fn take_inherited_stream(number: RawFd) -> io::Result<UnixStream> {
    take_inherited(number, SocketType::STREAM).map(UnixStream::from)
}

/// As [`take_inherited_stream`], a socket that keeps message boundaries.
///
/// # Errors
/// As there.
pub fn take_inherited_messages(number: RawFd) -> io::Result<OwnedFd> {
    take_inherited(number, SocketType::SEQPACKET)
}

fn take_inherited(number: RawFd, kind: SocketType) -> io::Result<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if number < 3 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: only for asking the kernel what the number is; a number that is not open gives EBADF.
    let looked_at = unsafe { BorrowedFd::borrow_raw(number) };
    if rustix::net::sockopt::socket_domain(looked_at)? != AddressFamily::UNIX
        || rustix::net::sockopt::socket_type(looked_at)? != kind
    {
        return Err(io::Error::from_raw_os_error(libc::ENOTSOCK));
    }
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    rustix::io::fcntl_setfd(looked_at, rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: it is open and a socket (asked above), nothing in this program has opened it (it was there at the start, by the contract
    // of this function), and this is the only time that one is taken.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process number when it connected.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Asks the kernel who connected (`SO_PEERCRED`).
///
/// # Errors
/// When it is not a connected Unix socket.
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(Peer { pid: credentials.pid.as_raw_nonzero().get(), uid: credentials.uid.as_raw(), gid: credentials.gid.as_raw() })
}
