//! Everything that is done to trees and layers by ordinary file calls: copying a directory in, bringing it up to date, unpacking archives and
//! environments, copying layers and making one of several, saying what changed, merging, taking trees out, listing, removing, measuring.
//!
//! It is used outside by the host and inside a microVM by the agent, so it knows neither. It may assume that the
//! process is root of its user namespace and that a layer belongs to it. It must assume that every *tree* was written by
//! an enemy: it never follows a symbolic link, never opens what is not a regular file or a directory for its content, never
//! recurses, and has a limit on everything ([`limits`]).
//!
//! # Ownership
//!
//! What a user brings along (a directory or an archive) belongs to the inside root, whoever owned it before: inside, the
//! user *is* root, and git refuses to work in a repository that belongs to someone else. An environment keeps its numeric
//! ids, because its programs depend on them; where the process has one id only ([`Owners::CallerOnly`]) they all become that id.
//!
//! # What a tree keeps
//!
//! Names as bytes, permission bits with setuid, setgid and sticky, modification times to the nanosecond, symbolic links as they
//! are (they are only ever resolved inside), hard links within the tree, holes, FIFOs, `user.*` attributes and file capabilities.
//! Access lists stay where what is inside is copied or merged; they neither come from outside nor leave, as their ids mean others there.
//! Attributes that an overlay would take for its own (`user.overlay.*`, `trusted.*`) are never taken over: a tree could
//! otherwise hide or redirect files of the layers below it.

pub mod archive;
mod attributes;
mod beneath;
mod changed;
mod content;
pub mod copy;
mod decompress;
pub mod diff;
mod entry;
pub mod environment;
mod error;
pub mod export;
pub mod export_tar;
pub mod fingerprint;
mod ignore_rules;
mod ignored;
pub mod import;
mod layers;
mod likeness;
pub mod limits;
mod lines;
mod links;
pub mod list;
mod markers;
mod marks;
mod measure;
pub mod merge;
pub mod patch;
mod remove;
mod renames;
mod runs_outside;
mod same;
mod squash;
mod stack;
pub mod sync;
mod tar_reader;
mod tar_writer;
mod tree;
mod writer;

#[cfg(test)]
mod testing;

use std::ops::ControlFlow;

pub use archive::{ArchiveLimits, import_archive};
pub use beneath::Mounts;
pub use changed::{Changed, Detail, MountedStack, changed};
pub use copy::{Copied, copy_layer, copy_shown};
pub use diff::{Change, Kind, Side, Status, diff};
pub use entry::ExportedLinks;
pub use environment::{UnpackReport, unpack_environment};
pub use error::{Error, ErrorKind, Result};
pub use export::{Existing, ExportOptions, Exported, export_directory};
pub use export_tar::{TarOptions, export_tar};
pub use fingerprint::{Fingerprint, fingerprint};
pub use ignore_rules::IgnoreRules;
pub use import::{SeedReport, import_directory};
pub use likeness::Likeness;
pub use list::{Listed, list};
pub use markers::find_markers;
pub use marks::Marks;
pub use measure::{Usage, is_within, measure};
pub use merge::{Favour, MergeOptions, MergeStacks, Merged, NewLayer, merge};
pub use patch::{BinaryFiles, Patch, PatchLimits, unified_patch};
pub use remove::{Removed, remove_tree, remove_tree_at};
pub use renames::find_renames;
pub use runs_outside::runs_outside;
pub use same::is_same_layer;
pub use squash::{SharedFiles, squash};
pub use stack::{Stack, Stacks};
pub use sync::{IgnoredNames, Missing, SyncOptions, Synced, plan_sync, repeat_directory};

/// Whose ids files may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The ids of the namespace, 0 to 65535: the process may give files away.
    Canonical,
    /// Only the caller's own: the process has one id, and nothing is given away or granted capabilities.
    CallerOnly,
}

/// How far a long operation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files, directories and links done.
    pub entry_count: u64,
    /// Bytes of file content done.
    pub bytes: u64,
}

/// Is told about progress after each entry and at least every [`limits::CHUNK_BYTES`] of content; `Break` cancels the operation, which then
/// ends with [`ErrorKind::Cancelled`].
pub type Watch<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;
