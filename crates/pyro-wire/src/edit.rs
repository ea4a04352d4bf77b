//! What an edit is asked with and answers: JSON in the content of its channel, as both may be larger than a frame.
//!
//! The answer is the agent's: a claim, like every other.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::frame::{Violation, quoted};

/// What is to be changed: texts to replace, or a patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditOrder {
    /// By file, in order.
    pub edits: Vec<FileEdits>,
    /// A patch in a form that is found out; `None` when there are texts.
    pub patch: Option<Bytes>,
    /// Files in `.git` may be changed.
    pub allow_git: bool,
}

impl EditOrder {
    /// As it is sent.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and lists are JSON")
    }

    /// As it has come.
    ///
    /// # Errors
    /// When it is no order.
    pub fn from_json(text: &[u8]) -> Result<Self, Violation> {
        serde_json::from_slice(text).map_err(|error| Violation(quoted("an edit that cannot be read", &error)))
    }
}

impl EditAnswer {
    /// As it is sent.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and lists are JSON")
    }

    /// As it has come.
    ///
    /// # Errors
    /// When it is no answer.
    pub fn from_json(text: &[u8]) -> Result<Self, Violation> {
        serde_json::from_slice(text).map_err(|error| Violation(quoted("the answer to an edit cannot be read", &error)))
    }
}

/// Replacements in one file, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEdits {
    /// The file, relative to /workspace or absolute below it.
    pub path: String,
    /// Each works on what the ones before it left.
    pub edits: Vec<TextEdit>,
}

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEdit {
    /// The text that is there; empty to make a file.
    pub old: String,
    /// The text that takes its place.
    pub new: String,
    /// Every place is replaced. Otherwise there must be one.
    pub all: bool,
}

/// How an edit ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EditAnswer {
    /// All of it was done, or would be.
    Edited(Edited),
    /// Nothing was done.
    Refused(Refused),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edited {
    /// Every file that the request was about.
    pub files: Vec<EditedFile>,
    /// The changed lines with their numbers, for a model.
    pub text: String,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditedFile {
    /// Relative to /workspace; what is not UTF-8 in it is escaped.
    pub path: String,
    /// What became of it.
    pub status: EditStatus,
    /// Where it was before, when it was moved.
    pub from: Option<String>,
    /// Lines that it has and had not.
    pub added_lines: u64,
    /// Lines that it had and has not.
    pub removed_lines: u64,
    /// What had to be left out of account to find a text, a sentence each.
    pub notes: Vec<String>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditStatus {
    /// It was as asked for already.
    Unchanged,
    /// It is new.
    Created,
    /// Other content or another mode.
    Changed,
    /// It has another name, and perhaps other content.
    Moved,
    /// It is gone.
    Deleted,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// In a word.
    pub kind: RefusedKind,
    /// For a model: what is there, and what to send next.
    pub text: String,
}

/// In a word, why an edit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedKind {
    /// A file or a text is not there.
    NotFound,
    /// The request cannot be read, or is never done.
    Invalid,
    /// It contradicts what is there.
    Conflict,
    /// A limit was reached.
    Limit,
}
