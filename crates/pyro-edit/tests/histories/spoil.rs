//! Diffs of text files, written in every form that models use, and spoiled as models spoil them.
//!
//! Nothing here knows how the engine works; it knows its requests.

#![allow(dead_code, reason = "the two that share it need different parts")]

use pyro_edit::{Edit, FileEdits, Request};

use super::support::Random;

/// A hunk of a diff, as one would write it in whatever form.
#[derive(Clone, Debug)]
pub struct Hunk {
    pub old_start: usize,
    pub new_start: usize,
    /// Mark and text with its newline, if it has one.
    pub lines: Vec<(u8, Vec<u8>)>,
}

impl Hunk {
    pub fn side(&self, without: u8) -> Vec<Vec<u8>> {
        self.lines.iter().filter(|(mark, _)| *mark != without).map(|(_, text)| text.clone()).collect()
    }

    fn range(start: usize, count: usize) -> String {
        format!("{start},{count}")
    }
}

/// The diff of one changed text file.
#[derive(Clone, Debug)]
pub struct TextDiff {
    pub path: String,
    pub hunks: Vec<Hunk>,
}

/// Reads what `git diff` wrote. Only changed text files; others are left out.
pub fn text_diffs(patch: &[u8]) -> Vec<TextDiff> {
    let mut diffs = Vec::new();
    let mut lines = patch.split_inclusive(|byte| *byte == b'\n').peekable();
    let mut path: Option<String> = None;
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut is_plain = false;
    let flush = |path: &mut Option<String>, hunks: &mut Vec<Hunk>, is_plain: bool, diffs: &mut Vec<TextDiff>| {
        if let (Some(path), true, false) = (path.take(), is_plain, hunks.is_empty()) {
            diffs.push(TextDiff { path, hunks: std::mem::take(hunks) });
        }
        hunks.clear();
    };
    while let Some(line) = lines.next() {
        let text = String::from_utf8_lossy(line).into_owned();
        if text.starts_with("diff --git ") {
            flush(&mut path, &mut hunks, is_plain, &mut diffs);
            is_plain = true;
        } else if ["new file", "deleted file", "old mode", "rename ", "copy ", "GIT binary"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            is_plain = false;
        } else if let Some(name) = text.strip_prefix("+++ b/") {
            path = Some(name.trim_end_matches(['\n', '\t']).to_owned());
        } else if let Some(header) = text.strip_prefix("@@ -") {
            let (old, rest) = header.split_once(" +").expect("two ranges");
            let new = rest.split_once(" @@").expect("an end").0;
            let range = |text: &str| {
                let (start, count) = text.split_once(',').unwrap_or((text, "1"));
                (start.parse::<usize>().expect("a number"), count.parse::<usize>().expect("a number"))
            };
            let ((old_start, mut old_left), (new_start, mut new_left)) = (range(old), range(new));
            let mut hunk = Hunk { old_start, new_start, lines: Vec::new() };
            while old_left > 0 || new_left > 0 || lines.peek().is_some_and(|line| line.starts_with(b"\\")) {
                let line = lines.next().expect("as many lines as it says");
                let (mark, text) = (line[0], line[1..].to_vec());
                match mark {
                    b'\\' => {
                        let last = &mut hunk.lines.last_mut().expect("a line before").1;
                        last.pop();
                        continue;
                    }
                    b'+' => new_left -= 1,
                    b'-' => old_left -= 1,
                    _ => (old_left, new_left) = (old_left - 1, new_left - 1),
                }
                hunk.lines.push((mark, text));
            }
            hunks.push(hunk);
        }
    }
    flush(&mut path, &mut hunks, is_plain, &mut diffs);
    diffs
}

/// How hunks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Unified,
    /// `@@ @@`.
    Unnumbered,
    V4a,
    Blocks,
    Edits,
}

pub fn write(diff: &TextDiff, form: Form) -> Request {
    let path = &diff.path;
    let joined = |lines: Vec<Vec<u8>>| lines.concat();
    let mut out: Vec<u8> = Vec::new();
    match form {
        Form::Unified | Form::Unnumbered => {
            out.extend(format!("diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n").bytes());
            for hunk in &diff.hunks {
                let (old, new) = (hunk.side(b'+').len(), hunk.side(b'-').len());
                if form == Form::Unified {
                    out.extend(
                        format!("@@ -{} +{} @@\n", Hunk::range(hunk.old_start, old), Hunk::range(hunk.new_start, new)).bytes(),
                    );
                } else {
                    out.extend(b"@@ @@\n");
                }
                write_lines(&mut out, hunk, true);
            }
        }
        Form::V4a => {
            out.extend(format!("*** Begin Patch\n*** Update File: {path}\n").bytes());
            for hunk in &diff.hunks {
                out.extend(b"@@\n");
                write_lines(&mut out, hunk, false);
            }
            out.extend(b"*** End Patch\n");
        }
        Form::Blocks => {
            for hunk in &diff.hunks {
                out.extend(format!("{path}\n<<<<<<< SEARCH\n").bytes());
                let block = |out: &mut Vec<u8>, side| {
                    let text = joined(hunk.side(side));
                    out.extend(&text);
                    if !text.is_empty() && !text.ends_with(b"\n") {
                        out.push(b'\n');
                    }
                };
                block(&mut out, b'+');
                out.extend(b"=======\n");
                block(&mut out, b'-');
                out.extend(b">>>>>>> REPLACE\n\n");
            }
        }
        Form::Edits => {
            let edit = |hunk: &Hunk| Edit { old: joined(hunk.side(b'+')), new: joined(hunk.side(b'-')), all: false };
            let edits = diff.hunks.iter().map(edit).collect();
            return Request::Edits(vec![FileEdits { path: path.clone().into_bytes(), edits }]);
        }
    }
    Request::Patch(out)
}

fn write_lines(out: &mut Vec<u8>, hunk: &Hunk, says_open_end: bool) {
    for (mark, text) in &hunk.lines {
        out.push(*mark);
        out.extend(text);
        if !text.ends_with(b"\n") {
            out.extend(if says_open_end { b"\n\\ No newline at end of file\n".as_slice() } else { b"\n" });
        }
    }
}

/// What is done to hunks, and what form they are then sent in.
pub const SPOILINGS: [(&str, Form); 24] = [
    ("none", Form::Unified),
    ("none", Form::V4a),
    ("none", Form::Blocks),
    ("none", Form::Edits),
    ("no numbers", Form::Unnumbered),
    ("shifted numbers", Form::Unified),
    ("random numbers", Form::Unified),
    ("wrong counts", Form::Unified),
    ("trailing blanks", Form::Unified),
    ("trailing blanks", Form::Edits),
    ("CRLF", Form::Unified),
    ("CRLF", Form::Edits),
    ("gutters", Form::Unified),
    ("gutters", Form::Edits),
    ("re-indented", Form::Unified),
    ("re-indented", Form::Edits),
    ("fenced", Form::Unified),
    ("one line of context", Form::Unified),
    ("one line of context", Form::V4a),
    ("a wrong line", Form::Unified),
    ("a wrong line", Form::V4a),
    ("a wrong line", Form::Edits),
    ("lines left out", Form::Blocks),
    ("lines left out", Form::Edits),
];

/// Whether what is sent then still says what is to become of the file: line ends of both kinds, or indentation where there is nothing to compare it with,
/// cannot be told from spoiled ones, and two forms have no way to say that a file gets or loses the newline at its end.
pub fn still_says_it(diff: &TextDiff, how: &str, form: Form, old: &[u8], new: &[u8]) -> bool {
    let is_open = |text: &[u8]| !text.is_empty() && !text.ends_with(b"\n");
    match (how, form) {
        (_, Form::V4a | Form::Blocks) if is_open(old) != is_open(new) && !old.is_empty() => false,
        ("CRLF", _) => !old.contains(&b'\r') && !new.contains(&b'\r') && !old.is_empty(),
        ("re-indented", _) => diff.hunks.iter().all(|hunk| hunk.side(b'+').iter().any(|text| !text.trim_ascii().is_empty())),
        _ => true,
    }
}

/// The request with which a diff is sent, spoiled; and the hunks as the sender has them.
pub fn spoil(diff: &TextDiff, how: &str, form: Form, random: &mut Random) -> (TextDiff, Request) {
    let mut sent = diff.clone();
    let shift = 1 + random.below(40);
    // One wrong line is a slip; one in each hunk would be another file.
    let slip = random.below(sent.hunks.len());
    for (at, hunk) in sent.hunks.iter_mut().enumerate() {
        if how == "a wrong line" && at != slip {
            continue;
        }
        // In a patch all lines are converted, below.
        if how != "CRLF" || form == Form::Edits {
            spoil_hunk(hunk, how, shift, random);
        }
    }
    let mut request = write(&sent, form);
    if let Request::Patch(patch) = &mut request {
        let text = patch.clone();
        match how {
            "wrong counts" => {
                *patch = text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| wrong_counts(line, random)).collect();
            }
            "CRLF" if form == Form::Unified => {
                *patch = text
                    .split_inclusive(|byte| *byte == b'\n')
                    .flat_map(|line| [&line[..line.len() - 1], b"\r\n"].concat())
                    .collect()
            }
            "fenced" => {
                *patch = [b"Here is the patch:\n\n```diff\n".as_slice(), &text, b"```\n\nIt does what you want.\n"].concat()
            }
            _ => {}
        }
    }
    (sent, request)
}

fn wrong_counts(line: &[u8], random: &mut Random) -> Vec<u8> {
    match std::str::from_utf8(line) {
        Ok(text) if text.starts_with("@@ -") => {
            let numbers: Vec<usize> = text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
            let wrong = |count: usize, by: usize| (count + by).saturating_sub(2);
            let (old, new) = (wrong(numbers[1], random.below(5)), wrong(numbers[3], random.below(5)));
            format!("@@ -{},{old} +{},{new} @@\n", numbers[0], numbers[2]).into_bytes()
        }
        Ok(_) | Err(_) => line.to_vec(),
    }
}

fn spoil_hunk(hunk: &mut Hunk, how: &str, shift: usize, random: &mut Random) {
    let has_blank_end = |text: &[u8]| text.trim_ascii_end().is_empty();
    match how {
        "shifted numbers" => (hunk.old_start, hunk.new_start) = (hunk.old_start + shift, hunk.new_start + shift),
        "random numbers" => (hunk.old_start, hunk.new_start) = (1 + random.below(500), 1 + random.below(500)),
        "trailing blanks" => {
            for (_, text) in hunk.lines.iter_mut().filter(|(mark, _)| *mark != b'+') {
                if random.below(2) == 0 && text.ends_with(b"\n") && !text.ends_with(b"\r\n") {
                    text.insert(text.len() - 1, b' ');
                }
            }
        }
        "CRLF" => {
            for (_, text) in &mut hunk.lines {
                if text.ends_with(b"\n") && !text.ends_with(b"\r\n") {
                    text.insert(text.len() - 1, b'\r');
                }
            }
        }
        "gutters" => {
            let old_lines = hunk.lines.iter_mut().filter(|(mark, _)| *mark != b'+');
            for (number, (_, text)) in (hunk.old_start..).zip(old_lines) {
                text.splice(0..0, format!("{number:>6}\t").bytes());
            }
            // A change of old text needs numbers on no new line: the sender wrote those himself.
        }
        "re-indented" => {
            for (_, text) in hunk.lines.iter_mut().filter(|(_, text)| !has_blank_end(text)) {
                text.splice(0..0, b"    ".iter().copied());
            }
        }
        "one line of context" => {
            let head = hunk.lines.iter().take_while(|(mark, _)| *mark == b' ').count();
            let tail = hunk.lines.iter().rev().take_while(|(mark, _)| *mark == b' ').count();
            let cut = head.saturating_sub(1);
            hunk.lines.truncate(hunk.lines.len() - tail.saturating_sub(1));
            hunk.lines.drain(..cut);
            (hunk.old_start, hunk.new_start) = (hunk.old_start + cut, hunk.new_start + cut);
        }
        "lines left out" => {
            // The longest run of context, but for the lines at its ends.
            let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
            for (at, _) in hunk.lines.iter().enumerate().filter(|(_, (mark, _))| *mark == b' ') {
                match runs.last_mut() {
                    Some(run) if run.end == at => run.end += 1,
                    _ => runs.push(at..at + 1),
                }
            }
            if let Some(run) = runs.into_iter().max_by_key(|run| run.len()).filter(|run| run.len() > 2) {
                hunk.lines.splice(run.start + 1..run.end - 1, [(b' ', b"    ...\n".to_vec())]);
            }
        }
        "a wrong line" => {
            // A word of one old line is another.
            let lines: Vec<usize> = hunk
                .lines
                .iter()
                .enumerate()
                .filter(|(_, (mark, text))| *mark != b'+' && (9..200).contains(&text.len()))
                .map(|(at, _)| at)
                .collect();
            if let Some(at) = lines.get(random.below(lines.len())) {
                let text = &mut hunk.lines[*at].1;
                let middle = text.len() / 2;
                text.splice(middle..middle, b"WRONG".iter().copied());
            }
        }
        _ => {}
    }
}
