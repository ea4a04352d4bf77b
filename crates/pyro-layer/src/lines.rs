//! Texts by lines, and what is different between two of them, found in bounded time.
//!
//! Lines end at line feeds alone: `str::lines` and others also know carriage returns, git does not. A line keeps its end, so that lines put together
//! again are the text.

use std::time::{Duration, Instant};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

use crate::limits::{HUNK_SEARCH_MS, HUNK_SEARCH_TOTAL_MS};

pub(crate) fn split(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Time that is left for finding differences in their shortest form. When it is used up they are longer, and right all the same.
pub(crate) struct Search {
    left: Duration,
}

impl Search {
    pub(crate) fn new() -> Self {
        Self { left: Duration::from_millis(HUNK_SEARCH_TOTAL_MS) }
    }

    pub(crate) fn compare(&mut self, old: &[&str], new: &[&str]) -> Vec<DiffOp> {
        let started_at = Instant::now();
        let deadline = started_at + self.left.min(Duration::from_millis(HUNK_SEARCH_MS));
        let operations = capture_diff_slices_deadline(Algorithm::Myers, old, new, Some(deadline));
        self.left = self.left.saturating_sub(started_at.elapsed());
        operations
    }
}
