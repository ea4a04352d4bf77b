//! The ladder: ways to read what was sent, each with a way to look at the file, from the strictest down.
//!
//! A rung is tried only when no rung above found anything. None of them guesses: on each, two texts are the same or not.

use std::borrow::Cow;

use crate::shift::Shift;
use crate::view::{View, is_blank_line};

/// How what was sent is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    AsSent,
    /// Without the line numbers that a tool had shown in front of each line.
    WithoutGutters,
    /// With `\n`, `\t` and such taken for what they stand for: it was escaped once too often.
    Unescaped,
}

/// One rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rung {
    pub(crate) reading: Reading,
    pub(crate) view: View,
}

const fn rung(reading: Reading, view: View) -> Rung {
    Rung { reading, view }
}

/// Below the exact rung, for edits.
pub(crate) const EDIT_RUNGS: [Rung; 10] = [
    rung(Reading::AsSent, View::LineEnds),
    rung(Reading::AsSent, View::TrailingBlanks),
    rung(Reading::WithoutGutters, View::LineEnds),
    rung(Reading::WithoutGutters, View::TrailingBlanks),
    rung(Reading::AsSent, View::Indentation),
    rung(Reading::WithoutGutters, View::Indentation),
    rung(Reading::AsSent, View::Punctuation),
    rung(Reading::AsSent, View::PunctuationAndIndentation),
    rung(Reading::Unescaped, View::TrailingBlanks),
    rung(Reading::Unescaped, View::Indentation),
];

/// Below the exact rung, for hunks: the same but for the last two, as nobody escapes hunks.
pub(crate) const HUNK_RUNGS: &[Rung] = EDIT_RUNGS.split_at(8).0;

pub(crate) const EXACT: Rung = rung(Reading::AsSent, View::Exact);

impl Rung {
    /// "matched ignoring …"; nothing for an exact match.
    pub(crate) fn words(self, shift: Option<&Shift>) -> Option<String> {
        let mut ignored = match self.reading {
            Reading::AsSent => Vec::new(),
            Reading::WithoutGutters => vec!["pasted line numbers".to_owned()],
            Reading::Unescaped => vec!["one level of escapes".to_owned()],
        };
        let shift = shift.map_or_else(String::new, |shift| format!(" ({})", shift.words()));
        match self.view {
            View::Exact => {}
            View::LineEnds | View::TrailingBlanks if self.reading != Reading::AsSent => {}
            View::LineEnds => ignored.push("line ends (CRLF, newline at the end)".to_owned()),
            View::TrailingBlanks => ignored.push("blanks at ends of lines".to_owned()),
            View::Indentation => ignored.push(format!("indentation{shift}")),
            View::Punctuation => ignored.push("typographic punctuation".to_owned()),
            View::PunctuationAndIndentation => ignored.push(format!("typographic punctuation and indentation{shift}")),
        }
        (!ignored.is_empty()).then(|| format!("matched ignoring {}", ignored.join(" and ")))
    }
}

/// A line that begins with a line number and its bar: `118|`, `118:`, a tab, an arrow.
pub(crate) struct Numbered<'l> {
    number: u64,
    bar: &'static [u8],
    rest: &'l [u8],
}

const BARS: [&[u8]; 5] = [b"\t", b"|", b":", "│".as_bytes(), "→".as_bytes()];

pub(crate) fn numbered(line: &[u8]) -> Option<Numbered<'_>> {
    let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let digits = line[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=7).contains(&digits) {
        return None;
    }
    let number = line[start..start + digits].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    let rest = &line[start + digits..];
    // `118 | text`: what stands behind the bar is then one blank further right on all lines, which is a shift.
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    let bar = BARS.into_iter().find(|bar| rest[blanks..].starts_with(bar)).filter(|bar| blanks == 0 || *bar != b":")?;
    Some(Numbered { number, bar, rest: &rest[blanks + bar.len()..] })
}

/// Lines without their numbers, if all that are not blank have one, with the same bar, and the numbers rise. (Numbers that a text has of its own seldom
/// do.)
pub(crate) fn without_gutters<'l>(lines: &[&'l [u8]]) -> Option<Vec<&'l [u8]>> {
    let mut last: Option<Numbered<'_>> = None;
    let mut bare = Vec::with_capacity(lines.len());
    for line in lines {
        match numbered(line) {
            Some(found) => {
                if last.as_ref().is_some_and(|last| found.number <= last.number || found.bar != last.bar) {
                    return None;
                }
                bare.push(found.rest);
                last = Some(found);
            }
            None if is_blank_line(line) => bare.push(*line),
            None => return None,
        }
    }
    last.map(|_| bare)
}

/// A text with `\n`, `\t`, `\r`, `\"`, `\'` and `\\` taken for what they stand for; `None` when it has none of them.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let meant = match rest.get(at + 1) {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(byte @ (b'"' | b'\'' | b'\\')) => *byte,
            Some(_) | None => return None,
        };
        out.push(meant);
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    (out.len() < text.len()).then_some(out)
}

/// Both texts of an edit.
pub(crate) type OldAndNew<'t> = (Cow<'t, [u8]>, Cow<'t, [u8]>);

/// The old and the new text of an edit as a reading has them; `None` if they cannot be read so.
pub(crate) fn read<'t>(reading: Reading, old: &'t [u8], new: &'t [u8]) -> Option<OldAndNew<'t>> {
    match reading {
        Reading::AsSent => Some((Cow::Borrowed(old), Cow::Borrowed(new))),
        Reading::WithoutGutters => {
            let split = |text: &'t [u8]| text.split_inclusive(|byte| *byte == b'\n').collect::<Vec<_>>();
            let old_lines = split(old);
            let bare = without_gutters(&old_lines)?.concat();
            let new = Cow::Owned(without_gutters_in_new(&old_lines, &split(new)).concat());
            Some((Cow::Owned(bare), new))
        }
        Reading::Unescaped => {
            let old = unescaped(old)?;
            // A new text with escapes that are none of ours was not escaped as a whole.
            let new = if new.contains(&b'\\') { Cow::Owned(unescaped(new)?) } else { Cow::Borrowed(new) };
            Some((Cow::Owned(old), new))
        }
    }
}

/// New lines without numbers, where those of old lines had such a bar: all of them if all have one, otherwise those with a number that an old line
/// has; the others were written without.
pub(crate) fn without_gutters_in_new<'l>(old: &[&[u8]], new: &[&'l [u8]]) -> Vec<&'l [u8]> {
    let of_old = || old.iter().filter_map(|line| numbered(line));
    let Some((first, last)) = of_old().next().zip(of_old().next_back()) else { return new.to_vec() };
    let like_old = |line: &&'l [u8]| numbered(line).filter(|found| found.bar == first.bar);
    let have_all = new.iter().all(|line| is_blank_line(line) || like_old(line).is_some());
    let bare = |line: &&'l [u8]| match like_old(line) {
        Some(found) if have_all || (first.number..=last.number).contains(&found.number) => found.rest,
        Some(_) | None => *line,
    };
    new.iter().map(bare).collect()
}
