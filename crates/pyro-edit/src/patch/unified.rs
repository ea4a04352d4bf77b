//! Unified diffs, git's and others', as programs write them and as models do.
//!
//! The counts in `@@` lines are believed where the lines bear them out, so that a deleted `-- x` is not taken for a header; otherwise the lines count
//! themselves. The numbers are kept for choosing among places and mean nothing else.

use crate::failure::Why;
use crate::hunk::{Hunk, Line, Mark};
use crate::patch::{Body, FilePatch, PatchLines, base85, check_counts, header};
use crate::view::{is_blank_line, trim_end, without_end};

const FORM: &str = "begin each line of a hunk with a blank (unchanged), `-` (old) or `+` (new)";

/// Reads a whole patch.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<FilePatch<'_>>, Why> {
    let mut lines = PatchLines::new(text);
    let mut files: Vec<FilePatch<'_>> = Vec::new();
    let mut hunk_count = 0;
    while let Some(line) = lines.peek() {
        if let Some(file) = header::read(&mut lines)? {
            files.push(file);
            check_counts(files.len(), hunk_count)?;
        } else if line.starts_with(b"@@") {
            let hunk = hunk(&mut lines)?;
            hunk_count += 1;
            check_counts(files.len(), hunk_count)?;
            match files.last_mut() {
                Some(FilePatch { body: Body::Hunks(hunks), .. }) => hunks.push(hunk),
                Some(_) | None => {
                    return Err(
                        lines.bad("no file is named above this hunk", "put `--- a/PATH` and `+++ b/PATH` above its `@@` line")
                    );
                }
            }
        } else if line.starts_with(b"GIT binary patch") {
            binary(&mut lines, &mut files)?;
        } else if line.starts_with(b"Binary files ") && trim_end(line).ends_with(b" differ") {
            return Err(lines.bad(
                "the binary content itself is missing",
                "make the diff with `git diff --binary`, or write the file with a command",
            ));
        } else {
            lines.at += 1;
        }
    }
    if files.is_empty() {
        lines.at = 0;
        return Err(lines.bad("no file is named", "put `--- a/PATH` and `+++ b/PATH` above the `@@` lines"));
    }
    if let Some(file) = files.iter().find(|file| is_empty(file)) {
        lines.at = file.patch_line - 1;
        return Err(
            lines.bad("nothing is done to this file: it has no hunk", "put `@@ -1,3 +1,4 @@` and changed lines below the header")
        );
    }
    Ok(files)
}

/// A header of a change, with no change to follow.
fn is_empty(file: &FilePatch<'_>) -> bool {
    use crate::patch::What;
    file.what == What::Modify && file.new_mode.is_none() && file.body == Body::Hunks(Vec::new())
}

fn binary<'p>(lines: &mut PatchLines<'p>, files: &mut [FilePatch<'p>]) -> Result<(), Why> {
    const NEXT: &str = "make the diff with `git diff --binary`, or write the file with a command";
    lines.at += 1;
    let forward = base85::read(lines).map_err(|problem| lines.bad(problem, NEXT))?;
    let forward = forward.ok_or_else(|| lines.bad("`literal` or `delta` and a size were expected", NEXT))?;
    let backward = base85::read(lines).map_err(|problem| lines.bad(problem, NEXT))?;
    match files.last_mut() {
        Some(file) => file.body = Body::Binary { forward, backward },
        None => return Err(lines.bad("no file is named above this", "put `diff --git a/PATH b/PATH` above it")),
    }
    Ok(())
}

/// What an `@@` line says.
struct Numbers<'p> {
    old: Option<(usize, usize)>,
    new_count: usize,
    section: &'p [u8],
}

/// `@@ -1,2 +3,4 @@ section`; what is not so has no numbers, and may be `@@ section` or `@@ ... @@`.
fn numbers(line: &[u8]) -> Numbers<'_> {
    let rest = without_end(line).trim_ascii_start();
    let rest = rest.strip_prefix(b"@@").unwrap_or(rest).trim_ascii();
    let none = |section| Numbers { old: None, new_count: 0, section };
    let parsed = (|| {
        let (old, rest) = range(rest.strip_prefix(b"-")?)?;
        let (new, rest) = range(rest.trim_ascii_start().strip_prefix(b"+")?)?;
        Some((old, new.1, rest))
    })();
    match parsed {
        Some((old, new_count, _)) => Numbers { old: Some(old), new_count, section: b"" },
        None => {
            let section = rest.strip_suffix(b"@@").unwrap_or(rest).trim_ascii();
            let says_nothing =
                section.iter().all(|byte| matches!(byte, b'.' | b' ' | b'-' | b'+' | b',')) || section == "…".as_bytes();
            none(if says_nothing { b"" } else { section })
        }
    }
}

/// The first old line that an `@@` line names.
pub(crate) fn old_start(line: &[u8]) -> Option<usize> {
    numbers(line).old.map(|(start, _)| start)
}

fn range(text: &[u8]) -> Option<((usize, usize), &[u8])> {
    let (start, rest) = number(text)?;
    match rest.strip_prefix(b",") {
        Some(rest) => number(rest).map(|(count, rest)| ((start, count), rest)),
        None => Some(((start, 1), rest)),
    }
}

fn number(text: &[u8]) -> Option<(usize, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = std::str::from_utf8(&text[..digits]).ok()?.parse::<u32>().ok()?;
    Some((value as usize, &text[digits..]))
}

fn hunk<'p>(lines: &mut PatchLines<'p>) -> Result<Hunk<'p>, Why> {
    let start = lines.at;
    let line = lines.peek().unwrap_or_default();
    if line.starts_with(b"@@@") {
        return Err(lines.bad("a combined diff of a merge has no single old file", "send a diff against one version"));
    }
    let numbers = numbers(line);
    lines.at += 1;
    let counted = numbers.old.and_then(|(_, count)| counted(lines, count, numbers.new_count));
    let (found, loose_tail) = match counted {
        Some(found) => (found, 0),
        None => uncounted(lines)?,
    };
    if found.is_empty() {
        lines.at = start;
        return Err(lines.bad("this hunk has no lines", FORM));
    }
    let anchors = if numbers.section.is_empty() { Vec::new() } else { vec![numbers.section] };
    Ok(Hunk { lines: found, number: numbers.old.map(|(start, _)| start), anchors, is_at_end: false, loose_tail })
}

fn mark(line: &[u8]) -> Option<Line<'_>> {
    let (mark, text) = match line {
        [b' ', text @ ..] => (Mark::Context, text),
        [b'-', text @ ..] => (Mark::Removed, text),
        [b'+', text @ ..] => (Mark::Added, text),
        // An empty line of context that lost its blank, perhaps keeping a CR.
        b"\n" | b"\r\n" => (Mark::Context, line),
        _ => return None,
    };
    Some(Line { mark, text })
}

/// Takes the newline off the last line: `\ No newline at end of file` stands behind it.
fn open_end(found: &mut [Line<'_>]) {
    if let Some(last) = found.last_mut() {
        last.text = last.text.strip_suffix(b"\n").unwrap_or(last.text);
    }
}

/// The lines of a hunk if its counts are right; moves on only then.
fn counted<'p>(lines: &mut PatchLines<'p>, mut old_left: usize, mut new_left: usize) -> Option<Vec<Line<'p>>> {
    let mut found = Vec::new();
    let mut ahead = 0;
    while old_left > 0 || new_left > 0 {
        let line = lines.ahead(ahead)?;
        ahead += 1;
        if line.starts_with(b"\\") {
            open_end(&mut found);
            continue;
        }
        let line = mark(line)?;
        if line.mark != Mark::Added {
            old_left = old_left.checked_sub(1)?;
        }
        if line.mark != Mark::Removed {
            new_left = new_left.checked_sub(1)?;
        }
        found.push(line);
    }
    if lines.ahead(ahead).is_some_and(|line| line.starts_with(b"\\")) {
        open_end(&mut found);
        ahead += 1;
    }
    let start = lines.at;
    lines.at += ahead;
    if is_over(lines) {
        return Some(found);
    }
    lines.at = start;
    None
}

/// Whether no line of a hunk can stand here, blank lines aside.
fn is_over(lines: &PatchLines<'_>) -> bool {
    let mut ahead = 0;
    while lines.ahead(ahead).is_some_and(is_blank_line) {
        // A blank with nothing behind it is a line of context, as an empty line may be.
        if lines.ahead(ahead).is_some_and(|line| line.starts_with(b" ")) {
            return false;
        }
        ahead += 1;
    }
    let rest = PatchLinesAt { lines, ahead };
    match lines.ahead(ahead) {
        None => true,
        Some(line) => rest.is_boundary() || !matches!(line.first(), Some(b' ' | b'+' | b'-' | b'\\')),
    }
}

struct PatchLinesAt<'a, 'p> {
    lines: &'a PatchLines<'p>,
    ahead: usize,
}

impl PatchLinesAt<'_, '_> {
    fn starts(&self, ahead: usize, with: &[u8]) -> bool {
        self.lines.ahead(self.ahead + ahead).is_some_and(|line| line.starts_with(with))
    }

    /// Whether another part of the patch begins here, or the mail ends.
    fn is_boundary(&self) -> bool {
        let line = self.lines.ahead(self.ahead).unwrap_or_default();
        let is_header = self.starts(0, b"--- ") && self.starts(1, b"+++ ");
        let is_signature = trim_end(line) == b"--"
            && line.starts_with(b"-- ")
            && self.lines.ahead(self.ahead + 1).is_some_and(|next| next.first().is_some_and(u8::is_ascii_digit));
        line.starts_with(b"@@") || line.starts_with(b"diff ") || is_header || is_signature
    }
}

/// The lines of a hunk up to what cannot be one of them, and how many empty ones at its end may be no part of it.
fn uncounted<'p>(lines: &mut PatchLines<'p>) -> Result<(Vec<Line<'p>>, usize), Why> {
    let mut found: Vec<Line<'p>> = Vec::new();
    let mut loose_tail = 0;
    while let Some(line) = lines.peek() {
        if (PatchLinesAt { lines, ahead: 0 }).is_boundary() {
            break;
        }
        if line.starts_with(b"\\") {
            open_end(&mut found);
        } else if let Some(line) = mark(line) {
            loose_tail = if is_blank_line(line.text) && line.mark == Mark::Context { loose_tail + 1 } else { 0 };
            found.push(line);
        } else {
            end_of_hunk(lines)?;
            break;
        }
        lines.at += 1;
    }
    while found.len() > 1 && loose_tail > 0 && found.len() == loose_tail {
        found.pop();
        loose_tail -= 1;
    }
    Ok((found, loose_tail))
}

/// Refuses a line without a mark that stands among lines of a hunk: leaving out what follows would change half.
fn end_of_hunk(lines: &PatchLines<'_>) -> Result<(), Why> {
    let line = trim_end(lines.peek().unwrap_or_default());
    let is_wrapping = line.starts_with(b"```")
        || line.starts_with(b"~~~")
        || line.starts_with(b"***")
        || line.starts_with(b"Index: ")
        || line.starts_with(b"From ")
        || line.starts_with(b"Only in ")
        || line.starts_with(b"Binary files ")
        || line.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    if is_wrapping {
        return Ok(());
    }
    for ahead in 1.. {
        let rest = PatchLinesAt { lines, ahead };
        let Some(line) = lines.ahead(ahead) else { break };
        if line.starts_with(b"diff ") || rest.starts(0, b"--- ") && rest.starts(1, b"+++ ") || line.starts_with(b"```") {
            break;
        }
        if matches!(line.first(), Some(b'+' | b'-')) || line.starts_with(b"@@") {
            return Err(lines.bad("this line stands within a hunk without a mark", FORM));
        }
    }
    Ok(())
}
