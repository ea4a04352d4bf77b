//! Merges against rules that know only the three trees, and what the kernel shows of the result.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{CWD, Dev, FileType, Mode, XattrFlags, getxattr, mknodat, setxattr};
use similar::TextMerge;

use super::{Conflict, ConflictHunk, ConflictKind, Favour, Marks, MergeOptions, MergeStacks, Merged, NewLayer, Settled, merge};
use crate::diff::{Kind, Status, is_at_or_below};
use crate::limits::{CONFLICT_TEXT_BYTES_MAX, CONFLICTS_MAX};
use crate::testing::model::{self, Edit, Item, Tree, Whims, directory, file};
use crate::testing::{Node, Scratch, access_list, go_on, slice, snapshot};
use crate::{ErrorKind, Owners, Progress, Stacks, diff};

/// What a merge has to come to, from the rules alone: each path by itself, then directories for what is in them.
/// `None` where it has to be a conflict.
fn expected(base: &Tree, ours: &Tree, theirs: &Tree) -> Option<Tree> {
    let mut merged = Tree::new();
    for path in base.keys().chain(ours.keys()).chain(theirs.keys()).collect::<BTreeSet<_>>() {
        if let Some(item) = three(base.get(path), ours.get(path), theirs.get(path))? {
            merged.insert(path.clone(), item);
        }
    }
    for path in merged.keys().cloned().collect::<Vec<_>>() {
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let above = path[..end].to_vec();
            match merged.get(&above) {
                Some(Item::Directory { .. }) => {}
                Some(_) => return None,
                None => {
                    let known = [ours, theirs].iter().find_map(|tree| tree.get(&above).cloned());
                    merged.insert(above, known.expect("somebody has it"));
                }
            }
        }
    }
    Some(merged)
}

/// One path. The outer `None` is a conflict, the inner one that nothing is there.
fn three(base: Option<&Item>, ours: Option<&Item>, theirs: Option<&Item>) -> Option<Option<Item>> {
    if ours == theirs || theirs == base {
        return Some(ours.cloned());
    }
    if ours == base {
        return Some(theirs.cloned());
    }
    match (base?, ours?, theirs?) {
        (
            Item::File { content: base, mode: base_mode },
            Item::File { content: ours, mode: our_mode },
            Item::File { content: theirs, mode: their_mode },
        ) => {
            let mode = either(base_mode, our_mode, their_mode)?;
            let content = either(base, ours, theirs).or_else(|| {
                let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).ok().filter(|text| !text.contains('\0'));
                let (base, ours, theirs) = (text(base)?, text(ours)?, text(theirs)?);
                let merged = TextMerge::from_lines(base.as_str(), ours.as_str(), theirs.as_str());
                (!merged.is_conflicted()).then(|| merged.to_string().into_bytes())
            });
            Some(Some(Item::File { content: content?, mode }))
        }
        (Item::Directory { mode: base }, Item::Directory { mode: ours }, Item::Directory { mode: theirs }) => {
            Some(Some(Item::Directory { mode: either(base, ours, theirs)? }))
        }
        (Item::Fifo { mode: base }, Item::Fifo { mode: ours }, Item::Fifo { mode: theirs }) => {
            Some(Some(Item::Fifo { mode: either(base, ours, theirs)? }))
        }
        _ => None,
    }
}

fn either<T: Clone + PartialEq>(base: &T, ours: &T, theirs: &T) -> Option<T> {
    if ours == theirs || theirs == base {
        Some(ours.clone())
    } else if ours == base {
        Some(theirs.clone())
    } else {
        None
    }
}

fn steps(layers: std::ops::Range<usize>, edits: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Edit>>> {
    prop::collection::vec(prop::collection::vec(model::edits(), edits), layers)
}

fn into(directory: &Path) -> NewLayer<'_> {
    NewLayer { directory, owners: Owners::Canonical }
}

/// What the kernel shows of a stack of layers of `scratch`, with an upper layer for it to write to.
fn mounted(scratch: &mut Scratch, upper: &str, stack: &[PathBuf]) -> BTreeMap<Vec<u8>, Node> {
    let root = scratch.path("");
    let lowers: Vec<&str> = stack.iter().map(|layer| layer.strip_prefix(&root).expect("a layer").to_str().expect("text")).collect();
    let at = scratch.overlay(&format!("mount-{upper}"), upper, &lowers);
    let nodes = snapshot(&at);
    scratch.unmount(&at);
    nodes
}

proptest! {
    #![proptest_config(slice(500))]

    #[test]
    fn a_merge_is_what_its_rules_say(
        base in steps(1..3, 0..8),
        ours in steps(0..3, 0..6),
        theirs in steps(0..3, 0..6),
        is_favoured in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut scratch = Scratch::new();
        let mut whims = Whims::plain(seed);
        let (base, base_tree) = model::write_layers(&scratch.path("base"), (&[], &Tree::new()), &base, &mut whims);
        let (ours, our_tree) = model::write_layers(&scratch.path("ours"), (&base, &base_tree), &ours, &mut whims);
        let (theirs, their_tree) = model::write_layers(&scratch.path("theirs"), (&base, &base_tree), &theirs, &mut whims);
        let stacks = MergeStacks { base, ours: ours.clone(), theirs: theirs.clone(), marks: Marks::Trusted };
        let layer = scratch.directory("into");
        let dry = merge(&stacks, &MergeOptions::default(), None, &mut go_on).expect("say what would come of it");
        let merged = merge(&stacks, &MergeOptions::default(), Some(into(&layer)), &mut go_on).expect("merge");
        prop_assert_eq!(&Merged { written: None, ..merged.clone() }, &dry);
        prop_assert!(merged.settled.is_empty());

        let Some(expected) = expected(&base_tree, &our_tree, &their_tree) else {
            prop_assert!(merged.conflict_count > 0 && merged.written.is_none());
            prop_assert_eq!(snapshot(&layer).len(), 1, "nothing is written");
            // Whoever is favoured, what comes of it is a tree whose every path somebody has.
            let favour = Some(if is_favoured { Favour::Ours } else { Favour::Theirs });
            let options = MergeOptions { favour, binary: None };
            let settled = merge(&stacks, &options, Some(into(&layer)), &mut go_on).expect("merge by favour");
            prop_assert_eq!(settled.conflict_count, 0);
            prop_assert!(!settled.settled.is_empty());
            let after = model::shown(&mounted(&mut scratch, "into", &ours));
            let favoured = if is_favoured { &our_tree } else { &their_tree };
            for Settled { path, kind, .. } in &settled.settled {
                match kind {
                    ConflictKind::Lines => {}
                    // As a whole directory.
                    ConflictKind::DirectoryAgainstFile => {
                        let below = |tree: &Tree| tree.clone().into_iter().filter(|(other, _)| is_at_or_below(other, path)).collect::<Tree>();
                        prop_assert_eq!(below(&after), below(favoured));
                    }
                    ConflictKind::Mode => {
                        let mode = |tree: &Tree| match tree.get(path) {
                            Some(Item::File { mode, .. } | Item::Directory { mode } | Item::Fifo { mode }) => Some(*mode),
                            Some(Item::Symlink { .. }) | None => None,
                        };
                        prop_assert_eq!(mode(&after), mode(favoured));
                    }
                    // Its mode is merged by itself.
                    ConflictKind::Content => {
                        let content = |tree: &Tree| match tree.get(path) {
                            Some(Item::File { content, .. } | Item::Symlink { target: content }) => Some(content.clone()),
                            Some(Item::Directory { .. } | Item::Fifo { .. }) | None => None,
                        };
                        prop_assert_eq!(content(&after), content(favoured));
                    }
                    ConflictKind::ModifiedAndDeleted | ConflictKind::AddedTwice | ConflictKind::Type => {
                        let is_kept_for_what_is_in_it = favoured.get(path).is_none() && after.keys().any(|other| other != path && is_at_or_below(other, path));
                        if !is_kept_for_what_is_in_it {
                            prop_assert_eq!(after.get(path), favoured.get(path));
                        }
                    }
                }
            }
            return Ok(());
        };
        prop_assert_eq!(&merged.conflicts, &[]);
        let result: Vec<PathBuf> = std::iter::once(layer).chain(ours.iter().cloned()).collect();
        let before = mounted(&mut scratch, "unwritten", &ours);
        let of_theirs = mounted(&mut scratch, "unwritten-theirs", &theirs);
        let after = mounted(&mut scratch, "into", &ours);
        prop_assert_eq!(&model::shown(&after), &expected);
        // Our own look-up sees the same as the kernel.
        let all = diff(&Stacks { old: vec![scratch.directory("empty")], new: result, marks: Marks::Trusted }, b"", &mut go_on).expect("list the result");
        prop_assert_eq!(model::told(&all), model::difference(&Tree::new(), &expected));

        // Nothing but what is told has changed, not even a time; and what is taken is as theirs has it. The root is as the uppermost layer has it.
        prop_assert_eq!(&after[b"".as_slice()], &snapshot(&ours[0])[b"".as_slice()]);
        let taken: BTreeMap<&[u8], Status> = merged.taken.iter().map(|taken| (taken.path.as_slice(), taken.status)).collect();
        for (path, node) in after.iter().filter(|(path, _)| !path.is_empty()) {
            if let Some(status) = taken.get(path.as_slice()) {
                prop_assert_ne!(*status, Status::Deleted);
                prop_assert_eq!(Some(node), of_theirs.get(path));
            } else if !merged.merged.contains(path) {
                prop_assert_eq!(Some(node), before.get(path).or_else(|| of_theirs.get(path)), "{}", String::from_utf8_lossy(path));
            }
        }
        for (path, status) in &taken {
            prop_assert_eq!(after.contains_key(*path), *status != Status::Deleted);
        }
    }

    #[test]
    fn a_fork_that_changed_nothing_is_merged_as_nothing_and_into_it_as_everything(
        base in steps(1..3, 0..8),
        fork in steps(1..4, 0..6),
        marks in prop::sample::select(vec![Marks::Trusted, Marks::User]),
        seed in any::<u64>(),
    ) {
        let scratch = Scratch::new();
        let mut whims = Whims::any(seed, marks);
        let (base, base_tree) = model::write_layers(&scratch.path("base"), (&[], &Tree::new()), &base, &mut whims);
        let (fork, fork_tree) = model::write_layers(&scratch.path("fork"), (&base, &base_tree), &fork, &mut whims);
        let into_of = |ours: &Vec<PathBuf>, theirs: &Vec<PathBuf>, name: &str| {
            let layer = scratch.directory(name);
            let stacks = MergeStacks { base: base.clone(), ours: ours.clone(), theirs: theirs.clone(), marks };
            let merged = merge(&stacks, &MergeOptions::default(), Some(into(&layer)), &mut go_on).expect("merge");
            (layer, merged)
        };
        for (ours, theirs) in [(&fork, &base), (&fork, &fork)] {
            let (layer, merged) = into_of(ours, theirs, "nothing");
            prop_assert_eq!(&merged, &Merged { written: Some(super::Written::default()), ..Merged::default() });
            prop_assert_eq!(snapshot(&layer).len(), 1);
        }
        let (layer, merged) = into_of(&base, &fork, "everything");
        let told: BTreeMap<Vec<u8>, Status> = merged.taken.into_iter().map(|taken| (taken.path, taken.status)).collect();
        let changed = model::difference(&base_tree, &fork_tree).into_iter().map(|(path, (status, _, _))| (path, status));
        prop_assert_eq!(told, changed.collect::<BTreeMap<_, _>>());
        let result = std::iter::once(layer).chain(base.iter().cloned()).collect();
        prop_assert_eq!(diff(&Stacks { old: fork.clone(), new: result, marks }, b"", &mut go_on).expect("diff"), []);
    }
}

/// Three states by edits of an empty tree and of that.
struct Forks {
    scratch: Scratch,
    stacks: MergeStacks,
}

impl Forks {
    fn new(base: &[Edit], ours: &[Edit], theirs: &[Edit]) -> Self {
        let scratch = Scratch::new();
        let mut whims = Whims::plain(7);
        let (base, tree) = model::write_layers(&scratch.path("base"), (&[], &Tree::new()), &[base.to_vec()], &mut whims);
        let (ours, _) = model::write_layers(&scratch.path("ours"), (&base, &tree), &[ours.to_vec()], &mut whims);
        let (theirs, _) = model::write_layers(&scratch.path("theirs"), (&base, &tree), &[theirs.to_vec()], &mut whims);
        Self { scratch, stacks: MergeStacks { base, ours, theirs, marks: Marks::Trusted } }
    }

    fn merge(&self, options: &MergeOptions) -> Merged {
        self.merge_into(options, "into").expect("merge")
    }

    fn merge_into(&self, options: &MergeOptions, name: &str) -> crate::Result<Merged> {
        merge(&self.stacks, options, Some(into(&self.scratch.directory(name))), &mut go_on)
    }

    fn after(&mut self) -> Tree {
        let ours = self.stacks.ours.clone();
        model::shown(&mounted(&mut self.scratch, "into", &ours))
    }
}

fn put(path: &str, item: Item) -> Edit {
    Edit::Put { path: path.into(), item }
}

fn write(path: &str, content: &str) -> Edit {
    put(path, file(content))
}

fn remove(path: &str) -> Edit {
    Edit::Remove { path: path.into() }
}

fn chmod(path: &str, mode: u32) -> Edit {
    Edit::Chmod { path: path.into(), mode }
}

fn link(path: &str, target: &str) -> Edit {
    put(path, Item::Symlink { target: target.into() })
}

/// Each row: the edits of each state, the conflict, and what the path is when either is favoured.
#[test]
fn every_sort_of_conflict_is_told_and_can_be_decided() {
    use ConflictKind::{AddedTwice, Content, DirectoryAgainstFile, Lines, Mode, ModifiedAndDeleted, Type};
    type Row = (&'static str, Vec<Edit>, Vec<Edit>, Vec<Edit>, (&'static str, ConflictKind), [Vec<(&'static str, Item)>; 2]);
    let at = |path: &'static str, item: Item| vec![(path, item)];
    let nothing = Vec::new;
    let moded = |content: &str, mode| Item::File { content: content.into(), mode };
    let target = |target: &str| Item::Symlink { target: target.into() };
    let table: Vec<Row> = vec![
        (
            "the same line",
            vec![write("f", "1\n2\n3\n4\n")],
            vec![write("f", "a\n2\n3\nours\n")],
            vec![write("f", "b\n2\n3\n4\n")],
            ("f", Lines),
            [at("f", file("a\n2\n3\nours\n")), at("f", file("b\n2\n3\nours\n"))],
        ),
        (
            "binary",
            vec![write("f", "\0")],
            vec![write("f", "\0a")],
            vec![write("f", "\0b")],
            ("f", Content),
            [at("f", file("\0a")), at("f", file("\0b"))],
        ),
        (
            "text made binary",
            vec![write("f", "1\n")],
            vec![write("f", "2\n")],
            vec![write("f", "\0")],
            ("f", Content),
            [at("f", file("2\n")), at("f", file("\0"))],
        ),
        (
            "where a link leads",
            vec![link("f", "0")],
            vec![link("f", "1")],
            vec![link("f", "2")],
            ("f", Content),
            [at("f", target("1")), at("f", target("2"))],
        ),
        (
            "the mode of a file that one of them wrote too",
            vec![write("f", "1\n")],
            vec![chmod("f", 0o600), write("f", "2\n"), chmod("f", 0o600)],
            vec![chmod("f", 0o755)],
            ("f", Mode),
            [at("f", moded("2\n", 0o600)), at("f", moded("2\n", 0o755))],
        ),
        (
            "the mode of a directory",
            vec![put("d", directory())],
            vec![chmod("d", 0o700)],
            vec![chmod("d", 0o711)],
            ("d", Mode),
            [at("d", Item::Directory { mode: 0o700 }), at("d", Item::Directory { mode: 0o711 })],
        ),
        (
            "modified and deleted",
            vec![write("f", "1")],
            vec![write("f", "2")],
            vec![remove("f")],
            ("f", ModifiedAndDeleted),
            [at("f", file("2")), nothing()],
        ),
        (
            "deleted and modified",
            vec![write("d/f", "1")],
            vec![remove("d")],
            vec![write("d/f", "2")],
            ("d/f", ModifiedAndDeleted),
            [nothing(), vec![("d", directory()), ("d/f", file("2"))]],
        ),
        (
            "modified in a directory that was deleted",
            vec![write("d/f", "1"), write("d/g", "g")],
            vec![write("d/f", "2")],
            vec![remove("d")],
            ("d/f", ModifiedAndDeleted),
            [vec![("d", directory()), ("d/f", file("2"))], nothing()],
        ),
        (
            "deleted and made into something else",
            vec![write("f", "1")],
            vec![remove("f")],
            vec![link("f", "1")],
            ("f", ModifiedAndDeleted),
            [nothing(), at("f", target("1"))],
        ),
        (
            "added twice",
            vec![],
            vec![write("f", "1\n")],
            vec![write("f", "2\n")],
            ("f", AddedTwice),
            [at("f", file("1\n")), at("f", file("2\n"))],
        ),
        (
            "added twice with other modes",
            vec![],
            vec![write("f", "1\n")],
            vec![put("f", moded("1\n", 0o755))],
            ("f", AddedTwice),
            [at("f", file("1\n")), at("f", moded("1\n", 0o755))],
        ),
        (
            "added as a file and as a directory",
            vec![],
            vec![write("d", "1")],
            vec![write("d/f", "2")],
            ("d", AddedTwice),
            [at("d", file("1")), vec![("d", directory()), ("d/f", file("2"))]],
        ),
        (
            "a link and a FIFO where a file was",
            vec![write("f", "1")],
            vec![link("f", "1")],
            vec![put("f", Item::Fifo { mode: 0o644 })],
            ("f", Type),
            [at("f", target("1")), at("f", Item::Fifo { mode: 0o644 })],
        ),
        (
            "written and made into a directory",
            vec![write("f", "1")],
            vec![write("f", "2")],
            vec![write("f/g", "3")],
            ("f", Type),
            [at("f", file("2")), vec![("f", directory()), ("f/g", file("3"))]],
        ),
        (
            "a file where something new is put into a directory",
            vec![write("d/f", "1"), write("d/e/g", "2")],
            vec![write("d", "file")],
            vec![write("d/new", "3"), remove("d/f")],
            ("d", DirectoryAgainstFile),
            [at("d", file("file")), vec![("d", directory()), ("d/e", directory()), ("d/e/g", file("2")), ("d/new", file("3"))]],
        ),
        (
            "something new in a directory that is made into a file",
            vec![write("d/f", "1"), write("d/g", "2")],
            vec![write("d/new", "3"), remove("d/f")],
            vec![write("d", "file")],
            ("d", DirectoryAgainstFile),
            [vec![("d", directory()), ("d/g", file("2")), ("d/new", file("3"))], at("d", file("file"))],
        ),
    ];
    for (title, base, ours, theirs, (path, kind), by_favour) in table {
        // Beside a change that is no conflict.
        let with_another = |edits: &[Edit]| [edits, &[write("z/other", "taken")]].concat();
        let forks = Forks::new(&base, &ours, &with_another(&theirs));
        let merged = forks.merge(&MergeOptions::default());
        let told: Vec<(&[u8], ConflictKind)> =
            merged.conflicts.iter().map(|conflict| (conflict.path.as_slice(), conflict.kind)).collect();
        assert_eq!((told, merged.conflict_count), (vec![(path.as_bytes(), kind)], 1), "{title}");
        assert_eq!(merged.written, None, "{title}");
        assert!(merged.taken.iter().any(|taken| taken.path == b"z/other"), "{title}");
        assert_eq!(snapshot(&forks.scratch.path("into")).len(), 1, "{title}: nothing is written");
        for (favour, expected) in [Favour::Ours, Favour::Theirs].into_iter().zip(by_favour) {
            let mut forks = Forks::new(&base, &ours, &with_another(&theirs));
            let merged = forks.merge(&MergeOptions { favour: Some(favour), binary: None });
            assert_eq!(merged.settled, [Settled { path: path.into(), kind, favour }], "{title}, {favour:?}");
            let mut expected: Tree = expected.into_iter().map(|(path, item)| (path.into(), item)).collect();
            expected.extend([(b"z".to_vec(), directory()), (b"z/other".to_vec(), file("taken"))]);
            assert_eq!(forks.after(), expected, "{title}, {favour:?}");
        }
    }
}

/// Each row: the edits of each state, and what comes of them.
#[test]
fn changes_that_go_together_are_put_together() {
    type Row = (&'static str, Vec<Edit>, Vec<Edit>, Vec<Edit>, Vec<(&'static str, Item)>);
    let moded = |content: &str, mode| Item::File { content: content.into(), mode };
    let table: Vec<Row> = vec![
        (
            "lines, with carriage returns and no end",
            vec![write("f", "1\r\n2\r\n3")],
            vec![write("f", "one\r\n2\r\n3")],
            vec![write("f", "1\r\n2\r\nthree")],
            vec![("f", file("one\r\n2\r\nthree"))],
        ),
        (
            "lines of one and mode of the other",
            vec![write("f", "1\n"), write("g", "1\n"), write("h", "\0")],
            vec![write("f", "2\n"), chmod("g", 0o755), write("h", "\0\0")],
            vec![chmod("f", 0o755), write("g", "2\n"), chmod("h", 0o600)],
            vec![("f", moded("2\n", 0o755)), ("g", moded("2\n", 0o755)), ("h", moded("\0\0", 0o600))],
        ),
        (
            "the same on both sides",
            vec![write("f", "1"), write("g", "1"), write("d/x", "x")],
            vec![write("f", "2"), link("g", "f"), remove("d"), write("n/m", "m")],
            vec![write("f", "2"), link("g", "f"), remove("d"), write("n/m", "m")],
            vec![("f", file("2")), ("g", Item::Symlink { target: "f".into() }), ("n", directory()), ("n/m", file("m"))],
        ),
        (
            "something new in a directory that theirs deleted",
            vec![write("d/e/f", "1"), write("d/g", "2")],
            vec![write("d/e/new", "3")],
            vec![remove("d")],
            vec![("d", directory()), ("d/e", directory()), ("d/e/new", file("3"))],
        ),
        (
            "something new in a directory that ours deleted",
            vec![write("d/e/f", "1"), write("d/g", "2"), Edit::Chmod { path: "d".into(), mode: 0o711 }],
            vec![remove("d")],
            vec![write("d/e/new", "3")],
            vec![("d", Item::Directory { mode: 0o711 }), ("d/e", directory()), ("d/e/new", file("3"))],
        ),
        (
            "a directory that becomes a file and one that a file becomes",
            vec![write("d/f", "1"), write("g", "2")],
            vec![write("x", "x")],
            vec![write("d", "file"), write("g/h", "3")],
            vec![("d", file("file")), ("g", directory()), ("g/h", file("3")), ("x", file("x"))],
        ),
        (
            "a directory deleted and one made",
            vec![write("d/f", "1"), write("d/e/g", "2"), write("k", "k")],
            vec![],
            vec![remove("d"), put("n/m", directory())],
            vec![("k", file("k")), ("n", directory()), ("n/m", directory())],
        ),
        (
            "a name that sorts between a directory and what is in it",
            vec![write("a/f", "1"), write("a.x", "2"), write("a-", "3")],
            vec![write("a-", "ours")],
            vec![remove("a"), write("a.x", "theirs")],
            vec![("a.x", file("theirs")), ("a-", file("ours"))],
        ),
    ];
    for (title, base, ours, theirs, expected) in table {
        let mut forks = Forks::new(&base, &ours, &theirs);
        let merged = forks.merge(&MergeOptions::default());
        assert_eq!(merged.conflicts, [], "{title}");
        let expected: Tree = expected.into_iter().map(|(path, item)| (path.into(), item)).collect();
        assert_eq!(forks.after(), expected, "{title}");
    }
}

/// Three states with one layer each of their own, written by hand.
fn by_hand(scratch: &Scratch) -> MergeStacks {
    let [base, ours, theirs] = ["base", "ours", "theirs"].map(|name| scratch.directory(name));
    MergeStacks { base: vec![base.clone()], ours: vec![ours, base.clone()], theirs: vec![theirs, base], marks: Marks::Trusted }
}

#[test]
fn what_is_taken_keeps_owner_time_attributes_holes_and_links() {
    let mut scratch = Scratch::new();
    let stacks = by_hand(&scratch);
    let theirs = scratch.path("theirs");
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let set = |path: &Path, attribute: &str, value: &[u8]| setxattr(path, attribute, value, XattrFlags::empty()).expect("setxattr");
    fs::create_dir(theirs.join("d")).expect("mkdir");
    for path in ["ping", "d/one", "sparse"] {
        fs::write(theirs.join(path), "content").expect("write");
    }
    fs::OpenOptions::new().write(true).open(theirs.join("sparse")).and_then(|file| file.set_len(64 << 20)).expect("make it long");
    fs::hard_link(theirs.join("d/one"), theirs.join("another")).expect("link");
    symlink("target", theirs.join("link")).expect("symlink");
    mknodat(CWD, theirs.join("fifo"), FileType::Fifo, Mode::RUSR, Dev::default()).expect("mkfifo");
    for path in ["ping", "d", "d/one", "link", "fifo"] {
        std::os::unix::fs::lchown(theirs.join(path), Some(1234), Some(5678)).expect("chown");
    }
    fs::set_permissions(theirs.join("ping"), fs::Permissions::from_mode(0o4755)).expect("chmod");
    set(&theirs.join("ping"), "security.capability", &capability);
    for path in ["ping", "d"] {
        set(&theirs.join(path), "user.kept", b"yes");
    }
    set(&theirs.join("ping"), "user.overlay.origin", b"never");
    for path in ["ping", "d/one", "link", "d"] {
        let time = rustix::fs::Timespec { tv_sec: 1_234_567_890, tv_nsec: 123_456_789 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, theirs.join(path), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).expect("set a time");
    }
    let _listener = UnixListener::bind(theirs.join("socket")).expect("bind");

    let layer = scratch.directory("into");
    let merged = merge(&stacks, &MergeOptions::default(), Some(into(&layer)), &mut go_on).expect("merge");
    let written = merged.written.expect("written");
    assert_eq!((written.skipped, written.skipped_count, written.attributes_left_behind), (vec![b"socket".to_vec()], 1, 1));
    assert_eq!(written.entry_count, 7);
    let (before, after) = (snapshot(&theirs), mounted(&mut scratch, "into", &stacks.ours));
    for (path, node) in before.into_iter().filter(|(path, _)| !path.is_empty() && path != b"socket") {
        let mut node = node;
        node.attributes.remove(b"user.overlay.origin".as_slice());
        assert_eq!(after.get(&path), Some(&node), "{}", String::from_utf8_lossy(&path));
    }
    for path in ["ping", "d", "d/one", "link", "fifo"] {
        let metadata = fs::symlink_metadata(layer.join(path)).expect("stat");
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 5678), "{path}");
    }
    let links = ["d/one", "another"].map(|path| fs::metadata(layer.join(path)).expect("stat").ino());
    assert_eq!(links[0], links[1]);
    assert!(fs::metadata(layer.join("sparse")).expect("stat").blocks() * 512 < 1 << 20, "holes stay holes");
}

#[test]
fn access_lists_are_part_of_a_state() {
    let mut scratch = Scratch::new();
    let stacks = by_hand(&scratch);
    let set = |path: &str, list: &str, user: u32| {
        setxattr(scratch.path(path), format!("system.posix_acl_{list}"), &access_list(user), XattrFlags::empty())
            .expect("setxattr");
    };
    for path in ["base/d", "theirs/d", "theirs/new/sub"] {
        scratch.directory(path);
    }
    for (path, content) in [("base/d/both", "1\n2\n3\n"), ("theirs/d/both", "1\n2\nthree\n")] {
        fs::write(scratch.path(path), content).expect("write");
    }
    for path in ["theirs/d/taken", "theirs/d/plain", "theirs/new/plain", "theirs/new/sub/taken"] {
        fs::write(scratch.path(path), path).expect("write");
    }
    fs::write(scratch.directory("ours/d").join("both"), "one\n2\n3\n").expect("write");
    // After what is in them, which has none of its own and must not inherit any on the way.
    for (path, user) in [("base/d", 1), ("ours/d", 2), ("theirs/d", 3), ("theirs/new", 4)] {
        set(path, "access", user);
        set(path, "default", user);
    }
    for (path, user) in
        [("base/d/both", 5), ("ours/d/both", 6), ("theirs/d/both", 7), ("theirs/d/taken", 8), ("theirs/new/sub/taken", 9)]
    {
        set(path, "access", user);
    }
    let (our_tree, their_tree) = (snapshot(&scratch.path("ours")), snapshot(&scratch.path("theirs")));
    let layer = scratch.directory("into");
    let merged = merge(&stacks, &MergeOptions::default(), Some(into(&layer)), &mut go_on).expect("merge");
    assert_eq!(merged.merged, [b"d/both".to_vec()]);
    assert_eq!(merged.written.map(|written| written.attributes_left_behind), Some(0));
    let after = mounted(&mut scratch, "into", &stacks.ours);
    for path in ["d/taken", "d/plain", "new", "new/plain", "new/sub", "new/sub/taken"] {
        assert_eq!(after[path.as_bytes()], their_tree[path.as_bytes()], "{path}");
    }
    assert_eq!(after[b"d".as_slice()], our_tree[b"d".as_slice()]);
    let both = &after[b"d/both".as_slice()];
    assert_eq!((&both.attributes, both.mode), (&our_tree[b"d/both".as_slice()].attributes, 0o755));
    assert_eq!(both.content, b"one\n2\nthree\n");
}

#[test]
fn what_layers_say_about_each_other_is_no_attribute_that_was_left_behind() {
    let attributes = ["user.overlay.origin", "user.overlay.impure", "user.overlay.overlay.origin", "trusted.overlay.origin"];
    // Where the mount does not obey it, it is data, and so it is always where it is escaped.
    for (marks, left_behind) in [(Marks::Trusted, 3), (Marks::User, 1)] {
        let scratch = Scratch::new();
        let stacks = MergeStacks { marks, ..by_hand(&scratch) };
        for attribute in attributes {
            setxattr(scratch.directory("theirs/d"), attribute, b"", XattrFlags::empty()).expect("setxattr");
        }
        let layer = scratch.directory("into");
        let merged = merge(&stacks, &MergeOptions::default(), Some(into(&layer)), &mut go_on).expect("merge");
        assert_eq!(merged.written.map(|written| written.attributes_left_behind), Some(left_behind), "{marks:?}");
        let kept: Vec<Vec<u8>> = snapshot(&layer)[b"d".as_slice()].attributes.keys().cloned().collect();
        let opaque = if marks == Marks::User { b"user.overlay.opaque".to_vec() } else { b"trusted.overlay.opaque".to_vec() };
        assert_eq!(kept, [opaque], "{marks:?}");
    }
}

#[test]
fn what_is_merged_by_lines_keeps_ours_owner_and_attributes_and_is_of_now() {
    let scratch = Scratch::new();
    let stacks = by_hand(&scratch);
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    for (name, content) in [("base", "1\n2\n3\n"), ("ours", "one\n2\n3\n"), ("theirs", "1\n2\nthree\n")] {
        let path = scratch.path(name).join("f");
        fs::write(&path, content).expect("write");
        chown(&path, Some(if name == "ours" { 7 } else { 8 }), Some(9)).expect("chown");
        setxattr(&path, "user.of", name.as_bytes(), XattrFlags::empty()).expect("setxattr");
        fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(old)).expect("set a time");
    }
    let layer = scratch.directory("into");
    let merged = merge(&stacks, &MergeOptions::default(), Some(into(&layer)), &mut go_on).expect("merge");
    assert_eq!((merged.merged, merged.taken), (vec![b"f".to_vec()], Vec::new()));
    let metadata = fs::metadata(layer.join("f")).expect("stat");
    assert_eq!((metadata.uid(), metadata.gid()), (7, 9));
    assert!(metadata.modified().expect("a time") > old);
    let mut value = [0; 16];
    let length = getxattr(layer.join("f"), "user.of", &mut value[..]).expect("getxattr");
    assert_eq!(&value[..length], b"ours");
    assert_eq!(fs::read(layer.join("f")).expect("read"), b"one\n2\nthree\n");
}

#[test]
fn one_id_keeps_everything_for_itself() {
    let scratch = Scratch::new();
    let stacks = by_hand(&scratch);
    fs::write(scratch.path("theirs/f"), "1").expect("write");
    chown(scratch.path("theirs/f"), Some(7), Some(7)).expect("chown");
    let layer = scratch.directory("into");
    let into = NewLayer { owners: Owners::CallerOnly, ..into(&layer) };
    merge(&stacks, &MergeOptions::default(), Some(into), &mut go_on).expect("merge");
    assert_eq!(fs::metadata(layer.join("f")).expect("stat").uid(), 0);
}

/// A directory that ours does not have is marked, by the name that is asked for; one that ours has is not, nor what is in one that is marked.
#[test]
fn new_directories_are_opaque() {
    for (marks, attribute) in [(Marks::Trusted, "trusted.overlay.opaque"), (Marks::User, "user.overlay.opaque")] {
        let forks = Forks::new(
            &[write("old/f", "1"), write("gone/f", "1"), write("file", "1")],
            &[remove("gone")],
            &[write("old/g", "2"), write("gone/g", "2"), write("file/g/h", "2"), write("new/g", "2")],
        );
        let layer = forks.scratch.directory("into");
        let stacks = MergeStacks { marks, ..forks.stacks };
        merge(&stacks, &MergeOptions::default(), Some(into(&layer)), &mut go_on).expect("merge");
        let all = snapshot(&layer);
        let marked: Vec<&str> = all
            .iter()
            .filter(|(_, node)| node.attributes.get(attribute.as_bytes()).is_some_and(|value| value == b"y"))
            .map(|(path, _)| std::str::from_utf8(path).expect("text"))
            .collect();
        assert_eq!(marked, ["file", "gone", "new"]);
    }
}

/// What anybody inside may set takes nothing away: not what the other side has, nor what there is to be merged with it.
#[test]
fn marks_that_the_mount_does_not_obey_are_no_changes() {
    for (marks, lie) in [(Marks::Trusted, "user"), (Marks::User, "trusted")] {
        for liar in ["ours", "theirs"] {
            let mut scratch = Scratch::new();
            let stacks = MergeStacks { marks, ..by_hand(&scratch) };
            for layer in ["base", "ours", "theirs"] {
                scratch.directory(&format!("{layer}/d"));
            }
            for (path, content) in [("base/d/kept", "1\n"), ("base/d/empty", ""), ("base/d/edited", "1\n")] {
                fs::write(scratch.path(path), content).expect("write");
            }
            fs::write(scratch.path("ours/d/ours"), "2\n").expect("write");
            fs::write(scratch.path("theirs/d/edited"), "2\n").expect("write");
            fs::write(scratch.path("theirs/d/theirs"), "2\n").expect("write");
            let liar = scratch.path(liar);
            fs::write(liar.join("d/empty"), "").expect("write");
            for (path, mark) in [("d", "opaque"), ("d/empty", "whiteout")] {
                setxattr(liar.join(path), format!("{lie}.overlay.{mark}"), b"y", XattrFlags::empty()).expect("setxattr");
            }
            let layer = scratch.directory("into");
            let merged = merge(&stacks, &MergeOptions::default(), Some(into(&layer)), &mut go_on).expect("merge");
            assert_eq!(merged.conflicts, [], "{marks:?}");
            let taken: Vec<(&[u8], Status)> = merged.taken.iter().map(|taken| (taken.path.as_slice(), taken.status)).collect();
            assert_eq!(taken, [(b"d/edited".as_slice(), Status::Modified), (b"d/theirs", Status::Added)], "{marks:?}");
            let view = scratch.sealed_overlay("view", &[vec![layer], stacks.ours].concat(), marks);
            let names =
                ["d/edited", "d/empty", "d/kept", "d/ours", "d/theirs"].map(|name| fs::read_to_string(view.join(name)).ok());
            assert_eq!(names, ["2\n", "", "1\n", "2\n", "2\n"].map(|content| Some(content.to_owned())), "{marks:?}");
        }
    }
}

#[test]
fn a_layer_that_is_not_empty_or_of_the_merge_is_refused() {
    let forks = Forks::new(&[], &[], &[write("f", "1")]);
    fs::write(forks.scratch.directory("full").join("f"), "").expect("write");
    assert_eq!(forks.merge_into(&MergeOptions::default(), "full").expect_err("not empty").kind(), ErrorKind::Refused);
    assert_eq!(forks.merge_into(&MergeOptions::default(), "ours/0").expect_err("ours").kind(), ErrorKind::Refused);
    assert_eq!(forks.merge_into(&MergeOptions::default(), "nowhere").expect("an empty one").taken.len(), 1);
}

#[test]
fn a_conflict_brings_along_what_a_decision_needs() {
    let forks = Forks::new(
        &[write("f", "1\n2\n3\n4\n5\n"), write("b", "\0"), link("l", "0"), write("large", "x")],
        &[write("f", "0\n1\nours\n3\n4\n5!\n"), chmod("f", 0o755), write("b", "\0a"), link("l", "1"), write("large", "y")],
        &[write("f", "1\ntheirs\n3\n4\n5?\n"), write("b", "\0bb"), link("l", "2"), remove("large")],
    );
    let large = "y\n".repeat(usize::try_from(CONFLICT_TEXT_BYTES_MAX).expect("it fits") / 2 + 1);
    fs::write(forks.stacks.ours[0].join("large"), &large).expect("write");
    let merged = forks.merge(&MergeOptions::default());
    let version =
        |kind, mode, size_bytes, text: Option<&str>| Some(super::Version { kind, mode, size_bytes, text: text.map(str::to_owned) });
    let hunk = |ours_line, base: &str, ours: &str, theirs: &str| ConflictHunk {
        ours_line,
        base: base.into(),
        ours: ours.into(),
        theirs: theirs.into(),
    };
    let expected = [
        Conflict {
            path: b"b".to_vec(),
            kind: ConflictKind::Content,
            base: version(Kind::File, 0o644, 1, None),
            ours: version(Kind::File, 0o644, 2, None),
            theirs: version(Kind::File, 0o644, 3, None),
            hunks: Vec::new(),
        },
        Conflict {
            path: b"f".to_vec(),
            kind: ConflictKind::Lines,
            base: version(Kind::File, 0o644, 10, Some("1\n2\n3\n4\n5\n")),
            ours: version(Kind::File, 0o755, 16, Some("0\n1\nours\n3\n4\n5!\n")),
            theirs: version(Kind::File, 0o644, 16, Some("1\ntheirs\n3\n4\n5?\n")),
            hunks: vec![hunk(3, "2\n", "ours\n", "theirs\n"), hunk(6, "5\n", "5!\n", "5?\n")],
        },
        Conflict {
            path: b"l".to_vec(),
            kind: ConflictKind::Content,
            base: version(Kind::Symlink, 0o777, 1, Some("0")),
            ours: version(Kind::Symlink, 0o777, 1, Some("1")),
            theirs: version(Kind::Symlink, 0o777, 1, Some("2")),
            hunks: Vec::new(),
        },
        Conflict {
            path: b"large".to_vec(),
            kind: ConflictKind::ModifiedAndDeleted,
            base: version(Kind::File, 0o644, 1, Some("x")),
            ours: version(Kind::File, 0o644, large.len() as u64, None),
            theirs: None,
            hunks: Vec::new(),
        },
    ];
    assert_eq!(merged.conflicts, expected);
}

#[test]
fn binary_files_can_be_decided_apart_from_the_rest() {
    let edits =
        |byte: &str| vec![write("b", &format!("\0{byte}")), write("new", &format!("\0{byte}")), write("t", &format!("{byte}\n"))];
    let mut forks = Forks::new(&[write("b", "\0"), write("t", "t\n")], &edits("ours"), &edits("theirs"));
    let conflicts = |merged: &Merged| merged.conflicts.iter().map(|conflict| conflict.path.clone()).collect::<Vec<_>>();
    let binary = Some(Favour::Theirs);
    assert_eq!(conflicts(&forks.merge(&MergeOptions { binary, favour: None })), [b"t"]);
    let merged = forks.merge(&MergeOptions { binary, favour: Some(Favour::Ours) });
    assert_eq!(merged.settled.len(), 3);
    let expected = [("b", "\0theirs"), ("new", "\0theirs"), ("t", "ours\n")];
    assert_eq!(forks.after(), expected.into_iter().map(|(path, content)| (path.into(), file(content))).collect());
}

#[test]
fn conflicts_beyond_the_limit_are_counted() {
    let scratch = Scratch::new();
    let stacks = by_hand(&scratch);
    let text = |name: &str| format!("{name}\n").repeat(2000);
    for name in ["ours", "theirs"] {
        for number in 0..CONFLICTS_MAX + 10 {
            fs::write(scratch.path(name).join(number.to_string()), text(name)).expect("write");
        }
    }
    let merged = merge(&stacks, &MergeOptions::default(), None, &mut go_on).expect("merge");
    assert_eq!((merged.conflicts.len(), merged.conflict_count), (CONFLICTS_MAX, CONFLICTS_MAX as u64 + 10));
    let texts = merged.conflicts.iter().flat_map(|conflict| [&conflict.ours, &conflict.theirs]).flatten();
    let bytes: usize = texts.filter_map(|version| version.text.as_ref()).map(String::len).sum();
    assert!(bytes > 0 && bytes <= crate::limits::CONFLICT_TEXTS_BYTES_MAX, "{bytes}");
}

/// A chain as deep as a hostile workload makes it: taken, deleted, and on the way to one file.
#[test]
fn deep_chains_are_merged_without_recursion() {
    use crate::import::tests::deep_tree;
    let scratch = Scratch::new();
    let stacks = by_hand(&scratch);
    deep_tree(&scratch.path("theirs"), 4000);
    let layer = scratch.directory("into");
    let merged = merge(&stacks, &MergeOptions::default(), Some(into(&layer)), &mut go_on).expect("merge");
    assert_eq!(merged.taken.len(), 4002);
    let result = vec![layer, scratch.path("base")];
    assert_eq!(
        diff(&Stacks { old: stacks.theirs, new: result.clone(), marks: Marks::Trusted }, b"", &mut go_on).expect("diff"),
        []
    );
    // From there back to nothing.
    let back =
        MergeStacks { base: result.clone(), ours: result.clone(), theirs: vec![scratch.path("base")], marks: Marks::Trusted };
    let emptied = scratch.directory("emptied");
    let merged = merge(&back, &MergeOptions::default(), Some(into(&emptied)), &mut go_on).expect("merge");
    assert_eq!((merged.taken.len(), merged.written.map(|written| written.entry_count)), (4002, Some(2)));
    let stacks = Stacks { old: vec![scratch.path("base")], new: [vec![emptied], result].concat(), marks: Marks::Trusted };
    assert_eq!(diff(&stacks, b"", &mut go_on).expect("diff"), []);
}

#[test]
fn it_ends_wherever_it_is_told_to() {
    let run = |calls: usize| {
        let forks =
            Forks::new(&[write("f", "1\n2\n3\n")], &[write("f", "a\n2\n3\n")], &[write("f", "1\n2\nc\n"), write("d/g", "g")]);
        let mut left = calls;
        let mut watch = |_: Progress| match left.checked_sub(1) {
            Some(less) => {
                left = less;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        };
        let layer = forks.scratch.directory("into");
        merge(&forks.stacks, &MergeOptions::default(), Some(into(&layer)), &mut watch).map(|merged| merged.written.is_some())
    };
    let calls = (0..100).find(|calls| run(*calls).is_ok()).expect("it ends by itself");
    assert!(calls > 5);
    for calls in 0..calls {
        assert_eq!(run(calls).expect_err("it was broken off").kind(), ErrorKind::Cancelled);
    }
}
