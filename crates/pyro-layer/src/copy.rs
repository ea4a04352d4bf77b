//! Copying a layer: the copy says the same as the layer it was made of, on top of the same layers.
//!
//! Whoever calls it has stopped all that could write to the layer; what is copied while somebody writes is whole files of different moments.
//! The layer is never written to. In the copy, whiteouts are names of one inode, as overlayfs makes them; what overlayfs only noted for itself is
//! left out ([`crate::attributes::in_layer`]).

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;

use crate::beneath::{self, RawKind, WalkPath};
use crate::entry::{Copier, Found, Purpose, Tally, is_directory, keeps_changing};
use crate::error::{Error, Naming, Result};
use crate::import::open_empty;
use crate::marks::Marks;
use crate::tree::copy_tree;
use crate::{Owners, Watch, writer};

/// What a layer made of others holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Names in it, whiteouts too, without its root.
    pub entry_count: u64,
    /// Bytes of file content that were copied, holes included, also where the file system shares the blocks.
    pub bytes: u64,
    /// Names that are further names of files in the layers that it was made of: their content was not copied.
    pub linked_count: u64,
    /// Attributes that could not be brought along.
    pub attributes_left_behind: u64,
}

impl From<&Tally> for Copied {
    fn from(tally: &Tally) -> Self {
        Self {
            entry_count: tally.entry_count,
            bytes: tally.bytes,
            linked_count: 0,
            attributes_left_behind: tally.attributes_left_behind,
        }
    }
}

/// Copies the layer `from` into the empty directory `to`, with owners, modes, times, attributes, hard links and holes.
///
/// # Errors
/// `Refused` for a device that is no whiteout, another mount in the layer, or a destination within it, once that is met; the others as they say. The
/// destination then holds a part, to be discarded.
pub fn copy_layer(from: &Path, to: &Path, watch: Watch<'_>) -> Result<Copied> {
    let layer = beneath::open_root(from).naming(from.as_os_str().as_encoded_bytes(), "open the layer")?;
    let to = open_empty(to)?;
    Ok(Copied::from(&copy_tree(layer, to, Purpose::Layer, watch)?))
}

/// Copies what an overlay shows under a name of one directory to the same name of another, which has nothing there: a tree with owners, modes, times,
/// attributes, hard links and holes. What overlayfs notes for itself is not shown and so not copied.
///
/// # Errors
/// `Refused` for sockets, devices and another mount in the tree; the others as they say. The destination then holds a part, to be discarded.
pub fn copy_shown(from: &OwnedFd, to: &OwnedFd, name: &CStr, watch: Watch<'_>) -> Result<Copied> {
    // Neither kind of mark is to be seen from inside: both are taken for data of the workload, as far as they are taken at all.
    let purpose = Purpose::Shown(Owners::Canonical, Marks::User);
    let path = name.to_bytes();
    let stat = beneath::stat(from, name).naming(path, "look at it")?;
    let tally = if is_directory(&stat) {
        writer::make_directory(to.as_fd(), name, path)?;
        let from = beneath::open_beneath(from, path, DIRECTORY).naming(path, "open it")?;
        let to = beneath::open_beneath(to, path, DIRECTORY).naming(path, "open the copy of it")?;
        copy_tree(from, to, purpose, watch)?
    } else {
        let mut copier = Copier::new(to.as_fd(), purpose, watch)?;
        if copier.copy(from.as_fd(), to.as_fd(), name, RawKind::Unknown, &WalkPath::default())? == Found::Directory {
            return Err(keeps_changing(path));
        }
        copier.tally
    };
    match tally.skipped.kept.first() {
        None => Ok(Copied::from(&tally)),
        Some(skipped) => Err(Error::refused(skipped, "is a socket or a device")),
    }
}

/// How the directories are opened between which is copied.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

#[cfg(test)]
mod tests;
