//! Finished lines that left the screen, until somebody takes them; and the rows above the screen, which come back when it grows.

use std::collections::VecDeque;

use super::line::{Line, mark_of, push_row};
use crate::limits::{HISTORY_CELLS_MAX, HISTORY_ROWS_MAX, UNREAD_BYTES_MAX, UNREAD_LINE_BYTES_MAX, UNREAD_LINES_MAX};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
    /// The logical line whose last row has not left the screen.
    open: Option<Open>,
    history: VecDeque<Line>,
    history_cells: usize,
}

/// The rows of one logical line that have left.
#[derive(Debug, Default)]
pub(crate) struct Open {
    pub(crate) text: String,
    pub(crate) touched: bool,
    pub(crate) shown: Option<u64>,
}

impl Unread {
    /// A row leaves the screen at its top.
    pub(crate) fn leave(&mut self, mut line: Line) {
        let mut open = self.open.take().unwrap_or_else(|| Open { shown: line.shown, ..Open::default() });
        push_row(&line, usize::MAX, &mut open.text);
        open.touched |= line.touched;
        if line.wrapped && open.text.len() < UNREAD_LINE_BYTES_MAX {
            self.open = Some(open);
        } else {
            line.shown = Some(self.finish(open));
        }
        line.touched = false;
        self.history_cells += line.row.len();
        self.history.push_back(line);
        while self.history.len() > HISTORY_ROWS_MAX || self.history_cells > HISTORY_CELLS_MAX {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_cells -= oldest.row.len();
        }
    }

    /// Breaks the line that is half gone: its rest is a line of its own.
    pub(crate) fn break_open(&mut self) {
        if let Some(open) = self.open.take() {
            self.finish(open);
        }
    }

    fn finish(&mut self, mut open: Open) -> u64 {
        open.text.truncate(open.text.trim_end_matches(' ').len());
        let mark = mark_of(&open.text);
        if open.touched && open.shown != Some(mark) {
            self.push(open.text);
        }
        mark
    }

    /// Adds a line to what is to be taken.
    pub(crate) fn push(&mut self, text: String) {
        self.bytes += text.len();
        self.lines.push_back(text);
        while self.lines.len() > UNREAD_LINES_MAX || self.bytes > UNREAD_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
            self.dropped += 1;
        }
    }

    /// The lines, and how many were dropped before them; none are left.
    pub(crate) fn take(&mut self) -> (VecDeque<String>, u64) {
        self.bytes = 0;
        (std::mem::take(&mut self.lines), std::mem::take(&mut self.dropped))
    }

    /// What has left of the line that the first row of the screen goes on with.
    pub(crate) fn open(&mut self) -> Option<&mut Open> {
        self.open.as_mut()
    }

    /// The row above the screen comes back.
    pub(crate) fn come_back(&mut self) -> Option<Line> {
        let line = self.history.pop_back()?;
        self.history_cells -= line.row.len();
        Some(line)
    }

    /// All rows above the screen, which are to be laid out anew.
    pub(crate) fn take_history(&mut self) -> VecDeque<Line> {
        self.history_cells = 0;
        std::mem::take(&mut self.history)
    }

    /// The rows above the screen.
    pub(crate) fn history(&self) -> &VecDeque<Line> {
        &self.history
    }

    /// They are forgotten, as a program asked for.
    pub(crate) fn clear_history(&mut self) {
        self.take_history();
    }

    /// Bytes held, for the bound on them.
    #[cfg(test)]
    pub(crate) fn weight(&self) -> (usize, usize, usize) {
        (self.lines.len(), self.bytes + self.open.as_ref().map_or(0, |open| open.text.len()), self.history_cells)
    }
}
