//! What a command wrote to a pipe, as a model or a person should see it.
//!
//! A [`Digest`] takes the bytes of one stream as they come and keeps what is worth showing of them: the beginning, the end, and lines that look like errors. What
//! redraws itself is shown as it would stand on a terminal, so a progress bar is one line. Where something is left out, the text says which lines of the stream.
//!
//! The bytes are an enemy's: whatever they are, memory is bounded (by [`limits`](crate::limits): about 200 KiB for ordinary text, at most 2 MiB for lines of a few
//! bytes that draw themselves again), every byte is looked at a bounded number of times, and splitting them anywhere changes nothing.

mod errors;
mod live;
mod show;
mod store;

#[cfg(test)]
mod tests;

pub use show::Shown;

use errors::Errors;
use live::Live;
pub(crate) use store::Place;
use store::Store;

use crate::limits::LINE_BYTES_MAX;
use crate::parse::Parser;

/// One stream, as far as it has come.
#[derive(Debug)]
pub struct Digest {
    bytes_total: u64,
    /// The beginning of the line that is plain so far; otherwise the next byte.
    end: Place,
    nul: bool,
    /// Whether nothing has come, or a line end was the last.
    is_at_line: bool,
    kept: Kept,
    /// A line that is plain so far.
    plain: Vec<u8>,
    /// Bytes of it that there was no room for.
    plain_cut: u64,
    /// Whether a CR has come after it, which may be of a line's end.
    held_cr: bool,
    parser: Parser,
    /// Lines that are being drawn; none while everything is plain.
    live: Live,
}

/// Finished lines.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    store: Store,
    errors: Errors,
}

impl Kept {
    fn push(&mut self, text: &[u8], place: Place, cut: u64) {
        self.store.push(text, place, cut);
        self.errors.look_at(text, place, &self.store);
    }

    fn pop(&mut self) -> Option<(Vec<u8>, Place, u64)> {
        let popped = self.store.pop()?;
        self.errors.forget(popped.1);
        Some(popped)
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl Digest {
    /// Of a stream of which nothing has come.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(Place { byte: 0, line: 1 })
    }

    /// Of a part of a stream.
    pub(crate) fn starting_at(start: Place) -> Self {
        Self {
            bytes_total: 0,
            end: start,
            nul: false,
            is_at_line: true,
            kept: Kept::default(),
            plain: Vec::new(),
            plain_cut: 0,
            held_cr: false,
            parser: Parser::default(),
            live: Live::default(),
        }
    }

    /// Bytes that have come.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Bytes of text that finished lines have, as they are shown.
    pub(crate) fn text_bytes(&self) -> u64 {
        self.kept.store.text_bytes()
    }

    /// The line that has no end yet, as it stands.
    pub(crate) fn unfinished_text(&self) -> String {
        self.live.unfinished().unwrap_or_else(|| String::from_utf8_lossy(&self.plain).into_owned())
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes_total += bytes.len() as u64;
        self.is_at_line = bytes.last().map_or(self.is_at_line, |last| *last == b'\n');
        self.nul = self.nul || memchr::memchr(0, bytes).is_some();
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.held_cr) {
                if first == b'\n' {
                    self.finish_plain(2);
                    rest = &rest[1..];
                } else {
                    self.begin_drawing();
                    self.push_drawn(b"\r");
                }
            } else if self.live.is_empty() {
                rest = &rest[self.push_plain(rest)..];
            } else {
                rest = &rest[self.push_drawn(rest)..];
            }
        }
    }

    /// Takes plain lines, up to the first that is not or to the end. Returns how many bytes.
    fn push_plain(&mut self, bytes: &[u8]) -> usize {
        let special = first_special(bytes);
        let plain = &bytes[..special.unwrap_or(bytes.len())];
        let finished = memchr::memrchr(b'\n', plain).map_or(0, |at| at + 1);
        let (mut lines, unfinished) = plain.split_at(finished);
        if !lines.is_empty() && (!self.plain.is_empty() || self.plain_cut > 0) {
            let end = memchr::memchr(b'\n', lines).unwrap_or(lines.len());
            let (line, cr) = without_cr(&lines[..end]);
            self.extend_plain(line);
            self.finish_plain(cr + 1);
            lines = lines.get(end + 1..).unwrap_or_default();
        }
        if !lines.is_empty() {
            let first = self.end;
            self.end = self.kept.store.push_lines(lines, first);
            self.kept.errors.look_through(lines, first, &self.kept.store);
        }
        self.extend_plain(unfinished);
        match special {
            Some(at) if bytes[at] == b'\r' && at + 1 == bytes.len() => {
                self.held_cr = true;
                bytes.len()
            }
            Some(at) => {
                self.begin_drawing();
                at
            }
            None => bytes.len(),
        }
    }

    fn extend_plain(&mut self, bytes: &[u8]) {
        let room = if self.plain_cut > 0 { 0 } else { LINE_BYTES_MAX - self.plain.len() };
        let fits = bytes.len().min(room);
        self.plain.extend_from_slice(&bytes[..fits]);
        self.plain_cut += (bytes.len() - fits) as u64;
    }

    /// The line is whole; its end has `end_bytes`.
    fn finish_plain(&mut self, end_bytes: u64) {
        self.kept.push(&self.plain, self.end, self.plain_cut);
        self.end.byte += self.plain.len() as u64 + self.plain_cut + end_bytes;
        self.end.line += 1;
        self.plain.clear();
        self.plain_cut = 0;
    }

    /// From here on the line is drawn: first what is there of it.
    fn begin_drawing(&mut self) {
        let (text, cut) = (std::mem::take(&mut self.plain), std::mem::take(&mut self.plain_cut));
        self.live.begin(self.end, cut);
        self.end.byte += text.len() as u64 + cut;
        self.parser.feed(&text, &mut self.live.with(&mut self.kept));
    }

    /// Takes bytes up to the end of the line, or all. Returns how many.
    fn push_drawn(&mut self, bytes: &[u8]) -> usize {
        let newline = memchr::memchr(b'\n', bytes);
        let line = &bytes[..newline.unwrap_or(bytes.len())];
        self.end.byte += line.len() as u64;
        self.parser.feed(line, &mut self.live.with(&mut self.kept));
        if newline.is_none() {
            return line.len();
        }
        // Nothing begun goes on in the next line: a terminal could be made to swallow all the rest, and this is to be read.
        self.parser.finish(&mut self.live.with(&mut self.kept));
        self.end.byte += 1;
        self.end.line += 1;
        self.live.line_feed(&mut self.kept, self.end);
        line.len() + 1
    }
}

/// The first byte for which a line must be drawn: CR (but at the end of a line), ESC or BS.
fn first_special(bytes: &[u8]) -> Option<usize> {
    memchr::memchr3_iter(b'\r', 0x1b, 0x08, bytes).find(|at| bytes[*at] != b'\r' || bytes.get(at + 1) != Some(&b'\n'))
}

/// A line without the CR that ended it, and how many bytes that was.
fn without_cr(line: &[u8]) -> (&[u8], u64) {
    line.strip_suffix(b"\r").map_or((line, 0), |line| (line, 1))
}
