//! Diffs against what the kernel's own overlay shows.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rustix::fs::{XattrFlags, setxattr};

use super::{Change, Kind, Status, diff};
use crate::testing::model::{self, Edit, Item, Tree, Whims, directory, file};
use crate::testing::{Node, Scratch, go_on, name, slice, snapshot};
use crate::{ErrorKind, Marks, PatchLimits, Stack, Stacks, unified_patch};

/// Something that a workload does to its files.
#[derive(Clone, Debug)]
enum Operation {
    Write { path: usize, content: usize },
    Append { path: usize },
    SameContent { path: usize },
    MakeDirectory { path: usize },
    Remove { path: usize },
    RemoveAndMakeDirectory { path: usize },
    Rename { from: usize, to: usize },
    Symlink { path: usize, target: usize },
    Chmod { path: usize, mode: usize },
    Touch { path: usize },
    Link { from: usize, to: usize },
    Fifo { path: usize },
}

/// Names that have made trouble: quoting, spaces, bytes that are not text, a name that sorts between a directory and what is in it.
const NAMES: [&[u8]; 8] = [b"a", b"b", b"a.c", b"with space", b"new\nline", b"\"quo\\te\"", b"\xff\xfe", "umläut\t".as_bytes()];

const CONTENTS: [&str; 8] = [
    "",
    "one\n",
    "one\ntwo\nthree\n",
    "one\ntwo\nthree",
    "no newline",
    "carriage\r\nreturn\rhere\n",
    "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n20\n",
    "1\n2\n3\nfour\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\ntwenty",
];

const MODES: [u32; 5] = [0o644, 0o755, 0o600, 0o4755, 0o000];

/// Paths of one to three names, in a fixed order.
fn path_of(index: usize) -> Vec<u8> {
    let count = NAMES.len();
    let (first, rest) = (index % count, index / count);
    let mut path = NAMES[first].to_vec();
    // Few second and third names, so that operations meet each other.
    for index in [rest % 4, (rest / 4) % 3] {
        if index > 0 {
            path.push(b'/');
            path.extend_from_slice(NAMES[(first + index) % count]);
        } else {
            break;
        }
    }
    path
}

const PATHS: usize = 8 * 4 * 3;

fn operation() -> impl Strategy<Value = Operation> {
    let path = || 0..PATHS;
    prop_oneof![
        6 => (path(), 0..CONTENTS.len()).prop_map(|(path, content)| Operation::Write { path, content }),
        2 => path().prop_map(|path| Operation::Append { path }),
        2 => path().prop_map(|path| Operation::SameContent { path }),
        4 => path().prop_map(|path| Operation::MakeDirectory { path }),
        4 => path().prop_map(|path| Operation::Remove { path }),
        3 => path().prop_map(|path| Operation::RemoveAndMakeDirectory { path }),
        3 => (path(), path()).prop_map(|(from, to)| Operation::Rename { from, to }),
        2 => (path(), path()).prop_map(|(path, target)| Operation::Symlink { path, target }),
        2 => (path(), 0..MODES.len()).prop_map(|(path, mode)| Operation::Chmod { path, mode }),
        1 => path().prop_map(|path| Operation::Touch { path }),
        2 => (path(), path()).prop_map(|(from, to)| Operation::Link { from, to }),
        1 => path().prop_map(|path| Operation::Fifo { path }),
    ]
}

fn remove(path: &Path) {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        let _ = fs::remove_dir_all(path);
    } else {
        let _ = fs::remove_file(path);
    }
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Whether every directory above is a real one: the operations must not walk through their own links.
fn is_reachable(root: &Path, path: &[u8]) -> bool {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    (1..names.len())
        .all(|count| root.join(name(&names[..count].join(&b'/'))).symlink_metadata().is_ok_and(|metadata| metadata.is_dir()))
}

/// Does an operation; what cannot be done is left, as a workload's failing call would be.
fn perform(root: &Path, operation: &Operation) {
    let at = |index: usize| {
        let path = path_of(index);
        is_reachable(root, &path).then(|| root.join(name(&path)))
    };
    match *operation {
        Operation::Write { path, content } => {
            // Parents are made, else most writes would fail.
            let bytes = path_of(path);
            let full = root.join(name(&bytes));
            if let Some(parent) = full.parent()
                && !parent.exists()
            {
                let _ = fs::create_dir_all(parent);
            }
            if is_reachable(root, &bytes) && (is_file(&full) || full.symlink_metadata().is_err()) {
                let _ = fs::write(&full, CONTENTS[content]);
            }
        }
        Operation::Append { path } => {
            if let Some(path) = at(path).filter(|path| is_file(path)) {
                let mut content = fs::read(&path).unwrap_or_default();
                content.extend_from_slice(b"appended\n");
                let _ = fs::write(&path, content);
            }
        }
        Operation::SameContent { path } => {
            if let Some(path) = at(path).filter(|path| is_file(path)) {
                let content = fs::read(&path).unwrap_or_default();
                let _ = fs::write(&path, content);
            }
        }
        Operation::MakeDirectory { path } => {
            if let Some(path) = at(path) {
                let _ = fs::create_dir(path);
            }
        }
        Operation::Remove { path } => {
            if let Some(path) = at(path) {
                remove(&path);
            }
        }
        Operation::RemoveAndMakeDirectory { path } => {
            if let Some(path) = at(path) {
                remove(&path);
                let _ = fs::create_dir(&path);
            }
        }
        Operation::Rename { from, to } => {
            if let (Some(from), Some(to)) = (at(from), at(to)) {
                // A directory of a lower layer answers EXDEV, as it does to `mv`.
                let _ = fs::rename(from, to);
            }
        }
        Operation::Symlink { path, target } => {
            if let Some(path) = at(path) {
                if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                    let _ = fs::remove_file(&path);
                }
                // A target that is not text would be a binary file to git, which is tested by itself. Never to a link of the tree: where links go
                // round in a circle, git looks for what a patch makes in place of one, and gives up (`check_to_create` of its apply.c).
                let target = format!("nowhere/{}", String::from_utf8(path_of(target)).unwrap_or_else(|_| "else".to_owned()));
                let _ = symlink(target, path);
            }
        }
        Operation::Chmod { path, mode } => {
            if let Some(path) = at(path).filter(|path| !path.is_symlink()) {
                let _ = fs::set_permissions(path, fs::Permissions::from_mode(MODES[mode]));
            }
        }
        Operation::Touch { path } => {
            if let Some(path) = at(path).filter(|path| is_file(path))
                && let Ok(file) = fs::OpenOptions::new().append(true).open(path)
            {
                let _ = file.set_modified(std::time::UNIX_EPOCH);
            }
        }
        Operation::Link { from, to } => {
            if let (Some(from), Some(to)) = (at(from), at(to)) {
                let _ = fs::hard_link(from, to);
            }
        }
        Operation::Fifo { path } => {
            if let Some(path) = at(path) {
                let _ = rustix::fs::mknodat(
                    rustix::fs::CWD,
                    path,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::RUSR,
                    rustix::fs::Dev::default(),
                );
            }
        }
    }
}

/// What a diff has to say, from two whole walks.
fn expected(before: &BTreeMap<Vec<u8>, Node>, after: &BTreeMap<Vec<u8>, Node>) -> BTreeMap<Vec<u8>, (Status, char)> {
    let mut changes = BTreeMap::new();
    for (path, old) in before {
        match after.get(path) {
            None => {
                changes.insert(path.clone(), (Status::Deleted, old.kind));
            }
            Some(new) if new.kind != old.kind => {
                changes.insert(path.clone(), (Status::TypeChanged, new.kind));
            }
            Some(new) if new.content != old.content || (new.kind != 'l' && new.mode != old.mode) => {
                changes.insert(path.clone(), (Status::Modified, new.kind));
            }
            Some(_) => {}
        }
    }
    for (path, new) in after {
        if !before.contains_key(path) {
            changes.insert(path.clone(), (Status::Added, new.kind));
        }
    }
    // The root of a stack is a mount point, not a path of it.
    changes.remove(b"".as_slice());
    changes
}

fn told(changes: &[Change]) -> BTreeMap<Vec<u8>, (Status, char)> {
    let letter = |kind| match kind {
        Kind::File => 'f',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Other => 'p',
    };
    changes.iter().map(|change| (change.path.clone(), (change.status, letter(change.kind())))).collect()
}

/// What git tracks of a tree: files and links with content and executable bit.
fn tracked(nodes: &BTreeMap<Vec<u8>, Node>) -> BTreeMap<Vec<u8>, (char, bool, Vec<u8>)> {
    nodes
        .iter()
        .filter(|(_, node)| matches!(node.kind, 'f' | 'l'))
        .map(|(path, node)| (path.clone(), (node.kind, node.kind == 'f' && node.mode & 0o100 != 0, node.content.clone())))
        .collect()
}

/// Applies a patch with the real git, outside any repository.
pub(crate) fn git_apply(tree: &Path, patch: &str) {
    git_apply_with(tree, patch, &[]);
}

pub(crate) fn git_apply_with(tree: &Path, patch: &str, arguments: &[&str]) {
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    fs::write(file.path(), patch).expect("write the patch");
    for check in [true, false] {
        let mut command = Command::new("git");
        command.args(["-c", "core.autocrlf=false", "apply", "--whitespace=nowarn"]).args(arguments);
        if check {
            command.arg("--check");
        }
        command.arg(file.path()).current_dir(tree);
        command
            .env("GIT_CEILING_DIRECTORIES", tree.parent().expect("a parent"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.output().expect("run git: this test needs git");
        assert!(output.status.success(), "git apply: {}\n{patch}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Copies a tree for git to work on, with an independent program. git knows neither FIFOs nor empty directories, and stumbles over
/// either where a file is to be: they stay behind.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().expect("run cp").success());
    assert!(Command::new("find").arg(to).args(["-type", "p", "-delete"]).status().expect("run find").success());
    assert!(
        Command::new("find")
            .arg(to)
            .args(["-mindepth", "1", "-type", "d", "-empty", "-delete"])
            .status()
            .expect("run find")
            .success()
    );
}

proptest! {
    #![proptest_config(slice(400))]

    #[test]
    fn says_exactly_what_two_whole_walks_say(
        base in prop::collection::vec(operation(), 0..25),
        sealed in prop::collection::vec(operation(), 0..15),
        live in prop::collection::vec(operation(), 1..20),
    ) {
        let mut scratch = Scratch::new();
        let lower = scratch.directory("base");
        for operation in &base {
            perform(&lower, operation);
        }
        // A layer that was once live, with whiteouts of its own.
        let first = scratch.overlay("first", "sealed", &["base"]);
        for operation in &sealed {
            perform(&first, operation);
        }
        scratch.unmount(&first);
        let second = scratch.overlay("second", "live", &["sealed", "base"]);
        let before = snapshot(&second);
        copy(&second, &scratch.path("copy"));
        for operation in &live {
            perform(&second, operation);
        }
        let after = snapshot(&second);
        let stacks = Stack { upper: scratch.path("live"), lowers: vec![scratch.path("sealed"), scratch.path("base")], marks: Marks::Trusted }.changes_of_upper();

        let mut changes = diff(&stacks, b"", &mut go_on).expect("diff");
        prop_assert_eq!(told(&changes), expected(&before, &after));
        prop_assert!(changes.windows(2).all(|pair| pair[0].path < pair[1].path));

        // A part of it is that part of the whole.
        for below in (0..PATHS).step_by(7).map(path_of) {
            let part = diff(&stacks, &below, &mut go_on).expect("diff of a part");
            let of_whole: Vec<Change> = changes.iter().filter(|change| super::is_at_or_below(&change.path, &below)).cloned().collect();
            prop_assert_eq!(part, of_whole);
        }

        let patch = unified_patch(&stacks, &mut changes, b"", PatchLimits::default(), &mut go_on).expect("patch");
        prop_assert_eq!(patch.omitted, 0);
        if !patch.text.is_empty() {
            git_apply(&scratch.path("copy"), &patch.text);
        }
        prop_assert_eq!(tracked(&snapshot(&scratch.path("copy"))), tracked(&after));
    }
}

/// Steps of edits, a layer each.
fn steps(layers: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Edit>>> {
    prop::collection::vec(prop::collection::vec(model::edits(), 0..8), layers)
}

proptest! {
    #![proptest_config(slice(600))]

    /// Two forks of a common stack, each with layers of its own, written in whichever of the ways there are.
    #[test]
    fn two_stacks_differ_in_what_they_show(
        base in steps(1..4),
        old in steps(0..4),
        new in steps(0..4),
        marks in prop::sample::select(vec![Marks::Trusted, Marks::User]),
        seed in any::<u64>(),
    ) {
        let mut scratch = Scratch::new();
        let mut whims = Whims::any(seed, marks);
        let (base, base_tree) = model::write_layers(&scratch.path("base"), (&[], &Tree::new()), &base, &mut whims);
        let (old, old_tree) = model::write_layers(&scratch.path("old"), (&base, &base_tree), &old, &mut whims);
        let (new, new_tree) = model::write_layers(&scratch.path("new"), (&base, &base_tree), &new, &mut whims);
        for (name, stack, tree) in [("old view", &old, &old_tree), ("new view", &new, &new_tree)] {
            let view = scratch.sealed_overlay(name, stack, marks);
            prop_assert_eq!(&model::shown(&snapshot(&view)), tree, "the model of these tests is that of the kernel");
            scratch.unmount(&view);
        }
        let stacks = Stacks { old: old.clone(), new: new.clone(), marks };
        let changes = diff(&stacks, b"", &mut go_on).expect("diff");
        prop_assert_eq!(model::told(&changes), model::difference(&old_tree, &new_tree));

        let back = diff(&Stacks { old: new, new: old.clone(), marks }, b"", &mut go_on).expect("the way back");
        prop_assert_eq!(model::told(&back), model::difference(&new_tree, &old_tree));

        for below in old_tree.keys().chain(new_tree.keys()) {
            let part = diff(&stacks, below, &mut go_on).expect("diff of a part");
            let of_whole: Vec<Change> = changes.iter().filter(|change| super::is_at_or_below(&change.path, below)).cloned().collect();
            prop_assert_eq!(part, of_whole);
        }

        // The same state by one layer, on the shared ones and on nothing.
        for (name, below, tree) in [("squashed", base, base_tree), ("whole", Vec::new(), Tree::new())] {
            let layer = scratch.path(name);
            model::write_layer(&layer, &tree, &old_tree, &mut whims);
            let same = Stacks { old: old.clone(), new: std::iter::once(layer).chain(below).collect(), marks };
            prop_assert_eq!(diff(&same, b"", &mut go_on).expect("diff"), []);
        }
    }
}

/// One step of making a layer by hand.
#[derive(Clone, Copy)]
enum Part {
    File(&'static str, &'static str),
    Directory(&'static str),
    Opaque(&'static str),
    Deletion(&'static str),
}

fn lay(scratch: &Scratch, layer: &str, parts: &[Part]) -> std::path::PathBuf {
    let root = scratch.directory(layer);
    for part in parts {
        let (Part::File(path, _) | Part::Directory(path) | Part::Opaque(path) | Part::Deletion(path)) = *part;
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        match part {
            Part::File(_, content) => fs::write(&path, content).expect("write"),
            Part::Directory(_) => fs::create_dir(&path).expect("mkdir"),
            Part::Opaque(_) => {
                fs::create_dir_all(&path).expect("mkdir");
                rustix::fs::setxattr(&path, "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).expect("setxattr");
            }
            Part::Deletion(_) => rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::CharacterDevice,
                rustix::fs::Mode::empty(),
                rustix::fs::Dev::default(),
            )
            .expect("make a whiteout"),
        }
    }
    root
}

/// Each row: layers of the old state, of the new, and of both, uppermost first, and what is different.
#[test]
fn a_layer_says_what_it_says_wherever_it_is_in_a_stack() {
    use Part::{Deletion, Directory, File, Opaque};
    use Status::{Added, Deleted, Modified, TypeChanged};
    type Row = (
        &'static str,
        &'static [&'static [Part]],
        &'static [&'static [Part]],
        &'static [&'static [Part]],
        &'static [(&'static str, Status)],
    );
    let table: &[Row] = &[
        (
            "several layers on both sides",
            &[&[File("old", "1")], &[File("both", "old"), File("same", "s")]],
            &[&[File("new", "1")], &[File("both", "new")], &[File("same", "s")]],
            &[&[File("base", "b")]],
            &[("both", Modified), ("new", Added), ("old", Deleted)],
        ),
        (
            "deleted in one layer and made again in another",
            &[],
            &[&[File("a", "again"), File("b", "b")], &[Deletion("a"), Deletion("b")]],
            &[&[File("a", "a"), File("b", "b")]],
            &[("a", Modified)],
        ),
        (
            "a file that was a directory in between",
            &[],
            &[&[File("a", "a")], &[Deletion("a/in")], &[Opaque("a"), File("a/in", "in")]],
            &[&[File("a", "a")]],
            &[],
        ),
        (
            "a directory where a file hid another",
            &[&[File("a", "file")]],
            &[&[Directory("a")], &[File("a", "file")]],
            &[&[File("a/in", "in"), Directory("a/d")]],
            &[("a", TypeChanged)],
        ),
        (
            "an opaque directory in the middle",
            &[],
            &[&[File("d/top", "t")], &[Opaque("d"), File("d/kept", "k")], &[File("d/hidden", "h")]],
            &[&[File("d/kept", "k"), File("d/gone/deep", "g")]],
            &[("d/gone", Deleted), ("d/gone/deep", Deleted), ("d/top", Added)],
        ),
        (
            "an opaque directory in the middle of both",
            &[&[File("d/1", "1")], &[Opaque("d")]],
            &[&[File("d/2", "2")], &[Opaque("d")]],
            &[&[File("d/gone", "g")]],
            &[("d/1", Deleted), ("d/2", Added)],
        ),
        (
            "a directory deleted in the middle and made again",
            &[],
            &[&[File("d/new", "n"), File("d/x", "x")], &[Deletion("d")], &[File("d/y", "y")]],
            &[&[File("d/x", "x"), File("d/z", "z")]],
            &[("d/new", Added), ("d/z", Deleted)],
        ),
        (
            "the same by other layers",
            &[&[File("d/a", "a"), File("d/b", "b")]],
            &[&[Deletion("d/z")], &[File("d/z", "z"), File("d/b", "b")], &[File("d/a", "a")]],
            &[&[File("base", "b")]],
            &[],
        ),
        ("nothing of its own", &[], &[], &[&[File("d/a", "a")], &[File("d/b", "b")]], &[]),
        (
            "nothing in common",
            &[&[File("d/a", "a"), File("d/b", "b")]],
            &[&[File("d/a", "a"), File("d/c", "c")]],
            &[],
            &[("d/b", Deleted), ("d/c", Added)],
        ),
        ("a deletion of what is not there", &[&[Deletion("a"), Deletion("d/b")]], &[], &[&[File("d/a", "a")]], &[]),
        (
            "a file below a directory of the same name",
            &[],
            &[&[File("a/in", "in")], &[Directory("a")], &[File("a", "file")]],
            &[&[File("a/hidden", "h")]],
            &[("a/hidden", Deleted), ("a/in", Added)],
        ),
    ];
    for (title, old, new, shared, expected) in table {
        let scratch = Scratch::new();
        let stack = |state: &str, layers: &[&[Part]]| -> Vec<std::path::PathBuf> {
            layers.iter().enumerate().map(|(number, parts)| lay(&scratch, &format!("{state}{number}"), parts)).collect()
        };
        let (old, new, shared) = (stack("old", old), stack("new", new), stack("shared", shared));
        let stacks = Stacks { old: [old, shared.clone()].concat(), new: [new, shared].concat(), marks: Marks::Trusted };
        let changes = diff(&stacks, b"", &mut go_on).expect(title);
        let told: Vec<(&str, Status)> =
            changes.iter().map(|change| (std::str::from_utf8(&change.path).expect("text"), change.status)).collect();
        assert_eq!(&told, expected, "{title}");
    }
}

/// Whatever anybody inside may set: a file or directory counts as deleted where the kernel shows it as deleted, by the marks of its mount.
#[test]
fn only_what_the_mount_obeys_deletes() {
    // Title, where in the upper layer, attribute, its value, and what is gone where the mount obeys it.
    let table: &[(&str, &str, &str, &str, &[&str])] = &[
        ("nothing", "d", "nothing", "", &[]),
        ("an opaque directory", "d", "opaque", "y", &["d/below", "d/empty", "d/full"]),
        ("a directory that may have attributes for whiteouts", "d", "opaque", "x", &[]),
        ("another value", "d", "opaque", "yes", &[]),
        ("the root", "", "opaque", "y", &[]),
        ("an empty file", "d/same/empty", "whiteout", "", &["d/same/empty"]),
        ("an empty file, with a value", "d/same/empty", "whiteout", "y", &["d/same/empty"]),
        ("a file with content", "d/same/full", "whiteout", "y", &[]),
        ("a directory", "d", "whiteout", "y", &[]),
        ("what has nothing below", "d/new", "whiteout", "y", &["d/new"]),
    ];
    for marks in [Marks::Trusted, Marks::User] {
        for (spelling, is_obeyed) in [("trusted", marks == Marks::Trusted), ("user", marks == Marks::User)] {
            for (title, at, attribute, value, gone) in table {
                let title = format!("{title}, {spelling}, {marks:?}");
                let mut scratch = Scratch::new();
                for path in ["lower/d/same", "upper/d/same"] {
                    scratch.directory(path);
                }
                let below = ["d/below", "d/empty", "d/full", "d/same/empty", "d/same/full"];
                for (path, content) in below.iter().zip(["below", "", "full", "", "full"]) {
                    fs::write(scratch.path("lower").join(path), content).expect("write");
                }
                for (path, content) in [("d/same/empty", ""), ("d/same/full", "full"), ("d/new", "")] {
                    fs::write(scratch.path("upper").join(path), content).expect("write");
                }
                let attribute = format!("{spelling}.overlay.{attribute}");
                setxattr(scratch.path("upper").join(at), attribute, value.as_bytes(), XattrFlags::empty()).expect("setxattr");
                let gone: &[&str] = if is_obeyed { gone } else { &[] };

                let layers = [scratch.path("upper"), scratch.path("lower")];
                let stack = Stack { upper: layers[0].clone(), lowers: vec![layers[1].clone()], marks };
                let changes = diff(&stack.changes_of_upper(), b"", &mut go_on).expect("diff");
                let told: Vec<(&str, Status)> =
                    changes.iter().map(|change| (std::str::from_utf8(&change.path).expect("text"), change.status)).collect();
                let is_new = (!gone.contains(&"d/new")).then_some(("d/new", Status::Added));
                let gone_below = gone.iter().filter(|path| below.contains(path)).map(|path| (*path, Status::Deleted));
                let mut expected: Vec<(&str, Status)> = gone_below.chain(is_new).collect();
                expected.sort_by_key(|(path, _)| *path);
                assert_eq!(told, expected, "{title}");

                let sealed = scratch.sealed_overlay("sealed", &layers, marks);
                let live = scratch.overlay_with("live", "upper", &["lower"], marks);
                for view in [sealed, live] {
                    let is_gone = |path: &&&str| fs::symlink_metadata(view.join(path)).is_err();
                    let missing: Vec<&str> = below.iter().chain(&["d/new"]).filter(is_gone).copied().collect();
                    assert_eq!(missing, gone, "{title}: the kernel shows the same");
                }
            }
        }
    }
}

#[test]
fn a_place_deep_inside_is_compared_across_layers() {
    let scratch = Scratch::new();
    let put = |path: &str, item: Item| Edit::Put { path: path.into(), item };
    let (base, tree) = model::write_layers(
        &scratch.path("base"),
        (&[], &Tree::new()),
        &[vec![put("a/b/c/d/1", file("1")), put("a/b/c/d/2", file("2")), put("a/x", file("x"))]],
        &mut Whims::any(1, Marks::Trusted),
    );
    let (old, _) = model::write_layers(
        &scratch.path("old"),
        (&base, &tree),
        &[vec![put("a/b/c", file("c"))]],
        &mut Whims::any(2, Marks::Trusted),
    );
    let (new, _) = model::write_layers(
        &scratch.path("new"),
        (&base, &tree),
        &[vec![put("a/b/c/d/3", file("3"))], vec![put("a/b/c/d/2", directory()), put("a/y", file("y"))]],
        &mut Whims::any(3, Marks::Trusted),
    );
    let at = |below: &str| -> Vec<(String, Status)> {
        diff(&Stacks { old: old.clone(), new: new.clone(), marks: Marks::Trusted }, below.as_bytes(), &mut go_on)
            .expect("diff")
            .into_iter()
            .map(|change| (String::from_utf8(change.path).expect("text"), change.status))
            .collect()
    };
    let deep = ["a/b/c/d", "a/b/c/d/1", "a/b/c/d/2", "a/b/c/d/3"].map(|path| (path.to_owned(), Status::Added));
    assert_eq!(at("a/b/c/d"), deep);
    assert_eq!(at("/a/b//c/./d/2/"), deep[2..3]);
    assert_eq!(at("a/b/c"), [[("a/b/c".to_owned(), Status::TypeChanged)].as_slice(), &deep].concat());
    assert_eq!(at("a/x"), []);
    assert_eq!(at("a/x/below/a/file"), []);
}

#[test]
fn a_stack_without_layers_is_refused_and_one_with_too_many_is_a_limit() {
    let scratch = Scratch::new();
    let layer = scratch.directory("layer");
    let kind = |old: usize, new: usize| {
        let stacks = Stacks { old: vec![layer.clone(); old], new: vec![scratch.directory("other"); new], marks: Marks::Trusted };
        diff(&stacks, b"", &mut go_on).map_err(|error| error.kind())
    };
    assert_eq!(kind(0, 1), Err(ErrorKind::Refused));
    assert_eq!(kind(1, 0), Err(ErrorKind::Refused));
    assert_eq!(kind(150, 51), Err(ErrorKind::Limit));
    assert_eq!(kind(150, 50), Ok(Vec::new()));
}

/// Descriptors are shared out among layers: with many of them a walk holds few directories of each open, and finds its way back all the same.
#[test]
fn many_layers_and_deep_directories_fit_into_few_descriptors() {
    let scratch = Scratch::new();
    let path = vec!["d"; 40].join("/");
    let stack: Vec<std::path::PathBuf> = (0..199)
        .map(|number| {
            let layer = scratch.directory(&format!("layer{number}"));
            fs::create_dir_all(layer.join(&path)).expect("mkdir");
            fs::write(layer.join(&path).join(number.to_string()), "").expect("write");
            fs::write(layer.join("d").join(number.to_string()), "").expect("write");
            layer
        })
        .collect();
    let changes =
        diff(&Stacks { old: vec![scratch.directory("empty")], new: stack, marks: Marks::Trusted }, b"", &mut go_on).expect("diff");
    assert_eq!(changes.len(), 40 + 2 * 199);
}

/// A chain as deep as a hostile workload makes it, in the upper layer, in the lower, and across both.
#[test]
fn deep_chains_are_compared_without_recursion() {
    use crate::import::tests::deep_tree;
    let scratch = Scratch::new();
    let (deep, empty) = (scratch.directory("deep"), scratch.directory("empty"));
    deep_tree(&deep, 4000);
    let added = diff(
        &Stack { upper: deep.clone(), lowers: vec![empty.clone()], marks: Marks::Trusted }.changes_of_upper(),
        b"",
        &mut go_on,
    )
    .expect("diff");
    assert_eq!(added.len(), 4002);
    assert!(added.iter().all(|change| change.status == Status::Added));
    // The top directory deleted.
    let whiteout = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, empty.join("d"), whiteout, rustix::fs::Mode::empty(), rustix::fs::Dev::default())
        .expect("make a whiteout");
    let deleted =
        diff(&Stack { upper: empty, lowers: vec![deep.clone()], marks: Marks::Trusted }.changes_of_upper(), b"d", &mut go_on)
            .expect("diff");
    assert_eq!(deleted.len(), 4001);
    assert!(deleted.iter().all(|change| change.status == Status::Deleted));
    // The same in both: one file at the bottom to compare.
    let other = scratch.directory("other");
    deep_tree(&other, 4000);
    assert_eq!(
        diff(&Stack { upper: other, lowers: vec![deep], marks: Marks::Trusted }.changes_of_upper(), b"", &mut go_on).expect("diff"),
        []
    );
}

#[test]
fn a_layer_whose_names_would_fill_memory_is_a_limit() {
    let scratch = Scratch::new();
    let (upper, lower) = (scratch.directory("upper"), scratch.directory("lower"));
    let long = std::ffi::CString::new(vec![b'n'; 255]).expect("no NUL");
    let mut at = crate::beneath::open_root(&upper).expect("open");
    for _ in 0..1500 {
        rustix::fs::mkdirat(&at, &long, rustix::fs::Mode::RWXU).expect("mkdir");
        at = rustix::fs::openat(&at, &long, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).expect("open");
    }
    let error = diff(&Stack { upper, lowers: vec![lower], marks: Marks::Trusted }.changes_of_upper(), b"", &mut go_on)
        .expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::Limit);
}
