//! One replacement in one text: the ladder, from exact bytes down, and what the new text becomes on each rung.
//!
//! A text that stands in several places is an error on the rung where it is found, never a reason to go on or to take the first. Only a text that no rung has
//! is read with lines left out ([`elision`]).

use std::collections::HashMap;
use std::ops::Range;

use crate::compare;
use crate::elision;
use crate::failure::{Place, Why};
use crate::index::{Budget, Index};
use crate::limits::{FILE_BYTES_MAX, REPLACED_PLACES_MAX};
use crate::nearest;
use crate::neighbours;
use crate::request::Edit;
use crate::rung::{self, EDIT_RUNGS, EXACT, Rung};
use crate::shift::Shift;
use crate::view::{Lines, MARK, Normal, View, is_blank_line, is_telling, without_end};

/// Letters or digits that a new text must have before finding it counts as having been applied.
pub(crate) const TELLING_COUNT: usize = 6;

/// What came of an edit.
#[derive(Debug)]
pub(crate) enum Edited {
    Changed { content: Vec<u8>, note: Option<String> },
    AlreadyApplied { line: usize },
}

/// A part of the content, and what takes its place.
pub(crate) struct Splice {
    range: Range<usize>,
    new: Vec<u8>,
}

/// A place of the old text. Lines that old and new text have in common stay as they are in the file.
pub(crate) struct Found {
    whole: Range<usize>,
    pub(crate) splices: Vec<Splice>,
    shift: Option<Shift>,
}

pub(crate) fn apply(content: &[u8], edit: &Edit, budget: &mut Budget) -> Result<Edited, Why> {
    budget.spend(content.len())?;
    let exact = occurrences(content, &edit.old);
    let done = already_there(content, edit, budget)?;
    let placeholder = elision::placeholder(content, edit, budget)?;
    match (exact.as_slice(), &done) {
        // The old text is only there as a part of the new one: this was sent before.
        ([only], Some(done)) if !edit.all && done.start <= *only && only + edit.old.len() <= done.end => {
            return Ok(applied(content, done));
        }
        ([], _) => {}
        _ => return placeholder.map_or_else(|| replace_exact(content, edit, &exact, budget), Err),
    }
    let mut index = Index::new(lines(content)?);
    for rung in EDIT_RUNGS {
        let Some(found) = on_rung(&mut index, edit, rung, budget)? else { continue };
        if let Some(done) = &done
            && found.iter().all(|Found { whole, .. }| done.start <= whole.start && whole.end <= done.end)
        {
            return Ok(applied(content, done));
        }
        if found.len() > 1 && !edit.all {
            let ranges: Vec<Range<usize>> = found.iter().map(|found| found.whole.clone()).collect();
            return Err(ambiguous(&index, &ranges, rung.words(found[0].shift.as_ref()), budget)?);
        }
        if let Some(placeholder) = placeholder {
            return Err(placeholder);
        }
        let note = rung.words(found.first().and_then(|found| found.shift.as_ref()));
        let splices: Vec<Splice> = found.into_iter().flat_map(|found| found.splices).collect();
        return Ok(Edited::Changed { content: spliced(content, splices)?, note });
    }
    if let Some(done) = done {
        return Ok(applied(content, &done));
    }
    let note = if elision::has_markers(&edit.old) {
        if !edit.all
            && let Some(edited) = elision::apply(&mut index, edit, budget)?
        {
            return Ok(edited);
        }
        Some(if edit.all {
            "With all=true `...` does not stand for lines left out.".to_owned()
        } else {
            "Its `...` lines do not stand for lines left out: its new text has not the same ones.".to_owned()
        })
    } else {
        placeholder.map(|_| "Its new text has a line that stands for lines left out: send these instead.".to_owned())
    };
    let nearest = nearest::find(&mut index, &split(&edit.old), None, budget)?;
    Err(Why::NotFound { nearest, new_text_at: None, note })
}

fn lines(content: &[u8]) -> Result<Lines<'_>, Why> {
    Lines::new(content).ok_or_else(too_large)
}

fn too_large() -> Why {
    Why::TooLarge {
        reason: "the file has more lines or bytes than can be changed".to_owned(),
        next: "change it with a command instead".to_owned(),
    }
}

fn applied(content: &[u8], done: &Range<usize>) -> Edited {
    Edited::AlreadyApplied { line: memchr::memchr_iter(b'\n', &content[..done.start]).count() + 1 }
}

/// Where the new text stands, if in one place and saying enough to be recognised.
fn already_there(content: &[u8], edit: &Edit, budget: &mut Budget) -> Result<Option<Range<usize>>, Why> {
    // A new text that is a part of the old one is there before as well as after.
    if memchr::memmem::find(&edit.old, &edit.new).is_some() || !is_telling(&edit.new, TELLING_COUNT) {
        return Ok(None);
    }
    budget.spend(content.len())?;
    if let [start] = occurrences(content, &edit.new)[..] {
        return Ok(Some(start..start + edit.new.len()));
    }
    if !content.contains(&b'\r') && !edit.new.contains(&b'\r') {
        return Ok(None);
    }
    let normal = |text| Normal::new(text, View::LineEnds, false);
    let (text, new) = (normal(content), normal(&edit.new));
    // An edit of nothing but line ends is not there because its words are.
    if normal(&edit.old).bytes == new.bytes {
        return Ok(None);
    }
    let [start] = occurrences(&text.bytes, &new.bytes)[..] else { return Ok(None) };
    Ok(text.from(start).zip(text.until(start + new.bytes.len())).map(|(start, end)| start..end))
}

/// Starts of a text in another, overlapping ones too, as far as two are enough to know; all of them when they do not overlap.
fn occurrences(content: &[u8], text: &[u8]) -> Vec<usize> {
    if text.is_empty() {
        return Vec::new();
    }
    let apart: Vec<usize> = memchr::memmem::find_iter(content, text).take(REPLACED_PLACES_MAX + 1).collect();
    if let [only] = apart[..]
        && let Some(second) = memchr::memmem::find(&content[only + 1..], text)
    {
        return vec![only, only + 1 + second];
    }
    apart
}

fn replace_exact(content: &[u8], edit: &Edit, starts: &[usize], budget: &mut Budget) -> Result<Edited, Why> {
    let ranges: Vec<Range<usize>> = starts.iter().map(|start| *start..*start + edit.old.len()).collect();
    if ranges.len() > REPLACED_PLACES_MAX {
        return Err(Why::TooLarge {
            reason: format!("the text stands in more than {REPLACED_PLACES_MAX} places"),
            next: "change them with a command instead".to_owned(),
        });
    }
    if starts.len() > 1 && !edit.all {
        budget.spend(content.len())?;
        return Err(ambiguous(&Index::new(lines(content)?), &ranges, None, budget)?);
    }
    // Lines that are added to a text with CRLF get them, unless what was sent says something about line ends itself.
    let new = SentEnds::new(content, b"", &edit.old, &edit.new).adapt(&edit.new);
    check_size(content.len() + ranges.len() * new.len())?;
    let mut out = Vec::with_capacity(content.len() + ranges.len() * new.len());
    let mut at = 0;
    for range in ranges {
        // Of two that overlap the second is none any more; only `all` gets here with two.
        if range.start >= at {
            out.extend_from_slice(&content[at..range.start]);
            out.extend_from_slice(&new);
            at = range.end;
        }
    }
    out.extend_from_slice(&content[at..]);
    if out.len() > FILE_BYTES_MAX { Err(too_large()) } else { Ok(Edited::Changed { content: out, note: None }) }
}

/// Whether every line of a text ends in CRLF.
pub(crate) fn is_crlf(text: &[u8]) -> bool {
    let mut ends = memchr::memchr_iter(b'\n', text).peekable();
    ends.peek().is_some() && ends.all(|at| at > 0 && text[at - 1] == b'\r')
}

/// A text with all its line ends in one form.
pub(crate) fn with_ends(text: &[u8], crlf: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.ends_with(b"\n") {
            out.extend_from_slice(without_end(line));
            out.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
        } else {
            out.extend_from_slice(line);
        }
    }
    out
}

/// Every place of an edit's old text on a rung, and the shift where there is one; `None` when there is no place.
fn on_rung(index: &mut Index<'_>, edit: &Edit, rung: Rung, budget: &mut Budget) -> Result<Option<Vec<Found>>, Why> {
    debug_assert_ne!(rung, EXACT);
    let Some((old, new)) = rung::read(rung.reading, &edit.old, &edit.new) else { return Ok(None) };
    // Braces alone stand at every indentation, and blanks everywhere.
    if is_blank(&old) || (rung.view.shifts() && !is_telling(&old, 1)) {
        return Ok(None);
    }
    let found = if rung.view.shifts() {
        shifted(index, &old, &new, rung.view, budget)?
    } else {
        within(index, &old, &new, rung.view, budget)?
    };
    Ok((!found.is_empty()).then_some(found))
}

pub(crate) fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Under a view that leaves lines where they are, the text may begin and end within lines.
fn within(index: &Index<'_>, old: &[u8], new: &[u8], view: View, budget: &mut Budget) -> Result<Vec<Found>, Why> {
    let content = index.lines.bytes;
    budget.spend(content.len() * 2)?;
    let (text, wanted) = (Normal::new(content, view, true), Normal::new(old, view, false));
    // Blanks were taken off the end of the last line: it must then end a line of the file too.
    let ends_line = !old.ends_with(b"\n") && view != View::LineEnds && old.last().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let (old_lines, new_lines) = (split(old), split(new));
    let changes = compare::changes(&old_lines, &new_lines);
    // Where each old line ends in what is looked for.
    let mut ends = vec![0];
    for line in &old_lines {
        ends.push(ends.last().unwrap_or(&0) + Normal::new(line, view, false).bytes.len());
    }
    let mut found = Vec::new();
    for start in occurrences(&text.bytes, &wanted.bytes) {
        let end = start + wanted.bytes.len();
        if ends_line && text.bytes.get(end).is_some_and(|byte| *byte != b'\n') {
            continue;
        }
        // At the start of a line, what a view leaves out of it belongs to the match too; a mark at the start of the file does not.
        let whole_from = match start.checked_sub(1).map(|before| text.bytes[before]) {
            None => Some(if content.starts_with(MARK) { MARK.len() } else { 0 }),
            Some(b'\n') => text.until(start),
            Some(_) => text.from(start),
        };
        let (Some(whole_from), Some(whole_until)) = (whole_from, text.until(end)) else { continue };
        let sent_ends = SentEnds::new(content, &content[whole_from..whole_until], old, new);
        // The newline at the end of the file is one that only the old text had: the new text loses it as well.
        let closes = end == text.bytes.len() && !content.ends_with(b"\n") && wanted.bytes.ends_with(b"\n");
        let in_file = as_in_file(content, &text, start, &ends, &old_lines);
        let mut splices = Vec::new();
        for (old_range, new_range) in &changes {
            let (inner_start, inner_end) = (start + ends[old_range.start], start + ends[old_range.end]);
            let from = if inner_start == start { Some(whole_from) } else { text.until(inner_start) };
            let until = if inner_end > inner_start { text.until(inner_end) } else { from };
            let (Some(from), Some(until)) = (from, until) else { break };
            let new: Vec<&[u8]> =
                new_lines[new_range.clone()].iter().map(|line| in_file.get(line).copied().unwrap_or(*line)).collect();
            let new = new.concat();
            let mut new = sent_ends.adapt(new.strip_prefix(MARK).unwrap_or(&new));
            if closes && old_range.end == old_lines.len() {
                new.truncate(without_end(&new).len());
            }
            if from == content.len() && inner_start > start && !content.ends_with(b"\n") && !new.is_empty() {
                // Behind a last line without a newline.
                new.splice(0..0, if sent_ends.crlf { b"\r\n".as_slice() } else { b"\n" }.iter().copied());
            }
            splices.push(Splice { range: from..until.max(from), new });
        }
        if splices.len() == changes.len() {
            found.push(Found { whole: whole_from..whole_until, splices, shift: None });
            check_size(content.len() + found.len() * new.len())?;
        }
    }
    Ok(found)
}

/// What the lines of an old text are in the file. A new line that is byte for byte one of these means that line of the file.
fn as_in_file<'l>(content: &'l [u8], text: &Normal, start: usize, ends: &[usize], old: &[&'l [u8]]) -> HashMap<&'l [u8], &'l [u8]> {
    let mut lines: HashMap<&[u8], &[u8]> = HashMap::new();
    // The first and the last may be pieces of lines.
    for (at, sent) in old.iter().enumerate().skip(1).filter(|(_, sent)| sent.ends_with(b"\n")) {
        let (Some(from), Some(until)) = (text.until(start + ends[at]), text.until(start + ends[at + 1])) else { continue };
        let line = content.get(from..until).filter(|line| line.ends_with(b"\n")).unwrap_or(sent);
        // Sent alike and not alike in the file: then it means what was sent.
        lines.entry(sent).and_modify(|known| *known = if *known == line { line } else { sent }).or_insert(line);
    }
    lines
}

/// Whole lines, all of them off by the same indentation.
fn shifted(index: &mut Index<'_>, old: &[u8], new: &[u8], view: View, budget: &mut Budget) -> Result<Vec<Found>, Why> {
    let (old_lines, new_lines) = (split(old), split(new));
    let changes = compare::changes(&old_lines, &new_lines);
    let mut found = Vec::new();
    for start in index.find(&old_lines, view, budget)? {
        budget.spend(old_lines.len())?;
        let Some(shift) = shift_at(&index.lines, &old_lines, start, view) else { continue };
        if let Some(place) = whole_lines_at(&index.lines, (old, new), (&old_lines, &new_lines), &changes, start, shift) {
            found.push(place);
            check_size(index.lines.bytes.len() + found.len() * new.len())?;
        }
    }
    Ok(found)
}

/// How lines that a view finds at `start` are indented there: as they were sent where the view does not shift. `None` when no one shift explains all of them.
pub(crate) fn shift_at(lines: &Lines<'_>, old: &[&[u8]], start: usize, view: View) -> Option<Option<Shift>> {
    if !view.shifts() {
        return Some(None);
    }
    Shift::between(old.iter().enumerate().map(|(at, sent)| (*sent, lines.get(start + at)))).map(Some)
}

/// The place of whole lines that begin at `start`. `texts` and `split` are the old and the new text, `changes` what is different between them. `None` when a
/// new line has less indentation than the shift takes away.
pub(crate) fn whole_lines_at(
    lines: &Lines<'_>,
    texts: (&[u8], &[u8]),
    split: (&[&[u8]], &[&[u8]]),
    changes: &[(Range<usize>, Range<usize>)],
    start: usize,
    shift: Option<Shift>,
) -> Option<Found> {
    let ((old, new), (old_lines, new_lines)) = (texts, split);
    let whole = lines.start(start)..lines.start(start + old_lines.len());
    let around = &lines.bytes[whole.clone()];
    let sent_ends = SentEnds::new(lines.bytes, around, old, new);
    // A mark at the start of the file is no part of its first line.
    let text_start = if lines.bytes.starts_with(MARK) { MARK.len() } else { 0 };
    let mut splices = Vec::new();
    for (old_range, new_range) in changes {
        let moved = |line: &&[u8]| shift.as_ref().map_or_else(|| Some(line.to_vec()), |shift| shift.apply(line));
        let moved = new_lines[new_range.clone()].iter().map(moved).collect::<Option<Vec<_>>>()?;
        let moved = moved.concat();
        let mut new = sent_ends.adapt(moved.strip_prefix(MARK).unwrap_or(&moved));
        if old_range.end == old_lines.len() {
            let (in_file, in_old) = (around.ends_with(b"\n"), old.ends_with(b"\n"));
            if !new.is_empty() && in_file && !in_old {
                // The old text ended within the line, before its newline.
                new.extend_from_slice(if around.ends_with(b"\r\n") { b"\r\n" } else { b"\n" });
            } else if !in_file && in_old {
                new.truncate(without_end(&new).len());
            }
        }
        let (from, until) = (lines.start(start + old_range.start), lines.start(start + old_range.end));
        splices.push(Splice { range: from.max(text_start)..until.max(text_start), new });
    }
    Some(Found { whole, splices, shift })
}

/// Which line ends a new text gets where its old text was found.
pub(crate) struct SentEnds {
    /// The line ends of the place.
    pub(crate) crlf: bool,
    /// What was sent has other ones.
    converts: bool,
}

impl SentEnds {
    /// `around` is the place, `old` what was sent for it.
    pub(crate) fn new(content: &[u8], around: &[u8], old: &[u8], new: &[u8]) -> Self {
        let crs = |text: &[u8]| memchr::memmem::find_iter(text, b"\r\n").count();
        if around.contains(&b'\n') {
            // A text that has its line ends as the file has them means those of its new lines too.
            return Self { crlf: is_crlf(around), converts: crs(old) != crs(around) };
        }
        let crlf = is_crlf(content);
        Self { crlf, converts: crlf && !old.contains(&b'\r') && !new.contains(&b'\r') }
    }

    pub(crate) fn adapt(&self, text: &[u8]) -> Vec<u8> {
        if self.converts { with_ends(text, self.crlf) } else { text.to_vec() }
    }
}

fn check_size(bytes: usize) -> Result<(), Why> {
    // Twice the limit: this is a bound on memory; what comes out is measured when it is there.
    if bytes > 2 * FILE_BYTES_MAX { Err(too_large()) } else { Ok(()) }
}

pub(crate) fn spliced(content: &[u8], splices: Vec<Splice>) -> Result<Vec<u8>, Why> {
    let added: usize = splices.iter().map(|splice| splice.new.len()).sum();
    check_size(content.len() + added)?;
    let mut out = Vec::with_capacity(content.len() + added);
    let mut at = 0;
    for Splice { range, new } in splices {
        if range.start < at {
            continue;
        }
        out.extend_from_slice(&content[at..range.start]);
        out.extend_from_slice(&new);
        at = range.end;
    }
    out.extend_from_slice(&content[at..]);
    if out.len() > FILE_BYTES_MAX { Err(too_large()) } else { Ok(out) }
}

pub(crate) fn ambiguous(
    index: &Index<'_>,
    ranges: &[Range<usize>],
    ignored: Option<String>,
    budget: &mut Budget,
) -> Result<Why, Why> {
    let lines = &index.lines;
    let spans: Vec<Range<usize>> =
        ranges.iter().map(|range| lines.line_at(range.start)..lines.line_at(range.end.max(range.start + 1) - 1) + 1).collect();
    let is_whole = ranges.iter().zip(&spans).all(|(range, span)| range.start == lines.start(span.start));
    let places: Vec<Place> = neighbours::tell_apart(lines, &spans, is_whole, budget)?;
    Ok(Why::Ambiguous { places, place_count: spans.len(), ignored, part_of_text: None })
}

/// Whether a text is nothing but blank lines.
pub(crate) fn is_blank(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').all(is_blank_line)
}
