//! Trees as maps in memory, edits of them, and layers that turn one into another, in all the ways that layers can say the same thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{CWD, Dev, FileType, Mode, XattrFlags, mknodat, setxattr};

use super::{Node, name};
use crate::Marks;
use crate::diff::{Change, Kind, Status};

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    File { content: Vec<u8>, mode: u32 },
    Directory { mode: u32 },
    Symlink { target: Vec<u8> },
    Fifo { mode: u32 },
}

/// Everything below a root. Whatever has a parent has it in the map, as a directory.
pub(crate) type Tree = BTreeMap<Vec<u8>, Item>;

/// One change of a tree.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Put { path: Vec<u8>, item: Item },
    Remove { path: Vec<u8> },
    Chmod { path: Vec<u8>, mode: u32 },
}

pub(crate) fn file(content: impl AsRef<[u8]>) -> Item {
    Item::File { content: content.as_ref().to_vec(), mode: 0o644 }
}

pub(crate) fn directory() -> Item {
    Item::Directory { mode: 0o755 }
}

/// Few names in few directories, so that edits meet each other. The last sorts between a directory and what is in it.
const NAMES: [&str; 4] = ["a", "b", "c d", "a.x"];

const CONTENTS: [&str; 6] = ["", "one\n", "two\n", "one\ntwo\nthree\n", "\0binary", "\0blobby"];

const MODES: [u32; 3] = [0o644, 0o755, 0o4711];

/// Paths of one to three names.
pub(crate) fn paths() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4).prop_map(|names| names.join("/").into_bytes())
}

fn items() -> impl Strategy<Value = Item> {
    let mode = || prop::sample::select(&MODES[..]);
    prop_oneof![
        5 => (prop::sample::select(&CONTENTS[..]), mode()).prop_map(|(content, mode)| Item::File { content: content.into(), mode }),
        3 => mode().prop_map(|mode| Item::Directory { mode }),
        1 => paths().prop_map(|target| Item::Symlink { target }),
        1 => mode().prop_map(|mode| Item::Fifo { mode }),
    ]
}

pub(crate) fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => (paths(), items()).prop_map(|(path, item)| Edit::Put { path, item }),
        3 => paths().prop_map(|path| Edit::Remove { path }),
        1 => (paths(), prop::sample::select(&MODES[..])).prop_map(|(path, mode)| Edit::Chmod { path, mode }),
    ]
}

/// Makes an edit. What is in the way of a parent directory goes.
pub(crate) fn make(tree: &mut Tree, edit: &Edit) {
    match edit {
        Edit::Put { path, item } => {
            for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                if !matches!(tree.get(&path[..end]), Some(Item::Directory { .. })) {
                    tree.insert(path[..end].to_vec(), directory());
                }
            }
            if !matches!((tree.get(path), item), (Some(Item::Directory { .. }), Item::Directory { .. })) {
                remove(tree, path);
            }
            tree.insert(path.clone(), item.clone());
        }
        Edit::Remove { path } => remove(tree, path),
        Edit::Chmod { path, mode: new } => match tree.get_mut(path) {
            Some(Item::File { mode, .. } | Item::Directory { mode } | Item::Fifo { mode }) => *mode = *new,
            Some(Item::Symlink { .. }) | None => {}
        },
    }
}

fn remove(tree: &mut Tree, path: &[u8]) {
    tree.retain(|other, _| !crate::diff::is_at_or_below(other, path));
}

pub(crate) fn after(tree: &Tree, edits: &[Edit]) -> Tree {
    let mut tree = tree.clone();
    for edit in edits {
        make(&mut tree, edit);
    }
    tree
}

/// Choices between ways to write the same, made by a seed.
pub(crate) struct Whims {
    state: u64,
    /// What says something. Those of the other kind are lies, which nothing may believe.
    marks: Marks,
    /// Only what a kernel writes, and no lies.
    is_plain: bool,
}

impl Whims {
    pub(crate) fn any(seed: u64, marks: Marks) -> Self {
        Self { state: seed, marks, is_plain: false }
    }

    pub(crate) fn plain(seed: u64) -> Self {
        Self { state: seed, marks: Marks::Trusted, is_plain: true }
    }

    fn lies(&mut self) -> bool {
        !self.is_plain && self.one_in(3)
    }

    fn spelling(&self) -> &'static str {
        match self.marks {
            Marks::Trusted => "trusted",
            Marks::User => "user",
        }
    }

    fn other_spelling(&self) -> &'static str {
        match self.marks {
            Marks::Trusted => "user",
            Marks::User => "trusted",
        }
    }

    fn one_in(&mut self, count: u64) -> bool {
        // Knuth's linear congruential generator; its high bits are good enough to choose by.
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33).is_multiple_of(count)
    }
}

/// Writes a layer that makes `after` of whatever layers show `before`.
pub(crate) fn write_layer(layer: &Path, before: &Tree, after: &Tree, whims: &mut Whims) {
    fs::create_dir_all(layer).expect("mkdir");
    if write_directory(layer, b"", before, after, whims) {
        set_attribute(layer, whims.spelling(), "opaque", "x");
    }
}

/// Whether deletions of it are attributes. Unless it says so the kernel lists their names.
fn write_directory(layer: &Path, path: &[u8], before: &Tree, after: &Tree, whims: &mut Whims) -> bool {
    let mut has_attributes = false;
    for child in children(before, path).union(&children(after, path)) {
        let at = layer.join(name(child));
        let (old, new) = (before.get(child), after.get(child));
        match (old, new) {
            (None, None) => {}
            (Some(_), None) => has_attributes |= write_deletion(&at, whims),
            // Copied up without being changed, now and then.
            (_, Some(Item::File { content, mode })) if old != new || whims.one_in(6) => {
                fs::write(&at, content).expect("write");
                if content.is_empty() && whims.lies() {
                    set_attribute(&at, whims.other_spelling(), "whiteout", "y");
                }
                chmod(&at, *mode);
            }
            (_, Some(Item::Symlink { target })) if old != new || whims.one_in(6) => {
                symlink(name(target), &at).expect("symlink");
            }
            (_, Some(Item::Fifo { mode })) if old != new || whims.one_in(6) => {
                mknodat(CWD, &at, FileType::Fifo, Mode::RUSR, Dev::default()).expect("mkfifo");
                chmod(&at, *mode);
            }
            (old, Some(Item::Directory { mode })) => {
                let merges = matches!(old, Some(Item::Directory { .. }));
                if old == new && subtree(before, child) == subtree(after, child) && !whims.one_in(6) {
                    continue;
                }
                fs::create_dir(&at).expect("mkdir");
                let is_opaque = if merges { whims.one_in(5) } else { whims.one_in(2) };
                let nothing = Tree::new();
                let has_attributes =
                    write_directory(layer, child, if merges && !is_opaque { before } else { &nothing }, after, whims);
                if is_opaque {
                    set_attribute(&at, whims.spelling(), "opaque", "y");
                } else if has_attributes || !whims.is_plain && whims.one_in(8) {
                    set_attribute(&at, whims.spelling(), "opaque", "x");
                }
                if whims.lies() {
                    set_attribute(&at, whims.other_spelling(), "opaque", "y");
                }
                chmod(&at, *mode);
            }
            (_, Some(_)) => {}
        }
    }
    has_attributes
}

/// Whether it is an attribute.
fn write_deletion(at: &Path, whims: &mut Whims) -> bool {
    let is_attribute = !whims.is_plain && whims.one_in(4);
    if is_attribute {
        fs::write(at, b"").expect("write");
        set_attribute(at, whims.spelling(), "whiteout", "y");
    } else {
        mknodat(CWD, at, FileType::CharacterDevice, Mode::empty(), Dev::default()).expect("make a whiteout");
    }
    is_attribute
}

fn set_attribute(at: &Path, spelling: &str, what: &str, value: &str) {
    setxattr(at, format!("{spelling}.overlay.{what}"), value.as_bytes(), XattrFlags::empty()).expect("setxattr");
}

fn chmod(at: &Path, mode: u32) {
    fs::set_permissions(at, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn children(tree: &Tree, path: &[u8]) -> BTreeSet<Vec<u8>> {
    let start = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
    let is_child =
        |other: &&Vec<u8>| other.strip_prefix(start.as_slice()).is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'));
    tree.keys().filter(is_child).cloned().collect()
}

fn subtree<'a>(tree: &'a Tree, path: &'a [u8]) -> Vec<(&'a Vec<u8>, &'a Item)> {
    tree.iter().filter(|(other, _)| crate::diff::is_at_or_below(other, path)).collect()
}

/// Writes layers on top of a stack (uppermost first) that shows `before`, one for each step of `steps`; the answer is the stack on top and what it shows.
pub(crate) fn write_layers(
    at: &Path,
    (below, before): (&[PathBuf], &Tree),
    steps: &[Vec<Edit>],
    whims: &mut Whims,
) -> (Vec<PathBuf>, Tree) {
    let (mut stack, mut tree) = (below.to_vec(), before.clone());
    for (number, step) in steps.iter().enumerate() {
        let next = after(&tree, step);
        let layer = at.join(number.to_string());
        write_layer(&layer, &tree, &next, whims);
        stack.insert(0, layer);
        tree = next;
    }
    (stack, tree)
}

/// What a snapshot of a tree shows, as a tree.
pub(crate) fn shown(nodes: &BTreeMap<Vec<u8>, Node>) -> Tree {
    let item = |node: &Node| match node.kind {
        'f' => Item::File { content: node.content.clone(), mode: node.mode },
        'd' => Item::Directory { mode: node.mode },
        'l' => Item::Symlink { target: node.content.clone() },
        _ => Item::Fifo { mode: node.mode },
    };
    nodes.iter().filter(|(path, _)| !path.is_empty()).map(|(path, node)| (path.clone(), item(node))).collect()
}

/// What a diff has to say.
pub(crate) fn difference(old: &Tree, new: &Tree) -> BTreeMap<Vec<u8>, (Status, Kind, bool)> {
    let kind = |item: &Item| match item {
        Item::File { .. } => Kind::File,
        Item::Directory { .. } => Kind::Directory,
        Item::Symlink { .. } => Kind::Symlink,
        Item::Fifo { .. } => Kind::Other,
    };
    let content = |item: &Item| match item {
        Item::File { content, .. } | Item::Symlink { target: content } => content.clone(),
        Item::Directory { .. } | Item::Fifo { .. } => Vec::new(),
    };
    let mut changes = BTreeMap::new();
    for path in old.keys().chain(new.keys()) {
        let change = match (old.get(path), new.get(path)) {
            (None, Some(new)) => (Status::Added, kind(new), true),
            (Some(old), None) => (Status::Deleted, kind(old), true),
            (Some(old), Some(new)) if kind(old) != kind(new) => (Status::TypeChanged, kind(new), true),
            (Some(old), Some(new)) if old != new => (Status::Modified, kind(new), content(old) != content(new)),
            (_, _) => continue,
        };
        changes.insert(path.clone(), change);
    }
    changes
}

/// What a diff says, as [`difference`] has it.
pub(crate) fn told(changes: &[Change]) -> BTreeMap<Vec<u8>, (Status, Kind, bool)> {
    changes.iter().map(|change| (change.path.clone(), (change.status, change.kind(), change.content_changed))).collect()
}
