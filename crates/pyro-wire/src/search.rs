//! What a search answers: JSON in the content of its channel, as it may be larger than a frame.
//!
//! The answer is the agent's: a claim, like every other. [`SearchAnswer::from_json`] holds it to what was asked.

use serde::{Deserialize, Serialize};

use crate::bounds::plain_path;
use crate::bytes::Bytes;
use crate::frame::{Violation, quoted};
use crate::limits::FOUND_LINE_BYTES_MAX;
use crate::message::{Search, SearchTell};

#[cfg(test)]
mod tests;

/// How a search ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SearchAnswer {
    /// The tree was looked through.
    Found(Found),
    /// The pattern cannot be searched for, and why: one line.
    BadPattern(String),
    /// A glob is none, and why: one line.
    BadGlob(String),
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Files in which something was found: the first of them, in [`path_order`], as far as the limits go.
    pub files: Vec<FoundFile>,
    /// All files in which something was found.
    pub files_total: u64,
    /// All lines that match; where only files are told, one for each.
    pub lines_total: u64,
    /// Files that were looked through.
    pub searched: u64,
    /// Files that are not text.
    pub binary: u64,
    /// Files and directories that could not be read, or have a line that is too long for the search.
    pub unread: u64,
}

/// A file in which something was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundFile {
    /// Path relative to the directory that was searched; `None` when one file was.
    pub path: Option<Bytes>,
    /// Lines of it that match, those that are not told too; 1 where only files are told.
    pub matching: u64,
    /// What is told of it, in order.
    pub lines: Vec<FoundLine>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundLine {
    /// From 1.
    pub number: u64,
    /// Where a match begins in it, in bytes from 1; 0 in a line that is only told for its neighbours.
    pub column: u64,
    /// The line without its end; what is not UTF-8 in it is replaced.
    pub text: String,
    /// It is longer, and this is a part of it.
    pub cut: bool,
}

impl SearchAnswer {
    /// As it is sent.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and lists are JSON")
    }

    /// As it has come, if it can be the answer to what was asked.
    ///
    /// # Errors
    /// When it is no answer, or tells more than was asked for, or something twice.
    pub fn from_json(text: &[u8], asked: &Search) -> Result<Self, Violation> {
        let answer: Self =
            serde_json::from_slice(text).map_err(|error| Violation(quoted("the answer to a search cannot be read", &error)))?;
        if let Self::Found(found) = &answer {
            check(found, asked)?;
        }
        Ok(answer)
    }
}

/// The order in which results are told: a directory's names by their bytes, each directory before what is behind it by name.
pub fn path_order(path: &[u8]) -> impl Iterator<Item = u8> + '_ {
    // A slash is smaller than every byte of a name, so that `a/b` comes before `a.b`.
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte })
}

fn check(found: &Found, asked: &Search) -> Result<(), Violation> {
    let refuse = |what: &str| Err(Violation(format!("the answer to a search {what}")));
    let (mut told, mut matching) = (0_u64, 0_u64);
    let mut last: Option<Vec<u8>> = None;
    for file in &found.files {
        match &file.path {
            None if found.files.len() == 1 => {}
            None => return refuse("has files without a path"),
            Some(path) => {
                plain_path("a file that was found", path)?;
                let path: Vec<u8> = path_order(&path.to_vec()?).collect();
                if last.is_some_and(|last| last >= path) {
                    return refuse("has files that are not in order");
                }
                last = Some(path);
            }
        }
        let matches = number(file.lines.iter().filter(|line| line.column > 0).count());
        told = told.saturating_add(if asked.tell == SearchTell::Lines { matches } else { 1 });
        matching = matching.saturating_add(file.matching);
        if file.matching == 0 || matches > file.matching || (asked.tell != SearchTell::Lines && !file.lines.is_empty()) {
            return refuse("counts wrongly");
        }
        if !file.lines.is_sorted_by(|one, next| one.number < next.number) {
            return refuse("has lines that are not in order");
        }
        let neighbours = number(file.lines.len()).saturating_sub(matches);
        if neighbours > matches.saturating_mul(u64::from(asked.context).saturating_mul(2)) {
            return refuse("has more lines than were asked for");
        }
        if file.lines.iter().any(|line| line.text.len() > FOUND_LINE_BYTES_MAX.saturating_mul(3) || line.text.contains('\n')) {
            return refuse("has a line that is none");
        }
    }
    let is_counted = matching <= found.lines_total && number(found.files.len()) <= found.files_total;
    if told > u64::from(asked.limit) || !is_counted || found.files_total > found.searched {
        return refuse("has more or less than it says");
    }
    Ok(())
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
