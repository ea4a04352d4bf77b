//! Commands that were typed into a shell, by the marks that it prints around them: OSC 133 (FinalTerm's, as most terminals know it) and OSC 633 (as VS Code has it).
//!
//! A program can print these marks too: what they say is a claim, good for showing, never for deciding.

use std::collections::VecDeque;

use super::line::{Line, logical, push_row};
use super::page::Page;
use super::unread::Unread;
use crate::limits::{COMMAND_BYTES_MAX, COMMAND_LINE_BYTES_MAX, COMMANDS_MAX};

/// One command of a shell that marks them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// From 1, rising.
    pub number: u64,
    /// As it was typed, if the shell or the screen says.
    pub line: Option<String>,
    /// What it printed, as it stood when it ended; empty until then.
    pub output: String,
    /// Whether `output` has no beginning: it had gone too far up, or is too long.
    pub is_cut: bool,
    /// Whether it has ended.
    pub finished: bool,
    /// Its exit status, if the shell says.
    pub exit: Option<i32>,
}

/// A place in text that may scroll.
#[derive(Clone, Copy, Debug)]
struct Mark {
    line: u64,
    column: usize,
}

/// What the marks said so far.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    pub(crate) all: VecDeque<Command>,
    count: u64,
    /// Where typing begins.
    typing: Option<Mark>,
    /// The command line as the shell said it, for the command that comes.
    said: Option<String>,
    /// Where the output of the running command begins.
    output: Option<Mark>,
    /// Whether a prompt was the last that was marked: the shell waits.
    pub(crate) is_at_prompt: bool,
    /// How many prompts were marked.
    pub(crate) prompts: u64,
}

impl Commands {
    /// An operating system command; others than marks are not ours.
    pub(crate) fn osc(&mut self, text: &[u8], page: &Page, unread: &Unread) {
        let text = String::from_utf8_lossy(text);
        let Some(rest) = text.strip_prefix("133;").or_else(|| text.strip_prefix("633;")) else { return };
        let (kind, values) = rest.split_once(';').map_or((rest, ""), |(kind, values)| (kind, values));
        match kind {
            "A" => {
                self.finish(None, page, unread);
                (self.typing, self.is_at_prompt) = (None, true);
                self.prompts += 1;
            }
            "B" => self.typing = Some(here(page)),
            "E" => self.said = Some(unescaped(values.split(';').next().unwrap_or_default())),
            "C" => self.start(page, unread),
            "D" => {
                self.finish(values.split(';').next().and_then(|exit| exit.parse().ok()), page, unread);
                self.is_at_prompt = false;
            }
            _ => {}
        }
    }

    fn start(&mut self, page: &Page, unread: &Unread) {
        self.finish(None, page, unread);
        let typed = self.typing.take().map(|from| between(from, page, unread, COMMAND_LINE_BYTES_MAX).0);
        let line = self.said.take().or(typed).map(|line| line.trim().to_owned());
        self.count += 1;
        self.all.push_back(Command { number: self.count, line, ..Command::default() });
        if self.all.len() > COMMANDS_MAX {
            self.all.pop_front();
        }
        self.output = Some(here(page));
        self.is_at_prompt = false;
    }

    fn finish(&mut self, exit: Option<i32>, page: &Page, unread: &Unread) {
        let (Some(from), Some(command)) = (self.output.take(), self.all.back_mut()) else { return };
        (command.output, command.is_cut) = between(from, page, unread, COMMAND_BYTES_MAX);
        (command.finished, command.exit) = (true, exit);
    }

    /// What the running command has printed so far, and whether its beginning is gone.
    pub(crate) fn running(&self, page: &Page, unread: &Unread) -> Option<(String, bool)> {
        self.output.map(|from| between(from, page, unread, COMMAND_BYTES_MAX))
    }
}

fn here(page: &Page) -> Mark {
    Mark { line: page.lines[page.cursor.row].id, column: page.cursor.column }
}

/// The text from a mark to the cursor, at most the last `bytes_max` of it, and whether some is missing.
fn between(from: Mark, page: &Page, unread: &Unread, bytes_max: usize) -> (String, bool) {
    let (history, above) = (unread.history(), unread.history().len());
    let at = |index: usize| if index < above { &history[index] } else { &page.lines[index - above] };
    let end = above + page.cursor.row;
    let found = (0..=end).rev().find(|index| at(*index).id == from.line);
    // Rows of one logical line may have one id: the first of them is meant.
    let first = found.map(|found| (0..=found).rev().take_while(|index| at(*index).id == from.line).last().unwrap_or(found));
    let start = first.unwrap_or(0);
    let mut text = String::new();
    for index in start..=end {
        let line: &Line = at(index);
        let column = if Some(index) == first { from.column } else { 0 };
        let to = if index == end { page.cursor.column } else { usize::MAX };
        if column == 0 && to == usize::MAX {
            push_row(line, to, &mut text);
        } else {
            line.row.push_text(column.min(to), to, &mut text);
        }
        if index < end && !line.wrapped {
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
    }
    // Blanks before the cursor are there because it went over them.
    text.truncate(text.trim_end_matches(' ').len());
    let mut is_cut = first.is_none();
    if text.len() > bytes_max {
        let mut start = text.len() - bytes_max;
        while !text.is_char_boundary(start) {
            start += 1;
        }
        text.drain(..start);
        is_cut = true;
    }
    (pyro_wire::untrusted::escape(&text), is_cut)
}

/// `\\` and `\x3b` as OSC 633 writes them.
fn unescaped(text: &str) -> String {
    let (mut plain, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match (byte, after) {
            (b'\\', [b'\\', tail @ ..]) => {
                plain.push(b'\\');
                rest = tail;
            }
            (b'\\', [b'x', high, low, tail @ ..]) if hex(&[*high, *low]).is_some() => {
                plain.extend(hex(&[*high, *low]));
                rest = tail;
            }
            _ => plain.push(byte),
        }
    }
    pyro_wire::untrusted::escape(&String::from_utf8_lossy(&plain[..plain.len().min(COMMAND_LINE_BYTES_MAX)]))
}

/// Texts of the logical lines of rows, with where each ends.
pub(crate) fn texts(lines: &VecDeque<Line>) -> Vec<(usize, usize, String)> {
    logical(lines).map(|(first, end)| (first, end, super::line::joined(lines.range(first..end)))).collect()
}
