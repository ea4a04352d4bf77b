//! Text of files and of what changed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pyro_api::ops::file::{
    Change, ChangeStatus, DiffResponse, Encoding, FileEntry, FileKind, FileListResponse, FileReadResponse, FileWriteResponse,
};

use super::page::{self, contents, count, inline, size};
use super::{Show, Shown, Style};

/// `src/`, `link -> target`.
fn named(entry: &FileEntry) -> String {
    let path = inline(&entry.path);
    match (entry.kind, &entry.target) {
        (FileKind::Directory, _) => format!("{path}/"),
        (FileKind::Symlink, Some(target)) => format!("{path} -> {}", inline(target)),
        (FileKind::Symlink | FileKind::File | FileKind::Other, _) => path,
    }
}

fn letter(kind: FileKind) -> char {
    match kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::Other => '?',
    }
}

/// `1 entry`, `2 entries`.
fn entries(number: u64) -> String {
    if number == 1 { "1 entry".to_owned() } else { format!("{} entries", count(number)) }
}

trait Total {
    /// How many there are, as far as it is known.
    fn total(&self) -> String;
}

impl Total for FileListResponse {
    fn total(&self) -> String {
        match self.entries_total {
            Some(total) if self.uncounted => format!("more than {}", count(total)),
            Some(total) => count(total),
            None => "more".to_owned(),
        }
    }
}

/// A directory that was read is shown as one that was listed.
fn listing(response: &FileReadResponse) -> Option<FileListResponse> {
    Some(FileListResponse {
        workspace: response.workspace.clone(),
        path: response.path.clone(),
        entries: response.entries.clone()?,
        truncated: response.truncated,
        entries_total: None,
        uncounted: false,
    })
}

impl Show for FileListResponse {
    fn person(&self, _style: &Style) -> Shown {
        let width = self.entries.iter().map(|entry| count(entry.size_bytes).len()).max().unwrap_or(0);
        let text: String = self
            .entries
            .iter()
            .map(|entry| {
                let size = if entry.kind == FileKind::File { count(entry.size_bytes) } else { String::new() };
                format!("{}{}  {size:>width$}  {}\n", letter(entry.kind), inline(&entry.mode), named(entry))
            })
            .collect();
        let note = self.truncated.then(|| format!("there are {}; --limit shows them", self.total()));
        Shown { out: text.into_bytes(), note }
    }
    fn model(&self, room: usize) -> String {
        let entries = entries(self.entries.len() as u64);
        let lines: String = self
            .entries
            .iter()
            .map(|entry| match entry.kind {
                FileKind::File => format!("{} {}\n", named(entry), size(entry.size_bytes)),
                FileKind::Directory | FileKind::Symlink | FileKind::Other => format!("{}\n", named(entry)),
            })
            .collect();
        let (shown, bytes) = page::head_only(&lines, room.saturating_sub(300));
        let more = match (self.truncated, self.entries_total) {
            (false, _) => String::new(),
            (true, Some(_)) => format!(" of {}", self.total()),
            (true, None) => ", and more".to_owned(),
        };
        let mut text = format!("{}: {entries}{more}\n{shown}", inline(&self.path));
        if bytes < lines.len() {
            text.push_str(&format!("{} not shown\n", lines[bytes..].lines().count()));
        }
        if bytes < lines.len() || self.truncated {
            text.push_str("next: list a directory below it, or give glob\n");
        }
        text
    }
}

/// Lines of a text.
fn line_count(text: &str) -> u64 {
    text.split_inclusive('\n').count() as u64
}

impl Show for FileReadResponse {
    fn person(&self, style: &Style) -> Shown {
        if let Some(listing) = listing(self) {
            return listing.person(style);
        }
        let (out, length) = match self.encoding {
            Encoding::Utf8 => (contents(&self.content, style).into_bytes(), self.content.len()),
            Encoding::Base64 => match STANDARD.decode(&self.content) {
                Ok(_) if style.terminal => {
                    let note = format!("{} is not text; send it to a file: > FILE", inline(&self.path));
                    return Shown { out: Vec::new(), note: Some(note) };
                }
                Ok(bytes) => {
                    let length = bytes.len();
                    (bytes, length)
                }
                Err(_) => return Shown { out: Vec::new(), note: Some("its content cannot be decoded".to_owned()) },
            },
        };
        let end = self.offset + length as u64;
        let note = match self.first_line {
            _ if !self.truncated => None,
            Some(first) => {
                let next = first + line_count(&self.content);
                let total = self.lines_total.map(|total| format!(" of {}", count(total))).unwrap_or_default();
                Some(format!("lines {} to {}{total}; --lines {next}- shows more", count(first), count(next - 1)))
            }
            None => Some(format!(
                "bytes {} to {} of {}; --offset {end} shows more",
                count(self.offset),
                count(end),
                count(self.size_bytes)
            )),
        };
        Shown { out, note }
    }
    fn model(&self, room: usize) -> String {
        if let Some(listing) = listing(self) {
            return listing.model(room);
        }
        let path = inline(&self.path);
        let Encoding::Utf8 = self.encoding else {
            let seems = self.charset.as_deref().map(inline);
            return match seems {
                Some(charset) => format!(
                    "{path}: {}, not UTF-8 but {charset} as it seems, so it is not shown\nnext: iconv -f {charset} -t utf-8 {path}\n",
                    size(self.size_bytes)
                ),
                None => format!("{path}: {}, not text, so it is not shown\n", size(self.size_bytes)),
            };
        };
        let escaped = pyro_wire::untrusted::escape(&self.content);
        let (shown, mut bytes) = page::head_only(&escaped, room.saturating_sub(400));
        let is_cut = bytes < escaped.len();
        if !self.content.starts_with(shown) {
            // Something was escaped: count what stands for it.
            bytes = unescaped_length(&self.content, bytes);
        }
        let end = self.offset + bytes as u64;
        let lines = line_count(shown);
        let goes_on = is_cut || self.truncated;
        // From the beginning of a file its lines have numbers whoever counts them.
        let first = self.first_line.or((self.offset == 0).then_some(1)).filter(|_| shown.ends_with('\n') || !goes_on);
        let total = self.lines_total.or((first == Some(1) && !goes_on).then_some(lines));
        let mut text = match (first, total) {
            (Some(1), Some(_)) if !goes_on => format!("{path}: {}\n", size(self.size_bytes)),
            (Some(first), Some(total)) if lines == 0 => format!("{path}: nothing from line {first} on; it has {total}\n"),
            (Some(first), Some(total)) => format!("{path}: lines {first} to {} of {total}\n", first + lines - 1),
            (Some(first), None) => format!("{path}: lines {first} to {}, {}\n", first + lines.max(1) - 1, size(self.size_bytes)),
            (None, _) => format!("{path}: bytes {} to {end} of {}\n", self.offset, self.size_bytes),
        };
        text.push_str(&page::fenced("content", shown));
        match first {
            _ if !goes_on => {}
            Some(first) => text.push_str(&format!("next: lines={}- shows more\n", first + lines)),
            None => text.push_str(&format!("next: offset={end} shows more\n")),
        }
        text
    }
}

/// How many bytes of `text` stand for the first `shown` bytes of its escaped form.
fn unescaped_length(text: &str, shown: usize) -> usize {
    let mut escaped = 0;
    for (at, character) in text.char_indices() {
        if escaped >= shown {
            return at;
        }
        escaped += pyro_wire::untrusted::escape(character.encode_utf8(&mut [0; 4])).len();
    }
    text.len()
}

fn written(response: &FileWriteResponse) -> String {
    let what = if response.created { "created" } else { "replaced" };
    format!("{what} {}: {}, mode {}\n", inline(&response.path), page::plural(response.size_bytes, "byte"), inline(&response.mode))
}

impl Show for FileWriteResponse {
    fn person(&self, _style: &Style) -> Shown {
        written(self).into()
    }
    fn model(&self, _room: usize) -> String {
        written(self)
    }
}

/// `M src/a.rs +3 -1`.
fn change_line(change: &Change) -> String {
    let letter = match change.status {
        ChangeStatus::Added => 'A',
        ChangeStatus::Modified => 'M',
        ChangeStatus::Deleted => 'D',
        ChangeStatus::Renamed => 'R',
        ChangeStatus::TypeChanged => 'T',
    };
    let slash = if change.kind == FileKind::Directory { "/" } else { "" };
    let from = change.from.as_ref().map_or_else(String::new, |from| format!("{} -> ", inline(from)));
    let mut line = format!("{letter} {from}{}{slash}", inline(&change.path));
    if change.binary {
        line.push_str(" binary");
    } else if change.added_lines + change.removed_lines > 0 {
        line.push_str(&format!(" +{} -{}", change.added_lines, change.removed_lines));
    }
    if let Some(mode) = &change.mode_change {
        line.push_str(&format!(" mode {}", inline(mode)));
    }
    if let Some(why) = &change.runs_outside {
        line.push_str(&format!(" (runs outside by itself: {})", inline(why)));
    }
    line.push('\n');
    line
}

impl Show for DiffResponse {
    fn person(&self, style: &Style) -> Shown {
        if self.changes.is_empty() {
            return Shown { out: Vec::new(), note: Some("nothing has changed".to_owned()) };
        }
        let text = match self.patch.is_empty() {
            true => self.changes.iter().map(change_line).collect(),
            false => contents(&self.patch, style),
        };
        let note = (self.omitted > 0).then(|| format!("{} left out: the patch is full", page::plural(self.omitted, "change")));
        Shown { out: text.into_bytes(), note }
    }
    fn model(&self, room: usize) -> String {
        if self.changes.is_empty() {
            return "nothing has changed\n".to_owned();
        }
        let added: u64 = self.changes.iter().map(|change| change.added_lines).sum();
        let removed: u64 = self.changes.iter().map(|change| change.removed_lines).sum();
        let changes = page::plural(self.changes.len() as u64, "path");
        let mut text = format!("{changes} changed, +{added} -{removed} lines\n");
        let lines: String = self.changes.iter().map(change_line).collect();
        let (shown, bytes) = page::head_only(&lines, room / 3);
        text.push_str(shown);
        if bytes < lines.len() {
            text.push_str(&format!("and {} more paths\n", lines[bytes..].lines().count()));
        }
        if !self.patch.is_empty() {
            let left = room.saturating_sub(text.chars().count() + 400);
            let escaped = pyro_wire::untrusted::escape(&self.patch);
            let (shown, bytes) = page::head_only(&escaped, left);
            text.push_str(&page::fenced("patch", shown));
            let hidden = escaped[bytes..].lines().count();
            if hidden > 0 || self.omitted > 0 {
                text.push_str(&format!("{} of it not shown", page::plural(hidden as u64, "line")));
                if self.omitted > 0 {
                    text.push_str(&format!(", and {} whole", page::plural(self.omitted, "file")));
                }
                text.push_str("\nnext: give path for one file or directory\n");
            }
        }
        text
    }
}
