//! Listings of trees, and of one that holds more than is wanted.

use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Listed, list};
use crate::{ErrorKind, Kind, beneath};

fn listed(root: &Path, depth: u32, entries_max: usize) -> Vec<Listed> {
    let mut all = Vec::new();
    let mut tell = |listed| {
        all.push(listed);
        ControlFlow::Continue(())
    };
    let top = beneath::open_root(root).expect("open");
    list(top, depth, entries_max, &mut tell, &mut |_| ControlFlow::Continue(())).expect("it lists");
    all
}

fn paths(listed: &[Listed]) -> Vec<String> {
    listed.iter().map(|listed| String::from_utf8_lossy(&listed.path).into_owned()).collect()
}

#[test]
fn each_directory_is_followed_by_what_is_in_it_and_a_link_by_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    std::fs::create_dir_all(root.join("a/b/c")).expect("mkdir");
    std::fs::write(root.join("a/file"), "12345").expect("write");
    std::fs::write(root.join("b"), "").expect("write");
    symlink("a", root.join("link")).expect("symlink");
    let all = listed(root, 2, 100);
    assert_eq!(paths(&all), ["a", "a/b", "a/file", "b", "link"]);
    assert_eq!((all[2].kind, all[2].size_bytes), (Kind::File, 5));
    assert_eq!((all[4].kind, all[4].target.as_deref()), (Kind::Symlink, Some(b"a".as_slice())));
    assert_eq!(paths(&listed(root, 1, 100)), ["a", "b", "link"]);
}

#[test]
fn of_more_than_is_wanted_the_first_are_told_however_they_nest() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    for outer in 0..30 {
        let below = root.join(format!("{outer:02}"));
        std::fs::create_dir(&below).expect("mkdir");
        for inner in 0..30 {
            std::fs::write(below.join(format!("{inner:02}")), "").expect("write");
        }
    }
    let all = paths(&listed(root, 3, 10_000));
    assert_eq!(all.len(), 30 * 31);
    for entries_max in [1, 2, 31, 32, 100] {
        assert_eq!(paths(&listed(root, 3, entries_max)), all[..entries_max]);
    }
}

#[test]
fn a_tree_deeper_than_what_is_held_open_is_listed_to_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let deep = directory.path().join("d/".repeat(100));
    std::fs::create_dir_all(&deep).expect("mkdir");
    std::fs::write(deep.join("end"), "").expect("write");
    std::fs::write(directory.path().join("z"), "").expect("write");
    let all = paths(&listed(directory.path(), 1000, 1000));
    assert_eq!((all.len(), all[101].as_str()), (102, "z"));
    assert!(all[100].ends_with("/d/end"), "{}", all[100]);
}

#[test]
fn a_listing_is_given_up_when_nobody_wants_it() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a"), "").expect("write");
    let top = || beneath::open_root(directory.path()).expect("open");
    let ended = list(top(), 1, 10, &mut |_| ControlFlow::Continue(()), &mut |_| ControlFlow::Break(()));
    assert_eq!(ended.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    list(top(), 1, 10, &mut |_| ControlFlow::Break(()), &mut |_| ControlFlow::Continue(())).expect("it was enough");
}
