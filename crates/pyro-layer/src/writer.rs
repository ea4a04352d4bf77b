//! Making single entries in a directory that only we write to, and giving them their metadata in the order that keeps it: owner,
//! attributes, mode, time (a change of owner clears setuid bits and capabilities).

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dev, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::Owners;
use crate::attributes;
use crate::error::{Error, Naming, Result};

/// What an entry is given besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    /// Modification time, seconds since 1970 and nanoseconds.
    pub(crate) modified_at: (i64, u32),
    /// User and group that it has in its archive; it gets them where ids may be given away.
    pub(crate) owner: Option<(u32, u32)>,
    /// Attributes to set.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    pub(crate) fn of(stat: &fs::Stat) -> Self {
        Self {
            mode: stat.st_mode & 0o7777,
            modified_at: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            owner: None,
            attributes: Vec::new(),
        }
    }

    fn times(&self) -> Timestamps {
        let (tv_sec, nanoseconds) = self.modified_at;
        // The time of last reading is now: it has just been written.
        Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
            last_modification: Timespec { tv_sec, tv_nsec: nanoseconds.into() },
        }
    }

    /// Gives an open file or directory its metadata; the answer is how many attributes this file system refused.
    pub(crate) fn apply(&self, file: BorrowedFd<'_>, path: &[u8], owners: Owners) -> Result<u64> {
        self.give_owner(file, path, owners)?;
        let mut refused = 0;
        for (name, value) in &self.attributes {
            if attributes::is_taken_over(name, owners) {
                refused += u64::from(!attributes::set(file, path, name, value)?);
            }
        }
        self.give_mode_and_time(file, path)?;
        Ok(refused)
    }

    /// The first part of it: attributes come after.
    pub(crate) fn give_owner(&self, file: BorrowedFd<'_>, path: &[u8], owners: Owners) -> Result<()> {
        if let (Some((user, group)), Owners::Canonical) = (self.owner, owners) {
            fs::fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).naming(path, "change its owner")?;
        }
        Ok(())
    }

    /// The last part of it.
    pub(crate) fn give_mode_and_time(&self, file: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        fs::fchmod(file, Mode::from_raw_mode(self.mode)).naming(path, "change its mode")?;
        fs::futimens(file, &self.times()).naming(path, "set its time")
    }

    /// The same for what cannot be opened: links and FIFOs. `name` was made by us a moment ago.
    fn apply_to_name(&self, directory: BorrowedFd<'_>, name: &CStr, path: &[u8], owners: Owners, kind: FileType) -> Result<()> {
        if let (Some((user, group)), Owners::Canonical) = (self.owner, owners) {
            fs::chownat(directory, name, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)
                .naming(path, "change its owner")?;
        }
        if kind != FileType::Symlink {
            fs::chmodat(directory, name, Mode::from_raw_mode(self.mode), AtFlags::empty()).naming(path, "change its mode")?;
        }
        fs::utimensat(directory, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW).naming(path, "set its time")
    }
}

/// Makes an empty regular file that nothing else has.
pub(crate) fn make_file(directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR).naming(path, "make it")
}

/// Makes a symbolic link.
pub(crate) fn make_symlink(
    directory: BorrowedFd<'_>,
    name: &CStr,
    target: &CStr,
    path: &[u8],
    metadata: &Metadata,
    owners: Owners,
) -> Result<()> {
    fs::symlinkat(target, directory, name).naming(path, "make the link")?;
    metadata.apply_to_name(directory, name, path, owners, FileType::Symlink)
}

/// Makes a FIFO.
pub(crate) fn make_fifo(directory: BorrowedFd<'_>, name: &CStr, path: &[u8], metadata: &Metadata, owners: Owners) -> Result<()> {
    make_special(directory, name, FileType::Fifo, path, metadata, owners)
}

/// Makes a FIFO, or the name of a socket that nobody listens at.
pub(crate) fn make_special(
    directory: BorrowedFd<'_>,
    name: &CStr,
    kind: FileType,
    path: &[u8],
    metadata: &Metadata,
    owners: Owners,
) -> Result<()> {
    fs::mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, Dev::default()).naming(path, "make it")?;
    metadata.apply_to_name(directory, name, path, owners, kind)
}

/// Makes a directory that only we enter until it is finished.
pub(crate) fn make_directory(directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
    fs::mkdirat(directory, name, Mode::RWXU).naming(path, "make the directory")
}

/// Writes all of a buffer at a place of a file.
pub(crate) fn write_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64, path: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(Error::system(path, "write it", Errno::IO)),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).naming(path, "write it"),
        }
    }
    Ok(())
}
