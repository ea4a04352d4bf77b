//! Ctrl-C and the like as bytes in a pipe, so that whoever waits on other descriptors can wait on them too. Without a thread: a process that is
//! about to make namespaces must have only one.

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

/// Where the handler writes; -1 before [`to_pipe`].
static PIPE: AtomicI32 = AtomicI32::new(-1);
/// What the next interrupt from the keyboard writes.
static NEXT: AtomicU8 = AtomicU8::new(0);

/// From now on the first SIGINT writes the byte `first` to `pipe`, every further one 0; SIGTERM and SIGHUP write 0. A later call
/// replaces the pipe. The pipe stays open for the life of the process, because the handler may run at any moment.
///
/// # Errors
/// When the kernel refuses to make the pipe non-blocking or to install the handlers.
pub fn to_pipe(pipe: OwnedFd, first: u8) -> io::Result<()> {
    // A full pipe must not block a signal handler.
    rustix::io::ioctl_fionbio(&pipe, true)?;
    NEXT.store(first, Ordering::SeqCst);
    PIPE.store(pipe.into_raw_fd(), Ordering::SeqCst);
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().try_for_each(handle)
}

/// From now on SIGWINCH writes its own number to that pipe.
///
/// # Errors
/// When the kernel refuses to install the handler.
pub fn window_changes() -> io::Result<()> {
    handle(libc::SIGWINCH)
}

fn handle(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: sigaction(2) is plain data for which all zero bytes are a value: no flags, an empty mask. It requires both
    // pointers to be valid or null; the first points to a local and the second is null. The handler is an
    // `extern "C" fn(c_int)`, as a `sa_sigaction` without SA_SIGINFO must be, and lives as long as the program; it does only what
    // signal-safety(7) allows.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Atomics and write(2) only, with `errno` put back: see signal-safety(7).
extern "C" fn on_signal(signal: libc::c_int) {
    let byte = match signal {
        libc::SIGINT => NEXT.swap(0, Ordering::SeqCst),
        libc::SIGWINCH => libc::SIGWINCH as u8,
        _ => 0,
    };
    let pipe = PIPE.load(Ordering::SeqCst);
    // SAFETY: __errno_location returns a valid pointer to this thread's errno (errno(3)). write(2) gets one byte of a local and the
    // length 1; the descriptor is never closed once it is stored, and -1 is answered with EBADF. Its failure changes nothing here: a full
    // pipe already holds more interrupts than anybody will read.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(pipe, (&raw const byte).cast(), 1);
        *errno = before;
    }
}

#[cfg(test)]
mod tests;
