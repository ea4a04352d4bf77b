//! SEARCH/REPLACE blocks: a path, the old lines, the new lines. They become edits.
//!
//! The path stands on the line before a block or before its fence; a block without one belongs to the file of the block before. Lines that both sides leave out
//! (`...`) are no matter of the form: edits may have them too.

use crate::failure::Why;
use crate::patch::PatchLines;
use crate::request::{Edit, FileEdits};
use crate::view::{is_blank_line, trim_end};

const FORM: &str = "a block is PATH, `<<<<<<< SEARCH`, old lines, `=======`, new lines, `>>>>>>> REPLACE`, each on its own line";

/// Whether `line` is nothing but `count` or so of one sign, and a word.
fn is_sign(line: &[u8], sign: u8, words: &[&[u8]]) -> bool {
    let line = trim_end(line);
    let count = line.iter().take_while(|byte| **byte == sign).count();
    (5..=9).contains(&count) && words.contains(&line[count..].trim_ascii())
}

pub(crate) fn is_search(line: &[u8]) -> bool {
    is_sign(line, b'<', &[b"SEARCH", b"SEARCH>", b"ORIGINAL"])
}

fn is_divider(line: &[u8]) -> bool {
    is_sign(line, b'=', &[b""])
}

fn is_replace(line: &[u8]) -> bool {
    is_sign(line, b'>', &[b"REPLACE", b"<REPLACE", b"UPDATED"])
}

/// Reads all blocks.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<FileEdits>, Why> {
    let mut lines = PatchLines::new(text);
    let mut files: Vec<FileEdits> = Vec::new();
    while let Some(line) = lines.peek() {
        if !is_search(line) {
            if is_replace(line) {
                return Err(lines.bad("a block ends here that has not begun", FORM));
            }
            lines.at += 1;
            continue;
        }
        let path = path_above(&lines).or_else(|| files.last().map(|file| file.path.clone()));
        let Some(path) = path else { return Err(lines.bad("no file is named above this block", FORM)) };
        lines.at += 1;
        let old = until(&mut lines, is_divider, "this block has no `=======` line")?;
        let new = until(&mut lines, is_replace, "this block has no `>>>>>>> REPLACE` line")?;
        let edit = Edit { old, new, all: false };
        match files.last_mut() {
            Some(last) if last.path == path => last.edits.push(edit),
            Some(_) | None => files.push(FileEdits { path, edits: vec![edit] }),
        }
    }
    Ok(files)
}

fn until(lines: &mut PatchLines<'_>, ends: fn(&[u8]) -> bool, missing: &str) -> Result<Vec<u8>, Why> {
    let start = lines.at - 1;
    let mut text = Vec::new();
    while let Some(line) = lines.peek() {
        lines.at += 1;
        if ends(line) {
            return Ok(text);
        }
        if is_search(line) || is_replace(line) {
            lines.at = start;
            return Err(lines.bad(missing, FORM));
        }
        if is_divider(line) {
            lines.at -= 1;
            return Err(
                lines.bad("this block has two `=======` lines", "use edits with old and new text for files that have such lines")
            );
        }
        text.extend_from_slice(line);
    }
    lines.at = start;
    Err(lines.bad(missing, FORM))
}

/// The path on the line before, or before the fence on the line before; freed of what models put around names.
fn path_above(lines: &PatchLines<'_>) -> Option<Vec<u8>> {
    let mut above = lines.lines[..lines.at].iter().rev().take(4).filter(|line| !is_blank_line(line)).map(|line| trim_end(line));
    let mut line = above.next()?;
    if line.starts_with(b"```") || line.starts_with(b"~~~") {
        // ```python src/a.py is a habit too.
        let info = line.trim_ascii_start()[3..].trim_ascii();
        let word = info.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        if word.contains(&b'/') || (word.contains(&b'.') && !word.ends_with(b".")) {
            return Some(word.to_vec());
        }
        line = above.next()?;
    }
    if is_replace(line) || is_divider(line) {
        return None;
    }
    let signs = |byte: &u8| matches!(byte, b'`' | b'*' | b'#' | b':' | b' ' | b'\t' | b'"' | b'\'');
    let start = line.iter().position(|byte| !signs(byte))?;
    let end = line.iter().rposition(|byte| !signs(byte))? + 1;
    let path = &line[start..end];
    let path = path.strip_prefix(b"File: ").or(path.strip_prefix(b"file: ")).unwrap_or(path).trim_ascii();
    // A sentence is no path.
    (!path.is_empty() && path.iter().filter(|byte| **byte == b' ').count() <= 2 && !path.ends_with(b".")).then(|| path.to_vec())
}
