//! Working for a moment in the mount namespace of another process: to mount there what that process could not.
//!
//! A thread goes there, not a process: nothing is copied, and the caller's own view of files stays as it is. What it finds there was
//! written by whoever lives there, so places are given as descriptors, never as paths through their tree.

use std::io;
use std::os::fd::AsFd;

use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::check;

/// Runs `body` on a thread of its own in the mount namespace of a process, given by its process descriptor, while `meanwhile` runs here.
/// Its root and working directory are then those of that namespace. Needs CAP_SYS_ADMIN and CAP_SYS_CHROOT in our user namespace and over
/// the one that owns the mounts.
///
/// # Errors
/// As unshare(2) and setns(2) (5.8 for process descriptors); then `body` has not run. `EAGAIN` when there can be no thread.
pub fn mounts_of<T: Send, M>(
    process: impl AsFd,
    body: impl FnOnce() -> T + Send,
    meanwhile: impl FnOnce() -> M,
) -> io::Result<(io::Result<T>, M)> {
    let process = process.as_fd();
    std::thread::scope(|scope| {
        let visit = move || {
            // A thread's root and working directory are the whole process's until it has its own.
            // SAFETY: unshare(2) with CLONE_FS touches no memory and no descriptor table; what it separates is this thread's root, working
            // directory and mode mask, which end with the thread.
            check(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_FS) }))?;
            move_into_thread_name_spaces(process, ThreadNameSpaceType::MOUNT)?;
            Ok(body())
        };
        let thread = std::thread::Builder::new().name("visit".into()).stack_size(STACK_BYTES).spawn_scoped(scope, visit)?;
        let met = meanwhile();
        let told = thread.join().unwrap_or_else(|_| Err(io::Error::other("the visit ended in a panic")));
        Ok((told, met))
    })
}

/// Enough for a dozen calls.
const STACK_BYTES: usize = 128 * 1024;
