//! All places of one hunk: by the ladder, then with less context. Choosing among them is done elsewhere.

use crate::failure::Why;
use crate::hunk::{Found, Hunk, Line, Mark};
use crate::index::{Budget, Index};
use crate::limits::PLACES_MAX;
use crate::rung::{EXACT, HUNK_RUNGS, Reading, Rung, without_gutters, without_gutters_in_new};
use crate::shift::Shift;
use crate::view::{View, is_telling};

/// Empty lines at the end of a hunk that may be no part of it.
const LOOSE_TAIL_MAX: usize = 3;

/// The places of a hunk that has old lines; `None` when there are none.
pub(crate) fn find<'p>(index: &mut Index<'_>, hunk: &Hunk<'p>, budget: &mut Budget) -> Result<Option<Found<'p>>, Why> {
    let whole = on_ladder(index, hunk, budget)?;
    if whole.is_some() {
        return Ok(whole);
    }
    for tail in 1..=hunk.loose_tail.min(LOOSE_TAIL_MAX) {
        let found = on_ladder(index, &hunk.cut(0, tail), budget)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let (head, tail) = hunk.margins();
    for kept in (1..head.max(tail)).rev() {
        let (cut_head, cut_tail) = (head.saturating_sub(kept), tail.saturating_sub(kept));
        let smaller = hunk.cut(cut_head, cut_tail);
        if !is_telling(&smaller.before().concat(), 1) {
            break;
        }
        // With less context the place must be the only one; a number is no evidence any more.
        if let Some(found) = on_ladder(index, &smaller, budget)?.filter(|found| found.start_count == 1) {
            return Ok(Some(Found { cut: cut_head + cut_tail, ..found }));
        }
    }
    Ok(None)
}

fn on_ladder<'p>(index: &mut Index<'_>, hunk: &Hunk<'p>, budget: &mut Budget) -> Result<Option<Found<'p>>, Why> {
    for rung in std::iter::once(EXACT).chain(HUNK_RUNGS.iter().copied()) {
        let Some(read) = read(rung.reading, hunk) else { continue };
        let starts = starts(index, &read, rung, budget)?;
        if !starts.is_empty() {
            let start_count = starts.len();
            return Ok(Some(Found { starts: nearest(starts, read.expected()), hunk: read, rung, start_count, cut: 0 }));
        }
    }
    Ok(None)
}

fn starts(index: &mut Index<'_>, hunk: &Hunk<'_>, rung: Rung, budget: &mut Budget) -> Result<Vec<usize>, Why> {
    let before = hunk.before();
    let mut starts = index.find(&before, rung.view, budget)?;
    let end = index.lines.len();
    if hunk.has_open_end() {
        starts.retain(|start| start + before.len() == end);
    }
    if hunk.is_at_end && starts.contains(&(end.saturating_sub(before.len()))) {
        starts = vec![end - before.len()];
    }
    if rung.view.shifts() {
        budget.spend(starts.len() * before.len())?;
        starts.retain(|start| shift(index, &before, *start).is_some_and(|shift| all_shift(hunk, &shift)));
    }
    Ok(starts)
}

/// How the file is indented where these lines were found, against them.
pub(crate) fn shift(index: &Index<'_>, before: &[&[u8]], start: usize) -> Option<Shift> {
    Shift::between(before.iter().enumerate().map(|(at, sent)| (*sent, index.lines.get(start + at))))
}

fn all_shift(hunk: &Hunk<'_>, shift: &Shift) -> bool {
    hunk.lines.iter().filter(|line| line.mark == Mark::Added).all(|line| shift.apply(line.text).is_some())
}

/// The starts that are kept of too many.
fn nearest(mut starts: Vec<usize>, expected: Option<usize>) -> Vec<usize> {
    if starts.len() > PLACES_MAX {
        let middle = expected.map_or(0, |expected| starts.partition_point(|start| *start < expected));
        let from = middle.saturating_sub(PLACES_MAX / 2).min(starts.len() - PLACES_MAX);
        starts = starts[from..from + PLACES_MAX].to_vec();
    }
    starts
}

/// The hunk as a reading has it; `None` if it cannot be read so.
fn read<'p>(reading: Reading, hunk: &Hunk<'p>) -> Option<Hunk<'p>> {
    match reading {
        Reading::AsSent => Some(hunk.clone()),
        Reading::Unescaped => None,
        Reading::WithoutGutters => {
            let old = hunk.before();
            let mut before = without_gutters(&old)?.into_iter();
            let added: Vec<&[u8]> = hunk.lines.iter().filter(|line| line.mark == Mark::Added).map(|line| line.text).collect();
            let mut added = without_gutters_in_new(&old, &added).into_iter();
            let lines = hunk.lines.iter().map(|line| {
                let text = if line.mark == Mark::Added { added.next() } else { before.next() };
                Line { mark: line.mark, text: text.unwrap_or(line.text) }
            });
            Some(Hunk { lines: lines.collect(), ..hunk.clone() })
        }
    }
}

/// Where what a hunk makes stands already: its lines from the first to behind the last, if in one place and saying enough to be recognised.
pub(crate) fn made(index: &mut Index<'_>, hunk: &Hunk<'_>, budget: &mut Budget) -> Result<Option<(usize, usize)>, Why> {
    let after = hunk.after();
    // What is a part of the old lines is there before as well as after.
    if memchr::memmem::find(&hunk.before().concat(), &after.concat()).is_some() || !is_telling(&after.concat(), TELLING_COUNT) {
        return Ok(None);
    }
    for view in [View::Exact, View::LineEnds] {
        let starts = index.find(&after, view, budget)?;
        match starts[..] {
            [] => {}
            [start] => return Ok(Some((start, start + after.len()))),
            _ => {
                let expected = hunk.expected();
                return Ok(starts.into_iter().find(|start| Some(*start) == expected).map(|start| (start, start + after.len())));
            }
        }
    }
    Ok(None)
}

/// Letters or digits that lines must have before finding them says anything: that a hunk has been applied, or that its number is nearly right.
pub(crate) const TELLING_COUNT: usize = 6;
