//! Entries of a directory that is ours, made by name: for small trees that are built before anyone else sees them. Modes are less the
//! process's mask ([`set_mask`]), and owners are who the process is for files, as for every file.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat, symlinkat};

/// Makes a directory with this mode.
///
/// # Errors
/// As mkdirat(2).
pub fn make_directory(directory: impl AsFd, name: &str, mode: u32) -> io::Result<()> {
    Ok(mkdirat(&directory, name, Mode::from_raw_mode(mode))?)
}

/// Makes a character device that everybody may read and write.
///
/// # Errors
/// `PermissionDenied` outside the first user namespace.
pub fn make_device(directory: impl AsFd, name: &str, major: u32, minor: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    Ok(mknodat(&directory, name, FileType::CharacterDevice, mode, makedev(major, minor))?)
}

/// Whether a path of the host is this character device: nothing else is given to a sandbox under its name.
///
/// # Errors
/// `InvalidInput` when it is not.
pub fn check_device(path: &Path, major: u32, minor: u32) -> io::Result<()> {
    let status = rustix::fs::lstat(path)?;
    let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    if is_device && status.st_rdev == makedev(major, minor) { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Makes an empty file with this mode.
///
/// # Errors
/// As openat(2).
pub fn make_empty_file(directory: impl AsFd, name: &str, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    openat(&directory, name, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC, mode)?;
    Ok(())
}

/// Makes a symbolic link.
///
/// # Errors
/// As symlinkat(2).
pub fn make_link(directory: impl AsFd, name: &str, target: &str) -> io::Result<()> {
    Ok(symlinkat(target, &directory, name)?)
}

/// Makes a directory the working directory of this process.
///
/// # Errors
/// As fchdir(2).
pub fn enter(directory: impl AsFd) -> io::Result<()> {
    Ok(rustix::process::fchdir(directory)?)
}

/// Opens a path that is ours, for reading and writing.
///
/// # Errors
/// As open(2).
pub fn open_both_ways(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    Ok(openat(rustix::fs::CWD, path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?)
}

/// Sets the mode mask for new files of this process and returns the one before.
pub fn set_mask(mask: u32) -> u32 {
    rustix::process::umask(Mode::from_raw_mode(mask)).as_raw_mode()
}
