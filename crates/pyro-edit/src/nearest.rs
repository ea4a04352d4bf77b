//! The place in a file that is most like a text that is not there. It is for telling only: nothing is ever changed because it is similar.
//!
//! Rare lines vote for where the text would begin; without any, words do, for its most telling line. Both are one pass.

use std::collections::HashMap;
use std::collections::HashSet;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::failure::{Nearest, Why};
use crate::index::{Budget, Index};
use crate::limits::COMMON_LINE_PLACES_MAX;
use crate::view::{View, is_blank_line, is_telling};

/// Lines of a sent text that are compared: some milliseconds at the worst, and longer than what anyone sends as one text.
const SENT_LINES_MAX: usize = 2000;

/// Lines around the place that are compared as well, for what was put in or taken out.
const SLACK_LINES: usize = 5;

/// Finds it; ties go to what is nearest to `expected` (a line from 0).
pub(crate) fn find(
    index: &mut Index<'_>,
    sent: &[&[u8]],
    expected: Option<usize>,
    budget: &mut Budget,
) -> Result<Option<Nearest>, Why> {
    let sent = &sent[..sent.len().min(SENT_LINES_MAX)];
    let mut steps = 0;
    let mut votes: HashMap<usize, usize> = HashMap::new();
    for (at, line) in sent.iter().enumerate().filter(|(_, line)| !is_blank_line(line)) {
        let places = index.places(line, View::Indentation, budget)?;
        let (places, weight) = if places.len() <= COMMON_LINE_PLACES_MAX {
            (places, if is_telling(line, 3) { 4 } else { 1 })
        } else if let Some(expected) = expected {
            // A line that is everywhere tells little, but where there is a number, something.
            let middle = places.partition_point(|place| (*place as usize) < expected + at);
            let from = middle.saturating_sub(COMMON_LINE_PLACES_MAX / 2);
            (&places[from..(from + COMMON_LINE_PLACES_MAX).min(places.len())], 1)
        } else {
            continue;
        };
        steps += places.len();
        for place in places {
            *votes.entry((*place as usize).saturating_sub(at)).or_default() += weight;
        }
    }
    let distance = |start: usize| expected.map_or(start, |expected| expected.abs_diff(start));
    // A vote costs as much as some dozens of other steps.
    budget.spend(steps * 32)?;
    let most = votes.values().copied().max().unwrap_or(0);
    let mut best: Vec<usize> = votes.into_iter().filter(|(_, count)| *count == most).map(|(start, _)| start).collect();
    best.sort_unstable_by_key(|start| (distance(*start), *start));
    best.truncate(COMPARED_STARTS_MAX);
    // As many lines are equal there: then the other lines count.
    let likeness = |start: usize| -> usize {
        let in_place = sent.iter().enumerate().filter(|(at, _)| start + at < index.lines.len());
        in_place.map(|(at, line)| common_bytes(line, index.lines.get(start + at))).sum()
    };
    let best = best.into_iter().rev().max_by_key(|start| likeness(*start));
    let start = match best {
        Some(start) => Some(start),
        None => by_words(index, sent, budget)?,
    };
    let Some(start) = start else { return Ok(None) };
    budget.spend(sent.len() * (sent.len() + 2 * SLACK_LINES))?;
    Ok(compare(index, sent, start))
}

/// Places with the same number of equal lines that are compared further.
const COMPARED_STARTS_MAX: usize = 16;

/// Bytes that two lines have in common at their start and end.
fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    head + a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(a, b)| a == b).count()
}

/// Words that are shared, of a thousand, from which on a line is worth showing.
const LIKE_ENOUGH: usize = 400;

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)).filter(|word| !word.is_empty())
}

/// Where the text would begin by the line that shares most of its words with its longest one.
fn by_words(index: &Index<'_>, sent: &[&[u8]], budget: &mut Budget) -> Result<Option<usize>, Why> {
    let length = |line: &[u8]| words(line).map(<[u8]>::len).sum::<usize>();
    let Some((at, line)) = sent.iter().enumerate().max_by_key(|(at, line)| (length(line), std::cmp::Reverse(*at))) else {
        return Ok(None);
    };
    let wanted: HashSet<&[u8]> = words(line).collect();
    let wanted_length: usize = wanted.iter().map(|word| word.len()).sum();
    budget.spend(index.lines.bytes.len())?;
    let mut best = None;
    for (number, line) in index.lines.iter().enumerate() {
        let (mut shared, mut all) = (0, 0);
        for word in words(line) {
            all += word.len();
            shared += if wanted.contains(word) { word.len() } else { 0 };
        }
        // Twice what is shared, of all; a word that is repeated does not count for more than there is.
        let score = 2000 * shared.min(wanted_length) / (all + wanted_length).max(1);
        if score >= LIKE_ENOUGH && best.is_none_or(|(most, _)| score > most) {
            best = Some((score, number));
        }
    }
    Ok(best.map(|(_, number)| number.saturating_sub(at)))
}

fn compare(index: &Index<'_>, sent: &[&[u8]], start: usize) -> Option<Nearest> {
    let lines = &index.lines;
    let from = start.saturating_sub(SLACK_LINES);
    let until = (start + sent.len() + SLACK_LINES).min(lines.len());
    if from >= until {
        return None;
    }
    let found: Vec<&[u8]> = (from..until).map(|line| lines.get(line)).collect();
    let key = |line: &&[u8]| View::TrailingBlanks.key(line).into_owned();
    let loose = |line: &&[u8]| View::Indentation.key(line).into_owned();
    let (sent_loose, found_loose): (Vec<_>, Vec<_>) = (sent.iter().map(loose).collect(), found.iter().map(loose).collect());
    // Line by line if that explains it; else something was put in or taken out.
    let in_place = found_loose.get(start - from..).unwrap_or_default();
    let equal_in_place = sent_loose.iter().zip(in_place).filter(|(sent, found)| sent == found).count();
    let explains_it = in_place.len() >= sent.len() && 2 * equal_in_place >= sent.len();
    let operations = if explains_it { Vec::new() } else { capture_diff_slices(Algorithm::Myers, &sent_loose, &found_loose) };
    // Where no line is equal, words have led here, and nothing was put in or taken out that could be seen.
    let has_equal = operations.iter().any(|operation| matches!(operation, DiffOp::Equal { .. }));
    let is_in_place = explains_it || (!has_equal && in_place.len() >= sent.len());
    let operations = if is_in_place { Vec::new() } else { operations };
    // The lines of the file that belong to the text: from what its first line stands beside to what its last does.
    let (mut first, mut last) = (None, 0);
    let mut pairs: Vec<(Option<usize>, Option<usize>)> = Vec::new();
    if is_in_place {
        pairs.extend((0..sent.len()).map(|at| (Some(at), Some(start - from + at))));
    }
    for operation in operations {
        match operation {
            DiffOp::Equal { old_index, new_index, len } => {
                pairs.extend((0..len).map(|at| (Some(old_index + at), Some(new_index + at))))
            }
            DiffOp::Delete { old_index, old_len, .. } => pairs.extend((0..old_len).map(|at| (Some(old_index + at), None))),
            DiffOp::Insert { new_index, new_len, .. } => pairs.extend((0..new_len).map(|at| (None, Some(new_index + at)))),
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                // At the start the last lines of the file belong to the text, elsewhere the first.
                let skipped = if old_index == 0 { new_len.saturating_sub(old_len) } else { 0 };
                pairs.extend((0..skipped).map(|at| (None, Some(new_index + at))));
                let rest = new_len - skipped;
                pairs.extend(
                    (0..old_len.max(rest))
                        .map(|at| ((at < old_len).then_some(old_index + at), (at < rest).then_some(new_index + skipped + at))),
                );
            }
        }
    }
    for (_, line) in pairs.iter().filter(|(sent, _)| sent.is_some()) {
        if let Some(line) = *line {
            first = first.or(Some(line));
            last = line + 1;
        }
    }
    let first = first?;
    let mut nearest = Nearest {
        first_line: from + first + 1,
        lines: found[first..last].iter().map(|line| line.to_vec()).collect(),
        sent_count: sent.len(),
        equal_count: 0,
        different: Vec::new(),
    };
    for (old, new) in pairs {
        match (old, new) {
            (Some(old), Some(new)) if key(&sent[old]) == key(&found[new]) => nearest.equal_count += 1,
            (Some(old), Some(new)) => nearest.different.push((from + new + 1, Some(sent[old].to_vec()))),
            (None, Some(new)) if (first..last).contains(&new) => nearest.different.push((from + new + 1, None)),
            (_, None) | (None, Some(_)) => {}
        }
    }
    Some(nearest)
}
