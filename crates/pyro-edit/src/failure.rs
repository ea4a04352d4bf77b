//! Why nothing was changed, in fields for programs; `render` makes the text for a model of them.
//!
//! A failure quotes the file, never what was sent: the model knows that. It always says what to send next.

mod render;

pub(crate) use render::quoted;

use crate::path::RelPath;

/// What the parts of a request are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// Of [`crate::Request::Edits`].
    #[default]
    Edit,
    /// Of a diff or of `*** Begin Patch`; a file without any counts as one.
    Hunk,
    /// Of SEARCH/REPLACE.
    Block,
}

impl Part {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Hunk => "hunk",
            Self::Block => "block",
        }
    }
}

/// A request that was not carried out, not even in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is meant by the numbers.
    pub part: Part,
    /// How many parts the request has; 0 when it could not be read that far.
    pub count: usize,
    /// Those that failed, at least one, in order.
    pub failed: Vec<Failed>,
    /// Numbers of the parts that would have worked.
    pub matching: Vec<usize>,
}

/// A part that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which, from 1; 0 when it is the request as a whole.
    pub number: usize,
    /// The file at fault, if it is one.
    pub path: Option<RelPath>,
    /// The reason, with what can be said about it.
    pub why: Why,
}

impl Failure {
    /// Of a request as a whole.
    pub(crate) fn whole(part: Part, path: Option<RelPath>, why: Why) -> Self {
        Self { part, count: 0, failed: vec![Failed { number: 0, path, why }], matching: Vec::new() }
    }
}

/// The reason for a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The text is not there.
    NotFound {
        /// Where most of it is, if somewhere.
        nearest: Option<Nearest>,
        /// The line at which the new text stands already, from 1.
        new_text_at: Option<usize>,
        /// What stands in the way besides, as a sentence.
        note: Option<String>,
    },
    /// It is there more than once.
    Ambiguous {
        /// Some of the places.
        places: Vec<Place>,
        /// How many there are.
        place_count: usize,
        /// What had to be left out of account to find them, in words ("matched ignoring …").
        ignored: Option<String>,
        /// Which of its lines these are, in words, when the others are not looked for with them.
        part_of_text: Option<String>,
    },
    /// There is no such file.
    PathMissing {
        /// What may have been meant.
        near: Vec<RelPath>,
    },
    /// The patch cannot be read.
    BadSyntax {
        /// Its line, from 1; 0 when it is none in particular.
        patch_line: usize,
        /// That line.
        text: String,
        /// What is wrong with it.
        problem: String,
        /// What the right form is.
        next: String,
    },
    /// It is not done, whatever the files hold.
    Refused {
        /// Half a sentence that follows the path.
        reason: String,
        /// What would work.
        next: String,
    },
    /// It contradicts what is there or another part of the request.
    Conflict {
        /// Half a sentence that follows the path.
        reason: String,
        /// What would work.
        next: String,
    },
    /// A named limit was reached.
    TooLarge {
        /// A sentence.
        reason: String,
        /// What would work.
        next: String,
    },
}

/// Where in the file most of a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// First line, from 1.
    pub first_line: usize,
    /// The lines as they are, with their ends.
    pub lines: Vec<Vec<u8>>,
    /// How many lines were sent.
    pub sent_count: usize,
    /// How many of them are there.
    pub equal_count: usize,
    /// Lines of the file that are not what was sent, from 1, each with what was sent in its place.
    pub different: Vec<(usize, Option<Vec<u8>>)>,
}

/// One of several places with the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first line, from 1.
    pub line: usize,
    /// Neighbouring lines that no other of the places has, up to the text or from its end on; with their numbers and ends.
    pub neighbours: Vec<(usize, Vec<u8>)>,
}
