//! What is to be done to files, as a set of states: each path once, with what must be there before and what is there after.
//!
//! The order of changes means nothing, so that two files may change places. A plan is carried out whole or not at all.

use crate::files::{File, Mode};
use crate::path::RelPath;

/// All changes of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By path, each path once. A path whose state stays the same is not in it.
    pub changes: Vec<Change>,
    /// Files that keep their content under another name, or most of it: `(from, to)`. For telling only; `changes` has it all.
    pub moves: Vec<(RelPath, RelPath)>,
}

/// What becomes of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// What must be there, or the plan is stale.
    pub before: Before,
    /// What is there afterwards, with its whole content (for a symbolic link its target); `None` when nothing is.
    pub after: Option<File>,
}

/// What was there when the plan was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Absent,
    /// A file of this mode, with the content that was read.
    Present(Mode),
    /// A directory, in which nothing is left when the other changes are made.
    Directory,
}
