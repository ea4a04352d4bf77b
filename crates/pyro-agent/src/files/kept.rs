//! The first results of a search by path, however the threads find them: the same answer each time, in bounded memory.

use std::collections::BTreeMap;

use pyro_wire::Bytes;
use pyro_wire::limits::SEARCH_ANSWER_BYTES_MAX;
use pyro_wire::message::{Search, SearchTell};
use pyro_wire::search::{Found, FoundFile, FoundLine, path_order};

use super::batch::{json_bytes, text_json_bytes};

#[cfg(test)]
mod tests;

/// Of the JSON of an answer, what is left for its counts.
const BYTES_MAX: usize = SEARCH_ANSWER_BYTES_MAX - 4096;

/// JSON of a line beside its text, at most: field names, two numbers and a word.
const LINE_JSON_BYTES: usize = 112;

/// JSON of one line, at most.
pub fn line_bytes(line: &FoundLine) -> usize {
    LINE_JSON_BYTES + text_json_bytes(&line.text)
}

/// What of the files so far may be in the answer.
pub struct Kept {
    files: BTreeMap<Vec<u8>, File>,
    /// Lines that match, or files.
    limit: usize,
    tell: SearchTell,
    context: u64,
    told: usize,
    bytes: usize,
    /// All that was found and looked at.
    pub totals: Found,
}

struct File {
    found: FoundFile,
    told: usize,
    bytes: usize,
}

impl Kept {
    /// Nothing yet.
    pub fn new(asked: &Search) -> Self {
        Self {
            files: BTreeMap::new(),
            limit: asked.limit as usize,
            tell: asked.tell,
            context: u64::from(asked.context),
            told: 0,
            bytes: 0,
            totals: Found::default(),
        }
    }

    /// A file in which something was found.
    pub fn add(&mut self, found: FoundFile, path: &[u8]) {
        self.totals.files_total += 1;
        self.totals.lines_total += found.matching;
        let order: Vec<u8> = path_order(path).collect();
        if self.full_at().is_some_and(|last| *last <= order) {
            return;
        }
        let told = if self.tell == SearchTell::Lines { found.lines.iter().filter(|line| line.column > 0).count() } else { 1 };
        let bytes = json_bytes(&found.path) + found.lines.iter().map(line_bytes).sum::<usize>();
        self.told += told;
        self.bytes += bytes;
        self.files.insert(order, File { found, told, bytes });
        // Whatever stays without the last file fills the answer: the last is never told.
        while let Some((_, last)) = self.files.last_key_value()
            && (self.told - last.told >= self.limit || self.bytes - last.bytes >= BYTES_MAX)
            && let Some((_, File { told, bytes, .. })) = self.files.pop_last()
        {
            self.told -= told;
            self.bytes -= bytes;
        }
    }

    /// Nothing behind this place will be told.
    pub fn full_at(&self) -> Option<&Vec<u8>> {
        let is_full = self.told >= self.limit || self.bytes >= BYTES_MAX;
        self.files.last_key_value().filter(|_| is_full).map(|(order, _)| order)
    }

    /// The answer.
    pub fn answer(mut self) -> Found {
        let (mut told, mut bytes) = (0, 0);
        for File { mut found, told: in_file, bytes: of_file } in self.files.into_values() {
            if told + in_file > self.limit {
                cut(&mut found.lines, self.limit - told, self.context);
            }
            if bytes + of_file > BYTES_MAX {
                cut_to_bytes(&mut found, BYTES_MAX - bytes, self.context);
            }
            if self.tell == SearchTell::Lines && found.lines.is_empty() {
                break;
            }
            told += in_file;
            bytes += of_file;
            self.totals.files.push(found);
            if told >= self.limit || bytes >= BYTES_MAX {
                break;
            }
        }
        self.totals
    }
}

/// Keeps so many lines that match, with their neighbours.
fn cut(lines: &mut Vec<FoundLine>, matches: usize, context: u64) {
    let end = lines.iter().filter(|line| line.column > 0).nth(matches.wrapping_sub(1)).map_or(0, |last| last.number + context);
    let behind = lines.iter().filter(|line| line.column > 0).nth(matches).map_or(u64::MAX, |next| next.number);
    lines.retain(|line| line.number <= end && line.number < behind);
}

/// Keeps as many lines as there is room for.
fn cut_to_bytes(found: &mut FoundFile, room: usize, context: u64) {
    let mut used = json_bytes(&found.path);
    let mut matches = 0;
    for line in &found.lines {
        used += line_bytes(line);
        if used > room {
            break;
        }
        matches += usize::from(line.column > 0);
    }
    // The neighbours behind the last one may be too many: one match less has room for them.
    cut(&mut found.lines, matches.saturating_sub(1), context);
}

/// Where a file was found; what is searched by itself has no path.
pub fn path_of(path: &[u8]) -> Option<Bytes> {
    (!path.is_empty()).then(|| Bytes::from(path))
}
