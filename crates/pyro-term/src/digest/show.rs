//! A digest as text, within a number of characters.

use std::ops::RangeInclusive;

use pyro_wire::untrusted::escape;

use super::Digest;
use super::store::Place;
use crate::limits::{ERRORS_SHOWN, FOLD_LINES_MIN, LINE_CHARS_SHOWN, UNFINISHED_CHARS};
use crate::words::{count, plural, size};

/// A stream as it is shown. Nothing in it acts on a terminal: controls, C1 and bidirectional characters are escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What is shown, with markers in brackets for what is not.
    pub text: String,
    /// Bytes that have come.
    pub bytes_total: u64,
    /// Lines that have come; an unfinished last one counts.
    pub lines_total: u64,
    /// Bytes of what is left out: whole lines, with their ends, and what is cut off long ones.
    pub bytes_omitted: u64,
    /// Lines that are left out whole. Those that are quoted because they look like errors are among them.
    pub lines_omitted: u64,
    /// Which those are, by their number in the stream, from 1.
    pub omitted: Option<RangeInclusive<u64>>,
    /// Lines that a marker stands for, because they are equal to the one above it.
    pub folded_lines: u64,
    /// Lines of which only the beginning is shown.
    pub clipped_lines: u64,
    /// Whether it is no text: it has a NUL, or more than a quarter of what is kept is no UTF-8.
    pub binary: bool,
    /// The end of a last line without an end, which may be a prompt.
    pub unfinished: Option<String>,
}

/// A record ready to be shown.
struct Entry {
    text: String,
    count: u64,
    first: Place,
    cut: u64,
}

/// What a line costs, and what is missing of it.
struct Block {
    text: String,
    chars: usize,
    cut: u64,
    clipped: u64,
    folded: u64,
}

impl Entry {
    /// The entry in at most `line_chars` characters a line.
    fn block(&self, line_chars: usize) -> Block {
        let (mut line, mut cut) = (self.text.clone(), self.cut);
        if let Some((end, _)) = self.text.char_indices().nth(line_chars) {
            line.truncate(end);
            cut += (self.text.len() - end) as u64;
        }
        if cut > 0 {
            line.push_str(&format!(" [... {} of this line left out]", size(cut)));
        }
        let folded = if self.count >= FOLD_LINES_MIN { self.count - 1 } else { 0 };
        let copies = self.count - folded;
        let mut text = String::new();
        for _ in 0..copies {
            text.push_str(&line);
            text.push('\n');
        }
        if folded > 0 {
            text.push_str(&format!("[the line above {} more times]\n", count(folded)));
        }
        Block { chars: text.chars().count(), cut: cut * copies, clipped: if cut > 0 { copies } else { 0 }, folded, text }
    }
}

/// Lines of a stream, and what is known of it.
struct View {
    entries: Vec<Entry>,
    /// The entry before which lines are missing, and where those begin.
    gap: Option<(usize, Place)>,
    end: Place,
    binary: bool,
    /// Whether the last entry has no end.
    is_open: bool,
}

impl Digest {
    /// What has come so far, in at most `budget_chars` characters (but never fewer than 400); the budget is worth up to 64 Ki characters.
    ///
    /// What fits is shown whole. Otherwise a quarter is of the beginning and the rest of the end, in whole lines; lines are cut at 400 characters; and the marker
    /// between them says which lines of the stream are left out, followed by up to ten of those that look like errors.
    #[must_use]
    pub fn show(&self, budget_chars: usize) -> Shown {
        let view = self.view();
        let budget = budget_chars.max(LINE_CHARS_SHOWN);
        let mut shown = Shown {
            bytes_total: self.bytes_total,
            lines_total: view.end.line - 1,
            binary: view.binary,
            unfinished: self.unfinished(),
            ..Shown::default()
        };
        let blocks = |chars: usize| view.entries.iter().map(|entry| entry.block(chars)).collect::<Vec<_>>();
        let chars = |blocks: &[Block]| blocks.iter().map(|block| block.chars).sum::<usize>();
        let mut all = blocks(usize::MAX);
        if view.gap.is_some() || chars(&all) > budget {
            all = blocks(LINE_CHARS_SHOWN.min(budget / 4));
        }
        if view.gap.is_none() && chars(&all) <= budget {
            shown.add(&all);
        } else {
            self.show_around(&view, &all, budget, &mut shown);
        }
        // What is cut off is measured as it would be shown, where an escape takes more than what it stands for.
        shown.bytes_omitted = shown.bytes_omitted.min(shown.bytes_total);
        if view.is_open && shown.text.ends_with('\n') {
            shown.text.pop();
        }
        shown
    }

    /// The beginning, as much as fits, and the line of the stream that the rest begins with. The lines are counted from where the digest began.
    pub(crate) fn show_beginning(&self, budget_chars: usize) -> (Shown, Option<u64>) {
        let view = self.view();
        let budget = budget_chars.max(LINE_CHARS_SHOWN);
        let blocks = |chars: usize| view.entries.iter().map(|entry| entry.block(chars)).collect::<Vec<_>>();
        let mut all = blocks(usize::MAX);
        if fitting(all.iter(), budget) < all.len() {
            all = blocks(LINE_CHARS_SHOWN.min(budget / 4));
        }
        let first = view.entries.first().map_or(view.end, |entry| entry.first);
        let mut count = fitting(all.iter(), budget);
        // Lines that were drawn over begin in the same line of the stream: that is shown whole or not at all.
        let line_of = |entry: usize| view.entries.get(entry).map_or(view.end.line, |entry| entry.first.line);
        while count > 1 && count < all.len() && line_of(count) == line_of(count - 1) {
            count -= 1;
        }
        let mut shown = Shown { lines_total: view.end.line - first.line, binary: view.binary, ..Shown::default() };
        shown.add(&all[..count]);
        if view.is_open && count == all.len() && shown.text.ends_with('\n') {
            shown.text.pop();
        }
        (shown, (count < all.len()).then(|| line_of(count).max(first.line + 1)))
    }

    /// Head, marker, errors, tail.
    fn show_around(&self, view: &View, blocks: &[Block], budget: usize, shown: &mut Shown) {
        // The marker has three numbers of at most 20 digits, and no stream is that long.
        const MARKER_CHARS: usize = 120;
        let gap_at = view.gap.map_or(blocks.len(), |(at, _)| at);
        let head = fitting(blocks[..gap_at].iter(), budget / 4);
        let head_chars: usize = blocks[..head].iter().map(|block| block.chars).sum();
        let from = match view.gap {
            Some((at, place)) if at == head => place,
            _ => view.entries.get(head).map_or(view.end, |entry| entry.first),
        };
        let rest = budget.saturating_sub(head_chars + MARKER_CHARS);
        let first_of_tail = gap_at.min(blocks.len()).max(head);
        let lowest = if view.gap.is_some() { first_of_tail } else { head };
        let tail_in = |room: usize| blocks.len() - fitting(blocks[lowest..].iter().rev(), room);
        let starts = |tail: usize| view.entries.get(tail).map_or(view.end, |entry| entry.first);
        let quotes = |to: Place| {
            let omitted = self.kept.errors.all().filter(|error| error.line >= from.line && error.line < to.line);
            let quotes = omitted.take(ERRORS_SHOWN).map(|error| quote(error.line, &error.text));
            let mut room = rest / 3;
            quotes
                .take_while(|quote| {
                    let fits = quote.chars().count() <= room;
                    room = room.saturating_sub(quote.chars().count());
                    fits
                })
                .collect::<String>()
        };
        // Quotes take room from the tail, and what is in the tail need not be quoted: with the most they could be, then with those that are left.
        let most = quotes(view.end).chars().count();
        let less = quotes(starts(tail_in(rest.saturating_sub(most)))).chars().count();
        let tail = tail_in(rest.saturating_sub(less));
        let to = starts(tail);
        shown.add(&blocks[..head]);
        let (lines, bytes) = (to.line.saturating_sub(from.line), to.byte.saturating_sub(from.byte));
        shown.lines_omitted = lines;
        shown.bytes_omitted += bytes;
        let range = match lines {
            0 => String::new(),
            1 => format!(": line {}", from.line),
            _ => format!(": lines {}-{}", from.line, to.line - 1),
        };
        shown.omitted = (lines > 0).then(|| from.line..=to.line - 1);
        shown.text.push_str(&format!("[... {}, {} left out{range} ...]\n", plural(lines, "line"), size(bytes)));
        shown.text.push_str(&quotes(to));
        shown.add(&blocks[tail..]);
    }

    fn view(&self) -> View {
        let (mut entries, mut bytes, mut invalid) = (Vec::new(), 0, 0);
        let mut add = |entries: &mut Vec<Entry>, text: &[u8], count: u64, first: Place, cut: u64| {
            bytes += text.len();
            invalid += text.utf8_chunks().map(|chunk| chunk.invalid().len()).sum::<usize>();
            let text = if cut > 0 { whole_characters(text) } else { text };
            entries.push(Entry { text: escape(&String::from_utf8_lossy(text)), count, first, cut });
        };
        for (text, record) in self.kept.store.head() {
            add(&mut entries, text, record.count, record.first, record.cut);
        }
        let gap = self.kept.store.gap().map(|place| (entries.len(), place));
        for (text, record) in self.kept.store.tail() {
            add(&mut entries, text, record.count, record.first, record.cut);
        }
        let mut end = self.end;
        for (text, place, cut) in self.live.lines() {
            add(&mut entries, text.as_bytes(), 1, place, cut);
        }
        if self.live.is_empty() && (!self.plain.is_empty() || self.plain_cut > 0 || self.held_cr) {
            add(&mut entries, &self.plain, 1, self.end, self.plain_cut);
            end.byte += self.plain.len() as u64 + self.plain_cut + u64::from(self.held_cr);
        }
        if self.is_at_line {
            // The line that the cursor is in has not begun: what is shown ends with the line before.
            let is_new = |entry: &mut Entry| entry.text.is_empty() && entry.first.byte == end.byte;
            entries.pop_if(is_new);
        } else {
            end.line += 1;
        }
        let is_open = !self.is_at_line;
        View { entries, gap, end, binary: self.nul || invalid * 4 > bytes, is_open }
    }

    fn unfinished(&self) -> Option<String> {
        let text = escape(&self.unfinished_text());
        let start = text.char_indices().rev().nth(UNFINISHED_CHARS - 1).map_or(0, |(at, _)| at);
        (!text.is_empty()).then(|| text[start..].to_owned())
    }
}

impl Shown {
    fn add(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.text.push_str(&block.text);
            self.bytes_omitted += block.cut;
            self.clipped_lines += block.clipped;
            self.folded_lines += block.folded;
        }
    }
}

/// A line that looks like an error, with its number.
fn quote(line: u64, text: &[u8]) -> String {
    // Shorter than other lines, so that a few of them never crowd out the end.
    const QUOTE_CHARS: usize = 200;
    let text = escape(&String::from_utf8_lossy(text));
    let mut short: String = text.trim().chars().take(QUOTE_CHARS).collect();
    if short.len() < text.trim().len() {
        short.push_str(" [...]");
    }
    format!("[line {line}] {short}\n")
}

/// How many of these, from the first, have at most `room` characters together.
fn fitting<'a>(blocks: impl Iterator<Item = &'a Block>, mut room: usize) -> usize {
    blocks
        .take_while(|block| {
            let fits = block.chars <= room;
            room = room.saturating_sub(block.chars);
            fits
        })
        .count()
}

/// Text that was cut somewhere, without a broken character at its end.
fn whole_characters(text: &[u8]) -> &[u8] {
    let last = text.utf8_chunks().last();
    match last {
        Some(chunk) if !chunk.invalid().is_empty() => &text[..text.len() - chunk.invalid().len()],
        _ => text,
    }
}
