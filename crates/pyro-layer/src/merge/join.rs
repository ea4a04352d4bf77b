//! Three texts into one, by lines.
//!
//! What `similar` finds to be different between the base and each side is laid side by side. Where only one side changed lines, its lines are taken;
//! where both made the same of them, those are. Changes of both sides that overlap or touch are a conflict, as they are to git: nothing unchanged
//! is between them that would say that they have nothing to do with each other.
//!
//! `similar` can merge too, but takes time without a bound for it, and that grows with the square of the number of changes.

use std::ops::Range;

use similar::DiffTag;

use super::{ConflictHunk, Favour};
use crate::lines::{self, Search};

/// What became of three texts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// The text, in which conflicts are settled for the favoured side; without one they are left as ours.
    pub(super) text: String,
    /// What both changed, in different ways.
    pub(super) hunks: Vec<ConflictHunk>,
}

/// Lines of the base and what one side has instead.
struct Edit {
    base: Range<usize>,
    side: Range<usize>,
}

pub(super) fn join(base: &str, ours: &str, theirs: &str, favour: Option<Favour>, search: &mut Search) -> Joined {
    let (base, ours, theirs) = (lines::split(base), lines::split(ours), lines::split(theirs));
    let mut our_edits = Side::new(&base, &ours, search);
    let mut their_edits = Side::new(&base, &theirs, search);
    let mut joined = Joined { text: String::new(), hunks: Vec::new() };
    let mut base_at = 0;
    while let Some(start) = [our_edits.next_start(), their_edits.next_start()].into_iter().flatten().min() {
        for line in &base[base_at..start] {
            joined.text.push_str(line);
        }
        // Everything that overlaps or touches what is there so far.
        let mut end = start;
        let (mut our_count, mut their_count) = (0, 0);
        loop {
            let (our_more, their_more) = (our_edits.take_up_to(&mut end), their_edits.take_up_to(&mut end));
            our_count += our_more;
            their_count += their_more;
            if our_more + their_more == 0 {
                break;
            }
        }
        let our_range = our_edits.pass(start, end);
        let their_range = their_edits.pass(start, end);
        let (our_lines, their_lines) = (&ours[our_range.clone()], &theirs[their_range]);
        let taken = if their_count == 0 || our_lines == their_lines {
            our_lines
        } else if our_count == 0 {
            their_lines
        } else {
            joined.hunks.push(ConflictHunk {
                ours_line: our_range.start as u64 + 1,
                base: base[start..end].concat(),
                ours: our_lines.concat(),
                theirs: their_lines.concat(),
            });
            match favour {
                Some(Favour::Theirs) => their_lines,
                Some(Favour::Ours) | None => our_lines,
            }
        };
        for line in taken {
            joined.text.push_str(line);
        }
        base_at = end;
    }
    for line in &base[base_at..] {
        joined.text.push_str(line);
    }
    joined
}

/// The changes of one side, gone through from the start.
struct Side {
    edits: Vec<Edit>,
    /// The first that has not been taken.
    next: usize,
    /// The first that has not been passed.
    passed: usize,
    /// Lines of the side up to where everything has been passed, less those of the base.
    shift: isize,
}

impl Side {
    fn new(base: &[&str], side: &[&str], search: &mut Search) -> Self {
        let edits = search
            .compare(base, side)
            .into_iter()
            .filter(|operation| operation.tag() != DiffTag::Equal)
            .map(|operation| Edit { base: operation.old_range(), side: operation.new_range() })
            .collect();
        Self { edits, next: 0, passed: 0, shift: 0 }
    }

    fn next_start(&self) -> Option<usize> {
        self.edits.get(self.next).map(|edit| edit.base.start)
    }

    /// Takes the changes that begin at or before a line of the base, which moves to the end of the last of them; tells how many.
    fn take_up_to(&mut self, end: &mut usize) -> usize {
        let before = self.next;
        while let Some(edit) = self.edits.get(self.next).filter(|edit| edit.base.start <= *end) {
            *end = edit.base.end.max(*end);
            self.next += 1;
        }
        self.next - before
    }

    /// The lines of this side that stand for lines of the base, which hold whole changes.
    fn pass(&mut self, start: usize, end: usize) -> Range<usize> {
        let side_start = start.checked_add_signed(self.shift).expect("lines before a change are as many as were counted");
        for edit in &self.edits[self.passed..self.next] {
            self.shift += edit.side.len().cast_signed() - edit.base.len().cast_signed();
        }
        self.passed = self.next;
        side_start..end.checked_add_signed(self.shift).expect("lines after a change are as many as were counted")
    }
}

#[cfg(test)]
mod tests;
