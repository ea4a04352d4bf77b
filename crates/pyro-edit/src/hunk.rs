//! A hunk as every patch form has it, and where it belongs in a file.
//!
//! The text of a hunk decides; its number only chooses among places that are equally good, and everything that was used to choose is told.

pub(crate) mod choose;
pub(crate) mod find;
pub(crate) mod put;

use crate::rung::Rung;
use crate::shift::Shift;

/// What a line of a hunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Context,
    Removed,
    Added,
}

/// A line without its mark, with its newline unless the patch says that it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'p> {
    pub(crate) mark: Mark,
    pub(crate) text: &'p [u8],
}

/// Lines to find and what to make of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hunk<'p> {
    pub(crate) lines: Vec<Line<'p>>,
    /// The first line in the old file, from 1; for a hunk without old lines the line before it.
    pub(crate) number: Option<usize>,
    /// Lines that stand above it, from the outside in.
    pub(crate) anchors: Vec<&'p [u8]>,
    /// It is said to reach to the end of the file.
    pub(crate) is_at_end: bool,
    /// So many empty lines at its end may be no part of it.
    pub(crate) loose_tail: usize,
}

impl<'p> Hunk<'p> {
    pub(crate) fn before(&self) -> Vec<&'p [u8]> {
        self.lines.iter().filter(|line| line.mark != Mark::Added).map(|line| line.text).collect()
    }

    pub(crate) fn after(&self) -> Vec<&'p [u8]> {
        self.lines.iter().filter(|line| line.mark != Mark::Removed).map(|line| line.text).collect()
    }

    /// Context lines before the first change and behind the last.
    pub(crate) fn margins(&self) -> (usize, usize) {
        let first = self.lines.iter().take_while(|line| line.mark == Mark::Context).count();
        let last = self.lines[first..].iter().rev().take_while(|line| line.mark == Mark::Context).count();
        (first, last)
    }

    /// Without so many lines at the start and the end, which are context.
    pub(crate) fn cut(&self, head: usize, tail: usize) -> Self {
        let number = self.number.map(|number| number + head);
        Self { lines: self.lines[head..self.lines.len() - tail].to_vec(), number, loose_tail: 0, ..self.clone() }
    }

    /// The index of the line where its number says that it begins.
    pub(crate) fn expected(&self) -> Option<usize> {
        let has_old = self.lines.iter().any(|line| line.mark != Mark::Added);
        self.number.map(|number| if has_old { number.saturating_sub(1) } else { number })
    }

    /// Whether it has a line that is the last of a file for want of a newline.
    pub(crate) fn has_open_end(&self) -> bool {
        self.lines.iter().any(|line| !line.text.ends_with(b"\n"))
    }
}

/// Where a hunk may go: every place on the highest rung that has one.
#[derive(Clone, Debug)]
pub(crate) struct Found<'p> {
    /// The hunk as it was found: read by the rung, and perhaps with less context.
    pub(crate) hunk: Hunk<'p>,
    pub(crate) rung: Rung,
    pub(crate) starts: Vec<usize>,
    /// How many there were before the number of places was cut.
    pub(crate) start_count: usize,
    /// Context lines that were left out to find it.
    pub(crate) cut: usize,
}

/// A hunk in its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed<'p> {
    pub(crate) hunk: Hunk<'p>,
    pub(crate) start: usize,
    pub(crate) rung: Rung,
    pub(crate) shift: Option<Shift>,
    pub(crate) notes: Vec<String>,
}
