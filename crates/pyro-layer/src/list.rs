//! Listing a directory and what is below it: the names of each in byte order, each directory followed by what is in it.
//!
//! What is held at one time is bounded by how many entries are wanted, whatever the tree looks like: names that can no longer be among them are
//! dropped. It may not assume that the tree holds still: what vanishes meanwhile is not listed.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType};
use rustix::io::Errno;

use crate::beneath::{self, Descent, Mounts, WalkPath};
use crate::error::{Error, Naming, Result};
use crate::{Kind, Progress, Watch};

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Path below the directory that is listed.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Size of a file; 0 for everything else.
    pub size_bytes: u64,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// When it was last written to, seconds since 1970.
    pub modified_s: i64,
    /// Where a link points.
    pub target: Option<Vec<u8>>,
}

/// Lists a directory, `depth` levels of it, until `entries_max` entries were told. A directory below it that cannot be opened (it is gone, or not ours to
/// read) is listed and has nothing below it. `tell` may say that it is enough.
///
/// # Errors
/// When a directory cannot be read; `Cancelled` when `watch` says so.
pub fn list(
    top: OwnedFd,
    depth: u32,
    entries_max: usize,
    tell: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    watch: Watch<'_>,
) -> Result<()> {
    let mut progress = Progress::default();
    let mut left = entries_max;
    let mut path = WalkPath::default();
    let mut levels = vec![names(top.as_fd(), left, &path, progress, watch)?];
    let mut walk = Descent::new(top).naming(b"", "look at it")?;
    while left > 0
        && let Some(level) = levels.last_mut()
    {
        let Some(name) = level.pop_front() else {
            levels.pop();
            if walk.depth() > 0 {
                walk.leave().naming(path.here(), "go back up from it")?;
                path.leave();
            }
            continue;
        };
        look_up(progress, watch)?;
        let Some(listed) = look_at(walk.here(), &name, path.join(&name))? else { continue };
        let goes_down = listed.kind == Kind::Directory && levels.len() < depth as usize;
        left -= 1;
        progress.entry_count += 1;
        if tell(listed).is_break() {
            return Ok(());
        }
        if goes_down && left > 0 && walk.enter(&name, Mounts::Cross).is_ok() {
            path.enter(&name);
            levels.push(names(walk.here(), left, &path, progress, watch)?);
            forget(&mut levels, left);
        }
    }
    Ok(())
}

fn look_up(progress: Progress, watch: Watch<'_>) -> Result<()> {
    if watch(progress).is_break() { Err(Error::cancelled()) } else { Ok(()) }
}

/// The first `max` names of a directory.
fn names(
    directory: BorrowedFd<'_>,
    max: usize,
    path: &WalkPath,
    progress: Progress,
    watch: Watch<'_>,
) -> Result<VecDeque<CString>> {
    /// Names that are read between two looks at whether to go on: a fraction of a millisecond.
    const NAMES_PER_LOOK: usize = 1024;
    let unread = |errno| Error::system(path.here(), "list it", errno);
    let mut names = BTreeSet::new();
    for (index, found) in fs::Dir::read_from(directory).map_err(unread)?.enumerate() {
        let found = found.map_err(unread)?;
        let name = found.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.insert(name.to_owned());
            if names.len() > max {
                names.pop_last();
            }
        }
        if index % NAMES_PER_LOOK == 0 {
            look_up(progress, watch)?;
        }
    }
    Ok(names.into_iter().collect())
}

/// Drops names that come after the first `left` ones: the last names of the outermost directories.
fn forget(levels: &mut [VecDeque<CString>], left: usize) {
    let held: usize = levels.iter().map(VecDeque::len).sum();
    let mut surplus = held.saturating_sub(left);
    for level in levels {
        let drop = surplus.min(level.len());
        level.truncate(level.len() - drop);
        surplus -= drop;
    }
}

/// Looks at one name; `None` when it is gone by now.
fn look_at(directory: BorrowedFd<'_>, name: &CStr, path: Vec<u8>) -> Result<Option<Listed>> {
    let stat = match beneath::stat(directory, name) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(Error::system(&path, "look at it", errno)),
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    };
    let target = match kind {
        Kind::Symlink => fs::readlinkat(directory, name, Vec::new()).ok().map(CString::into_bytes),
        Kind::File | Kind::Directory | Kind::Other => None,
    };
    Ok(Some(Listed {
        path,
        kind,
        size_bytes: if kind == Kind::File { crate::content::size(&stat) } else { 0 },
        mode: stat.st_mode & 0o7777,
        modified_s: stat.st_mtime,
        target,
    }))
}

#[cfg(test)]
mod tests;
