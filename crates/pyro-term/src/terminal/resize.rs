//! Another size of the screen, as tmux does it: rows go to and come from above, and lines that were wrapped are wrapped anew.

use std::collections::VecDeque;

use super::line::Line;
use super::page::Page;
use super::unread::Unread;

impl Page {
    /// Makes the page as high as `rows`. With `unread`, rows go there and come from there; otherwise they are lost and made.
    pub(crate) fn resize_rows(&mut self, rows: usize, mut unread: Option<&mut Unread>) {
        while self.rows() > rows {
            if self.rows() - 1 > self.cursor.row {
                self.lines.pop_back();
                continue;
            }
            if let (Some(line), Some(unread)) = (self.lines.pop_front(), &mut unread) {
                unread.leave(line);
            }
            self.cursor.row = self.cursor.row.saturating_sub(1);
        }
        while self.rows() < rows {
            if let Some(line) = unread.as_mut().and_then(|unread| unread.come_back()) {
                self.lines.push_front(line);
                self.cursor.row += 1;
            } else {
                let line = self.blank();
                self.lines.push_back(line);
            }
        }
        (self.top, self.bottom) = (0, rows - 1);
    }

    /// Makes the page as wide as `columns`; what does not fit is cut off.
    pub(crate) fn cut_columns(&mut self, columns: usize) {
        self.columns = columns;
        for line in &mut self.lines {
            line.row.cut(columns);
        }
        self.cursor.column = self.cursor.column.min(columns - 1);
    }

    /// Makes the page as wide as `columns` and wraps all lines anew, those above it too.
    pub(crate) fn wrap_columns(&mut self, columns: usize, unread: &mut Unread) {
        let rows = self.rows();
        let mut old = unread.take_history();
        let cursor_at = old.len() + self.cursor.row;
        old.append(&mut self.lines);
        let mut new: VecDeque<Line> = VecDeque::with_capacity(old.len());
        let mut cursor = (0, 0);
        // Cells of the logical line that come before its row at hand.
        let mut before = 0;
        let mut goes_on = false;
        let mut offset = None;
        for (at, line) in old.into_iter().enumerate() {
            if at == cursor_at {
                offset = Some(before + self.cursor.column);
            }
            before += line.row.len();
            let wrapped = line.wrapped;
            if goes_on {
                append(&mut new, line, columns, self);
            } else {
                let mut first = Line { id: line.id, touched: line.touched, shown: line.shown, ..Line::default() };
                first.touched = line.touched;
                new.push_back(first);
                append(&mut new, line, columns, self);
            }
            goes_on = wrapped;
            if goes_on {
                continue;
            }
            if let Some(offset) = offset.take() {
                cursor = place(&new, offset, columns);
            }
            before = 0;
        }
        if let Some(offset) = offset {
            cursor = place(&new, offset, columns);
        }
        self.columns = columns;
        while new.len() < rows {
            let line = self.blank();
            new.push_back(line);
        }
        let above = new.len() - rows;
        self.lines = new.split_off(above);
        for line in new {
            unread.leave(line);
        }
        // The line at the top of the screen is whole again wherever its rows are.
        unread.break_open();
        (self.cursor.row, self.cursor.column) = match cursor.0.checked_sub(above) {
            Some(row) => (row.min(rows - 1), cursor.1),
            None => (0, 0),
        };
    }
}

/// Adds the characters of a row to the last logical line, in rows of `columns`.
fn append(lines: &mut VecDeque<Line>, line: Line, columns: usize, page: &mut Page) {
    let Some(mut last) = lines.pop_back() else { return };
    last.touched |= line.touched;
    for (character, width, marks) in line.row.glyphs(0, usize::MAX) {
        let width = width.min(columns);
        if last.row.len() + width > columns {
            last.wrapped = true;
            let blank = page.blank();
            let id = last.id;
            let next = Line { id, touched: last.touched, ..blank };
            lines.push_back(std::mem::replace(&mut last, next));
        }
        last.row.put(last.row.len(), character, width);
        for (_, mark) in marks {
            last.row.combine(last.row.len(), *mark);
        }
    }
    lines.push_back(last);
}

/// Where a cell of the last logical line is now.
fn place(lines: &VecDeque<Line>, mut offset: usize, columns: usize) -> (usize, usize) {
    let first = (0..lines.len().saturating_sub(1)).rev().find(|at| !lines[*at].wrapped).map_or(0, |at| at + 1);
    for (at, line) in lines.iter().enumerate().skip(first) {
        if offset < line.row.len() || !line.wrapped {
            return (at, offset.min(columns - 1));
        }
        offset -= line.row.len();
    }
    (lines.len().saturating_sub(1), 0)
}
