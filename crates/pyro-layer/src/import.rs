//! Copying a user's directory into a layer.
//!
//! The copy is whole or it is an error: the caller gives an empty directory and discards it on failure. The source is never written to, and
//! never followed out of: links are copied as links.
//!
//! A file that changes while it is copied is copied again, a few times; after that the import fails and names it, because a
//! torn file is worse than none. The walk is that of all copies ([`crate::tree`]).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};

use crate::beneath;
use crate::entry::Purpose;
use crate::error::{Error, Naming, Result};
use crate::limits::{SKIPPED_NAME_BYTES_MAX, SKIPPED_NAMES_MAX};
use crate::tree::{contains_destination, copy_tree};
use crate::{Owners, Progress, Watch};

/// What a seed brought along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedReport {
    /// Files, directories and links, without the root of the tree.
    pub entry_count: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// What could not be brought along (sockets), by name; at most [`crate::limits::SKIPPED_NAMES_MAX`] of them.
    pub skipped: Vec<Vec<u8>>,
    /// How many could not be brought along.
    pub skipped_count: u64,
    /// Attributes (`user.*`, capabilities) that could not be brought along.
    pub attributes_left_behind: u64,
    /// Top-level names that tell how to build and test it, sorted.
    pub markers: Vec<String>,
}

impl SeedReport {
    pub(crate) fn skip(&mut self, path: Vec<u8>) {
        self.skipped_count += 1;
        if self.skipped.len() < SKIPPED_NAMES_MAX && path.len() <= SKIPPED_NAME_BYTES_MAX {
            self.skipped.push(path);
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress { entry_count: self.entry_count, bytes: self.bytes }
    }
}

/// Copies everything below `source` into the empty directory `destination`, which gets the source's own mode and time.
/// Everything belongs to the inside root afterwards. Other file systems mounted below the source are copied too.
///
/// # Errors
/// `Refused` for a device or for a source that contains the destination; `Changed`, `Full`, `Cancelled` or `System` as they say. The destination then holds
/// a part, to be discarded.
pub fn import_directory(source: &Path, destination: &Path, owners: Owners, watch: Watch<'_>) -> Result<SeedReport> {
    let from = beneath::open_root(source).naming(source.as_os_str().as_encoded_bytes(), "open the directory")?;
    let to = open_empty(destination)?;
    refuse_containing(&from, &to)?;
    let tally = copy_tree(from, to, Purpose::Seed(owners), watch)?;
    Ok(SeedReport {
        entry_count: tally.entry_count,
        bytes: tally.bytes,
        skipped: tally.skipped.kept,
        skipped_count: tally.skipped.count,
        attributes_left_behind: tally.attributes_left_behind,
        markers: crate::find_markers(destination)?,
    })
}

/// Opens a directory that must be empty.
pub(crate) fn open_empty(destination: &Path) -> Result<OwnedFd> {
    let name = destination.as_os_str().as_encoded_bytes();
    let opened = beneath::open_root(destination).naming(name, "open the directory")?;
    if !beneath::list(opened.as_fd()).naming(name, "list it")?.is_empty() {
        return Err(Error::refused(name, "is not empty"));
    }
    Ok(opened)
}

/// Refuses a source that is the destination or has it somewhere below. The walk checks again, for bind mounts.
pub(crate) fn refuse_containing(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let source = fs::fstat(from).naming(b"", "look at it")?;
    let mut stat = fs::fstat(to).naming(b"", "look at the destination")?;
    let mut at: Option<OwnedFd> = None;
    loop {
        if (stat.st_dev, stat.st_ino) == (source.st_dev, source.st_ino) {
            return Err(contains_destination());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = fs::openat(at.as_ref().unwrap_or(to), c"..", flags, Mode::empty()).naming(b"", "look above the destination")?;
        let above_stat = fs::fstat(&above).naming(b"", "look above the destination")?;
        if (above_stat.st_dev, above_stat.st_ino) == (stat.st_dev, stat.st_ino) {
            return Ok(());
        }
        stat = above_stat;
        at = Some(above);
    }
}

#[cfg(test)]
pub(crate) mod tests;
