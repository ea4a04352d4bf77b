//! What a merge has to come to, from the rules alone and knowing only the three trees: each path by itself, then directories for what is in them.
//!
//! Content, kind and permission bits are merged; owner, times and attributes come along with what they belong to. Texts that both changed are
//! only judged where it is clear from the lines alone; of the others a merge may make what it likes.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Node, Tree, content_of, name_links, text_of};

/// What is to be expected.
pub enum Expected {
    /// Nothing is changed.
    Conflict,
    /// This; what is left open in it cannot be told.
    Merged(Tree),
    /// This or a conflict.
    Either(Tree),
}

/// One path.
enum One {
    Gone,
    /// As ours has it: not touched.
    Ours,
    /// As theirs has it, all of it.
    Theirs,
    /// A file of its own.
    Joined(Box<Node>),
    Conflict,
    /// That, or a conflict.
    Perhaps(Box<Node>),
}

/// Merges what became of `base` in `theirs` into `ours`.
pub fn expected(base: &Tree, ours: &Tree, theirs: &Tree) -> Expected {
    let mut merged: BTreeMap<&Vec<u8>, Node> = BTreeMap::new();
    let mut may_conflict = false;
    // Links count among what comes from one side.
    let from = |side: &str, node: &Node| Node { same_as: [side.as_bytes(), &node.same_as].concat(), ..node.clone() };
    for path in base.keys().chain(ours.keys()).chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let alone = |node: Node| Node { same_as: [b"alone", path.as_slice()].concat(), ..node };
        // Of the root itself nothing is compared, so nothing is taken.
        let theirs_too = if path == b"/" { ours } else { theirs };
        let node = match three(base.get(path), ours.get(path), theirs_too.get(path)) {
            One::Gone => continue,
            One::Ours => from("ours", &ours[path]),
            One::Theirs => from("theirs", &theirs[path]),
            One::Joined(node) => alone(*node),
            One::Perhaps(node) => {
                may_conflict = true;
                alone(*node)
            }
            One::Conflict => return Expected::Conflict,
        };
        merged.insert(path, node);
    }
    for path in merged.keys().copied().cloned().collect::<Vec<_>>() {
        for (end, _) in path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/') {
            let above = &path[..end];
            match merged.get(&above.to_vec()) {
                Some(node) if node.kind == b'd' => {}
                Some(_) => return Expected::Conflict,
                None => {
                    let known = [("ours", ours), ("theirs", theirs)];
                    let found = known.iter().find_map(|(side, tree)| tree.get_key_value(above).map(|found| (side, found)));
                    // Above the trees that are told there is nothing to tell.
                    let Some((side, (above, node))) = found else { continue };
                    if node.kind != b'd' {
                        return Expected::Conflict;
                    }
                    merged.insert(above, from(side, node));
                }
            }
        }
    }
    let mut tree: Tree = merged.into_iter().map(|(path, node)| (path.clone(), node)).collect();
    name_links(&mut tree);
    if may_conflict { Expected::Either(tree) } else { Expected::Merged(tree) }
}

fn is_same(one: Option<&Node>, other: Option<&Node>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.kind == other.kind && (one.mode == other.mode || one.kind == b'l') && has_same_content(one, other)
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn has_same_content(one: &Node, other: &Node) -> bool {
    (one.size, &one.content) == (other.size, &other.content)
}

fn three(base: Option<&Node>, ours: Option<&Node>, theirs: Option<&Node>) -> One {
    if is_same(ours, theirs) || is_same(theirs, base) {
        return if ours.is_some() { One::Ours } else { One::Gone };
    }
    if is_same(ours, base) {
        return if theirs.is_some() { One::Theirs } else { One::Gone };
    }
    let (Some(base), Some(ours), Some(theirs)) = (base, ours, theirs) else { return One::Conflict };
    if base.kind != ours.kind || base.kind != theirs.kind || base.kind == b'l' {
        return One::Conflict;
    }
    let mode = match (ours.mode, theirs.mode) {
        (ours, theirs) if ours == theirs || theirs == base.mode => ours,
        (ours, theirs) if ours == base.mode => theirs,
        _ => return One::Conflict,
    };
    if has_same_content(ours, theirs) || has_same_content(theirs, base) {
        let is_ours = mode == ours.mode;
        return if is_ours { One::Ours } else { One::Joined(Box::new(Node { mode, ..ours.clone() })) };
    }
    if has_same_content(ours, base) {
        let is_theirs = mode == theirs.mode;
        return if is_theirs { One::Theirs } else { One::Joined(Box::new(Node { mode, ..theirs.clone() })) };
    }
    let (Some(base), Some(our_text), Some(their_text)) = (text_of(base), text_of(ours), text_of(theirs)) else {
        return One::Conflict;
    };
    // As ours in everything else, and of now.
    let joined = |text: Option<&str>| {
        Box::new(Node {
            mode,
            content: text.map(|text| content_of(text.as_bytes())),
            size: text.map_or(0, |text| text.len() as u64),
            modified_at: None,
            ..ours.clone()
        })
    };
    match lines(&base, &our_text, &their_text) {
        // Nothing is written where ours has it all.
        Lines::Joined(text) if text == our_text && mode == ours.mode => One::Ours,
        Lines::Joined(text) if text == our_text => One::Joined(Box::new(Node { mode, ..ours.clone() })),
        Lines::Joined(text) => One::Joined(joined(Some(&text))),
        Lines::Conflict => One::Conflict,
        Lines::Unclear => One::Perhaps(joined(None)),
    }
}

enum Lines {
    Joined(String),
    Conflict,
    Unclear,
}

/// Three texts of as many lines, each of which is where it was.
fn lines(base: &str, ours: &str, theirs: &str) -> Lines {
    let split = |text: &str| -> Vec<String> { text.split_inclusive('\n').map(str::to_owned).collect() };
    let (base, ours, theirs) = (split(base), split(ours), split(theirs));
    let is_in_place = |text: &[String]| text.iter().enumerate().all(|(at, line)| is_line(line, at));
    if base.len() != ours.len() || base.len() != theirs.len() || ![&base, &ours, &theirs].into_iter().all(|text| is_in_place(text))
    {
        return Lines::Unclear;
    }
    let changed = |text: &[String]| -> Vec<usize> { (0..base.len()).filter(|at| text[*at] != base[*at]).collect() };
    let (our_lines, their_lines) = (changed(&ours), changed(&theirs));
    if our_lines.iter().any(|at| their_lines.contains(at) && ours[*at] != theirs[*at]) {
        return Lines::Conflict;
    }
    // Beside each other they may be taken for one change.
    let is_near = |at: &usize| their_lines.iter().any(|their| their.abs_diff(*at) <= 1);
    if our_lines.iter().any(is_near) {
        return Lines::Unclear;
    }
    Lines::Joined((0..base.len()).map(|at| if our_lines.contains(&at) { &ours[at] } else { &theirs[at] }.as_str()).collect())
}

/// Whether a line says that it is the one at this place: then no other can be taken for it.
fn is_line(line: &str, at: usize) -> bool {
    line.strip_prefix(&format!("line {at}")).is_some_and(|rest| rest.starts_with([' ', '\n']))
}
