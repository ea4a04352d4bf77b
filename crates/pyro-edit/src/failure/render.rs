//! A failure as text for a model: what failed, that nothing was changed, the file's own lines to copy, what to send next.
//!
//! The text has a limit. Every failed part first gets its head and the lines that matter, as long as there is room; other lines fill what is left.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::failure::{Failed, Failure, Nearest, Part, Place, Why};
use crate::limits::{FAILURE_CHARS_MAX, QUOTED_LINE_CHARS_MAX};
use crate::path::shown;
use crate::view::without_end;

/// Characters of one piece that comes from the request or the files.
const PIECE_CHARS_MAX: usize = 160;

/// What was sent is told for so many lines.
const SENT_LINES_MAX: usize = 2;

/// A line of a file, without its end, cut if it is very long.
pub(crate) fn quoted(line: &[u8]) -> String {
    let line = without_end(line);
    // A character has at most four bytes, so nothing behind these is shown.
    let text = shown(&line[..line.len().min(4 * QUOTED_LINE_CHARS_MAX + 4)]);
    if text.chars().count() <= QUOTED_LINE_CHARS_MAX && line.len() <= 4 * QUOTED_LINE_CHARS_MAX + 4 {
        return text;
    }
    let start: String = text.chars().take(QUOTED_LINE_CHARS_MAX).collect();
    format!("{start} [line cut, {} bytes in all]", line.len())
}

fn piece(text: &str) -> String {
    if text.chars().count() <= PIECE_CHARS_MAX {
        return text.to_owned();
    }
    let start: String = text.chars().take(PIECE_CHARS_MAX).collect();
    format!("{start}…")
}

fn numbers(numbers: &[usize]) -> String {
    let shown: Vec<String> = numbers.iter().take(12).map(usize::to_string).collect();
    let more = if numbers.len() > 12 { format!(" and {} more", numbers.len() - 12) } else { String::new() };
    match shown.as_slice() {
        [many @ .., last] if !many.is_empty() && more.is_empty() => format!("{} and {last}", many.join(", ")),
        _ => format!("{}{more}", shown.join(", ")),
    }
}

/// Failed parts that are described; of the others the numbers are told.
const DESCRIBED_MAX: usize = 8;

/// What is said of one part.
struct Text {
    head: String,
    /// Lines that matter, by number, most wanted first.
    lines: Vec<(usize, Vec<u8>)>,
    /// Lines beside them.
    beside: Vec<(usize, Vec<u8>)>,
    behind: String,
    next: String,
    /// Those that there was room for.
    taken: BTreeMap<usize, String>,
}

impl Text {
    /// Takes lines as far as there is room.
    fn take(&mut self, lines: Vec<(usize, Vec<u8>)>, room: &mut usize) {
        for (number, line) in lines {
            if self.taken.contains_key(&number) {
                continue;
            }
            let line = format!("{number}|{}\n", quoted(&line));
            // A gap between lines costs a sign.
            let Some(left) = room.checked_sub(line.chars().count() + 2) else { break };
            *room = left;
            self.taken.insert(number, line);
        }
    }

    fn print(&self, out: &mut String) {
        out.push_str(&self.head);
        let mut last = None;
        for (number, line) in &self.taken {
            if last.is_some_and(|last| last + 1 != *number) {
                out.push_str("…\n");
            }
            out.push_str(line);
            last = Some(*number);
        }
        out.push_str(&self.behind);
    }
}

impl Failure {
    /// At most [`FAILURE_CHARS_MAX`] characters.
    pub fn render(&self) -> String {
        let mut texts: Vec<Text> = Vec::new();
        let mut room = FAILURE_CHARS_MAX;
        for failed in self.failed.iter().take(DESCRIBED_MAX) {
            let mut text = self.text(failed, texts.is_empty());
            let mut cost = text.head.chars().count() + text.behind.chars().count();
            if texts.is_empty() {
                cost += text.next.chars().count() + "Next: ".len();
            }
            let Some(mut left) = room.checked_sub(cost) else { break };
            let lines = std::mem::take(&mut text.lines);
            let count = lines.len();
            text.take(lines, &mut left);
            // Half of what is said of a later part would only confuse.
            if !texts.is_empty() && text.taken.len() < count {
                break;
            }
            room = left;
            texts.push(text);
        }
        for text in &mut texts {
            let beside = std::mem::take(&mut text.beside);
            text.take(beside, &mut room);
        }
        let mut out = String::new();
        for text in &texts {
            text.print(&mut out);
        }
        if let Some(first) = texts.first() {
            let _ = write!(out, "Next: {}", first.next);
        }
        // Only pieces that nobody has thought of could be too long; the start is worth most.
        if out.chars().count() > FAILURE_CHARS_MAX { out.chars().take(FAILURE_CHARS_MAX).collect() } else { out }
    }

    fn text(&self, failed: &Failed, is_first: bool) -> Text {
        let who = match (failed.number, self.count) {
            (0, _) => "this request failed".to_owned(),
            (_, 1) => format!("the {} failed", self.part.word()),
            (number, count) => format!("{} {number} of {count} failed", self.part.word()),
        };
        let path = failed.path.as_ref().map_or_else(|| "the file".to_owned(), |path| piece(&path.to_string()));
        let nothing = if is_first { format!(" {}", self.nothing()) } else { String::new() };
        let plain = |reason: String, next: String| Text {
            head: format!("{who}: {reason}.{nothing}\n"),
            lines: Vec::new(),
            beside: Vec::new(),
            behind: String::new(),
            next,
            taken: BTreeMap::new(),
        };
        // Several parts with the same text, each meant for another place.
        let same = self
            .failed
            .iter()
            .take_while(|other| other.number < failed.number)
            .find(|other| other.path == failed.path && other.why == failed.why);
        if let (Some(same), Why::Ambiguous { .. }) = (same, &failed.why) {
            return plain(format!("the same as {} {}", self.part.word(), same.number), String::new());
        }
        match &failed.why {
            Why::NotFound { nearest, new_text_at, note } => {
                let mut text = plain(format!("text not found in {path}"), String::new());
                if let Some(note) = note {
                    let _ = writeln!(text.head, "{}", piece(note));
                }
                if let Some(line) = new_text_at {
                    let _ = writeln!(text.head, "Its new text is there already, at line {line}.");
                }
                self.nearest(failed.number, nearest.as_ref(), &mut text);
                text
            }
            Why::Ambiguous { places, place_count, ignored, part_of_text } => {
                let what = part_of_text.as_ref().map_or_else(|| "its text stands".to_owned(), |lines| format!("the {lines} stand"));
                let text = plain(format!("{what} in {place_count} places in {path}"), String::new());
                self.ambiguous(failed.number, places, *place_count, ignored.as_deref(), text)
            }
            Why::PathMissing { near } => {
                let mut text = plain(format!("there is no file {path}"), String::new());
                if near.is_empty() {
                    text.next = format!("list the directory and send the right path, or {} to create the file", self.creating());
                } else {
                    let names: Vec<String> = near.iter().take(5).map(|path| piece(&path.to_string())).collect();
                    let _ = writeln!(text.behind, "There is: {}", names.join(", "));
                    text.next = "send the same again with the right path".to_owned();
                }
                text
            }
            Why::BadSyntax { patch_line, text, problem, next } => {
                let mut out = plain(
                    if *patch_line == 0 { problem.clone() } else { format!("line {patch_line} of the patch: {problem}") },
                    next.clone(),
                );
                if !text.is_empty() {
                    let _ = writeln!(out.behind, "That line is: {}", piece(text));
                }
                out
            }
            Why::Refused { reason, next } | Why::TooLarge { reason, next } => plain(piece(reason), next.clone()),
            Why::Conflict { reason, next } => {
                let reason = if reason.starts_with('`') { reason.clone() } else { format!("{path} {reason}") };
                plain(piece(&reason), next.clone())
            }
        }
    }

    fn creating(&self) -> &'static str {
        match self.part {
            Part::Edit => "send old empty",
            Part::Hunk => "use `--- /dev/null` or `*** Add File:`",
            Part::Block => "leave SEARCH empty",
        }
    }

    fn nothing(&self) -> String {
        let word = self.part.word();
        let some = |which: &[usize], one: &str, many: &str| match which {
            [] => None,
            [which] => Some(format!("{word} {which} {one}")),
            which => Some(format!("{word}s {} {many}", numbers(which))),
        };
        let failed: Vec<usize> = self.failed.iter().skip(1).map(|failed| failed.number).collect();
        let others = [some(&self.matching, "matches", "match"), some(&failed, "fails too", "fail too")];
        let others: Vec<String> = others.into_iter().flatten().collect();
        if others.is_empty() { "Nothing was changed.".to_owned() } else { format!("Nothing was changed ({}).", others.join(", ")) }
    }

    fn again(&self) -> String {
        let word = self.part.word();
        match self.count {
            0 | 1 => format!("send the {word} again"),
            count => format!("send all {count} {word}s again"),
        }
    }

    fn old(&self, number: usize) -> String {
        let of = if self.count > 1 { format!("{} {number}'s", self.part.word()) } else { "its".to_owned() };
        match self.part {
            Part::Edit => format!("{of} old text"),
            Part::Block => format!("{of} SEARCH lines"),
            Part::Hunk => format!("{of} unmarked and - lines"),
        }
    }

    fn nearest(&self, part: usize, nearest: Option<&Nearest>, text: &mut Text) {
        let Some(nearest) = nearest else {
            text.head.push_str("Nothing in the file is like it.\n");
            text.next = format!("read the file, then {} with {} copied from it", self.again(), self.old(part));
            return;
        };
        let (first, last) = (nearest.first_line, nearest.first_line + nearest.lines.len().saturating_sub(1));
        let different: Vec<usize> = nearest.different.iter().map(|(line, _)| *line).collect();
        let differs = match different.as_slice() {
            [] => "lines of yours are missing there".to_owned(),
            [line] => format!("line {line} differs"),
            lines => format!("lines {} differ", numbers(lines)),
        };
        let _ = writeln!(
            text.head,
            "Closest place, lines {first}-{last} ({} of your {} lines equal; {differs}):",
            nearest.equal_count, nearest.sent_count
        );
        let line = |number: usize| nearest.lines.get(number - first).map(|line| (number, line.clone()));
        // All if there is room; otherwise the different ones, then those beside them.
        text.lines = different.iter().filter_map(|number| line(*number)).collect();
        let beside = different.iter().flat_map(|number| [number.saturating_sub(1).max(first), number + 1]);
        text.beside = beside.chain(first..=last).filter_map(line).collect();
        for (number, sent) in
            nearest.different.iter().filter_map(|(number, sent)| Some((number, sent.as_ref()?))).take(SENT_LINES_MAX)
        {
            let _ = writeln!(text.behind, "Yours had on line {number}: {}", piece(&quoted(sent)));
        }
        text.next = format!("{} with {} copied from the lines above (without the \"{first}|\")", self.again(), self.old(part));
    }

    fn ambiguous(&self, part: usize, places: &[Place], count: usize, ignored: Option<&str>, mut text: Text) -> Text {
        let lines: Vec<usize> = places.iter().map(|place| place.line).collect();
        let more = if count > lines.len() { format!(" and {} more", count - lines.len()) } else { String::new() };
        let are_told_apart = places.iter().any(|place| !place.neighbours.is_empty());
        let beside = if are_told_apart { "Lines beside each that only it has:" } else { "The lines beside them are the same too." };
        let _ = writeln!(text.head, "They begin at lines {}{more}. {beside}", numbers(&lines));
        if let Some(ignored) = ignored {
            let _ = writeln!(text.behind, "It {ignored}: send it as the file has it.");
        }
        // One place after the other: with too little room the first ones are whole.
        text.lines = places.iter().flat_map(|place| place.neighbours.iter().cloned()).collect();
        let choice = match self.part {
            Part::Edit => "or set all=true to replace every one",
            Part::Block => "or send it as an edit with all=true to replace every one",
            Part::Hunk => "or put the right line number in its @@ line (`@@ -LINE,1 +LINE,1 @@`)",
        };
        let what = if are_told_apart { "such a line" } else { "more lines, up to one that only the right place has," };
        text.next = format!("{} with {what} added to {}, {choice}", self.again(), self.old(part));
        text
    }
}
