//! What a layer says besides files: that a name is gone (a whiteout), and that a directory hides what is below it (opaque).
//!
//! Overlayfs keeps these in extended attributes of one of two name spaces, and a mount obeys only its own: `trusted.overlay.*` where the
//! host's root mounted it, `user.overlay.*` where the root of a user namespace did. In a layer of the first kind `user.overlay.*` is data that
//! anybody inside may have set, so whoever reads or rewrites a layer must obey no other marks than the mount does: to it they mean nothing.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dev, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::attributes;
use crate::beneath;
use crate::error::{Error, Naming, Result};

/// Whose attributes the mounts of a stack of layers obey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.*`: mounted by the host's root.
    Trusted,
    /// `user.overlay.*`: mounted with `userxattr`, by the root of a user namespace.
    User,
}

impl Marks {
    /// Says `y` on a directory that hides what is below it.
    fn opaque(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.opaque",
            Self::User => c"user.overlay.opaque",
        }
    }

    /// Where an entry was copied up from; without a value: from somewhere.
    fn origin(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.origin",
            Self::User => c"user.overlay.origin",
        }
    }

    fn whiteout(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.whiteout",
            Self::User => c"user.overlay.whiteout",
        }
    }

    /// Whether an attribute is overlayfs's own, and nothing that it would show to anybody: what is set inside by such a name gets another.
    pub(crate) fn is_mark(self, attribute: &[u8]) -> bool {
        let prefix: &[u8] = match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        };
        attribute.strip_prefix(prefix).is_some_and(|rest| !rest.starts_with(b"overlay."))
    }

    /// Whether an attribute says on a directory what [`Self::make_opaque`] or [`Self::make_merged`] does.
    pub(crate) fn is_directory_mark(self, attribute: &[u8]) -> bool {
        [self.opaque(), self.origin()].iter().any(|mark| mark.to_bytes() == attribute)
    }

    /// Whether a name of a layer says that there is nothing: a character device 0:0, whatever the marks, or an empty file with one, whatever its
    /// value. Overlayfs obeys the latter since Linux 6.7 wherever it looks a name up; whether the directory above is marked with `x`
    /// only decides whether it lists the name (`ovl_path_is_whiteout` and `ovl_fill_merge`, tried with 6.18).
    pub(crate) fn is_whiteout(self, directory: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> rustix::io::Result<bool> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => Ok(stat.st_rdev == 0),
            FileType::RegularFile if stat.st_size == 0 => {
                let file = beneath::open_content(directory, name)?;
                Ok(attributes::value(file.as_fd(), self.whiteout())?.is_some())
            }
            _ => Ok(false),
        }
    }

    /// Whether a directory hides what is below it. `x` only says that whiteouts in it may be attributes.
    pub(crate) fn is_opaque(self, directory: BorrowedFd<'_>) -> rustix::io::Result<bool> {
        Ok(attributes::value(directory, self.opaque())?.as_deref() == Some(b"y"))
    }

    /// Makes a directory hide what is below it.
    pub(crate) fn make_opaque(self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        set(directory, path, self.opaque(), b"y")
    }

    /// Says that a directory has something below it, or had when it was made.
    ///
    /// Overlayfs hides the whiteouts in a directory from a listing only where it expects any: where directories of several layers are merged, or
    /// where this mark is, also without a value (`ovl_get_inode`, Linux 4.15 to 6.18). Otherwise they are listed as names that cannot be
    /// looked at. So a directory that gets whiteouts and may come to lie over nothing has to have it.
    pub(crate) fn make_merged(self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        set(directory, path, self.origin(), b"")
    }
}

fn set(directory: BorrowedFd<'_>, path: &[u8], name: &CStr, value: &[u8]) -> Result<()> {
    if attributes::set(directory, path, name.to_bytes(), value)? {
        return Ok(());
    }
    // Without it the layer would say something else.
    Err(Error::system(path, "mark what it hides", Errno::OPNOTSUPP))
}

/// Makes whiteouts: one inode with many names, as overlayfs itself does it.
#[derive(Debug, Default)]
pub(crate) struct Whiteouts {
    made: Option<(OwnedFd, CString)>,
}

impl Whiteouts {
    /// Says that a name is gone. Linux lets the root of a user namespace make exactly this device since 5.8.
    pub(crate) fn make(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
        if let Some((made_in, made)) = &self.made {
            match fs::linkat(made_in, made, directory, name, AtFlags::empty()) {
                Ok(()) => return Ok(()),
                // It has all the names that this file system gives to one file, or the caller has taken it away again.
                Err(Errno::MLINK | Errno::PERM | Errno::NOENT) => {}
                Err(errno) => return Err(errno).naming(path, "say that it is gone"),
            }
        }
        fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), Dev::default())
            .naming(path, "say that it is gone")?;
        let held = fs::openat(directory, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .naming(path, "keep its directory open")?;
        self.made = Some((held, name.to_owned()));
        Ok(())
    }
}
