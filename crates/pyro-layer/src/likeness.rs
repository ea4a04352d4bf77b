//! What a directory itself is like, apart from what is in it. Whoever makes a layer by hand has to give it to the directories that are in the layer only
//! because something in them is, and to its root: overlayfs shows those of the uppermost layer.
//!
//! It says nothing about layers: marks of overlays stay with the directory that has them.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self, Gid, OFlags, Uid};

use crate::Owners;
use crate::attributes;
use crate::beneath;
use crate::error::{Naming, Result};
use crate::writer::Metadata;

/// Owner, mode, time and attributes of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Likeness(Metadata);

impl Likeness {
    /// Of a directory as it is: of a layer, or as an overlay shows it.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of(directory: BorrowedFd<'_>) -> Result<Self> {
        // It may be a place only, of which attributes cannot be read.
        let directory = beneath::open_beneath(directory, b"", OFlags::RDONLY | OFlags::DIRECTORY).naming(b"", "open it")?;
        let directory = directory.as_fd();
        let stat = fs::fstat(directory).naming(b"", "look at it")?;
        let mut metadata = Metadata { owner: Some((stat.st_uid, stat.st_gid)), ..Metadata::of(&stat) };
        for name in taken_over(directory)? {
            if let Some(value) = attributes::value(directory, &name).naming(b"", "read an attribute")? {
                metadata.attributes.push((name.into_bytes(), value));
            }
        }
        metadata.attributes.sort();
        Ok(Self(metadata))
    }

    /// Of one that belongs to somebody and has nothing else to it.
    #[must_use]
    pub fn plain(mode: u32, owner: (u32, u32), modified_at: (i64, u32)) -> Self {
        Self(Metadata { mode, modified_at, owner: Some(owner), attributes: Vec::new() })
    }

    /// Whether they are the same but for their times.
    #[must_use]
    pub fn is_same_but_for_time(&self, other: &Self) -> bool {
        self.0 == Metadata { modified_at: self.0.modified_at, ..other.0.clone() }
    }

    /// Makes a directory like this. Attributes that the file system does not take are left out.
    ///
    /// # Errors
    /// When it cannot be changed.
    pub fn give(&self, directory: BorrowedFd<'_>) -> Result<()> {
        let stat = fs::fstat(directory).naming(b"", "look at it")?;
        // Who has one id has no other to give, and may not even name it.
        if let Some((user, group)) = self.0.owner.filter(|owner| *owner != (stat.st_uid, stat.st_gid)) {
            fs::fchown(directory, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).naming(b"", "change its owner")?;
        }
        for name in taken_over(directory)? {
            if !self.0.attributes.iter().any(|(kept, _)| kept == name.as_bytes()) {
                fs::fremovexattr(directory, &name).naming(b"", "remove an attribute")?;
            }
        }
        for (name, value) in &self.0.attributes {
            attributes::set(directory, b"", name, value)?;
        }
        self.0.give_mode_and_time(directory, b"")
    }
}

/// The attributes that are the tree's. Capabilities mean nothing on a directory.
fn taken_over(directory: BorrowedFd<'_>) -> Result<Vec<CString>> {
    let mut names = attributes::names(directory, &mut Vec::new()).naming(b"", "list its attributes")?;
    names.retain(|name| attributes::is_taken_over(name.to_bytes(), Owners::CallerOnly));
    Ok(names)
}

#[cfg(test)]
mod tests;
