//! Writing changes as text that `git apply` accepts, and counting lines.
//!
//! Text is what has no NUL byte and is valid UTF-8, so that a patch survives every surface (JSON too) exactly as it is.
//! Anything else is named in a `Binary files … differ` line, and so is told but cannot be applied; or it is written as git writes it when asked to, which
//! nobody reads. Directories, FIFOs and modes
//! other than the executable bit have no form in such a patch; they are in the list of changes only (so git refuses a file that takes the
//! place of a directory with an empty directory or a FIFO in it).

mod binary;

use std::ffi::CString;
use std::fmt::Write as _;

use pyro_wire::limits::{PATCH_BYTES_MAX, PATCH_FILE_BYTES_MAX};
use similar::{DiffOp, group_diff_ops};

use crate::content;
use crate::diff::{Change, Kind, Side, Status, is_at_or_below};
use crate::error::{Error, Result};
use crate::lines::{self, Search};
use crate::stack::{OpenStacks, Stacks, State};
use crate::{Progress, Watch};

/// Unchanged lines around each change, as git shows them.
const CONTEXT_LINES: usize = 3;

/// What is written of content that is no text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinaryFiles {
    /// That it differs.
    #[default]
    Named,
    /// All of it, before and after, so that the patch can be applied and taken back.
    Written,
}

/// How much text to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchLimits {
    /// What is written of content that is no text.
    pub binary: BinaryFiles,
    /// Bytes of patch text; 0 counts lines and writes none.
    pub text_bytes_max: usize,
    /// A file larger than this is left out.
    pub file_bytes_max: u64,
    /// Bytes of file content that are read in all; changes after that are left out.
    pub content_bytes_max: u64,
}

impl Default for PatchLimits {
    /// Text as much as one reply takes; a quarter gibibyte of content is read in a fraction of a second.
    fn default() -> Self {
        Self {
            binary: BinaryFiles::Named,
            text_bytes_max: PATCH_BYTES_MAX,
            file_bytes_max: PATCH_FILE_BYTES_MAX as u64,
            content_bytes_max: 256 << 20,
        }
    }
}

/// Changes as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Unified text; `git apply` takes it unless it only names a binary file.
    pub text: String,
    /// Changes whose text was left out: too large, or the patch was full.
    pub omitted: u64,
}

/// Writes the changes that `diff` gave for the same stacks, with paths relative to `relative_to` (a directory of the tree, empty for its
/// root), and fills in their line counts. A change that is not below `relative_to` keeps its whole path.
///
/// # Errors
/// When a layer cannot be read, or `watch` broke it off.
pub fn unified_patch(
    stacks: &Stacks,
    changes: &mut [Change],
    relative_to: &[u8],
    limits: PatchLimits,
    watch: Watch<'_>,
) -> Result<Patch> {
    let relative_to = relative_to.strip_suffix(b"/").unwrap_or(relative_to);
    let mut writing =
        Writing { layers: OpenStacks::open(stacks)?, content_left: limits.content_bytes_max, search: Search::new(), limits };
    let mut patch = Patch::default();
    for (index, change) in changes.iter_mut().enumerate() {
        // The content of one change is at most two files of the largest size.
        let progress = Progress { entry_count: index as u64, bytes: limits.content_bytes_max.saturating_sub(writing.content_left) };
        if watch(progress).is_break() {
            return Err(Error::cancelled());
        }
        let Some(text) = writing.change(change, relative_to)? else {
            patch.omitted += 1;
            continue;
        };
        if patch.text.len() + text.len() > limits.text_bytes_max {
            patch.omitted += u64::from(!text.is_empty());
        } else {
            patch.text.push_str(&text);
        }
    }
    Ok(patch)
}

struct Writing {
    layers: OpenStacks,
    content_left: u64,
    search: Search,
    limits: PatchLimits,
}

/// The content of one side.
enum Content {
    Text(String),
    Binary(Vec<u8>),
    TooLarge,
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
            Self::TooLarge => &[],
        }
    }
}

impl Writing {
    /// The text of one change, empty where it has none; `None` when it is left out.
    fn change(&mut self, change: &mut Change, relative_to: &[u8]) -> Result<Option<String>> {
        let shown = relative(&change.path, relative_to).to_vec();
        let old = change.old.filter(|side| matches!(side.kind, Kind::File | Kind::Symlink));
        let new = change.new.filter(|side| matches!(side.kind, Kind::File | Kind::Symlink));
        match change.status {
            // git writes another type as a deletion and an addition.
            Status::TypeChanged => {
                let Some(gone) = self.sides(change, &shown, old, None)? else { return Ok(None) };
                let Some(made) = self.sides(change, &shown, None, new)? else { return Ok(None) };
                Ok(Some(gone + &made))
            }
            Status::Renamed => {
                let from = change.from.as_deref().map_or(shown.as_slice(), |from| relative(from, relative_to));
                Ok(Some(rename(from, &shown, old, new)))
            }
            Status::Added | Status::Modified | Status::Deleted => self.sides(change, &shown, old, new),
        }
    }

    fn sides(&mut self, change: &mut Change, shown: &[u8], old: Option<Side>, new: Option<Side>) -> Result<Option<String>> {
        if old.is_none() && new.is_none() {
            return Ok(Some(String::new()));
        }
        let header = header(shown, old, new);
        if !change.content_changed {
            return Ok(Some(header.unwrap_or_default()));
        }
        let before = self.load(&change.path, State::Old, old)?;
        let after = self.load(&change.path, State::New, new)?;
        let (name_old, name_new) = (label(b"a/", shown, old), label(b"b/", shown, new));
        let diff_line = || header.clone().unwrap_or_else(|| diff_git(shown));
        match (before, after) {
            (Content::TooLarge, _) | (_, Content::TooLarge) => Ok(None),
            (Content::Text(before), Content::Text(after)) => {
                let hunks = self.hunks(&before, &after, change);
                if hunks.is_empty() {
                    // An empty file comes or goes; or it changed back meanwhile.
                    return Ok(Some(header.unwrap_or_default()));
                }
                let tab = if shown.contains(&b' ') { "\t" } else { "" };
                let tab_old = if old.is_some() { tab } else { "" };
                let tab_new = if new.is_some() { tab } else { "" };
                Ok(Some(format!("{}--- {name_old}{tab_old}\n+++ {name_new}{tab_new}\n{hunks}", diff_line())))
            }
            (before, after) => {
                change.binary = true;
                // When only lines are counted, nothing is put together to be thrown away.
                let content = match self.limits.binary {
                    BinaryFiles::Written if self.limits.text_bytes_max > 0 => {
                        let same_mode = old.zip(new).filter(|(old, new)| git_mode(*old) == git_mode(*new));
                        binary::literal(
                            old.map(|_| before.bytes()),
                            new.map(|_| after.bytes()),
                            same_mode.map(|(old, _)| git_mode(old)),
                        )
                    }
                    BinaryFiles::Written | BinaryFiles::Named => format!("Binary files {name_old} and {name_new} differ\n"),
                };
                Ok(Some(diff_line() + &content))
            }
        }
    }

    /// Reads one side, which may have changed since it was met: never a link, never what would block, never more than the limit.
    fn load(&mut self, path: &[u8], state: State, side: Option<Side>) -> Result<Content> {
        let Some(side) = side else { return Ok(Content::Text(String::new())) };
        if side.size_bytes > self.limits.file_bytes_max || side.size_bytes > self.content_left {
            return Ok(Content::TooLarge);
        }
        let layer = self.layers.layer(state, side.layer);
        let bytes = match side.kind {
            Kind::Symlink => content::read_target(layer, path)?.map_or_else(Vec::new, CString::into_bytes),
            Kind::File => match content::open_regular(layer, path)? {
                Some((file, _)) => content::read(&file, side.size_bytes, path)?,
                None => Vec::new(),
            },
            Kind::Directory | Kind::Other => Vec::new(),
        };
        self.content_left = self.content_left.saturating_sub(bytes.len() as u64);
        Ok(content::text(bytes).map_or_else(Content::Binary, Content::Text))
    }

    fn hunks(&mut self, before: &str, after: &str, change: &mut Change) -> String {
        let (old, new) = (lines::split(before), lines::split(after));
        let operations = self.search.compare(&old, &new);
        let mut text = String::new();
        for group in group_diff_ops(operations, CONTEXT_LINES) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let old_range = first.old_range().start..last.old_range().end;
            let new_range = first.new_range().start..last.new_range().end;
            let _ = writeln!(text, "@@ -{} +{} @@", range(&old_range), range(&new_range));
            for operation in group {
                match operation {
                    DiffOp::Equal { .. } => {
                        for line in &old[operation.old_range()] {
                            push_line(&mut text, ' ', line);
                        }
                    }
                    DiffOp::Delete { .. } | DiffOp::Insert { .. } | DiffOp::Replace { .. } => {
                        for line in &old[operation.old_range()] {
                            push_line(&mut text, '-', line);
                        }
                        for line in &new[operation.new_range()] {
                            push_line(&mut text, '+', line);
                        }
                        change.removed_lines += operation.old_range().len() as u64;
                        change.added_lines += operation.new_range().len() as u64;
                    }
                }
            }
        }
        text
    }
}

/// A path as the patch has it.
fn relative<'a>(path: &'a [u8], to: &[u8]) -> &'a [u8] {
    if is_at_or_below(path, to) && path.len() > to.len() {
        path[to.len()..].strip_prefix(b"/").unwrap_or(&path[to.len()..])
    } else {
        path
    }
}

/// A file that was moved as it is.
fn rename(from: &[u8], to: &[u8], old: Option<Side>, new: Option<Side>) -> String {
    let mode = match (old.map(git_mode), new.map(git_mode)) {
        (Some(old), Some(new)) if old != new => format!("old mode {old}\nnew mode {new}\n"),
        (_, _) => String::new(),
    };
    let (prefixed_from, prefixed_to) = (quoted(b"a/", from), quoted(b"b/", to));
    let (from, to) = (quoted(b"", from), quoted(b"", to));
    format!("diff --git {prefixed_from} {prefixed_to}\n{mode}similarity index 100%\nrename from {from}\nrename to {to}\n")
}

fn push_line(text: &mut String, mark: char, line: &str) {
    text.push(mark);
    text.push_str(line);
    if !line.ends_with('\n') {
        text.push_str("\n\\ No newline at end of file\n");
    }
}

/// A range of lines as hunk headers have it: from 1, the count left out when it is 1; an empty range names the line before it.
fn range(lines: &std::ops::Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        count => format!("{},{count}", lines.start + 1),
    }
}

/// The lines before the content: the file that comes or goes, or a mode that changes. `None` when git has nothing to say.
fn header(shown: &[u8], old: Option<Side>, new: Option<Side>) -> Option<String> {
    let line = diff_git(shown);
    match (old.map(git_mode), new.map(git_mode)) {
        (None, Some(mode)) => Some(format!("{line}new file mode {mode}\n")),
        (Some(mode), None) => Some(format!("{line}deleted file mode {mode}\n")),
        (Some(old), Some(new)) if old != new => Some(format!("{line}old mode {old}\nnew mode {new}\n")),
        _ => None,
    }
}

fn diff_git(shown: &[u8]) -> String {
    format!("diff --git {} {}\n", quoted(b"a/", shown), quoted(b"b/", shown))
}

fn label(prefix: &[u8], shown: &[u8], side: Option<Side>) -> String {
    match side {
        Some(_) => quoted(prefix, shown),
        None => "/dev/null".to_owned(),
    }
}

/// git knows three sorts of files.
fn git_mode(side: Side) -> &'static str {
    match side.kind {
        Kind::Symlink => "120000",
        Kind::File if side.mode & 0o100 != 0 => "100755",
        Kind::File | Kind::Directory | Kind::Other => "100644",
    }
}

/// A name as git writes it with its default `core.quotePath`: as it is, or in quotes with C escapes.
fn quoted(prefix: &[u8], name: &[u8]) -> String {
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    let bytes = prefix.iter().chain(name).copied();
    if bytes.clone().all(plain) {
        return bytes.map(char::from).collect();
    }
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            0x0b => text.push_str("\\v"),
            0x0c => text.push_str("\\f"),
            b'\r' => text.push_str("\\r"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            byte if plain(byte) => text.push(char::from(byte)),
            byte => {
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests;
