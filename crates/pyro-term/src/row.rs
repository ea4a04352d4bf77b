//! One row of characters that can be overwritten: of a screen, or of output that redraws itself.
//!
//! A cell holds a character; one that takes several columns (wide, or a tab) is followed by fillers. A row is as long as was written to it: what is beyond
//! is blank. Every place that is not the beginning of a character is repaired when it is overwritten, so text taken out is always whole characters.

use std::ops::Range;

use crate::limits::{CELL_MARKS_MAX, ROW_MARKS_MAX};

#[cfg(test)]
mod tests;

/// Stands in a cell that the character before it covers.
const FILLER: char = '\u{0}';

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    cells: Vec<char>,
    /// Combining characters and the column of the cell they stand over, by column.
    marks: Vec<(u16, char)>,
}

impl Row {
    /// Columns written to.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Puts a character that takes `width` columns (at least 1) at `column`. NUL is put as a blank: it is the filler's.
    pub(crate) fn put(&mut self, column: usize, character: char, width: usize) {
        let character = if character == FILLER { ' ' } else { character };
        let end = column + width;
        if self.marks.is_empty() && width == 1 && column == self.cells.len() {
            self.cells.push(character);
            return;
        }
        self.grow(column);
        self.split(column);
        self.split(end);
        self.drop_marks(column, end);
        if self.cells.len() < end {
            self.cells.resize(end, FILLER);
        }
        self.cells[column] = character;
        self.cells[column + 1..end].fill(FILLER);
    }

    /// Puts characters of width 1, none of them NUL, from `column` on.
    pub(crate) fn put_ascii(&mut self, column: usize, text: &[u8]) {
        let end = column + text.len();
        self.grow(column);
        self.split(column);
        self.split(end);
        self.drop_marks(column, end);
        let over = (self.cells.len() - column).min(text.len());
        for (cell, byte) in self.cells[column..].iter_mut().zip(&text[..over]) {
            *cell = char::from(*byte);
        }
        self.cells.extend(text[over..].iter().map(|byte| char::from(*byte)));
    }

    /// Puts a combining character over the character before `column`; none there: it is left out.
    pub(crate) fn combine(&mut self, column: usize, mark: char) {
        let Some(before) = column.checked_sub(1).filter(|before| *before < self.cells.len()) else { return };
        let at = self.start(before) as u16;
        let over = self.marks_of(usize::from(at), usize::from(at) + 1);
        if over.len() < CELL_MARKS_MAX && self.marks.len() < ROW_MARKS_MAX {
            self.marks.insert(over.end, (at, mark));
        }
    }

    /// Makes `from..to` blank.
    pub(crate) fn erase(&mut self, from: usize, to: usize) {
        let to = to.min(self.cells.len());
        if from >= to {
            return;
        }
        self.split(from);
        self.split(to);
        self.drop_marks(from, to);
        if to == self.cells.len() {
            self.cells.truncate(from);
        } else {
            self.cells[from..to].fill(' ');
        }
    }

    /// Makes everything from `column` on blank.
    pub(crate) fn truncate(&mut self, column: usize) {
        self.erase(column, usize::MAX);
    }

    /// Moves what is at `column` and after it `count` columns to the right; what comes beyond `columns` is lost.
    pub(crate) fn insert(&mut self, column: usize, count: usize, columns: usize) {
        if column >= self.cells.len() || column >= columns {
            return;
        }
        self.split(column);
        let count = count.min(columns - column);
        self.cells.splice(column..column, std::iter::repeat_n(' ', count));
        for (at, _) in &mut self.marks {
            if usize::from(*at) >= column {
                *at = at.saturating_add(count as u16);
            }
        }
        self.cut(columns);
    }

    /// Takes `count` columns out at `column`; what is after them moves to the left.
    pub(crate) fn delete(&mut self, column: usize, count: usize) {
        let end = column.saturating_add(count).min(self.cells.len());
        if column >= end {
            return;
        }
        self.split(column);
        self.split(end);
        self.drop_marks(column, end);
        self.cells.drain(column..end);
        for (at, _) in &mut self.marks {
            if usize::from(*at) >= end {
                *at -= (end - column) as u16;
            }
        }
    }

    /// Cuts the row to at most `columns`; a character that is not whole then becomes blanks.
    pub(crate) fn cut(&mut self, columns: usize) {
        if self.cells.len() > columns {
            self.split(columns);
            self.cells.truncate(columns);
            self.marks.retain(|(at, _)| usize::from(*at) < columns);
        }
    }

    /// The characters of `from..` up to `to`, with the width of each; blanks where nothing was written are not among them.
    pub(crate) fn glyphs(&self, from: usize, to: usize) -> impl Iterator<Item = (char, usize, &[(u16, char)])> {
        let to = to.min(self.cells.len());
        let mut column = from.min(to);
        std::iter::from_fn(move || {
            while column < to && self.cells[column] == FILLER {
                column += 1;
            }
            if column >= to {
                return None;
            }
            let at = column;
            column += 1;
            while column < to && self.cells[column] == FILLER {
                column += 1;
            }
            Some((self.cells[at], column - at, &self.marks[self.marks_of(at, at + 1)]))
        })
    }

    /// Appends the text of `from..to` to `text`.
    pub(crate) fn push_text(&self, from: usize, to: usize, text: &mut String) {
        if self.marks.is_empty() {
            let to = to.min(self.cells.len());
            let cells = &self.cells[from.min(to)..to];
            // No early end: so it is done for many cells at once.
            if cells.iter().fold(true, |plain, cell| plain & cell.is_ascii() & (*cell != FILLER)) {
                let ascii: Vec<u8> = cells.iter().map(|cell| *cell as u8).collect();
                text.push_str(std::str::from_utf8(&ascii).unwrap_or_default());
            } else {
                text.extend(cells.iter().filter(|cell| **cell != FILLER));
            }
            return;
        }
        for (character, _, marks) in self.glyphs(from, to) {
            text.push(character);
            text.extend(marks.iter().map(|(_, mark)| *mark));
        }
    }

    /// The text without blanks at its end.
    pub(crate) fn text(&self) -> String {
        let mut text = String::with_capacity(self.cells.len());
        self.push_text(0, usize::MAX, &mut text);
        text.truncate(text.trim_end_matches(' ').len());
        text
    }

    /// The column where the character that covers `column` begins.
    fn start(&self, column: usize) -> usize {
        (0..=column).rev().find(|at| self.cells[*at] != FILLER).unwrap_or(0)
    }

    fn grow(&mut self, column: usize) {
        if self.cells.len() < column {
            self.cells.resize(column, ' ');
        }
    }

    /// Makes `column` the beginning of a cell: a character that covers both sides becomes blanks.
    fn split(&mut self, column: usize) {
        if self.cells.get(column) != Some(&FILLER) {
            return;
        }
        let start = self.start(column);
        let end = (column..self.cells.len()).find(|at| self.cells[*at] != FILLER).unwrap_or(self.cells.len());
        self.cells[start..end].fill(' ');
        self.drop_marks(start, end);
    }

    /// Which combining characters stand over the cells of `from..to`: they are in order.
    fn marks_of(&self, from: usize, to: usize) -> Range<usize> {
        let before = |limit: usize| self.marks.partition_point(|(at, _)| usize::from(*at) < limit);
        before(from)..before(to)
    }

    fn drop_marks(&mut self, from: usize, to: usize) {
        if !self.marks.is_empty() {
            let gone = self.marks_of(from, to);
            self.marks.drain(gone);
        }
    }
}
