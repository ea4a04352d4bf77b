//! Rows with a cursor: the primary or the alternate screen, and everything that a program can do to the rows of one.

use std::collections::VecDeque;

use super::line::Line;
use super::unread::Unread;

/// Where the next character goes. `column` may be the number of columns: then the next character wraps first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// See the module. There are always as many lines as the screen has rows.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) lines: VecDeque<Line>,
    pub(crate) columns: usize,
    pub(crate) cursor: Cursor,
    /// First and last row of the part that scrolls.
    pub(crate) top: usize,
    pub(crate) bottom: usize,
    /// Rows that were made.
    made: u64,
}

impl Page {
    pub(crate) fn new(columns: usize, rows: usize) -> Self {
        let mut page = Self { columns, bottom: rows - 1, ..Self::default() };
        for _ in 0..rows {
            let line = page.blank();
            page.lines.push_back(line);
        }
        page
    }

    pub(crate) fn rows(&self) -> usize {
        self.lines.len()
    }

    pub(crate) fn blank(&mut self) -> Line {
        self.made += 1;
        Line { id: self.made, ..Line::default() }
    }

    /// The line that the cursor is in, which is about to change.
    pub(crate) fn line(&mut self) -> &mut Line {
        let line = &mut self.lines[self.cursor.row];
        line.touched = true;
        line
    }

    /// The column of a cursor that waits to wrap is the last.
    pub(crate) fn settle(&mut self) {
        self.cursor.column = self.cursor.column.min(self.columns - 1);
    }

    /// Down a row; at the bottom the part that scrolls does. What leaves at its top goes to `unread`, if there is one.
    pub(crate) fn line_feed(&mut self, wrapped: bool, unread: Option<&mut Unread>) {
        self.line().wrapped = wrapped;
        if self.cursor.row == self.bottom {
            self.scroll_up(self.top, self.bottom, 1, unread);
        } else if self.cursor.row + 1 < self.rows() {
            self.cursor.row += 1;
        }
    }

    /// Rows `top..=bottom` move up by `count`.
    pub(crate) fn scroll_up(&mut self, top: usize, bottom: usize, count: usize, mut unread: Option<&mut Unread>) {
        for _ in 0..count.min(bottom + 1 - top) {
            let Some(line) = self.lines.remove(top) else { break };
            if let Some(unread) = &mut unread {
                unread.leave(line);
            }
            let blank = self.blank();
            self.lines.insert(bottom, blank);
        }
    }

    /// Rows `top..=bottom` move down by `count`; what leaves at the bottom is gone.
    pub(crate) fn scroll_down(&mut self, top: usize, bottom: usize, count: usize) {
        for _ in 0..count.min(bottom + 1 - top) {
            self.lines.remove(bottom);
            let blank = self.blank();
            self.lines.insert(top, blank);
        }
        if let Some(above) = top.checked_sub(1) {
            self.lines[above].wrapped = false;
        }
    }

    /// Up or down by rows, stopping at the ends of the part that scrolls if it begins inside.
    pub(crate) fn move_rows(&mut self, down: bool, count: usize) {
        self.settle();
        let row = self.cursor.row;
        self.cursor.row = if down {
            (row + count).min(if row <= self.bottom { self.bottom } else { self.rows() - 1 })
        } else {
            row.saturating_sub(count).max(if row >= self.top { self.top } else { 0 })
        };
    }

    /// Makes whole rows blank.
    pub(crate) fn erase_rows(&mut self, from: usize, to: usize) {
        for row in from..to.min(self.rows()) {
            let line = &mut self.lines[row];
            line.row.truncate(0);
            // An empty row says nothing until the cursor goes past it again.
            (line.wrapped, line.touched) = (false, false);
        }
    }

    /// `CSI K`.
    pub(crate) fn erase_in_line(&mut self, what: u16) {
        let column = self.cursor.column;
        let line = self.line();
        match what {
            0 => line.row.truncate(column),
            1 => line.row.erase(0, column + 1),
            2 => line.row.truncate(0),
            _ => {}
        }
        if what != 1 {
            line.wrapped = false;
        }
    }

    /// All rows that were written to leave at the top, as if scrolled: a screen that is cleared was read first.
    pub(crate) fn clear_to(&mut self, unread: &mut Unread) {
        let used = self.lines.iter().rposition(|line| line.row.len() > 0).map_or(0, |last| last + 1);
        self.scroll_up(0, self.rows() - 1, used, Some(unread));
        self.erase_rows(0, self.rows());
    }
}
