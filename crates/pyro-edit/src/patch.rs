//! What every patch form becomes once it is read: files, and for each what is done to it.
//!
//! Reading knows nothing of the files that are there. Text outside of what a form defines is skipped: mail, prose, fences, the lines of a shell around
//! a heredoc. Anything from inside must fit, or the line is named.

pub(crate) mod base85;
pub(crate) mod blocks;
pub(crate) mod detect;
pub(crate) mod header;
pub(crate) mod name;
pub(crate) mod unified;
pub(crate) mod v4a;

use crate::failure::Why;
use crate::files::Mode;
use crate::hunk::Hunk;
use crate::limits::{FILES_MAX, HUNKS_MAX};
use crate::path::shown;

/// A file's part of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePatch<'p> {
    /// Path before; `None` when there was nothing. As written, but unquoted.
    pub(crate) old: Option<Vec<u8>>,
    /// Path after; `None` when nothing is left.
    pub(crate) new: Option<Vec<u8>>,
    pub(crate) what: What,
    /// The mode that it gets, if it is said.
    pub(crate) new_mode: Option<Mode>,
    pub(crate) body: Body<'p>,
    /// Both names may begin with a letter for their side.
    pub(crate) has_sides: bool,
    /// The line of the patch where it begins, from 1.
    pub(crate) patch_line: usize,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Modify,
    Create,
    Delete,
    Rename,
    Copy,
}

/// What is done to its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body<'p> {
    Hunks(Vec<Hunk<'p>>),
    /// Whole new content, or its difference from the old; and the same for the way back, which says what the old was.
    Binary {
        forward: Binary,
        backward: Option<Binary>,
    },
}

/// Content in git's binary form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Literal(Vec<u8>),
    Delta(Vec<u8>),
}

/// Lines of a patch, with their numbers.
pub(crate) struct PatchLines<'p> {
    pub(crate) lines: Vec<&'p [u8]>,
    pub(crate) at: usize,
}

impl<'p> PatchLines<'p> {
    pub(crate) fn new(text: &'p [u8]) -> Self {
        Self { lines: text.split_inclusive(|byte| *byte == b'\n').collect(), at: 0 }
    }

    pub(crate) fn peek(&self) -> Option<&'p [u8]> {
        self.ahead(0)
    }

    pub(crate) fn ahead(&self, count: usize) -> Option<&'p [u8]> {
        self.lines.get(self.at + count).copied()
    }

    /// A failure at the current line.
    pub(crate) fn bad(&self, problem: &str, next: &str) -> Why {
        bad(self.at, self.peek().unwrap_or_default(), problem, next)
    }
}

/// A failure at a line, counted from 0.
pub(crate) fn bad(at: usize, line: &[u8], problem: &str, next: &str) -> Why {
    let text = shown(crate::view::trim_end(line));
    Why::BadSyntax { patch_line: at + 1, text, problem: problem.to_owned(), next: next.to_owned() }
}

/// Refuses a patch of too many parts.
pub(crate) fn check_counts(files: usize, hunks: usize) -> Result<(), Why> {
    let over = |count: usize, max: usize, what: &str| {
        (count > max)
            .then(|| Why::TooLarge { reason: format!("the patch has more than {max} {what}"), next: "send it in parts".to_owned() })
    };
    over(files, FILES_MAX, "files").or_else(|| over(hunks, HUNKS_MAX, "hunks")).map_or(Ok(()), Err)
}
