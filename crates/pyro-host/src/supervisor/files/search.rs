//! Searches: what the agent is asked, and what its answer, a claim like every other, becomes for the caller.

use pyro_api::ops::search::{FileSearchRequest, FileSearchResponse, FoundFile, FoundLine, SearchTell};
use pyro_api::{Error, Result};
use pyro_wire::limits::OUTPUT_CREDIT_BYTES;
use pyro_wire::message::{self, Search, Selection};
use pyro_wire::search::SearchAnswer;
use pyro_wire::untrusted::escape;
use pyro_wire::{SandboxPath, Violation};

use crate::supervisor::outcome::shown;

/// A search on its way, and what the agent has said so far.
#[derive(Debug)]
pub struct Searching {
    /// As it was sent: the answer is held to it.
    pub asked: Search,
    tell: SearchTell,
    /// At most [`pyro_wire::limits::SEARCH_ANSWER_BYTES_MAX`].
    pub answer: Vec<u8>,
    /// Bytes of the answer that may still come.
    pub credit_left: u32,
}

impl Searching {
    /// Nothing has come yet.
    pub fn new(path: &SandboxPath, request: &FileSearchRequest) -> Self {
        let asked = Search {
            path: path.clone(),
            pattern: request.pattern.clone(),
            fixed: request.fixed,
            ignore_case: request.ignore_case,
            multiline: request.multiline,
            selection: Selection { globs: request.glob.clone(), hidden: request.hidden, ignored: request.no_ignore },
            tell: match request.tell {
                SearchTell::Lines => message::SearchTell::Lines,
                SearchTell::Files => message::SearchTell::Files,
                SearchTell::Counts => message::SearchTell::Counts,
            },
            context: request.context,
            limit: request.limit,
            credit_bytes: OUTPUT_CREDIT_BYTES,
        };
        Self { asked, tell: request.tell, answer: Vec::new(), credit_left: OUTPUT_CREDIT_BYTES }
    }

    /// What came of it.
    pub fn response(&self, workspace: &str, path: &SandboxPath) -> Result<Result<FileSearchResponse>, Violation> {
        let found = match SearchAnswer::from_json(&self.answer, &self.asked)? {
            SearchAnswer::Found(found) => found,
            SearchAnswer::BadPattern(why) => {
                let pattern = &self.asked.pattern;
                let error = Error::invalid(format!("pattern {pattern:?} is no regular expression: {}", escape(&why)));
                return Ok(Err(
                    error.hint("fixed searches for the text as it is, and multiline lets a match go over several lines")
                ));
            }
            SearchAnswer::BadGlob(why) => return Ok(Err(bad_glob(&why))),
        };
        let told: u64 = found.files.iter().map(|file| file.lines.iter().filter(|line| line.column > 0).count() as u64).sum();
        let is_told = match self.asked.tell {
            message::SearchTell::Lines => told == found.lines_total,
            message::SearchTell::Files | message::SearchTell::Counts => found.files.len() as u64 == found.files_total,
        };
        let base = path.shown();
        let below = |file: &pyro_wire::Bytes| match base {
            "." => shown(file),
            "/" => format!("/{}", shown(file)),
            base => format!("{base}/{}", shown(file)),
        };
        let files = found.files.into_iter().map(|file| FoundFile {
            path: file.path.as_ref().map_or_else(|| base.to_owned(), below),
            matching: file.matching,
            lines: file
                .lines
                .into_iter()
                .map(|line| FoundLine {
                    number: line.number,
                    column: (line.column > 0).then_some(line.column),
                    text: line.text,
                    cut: line.cut,
                })
                .collect(),
        });
        Ok(Ok(FileSearchResponse {
            workspace: workspace.to_owned(),
            path: base.to_owned(),
            tell: self.tell,
            files: files.collect(),
            truncated: !is_told,
            files_total: found.files_total,
            lines_total: found.lines_total,
            searched: found.searched,
            binary: found.binary,
            unread: found.unread,
        }))
    }
}

/// The error for a glob that is none: in the words of whoever has matched it.
pub fn bad_glob(why: &str) -> Error {
    Error::invalid(format!("a glob is none: {}", escape(why))).hint("such as **/*.rs, or !target to leave something out")
}
