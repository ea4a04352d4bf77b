//! What was moved: which pairs are found, what git makes of them, and where it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use super::find_renames;
use crate::diff::tests::git_apply;
use crate::testing::model::{self, Edit, Item, Tree, Whims, file};
use crate::testing::{Scratch, go_on, slice, snapshot};
use crate::{Change, Marks, PatchLimits, Stacks, Status, diff, limits, unified_patch};

/// Two states with nothing in common.
fn states(scratch: &Scratch, old: &[(&str, &str)], new: &[(&str, &str)]) -> Stacks {
    let layer = |name: &str, files: &[(&str, &str)]| {
        let layer = scratch.directory(name);
        for (path, content) in files {
            let path = layer.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, content).expect("write");
        }
        vec![layer]
    };
    Stacks { old: layer("old", old), new: layer("new", new), marks: Marks::Trusted }
}

fn changes(stacks: &Stacks) -> Vec<Change> {
    find_renames(stacks, diff(stacks, b"", &mut go_on).expect("diff"), &mut go_on).expect("find")
}

/// Each row: the files of both states, and what was moved where.
#[test]
fn files_are_paired_by_content_then_name_then_order() {
    type Files = &'static [(&'static str, &'static str)];
    let table: &[(&str, Files, Files, Files)] = &[
        ("one file", &[("a", "1")], &[("b", "1")], &[("a", "b")]),
        ("another content of the same size", &[("a", "1")], &[("b", "2")], &[]),
        ("another size", &[("a", "1")], &[("b", "12")], &[]),
        ("empty files", &[("a", "")], &[("b", "")], &[]),
        ("a copy", &[("a", "1")], &[("a", "1"), ("b", "1")], &[]),
        ("a file that was replaced", &[("a", "1"), ("b", "2")], &[("b", "1")], &[]),
        ("the same name first", &[("a/x", "1"), ("a/y", "1")], &[("b/y", "1"), ("b/z", "1")], &[("a/y", "b/y"), ("a/x", "b/z")]),
        ("then in order", &[("a", "1"), ("b", "1"), ("c", "1")], &[("x", "1"), ("y", "1")], &[("a", "x"), ("b", "y")]),
        ("more of the same name", &[("1/f", "1"), ("2/f", "1")], &[("3/f", "1"), ("4/f", "1")], &[("1/f", "3/f"), ("2/f", "4/f")]),
        ("several contents", &[("a", "1"), ("b", "2")], &[("x", "2"), ("y", "1")], &[("b", "x"), ("a", "y")]),
    ];
    for (title, old, new, expected) in table {
        let scratch = Scratch::new();
        let stacks = states(&scratch, old, new);
        let changes = changes(&stacks);
        let moved: Vec<(&str, &str)> = changes
            .iter()
            .filter(|change| change.status == Status::Renamed)
            .map(|change| (change.from.as_deref().expect("from"), change.path.as_slice()))
            .map(|(from, to)| (std::str::from_utf8(from).expect("text"), std::str::from_utf8(to).expect("text")))
            .collect();
        assert_eq!(&moved, expected, "{title}");
        assert!(changes.is_sorted_by(|left, right| left.path < right.path), "{title}");
    }
}

#[test]
fn a_rename_is_written_as_git_writes_it() {
    let scratch = Scratch::new();
    let stacks = states(&scratch, &[("d/old name", "1\n"), ("d/keep", "k")], &[("d/\u{e9}", "1\n"), ("d/keep", "k")]);
    fs::set_permissions(stacks.new[0].join("d/\u{e9}"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let mut changes = changes(&stacks);
    assert_eq!((changes.len(), changes[0].mode_change(), changes[0].content_changed), (1, Some((0o644, 0o755)), false));
    let patch = unified_patch(&stacks, &mut changes, b"d", PatchLimits::default(), &mut go_on).expect("patch");
    assert_eq!(
        patch.text,
        "diff --git a/old name \"b/\\303\\251\"\nold mode 100644\nnew mode 100755\nsimilarity index 100%\n\
         rename from old name\nrename to \"\\303\\251\"\n"
    );
    git_apply(&stacks.old[0].join("d"), &patch.text);
    assert_eq!(fs::read(stacks.old[0].join("d/\u{e9}")).expect("read"), b"1\n");
    assert!(!stacks.old[0].join("d/old name").exists());
}

#[test]
fn beyond_its_limits_nothing_is_paired() {
    let scratch = Scratch::new();
    let stacks = states(&scratch, &[("small", "1"), ("large", "")], &[("moved", "1"), ("moved-large", "")]);
    for path in [stacks.old[0].join("large"), stacks.new[0].join("moved-large")] {
        fs::File::options().write(true).open(path).and_then(|file| file.set_len(limits::RENAME_CONTENT_BYTES_MAX)).expect("grow");
    }
    let moved: Vec<Vec<u8>> =
        changes(&stacks).into_iter().filter(|change| change.status == Status::Renamed).map(|change| change.path).collect();
    assert_eq!(moved, [b"moved".to_vec()]);
}

fn copied(from: &Tree, to: &Path) {
    model::write_layer(to, &Tree::new(), from, &mut Whims::plain(0));
}

/// What git tracks of a tree.
fn tracked(tree: &Tree) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
    tree.iter()
        .filter_map(|(path, item)| match item {
            Item::File { content, mode } => Some((path.clone(), content.clone(), mode & 0o100 != 0)),
            Item::Symlink { target } => Some((path.clone(), target.clone(), false)),
            Item::Directory { .. } | Item::Fifo { .. } => None,
        })
        .collect()
}

/// A tree that git can work on: without FIFOs and empty directories, neither of which it knows.
fn without_oddities(tree: &Tree) -> Tree {
    let mut left = tree.clone();
    left.retain(|_, item| !matches!(item, Item::Fifo { .. } | Item::Directory { .. }));
    let paths: Vec<Vec<u8>> = left.keys().cloned().collect();
    for path in paths {
        let item = left[&path].clone();
        model::make(&mut left, &Edit::Put { path, item });
    }
    left
}

proptest! {
    #![proptest_config(slice(200))]

    #[test]
    fn git_makes_the_same_of_renames_as_of_deletions_and_additions(
        base in prop::collection::vec(model::edits(), 0..14),
        moves in prop::collection::vec((model::paths(), model::paths()), 1..6),
        edits in prop::collection::vec(model::edits(), 0..4),
    ) {
        let scratch = Scratch::new();
        // Binary files are not what this is about, and where links of the tree go round in a circle, git gives up.
        let text = |tree: &mut Tree| for (path, item) in tree.iter_mut() {
            match item {
                Item::File { content, .. } if content.contains(&0) => *item = file(path),
                Item::Symlink { target } => *target = [b"nowhere/".as_slice(), target.as_slice()].concat(),
                Item::File { .. } | Item::Directory { .. } | Item::Fifo { .. } => {}
            }
        };
        let mut old = without_oddities(&model::after(&Tree::new(), &base));
        text(&mut old);
        let mut new = old.clone();
        for (from, to) in moves {
            if let Some(item @ Item::File { .. }) = new.get(&from).cloned() {
                model::make(&mut new, &Edit::Remove { path: from });
                model::make(&mut new, &Edit::Put { path: to, item });
            }
        }
        let mut new = without_oddities(&model::after(&new, &edits));
        text(&mut new);
        for (name, tree) in [("old", &old), ("new", &new), ("target", &old)] {
            copied(tree, &scratch.path(name));
        }
        let stacks = Stacks { old: vec![scratch.path("old")], new: vec![scratch.path("new")], marks: Marks::Trusted };
        let mut changes = changes(&stacks);
        let patch = unified_patch(&stacks, &mut changes, b"", PatchLimits::default(), &mut go_on).expect("patch");
        if !patch.text.is_empty() {
            git_apply(&scratch.path("target"), &patch.text);
        }
        prop_assert_eq!(tracked(&model::shown(&snapshot(&scratch.path("target")))), tracked(&new));
    }
}
