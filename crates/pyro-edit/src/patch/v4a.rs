//! `*** Begin Patch`: files by name, hunks without numbers, lines that stand above a hunk behind `@@`.
//!
//! Both ends may be missing; what stands outside of them is skipped.

use crate::failure::Why;
use crate::hunk::{Hunk, Line, Mark};
use crate::patch::{Body, FilePatch, PatchLines, What, bad, check_counts, unified};
use crate::view::{is_blank_line, trim_end};

const FORM: &str =
    "below `*** Update File:` begin each line with a blank (unchanged), `-` (old) or `+` (new), and each place with `@@`";

/// Reads a whole patch.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<FilePatch<'_>>, Why> {
    let mut lines = PatchLines::new(text);
    let mut files: Vec<FilePatch<'_>> = Vec::new();
    let mut hunk_count = 0;
    while let Some(line) = lines.peek() {
        let marker = trim_end(line);
        let start = lines.at;
        let file = if let Some(path) = marker.strip_prefix(b"*** Add File:") {
            lines.at += 1;
            let hunk = added(&mut lines)?;
            Some(file(start, None, Some(path), What::Create, Vec::from([hunk])))
        } else if let Some(path) = marker.strip_prefix(b"*** Delete File:") {
            lines.at += 1;
            Some(file(start, Some(path), None, What::Delete, Vec::new()))
        } else if let Some(path) = marker.strip_prefix(b"*** Update File:") {
            lines.at += 1;
            let to = lines.peek().map(trim_end).and_then(|line| line.strip_prefix(b"*** Move to:"));
            lines.at += usize::from(to.is_some());
            let hunks = hunks(&mut lines)?;
            if hunks.is_empty() && to.is_none() {
                return Err(bad(start, marker, "nothing is done to this file: it has no hunk", FORM));
            }
            hunk_count += hunks.len();
            let what = if to.is_some() { What::Rename } else { What::Modify };
            Some(file(start, Some(path), Some(to.unwrap_or(path)), what, hunks))
        } else if marker == b"*** End Patch" && !files.is_empty() {
            break;
        } else if marker.starts_with(b"*** ") && !marker.starts_with(b"*** Begin Patch") && !files.is_empty() {
            let next = "use `*** Add File: PATH`, `*** Update File: PATH`, `*** Delete File: PATH`, `*** Move to: PATH` or `*** End Patch`";
            return Err(lines.bad("there is no such line", next));
        } else if !files.is_empty() && matches!(marker.first(), Some(b'+' | b'-' | b'@')) {
            return Err(lines.bad("this line belongs to no file", "put `*** Update File: PATH` above it"));
        } else {
            lines.at += 1;
            None
        };
        files.extend(file);
        check_counts(files.len(), hunk_count)?;
    }
    if files.is_empty() {
        lines.at = 0;
        return Err(lines.bad("no file is named", "put `*** Update File: PATH` above the hunks"));
    }
    Ok(files)
}

fn file<'p>(at: usize, old: Option<&[u8]>, new: Option<&[u8]>, what: What, hunks: Vec<Hunk<'p>>) -> FilePatch<'p> {
    let path = |path: &[u8]| path.trim_ascii().to_vec();
    FilePatch {
        old: old.map(path),
        new: new.map(path),
        what,
        new_mode: None,
        body: Body::Hunks(hunks),
        has_sides: false,
        patch_line: at + 1,
    }
}

fn is_marker(line: &[u8]) -> bool {
    line.starts_with(b"*** ") || trim_end(line) == b"***"
}

fn added<'p>(lines: &mut PatchLines<'p>) -> Result<Hunk<'p>, Why> {
    let mut hunk = Hunk::default();
    while let Some(line) = lines.peek() {
        match line {
            [b'+', text @ ..] => hunk.lines.push(Line { mark: Mark::Added, text }),
            _ if is_marker(line) => break,
            // Blank lines before the next file; within the content they would have a mark.
            _ if is_blank_line(line) && lines.ahead(1).is_none_or(|next| !next.starts_with(b"+")) => {}
            _ if is_blank_line(line) => hunk.lines.push(Line { mark: Mark::Added, text: line }),
            _ if line.starts_with(b"```") => break,
            _ => return Err(lines.bad("a line of a new file has no mark", "begin each line below `*** Add File:` with `+`")),
        }
        lines.at += 1;
    }
    Ok(hunk)
}

fn hunks<'p>(lines: &mut PatchLines<'p>) -> Result<Vec<Hunk<'p>>, Why> {
    let mut hunks: Vec<Hunk<'p>> = Vec::new();
    let mut hunk = Hunk::default();
    let start = lines.at;
    while let Some(line) = lines.peek() {
        let marker = trim_end(line);
        if marker == b"*** End of File" {
            hunk.is_at_end = true;
            finish(&mut hunks, &mut hunk);
        } else if is_marker(line) || line.starts_with(b"```") {
            break;
        } else if marker.starts_with(b"@@") {
            if !hunk.lines.is_empty() {
                finish(&mut hunks, &mut hunk);
            }
            let anchor = marker[2..].trim_ascii();
            // The form has no numbers, but where they are sent they may choose among places as elsewhere.
            let is_numbers = anchor.starts_with(b"-") && anchor.iter().any(u8::is_ascii_digit) && anchor.contains(&b'+');
            hunk.number = is_numbers.then(|| unified::old_start(marker)).flatten();
            let anchor = anchor.strip_suffix(b"@@").unwrap_or(anchor).trim_ascii_end();
            if !anchor.is_empty() && !is_numbers && anchor != b"..." {
                hunk.anchors.push(anchor);
            }
        } else {
            let (mark, text) = match line {
                [b' ', text @ ..] => (Mark::Context, text),
                [b'-', text @ ..] => (Mark::Removed, text),
                [b'+', text @ ..] => (Mark::Added, text),
                b"\n" | b"\r\n" => (Mark::Context, line),
                // Right below the header nothing else can be meant.
                [b'\\', ..] => {
                    lines.at += 1;
                    continue;
                }
                _ => return Err(lines.bad("this line has no mark", FORM)),
            };
            // Empty lines between hunks are no context.
            if !(hunk.lines.is_empty()
                && is_blank_line(line)
                && !line.starts_with(b"+")
                && !line.starts_with(b"-")
                && !line.starts_with(b" "))
            {
                hunk.loose_tail = if mark == Mark::Context && is_blank_line(text) { hunk.loose_tail + 1 } else { 0 };
                hunk.lines.push(Line { mark, text });
            }
        }
        lines.at += 1;
    }
    if hunk.lines.is_empty() && !hunk.anchors.is_empty() {
        return Err(bad(start, lines.lines.get(start).copied().unwrap_or_default(), "a hunk has an `@@` line but no lines", FORM));
    }
    finish(&mut hunks, &mut hunk);
    Ok(hunks)
}

fn finish<'p>(hunks: &mut Vec<Hunk<'p>>, hunk: &mut Hunk<'p>) {
    let mut done = std::mem::take(hunk);
    if done.lines.is_empty() {
        return;
    }
    // Only new lines and nothing above them: the form puts them at the end of the file.
    done.is_at_end |= done.anchors.is_empty() && done.lines.iter().all(|line| line.mark == Mark::Added);
    if done.lines.len() == done.loose_tail {
        return;
    }
    hunks.push(done);
}
