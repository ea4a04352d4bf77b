//! The finished lines of a stream that are kept: its beginning and its end, within bounds.
//!
//! A run of equal lines is one record with a count, so that it takes no room. Lines are numbered, and placed in the stream, as the bytes were.

use std::collections::VecDeque;

use crate::limits::{HEAD_BYTES, LINE_BYTES_MAX, STORED_LINES_MAX, TAIL_BYTES};

/// Where a line begins in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Bytes before it.
    pub(crate) byte: u64,
    /// Its number, from 1: the line ends before it, and one.
    pub(crate) line: u64,
}

/// Equal lines, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    length: usize,
    /// How many, at least 1.
    pub(crate) count: u64,
    /// Where the first of them begins.
    pub(crate) first: Place,
    last: Place,
    /// Bytes of each that are not kept.
    pub(crate) cut: u64,
}

/// Lines in order, and their text.
#[derive(Debug, Default)]
struct Part {
    text: Vec<u8>,
    /// Bytes of `text` that belong to lines no longer there.
    gone: usize,
    records: VecDeque<Record>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Store {
    head: Part,
    tail: Part,
    /// Whether the beginning is complete: what comes is of the end.
    head_is_full: bool,
    /// Where the first line begins that is no longer kept.
    gap: Option<Place>,
    text_bytes: u64,
}

impl Part {
    fn bytes(&self) -> usize {
        self.text.len() - self.gone
    }

    fn last_text(&self) -> Option<&[u8]> {
        self.records.back().map(|record| &self.text[self.text.len() - record.length..])
    }

    fn push(&mut self, text: &[u8], place: Place, cut: u64) {
        self.text.extend_from_slice(text);
        self.records.push_back(Record { length: text.len(), count: 1, first: place, last: place, cut });
    }

    fn pop_front(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        self.gone += record.length;
        // Moved once for as many bytes as are left: linear in all.
        if self.gone > TAIL_BYTES {
            self.text.drain(..self.gone);
            self.gone = 0;
        }
        Some(record)
    }

    fn pop_back(&mut self) -> Option<(Vec<u8>, Place, u64)> {
        let record = self.records.back_mut()?;
        let text = self.text[self.text.len() - record.length..].to_vec();
        let popped = (text, record.last, record.cut);
        record.count -= 1;
        if record.count == 0 {
            self.text.truncate(self.text.len() - record.length);
            self.records.pop_back();
        } else {
            // Exact for lines that are equal as bytes; as good as any for others.
            let back = |first: u64, last: u64| last - (last - first) / record.count;
            record.last =
                Place { byte: back(record.first.byte, record.last.byte), line: back(record.first.line, record.last.line) };
        }
        Some(popped)
    }

    fn lines(&self) -> impl Iterator<Item = (&[u8], Record)> {
        let mut at = self.gone;
        self.records.iter().map(move |record| {
            let text = &self.text[at..at + record.length];
            at += record.length;
            (text, *record)
        })
    }
}

impl Store {
    /// Takes a line without its end.
    pub(crate) fn push(&mut self, text: &[u8], place: Place, cut: u64) {
        let kept = &text[..text.len().min(LINE_BYTES_MAX)];
        let cut = cut + (text.len() - kept.len()) as u64;
        self.text_bytes += kept.len() as u64 + 1;
        let part = if self.tail.records.is_empty() { &mut self.head } else { &mut self.tail };
        // Comparing no bytes is not free: where they would be there may be no memory, and an instruction that looks there all the same takes 100 ns.
        let is_equal = |last: &[u8]| last.len() == kept.len() && (kept.is_empty() || last == kept);
        if part.last_text().is_some_and(is_equal)
            && let Some(record) = part.records.back_mut()
            && record.cut == cut
        {
            record.count += 1;
            record.last = place;
            return;
        }
        if !self.head_is_full {
            self.head_is_full = self.head.bytes() + kept.len() > HEAD_BYTES || self.head.records.len() >= STORED_LINES_MAX;
        }
        if !self.head_is_full {
            return self.head.push(kept, place, cut);
        }
        self.tail.push(kept, place, cut);
        while self.tail.bytes() > TAIL_BYTES || self.tail.records.len() > STORED_LINES_MAX {
            let Some(record) = self.tail.pop_front() else { break };
            self.gap.get_or_insert(record.first);
        }
    }

    /// Takes whole lines, with their ends, the first at `place`. Returns where the next one begins.
    pub(crate) fn push_lines(&mut self, lines: &[u8], mut place: Place) -> Place {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', lines) {
            let line = &lines[start..end];
            self.push(line.strip_suffix(b"\r").unwrap_or(line), place, 0);
            place = Place { byte: place.byte + (end + 1 - start) as u64, line: place.line + 1 };
            start = end + 1;
        }
        place
    }

    /// Takes the last line out again: its text, where it begins, and the bytes that were cut off. The beginning stays once it is full.
    pub(crate) fn pop(&mut self) -> Option<(Vec<u8>, Place, u64)> {
        let popped = if self.head_is_full { self.tail.pop_back() } else { self.head.pop_back() }?;
        self.text_bytes = self.text_bytes.saturating_sub(popped.0.len() as u64 + 1);
        Some(popped)
    }

    /// Whether a line is one of the beginning.
    pub(crate) fn is_head(&self, place: Place) -> bool {
        !self.head_is_full || self.head.records.back().is_some_and(|record| place <= record.last)
    }

    /// Bytes of text taken and not taken out, with an end of one byte for each line.
    pub(crate) fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Lines of the beginning.
    pub(crate) fn head(&self) -> impl Iterator<Item = (&[u8], Record)> {
        self.head.lines()
    }

    /// Lines of the end.
    pub(crate) fn tail(&self) -> impl Iterator<Item = (&[u8], Record)> {
        self.tail.lines()
    }

    /// Where what is missing between them begins, if something is.
    pub(crate) fn gap(&self) -> Option<Place> {
        self.gap
    }
}
