//! Texts with lines left out: `...` in the old text and, at the same place, in the new one.
//!
//! Each piece between such lines is looked for on the ladder, below the one before it, and there must be only one way to lay all of them. What lies between is
//! kept byte for byte. Where the file itself has the `...`, none of this is asked: the text as it is comes first.

use std::collections::HashSet;
use std::ops::Range;

use crate::compare;
use crate::edit::{Edited, Splice, TELLING_COUNT, ambiguous, is_blank, shift_at, spliced, split, whole_lines_at};
use crate::failure::Why;
use crate::index::{Budget, Index};
use crate::marker::{Marker, bare, marker};
use crate::nearest;
use crate::request::Edit;
use crate::rung::{self, EXACT, HUNK_RUNGS, Rung};
use crate::shift::Shift;
use crate::view::{Lines, View, indentation, is_blank_line, is_telling};

/// Gaps that a report tells the lines of.
const TOLD_GAPS_MAX: usize = 4;

/// Whole lines between two `...`, or before the first, or behind the last.
struct Piece {
    old: Vec<u8>,
    new: Vec<u8>,
    /// How many `...` are above it.
    number: usize,
}

impl Piece {
    fn words(&self) -> String {
        match self.number {
            0 => "lines before its first `...`".to_owned(),
            number => format!("lines behind its `...` number {number}"),
        }
    }
}

/// Where the pieces are on a rung.
enum Laid {
    /// So many, from the first on, have places one below the other; the next has none below this line.
    Stuck {
        count: usize,
        below: usize,
    },
    Once(Vec<Place>),
    /// A piece that has several places where it could be.
    Often {
        piece: usize,
        starts: Vec<usize>,
    },
}

/// A piece's old and new text as a rung reads them, and where it is.
struct Place {
    old: Vec<u8>,
    new: Vec<u8>,
    lines: Range<usize>,
    shift: Option<Shift>,
}

/// Carries out an edit whose old text has lines left out; `None` when it has none, or they cannot be told from its own.
pub(crate) fn apply(index: &mut Index<'_>, edit: &Edit, budget: &mut Budget) -> Result<Option<Edited>, Why> {
    let Some(pieces) = pieces(edit, index.lines.bytes, budget)? else { return Ok(None) };
    let done = already_there(index, &pieces, budget)?;
    let applied = |done: &[Range<usize>]| Ok(Some(Edited::AlreadyApplied { line: done[0].start + 1 }));
    let (mut most, mut below) = (0, 0);
    for rung in [EXACT].iter().chain(HUNK_RUNGS) {
        let Some(laid) = lay(index, &pieces, *rung, budget)? else { continue };
        match laid {
            Laid::Stuck { count, below: line } if count >= most => (most, below) = (count, line),
            Laid::Stuck { .. } => {}
            Laid::Often { piece, starts } => {
                let line_count = split(&pieces[piece].old).len();
                let byte = |line: usize| index.lines.start(line);
                let ranges: Vec<Range<usize>> = starts.iter().map(|start| byte(*start)..byte(start + line_count)).collect();
                let why = ambiguous(index, &ranges, rung.words(None), budget)?;
                return Err(match why {
                    Why::Ambiguous { places, place_count, ignored, part_of_text: _ } => {
                        Why::Ambiguous { places, place_count, ignored, part_of_text: Some(pieces[piece].words()) }
                    }
                    other => other,
                });
            }
            Laid::Once(places) => {
                // The old text is only there as a part of the new one: this was sent before.
                if let Some(done) = &done
                    && places.iter().zip(done).all(|(old, new)| new.start <= old.lines.start && old.lines.end <= new.end)
                {
                    return applied(done);
                }
                return changed(index, places, *rung).map(Some);
            }
        }
    }
    match done {
        Some(done) => applied(&done),
        None => Err(not_found(index, &pieces[most], below, budget)?),
    }
}

/// The pieces of an edit, those without text left out; `None` when its old text has no lines that stand for others: also where the new one has not the same and the file
/// has them itself.
fn pieces(edit: &Edit, content: &[u8], budget: &mut Budget) -> Result<Option<Vec<Piece>>, Why> {
    let (old, old_markers) = cut(&edit.old);
    let (new, new_markers) = cut(&edit.new);
    if old_markers.is_empty() {
        return Ok(None);
    }
    let are_the_same =
        old_markers.len() == new_markers.len() && old_markers.iter().zip(&new_markers).all(|(old, new)| bare(old) == bare(new));
    if !are_the_same {
        budget.spend(content.len())?;
        let mut strange: HashSet<&[u8]> = old_markers.iter().map(|marker| bare(marker)).collect();
        for line in content.split(|byte| *byte == b'\n') {
            strange.remove(bare(line));
        }
        if strange.is_empty() {
            return Ok(None);
        }
    }
    let bad = |problem: String, next: &str| Why::BadSyntax { patch_line: 0, text: String::new(), problem, next: next.to_owned() };
    let next = "put the same `...` lines into both, in the same order, each between lines that the file has; or send the lines that they stand for";
    if old_markers.len() != new_markers.len() {
        let lines = |count: usize| if count == 1 { "1 `...` line".to_owned() } else { format!("{count} `...` lines") };
        let counts = format!("its old text has {} and its new text {}", lines(old_markers.len()), lines(new_markers.len()));
        return Err(bad(format!("{counts}, and the file does not have the old text with them"), next));
    }
    if !are_the_same {
        return Err(bad("the `...` lines of its old and new text are not the same".to_owned(), next));
    }
    let last = old.len() - 1;
    let mut pieces = Vec::new();
    for (number, (old, new)) in old.into_iter().zip(new).enumerate() {
        let (old, new) = without_equal_blanks(old, new, number > 0, number < last);
        if is_blank(old) {
            if old != new {
                let problem = "its new text has lines beside `...` that stand beside no line of its old text".to_owned();
                return Err(bad(problem, "send in both, beside the new lines, a line that the file has where they belong"));
            }
            continue;
        }
        pieces.push(Piece { old: closed(old), new: closed(new), number });
    }
    if pieces.is_empty() {
        return Err(bad("its old text has nothing but `...`".to_owned(), "send lines that the file has around what is to change"));
    }
    if pieces.iter().all(|piece| piece.old == piece.new) {
        return Err(Why::Refused {
            reason: "old and new text are the same".to_owned(),
            next: "send the new text as it should become".to_owned(),
        });
    }
    Ok(Some(pieces))
}

/// A text between the lines that stand for others, one piece more than there are such lines; and those lines.
fn cut(text: &[u8]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let (mut pieces, mut markers) = (Vec::new(), Vec::new());
    let (mut start, mut at) = (0, 0);
    for line in split(text) {
        if marker(line).is_some() {
            pieces.push(&text[start..at]);
            markers.push(line);
            start = at + line.len();
        }
        at += line.len();
    }
    pieces.push(&text[start..]);
    (pieces, markers)
}

/// Blank lines beside `...` say nothing where both texts have them: they may or may not be a part of what is left out.
fn without_equal_blanks<'t>(old: &'t [u8], new: &'t [u8], at_start: bool, at_end: bool) -> (&'t [u8], &'t [u8]) {
    let (mut old, mut new) = (old, new);
    let first = |text: &'t [u8]| text.split_inclusive(|byte| *byte == b'\n').next().filter(|line| is_blank_line(line));
    while let (true, Some(in_old), Some(in_new)) = (at_start, first(old), first(new)) {
        (old, new) = (&old[in_old.len()..], &new[in_new.len()..]);
    }
    let last = |text: &'t [u8]| {
        let before_end = text.len().checked_sub(1)?;
        let start = memchr::memrchr(b'\n', &text[..before_end]).map_or(0, |end| end + 1);
        Some(&text[start..]).filter(|line| is_blank_line(line))
    };
    while let (true, Some(in_old), Some(in_new)) = (at_end, last(old), last(new)) {
        (old, new) = (&old[..old.len() - in_old.len()], &new[..new.len() - in_new.len()]);
    }
    (old, new)
}

/// Pieces are whole lines, also where a text ends without a newline.
fn closed(text: &[u8]) -> Vec<u8> {
    let end: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
    [text, end].concat()
}

/// Lays the pieces on one rung; `None` when they cannot be read so.
fn lay(index: &mut Index<'_>, pieces: &[Piece], rung: Rung, budget: &mut Budget) -> Result<Option<Laid>, Why> {
    let mut read = Vec::new();
    for piece in pieces {
        let Some((old, new)) = rung::read(rung.reading, &piece.old, &piece.new) else { return Ok(None) };
        // As with whole texts: braces alone stand at every indentation.
        if is_blank(&old) || (rung.view.shifts() && !is_telling(&old, 1)) {
            return Ok(None);
        }
        read.push((old.into_owned(), new.into_owned()));
    }
    let lengths: Vec<usize> = read.iter().map(|(old, _)| split(old).len()).collect();
    // The first place that each can have, going down, and the last, going up: only if these are the same is there one way. Places are asked for again rather
    // than kept, as every piece may have one at every line.
    let mut firsts = Vec::new();
    let mut below = 0;
    for ((old, _), length) in read.iter().zip(&lengths) {
        let starts = places(index, old, rung.view, budget)?;
        let Some(start) = starts.get(starts.partition_point(|start| *start < below)) else {
            return Ok(Some(Laid::Stuck { count: firsts.len(), below }));
        };
        firsts.push(*start);
        below = start + length;
    }
    let mut above = index.lines.len();
    for (piece, ((old, _), length)) in read.iter().zip(&lengths).enumerate().rev() {
        let starts = places(index, old, rung.view, budget)?;
        let could_be = &starts[starts.partition_point(|start| *start < firsts[piece])..];
        let could_be = &could_be[..could_be.partition_point(|start| start + length <= above)];
        if could_be.len() > 1 {
            return Ok(Some(Laid::Often { piece, starts: could_be.to_vec() }));
        }
        above = firsts[piece];
    }
    let place = |((old, new), (start, length)): ((Vec<u8>, Vec<u8>), (usize, usize))| {
        let shift = shift_at(&index.lines, &split(&old), start, rung.view)?;
        Some(Place { old, new, lines: start..start + length, shift })
    };
    Ok(read.into_iter().zip(firsts.into_iter().zip(lengths)).map(place).collect::<Option<Vec<Place>>>().map(Laid::Once))
}

/// Every line at which whole lines stand, overlapping ones too.
fn places(index: &mut Index<'_>, text: &[u8], view: View, budget: &mut Budget) -> Result<Vec<usize>, Why> {
    let wanted = split(text);
    let starts = index.find(&wanted, view, budget)?;
    if view.shifts() {
        budget.spend(starts.len() * wanted.len())?;
    }
    Ok(starts.into_iter().filter(|start| shift_at(&index.lines, &wanted, *start, view).is_some()).collect())
}

/// Where the new pieces stand already, if in one way and saying enough to be recognised.
fn already_there(index: &mut Index<'_>, pieces: &[Piece], budget: &mut Budget) -> Result<Option<Vec<Range<usize>>>, Why> {
    let tells = |piece: &Piece| {
        piece.old == piece.new || (is_telling(&piece.new, TELLING_COUNT) && memchr::memmem::find(&piece.old, &piece.new).is_none())
    };
    if !pieces.iter().all(tells) {
        return Ok(None);
    }
    let new: Vec<Piece> =
        pieces.iter().map(|piece| Piece { old: piece.new.clone(), new: piece.new.clone(), number: piece.number }).collect();
    let line_ends = Rung { view: View::LineEnds, ..EXACT };
    Ok(match lay(index, &new, line_ends, budget)? {
        Some(Laid::Once(places)) => Some(places.into_iter().map(|place| place.lines).collect()),
        Some(Laid::Stuck { .. } | Laid::Often { .. }) | None => None,
    })
}

/// The content with the pieces changed, and a note that says what was kept.
fn changed(index: &Index<'_>, places: Vec<Place>, rung: Rung) -> Result<Edited, Why> {
    let mut notes = vec![kept(&places)];
    let mut splices: Vec<Splice> = Vec::new();
    for Place { old, new, lines, shift } in places {
        let note = rung.words(shift.as_ref());
        notes.extend(note.filter(|note| !notes.contains(note)).into_iter().collect::<Vec<_>>());
        let (old_lines, new_lines) = (split(&old), split(&new));
        let changes = compare::changes(&old_lines, &new_lines);
        let Some(found) = whole_lines_at(&index.lines, (&old, &new), (&old_lines, &new_lines), &changes, lines.start, shift) else {
            let note = "A new line has less indentation than is to be taken away.".to_owned();
            return Err(Why::NotFound { nearest: None, new_text_at: None, note: Some(note) });
        };
        splices.extend(found.splices);
    }
    Ok(Edited::Changed { content: spliced(index.lines.bytes, splices)?, note: Some(notes.join("; ")) })
}

fn kept(places: &[Place]) -> String {
    let gaps = places.windows(2).map(|pair| pair[0].lines.end..pair[1].lines.start).filter(|gap| !gap.is_empty());
    let words: Vec<String> =
        gaps.map(|gap| if gap.len() == 1 { gap.end.to_string() } else { format!("{}-{}", gap.start + 1, gap.end) }).collect();
    match words.len() {
        0 => "`...` stands for lines that are kept".to_owned(),
        count if count > TOLD_GAPS_MAX => format!("kept for `...`: lines {} and more", words[..TOLD_GAPS_MAX].join(", ")),
        _ => format!("kept for `...`: lines {}", words.join(", ")),
    }
}

fn not_found(index: &mut Index<'_>, piece: &Piece, below: usize, budget: &mut Budget) -> Result<Why, Why> {
    let sent = split(&piece.old);
    let places = index.find(&sent, View::PunctuationAndIndentation, budget)?;
    if let Some(last) = places.last().filter(|last| **last < below) {
        return Ok(Why::Conflict {
            reason: format!("has the {} at line {}, but not below those before them", piece.words(), last + 1),
            next: "send the pieces in the order that they have in the file".to_owned(),
        });
    }
    // Below the pieces before it, where it should be; elsewhere only if nothing there is like it.
    let nearest = match Lines::new(&index.lines.bytes[index.lines.start(below)..]) {
        Some(rest) if below > 0 => nearest::find(&mut Index::new(rest), &sent, Some(0), budget)?,
        Some(_) | None => None,
    };
    let nearest = match nearest {
        Some(mut nearest) => {
            nearest.first_line += below;
            nearest.different.iter_mut().for_each(|(line, _)| *line += below);
            Some(nearest)
        }
        None => nearest::find(index, &sent, None, budget)?,
    };
    Ok(Why::NotFound { nearest, new_text_at: None, note: Some(format!("Looked for: the {}.", piece.words())) })
}

/// A line of the new text that stands for lines left out where neither the old text nor the file has such a line: written down, it would take their place.
///
/// Dots alone may be meant as they are, and so may a comment of them: only where lines are taken away is it an error, and of dots alone only beside other lines
/// of their block, for by themselves they are how Python writes an empty one.
pub(crate) fn placeholder(content: &[u8], edit: &Edit, budget: &mut Budget) -> Result<Option<Why>, Why> {
    let (old, new) = (split(&edit.old), split(&edit.new));
    let mut added: Vec<(usize, Marker)> = new.iter().enumerate().filter_map(|(at, line)| Some((at, marker(line)?))).collect();
    if added.is_empty() {
        return Ok(None);
    }
    budget.spend(edit.old.len() + content.len())?;
    let mut unknown: HashSet<&[u8]> = added.iter().map(|(at, _)| bare(new[*at])).collect();
    for line in [&edit.old, content].into_iter().flat_map(|text| text.split(|byte| *byte == b'\n')) {
        unknown.remove(bare(line));
    }
    added.retain(|(at, _)| unknown.contains(bare(new[*at])));
    let changes = compare::changes(&old, &new);
    let takes_away = |at: usize| {
        let is_taken = |range: &Range<usize>| old[range.clone()].iter().any(|line| !is_blank_line(line));
        changes.iter().any(|(old, new)| new.contains(&at) && is_taken(old))
    };
    let destroys = |(at, marker): &(usize, Marker)| match marker {
        Marker::Words => true,
        Marker::Comment => takes_away(*at),
        Marker::Dots => takes_away(*at) && !is_whole_block(&new, *at),
    };
    Ok(added.iter().find(|added| destroys(added)).map(|(at, _)| Why::Refused {
        reason: format!("its new text has the line `{}`, which its old text and the file have not", String::from_utf8_lossy(bare(new[*at]))),
        next: "send in its place the lines that it stands for, or put it into the old text too, where it is in the new one; if the file is to have that very line, \
               send it as a + line of a diff"
            .to_owned(),
    }))
}

/// Whether no other line is in the block of this one, but for a text that documents it.
fn is_whole_block(lines: &[&[u8]], at: usize) -> bool {
    let depth = |line: &[u8]| indentation(line).len();
    let own = depth(lines[at]);
    let above = lines[..at].iter().rev().find(|line| !is_blank_line(line));
    let below = lines[at + 1..].iter().find(|line| !is_blank_line(line));
    let documents = |line: &[u8]| [b"\"\"\"".as_slice(), b"'''"].iter().any(|end| bare(line).ends_with(end));
    above.is_none_or(|line| depth(line) < own || documents(line)) && below.is_none_or(|line| depth(line) < own)
}

/// Whether a text has lines that stand for others.
pub(crate) fn has_markers(text: &[u8]) -> bool {
    split(text).into_iter().any(|line| marker(line).is_some())
}
