//! Words, numbers and tables that all texts share.

use pyro_wire::untrusted::escape;

pub(crate) use pyro_term::words::{count, plural, size};

use super::Style;

/// Lines longer than this are cut for models: one line of minified code would fill a whole result.
const MODEL_LINE_CHARS_MAX: usize = 400;

/// A text from inside on one line: escaped, line breaks and tabs too.
pub(crate) fn inline(text: &str) -> String {
    escape(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// `12 ms`, `1.2 s`, `3 min 5 s`, `2 h 3 min`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", seconds, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `3 min ago`; the time itself when it cannot be read.
pub(crate) fn ago(at: &str, now: jiff::Timestamp) -> String {
    let Ok(then) = at.parse::<jiff::Timestamp>() else { return inline(at) };
    let seconds = now.as_second().saturating_sub(then.as_second());
    match seconds {
        ..5 => "just now".to_owned(),
        5..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        86_400..172_800 => "1 day ago".to_owned(),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Contents for a person: exact when they go to a file or a program, escaped on a terminal.
pub(crate) fn contents(text: &str, style: &Style) -> String {
    if style.terminal { escape(text) } else { text.to_owned() }
}

/// Columns as wide as their widest cell, two spaces between; the last is not padded. Cells must be on one line.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], style: &Style) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.trim_end().to_owned()
    };
    let mut text = bold(&line(&mut head.iter().copied()), style);
    text.push('\n');
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
        text.push('\n');
    }
    text
}

/// `name  value` lines, names padded to the longest.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts.iter().map(|(name, value)| format!("  {name:<width$}  {value}\n")).collect()
}

/// SGR 1.
pub(crate) fn bold(text: &str, style: &Style) -> String {
    painted(text, "1", style)
}

/// An SGR attribute, when colours are on.
pub(crate) fn painted(text: &str, code: &str, style: &Style) -> String {
    if style.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Text from inside between lines that it cannot forge: a line of it that looks like ours is told apart by a space before it.
pub(crate) fn fenced(label: &str, text: &str) -> String {
    let mut shown = format!("--- {label} (untrusted) ---\n");
    for line in escape(text).lines() {
        let ours = line.trim_end().ends_with("(untrusted) ---") || line.trim_end() == FENCE_END;
        if ours {
            shown.push(' ');
        }
        shown.push_str(line);
        shown.push('\n');
    }
    shown.push_str(FENCE_END);
    shown.push('\n');
    shown
}

const FENCE_END: &str = "--- end ---";

/// A long text in at most `room` characters: a quarter from its head, the rest from its tail (errors are told at the end), whole
/// lines, and between them a line that says how much is not there.
pub(crate) fn head_and_tail(text: &str, room: usize) -> Cut {
    let lines: Vec<String> = text.lines().map(clipped_line).collect();
    let total: usize = lines.iter().map(|line| line.chars().count() + 1).sum();
    if total <= room {
        return Cut { text: joined(&lines), lines_omitted: 0 };
    }
    // The line in between: `[... 1,234,567 lines left out here ...]`.
    const MARK_CHARS: usize = 48;
    let room = room.saturating_sub(MARK_CHARS);
    let head = fitting(lines.iter(), room / 4);
    let tail = fitting(lines[head..].iter().rev(), room - room / 4);
    let omitted = lines.len() - head - tail;
    let mut shown = joined(&lines[..head]);
    shown.push_str(&format!("[... {} left out here ...]\n", plural(omitted as u64, "line")));
    shown.push_str(&joined(&lines[lines.len() - tail..]));
    Cut { text: shown, lines_omitted: omitted }
}

/// A long text from its beginning on, in at most `room` characters and whole lines, and how many bytes of it that is.
pub(crate) fn head_only(text: &str, room: usize) -> (&str, usize) {
    if text.chars().count() <= room {
        return (text, text.len());
    }
    let end = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
    let end = text[..end].rfind('\n').map_or(end, |at| at + 1);
    (&text[..end], end)
}

/// What [`head_and_tail`] makes.
pub(crate) struct Cut {
    /// The text with the line that says what is not there.
    pub text: String,
    /// Lines that are not there.
    pub lines_omitted: usize,
}

fn fitting<'a>(lines: impl Iterator<Item = &'a String>, room: usize) -> usize {
    let mut used = 0;
    lines
        .take_while(|line| {
            used += line.chars().count() + 1;
            used <= room
        })
        .count()
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn clipped_line(line: &str) -> String {
    let length = line.chars().count();
    if length <= MODEL_LINE_CHARS_MAX {
        return line.to_owned();
    }
    let head: String = line.chars().take(MODEL_LINE_CHARS_MAX - 40).collect();
    format!("{head} [... {} characters]", count((length - (MODEL_LINE_CHARS_MAX - 40)) as u64))
}

/// That something waits for somebody to type, with the line that asks for it.
pub(crate) fn asks(prompt: &str) -> String {
    match prompt.trim() {
        "" => "waits for input".to_owned(),
        prompt => format!("waits for input: {}", cut_to(&inline(prompt), 120)),
    }
}

/// The last resort: no result is longer than a host takes, whatever is in it.
pub(crate) fn cut_to(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    const MARK: &str = "\n[... cut ...]\n";
    let mut cut: String = text.chars().take(room.saturating_sub(MARK.len())).collect();
    cut.push_str(MARK);
    cut
}
