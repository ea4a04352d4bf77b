//! Several places with the same text: which lines beside each of them no other has, so that sending one of these along makes the text unique.

use std::ops::Range;

use crate::failure::{Place, Why};
use crate::index::Budget;
use crate::limits::NEIGHBOUR_LINES_MAX;
use crate::view::Lines;

/// With more places than this, none is told apart from the others: nobody reads on.
const TOLD_APART_MAX: usize = 100;

/// Places that are described; of the others only the number is told.
const DESCRIBED_MAX: usize = 12;

/// Describes the first places by the fewest lines that tell them apart. `spans` are their lines; `is_whole` says that these are equal from their first
/// byte on, otherwise the lines themselves may tell the places apart.
pub(crate) fn tell_apart(
    lines: &Lines<'_>,
    spans: &[Range<usize>],
    is_whole: bool,
    budget: &mut Budget,
) -> Result<Vec<Place>, Why> {
    budget.spend(spans.len() * DESCRIBED_MAX * NEIGHBOUR_LINES_MAX)?;
    let described = spans.iter().take(DESCRIBED_MAX);
    Ok(described.map(|span| Place { line: span.start + 1, neighbours: neighbours(lines, spans, span, is_whole) }).collect())
}

fn neighbours(lines: &Lines<'_>, spans: &[Range<usize>], span: &Range<usize>, is_whole: bool) -> Vec<(usize, Vec<u8>)> {
    let above =
        |span: &Range<usize>, count: usize| Some(span.start.checked_sub(count)?..if is_whole { span.start } else { span.end });
    let below = |span: &Range<usize>, count: usize| {
        let end = span.end + count;
        (end <= lines.len()).then_some(if is_whole { span.end } else { span.start }..end)
    };
    let quote = |range: Range<usize>| range.map(|line| (line + 1, lines.get(line).to_vec())).collect();
    if spans.len() > TOLD_APART_MAX {
        return Vec::new();
    }
    let same = |a: &Range<usize>, b: Option<Range<usize>>| {
        b.is_some_and(|b| a.len() == b.len() && a.clone().zip(b).all(|(a, b)| lines.get(a) == lines.get(b)))
    };
    for count in usize::from(is_whole)..=NEIGHBOUR_LINES_MAX {
        let is_alone = |own: &Range<usize>, side: &dyn Fn(&Range<usize>) -> Option<Range<usize>>| {
            !spans.iter().any(|other| other != span && same(own, side(other)))
        };
        let alone_above = above(span, count).filter(|own| is_alone(own, &|other| above(other, count)));
        let alone = alone_above.or_else(|| below(span, count).filter(|own| is_alone(own, &|other| below(other, count))));
        if let Some(own) = alone {
            return quote(own);
        }
    }
    Vec::new()
}
