//! What is different between two versions of a file, for counts and for showing. Nothing is decided by it.
//!
//! Lines that both have once tie the versions together; only the gaps between are searched for the shortest difference, and only small ones. So it is one
//! pass and some sorting, however little the versions have in common.

use std::collections::HashMap;
use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::limits::COMPARED_PAIRS_MAX;

/// All gaps together are searched for this many pairs of lines at most.
const PAIRS_IN_ALL_MAX: usize = 16 * COMPARED_PAIRS_MAX;

/// Ranges of lines, old and new, that are not the same; in order, with something equal between them.
pub(crate) fn changes(old: &[&[u8]], new: &[&[u8]]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut found = Vec::new();
    let mut pairs_left = PAIRS_IN_ALL_MAX;
    let (mut old_at, mut new_at) = (0, 0);
    for (old_next, new_next) in ties(old, new).into_iter().chain([(old.len(), new.len())]) {
        gap(old, new, old_at..old_next, new_at..new_next, &mut pairs_left, &mut found);
        (old_at, new_at) = (old_next + 1, new_next + 1);
    }
    let mut joined: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    for (old, new) in found {
        match joined.last_mut() {
            Some(last) if last.0.end == old.start && last.1.end == new.start => (last.0.end, last.1.end) = (old.end, new.end),
            Some(_) | None => joined.push((old, new)),
        }
    }
    joined
}

/// Lines that are in both exactly once, as far as they are in the same order.
fn ties(old: &[&[u8]], new: &[&[u8]]) -> Vec<(usize, usize)> {
    #[derive(Default)]
    struct Seen {
        old: Option<usize>,
        new: Option<usize>,
        is_repeated: bool,
    }
    let mut seen: HashMap<&[u8], Seen> = HashMap::new();
    for (at, line) in old.iter().enumerate() {
        let entry = seen.entry(line).or_default();
        entry.is_repeated |= entry.old.replace(at).is_some();
    }
    for (at, line) in new.iter().enumerate() {
        let entry = seen.entry(line).or_default();
        entry.is_repeated |= entry.new.replace(at).is_some();
    }
    let mut pairs: Vec<(usize, usize)> =
        seen.values().filter(|seen| !seen.is_repeated).filter_map(|seen| seen.old.zip(seen.new)).collect();
    pairs.sort_unstable();
    // The longest run of pairs that rises on both sides: the smallest end of each length, and what stood before.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; pairs.len()];
    for (at, (_, new)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| pairs[*end].1 < *new);
        before[at] = length.checked_sub(1).map(|shorter| ends[shorter]);
        if length == ends.len() { ends.push(at) } else { ends[length] = at }
    }
    let mut run = Vec::new();
    let mut next = ends.last().copied();
    while let Some(at) = next {
        run.push(pairs[at]);
        next = before[at];
    }
    run.reverse();
    run
}

fn gap(
    old: &[&[u8]],
    new: &[&[u8]],
    mut old_range: Range<usize>,
    mut new_range: Range<usize>,
    pairs_left: &mut usize,
    found: &mut Vec<(Range<usize>, Range<usize>)>,
) {
    while !old_range.is_empty() && !new_range.is_empty() && old[old_range.start] == new[new_range.start] {
        old_range.start += 1;
        new_range.start += 1;
    }
    while !old_range.is_empty() && !new_range.is_empty() && old[old_range.end - 1] == new[new_range.end - 1] {
        old_range.end -= 1;
        new_range.end -= 1;
    }
    if old_range.is_empty() && new_range.is_empty() {
        return;
    }
    let pairs = old_range.len().saturating_mul(new_range.len());
    if pairs == 0 || pairs > COMPARED_PAIRS_MAX || pairs > *pairs_left {
        found.push((old_range, new_range));
        return;
    }
    *pairs_left -= pairs;
    for operation in capture_diff_slices(Algorithm::Myers, &old[old_range.clone()], &new[new_range.clone()]) {
        let DiffOp::Equal { .. } = operation else {
            let (from, to) = (operation.old_range(), operation.new_range());
            found.push((
                old_range.start + from.start..old_range.start + from.end,
                new_range.start + to.start..new_range.start + to.end,
            ));
            continue;
        };
    }
}
