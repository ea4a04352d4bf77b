//! Parts of a stream that was stored as its bytes: some of its lines, or those that are looked for, in the same form as a [`Digest`] shows them.
//!
//! Lines are numbered from 1 by the line ends before them, as in the markers of a digest. Lines may have any length and the stream any content: memory is
//! bounded, and each byte is read once.

use std::io::{self, BufRead};
use std::ops::RangeInclusive;

use pyro_wire::untrusted::escape;

use crate::Digest;
use crate::digest::Place;
use crate::limits::{LINE_BYTES_MAX, LINE_CHARS_SHOWN};

#[cfg(test)]
mod tests;

/// Text after which no more is read for a window: so much is kept by a digest without leaving anything out, whatever the lines are.
const WINDOW_BYTES: u64 = 30 * 1024;

/// Some lines of a stored stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The lines, in the form that [`Digest::show`] gives them.
    pub text: String,
    /// Which lines of the stream these are; none if the stream ends before.
    pub lines: Option<RangeInclusive<u64>>,
    /// The first line of those asked for that did not fit; none if all are here, as far as there are any.
    pub next_line: Option<u64>,
    /// Lines that are folded, as in [`Shown`](crate::Shown).
    pub folded_lines: u64,
    /// Lines of which only the beginning is shown.
    pub clipped_lines: u64,
    /// Whether it is no text.
    pub binary: bool,
}

/// How much a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Its bytes.
    pub bytes: u64,
    /// Its lines; an unfinished last one counts.
    pub lines: u64,
}

impl Extent {
    /// The numbers of its last `count` lines; of none it is empty.
    #[must_use]
    pub fn last_lines(&self, count: u64) -> RangeInclusive<u64> {
        self.lines.saturating_sub(count) + 1..=self.lines
    }
}

/// Lines that were looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The first of them.
    pub hits: Vec<Hit>,
    /// All that there are.
    pub hits_total: u64,
    /// Lines of the stream.
    pub lines_total: u64,
}

/// One line that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its number.
    pub line: u64,
    /// Its text, at most its first 400 characters, escaped.
    pub text: String,
}

/// Counts what a stream has.
///
/// # Errors
/// Those of reading.
pub fn extent(mut stream: impl BufRead) -> io::Result<Extent> {
    let (mut extent, mut is_open) = (Extent::default(), false);
    loop {
        let bytes = stream.fill_buf()?;
        let Some(last) = bytes.last() else { break };
        is_open = *last != b'\n';
        extent.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
        let count = bytes.len();
        extent.bytes += count as u64;
        stream.consume(count);
    }
    extent.lines += u64::from(is_open);
    Ok(extent)
}

/// The given lines of a stream, as many as fit in `budget_chars` characters (but never fewer than 400, and at most about 30 Ki).
///
/// # Errors
/// Those of reading.
pub fn window(mut stream: impl BufRead, lines: RangeInclusive<u64>, budget_chars: usize) -> io::Result<Window> {
    let (first, last) = ((*lines.start()).max(1), *lines.end());
    let Some(start) = skip_to(&mut stream, first)? else { return Ok(Window::default()) };
    let mut digest = Digest::starting_at(start);
    let mut line = first;
    while line <= last && digest.text_bytes() < WINDOW_BYTES {
        let bytes = stream.fill_buf()?;
        if bytes.is_empty() {
            line = u64::MAX;
            break;
        }
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let count = end.unwrap_or(bytes.len());
        digest.push(&bytes[..count]);
        stream.consume(count);
        line += u64::from(end.is_some());
    }
    if digest.bytes_total() == 0 {
        return Ok(Window::default());
    }
    let (shown, left_at) = digest.show_beginning(budget_chars);
    let more = line <= last && !stream.fill_buf()?.is_empty();
    let next_line = left_at.or(more.then_some(line));
    let end = left_at.unwrap_or(first + shown.lines_total);
    Ok(Window {
        text: shown.text,
        lines: (end > first).then(|| first..=end - 1),
        next_line,
        folded_lines: shown.folded_lines,
        clipped_lines: shown.clipped_lines,
        binary: shown.binary,
    })
}

/// Looks for lines from `first_line` on. `is_hit` is given each line as it would stand on a terminal, at most its first 16 KiB, and not escaped; at most `hits_max`
/// are kept.
///
/// # Errors
/// Those of reading.
pub fn search(
    mut stream: impl BufRead,
    first_line: u64,
    hits_max: usize,
    mut is_hit: impl FnMut(&str) -> bool,
) -> io::Result<Found> {
    let (mut found, mut line) = (Found::default(), Vec::new());
    let mut is_open = false;
    loop {
        let bytes = stream.fill_buf()?;
        if bytes.is_empty() && !is_open {
            return Ok(found);
        }
        let end = memchr::memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        line.extend_from_slice(&part[..part.len().min(LINE_BYTES_MAX - line.len())]);
        let at_end = end.is_some() || bytes.is_empty();
        let count = end.map_or(bytes.len(), |at| at + 1);
        stream.consume(count);
        is_open = !at_end;
        if !at_end {
            continue;
        }
        found.lines_total += 1;
        if found.lines_total >= first_line {
            let text = drawn(&line);
            if is_hit(&text) {
                found.hits_total += 1;
                if found.hits.len() < hits_max {
                    let text = escape(&text).chars().take(LINE_CHARS_SHOWN).collect();
                    found.hits.push(Hit { line: found.lines_total, text });
                }
            }
        }
        line.clear();
    }
}

/// A line as it would stand on a terminal.
fn drawn(line: &[u8]) -> String {
    let mut digest = Digest::new();
    digest.push(line.strip_suffix(b"\r").unwrap_or(line));
    digest.unfinished_text()
}

/// Reads up to the beginning of a line; none if there is no such line.
fn skip_to(stream: &mut impl BufRead, line: u64) -> io::Result<Option<Place>> {
    let mut place = Place { byte: 0, line: 1 };
    while place.line < line {
        let bytes = stream.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let wanted = usize::try_from(line - place.line - 1).unwrap_or(usize::MAX);
        let ends = memchr::memchr_iter(b'\n', bytes).nth(wanted);
        let count = ends.map_or(bytes.len(), |at| at + 1);
        place.line = match ends {
            Some(_) => line,
            None => place.line + memchr::memchr_iter(b'\n', bytes).count() as u64,
        };
        place.byte += count as u64;
        stream.consume(count);
    }
    Ok(Some(place))
}
