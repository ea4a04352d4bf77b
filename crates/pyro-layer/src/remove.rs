//! Deleting a tree that an enemy may have made: iteratively, by descriptors, never through a link, never into another mount.
//!
//! It goes on past what it cannot delete, so that one bad name does not keep gigabytes.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::beneath::{self, Descent, Entry, Mounts, RawKind, WalkPath};
use crate::error::{Error, Naming, Result};
use crate::measure::blocks;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Disk space given back: blocks of what lost its last name.
    pub freed_bytes: u64,
    /// Names removed.
    pub entry_count: u64,
}

/// Deletes a tree with its root. A root that is not there is no failure: somebody was quicker.
///
/// Directories that forbid entering (an overlay's `work/work` has mode 0000) are opened up first.
///
/// # Errors
/// Names the first thing that could not be deleted, after everything else has been. Another mount inside the tree is such a thing.
pub fn remove_tree(tree: &Path) -> Result<Removed> {
    let shown = tree.as_os_str().as_encoded_bytes();
    let Some(name) = tree.file_name() else {
        return Err(Error::refused(shown, "names no tree that could be removed"));
    };
    let parent = tree.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match beneath::open_root(parent) {
        Err(Errno::NOENT) => Ok(Removed::default()),
        other => remove_tree_at(other.naming(shown, "open the directory above it")?, name),
    }
}

/// The same for a name in a directory that is open.
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_tree_at(parent: OwnedFd, name: &OsStr) -> Result<Removed> {
    let mut removed = Removed::default();
    let mut first_failure = None;
    let shown = name.as_encoded_bytes();
    let name = beneath::c_name(shown).naming(shown, "remove it")?;
    let stat = match beneath::stat(&parent, &name) {
        Err(Errno::NOENT) => return Ok(removed),
        other => other.naming(shown, "look at it")?,
    };
    if fs::FileType::from_raw_mode(stat.st_mode) != fs::FileType::Directory {
        fs::unlinkat(&parent, &name, AtFlags::empty()).naming(shown, "remove it")?;
        removed.count(&stat);
        return Ok(removed);
    }
    let mut descent = Descent::new(parent).naming(shown, "open the directory above it")?;
    let mut path = WalkPath::default();
    // Frame 0 stands for the parent and holds only the root of the tree.
    let mut left = vec![vec![Entry { name, kind: RawKind::Directory }]];
    let mut fail = |error: Error| {
        first_failure.get_or_insert(error);
    };
    while let Some(entries) = left.last_mut() {
        let Some(Entry { name, kind }) = entries.pop() else {
            left.pop();
            if left.is_empty() {
                break;
            }
            // The directory is done: up, and away with it.
            descent.leave().naming(path.here(), "go back up from it")?;
            let last = path.here().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let name = beneath::c_name(last).naming(path.here(), "remove it")?;
            let stat = beneath::stat(descent.here(), &name);
            match fs::unlinkat(descent.here(), &name, AtFlags::REMOVEDIR) {
                Ok(()) => {
                    removed.entry_count += 1;
                    removed.freed_bytes += stat.map_or(0, |stat| blocks(&stat));
                }
                Err(Errno::NOENT) => {}
                Err(errno) => fail(Error::system(path.here(), "remove it", errno)),
            }
            path.leave();
            continue;
        };
        if kind != RawKind::Directory {
            let stat = beneath::stat(descent.here(), &name);
            match fs::unlinkat(descent.here(), &name, AtFlags::empty()) {
                Ok(()) => {
                    if let Ok(stat) = stat {
                        removed.count(&stat);
                    }
                    continue;
                }
                Err(Errno::NOENT) => continue,
                // Not every file system says what is a directory, and names can be swapped.
                Err(Errno::ISDIR) => {}
                Err(errno) => {
                    fail(Error::system(&path.join(&name), "remove it", errno));
                    continue;
                }
            }
        }
        match enter(&mut descent, &name) {
            Ok(()) => {
                path.enter(&name);
                left.push(beneath::list(descent.here()).naming(path.here(), "list it")?);
            }
            Err(Errno::NOENT) => {}
            Err(Errno::XDEV) => fail(Error::refused(&path.join(&name), "is another mount and was left alone")),
            Err(errno) => fail(Error::system(&path.join(&name), "open it", errno)),
        }
    }
    match first_failure {
        None => Ok(removed),
        Some(error) => Err(error),
    }
}

impl Removed {
    fn count(&mut self, stat: &Stat) {
        self.entry_count += 1;
        if stat.st_nlink <= 1 {
            self.freed_bytes += blocks(stat);
        }
    }
}

/// Enters a directory that may forbid it, and makes it one that we may empty.
fn enter(descent: &mut Descent, name: &std::ffi::CStr) -> rustix::io::Result<()> {
    let stat = match descent.enter(name, Mounts::Stay) {
        Err(Errno::ACCESS) => {
            let handle = fs::openat(
                descent.here(),
                name,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            open_up(&handle)?;
            descent.enter(name, Mounts::Stay)?
        }
        other => other?,
    };
    if stat.st_mode & 0o700 != 0o700 {
        // Root of a user namespace has no need of it; an ordinary caller has. A failure shows when names do not go away.
        let _ = make_ours(descent.here());
    }
    Ok(())
}

fn make_ours(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fs::fchmod(directory, Mode::RWXU)
}

/// Changes the mode of exactly the directory that the handle was opened on: `fchmodat` without following is not in every kernel.
fn open_up(handle: &OwnedFd) -> rustix::io::Result<()> {
    fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)
}

#[cfg(test)]
mod tests;
