//! Someone who knows which place of the file was meant, but can only copy what an error says: the lines it quotes, by its own rules, once.

use std::collections::BTreeMap;

use pyro_edit::{Failure, Part, Request};

use super::spoil::{Form, Hunk, TextDiff, write};

/// The request to send after a failure; `None` where its text does not say what to do. `meant` are the hunks as they belong, for their line numbers.
pub fn repaired(sent: &TextDiff, meant: &TextDiff, form: Form, failure: &Failure) -> Option<Request> {
    let text = failure.render();
    // What is left out has no line to put in its place: one sends all of them.
    if text.contains("`...`") {
        return None;
    }
    let mut next = sent.clone();
    let is_numbered = failure.part == Part::Hunk && form == Form::Unified;
    // "hunk 2 of 5 failed: …" once for each that did.
    let mut parts: Vec<(usize, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        let head = [failure.part.word(), &format!("the {}", failure.part.word())]
            .into_iter()
            .find_map(|word| line.strip_prefix(word))
            .filter(|rest| rest.contains("failed: "));
        match head {
            Some(rest) => {
                let number = rest.trim_start().split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(1);
                parts.push((number, vec![line]));
            }
            None => parts.last_mut()?.1.push(line),
        }
    }
    let all = parts.clone();
    for (number, mut lines) in parts {
        if let Some((_, same)) = lines[0].split_once(": the same as ") {
            let same: usize = same.trim_end_matches('.').rsplit(' ').next()?.parse().ok()?;
            lines = all.iter().find(|(number, _)| *number == same)?.1.clone();
        }
        let (hunk, meant) = (next.hunks.get_mut(number - 1)?, meant.hunks.get(number - 1)?);
        if lines.iter().any(|line| line.contains("ignoring pasted line numbers")) {
            let bare = |text: &mut Vec<u8>| *text = text.split(|byte| *byte == b'\t').skip(1).collect::<Vec<_>>().join(&b'\t');
            let is_numbered =
                |text: &[u8]| text.trim_ascii_start().first().is_some_and(u8::is_ascii_digit) && text.contains(&b'\t');
            hunk.lines.iter_mut().filter(|(mark, text)| *mark != b'+' && is_numbered(text)).for_each(|(_, text)| bare(text));
        }
        if lines.iter().any(|line| line.contains("ignoring line ends")) {
            for (_, text) in hunk.lines.iter_mut().filter(|(_, text)| text.ends_with(b"\r\n")) {
                text.truncate(text.len() - 2);
                text.push(b'\n');
            }
        }
        if lines.iter().any(|line| line.contains("indentation (-4)")) {
            hunk.lines.iter_mut().filter(|(_, text)| text.starts_with(b"    ")).for_each(|(_, text)| drop(text.drain(..4)));
        }
        let quoted: BTreeMap<usize, Vec<u8>> = lines.iter().filter_map(|line| quoted(line)).collect();
        if let Some(range) = lines.iter().find_map(|line| line.strip_prefix("Closest place, lines ")) {
            let (first, rest) = range.split_once('-')?;
            let last = rest.split(' ').next()?;
            // "(3 of your 4 lines equal; …": with fewer it may be another place altogether.
            let mut counts = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<usize>().ok()).skip(1);
            let (equal, all) = (counts.next()?, counts.next()?);
            if 2 * equal < all && all > 1 {
                return None;
            }
            copy(hunk, first.parse().ok()?, last.parse().ok()?, &quoted)?;
        } else if lines[0].contains("places in") {
            if is_numbered {
                (hunk.old_start, hunk.new_start) = (meant.old_start, meant.new_start);
            } else {
                extend(hunk, meant, &quoted)?;
            }
        } else {
            return None;
        }
    }
    Some(write(&next, form))
}

fn quoted(line: &str) -> Option<(usize, Vec<u8>)> {
    let (number, text) = line.split_once('|')?;
    let number = number.parse().ok()?;
    (!text.contains("[line cut, ")).then(|| (number, format!("{text}\n").into_bytes()))
}

/// Puts quoted lines in the place of those that were sent: line by line where as many were sent as the file has, else all of them.
fn copy(hunk: &mut Hunk, first: usize, last: usize, quoted: &BTreeMap<usize, Vec<u8>>) -> Option<()> {
    let old: Vec<usize> = hunk.lines.iter().enumerate().filter(|(_, (mark, _))| *mark != b'+').map(|(at, _)| at).collect();
    if last + 1 - first != old.len() {
        return None;
    }
    for (number, text) in quoted.range(first..=last) {
        let line = &mut hunk.lines[old[number - first]];
        let is_open = !line.1.ends_with(b"\n");
        line.1 = text.clone();
        if is_open {
            line.1.pop();
        }
    }
    Some(())
}

/// Adds the lines that only the place that was meant has.
fn extend(hunk: &mut Hunk, meant: &Hunk, quoted: &BTreeMap<usize, Vec<u8>>) -> Option<()> {
    let start = meant.old_start;
    let end = start + hunk.side(b'+').len();
    let mut above: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut number = start;
    while let Some(text) = quoted.get(&number.checked_sub(1)?) {
        number -= 1;
        above.insert(0, (number, text.clone()));
    }
    let below: Vec<Vec<u8>> = (end..).map_while(|number| quoted.get(&number).cloned()).collect();
    if above.is_empty() && below.is_empty() {
        return None;
    }
    hunk.lines.splice(0..0, above.into_iter().map(|(_, text)| (b' ', text)));
    hunk.lines.extend(below.into_iter().map(|text| (b' ', text)));
    hunk.old_start = number;
    Some(())
}
