//! One rename of a plan, or a directory that comes or goes. Whether it was done is told by what is on the disk, never by what we remember: so that
//! whoever finds the journal of a killed agent takes back, or finishes, by the same words.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use pyro_edit::RelPath;
use rustix::fs::{AtFlags, Gid, Mode as Bits, RenameFlags, Uid};
use rustix::io::Errno;

use super::super::write::DIRECTORY_MODE;
use super::at;

/// What happens at one path below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The file that it is done for.
    pub of: RelPath,
    /// Where.
    pub path: PathBuf,
    /// Where the new content waits, or the old one is put. Empty for directories.
    pub aside: PathBuf,
    /// What.
    pub kind: Kind,
}

/// The inode of a new file tells it from the old one. That of an old one tells nothing: an overlay may give a file another when it is moved for the first
/// time (Documentation/filesystems/overlayfs.rst, "Inode properties").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What is there is put aside.
    Remove,
    /// An empty directory goes.
    RemoveDirectory {
        /// Permission bits, to make it again with.
        mode: u32,
        /// User and group.
        owner: (u32, u32),
    },
    /// A directory is made.
    MakeDirectory,
    /// What is aside comes to a place where nothing is.
    Create {
        /// The inode of what is aside.
        new: u64,
    },
    /// What is aside and what is there change places.
    Replace {
        /// The inode of what is aside.
        new: u64,
    },
}

impl Step {
    /// Does it. Of the last one nothing is kept aside, for nothing after it can fail.
    pub fn make(&self, root: &OwnedFd, is_last: bool) -> Result<(), Errno> {
        let (directory, name) = at(root, &self.path)?;
        match self.kind {
            Kind::RemoveDirectory { .. } => rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR),
            Kind::MakeDirectory => match rustix::fs::mkdirat(&directory, name, Bits::from_raw_mode(DIRECTORY_MODE)) {
                Err(Errno::EXIST) => Ok(()),
                made => made,
            },
            Kind::Remove => {
                let (aside, aside_name) = at(root, &self.aside)?;
                rustix::fs::renameat_with(&directory, name, &aside, aside_name, RenameFlags::NOREPLACE)
            }
            Kind::Create { .. } => {
                let (aside, aside_name) = at(root, &self.aside)?;
                rustix::fs::renameat_with(&aside, aside_name, &directory, name, RenameFlags::NOREPLACE)
            }
            // Over a file of a lower layer, an exchange copies that one up first (fs/overlayfs/dir.c, `ovl_rename`).
            Kind::Replace { .. } => {
                let (aside, aside_name) = at(root, &self.aside)?;
                let flags = if is_last { RenameFlags::empty() } else { RenameFlags::EXCHANGE };
                rustix::fs::renameat_with(&aside, aside_name, &directory, name, flags)
            }
        }
    }

    /// Whether it was done.
    pub fn is_made(&self, root: &OwnedFd) -> bool {
        match self.kind {
            // It is unlinked when everything is over.
            Kind::Remove => inode(root, &self.aside).is_some() || inode(root, &self.path).is_none(),
            Kind::Create { new } | Kind::Replace { new } => inode(root, &self.path) == Some(new),
            Kind::RemoveDirectory { .. } => inode(root, &self.path).is_none(),
            Kind::MakeDirectory => inode(root, &self.path).is_some(),
        }
    }

    /// Takes it back if it was done, and takes away what waited for it if not.
    fn take_back(&self, root: &OwnedFd) -> Result<(), Errno> {
        match self.kind {
            Kind::RemoveDirectory { mode, owner } => {
                let (directory, name) = at(root, &self.path)?;
                rustix::fs::mkdirat(&directory, name, Bits::from_raw_mode(0o700))?;
                let made = super::beneath(&directory, name, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY)?;
                rustix::fs::fchown(&made, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?;
                rustix::fs::fchmod(&made, Bits::from_raw_mode(mode))
            }
            Kind::MakeDirectory => {
                let (directory, name) = at(root, &self.path)?;
                rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR)
            }
            Kind::Remove if inode(root, &self.aside).is_some() => {
                let ((directory, name), (aside, aside_name)) = (at(root, &self.path)?, at(root, &self.aside)?);
                rustix::fs::renameat_with(&aside, aside_name, &directory, name, RenameFlags::NOREPLACE)
            }
            Kind::Remove => Ok(()),
            Kind::Create { .. } if self.is_made(root) => unlink(root, &self.path),
            Kind::Replace { .. } if self.is_made(root) => {
                let ((directory, name), (aside, aside_name)) = (at(root, &self.path)?, at(root, &self.aside)?);
                rustix::fs::renameat(&aside, aside_name, &directory, name)
            }
            Kind::Create { new } | Kind::Replace { new } if inode(root, &self.aside) == Some(new) => unlink(root, &self.aside),
            Kind::Create { .. } | Kind::Replace { .. } => Ok(()),
        }
    }
}

/// Takes back whatever was done of some steps.
pub fn take_back(root: &OwnedFd, steps: &[Step]) {
    for step in steps.iter().rev() {
        // There is nobody to tell when even this does not work, and the others are still to be taken back.
        let _left = step.take_back(root);
    }
}

/// Takes away what was there before, and directories that nothing is left in: as git does.
pub fn finish(root: &OwnedFd, steps: &[Step]) {
    for step in steps {
        let is_left = match step.kind {
            Kind::Remove => true,
            // What was replaced, unless it was the last.
            Kind::Replace { .. } if steps.len() > 1 => true,
            _ => false,
        };
        if is_left {
            let _left = unlink(root, &step.aside);
        }
    }
    for step in steps.iter().filter(|step| step.kind == Kind::Remove) {
        for above in step.path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            let removed = at(root, above).and_then(|(directory, name)| rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR));
            // One that is not there any more went with another file.
            if removed.is_err_and(|error| error != Errno::NOENT) {
                break;
            }
        }
    }
}

fn inode(root: &OwnedFd, path: &Path) -> Option<u64> {
    let (directory, name) = at(root, path).ok()?;
    rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| stat.st_ino)
}

fn unlink(root: &OwnedFd, path: &Path) -> Result<(), Errno> {
    let (directory, name) = at(root, path)?;
    rustix::fs::unlinkat(&directory, name, AtFlags::empty())
}
