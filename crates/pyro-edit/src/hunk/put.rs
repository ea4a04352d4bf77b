//! A file's new content from hunks that have their places.
//!
//! What a hunk found exactly, it writes byte for byte. What it found otherwise, it writes in the manner of the file: its line ends, its indentation,
//! its mark at the start, its missing newline at the end. Context lines are always those of the file.

use crate::edit::SentEnds;
use crate::failure::Why;
use crate::hunk::{Mark, Placed};
use crate::limits::FILE_BYTES_MAX;
use crate::rung::EXACT;
use crate::view::{Lines, MARK, without_end};

/// Puts hunks in; they must not overlap.
pub(crate) fn put(lines: &Lines<'_>, mut placed: Vec<&Placed<'_>>) -> Result<Vec<u8>, Why> {
    placed.sort_by_key(|placed| (placed.start + placed.hunk.margins().0, placed.start));
    let mut out = Vec::with_capacity(lines.bytes.len() + 1024);
    let (mut at, mut keeps_open) = (0, false);
    for placed in placed {
        let is_exact = placed.rung == EXACT;
        let length = placed.hunk.before().len();
        // Put behind the last line by a form that has no numbers, nor a word for a missing newline.
        let is_at_end = length == 0 && placed.hunk.number.is_none();
        let around = &lines.bytes[lines.start(placed.start)..lines.start(placed.start + length)];
        let sent_ends = SentEnds::new(lines.bytes, around, &placed.hunk.before().concat(), &placed.hunk.after().concat());
        // Margins may be shared with other hunks: only what is changed is written.
        let (head, tail) = placed.hunk.margins();
        let mut cursor = placed.start + head;
        for line in &placed.hunk.lines[head..placed.hunk.lines.len() - tail] {
            push_lines(&mut out, lines, at, cursor);
            at = at.max(cursor);
            match line.mark {
                Mark::Context => cursor += 1,
                Mark::Removed => {
                    cursor += 1;
                    at = cursor;
                }
                Mark::Added => {
                    close(&mut out, sent_ends.crlf);
                    if is_exact && !is_at_end {
                        out.extend_from_slice(line.text);
                    } else {
                        let shifted = placed.shift.as_ref().and_then(|shift| shift.apply(line.text));
                        out.extend_from_slice(&sent_ends.adapt(shifted.as_deref().unwrap_or(line.text)));
                    }
                }
            }
        }
        if placed.start + length == lines.len() && !placed.hunk.has_open_end() {
            keeps_open |= !is_exact || is_at_end;
        }
        if !is_exact && lines.bytes.starts_with(MARK) && !out.is_empty() && !out.starts_with(MARK) {
            out.splice(0..0, MARK.iter().copied());
        }
        if out.len() > FILE_BYTES_MAX {
            break;
        }
    }
    push_lines(&mut out, lines, at, lines.len());
    if keeps_open && !lines.bytes.is_empty() && !lines.bytes.ends_with(b"\n") && out.ends_with(b"\n") {
        out.truncate(without_end(&out).len());
    }
    if out.len() > FILE_BYTES_MAX {
        return Err(Why::TooLarge {
            reason: format!("the file would have more than {} MiB", FILE_BYTES_MAX >> 20),
            next: "write it with a command instead".to_owned(),
        });
    }
    Ok(out)
}

fn push_lines(out: &mut Vec<u8>, lines: &Lines<'_>, from: usize, until: usize) {
    if from < until {
        let bytes = &lines.bytes[lines.start(from)..lines.start(until)];
        close(out, bytes.ends_with(b"\r\n"));
        out.extend_from_slice(bytes);
    }
}

/// Ends a last line that has no newline, now that another follows.
fn close(out: &mut Vec<u8>, crlf: bool) {
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
    }
}
