//! Names in directories, for what changes names: deleting, moving, making directories.
//!
//! The way to a name leads through real directories only: where a link leads is decided by whoever wrote it, and may be somewhere else a moment later.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use pyro_sys::beneath::{self, Mounts};
use pyro_wire::SandboxPath;
use pyro_wire::message::FileStep;
use pyro_wire::path::WORKSPACE_DIRECTORY;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::write::DIRECTORY_MODE;
use super::{Failure, at};

/// A name in a directory. There may be nothing of that name.
pub struct Named {
    /// The directory, to be read too.
    pub directory: OwnedFd,
    /// The name in it.
    pub name: OsString,
}

/// Finds the directory of a name.
pub fn find(path: &SandboxPath) -> Result<Named, Failure> {
    let path = Path::new(path.as_str());
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(at(FileStep::Fixed)(Errno::BUSY));
    };
    Ok(Named { directory: open(above).map_err(at(FileStep::Open))?, name: name.to_owned() })
}

impl Named {
    /// What has the name.
    pub fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Whether it is a directory; fails when there is nothing.
    pub fn is_directory(&self) -> Result<bool, Failure> {
        let stat = self.stat().map_err(at(FileStep::Open))?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }
}

/// Refuses what has to stay where it is: /workspace, mounts, and what they are in.
pub fn refuse_fixed(path: &SandboxPath) -> Result<(), Failure> {
    let fixed = at(FileStep::Fixed)(Errno::BUSY);
    let path = Path::new(path.as_str());
    if Path::new(WORKSPACE_DIRECTORY).starts_with(path) {
        return Err(fixed);
    }
    // Where this cannot be read, nothing is known of mounts, and the kernel refuses them one by one.
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let is_fixed = mounts.split(|byte| *byte == b'\n').filter_map(mount_point).any(|point| point.starts_with(path));
    if is_fixed { Err(fixed) } else { Ok(()) }
}

/// The fifth field of a line of mountinfo (proc_pid_mountinfo(5)), where blanks and the like are three octal digits.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut rest = line.split(|byte| *byte == b' ').nth(4)?;
    let mut point = Vec::with_capacity(rest.len());
    while let Some((first, behind)) = rest.split_first() {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match behind.get(..3).and_then(octal).filter(|_| *first == b'\\') {
            Some(byte) => {
                point.push(byte);
                rest = &behind[3..];
            }
            None => {
                point.push(*first);
                rest = behind;
            }
        }
    }
    Some(PathBuf::from(OsString::from_vec(point)))
}

/// Directories that were made on the way to a name; they go again unless they are kept.
#[derive(Default)]
pub struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory with those above it, and opens it.
    pub fn directory(&mut self, path: &Path) -> Result<OwnedFd, Errno> {
        match open(path) {
            Err(Errno::NOENT) => {}
            opened => return opened,
        }
        let above = self.directory(path.parent().ok_or(Errno::NOENT)?)?;
        let name = path.file_name().ok_or(Errno::NOENT)?;
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) => {
                // Whatever mask we run under.
                let made = open(path)?;
                rustix::fs::fchmod(&made, Mode::from_raw_mode(DIRECTORY_MODE))?;
                self.0.push(path.to_owned());
                Ok(made)
            }
            Err(Errno::EXIST) => open(path),
            Err(error) => Err(error),
        }
    }

    /// They stay.
    pub fn keep(mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        while let Some(path) = self.0.pop() {
            if let (Some(above), Some(name)) = (path.parent(), path.file_name())
                && let Ok(above) = open(above)
            {
                // Not when somebody has put something there.
                let _left = rustix::fs::unlinkat(&above, name, AtFlags::REMOVEDIR);
            }
        }
    }
}

/// Opens a directory, through no link.
fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let below = path.strip_prefix("/").unwrap_or(path);
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let place = beneath::directory(&root, below, Mounts::Enter).map_err(|error| {
        let stat = beneath::entry(&root, below, Mounts::Enter).ok().and_then(|place| rustix::fs::fstat(&place).ok());
        let is_link = stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        // A link at the end of the way is refused like one on it.
        if is_link { Errno::LOOP } else { errno(error) }
    })?;
    rustix::fs::openat(&place, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
