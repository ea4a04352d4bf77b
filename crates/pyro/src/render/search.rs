//! Text of searches.

use pyro_api::ops::search::{FileSearchResponse, FoundFile, FoundLine, SearchTell};

use super::page::{self, contents, count, inline, plural};
use super::{Show, Shown, Style};

/// `12 lines in 3 files`; only the files where lines were not counted.
fn found(response: &FileSearchResponse) -> String {
    let files = plural(response.files_total, "file");
    match response.tell {
        SearchTell::Files => files,
        SearchTell::Lines | SearchTell::Counts => format!("{} in {files}", plural(response.lines_total, "line")),
    }
}

/// What was not looked at: `3 binary files`, `1 that cannot be read`.
fn left_out(response: &FileSearchResponse) -> Option<String> {
    let mut parts = Vec::new();
    if response.binary > 0 {
        parts.push(plural(response.binary, "binary file"));
    }
    if response.unread > 0 {
        parts.push(format!("{} that cannot be read", count(response.unread)));
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// A gap between lines that do not follow each other, when neighbours are shown.
fn gap(before: Option<&FoundLine>, line: &FoundLine, has_neighbours: bool) -> bool {
    has_neighbours && before.is_some_and(|before| before.number + 1 < line.number)
}

fn has_neighbours(file: &FoundFile) -> bool {
    file.lines.iter().any(|line| line.column.is_none())
}

/// As `grep` writes it, for other programs too.
fn for_person(file: &FoundFile, tell: SearchTell, style: &Style) -> String {
    let path = page::painted(&inline(&file.path), "35", style);
    match tell {
        SearchTell::Lines => {}
        SearchTell::Files => return format!("{path}\n"),
        SearchTell::Counts => return format!("{path}:{}\n", file.matching),
    }
    let mut text = String::new();
    let mut before = None;
    for line in &file.lines {
        if gap(before, line, has_neighbours(file)) {
            text.push_str("--\n");
        }
        let mark = if line.column.is_some() { ':' } else { '-' };
        text.push_str(&format!("{path}{mark}{}{mark}{}\n", line.number, contents(&line.text, style)));
        before = Some(line);
    }
    text
}

/// The path, and its lines below it with their numbers as `file edit` understands and takes them off.
fn for_model(file: &FoundFile, tell: SearchTell) -> String {
    let path = inline(&file.path);
    let mut text = match tell {
        SearchTell::Lines | SearchTell::Files => format!("{path}\n"),
        SearchTell::Counts => format!("{path} {}\n", count(file.matching)),
    };
    let mut before = None;
    for line in &file.lines {
        if gap(before, line, has_neighbours(file)) {
            text.push_str("--\n");
        }
        let end = if line.cut { " [... cut]" } else { "" };
        text.push_str(&format!("{}|{}{end}\n", line.number, line.text));
        before = Some(line);
    }
    text
}

impl Show for FileSearchResponse {
    fn person(&self, style: &Style) -> Shown {
        let text: String = self.files.iter().map(|file| for_person(file, self.tell, style)).collect();
        let note = match (self.files.is_empty(), self.truncated) {
            (true, _) => Some(format!("nothing found in {}", plural(self.searched, "file"))),
            (false, true) => Some(format!("there are {}; --limit shows more", found(self))),
            (false, false) => None,
        };
        let left_out = left_out(self).map(|left_out| format!("not searched: {left_out}"));
        let note = [note, left_out].into_iter().flatten().collect::<Vec<_>>().join("; ");
        Shown { out: text.into_bytes(), note: (!note.is_empty()).then_some(note) }
    }

    fn model(&self, room: usize) -> String {
        let left_out = left_out(self).map(|left_out| format!("; not searched: {left_out}")).unwrap_or_default();
        if self.files.is_empty() {
            let hint = if self.searched == 0 { "\nnext: hidden=true and no_ignore=true look at all files" } else { "" };
            return format!("nothing found in {}{left_out}{hint}\n", plural(self.searched, "file"));
        }
        let lines: String = self.files.iter().map(|file| for_model(file, self.tell)).collect();
        let (shown, bytes) = page::head_only(&lines, room.saturating_sub(400));
        let mut text = format!("found {}{left_out}\n{}", found(self), page::fenced("matches", shown));
        if bytes < lines.len() || self.truncated {
            text.push_str("there is more\nnext: give path or glob, a closer pattern, or tell=files\n");
        }
        text
    }
}
