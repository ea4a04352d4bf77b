//! What a plan comes to, for a model to check against what it meant: counts, changed lines with their new numbers, and how texts were matched.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::compare;
use crate::failure::quoted;
use crate::files::{File, Mode};
use crate::limits::{REPORT_CONTEXT_LINES, REPORT_LINES_MAX};
use crate::path::RelPath;
use crate::tree::Tree;

/// What is to be told of files, by path.
pub(crate) type Notes = BTreeMap<RelPath, Vec<String>>;

/// What a plan comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By path. A file that moves is at its new path.
    pub files: Vec<FileReport>,
    /// Changed lines that are not shown, for there would be too many.
    pub omitted_lines: usize,
}

/// One file of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Where it is afterwards, or was.
    pub path: RelPath,
    /// What becomes of it.
    pub status: Status,
    /// Lines that it has and had not.
    pub added_count: usize,
    /// Lines that it had and has not.
    pub removed_count: usize,
    /// Its changed places as they become, with some lines around them.
    pub regions: Vec<Region>,
    /// How parts of the request were matched where not exactly, each a sentence in lower case.
    pub notes: Vec<String>,
}

/// What becomes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing: it is as was asked for already.
    Unchanged,
    /// It is new.
    Created,
    /// Other content or another mode.
    Changed,
    /// It has another name, and perhaps other content.
    Moved(RelPath),
    /// It is gone.
    Deleted,
}

/// Lines of a file as they become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The number of the first, from 1.
    pub first_line: usize,
    /// With their ends.
    pub lines: Vec<Vec<u8>>,
}

pub(crate) fn make(tree: &Tree<'_>, mut notes: Notes) -> Report {
    let mut report = Report::default();
    let mut lines_left = REPORT_LINES_MAX;
    for (path, before, now) in tree.changed() {
        let moved = tree.moves.iter().find(|(_, to)| to == path).map(|(from, _)| from);
        if now.is_none() && tree.moves.iter().any(|(from, _)| from == path) {
            continue;
        }
        let before = moved.map_or(before, |from| tree.original(from));
        let status = match (moved, before, now) {
            (Some(from), _, _) => Status::Moved(from.clone()),
            (None, None, _) => Status::Created,
            (None, Some(_), Some(_)) => Status::Changed,
            (None, Some(_), None) => Status::Deleted,
        };
        let mut notes = notes.remove(path).unwrap_or_default();
        if let (Some(before), Some(now)) = (before, now)
            && before.mode != now.mode
        {
            notes.push(format!("is now {}", words(now.mode)));
        }
        let mut file = FileReport { path: path.clone(), status, added_count: 0, removed_count: 0, regions: Vec::new(), notes };
        compare_contents(&mut file, before, now, &mut lines_left, &mut report.omitted_lines);
        report.files.push(file);
    }
    for (path, notes) in notes {
        report.files.push(FileReport {
            path,
            status: Status::Unchanged,
            added_count: 0,
            removed_count: 0,
            regions: Vec::new(),
            notes,
        });
    }
    report.files.sort_by(|a, b| a.path.cmp(&b.path));
    report
}

fn words(mode: Mode) -> &'static str {
    match mode {
        Mode::Regular => "not executable",
        Mode::Executable => "executable",
        Mode::Symlink => "a symbolic link",
    }
}

/// Fills in counts and regions. Content with a NUL byte is no text and has neither.
fn compare_contents(file: &mut FileReport, before: Option<&File>, now: Option<&File>, lines_left: &mut usize, omitted: &mut usize) {
    let content = |file: Option<&'_ File>| file.map_or(Vec::new(), |file| file.content.clone());
    let (before, now) = (content(before), content(now));
    if before.contains(&0) || now.contains(&0) {
        file.notes.push("binary".to_owned());
        return;
    }
    let split = |text| <[u8]>::split_inclusive(text, |byte: &u8| *byte == b'\n').collect::<Vec<&[u8]>>();
    let (old, new) = (split(&before), split(&now));
    let mut regions: Vec<std::ops::Range<usize>> = Vec::new();
    for (old_range, new_range) in compare::changes(&old, &new) {
        file.removed_count += old_range.len();
        file.added_count += new_range.len();
        let around = new_range.start.saturating_sub(REPORT_CONTEXT_LINES)..(new_range.end + REPORT_CONTEXT_LINES).min(new.len());
        match regions.last_mut() {
            Some(last) if last.end >= around.start => last.end = around.end,
            Some(_) | None => regions.push(around),
        }
    }
    if file.status == Status::Deleted {
        return;
    }
    for region in regions {
        let count = region.len().min(*lines_left);
        *lines_left -= count;
        *omitted += region.len() - count;
        if count > 0 {
            let lines = new[region.start..region.start + count].iter().map(|line| line.to_vec()).collect();
            file.regions.push(Region { first_line: region.start + 1, lines });
        }
    }
}

impl Report {
    /// The report as text for a model: a line for each file, then what was changed in it with line numbers.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let counts = format!("+{} -{}", file.added_count, file.removed_count);
            let _ = match &file.status {
                Status::Unchanged => writeln!(text, "{} unchanged", file.path),
                Status::Created => writeln!(text, "{} created {counts}", file.path),
                Status::Changed => writeln!(text, "{} {counts}", file.path),
                Status::Moved(from) => writeln!(text, "{} {counts} (was {from})", file.path),
                Status::Deleted => writeln!(text, "{} deleted {counts}", file.path),
            };
            for note in &file.notes {
                let _ = writeln!(text, "  {note}");
            }
            for (at, region) in file.regions.iter().enumerate() {
                if at > 0 {
                    text.push_str("…\n");
                }
                for (at, line) in region.lines.iter().enumerate() {
                    let _ = writeln!(text, "{}|{}", region.first_line + at, quoted(line));
                }
            }
        }
        if self.omitted_lines > 0 {
            let _ = writeln!(text, "… {} more lines around changes are not shown", self.omitted_lines);
        }
        text
    }
}
