//! Diffs against what the kernel's own overlay shows.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::{Change, Kind, Stack, Status, diff};
use crate::testing::{Node, Scratch, go_on, name, snapshot};
use crate::{PatchLimits, unified_patch};

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
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    fs::write(file.path(), patch).expect("write the patch");
    for check in [true, false] {
        let mut command = Command::new("git");
        command.args(["-c", "core.autocrlf=false", "apply", "--whitespace=nowarn"]);
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

/// The same cases every time, so that a change is judged by itself; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose others.
fn slice() -> ProptestConfig {
    let chosen = ProptestConfig::default();
    let rng_seed = match chosen.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        seed @ RngSeed::Fixed(_) => seed,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { chosen.cases } else { 400 };
    ProptestConfig { cases, rng_seed, failure_persistence: None, max_shrink_iters: 2000, ..chosen }
}

proptest! {
    #![proptest_config(slice())]

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
        let stack = Stack { upper: scratch.path("live"), lowers: vec![scratch.path("sealed"), scratch.path("base")] };

        let mut changes = diff(&stack, b"", &mut go_on).expect("diff");
        prop_assert_eq!(told(&changes), expected(&before, &after));
        prop_assert!(changes.windows(2).all(|pair| pair[0].path < pair[1].path));

        // A part of it is that part of the whole.
        for below in (0..PATHS).step_by(7).map(path_of) {
            let part = diff(&stack, &below, &mut go_on).expect("diff of a part");
            let of_whole: Vec<Change> = changes.iter().filter(|change| super::is_at_or_below(&change.path, &below)).cloned().collect();
            prop_assert_eq!(part, of_whole);
        }

        let patch = unified_patch(&stack, &mut changes, b"", PatchLimits::default(), &mut go_on).expect("patch");
        prop_assert_eq!(patch.omitted, 0);
        if !patch.text.is_empty() {
            git_apply(&scratch.path("copy"), &patch.text);
        }
        prop_assert_eq!(tracked(&snapshot(&scratch.path("copy"))), tracked(&after));
    }
}

/// A chain as deep as a hostile workload makes it, in the upper layer, in the lower, and across both.
#[test]
fn deep_chains_are_compared_without_recursion() {
    use crate::import::tests::deep_tree;
    let scratch = Scratch::new();
    let (deep, empty) = (scratch.directory("deep"), scratch.directory("empty"));
    deep_tree(&deep, 4000);
    let added = diff(&Stack { upper: deep.clone(), lowers: vec![empty.clone()] }, b"", &mut go_on).expect("diff");
    assert_eq!(added.len(), 4002);
    assert!(added.iter().all(|change| change.status == Status::Added));
    // The top directory deleted.
    let whiteout = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, empty.join("d"), whiteout, rustix::fs::Mode::empty(), rustix::fs::Dev::default())
        .expect("make a whiteout");
    let deleted = diff(&Stack { upper: empty, lowers: vec![deep.clone()] }, b"d", &mut go_on).expect("diff");
    assert_eq!(deleted.len(), 4001);
    assert!(deleted.iter().all(|change| change.status == Status::Deleted));
    // The same in both: one file at the bottom to compare.
    let other = scratch.directory("other");
    deep_tree(&other, 4000);
    assert_eq!(diff(&Stack { upper: other, lowers: vec![deep] }, b"", &mut go_on).expect("diff"), []);
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
    let error = diff(&Stack { upper, lowers: vec![lower] }, b"", &mut go_on).expect_err("too much");
    assert_eq!(error.kind(), crate::ErrorKind::Limit);
}
