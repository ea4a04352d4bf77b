//! A row of a screen, and what is known of it besides its characters.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::row::Row;

/// One row of a screen. Rows that wrap into the next make one logical line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) row: Row,
    /// Whether text ran on into the next row.
    pub(crate) wrapped: bool,
    /// Rises with every row made; a row keeps it wherever it goes.
    pub(crate) id: u64,
    /// Whether something was done to it since it was last given out.
    pub(crate) touched: bool,
    /// Of the text of the logical line that begins here, as it was last given out.
    pub(crate) shown: Option<u64>,
}

/// What a text is recognised by.
pub(crate) fn mark_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Adds the text of a row to that of its logical line. Blanks at the end of a row that goes on are text.
pub(crate) fn push_row(line: &Line, columns: usize, text: &mut String) {
    line.row.push_text(0, columns, text);
}

/// The logical lines of rows: where each begins, and one past its last row.
pub(crate) fn logical(lines: &VecDeque<Line>) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= lines.len() {
            return None;
        }
        let first = start;
        while start + 1 < lines.len() && lines[start].wrapped {
            start += 1;
        }
        start += 1;
        Some((first, start))
    })
}

/// The text of rows as one line, without blanks at its end.
pub(crate) fn joined<'a>(lines: impl Iterator<Item = &'a Line>) -> String {
    let mut text = String::new();
    for line in lines {
        push_row(line, usize::MAX, &mut text);
    }
    text.truncate(text.trim_end_matches(' ').len());
    text
}
