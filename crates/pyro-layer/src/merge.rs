//! Three-way merge: what one fork of a tree changed, brought into another fork, as one more layer on top of that.
//!
//! A tree's state is a stack of layers; `base` is the state that both forks began with. What changed from it to `theirs` is taken over, where
//! `ours` has not changed the same. It is read from the layers in which the forks differ from the base, and what is written is a new layer that says
//! only what is to be different from `ours`. Either all of it is written or, while there is a conflict, nothing.
//!
//! # What is merged
//!
//! Paths, not renames: a file that was renamed was deleted in one place and added in another. Content, type and permission bits, as
//! [`crate::diff()`] compares them; what has another owner, time or attribute only has not changed. Text that both changed is merged by lines
//! (`merge/join.rs`), and its permission bits apart from that.
//!
//! Directories are there for what is in them, as to git: one that theirs deleted stays when ours put something new into it, and one that ours
//! deleted comes back when theirs did. But a path cannot be a directory and something else: where one side has something new below what the other
//! has made into a file, that is a conflict of the whole directory.
//!
//! # What is written
//!
//! What is taken has the owner, times and attributes that it has in theirs, as far as a layer may have them (see the crate's documentation), and is linked
//! to what it was linked to there, if that is taken too. What was merged from both sides has ours' owner and attributes, and the time of now, so that
//! tools build it again. Directories that have to be in the layer because something in them is, stay as they are in ours.

mod join;
mod plan;
mod sources;
mod write;

use std::path::{Path, PathBuf};

use crate::diff::{Kind, Side, Status, diff};
use crate::entry::Tally;
use crate::error::Result;
use crate::marks::Marks;
use crate::stack::Stacks;
use crate::{Owners, Watch};

use plan::{Planned, plan};
use sources::Sources;

/// Three states of one tree, each a stack of layers, uppermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeStacks {
    /// What both forks began with.
    pub base: Vec<PathBuf>,
    /// The fork that is to have the changes of both.
    pub ours: Vec<PathBuf>,
    /// The fork whose changes are taken over.
    pub theirs: Vec<PathBuf>,
    /// What the mounts of all obey, and with what the result is marked.
    pub marks: Marks,
}

/// Whose version is right where both changed the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Favour {
    /// What the fork has that is merged into.
    Ours,
    /// What the fork has that is merged.
    Theirs,
}

/// How to decide what cannot be merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergeOptions {
    /// For all conflicts; without it they are reported. In a text it decides about the lines in conflict only.
    pub favour: Option<Favour>,
    /// For content that both changed and that has no lines (binary files, large ones, targets of links), before `favour`.
    pub binary: Option<Favour>,
}

/// Where the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLayer<'a> {
    /// An empty directory, which becomes the layer on top of `ours`. After a failure it holds a part, to be discarded.
    pub directory: &'a Path,
    /// Whose ids files may get.
    pub owners: Owners,
}

/// What became of a merge. All lists are in byte order of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// What is as theirs has it, and what happened to it there.
    pub taken: Vec<Taken>,
    /// What was put together from both: text by lines, or the content of one and the mode of the other.
    pub merged: Vec<Vec<u8>>,
    /// What was decided by [`MergeOptions`].
    pub settled: Vec<Settled>,
    /// What is to be decided; at most [`crate::limits::CONFLICTS_MAX`] of them.
    pub conflicts: Vec<Conflict>,
    /// How many conflicts there are.
    pub conflict_count: u64,
    /// What the new layer got; `None` when none was asked for, or because of conflicts.
    pub written: Option<Written>,
}

/// A path that is taken from theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Path below the root of the tree.
    pub path: Vec<u8>,
    /// What theirs did to it; added, where it left alone what comes back with its directory.
    pub status: Status,
}

/// A conflict that an option decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Path below the root of the tree.
    pub path: Vec<u8>,
    /// What the conflict was.
    pub kind: ConflictKind,
    /// For whom it was decided.
    pub favour: Favour,
}

/// Two changes that do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Path below the root of the tree.
    pub path: Vec<u8>,
    /// Why they do not go together.
    pub kind: ConflictKind,
    /// What was there before.
    pub base: Option<Version>,
    /// What ours has.
    pub ours: Option<Version>,
    /// What theirs has.
    pub theirs: Option<Version>,
    /// For [`ConflictKind::Lines`], the lines; none when the conflicts before this one have used up
    /// [`crate::limits::CONFLICT_TEXTS_BYTES_MAX`].
    pub hunks: Vec<ConflictHunk>,
}

/// Why two changes do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// Both changed the same lines of a text.
    Lines,
    /// Both changed content that has no lines: a binary file, a large one, the target of a link.
    Content,
    /// Both changed the permission bits.
    Mode,
    /// One changed what the other deleted.
    ModifiedAndDeleted,
    /// Both added something else.
    AddedTwice,
    /// It was made into something else, which does not go with what the other did.
    Type,
    /// One has something new in a directory which the other has made into something else.
    DirectoryAgainstFile,
}

/// What one state has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Size of a file in bytes, or of a link's target.
    pub size_bytes: u64,
    /// The content, if it is text and no longer than [`crate::limits::CONFLICT_TEXT_BYTES_MAX`], and the conflicts before this one have left room for it. A
    /// link's target.
    pub text: Option<String>,
}

/// Lines that both changed, with their line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictHunk {
    /// The line of ours where they begin, from 1.
    pub ours_line: u64,
    /// What was there before.
    pub base: String,
    /// What ours has.
    pub ours: String,
    /// What theirs has.
    pub theirs: String,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Names in the new layer: files, directories, links, deletions.
    pub entry_count: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// What could not be taken over (sockets, devices), by name; at most [`crate::limits::SKIPPED_NAMES_MAX`] of them.
    pub skipped: Vec<Vec<u8>>,
    /// How many could not be taken over.
    pub skipped_count: u64,
    /// Attributes that could not be taken over.
    pub attributes_left_behind: u64,
}

impl From<Tally> for Written {
    fn from(tally: Tally) -> Self {
        Self {
            entry_count: tally.entry_count,
            bytes: tally.bytes,
            skipped: tally.skipped.kept,
            skipped_count: tally.skipped.count,
            attributes_left_behind: tally.attributes_left_behind,
        }
    }
}

/// Merges what changed from `base` to `theirs` into `ours`. Without `into` it only says what would come of it.
///
/// # Errors
/// When a layer cannot be read, or changes while it is read; when the states differ in more than can be listed; when the new layer is not an empty directory or
/// cannot be written; or `watch` broke it off.
pub fn merge(stacks: &MergeStacks, options: &MergeOptions, into: Option<NewLayer<'_>>, watch: Watch<'_>) -> Result<Merged> {
    let since_base = |fork: &[PathBuf]| Stacks { old: stacks.base.clone(), new: fork.to_vec(), marks: stacks.marks };
    let ours = diff(&since_base(&stacks.ours), b"", &mut *watch)?;
    let theirs = diff(&since_base(&stacks.theirs), b"", &mut *watch)?;
    let sources = Sources::open(stacks)?;
    let Planned { steps, mut merged } = plan(&sources, ours, theirs, options, into.is_some(), &mut *watch)?;
    if let Some(into) = into
        && merged.conflict_count == 0
    {
        merged.written = Some(write::write(&steps, &sources, stacks, into, watch)?);
    }
    Ok(merged)
}

/// One of the three states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Base,
    Ours,
    Theirs,
}

/// One path that is to be different from what ours has.
#[derive(Debug)]
struct Step {
    path: Vec<u8>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// It is to be gone.
    Delete,
    /// It is to be what a state has at this path.
    Put {
        from: Origin,
        side: Side,
        /// The permission bits, which may be those of the other state.
        mode: u32,
        /// What it has for content, where that is no state's.
        text: Option<String>,
    },
}

/// The order in which a directory is followed by everything in it and nothing else: names are compared one after the other.
fn tree_order(left: &[u8], right: &[u8]) -> std::cmp::Ordering {
    // No name has a NUL byte.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    left.iter().map(key).cmp(right.iter().map(key))
}

#[cfg(test)]
mod tests;
