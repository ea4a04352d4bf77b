//! Listing a directory.
//!
//! Each directory's names are sorted and followed by what is below them, so output begins before the whole tree was read. What is held at
//! one time is bounded by `entries_max`, whatever the tree looks like: names that can no longer get into the answer are dropped.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;

use pyro_wire::limits::{MODE_MAX, PATH_BYTES_MAX};
use pyro_wire::message::{Entry, EntryKind, FileStep, List};
use pyro_wire::{Bytes, FromAgent};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::batch::{Batch, json_bytes};
use super::{Failure, Reply, at};

/// Names of one directory that are still to be sent.
struct Level {
    /// Path of the directory relative to the listed one, with a slash at its end; empty for that one itself.
    prefix: Vec<u8>,
    names: VecDeque<Vec<u8>>,
}

/// Answers a listing. A directory that cannot be opened (it is gone, or not ours to read) is listed and has nothing below it.
pub fn list(reply: &Reply, request: &List) -> Result<FromAgent, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let top = rustix::fs::open(request.path.as_str(), flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR if rustix::fs::stat(request.path.as_str()).is_ok() => at(FileStep::NotADirectory)(error),
        error => at(FileStep::Open)(error),
    })?;
    let mut left = request.entries_max as usize;
    let again = rustix::fs::openat(&top, ".", flags, Mode::empty()).map_err(at(FileStep::Open))?;
    let mut levels = vec![Level { prefix: Vec::new(), names: names(reply, again, left)? }];
    let mut batch = Batch::new(reply, FromAgent::Entries);
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop_front() else {
            levels.pop();
            continue;
        };
        if left == 0 {
            break;
        }
        if reply.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let path = [level.prefix.as_slice(), &name].concat();
        if path.len() > PATH_BYTES_MAX {
            return Err(at(FileStep::Read)(Errno::NAMETOOLONG));
        }
        let Some(entry) = entry(&top, &path)? else { continue };
        left -= 1;
        let descend = entry.kind == EntryKind::Directory && levels.len() < request.depth as usize;
        let json_bytes = json_bytes(std::iter::once(&entry.path).chain(&entry.target));
        batch.push(entry, json_bytes)?;
        if descend && left > 0 {
            // O_NOFOLLOW: exchanged for a link meanwhile, it would lead elsewhere.
            let below = match rustix::fs::openat(&top, path.as_slice(), flags | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(directory) => names(reply, directory, left)?,
                Err(_) => continue,
            };
            levels.push(Level { prefix: [path.as_slice(), b"/"].concat(), names: below });
            forget(&mut levels, left);
        }
    }
    batch.flush()?;
    Ok(FromAgent::Done)
}

/// The first `max` names of a directory, in byte order.
fn names(reply: &Reply, directory: OwnedFd, max: usize) -> Result<VecDeque<Vec<u8>>, Failure> {
    let mut names = BTreeSet::new();
    for (index, found) in Dir::new(directory).map_err(at(FileStep::Read))?.enumerate() {
        let found = found.map_err(at(FileStep::Read))?;
        let name = found.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.insert(name.to_vec());
            if names.len() > max {
                names.pop_last();
            }
        }
        if index % 1024 == 0 && reply.is_cancelled() {
            return Err(Failure::Cancelled);
        }
    }
    Ok(names.into_iter().collect())
}

/// Drops names that come after the first `left` ones: the last names of the outermost directories.
fn forget(levels: &mut [Level], left: usize) {
    let held: usize = levels.iter().map(|level| level.names.len()).sum();
    let mut surplus = held.saturating_sub(left);
    for level in levels {
        let drop = surplus.min(level.names.len());
        level.names.truncate(level.names.len() - drop);
        surplus -= drop;
    }
}

/// Looks at one path; `None` when it is gone by now.
fn entry(top: &OwnedFd, path: &[u8]) -> Result<Option<Entry>, Failure> {
    let stat = match rustix::fs::statat(top, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(at(FileStep::Read)(error)),
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    };
    let target = match kind {
        EntryKind::Symlink => rustix::fs::readlinkat(top, path, Vec::new()).ok().map(|target| Bytes::from(target.into_bytes())),
        EntryKind::File | EntryKind::Directory | EntryKind::Other => None,
    };
    Ok(Some(Entry {
        path: Bytes::from(path),
        kind,
        size_bytes: if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        mode: stat.st_mode & MODE_MAX,
        modified_s: stat.st_mtime,
        target,
    }))
}
