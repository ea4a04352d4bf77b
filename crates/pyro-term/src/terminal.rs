//! A terminal session as a person would see it.
//!
//! A [`Terminal`] is given the bytes that programs write to a terminal. It holds the screen, gives the text that is new on it, knows what the programs are owed
//! as answers, and which commands were typed, if the shell marks them (see [`integration`](crate::integration)).
//!
//! The bytes are an enemy's. Memory is bounded by the size of the screen and by [`limits`](crate::limits); the time for a byte by the cells of the screen, which one
//! sequence can all change.

mod command;
mod draw;
mod line;
mod page;
mod resize;
mod unread;

#[cfg(test)]
mod tests;

pub use command::Command;
pub use draw::Modes;

use draw::Board;
use line::mark_of;
use pyro_wire::untrusted::escape;

use crate::limits::{COLUMNS_MAX, ROWS_MAX};
use crate::parse::Parser;

/// The size of a screen, in characters. Made fit to [`COLUMNS_MAX`] and [`ROWS_MAX`]; 0 is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// What is on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Its rows, each without blanks at its end. There are as many as the screen has, blank ones too.
    pub lines: Vec<String>,
    /// The row that the cursor is in, from 0.
    pub cursor_row: usize,
    /// Its column, from 0.
    pub cursor_column: usize,
    /// Whether the cursor is to be seen.
    pub cursor_visible: bool,
    /// Whether it is the alternate screen, as of an editor or a pager.
    pub alternate: bool,
    /// The title that a program gave; empty without one.
    pub title: String,
}

/// What is new since it was last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    /// Finished lines, each with its end: whole, however often they wrapped, and as they stand now, however often they were drawn. Where programs draw over
    /// lines that were taken before, those that changed come again. To shorten it, give it to a [`Digest`](crate::Digest).
    pub text: String,
    /// The line that the cursor is in, and what is below, if it has text: a prompt, a progress bar. It is given again until it is finished, as it stands; when
    /// nothing but its end comes, it is not given in `text` too.
    pub unfinished: String,
    /// Whether `unfinished` is not what it was when last taken.
    pub unfinished_is_new: bool,
    /// Finished lines before `text` that were dropped because nobody took them: the oldest beyond 10,000 lines or 4 MiB.
    pub lines_dropped: u64,
    /// The screen instead, while a program has the alternate one.
    pub screen: Option<Screen>,
}

/// See the module.
#[derive(Debug)]
pub struct Terminal {
    parser: Parser,
    board: Board,
    /// Of what was last given as unfinished: which line, and its text.
    unfinished: Option<(u64, u64)>,
}

impl Terminal {
    /// A blank screen.
    #[must_use]
    pub fn new(size: Size) -> Self {
        let (columns, rows) = cells(size);
        Self { parser: Parser::default(), board: Board::new(columns, rows), unfinished: None }
    }

    /// Takes what programs wrote. Splitting it anywhere changes nothing.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.parser.feed(bytes, &mut self.board);
    }

    /// Changes the size: lines wrap anew, rows go above the screen or come back from there.
    pub fn resize(&mut self, size: Size) {
        let (columns, rows) = cells(size);
        self.board.resize(columns, rows);
    }

    /// What is new since this was last asked.
    pub fn take_text(&mut self) -> Fresh {
        let alternate = self.board.primary.is_some();
        let (lines, lines_dropped) = self.board.unread.take();
        let mut text = String::new();
        let mut add = |line: &str| {
            text.push_str(&escape(line));
            text.push('\n');
        };
        lines.iter().for_each(|line| add(line));
        // A line whose beginning has left the screen is read with it.
        let mut open = self.board.unread.open().map(std::mem::take);
        let page = self.board.text_page_mut();
        let (cursor_row, mut unfinished, mut unfinished_id) = (page.cursor.row, Vec::new(), None);
        for (first, end, rest) in command::texts(&page.lines) {
            let open = if first == 0 { open.as_mut() } else { None };
            let is_whole = end <= cursor_row;
            let touched = open.as_ref().is_some_and(|open| open.touched) || page.lines.range(first..end).any(|line| line.touched);
            let shown = open.as_ref().map_or(page.lines[first].shown, |open| open.shown);
            let line = open.as_ref().map_or(String::new(), |open| open.text.clone()) + &rest;
            let mark = mark_of(&line);
            if is_whole && touched && shown != Some(mark) {
                add(&line);
            } else if !is_whole {
                unfinished.push(escape(&line));
                unfinished_id.get_or_insert(page.lines[first].id);
            }
            // What is shown as unfinished is not shown again when nothing but its end comes.
            if touched && (is_whole || !line.is_empty()) {
                page.lines[first].shown = Some(mark);
                page.lines.range_mut(first..end).for_each(|line| line.touched = false);
                if let Some(open) = open {
                    (open.shown, open.touched) = (Some(mark), false);
                }
            }
        }
        if let (Some(taken), Some(open)) = (open, self.board.unread.open()) {
            *open = taken;
        }
        let unfinished = unfinished.join("\n").trim_end_matches('\n').to_owned();
        let mark = unfinished_id.filter(|_| !unfinished.is_empty()).map(|id| (id, mark_of(&unfinished)));
        let unfinished_is_new = mark.is_some() && self.unfinished != mark;
        self.unfinished = mark;
        Fresh { text, unfinished, unfinished_is_new, lines_dropped, screen: alternate.then(|| self.screen()) }
    }

    /// The screen as it is.
    #[must_use]
    pub fn screen(&self) -> Screen {
        let page = &self.board.page;
        Screen {
            lines: page.lines.iter().map(|line| escape(&line.row.text())).collect(),
            cursor_row: page.cursor.row,
            cursor_column: page.cursor.column.min(page.columns - 1),
            cursor_visible: self.board.modes.cursor_visible,
            alternate: self.board.primary.is_some(),
            title: self.board.title.clone(),
        }
    }

    /// What programs asked the terminal and are owed an answer to, to be written to them: where the cursor is, what kind of terminal it is. At most 4 KiB are
    /// kept.
    pub fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.board.replies)
    }

    /// Modes that say how keys and pastes are to be sent.
    #[must_use]
    pub fn modes(&self) -> Modes {
        self.board.modes
    }

    /// How often the bell rang.
    #[must_use]
    pub fn bells(&self) -> u64 {
        self.board.bells
    }

    /// The last commands that the shell marked, oldest first; none where it marks nothing. A claim: any program can print marks.
    #[must_use]
    pub fn commands(&self) -> Vec<Command> {
        let mut commands: Vec<Command> = self.board.commands.all.iter().cloned().collect();
        if let (Some((output, is_cut)), Some(last)) =
            (self.board.commands.running(self.board.text_page(), &self.board.unread), commands.last_mut())
        {
            (last.output, last.is_cut) = (output, is_cut);
        }
        commands
    }

    /// The last of them, without its output while it runs.
    #[must_use]
    pub fn last_command(&self) -> Option<&Command> {
        self.board.commands.all.back()
    }

    /// Whether a shell that marks its prompts waits at one.
    #[must_use]
    pub fn is_at_prompt(&self) -> bool {
        self.board.commands.is_at_prompt
    }

    /// How many prompts a shell that marks them has shown.
    #[must_use]
    pub fn prompts(&self) -> u64 {
        self.board.commands.prompts
    }
}

fn cells(size: Size) -> (usize, usize) {
    (usize::from(size.columns.clamp(1, COLUMNS_MAX)), usize::from(size.rows.clamp(1, ROWS_MAX)))
}
