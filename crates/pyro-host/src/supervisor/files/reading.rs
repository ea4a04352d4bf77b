//! Reads: what has come so far of a file or a directory, and what becomes of it for the caller.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pyro_api::Result;
use pyro_api::ops::file::{Encoding, FileEntry, FileReadRequest, FileReadResponse, ReadPart};
use pyro_api::values::LineRange;
use pyro_wire::limits::{OUTPUT_CREDIT_BYTES, READ_ENTRIES_MAX};
use pyro_wire::message::{Entry, LinesRead, Listed, Part, Read};
use pyro_wire::{SandboxPath, Violation};

use super::convert;

#[cfg(test)]
mod tests;

/// Bytes that Latin-1 has no characters for; a file with one of them is more likely no text.
const NOT_IN_TEXT: [std::ops::RangeInclusive<u8>; 3] = [0x00..=0x08, 0x0e..=0x1f, 0x7f..=0x9f];

/// A read on its way.
#[derive(Debug)]
pub struct Reading {
    part: Part,
    /// Content that may come.
    pub bytes_max: u64,
    wanted: Wanted,
    /// Size of the file, once that was said.
    pub info: Option<u64>,
    /// What has come.
    pub content: Vec<u8>,
    /// Bytes that may still come.
    pub credit_left: u32,
    entries: Vec<FileEntry>,
}

/// How content is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    AsItIs,
    Numbered,
    Base64,
}

impl Reading {
    /// Nothing has come yet; and what asks for it.
    pub fn new(path: &SandboxPath, request: &FileReadRequest) -> Result<(Self, Read)> {
        let part = match request.part()? {
            ReadPart::From(offset) => Part::From(offset),
            ReadPart::Lines(LineRange::Between(first, last)) => Part::Lines { first, last },
            ReadPart::Lines(LineRange::Last(count)) => Part::LastLines(count),
        };
        let wanted = match (request.numbered, request.base64) {
            (true, _) => Wanted::Numbered,
            (false, true) => Wanted::Base64,
            (false, false) => Wanted::AsItIs,
        };
        let bytes_max = request.max_bytes;
        let read = Read { path: path.clone(), part, bytes_max, credit_bytes: OUTPUT_CREDIT_BYTES };
        let reading = Self {
            part,
            bytes_max,
            wanted,
            info: None,
            content: Vec::new(),
            credit_left: OUTPUT_CREDIT_BYTES,
            entries: Vec::new(),
        };
        Ok((reading, read))
    }

    /// The file was found.
    pub fn found(&mut self, size_bytes: u64) -> Result<(), Violation> {
        if self.info.replace(size_bytes).is_some() || !self.entries.is_empty() {
            return Err(Violation("a file was announced twice".to_owned()));
        }
        Ok(())
    }

    /// It is a directory, and this is in it.
    pub fn add(&mut self, page: &[Entry]) -> Result<(), Violation> {
        if self.info.is_some() || self.entries.len() + page.len() > READ_ENTRIES_MAX as usize {
            return Err(Violation("more entries came than were asked for".to_owned()));
        }
        self.entries.extend(page.iter().map(convert));
        Ok(())
    }

    /// All of a directory has come.
    pub fn listed(&mut self, workspace: &str, path: &SandboxPath, listed: Listed) -> Result<FileReadResponse, Violation> {
        let entries = std::mem::take(&mut self.entries);
        if self.info.is_some() || listed.total < entries.len() as u64 {
            return Err(Violation("a listing has more entries than it says".to_owned()));
        }
        let truncated = listed.total > entries.len() as u64;
        Ok(FileReadResponse { truncated, entries: Some(entries), ..response(workspace, path, 0, 0) })
    }

    /// All bytes have come.
    pub fn done(&mut self, workspace: &str, path: &SandboxPath) -> Result<FileReadResponse, Violation> {
        let (Part::From(offset), Some(size_bytes)) = (self.part, self.info) else {
            return Err(Violation("lines were asked for, and bytes came".to_owned()));
        };
        let content = std::mem::take(&mut self.content);
        if self.wanted == Wanted::Base64 {
            return Ok(encoded(response(workspace, path, offset, size_bytes), &content));
        }
        Ok(read_response(workspace, path, offset, size_bytes, content))
    }

    /// All lines have come.
    pub fn lines(&mut self, workspace: &str, path: &SandboxPath, read: LinesRead) -> Result<FileReadResponse, Violation> {
        let size_bytes = self.info.ok_or_else(|| Violation("lines came of a file that was not announced".to_owned()))?;
        let content = std::mem::take(&mut self.content);
        let count = content.split_inclusive(|byte| *byte == b'\n').count() as u64;
        let end = read.first.map(|first| first.saturating_add(count.saturating_sub(1)));
        let fits = match self.part {
            Part::From(_) => return Err(Violation("bytes were asked for, and lines came".to_owned())),
            Part::Lines { first, last } => {
                read.first == Some(first) && (count == 0 || last.is_none_or(|last| end.is_some_and(|end| end <= last)))
            }
            Part::LastLines(lines) => count <= lines,
        };
        let is_within = count == 0 || read.total.is_none_or(|total| end.is_some_and(|end| end <= total));
        if !fits || !is_within {
            return Err(Violation("other lines came than were asked for".to_owned()));
        }
        let offset = read.offset;
        let answer = match self.wanted {
            Wanted::Base64 => encoded(response(workspace, path, offset, size_bytes), &content),
            Wanted::AsItIs | Wanted::Numbered => read_response(workspace, path, offset, size_bytes, content),
        };
        let mut answer = FileReadResponse { first_line: read.first, lines_total: read.total, ..answer };
        if let (Wanted::Numbered, Encoding::Utf8, Some(first)) = (self.wanted, answer.encoding, read.first) {
            answer.content = numbered(&answer.content, first);
            answer.numbered = true;
        }
        Ok(answer)
    }
}

/// `40|text`: the form in which edits show lines, and which they take off again.
fn numbered(text: &str, first: u64) -> String {
    (first..).zip(text.split_inclusive('\n')).map(|(number, line)| format!("{number}|{line}")).collect()
}

fn response(workspace: &str, path: &SandboxPath, offset: u64, size_bytes: u64) -> FileReadResponse {
    FileReadResponse {
        workspace: workspace.to_owned(),
        path: path.shown().to_owned(),
        size_bytes,
        offset,
        content: String::new(),
        encoding: Encoding::Utf8,
        truncated: false,
        first_line: None,
        lines_total: None,
        numbered: false,
        charset: None,
        entries: None,
    }
}

fn encoded(mut response: FileReadResponse, content: &[u8]) -> FileReadResponse {
    response.truncated = response.offset.saturating_add(content.len() as u64) < response.size_bytes;
    response.content = STANDARD.encode(content);
    response.encoding = Encoding::Base64;
    response
}

/// The answer to a read of `content` from `offset` on. A part that ends inside a character is shown up to that character.
pub fn read_response(workspace: &str, path: &SandboxPath, offset: u64, size_bytes: u64, mut content: Vec<u8>) -> FileReadResponse {
    let end = offset.saturating_add(content.len() as u64);
    let truncated = end < size_bytes;
    if truncated
        && let Err(error) = std::str::from_utf8(&content)
        && error.error_len().is_none()
        && error.valid_up_to() > 0
    {
        content.truncate(error.valid_up_to());
    }
    let empty = response(workspace, path, offset, size_bytes);
    match String::from_utf8(content) {
        Ok(content) if !content.contains('\0') => FileReadResponse { content, truncated, ..empty },
        Ok(content) => encoded(empty, content.as_bytes()),
        Err(error) => {
            let content = error.as_bytes();
            let charset = charset(content, offset).map(str::to_owned);
            FileReadResponse { charset, ..encoded(empty, content) }
        }
    }
}

/// What a text that is not UTF-8 seems to be.
fn charset(content: &[u8], offset: u64) -> Option<&'static str> {
    match content {
        [0xff, 0xfe, ..] if offset == 0 => Some("utf-16le"),
        [0xfe, 0xff, ..] if offset == 0 => Some("utf-16be"),
        content if content.iter().any(|byte| NOT_IN_TEXT.iter().any(|range| range.contains(byte))) => None,
        _ => Some("latin-1"),
    }
}
