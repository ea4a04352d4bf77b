//! Opening things beneath a directory, whatever the tree under it looks like: no symbolic link is followed and nothing above the
//! directory can be reached (openat2(2), 5.6). For every tree that somebody inside could have written.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Tries of one lookup: `EAGAIN` only means that something was renamed at that moment.
const TRIES_MAX: u32 = 64;

/// Whether a lookup may pass from one mount to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// It stays on the mount it begins on.
    Stay,
    /// It may enter mounts beneath.
    Enter,
}

fn open(directory: impl AsFd, path: &Path, flags: OFlags, mode: Mode, mounts: Mounts) -> io::Result<OwnedFd> {
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    if mounts == Mounts::Stay {
        resolve |= ResolveFlags::NO_XDEV;
    }
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    for _ in 0..TRIES_MAX {
        match openat2(&directory, path, flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// A directory as a place: usable as the start of other lookups and as a mount point, not for reading.
///
/// # Errors
/// `ELOOP` for a symbolic link anywhere in the path, `ENOTDIR` when it is something else.
pub fn directory(start: impl AsFd, path: &Path, mounts: Mounts) -> io::Result<OwnedFd> {
    open(start, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), mounts)
}

/// Anything, as a place. A symbolic link at the end of the path is the place itself (openat2(2) on `RESOLVE_NO_SYMLINKS`): it leads nowhere.
///
/// # Errors
/// `ELOOP` for a symbolic link on the way.
pub fn entry(start: impl AsFd, path: &Path, mounts: Mounts) -> io::Result<OwnedFd> {
    open(start, path, OFlags::PATH, Mode::empty(), mounts)
}

/// A regular file for reading. It is never waited for: a FIFO or a device is refused.
///
/// # Errors
/// `ELOOP` for a symbolic link in the path, `EINVAL` when it is not a regular file.
pub fn file(start: impl AsFd, path: &Path, mounts: Mounts) -> io::Result<OwnedFd> {
    let file = open(start, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty(), mounts)?;
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind.is_file() { Ok(file) } else { Err(Errno::INVAL.into()) }
}

/// A new regular file for writing.
///
/// # Errors
/// `EEXIST` when something of the name is there.
pub fn new_file(start: impl AsFd, path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    open(start, path, flags, Mode::from_raw_mode(mode), Mounts::Stay)
}
