//! Sockets between our own processes: pairs, descriptors sent over them, and who is at the other end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
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

/// A stream socket that listens on this vsock port for whoever can reach this machine: its host, and itself. Close-on-exec; of those who come at
/// once one waits, and the others are turned away.
///
/// # Errors
/// `EAFNOSUPPORT` when the kernel has no vsock, `EADDRINUSE` when somebody listens there. That there is no device is none (vsock(7)).
pub fn listen_vsock(port: u32) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let address = vsock_address(libc::VMADDR_CID_ANY, port);
    // SAFETY: the pointer is to a whole `sockaddr_vm` that lives until the call returns, and the length is its size; the kernel only reads it.
    // The descriptor is open: it is borrowed for the call.
    let bound = unsafe {
        libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast::<libc::sockaddr>(), size_of::<libc::sockaddr_vm>() as u32)
    };
    crate::check(libc::c_long::from(bound))?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

/// Waits for the next who comes to a listening socket of any kind. Close-on-exec.
///
/// # Errors
/// As accept(2).
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    loop {
        match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
            // Whoever came has gone again.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
            accepted => return Ok(accepted?),
        }
    }
}

fn vsock_address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: `sockaddr_vm` is integers and bytes, for which zero is a value; the reserved ones must be zero (vsock(7)).
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    address
}

/// Connects to a Unix socket by its place (from [`crate::beneath::entry`]): what is there, and not what a link that has come into its place leads
/// to. It is never waited for: when too many have come before, that is an error.
///
/// # Errors
/// `ENOTSOCK` when it is something else; as connect(2), `EAGAIN` when too many wait.
pub fn connect_to_place(place: impl AsFd) -> io::Result<UnixStream> {
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
    if kind != rustix::fs::FileType::Socket {
        return Err(io::Error::from_raw_os_error(libc::ENOTSOCK));
    }
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    let address = rustix::net::SocketAddrUnix::new(format!("/proc/self/fd/{}", place.as_fd().as_raw_fd()))?;
    rustix::net::connect(&socket, &address)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket.into())
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

#[cfg(test)]
mod tests;
