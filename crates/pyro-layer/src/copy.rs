//! Copying a layer: the copy says the same as the layer it was made of, on top of the same layers.
//!
//! Whoever calls it has stopped all that could write to the layer; what is copied while somebody writes is whole files of different moments.
//! The layer is never written to. In the copy, whiteouts are names of one inode, as overlayfs makes them; what overlayfs only noted for itself is
//! left out ([`crate::attributes::in_layer`]).

use std::path::Path;

use crate::Watch;
use crate::beneath;
use crate::entry::{Purpose, Tally};
use crate::error::{Naming, Result};
use crate::import::{open_empty, refuse_containing};
use crate::tree::copy_tree;

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
/// `Refused` for a device that is no whiteout, another mount in the layer, or a destination within it; the others as they say. The destination then
/// holds a part, to be discarded.
pub fn copy_layer(from: &Path, to: &Path, watch: Watch<'_>) -> Result<Copied> {
    let layer = beneath::open_root(from).naming(from.as_os_str().as_encoded_bytes(), "open the layer")?;
    let to = open_empty(to)?;
    refuse_containing(&layer, &to)?;
    Ok(Copied::from(&copy_tree(layer, to, Purpose::Layer, watch)?))
}

#[cfg(test)]
mod tests;
