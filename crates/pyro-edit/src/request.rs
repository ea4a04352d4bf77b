//! What a caller asks for.

/// Texts to replace, or a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Replacements in files, carried out in order; each works on what the ones before it left.
    Edits(Vec<FileEdits>),
    /// A patch in one of three forms, which is found out: a unified or git diff, `*** Begin Patch`, or SEARCH/REPLACE blocks.
    Patch(Vec<u8>),
}

/// Replacements in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEdits {
    /// The file, as written: relative or below the root.
    pub path: Vec<u8>,
    /// In order.
    pub edits: Vec<Edit>,
}

/// One replacement. Where the file does not have the old text as it is, a line `...` in it, by itself or in a comment, stands for lines left out; the new text has the
/// same line at the same place, and what it stands for is kept. In a new text alone such a line is refused where it would take the place of what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The text that is there; empty to create a file or to fill an empty one.
    pub old: Vec<u8>,
    /// The text that takes its place; empty to delete.
    pub new: Vec<u8>,
    /// Whether every place is replaced. Otherwise there must be exactly one.
    pub all: bool,
}

/// What paths mean and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The absolute path that the model knows the files under; it is taken off absolute paths.
    pub root: Vec<u8>,
    /// The name of the project, which models put before paths; it is taken off where only the path without it exists.
    pub project: Option<Vec<u8>>,
    /// Whether files in `.git` may be changed.
    pub allow_git_internals: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { root: b"/workspace".to_vec(), project: None, allow_git_internals: false }
    }
}
