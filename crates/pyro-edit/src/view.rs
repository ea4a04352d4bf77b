//! Ways to look at a text that leave something out of account: line ends, blanks, indentation, forms of quotes.
//!
//! Each way gives a line a *key*; lines with the same key are the same line under it. [`Normal`] does the same to a whole text, so that a text that
//! begins or ends within a line can be looked for too, and knows where each byte of it came from.

use std::borrow::Cow;

use crate::limits::FILE_LINES_MAX;

/// A way of comparing, from the strictest down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum View {
    /// Every byte counts.
    Exact,
    /// LF or CRLF, a mark at the start of the file and a newline at its end do not count.
    LineEnds,
    /// Blanks at ends of lines do not count either.
    TrailingBlanks,
    /// Nor does indentation.
    Indentation,
    /// Typographic quotes, dashes and blanks are what a keyboard has; blanks at ends of lines do not count.
    Punctuation,
    /// As before, and indentation does not count.
    PunctuationAndIndentation,
}

impl View {
    pub(crate) const COUNT: usize = 6;

    /// Whether a match may begin at another indentation.
    pub(crate) fn shifts(self) -> bool {
        matches!(self, Self::Indentation | Self::PunctuationAndIndentation)
    }

    fn folds(self) -> bool {
        matches!(self, Self::Punctuation | Self::PunctuationAndIndentation)
    }

    /// What counts of a line.
    pub(crate) fn key(self, line: &[u8]) -> Cow<'_, [u8]> {
        if self == Self::Exact {
            return Cow::Borrowed(line);
        }
        let line = without_end(line);
        let line = line.strip_prefix(MARK).unwrap_or(line);
        if self == Self::LineEnds {
            return Cow::Borrowed(line);
        }
        let line = trim_end(line);
        let line = if self.folds() { fold(line) } else { Cow::Borrowed(line) };
        if !self.folds() && !self.shifts() {
            return line;
        }
        match line {
            Cow::Borrowed(line) if self.shifts() => Cow::Borrowed(trim_start(line)),
            Cow::Owned(line) if self.shifts() => Cow::Owned(trim_start(trim_end(&line)).to_vec()),
            Cow::Owned(line) => Cow::Owned(trim_end(&line).to_vec()),
            Cow::Borrowed(line) => Cow::Borrowed(line),
        }
    }
}

/// The byte order mark in UTF-8.
pub(crate) const MARK: &[u8] = b"\xef\xbb\xbf";

/// A line without its LF or CRLF.
pub(crate) fn without_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line.strip_suffix(b"\r").unwrap_or(line),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\x0b' | b'\x0c')
}

pub(crate) fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !is_blank(*byte) && *byte != b'\n').map_or(0, |at| at + 1);
    &line[..end]
}

pub(crate) fn trim_start(line: &[u8]) -> &[u8] {
    &line[indentation(line).len()..]
}

/// The tabs and spaces that a line begins with.
pub(crate) fn indentation(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    &line[..end]
}

pub(crate) fn is_blank_line(line: &[u8]) -> bool {
    trim_end(line).is_empty()
}

/// Whether a text says enough to be recognised by: it has some letters or digits, or bytes beyond ASCII.
pub(crate) fn is_telling(text: &[u8], count: usize) -> bool {
    text.iter().filter(|byte| byte.is_ascii_alphanumeric() || **byte >= 0x80).take(count).count() == count
}

/// The character at the start of `bytes` that a keyboard has another for: its length, and the other.
fn folded(bytes: &[u8]) -> Option<(usize, &'static [u8])> {
    let two = |to: &'static [u8]| Some((2, to));
    let three = |to: &'static [u8]| Some((3, to));
    match bytes {
        [0xc2, 0xa0, ..] => two(b" "),
        [0xc2, 0xb4, ..] => two(b"'"),
        [0xc2, 0xad, ..] => two(b"-"),
        [0xe2, 0x80, third, ..] => match third {
            0x80..=0x8a | 0xaf => three(b" "),
            0x90..=0x95 => three(b"-"),
            0x98..=0x9b | 0xb2 => three(b"'"),
            0x9c..=0x9f | 0xb3 => three(b"\""),
            0xa6 => three(b"..."),
            _ => None,
        },
        [0xe2, 0x81, 0x9f, ..] | [0xe3, 0x80, 0x80, ..] => three(b" "),
        [0xe2, 0x88, 0x92, ..] => three(b"-"),
        _ => None,
    }
}

fn fold(line: &[u8]) -> Cow<'_, [u8]> {
    if line.is_ascii() {
        return Cow::Borrowed(line);
    }
    let mut out = Vec::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        match folded(&line[at..]) {
            Some((length, to)) => {
                out.extend_from_slice(to);
                at += length;
            }
            None => {
                out.push(line[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// A text split into lines, each with its end.
#[derive(Clone)]
pub(crate) struct Lines<'t> {
    pub(crate) bytes: &'t [u8],
    /// Where each line begins, and the end of the last.
    starts: Vec<u32>,
}

impl<'t> Lines<'t> {
    /// `None` when there are too many lines or bytes.
    pub(crate) fn new(bytes: &'t [u8]) -> Option<Self> {
        u32::try_from(bytes.len()).ok()?;
        let mut starts = vec![0];
        for at in memchr::memchr_iter(b'\n', bytes) {
            if starts.len() > FILE_LINES_MAX {
                return None;
            }
            starts.push(at as u32 + 1);
        }
        if starts.last().is_some_and(|last| (*last as usize) < bytes.len()) {
            starts.push(bytes.len() as u32);
        }
        Some(Self { bytes, starts })
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn get(&self, index: usize) -> &'t [u8] {
        &self.bytes[self.starts[index] as usize..self.starts[index + 1] as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'t [u8]> {
        self.starts.windows(2).map(|pair| &self.bytes[pair[0] as usize..pair[1] as usize])
    }

    /// Where a line begins; the end of the text for one behind the last.
    pub(crate) fn start(&self, index: usize) -> usize {
        self.starts[index.min(self.len())] as usize
    }

    /// The index of the line that a byte is in.
    pub(crate) fn line_at(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start as usize <= offset).saturating_sub(1).min(self.len().saturating_sub(1))
    }
}

/// A piece of a normalised text: taken over byte for byte when both lengths are equal and it is `verbatim`, or put in the place of other bytes.
#[derive(Clone, Copy)]
struct Piece {
    at: u32,
    from: u32,
    length: u32,
    from_length: u32,
    verbatim: bool,
}

/// A text as a view sees it.
pub(crate) struct Normal {
    pub(crate) bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Normal {
    /// Under a view that does not shift. A text that does not end in a newline gets one, which came from nothing, when `closes` says so.
    pub(crate) fn new(text: &[u8], view: View, closes: bool) -> Self {
        let mut normal = Self { bytes: Vec::with_capacity(text.len() + 1), pieces: Vec::new() };
        let mut offset = if view != View::Exact && text.starts_with(MARK) { MARK.len() } else { 0 };
        for line in text[offset..].split_inclusive(|byte| *byte == b'\n') {
            let end = line.ends_with(b"\n");
            let kept = match view {
                View::Exact => line.strip_suffix(b"\n").unwrap_or(line),
                View::LineEnds => without_end(line),
                View::TrailingBlanks | View::Indentation | View::Punctuation | View::PunctuationAndIndentation => trim_end(line),
            };
            if view.folds() && !kept.is_ascii() {
                normal.push_folded(kept, offset);
            } else {
                normal.push(kept, offset, kept.len(), true);
            }
            if end {
                normal.push(b"\n", offset + line.len() - 1, 1, true);
            }
            offset += line.len();
        }
        if closes && !normal.bytes.is_empty() && !normal.bytes.ends_with(b"\n") {
            normal.push(b"\n", text.len(), 0, false);
        }
        normal
    }

    fn push(&mut self, bytes: &[u8], from: usize, from_length: usize, verbatim: bool) {
        if bytes.is_empty() {
            return;
        }
        if verbatim
            && let Some(last) = self.pieces.last_mut()
            && last.verbatim
            && (last.from + last.from_length) as usize == from
        {
            last.length += bytes.len() as u32;
            last.from_length += from_length as u32;
        } else {
            let at = self.bytes.len() as u32;
            self.pieces.push(Piece {
                at,
                from: from as u32,
                length: bytes.len() as u32,
                from_length: from_length as u32,
                verbatim,
            });
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn push_folded(&mut self, line: &[u8], offset: usize) {
        let mut at = 0;
        let mut plain = 0;
        while at < line.len() {
            match folded(&line[at..]) {
                Some((length, to)) => {
                    self.push(&line[plain..at], offset + plain, at - plain, true);
                    self.push(to, offset + at, length, false);
                    at += length;
                    plain = at;
                }
                None => at += 1,
            }
        }
        self.push(&line[plain..], offset + plain, line.len() - plain, true);
    }

    /// Where in the original a byte of it begins; `None` within something that was put in the place of something else.
    pub(crate) fn from(&self, at: usize) -> Option<usize> {
        let index = self.pieces.partition_point(|piece| piece.at as usize <= at).checked_sub(1)?;
        let piece = self.pieces[index];
        let within = at - piece.at as usize;
        if within >= piece.length as usize {
            return Some((piece.from + piece.from_length) as usize);
        }
        if piece.verbatim || within == 0 { Some(piece.from as usize + within) } else { None }
    }

    /// Where in the original the byte before `at` ends.
    pub(crate) fn until(&self, at: usize) -> Option<usize> {
        let last = at.checked_sub(1)?;
        let index = self.pieces.partition_point(|piece| piece.at as usize <= last).checked_sub(1)?;
        let piece = self.pieces[index];
        let within = at - piece.at as usize;
        if piece.verbatim {
            Some(piece.from as usize + within)
        } else if within == piece.length as usize {
            Some((piece.from + piece.from_length) as usize)
        } else {
            None
        }
    }
}
