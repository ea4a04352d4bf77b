//! Which place each hunk of a file takes.
//!
//! In this order: the only place there is; lines that must stand above; the place at the line number, moved by as much as the hunks around it were;
//! the only place that keeps the hunks in order; the place that is by far the nearest to the number. Else it is ambiguous.

use std::ops::Range;

use crate::failure::Why;
use crate::hunk::find::{TELLING_COUNT, find, made, shift};
use crate::hunk::{Found, Hunk, Placed};
use crate::index::{Budget, Index};
use crate::nearest;
use crate::neighbours;
use crate::rung::EXACT;
use crate::view::{View, indentation, is_blank_line, is_telling, trim_end, trim_start};

/// What becomes of a hunk.
#[derive(Clone, Debug)]
pub(crate) enum Outcome<'p> {
    Placed(Placed<'p>),
    /// What it makes is there already, at this line (from 0).
    Done(usize),
}

/// A hunk on its way to a place.
enum Stage<'p> {
    Open(Found<'p>),
    /// `is_sure`: it was the only place, so it says how far off the numbers are.
    Fixed {
        found: Found<'p>,
        start: usize,
        is_sure: bool,
        note: Option<String>,
    },
    Done(usize),
    Failed(Why),
}

pub(crate) fn place<'p>(
    index: &mut Index<'_>,
    hunks: &[Hunk<'p>],
    budget: &mut Budget,
) -> Result<Vec<Result<Outcome<'p>, Why>>, Why> {
    let mut stages = Vec::with_capacity(hunks.len());
    for hunk in hunks {
        stages.push(first(index, hunk, budget)?);
    }
    by_number(&mut stages);
    by_order(&mut stages);
    by_distance(&mut stages);
    let mut outcomes: Vec<Result<Outcome<'p>, Why>> = stages.into_iter().map(|stage| finish(index, stage, budget)).collect();
    refuse_overlaps(&mut outcomes);
    Ok(outcomes)
}

/// What one hunk says by itself.
fn first<'p>(index: &mut Index<'_>, hunk: &Hunk<'p>, budget: &mut Budget) -> Result<Stage<'p>, Why> {
    let before = hunk.before();
    if before.is_empty() {
        return Ok(insertion(index, hunk));
    }
    let found = find(index, hunk, budget)?;
    let done = match &found {
        Some(found)
            if found.rung == EXACT
                && found.cut == 0
                && found.start_count == 1
                && !may_be_repeated(index, hunk, found.starts[0]) =>
        {
            None
        }
        Some(_) | None => made(index, hunk, budget)?,
    };
    let Some(mut found) = found else {
        if let Some((start, _)) = done {
            return Ok(Stage::Done(start));
        }
        let nearest = nearest::find(index, &before, hunk.expected(), budget)?;
        return Ok(Stage::Failed(Why::NotFound { nearest, new_text_at: None, note: None }));
    };
    if let Some((start, end)) = done
        && found.starts.iter().all(|at| start <= *at && at + found.hunk.before().len() <= end)
    {
        return Ok(Stage::Done(start));
    }
    let mut note = None;
    if !hunk.anchors.is_empty() {
        match below(index, &hunk.anchors, &found.starts, budget)? {
            None => note = Some("its @@ line is not in the file; the lines below it are".to_owned()),
            Some(starts) => {
                if starts.len() < found.starts.len() && starts.len() == 1 {
                    note = Some(format!("stands in {} places; the one below its @@ line was taken", found.start_count));
                }
                if !starts.is_empty() && (found.start_count > 1) {
                    found.start_count = starts.len();
                    found.starts = starts;
                }
            }
        }
    }
    Ok(match found.starts[..] {
        [start] if found.start_count == 1 => Stage::Fixed { is_sure: true, start, found, note },
        _ => Stage::Open(found),
    })
}

/// Whether a hunk that was found may have been applied before all the same: it has context on one side only, so that it would be found again, and does
/// not stand where such a hunk belongs, at that end of the file. A patch without numbers has nothing else to tell it.
fn may_be_repeated(index: &Index<'_>, hunk: &Hunk<'_>, start: usize) -> bool {
    let (head, tail) = hunk.margins();
    let at_start = head < tail && start == 0;
    let at_end = tail < head && start + hunk.before().len() == index.lines.len();
    let is_at_number = hunk.expected() == Some(start);
    (head == 0 || tail == 0) && !at_start && !at_end && (head != tail || !is_at_number)
}

fn insertion<'p>(index: &Index<'_>, hunk: &Hunk<'p>) -> Stage<'p> {
    let end = index.lines.len();
    let at = |start: usize, note: Option<String>| {
        let found = Found { hunk: hunk.clone(), rung: EXACT, starts: vec![start], start_count: 1, cut: 0 };
        Stage::Fixed { found, start, is_sure: false, note }
    };
    let failed = |note: &str| Stage::Failed(Why::NotFound { nearest: None, new_text_at: None, note: Some(note.to_owned()) });
    match hunk.expected() {
        _ if end == 0 => at(0, None),
        Some(start) if start <= end => at(start, Some(format!("has no old lines; was put behind line {start}, its line number"))),
        Some(start) => {
            failed(&format!("It has only + lines, and its line number {start} is behind the end of the file ({end} lines)."))
        }
        None if !hunk.anchors.is_empty() => failed("It has only + lines below its @@ line, so it could go anywhere there."),
        None if hunk.is_at_end => at(end, Some("has no old lines; was put at the end of the file".to_owned())),
        None => failed("It has only + lines and no line number, so it could go anywhere."),
    }
}

fn core(found: &Found<'_>, start: usize) -> Range<usize> {
    let (head, tail) = found.hunk.margins();
    let length = found.hunk.before().len();
    if head + tail >= length { start + head.min(length)..start + head.min(length) } else { start + head..start + length - tail }
}

/// How far off the numbers are, by the nearest hunk that is sure; those before count first.
fn offset(stages: &[Stage<'_>], of: usize) -> isize {
    let known = |stage: &Stage<'_>| match stage {
        Stage::Fixed { found, start, is_sure: true, .. } => {
            found.hunk.expected().map(|expected| *start as isize - expected as isize)
        }
        Stage::Fixed { .. } | Stage::Open(_) | Stage::Done(_) | Stage::Failed(_) => None,
    };
    stages[..of].iter().rev().find_map(known).or_else(|| stages[of..].iter().find_map(known)).unwrap_or(0)
}

fn by_number(stages: &mut [Stage<'_>]) {
    let offsets: Vec<isize> =
        (0..stages.len()).map(|of| if matches!(stages[of], Stage::Open(_)) { offset(stages, of) } else { 0 }).collect();
    for (stage, offset) in stages.iter_mut().zip(offsets) {
        let Stage::Open(found) = stage else { continue };
        let Some(expected) = found.hunk.expected().and_then(|expected| expected.checked_add_signed(offset)) else { continue };
        if found.starts.contains(&expected) {
            let moved = if offset == 0 { String::new() } else { format!(", moved by {offset:+} like the hunks around it") };
            let note = format!("stands in {} places; the one at its line number{moved} was taken", found.start_count);
            // At the very line that an exact patch says there is nothing to tell.
            let note = (offset != 0 || found.rung != EXACT).then_some(note);
            *stage = Stage::Fixed { start: expected, found: found.clone(), is_sure: false, note };
        }
    }
}

/// The places a stage may still take.
fn places(stage: &Stage<'_>) -> Vec<Range<usize>> {
    match stage {
        Stage::Open(found) => found.starts.iter().map(|start| core(found, *start)).collect(),
        Stage::Fixed { found, start, .. } => vec![core(found, *start)],
        Stage::Done(_) | Stage::Failed(_) => Vec::new(),
    }
}

/// Cuts what is open down to what keeps all hunks in order, if anything does.
fn by_order(stages: &mut [Stage<'_>]) {
    let of_each: Vec<Vec<Range<usize>>> = stages.iter().map(places).collect();
    let mut earliest = vec![0; stages.len()];
    let mut end = 0;
    for (at, places) in of_each.iter().enumerate().filter(|(_, places)| !places.is_empty()) {
        let Some(first) = places.iter().find(|place| place.start >= end) else { return };
        earliest[at] = first.start;
        end = first.end.max(first.start);
    }
    let mut start = usize::MAX;
    for (at, places) in of_each.iter().enumerate().rev().filter(|(_, places)| !places.is_empty()) {
        let Some(last) = places.iter().rev().find(|place| place.end <= start) else { return };
        start = last.start;
        let latest = last.start;
        let Stage::Open(found) = &mut stages[at] else { continue };
        if found.start_count > found.starts.len() {
            // Not all places are known.
            continue;
        }
        let head = found.hunk.margins().0.min(found.hunk.before().len());
        let in_order = |place: &usize| (earliest[at]..=latest).contains(&(place + head));
        let fitting: Vec<usize> = found.starts.iter().copied().filter(in_order).collect();
        match fitting[..] {
            // Nothing but braces and blanks may have been meant anywhere, out of order too.
            [only] if is_telling(&found.hunk.before().concat(), 1) => {
                let note = Some(format!("stands in {} places; the one in order with the other hunks was taken", found.start_count));
                stages[at] = Stage::Fixed { start: only, found: found.clone(), is_sure: false, note };
            }
            [] | [_] => {}
            _ => (found.start_count, found.starts) = (fitting.len(), fitting),
        }
    }
}

fn by_distance(stages: &mut [Stage<'_>]) {
    for at in 0..stages.len() {
        let offset = offset(stages, at);
        let Stage::Open(found) = &stages[at] else { continue };
        let Some(expected) = found.hunk.expected().and_then(|expected| expected.checked_add_signed(offset)) else { continue };
        let mut near: Vec<(usize, usize)> = found.starts.iter().map(|start| (start.abs_diff(expected), *start)).collect();
        near.sort_unstable();
        // A number that is about as far from one place as from another says nothing.
        // Nor does being near when the lines are braces and blanks: those are near to everything.
        if let [(first, start), (second, _), ..] = near[..]
            && first * FAR_NEARER < second
            && is_telling(&found.hunk.before().concat(), TELLING_COUNT)
        {
            let note = format!(
                "stands in {} places; line {}, by far the nearest to its line number, was taken",
                found.start_count,
                start + 1
            );
            stages[at] = Stage::Fixed { start, found: found.clone(), is_sure: false, note: Some(note) };
        }
    }
}

/// How many times nearer a place must be than the next one.
const FAR_NEARER: usize = 4;

fn finish<'p>(index: &Index<'_>, stage: Stage<'p>, budget: &mut Budget) -> Result<Outcome<'p>, Why> {
    match stage {
        Stage::Done(line) => Ok(Outcome::Done(line)),
        Stage::Failed(why) => Err(why),
        Stage::Open(found) => {
            let length = found.hunk.before().len();
            let spans: Vec<Range<usize>> = found.starts.iter().map(|start| *start..start + length).collect();
            let shift = if found.rung.view.shifts() {
                found.starts.first().and_then(|start| shift(index, &found.hunk.before(), *start))
            } else {
                None
            };
            let ignored = found.rung.words(shift.as_ref());
            Err(Why::Ambiguous {
                places: neighbours::tell_apart(&index.lines, &spans, true, budget)?,
                place_count: found.start_count,
                ignored,
                part_of_text: None,
            })
        }
        Stage::Fixed { found, start, note, .. } => {
            let shift = if found.rung.view.shifts() { shift(index, &found.hunk.before(), start) } else { None };
            let mut notes: Vec<String> = found.rung.words(shift.as_ref()).into_iter().chain(note).collect();
            if found.cut > 0 {
                notes.push(format!("{} context lines at its ends are not in the file and were left out", found.cut));
            }
            Ok(Outcome::Placed(Placed { hunk: found.hunk, start, rung: found.rung, shift, notes }))
        }
    }
}

fn refuse_overlaps(outcomes: &mut [Result<Outcome<'_>, Why>]) {
    let mut taken: Vec<(Range<usize>, usize)> = Vec::new();
    for (at, outcome) in outcomes.iter().enumerate() {
        if let Ok(Outcome::Placed(placed)) = outcome {
            let (head, tail) = placed.hunk.margins();
            let length = placed.hunk.before().len();
            taken.push((placed.start + head.min(length)..placed.start + head.max(length.saturating_sub(tail)), at));
        }
    }
    taken.sort_by_key(|(range, at)| (range.start, range.end, *at));
    for pair in taken.windows(2) {
        let [(first, a), (second, b)] = pair else { continue };
        if second.start < first.end {
            outcomes[*a.max(b)] = Err(Why::Conflict {
                reason: format!(
                    "has lines {}-{} changed by hunk {} of this file too",
                    second.start + 1,
                    second.end.max(second.start + 1),
                    a.min(b) + 1
                ),
                next: "make one hunk of the two".to_owned(),
            });
        }
    }
}

/// The starts that stand below these lines; `None` when a line is not there.
fn below(index: &mut Index<'_>, anchors: &[&[u8]], starts: &[usize], budget: &mut Budget) -> Result<Option<Vec<usize>>, Why> {
    let mut blocks: Vec<Range<usize>> = std::iter::once(0..index.lines.len()).collect();
    let mut lines = Vec::new();
    for anchor in anchors.iter().filter(|anchor| !is_blank_line(anchor)) {
        lines = anchor_lines(index, anchor, budget)?;
        lines.retain(|line| blocks.iter().any(|block| block.contains(line)));
        if lines.is_empty() {
            return Ok(None);
        }
        lines.truncate(ANCHOR_LINES_MAX);
        budget.spend(index.lines.len())?;
        blocks = lines.iter().map(|line| *line..block_end(index, *line)).collect();
    }
    let within: Vec<usize> = starts.iter().copied().filter(|start| blocks.iter().any(|block| block.contains(start))).collect();
    if !within.is_empty() {
        return Ok(Some(within));
    }
    let first = lines.first().copied().unwrap_or(0);
    Ok(Some(starts.iter().copied().filter(|start| *start >= first).collect()))
}

/// Lines that one `@@` line may mean. One that stands more often says little.
const ANCHOR_LINES_MAX: usize = 64;

/// The lines that an anchor may mean: equal but for indentation, else beginning with it, else having it in them.
fn anchor_lines(index: &mut Index<'_>, anchor: &[u8], budget: &mut Budget) -> Result<Vec<usize>, Why> {
    let equal = index.places(anchor, View::Indentation, budget)?;
    if !equal.is_empty() {
        return Ok(equal.iter().map(|line| *line as usize).collect());
    }
    budget.spend(index.lines.bytes.len())?;
    let anchor = trim_start(trim_end(anchor));
    let starting: Vec<usize> =
        index.lines.iter().enumerate().filter(|(_, line)| trim_start(line).starts_with(anchor)).map(|(line, _)| line).collect();
    if !starting.is_empty() {
        return Ok(starting);
    }
    let finder = memchr::memmem::Finder::new(anchor);
    Ok(index.lines.iter().enumerate().filter(|(_, line)| finder.find(line).is_some()).map(|(line, _)| line).collect())
}

/// Where what begins at a line ends: before the next line that is indented no more and does not close anything.
fn block_end(index: &Index<'_>, line: usize) -> usize {
    let depth = indentation(index.lines.get(line)).len();
    let ends = |line: &[u8]| {
        !is_blank_line(line)
            && indentation(line).len() <= depth
            && !trim_start(line).starts_with(b"}")
            && !trim_start(line).starts_with(b")")
    };
    (line + 1..index.lines.len()).find(|at| ends(index.lines.get(*at))).unwrap_or(index.lines.len())
}
