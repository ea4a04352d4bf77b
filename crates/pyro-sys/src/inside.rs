//! The few system calls that only the agent needs, inside: hearing of ended children, talking to every process at once,
//! and trying calls that a sandbox must refuse.
//!
//! Everything tried here is harmless where it is *not* refused: it fails on its arguments instead.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

/// Blocks SIGCHLD in this thread and returns a descriptor that is readable when a child has ended. Threads made later inherit the
/// blocking; there must be none yet.
///
/// # Errors
/// When there is no descriptor left.
pub fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: `set` is a live local that sigemptyset and sigaddset fill before it is read; no old mask is asked for; -1 asks signalfd
    // for a new descriptor.
    let descriptor = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Sends a signal to every process but this one and PID 1 of this PID namespace. `Ok(false)` when there is none.
///
/// # Panics
/// When this process is not PID 1: outside a sandbox this would reach the whole machine.
///
/// # Errors
/// When there are some and none may be signalled.
pub fn signal_everyone(signal: i32) -> io::Result<bool> {
    assert!(std::process::id() == 1, "only PID 1 of a sandbox may signal everyone");
    kill_all(signal)
}

/// Whether this process can see any process but itself and PID 1. Sends nothing.
#[must_use]
pub fn sees_other_processes() -> bool {
    // EPERM: there are some, and they are not ours to signal.
    kill_all(0).unwrap_or(true)
}

fn kill_all(signal: i32) -> io::Result<bool> {
    // SAFETY: takes plain numbers.
    if unsafe { libc::kill(-1, signal) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        error => Err(error),
    }
}

/// A call that the system call filter must refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// A nested user namespace.
    UnshareUser,
    /// The kernel's key store.
    Keyctl,
    /// Asynchronous input and output past the filter.
    IoUring,
    /// Programs in the kernel.
    Bpf,
}

impl Forbidden {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::UnshareUser, Self::Keyctl, Self::IoUring, Self::Bpf];

    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnshareUser => "unshare",
            Self::Keyctl => "keyctl",
            Self::IoUring => "io_uring_setup",
            Self::Bpf => "bpf",
        }
    }

    /// Tries it, with arguments with which it can do nothing. Returns the error number; 0 if there was none.
    #[must_use]
    pub fn try_it(self) -> i32 {
        // SAFETY: each fails in the kernel's check of its arguments when no filter refuses it first, and reads or writes no memory
        // of ours: unshare has an unknown flag bit (EINVAL) beside CLONE_NEWUSER, keyctl an unknown operation (EOPNOTSUPP),
        // io_uring_setup no entries and no structure (EINVAL or EFAULT), bpf an unknown command and a null pointer of length 0 (EINVAL).
        let result = unsafe {
            match self {
                Self::UnshareUser => libc::syscall(libc::SYS_unshare, libc::c_long::from(libc::CLONE_NEWUSER | 1)),
                Self::Keyctl => libc::syscall(libc::SYS_keyctl, 0x7fff_ffff_i64, 0_i64, 0_i64, 0_i64, 0_i64),
                Self::IoUring => libc::syscall(libc::SYS_io_uring_setup, 0_i64, 0_i64),
                Self::Bpf => libc::syscall(libc::SYS_bpf, 0x7fff_ffff_i64, 0_i64, 0_i64),
            }
        };
        if result >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or(0) }
    }
}
