//! What the kernel shows of a stack must stay the same when any part of it is made one layer.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{CWD, Dev, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use super::{SharedFiles, squash};
use crate::import::tests::{deep_tree, fifo, set_time};
use crate::testing::{Node, Scratch, go_on, merged, snapshot};
use crate::{Copied, ErrorKind, Marks, measure};

/// Something that a workload does.
#[derive(Clone, Debug)]
enum Step {
    Write(PathBuf, u8),
    Directory(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Symlink(PathBuf),
    Fifo(PathBuf),
    Mode(PathBuf, u32),
    Attribute(PathBuf),
}

/// Few names, so that the same ones are met again and again.
fn path() -> impl Strategy<Value = PathBuf> {
    vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|names| names.iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(path, byte)| Step::Write(path, byte)),
        4 => path().prop_map(Step::Directory),
        4 => path().prop_map(Step::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Step::Link(from, to)),
        1 => path().prop_map(Step::Symlink),
        1 => path().prop_map(Step::Fifo),
        1 => (path(), 0_u32..0o1000).prop_map(|(path, mode)| Step::Mode(path, mode)),
        1 => path().prop_map(Step::Attribute),
    ]
}

/// Does it; what cannot be done is not.
fn take(step: &Step, view: &Path) {
    let at = |path: &PathBuf| view.join(path);
    match step {
        // Not into a FIFO, which would wait for a reader.
        Step::Write(path, byte) => {
            if fs::symlink_metadata(at(path)).map_or(true, |metadata| metadata.is_file()) {
                drop(fs::write(at(path), vec![*byte; usize::from(*byte)]));
            }
        }
        Step::Directory(path) => drop(fs::create_dir_all(at(path))),
        Step::Remove(path) => drop(fs::remove_dir_all(at(path)).or_else(|_| fs::remove_file(at(path)))),
        Step::Rename(from, to) => drop(fs::rename(at(from), at(to))),
        Step::Link(from, to) => drop(fs::hard_link(at(from), at(to))),
        Step::Symlink(path) => drop(symlink("target", at(path))),
        Step::Fifo(path) => drop(mknodat(CWD, at(path), FileType::Fifo, Mode::RUSR, Dev::default())),
        Step::Mode(path, mode) => {
            if fs::symlink_metadata(at(path)).is_ok_and(|metadata| !metadata.is_symlink()) {
                drop(fs::set_permissions(at(path), fs::Permissions::from_mode(*mode)));
            }
        }
        // A mark of the other kind: data, to this mount.
        Step::Attribute(path) => drop(setxattr(at(path), c"user.overlay.opaque", b"y", XattrFlags::empty())),
    }
}

/// Layers as overlayfs makes them, uppermost first.
fn layers_of(scratch: &mut Scratch, steps: &[Vec<Step>], marks: Marks) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    scratch.directory("base");
    for (index, steps) in steps.iter().enumerate() {
        let lowers: Vec<String> = (0..index).rev().map(|index| format!("layer{index}")).chain(["base".to_owned()]).collect();
        let lowers: Vec<&str> = lowers.iter().map(String::as_str).collect();
        let upper = format!("layer{index}");
        let view = scratch.overlay_with("working", &upper, &lowers, marks);
        for step in steps {
            take(step, &view);
        }
        scratch.unmount(&view);
        layers.insert(0, scratch.path(&upper));
    }
    layers
}

/// What the kernel shows.
fn seen(scratch: &mut Scratch, layers: &[PathBuf], marks: Marks) -> BTreeMap<Vec<u8>, Node> {
    let view = scratch.sealed_overlay("seen", layers, marks);
    let seen = snapshot(&view);
    scratch.unmount(&view);
    seen
}

fn squash_all(layers: &[PathBuf], to: &Path, is_bottom: bool, marks: Marks) -> crate::Result<Copied> {
    squash(layers, to, is_bottom, SharedFiles::Links, marks, &mut go_on)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stack_shows_the_same_when_any_part_of_it_is_made_one(
        steps in vec(vec(step(), 1..16), 2..5),
        marks in prop::sample::select(vec![Marks::Trusted, Marks::User]),
        files in prop::sample::select(vec![SharedFiles::Links, SharedFiles::Copies]),
    ) {
        let mut scratch = Scratch::new();
        let layers = layers_of(&mut scratch, &steps, marks);
        let shown = seen(&mut scratch, &layers, marks);
        prop_assert_eq!(&merged(&layers, marks), &shown, "the model of these tests is that of the kernel");
        for start in 0..layers.len() {
            for end in start + 1..=layers.len() {
                for is_bottom in [false, true] {
                    if is_bottom && end < layers.len() {
                        continue;
                    }
                    let one = scratch.directory(&format!("one{start}{end}{is_bottom}"));
                    let copied = squash(&layers[start..end], &one, is_bottom, files, marks, &mut go_on).expect("squash");
                    prop_assert_eq!(measure(&one).expect("measure").entry_count, copied.entry_count);
                    let stack = [&layers[..start], std::slice::from_ref(&one), &layers[end..]].concat();
                    prop_assert_eq!(&merged(&stack, marks), &shown);
                    prop_assert_eq!(&seen(&mut scratch, &stack, marks), &shown);
                    if is_bottom {
                        prop_assert!(snapshot(&one).values().all(|node| node.kind != 'c'), "nothing is below to be hidden");
                    }
                }
            }
        }
    }
}

/// gzip and xz leave a file alone that has another name.
#[test]
fn copies_have_as_many_names_as_what_they_were_made_of() {
    let mut scratch = Scratch::new();
    let layers = two_layers(&mut scratch);
    let names = |root: &Path, name: &str| fs::symlink_metadata(root.join(name)).expect("it is there").nlink();
    let before: Vec<u64> = ["a/kept", "link"].iter().map(|name| names(&layers[1], name)).collect();
    let one = scratch.directory("one");
    let copied = squash(&layers, &one, false, SharedFiles::Copies, Marks::Trusted, &mut go_on).expect("squash");
    assert_eq!(copied.linked_count, 0);
    let after: Vec<u64> = ["a/kept", "link"].iter().map(|name| names(&one, name)).collect();
    assert_eq!((after, before[0]), (before, 2), "kept has a second name in its own layer");
}

fn two_layers(scratch: &mut Scratch) -> Vec<PathBuf> {
    let name = |name: &str| PathBuf::from(name);
    let steps = [
        vec![
            Step::Directory(name("a/b")),
            Step::Write(name("a/kept"), 7),
            Step::Write(name("a/gone"), 8),
            Step::Link(name("a/kept"), name("a/b/too")),
            Step::Symlink(name("link")),
            Step::Fifo(name("fifo")),
        ],
        vec![Step::Remove(name("a/gone")), Step::Write(name("new"), 9)],
    ];
    layers_of(scratch, &steps, Marks::Trusted)
}

#[test]
fn files_are_not_copied_but_get_another_name() {
    let mut scratch = Scratch::new();
    let layers = two_layers(&mut scratch);
    let one = scratch.directory("one");
    let copied = squash_all(&layers, &one, false, Marks::Trusted).expect("squash");
    // a, a/b, a/kept, a/b/too, a/gone (hidden), link, fifo, new
    assert_eq!(copied, Copied { entry_count: 8, bytes: 0, linked_count: 5, attributes_left_behind: 0 });
    let inode = |path: PathBuf| fs::symlink_metadata(path).expect("stat").ino();
    assert_eq!(inode(one.join("a/kept")), inode(layers[1].join("a/kept")));
    assert_eq!(inode(one.join("a/kept")), inode(one.join("a/b/too")));
    assert_eq!(inode(one.join("new")), inode(layers[0].join("new")));
}

#[test]
fn on_another_file_system_they_are_copied() {
    let mut scratch = Scratch::new();
    let layers = two_layers(&mut scratch);
    let shown = seen(&mut scratch, &layers, Marks::Trusted);
    let elsewhere = Scratch::new();
    let one = elsewhere.directory("one");
    let copied = squash_all(&layers, &one, true, Marks::Trusted).expect("squash");
    assert_eq!(copied, Copied { entry_count: 7, bytes: 7 + 9, linked_count: 0, attributes_left_behind: 0 });
    assert_eq!(seen(&mut scratch, &[one], Marks::Trusted), shown);
}

#[test]
fn names_that_are_gone_are_not_listed_where_nothing_is_below() {
    for marks in [Marks::Trusted, Marks::User] {
        let mut scratch = Scratch::new();
        let (upper, lower) = (scratch.directory("upper/d"), scratch.directory("lower/d"));
        fs::write(lower.join("gone"), b"").expect("write");
        mknodat(CWD, upper.join("gone"), FileType::CharacterDevice, Mode::empty(), Dev::default()).expect("mknod");
        let one = scratch.directory("one");
        squash_all(&[scratch.path("upper"), scratch.path("lower")], &one, false, marks).expect("squash");
        assert_eq!(seen(&mut scratch, &[one], marks).into_keys().collect::<Vec<_>>(), [b"".to_vec(), b"d".to_vec()]);
    }
}

#[test]
fn a_whiteout_that_is_an_attribute_becomes_a_device() {
    for (marks, attribute) in [(Marks::Trusted, c"trusted.overlay.whiteout"), (Marks::User, c"user.overlay.whiteout")] {
        let scratch = Scratch::new();
        let (upper, lower) = (scratch.directory("upper"), scratch.directory("lower"));
        fs::write(lower.join("gone"), b"content").expect("write");
        fs::write(upper.join("gone"), b"").expect("write");
        setxattr(upper.join("gone"), attribute, b"", XattrFlags::empty()).expect("setxattr");
        setxattr(&upper, c"trusted.overlay.opaque", b"x", XattrFlags::empty()).expect("setxattr");
        let one = scratch.directory("one");
        squash_all(&[upper, lower], &one, false, marks).expect("squash");
        assert_eq!(snapshot(&one)[b"gone".as_slice()].kind, 'c');
    }
}

#[test]
fn marks_that_the_mount_does_not_obey_hide_nothing() {
    let scratch = Scratch::new();
    let (upper, lower) = (scratch.directory("upper/d"), scratch.directory("lower/d"));
    fs::write(lower.join("seen"), b"content").expect("write");
    setxattr(&upper, c"user.overlay.opaque", b"y", XattrFlags::empty()).expect("setxattr");
    let one = scratch.directory("one");
    squash_all(&[scratch.path("upper"), scratch.path("lower")], &one, false, Marks::Trusted).expect("squash");
    assert_eq!(fs::read(one.join("d/seen")).expect("read"), b"content");
    let attributes = &snapshot(&one)[b"d".as_slice()].attributes;
    assert_eq!(attributes.keys().map(Vec::as_slice).collect::<Vec<_>>(), [b"user.overlay.opaque".as_slice()]);
}

#[test]
fn depth_costs_neither_stack_nor_descriptors() {
    let scratch = Scratch::new();
    let layers: Vec<PathBuf> = (0..super::SQUASHED_LAYERS_MAX).map(|index| scratch.directory(&format!("layer{index}"))).collect();
    for layer in &layers {
        deep_tree(layer, 500);
    }
    let one = scratch.directory("one");
    let copied = squash_all(&layers, &one, false, Marks::Trusted).expect("squash");
    assert_eq!((copied.entry_count, copied.linked_count), (502, 2));
    let too_many: Vec<PathBuf> = layers.iter().chain([&one]).cloned().collect();
    let other = scratch.directory("other");
    assert_eq!(squash_all(&too_many, &other, false, Marks::Trusted).expect_err("too many").kind(), ErrorKind::Limit);
}

#[test]
fn what_a_layer_cannot_hold_is_refused() {
    let scratch = Scratch::new();
    let (upper, lower, one) = (scratch.directory("upper"), scratch.directory("lower"), scratch.directory("one"));
    mknodat(CWD, lower.join("disk"), FileType::BlockDevice, Mode::from_raw_mode(0o666), makedev(7, 0)).expect("mknod");
    let error = squash_all(&[upper.clone(), lower], &one, false, Marks::Trusted).expect_err("a device");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Refused, "disk is a device".to_owned()));
    let inside = scratch.directory("upper/inside");
    assert_eq!(squash_all(&[upper], &inside, false, Marks::Trusted).expect_err("inside").kind(), ErrorKind::Refused);
    assert_eq!(squash_all(&[], &one, false, Marks::Trusted).expect_err("nothing").kind(), ErrorKind::Limit);
}

#[test]
fn it_can_be_broken_off() {
    let scratch = Scratch::new();
    let (layer, one) = (scratch.directory("layer"), scratch.directory("one"));
    fifo(&layer.join("fifo"));
    set_time(&layer, 1, 1);
    let error =
        squash(&[layer], &one, false, SharedFiles::Links, Marks::Trusted, &mut |_| ControlFlow::Break(())).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
