//! What is asked of several mounts at once. What a change is, is tested where it is found.

use std::fs;
use std::ops::ControlFlow;

use pyro_wire::SandboxPath;
use pyro_wire::message::ChangeStatus;

use super::{Detail, MountedStack, below_in_mount, changed};
use crate::{ErrorKind, Marks, Progress, Stack, Stacks};

fn path(text: &str) -> SandboxPath {
    text.parse().expect("a path")
}

#[test]
fn a_path_is_looked_for_in_the_mount_that_shows_it() {
    let mount = |at: &str| MountedStack {
        at: at.into(),
        stacks: Stacks { old: vec!["l".into()], new: vec!["u".into(), "l".into()], marks: Marks::Trusted },
    };
    let all = [mount("/"), mount("/usr")];
    let table = [
        ("/workspace", Some("workspace"), None),
        ("/workspace/a/b", Some("workspace/a/b"), None),
        ("/", Some(""), Some("")),
        ("/usr", None, Some("")),
        ("/usr/lib", None, Some("lib")),
        ("/usrx", Some("usrx"), None),
    ];
    for (text, root, usr) in table {
        assert_eq!(below_in_mount(&path(text), &all[0], &all).as_deref(), root, "{text} in /");
        assert_eq!(below_in_mount(&path(text), &all[1], &all).as_deref(), usr, "{text} in /usr");
    }
}

/// A root and a mount at /usr, each with one file that was written.
fn two_mounts(directory: &tempfile::TempDir) -> [MountedStack; 2] {
    ["/", "/usr"].map(|at| {
        let layer = |name: &str| {
            let layer = directory.path().join(format!("{name}-{}", at.len()));
            fs::create_dir(&layer).expect("mkdir");
            layer
        };
        let stack = Stack { upper: layer("upper"), lowers: vec![layer("lower")], marks: Marks::Trusted };
        fs::write(stack.upper.join("file"), "line\n").expect("write");
        MountedStack { at: at.into(), stacks: stack.changes_of_upper() }
    })
}

#[test]
fn paths_are_those_of_the_whole_file_system_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let mounts = two_mounts(&directory);
    fs::write(mounts[0].stacks.new[0].join("z"), "\0").expect("write");
    let all = |at: &str, stat| {
        changed(&mounts, &path(at), Detail { stat, ..Detail::default() }, &mut |_| ControlFlow::Continue(())).expect("a diff")
    };
    let found: Vec<Vec<u8>> = all("/", false).changes.into_iter().map(|change| change.path).collect();
    assert_eq!(found, [b"file".to_vec(), b"usr/file".to_vec(), b"z".to_vec()]);
    let part = all("/usr", true);
    assert_eq!((part.changes.len(), part.changes[0].added_lines, part.patch.text.as_str(), part.patch.omitted), (1, 1, "", 0));
    assert_eq!(all("/nowhere", false).changes, []);
}

#[test]
fn what_was_moved_is_one_change() {
    let directory = tempfile::tempdir().expect("a directory");
    let mounts = two_mounts(&directory);
    // As if the files that were written had been elsewhere before.
    for mount in &mounts {
        let was = mount.stacks.old[0].join("was");
        fs::create_dir_all(&was).expect("mkdir");
        fs::write(was.join("there"), "line\n").expect("write");
    }
    let all: Vec<MountedStack> = mounts
        .iter()
        .map(|mount| MountedStack {
            at: mount.at.clone(),
            stacks: Stacks { old: mount.stacks.old.clone(), new: vec![mount.stacks.new[0].clone()], marks: Marks::Trusted },
        })
        .collect();
    let detail = Detail { renames: true, ..Detail::default() };
    let changed = changed(&all, &path("/"), detail, &mut |_| ControlFlow::Continue(())).expect("a diff");
    let moved: Vec<(Option<&[u8]>, &[u8])> =
        changed.changes.iter().map(|change| (change.from.as_deref(), change.path.as_slice())).collect();
    let expected: [(Option<&[u8]>, &[u8]); 4] =
        [(Some(b"was/there"), b"file"), (Some(b"usr/was/there"), b"usr/file"), (None, b"usr/was"), (None, b"was")];
    assert_eq!(moved, expected);
    let told = pyro_wire::message::Change::from(&changed.changes[1]);
    assert_eq!((told.status, told.from), (ChangeStatus::Renamed, Some(b"usr/was/there".as_slice().into())));
}

#[test]
fn it_ends_wherever_it_is_told_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let mounts = two_mounts(&directory);
    let run = |calls: usize| {
        let mut left = calls;
        let mut watch = |_: Progress| match left.checked_sub(1) {
            Some(less) => {
                left = less;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        };
        changed(&mounts, &path("/"), Detail::default(), &mut watch)
    };
    let calls = (0..).find(|calls| run(*calls).is_ok()).expect("it ends by itself");
    // Each of the files is compared and written.
    assert_eq!(calls, 4);
    for calls in 0..calls {
        assert_eq!(run(calls).expect_err("it was broken off").kind(), ErrorKind::Cancelled);
    }
}
