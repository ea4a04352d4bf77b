//! After a sync, the kernel shows inside what is outside.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ignore::gitignore::GitignoreBuilder;
use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{CWD, Dev, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use super::{IgnoredNames, Missing, SyncOptions, Synced, plan_sync, repeat_directory};
use crate::import::tests::{deep_tree, set_time};
use crate::testing::{Node, Scratch, access_list, go_on, name, snapshot};
use crate::{ErrorKind, Marks, Owners, beneath};

const BRING: SyncOptions = SyncOptions { missing: Missing::Keep, ignored: IgnoredNames::Bring, owners: Owners::Canonical };
const MIRROR: SyncOptions = SyncOptions { missing: Missing::Delete, ..BRING };
const TIDY: SyncOptions = SyncOptions { ignored: IgnoredNames::LeaveAlone, ..MIRROR };

fn sync(source: &Path, view: &Path, options: SyncOptions, into: &Path) -> crate::Result<Synced> {
    let view = beneath::open_root(view).expect("open");
    plan_sync(source, view.as_fd(), options, into, Marks::Trusted, &mut go_on)
}

/// What a sync is about.
fn shape(nodes: &BTreeMap<Vec<u8>, Node>) -> BTreeMap<Vec<u8>, (char, u32, Vec<u8>)> {
    nodes.iter().map(|(path, node)| (path.clone(), (node.kind, node.mode, node.content.clone()))).collect()
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// One thing in a tree.
#[derive(Clone, Debug)]
enum Thing {
    File { path: PathBuf, content: Vec<u8>, mode: u32, time: i64 },
    Directory { path: PathBuf, mode: u32 },
    Link { path: PathBuf, target: u8 },
    Fifo { path: PathBuf },
    Another { path: PathBuf, name: PathBuf },
}

fn path() -> impl Strategy<Value = PathBuf> {
    vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|names| names.iter().collect())
}

fn thing() -> impl Strategy<Value = Thing> {
    let mode = || prop::sample::select(vec![0o644, 0o755, 0o600]);
    // Sizes, contents and times that meet again.
    let content = prop::sample::select(vec![b"".to_vec(), b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    prop_oneof![
        6 => (path(), content, mode(), 1..3_i64)
            .prop_map(|(path, content, mode, time)| Thing::File { path, content, mode, time }),
        3 => (path(), mode()).prop_map(|(path, mode)| Thing::Directory { path, mode: mode | 0o111 }),
        1 => (path(), 0..2_u8).prop_map(|(path, target)| Thing::Link { path, target }),
        1 => path().prop_map(|path| Thing::Fifo { path }),
        1 => (path(), path()).prop_map(|(path, name)| Thing::Another { path, name }),
    ]
}

/// Makes what can be made; what is in the way stays.
fn make(root: &Path, things: &[Thing]) {
    for thing in things {
        let (Thing::File { path, .. }
        | Thing::Directory { path, .. }
        | Thing::Link { path, .. }
        | Thing::Fifo { path }
        | Thing::Another { path, .. }) = thing;
        let at = root.join(path);
        if fs::symlink_metadata(&at).is_ok() || fs::create_dir_all(at.parent().expect("below")).is_err() {
            continue;
        }
        match thing {
            Thing::File { content, mode, time, .. } => {
                fs::write(&at, content).expect("write");
                fs::set_permissions(&at, fs::Permissions::from_mode(*mode)).expect("chmod");
                // Where size and time are the same the content counts as the same, so here it is.
                set_time(&at, time * 1000 + i64::from(content.first().copied().unwrap_or(0)), 5);
            }
            Thing::Directory { mode, .. } => {
                fs::create_dir(&at).expect("mkdir");
                fs::set_permissions(&at, fs::Permissions::from_mode(*mode)).expect("chmod");
            }
            Thing::Link { target, .. } => symlink(format!("target{target}"), &at).expect("symlink"),
            Thing::Fifo { .. } => mknodat(CWD, &at, FileType::Fifo, Mode::RUSR, Dev::default()).expect("mknod"),
            Thing::Another { name, .. } => drop(fs::hard_link(root.join(name), &at)),
        }
    }
}

fn things() -> impl Strategy<Value = Vec<Thing>> {
    vec(thing(), 0..16)
}

/// A view of two layers, the upper of which has deleted from the lower.
fn view_of(scratch: &mut Scratch, below: &[Thing], above: &[Thing], deleted: &[PathBuf], marks: Marks) -> (PathBuf, Vec<PathBuf>) {
    make(&scratch.directory("below"), below);
    let view = scratch.overlay_with("work in", "above", &["below"], marks);
    for path in deleted {
        drop(fs::remove_dir_all(view.join(path)).or_else(|_| fs::remove_file(view.join(path))));
    }
    make(&view, above);
    scratch.unmount(&view);
    let layers = vec![scratch.path("above"), scratch.path("below")];
    (scratch.sealed_overlay("view", &layers, marks), layers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_shows_inside_what_is_outside(
        outside in things(), below in things(), above in things(), deleted in vec(path(), 0..4),
        marks in prop::sample::select(vec![Marks::Trusted, Marks::User]),
        missing in prop::sample::select(vec![Missing::Keep, Missing::Delete]),
    ) {
        let mut scratch = Scratch::new();
        let (view, layers) = view_of(&mut scratch, &below, &above, &deleted, marks);
        let source = scratch.directory("source");
        make(&source, &outside);
        let into = scratch.directory("into");
        let options = SyncOptions { missing, ..BRING };
        let opened = beneath::open_root(&view).expect("open");
        let synced = plan_sync(&source, opened.as_fd(), options, &into, marks, &mut go_on).expect("sync");
        let (before, wanted) = (snapshot(&view), snapshot(&source));
        let after = scratch.sealed_overlay("after", &[std::slice::from_ref(&into), &layers[..]].concat(), marks);
        let found = snapshot(&after);
        let mut expected = shape(&wanted);
        if missing == Missing::Keep {
            for (path, node) in shape(&before) {
                let is_covered = wanted.iter().any(|(other, node)| node.kind != 'd' && is_below(&path, other));
                if !is_covered {
                    expected.entry(path).or_insert(node);
                }
            }
        }
        prop_assert_eq!(shape(&found), expected);
        // Only what is different is in the layer, and directories on the way to it.
        for (path, node) in snapshot(&into) {
            match (node.kind, before.get(&path)) {
                ('c', before) => prop_assert!(before.is_some() && !wanted.contains_key(&path)),
                ('d', Some(before)) if before.kind == 'd' => {}
                (_, Some(before)) => prop_assert_ne!((before.kind, before.mode, &before.content), (node.kind, node.mode, &node.content)),
                (_, None) => {}
            }
        }
        // What did not change is what it was, whatever is outside.
        for (path, node) in &before {
            if shape(&found).get(path) == shape(&before).get(path) && (node.kind == 'f' || node.kind == 'l') {
                prop_assert_eq!(&found[path].modified_at, &node.modified_at);
            }
        }
        let names = wanted.len() as u64 - 1 + u64::from(synced.changed > 0 && before[b"".as_slice()].mode != wanted[b"".as_slice()].mode);
        prop_assert_eq!(synced.added + synced.changed + synced.unchanged, names);
        // There is nothing left to do.
        let again = scratch.directory("again");
        let opened = beneath::open_root(&after).expect("open");
        let synced = plan_sync(&source, opened.as_fd(), options, &again, marks, &mut go_on).expect("sync");
        prop_assert!(synced.is_empty(), "{:?}", synced);
        prop_assert_eq!(fs::read_dir(&again).expect("list").count(), 0);
    }

    #[test]
    fn ignored_names_are_neither_brought_nor_changed_nor_deleted(
        outside in things(), inside in things(),
        patterns in vec(prop::sample::select(vec!["a", "b/", "/c", "!a", "b/a", "a/**/c", "!/c/b", "c/*"]), 1..4),
    ) {
        let mut scratch = Scratch::new();
        let (view, layers) = view_of(&mut scratch, &inside, &[], &[], Marks::Trusted);
        let source = scratch.directory("source");
        make(&source, &outside);
        fs::write(source.join(".gitignore"), patterns.join("\n")).expect("write");
        let mut builder = GitignoreBuilder::new("");
        for pattern in &patterns {
            builder.add_line(None, pattern).expect("a pattern");
        }
        let reference = builder.build().expect("build");
        // What is in an ignored directory is ignored, whatever else is said of it.
        let is_ignored = |path: &[u8], kind: char| {
            let above = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(slash, _)| &path[..slash]);
            above.map(|above| (above, 'd')).chain([(path, kind)]).any(|(path, kind)| {
                !path.is_empty() && reference.matched(Path::new(name(path)), kind == 'd').is_ignore()
            })
        };
        let into = scratch.directory("into");
        let synced = sync(&source, &view, TIDY, &into).expect("sync");
        let (before, wanted) = (snapshot(&view), snapshot(&source));
        let after = scratch.sealed_overlay("after", &[&[into], &layers[..]].concat(), Marks::Trusted);
        let found = shape(&snapshot(&after));
        for (path, node) in shape(&before) {
            let ignored_outside = wanted.get(&path).is_some_and(|outside| is_ignored(&path, outside.kind));
            if is_ignored(&path, node.0) || ignored_outside {
                prop_assert_eq!(found.get(&path), Some(&node), "{} is ignored", String::from_utf8_lossy(&path));
            } else if found.contains_key(&path)
                && !wanted.contains_key(&path)
                && !synced.skipped.iter().any(|skipped| is_below(&path, skipped))
            {
                // Only the directories around what is ignored stay.
                let mut others = before.iter();
                prop_assert!(node.0 == 'd' && others.any(|(other, node)| is_below(other, &path) && is_ignored(other, node.kind)));
            }
        }
        for (path, node) in shape(&wanted) {
            let is_blocked = synced.skipped.iter().any(|skipped| *skipped == path || is_below(&path, skipped))
                || before.iter().any(|(other, before)| {
                    (*other == path || is_below(&path, other)) && before.kind == 'd' && is_ignored(other, 'd')
                });
            if is_ignored(&path, node.0) {
                prop_assert_eq!(found.get(&path).cloned(), shape(&before).remove(&path));
            } else if !is_blocked {
                prop_assert_eq!(found.get(&path), Some(&node), "{}", String::from_utf8_lossy(&path));
            }
        }
    }
}

/// A source and a view that are alike.
fn alike(scratch: &Scratch) -> (PathBuf, PathBuf, PathBuf) {
    let (source, view) = (scratch.directory("source"), scratch.directory("view"));
    for root in [&source, &view] {
        fs::create_dir_all(root.join("d/e")).expect("mkdir");
        fs::write(root.join("d/file"), b"same").expect("write");
        set_time(&root.join("d/file"), 1_000, 1);
        symlink("target", root.join("d/link")).expect("symlink");
    }
    (source, view, scratch.directory("into"))
}

#[test]
fn files_are_compared_by_size_and_time_and_then_by_content() {
    let scratch = Scratch::new();
    let (source, view, into) = alike(&scratch);
    let unchanged = Synced { unchanged: 4, ..Synced::default() };
    assert_eq!(sync(&source, &view, MIRROR, &into).expect("sync"), unchanged);
    set_time(&source.join("d/file"), 1_000, 2);
    assert_eq!(sync(&source, &view, MIRROR, &into).expect("sync"), Synced { touched: 1, ..unchanged.clone() });
    assert_eq!(fs::read_dir(&into).expect("list").count(), 0);
    // As with rsync: nothing says that it is different.
    fs::write(source.join("d/file"), b"diff").expect("write");
    set_time(&source.join("d/file"), 1_000, 1);
    assert_eq!(sync(&source, &view, MIRROR, &into).expect("sync"), unchanged);
    set_time(&source.join("d/file"), 1_000, 2);
    let changed = Synced { changed: 1, unchanged: 3, bytes: 4, ..Synced::default() };
    assert_eq!(sync(&source, &view, MIRROR, &into).expect("sync"), changed);
    assert_eq!(snapshot(&into).into_keys().collect::<Vec<_>>(), [b"".to_vec(), b"d".to_vec(), b"d/file".to_vec()]);
    assert_eq!(fs::metadata(into.join("d/file")).expect("stat").mtime_nsec(), 2);
}

#[test]
fn directories_on_the_way_keep_what_they_have_inside() {
    let scratch = Scratch::new();
    let (source, view, into) = alike(&scratch);
    fs::write(source.join("d/e/new"), b"new").expect("write");
    chown(source.join("d/e/new"), Some(1000), Some(1000)).expect("chown");
    chown(view.join("d"), Some(7), Some(8)).expect("chown");
    setxattr(view.join("d"), c"user.inside", b"kept", XattrFlags::empty()).expect("setxattr");
    setxattr(source.join("d"), c"user.outside", b"not brought", XattrFlags::empty()).expect("setxattr");
    fs::set_permissions(source.join("d/e"), fs::Permissions::from_mode(0o700)).expect("chmod");
    set_time(&view.join("d"), 1_234, 5);
    set_time(&source.join("d/e"), 4_321, 5);
    set_time(&view, 99, 9);
    let synced = sync(&source, &view, MIRROR, &into).expect("sync");
    assert_eq!((synced.added, synced.changed, synced.unchanged), (1, 1, 3));
    let (layer, before) = (snapshot(&into), snapshot(&view));
    assert_eq!(layer[b"d".as_slice()], before[b"d".as_slice()]);
    assert_eq!(layer[b"".as_slice()], before[b"".as_slice()]);
    // This one has other permission bits outside.
    let changed = &layer[b"d/e".as_slice()];
    assert_eq!((changed.mode, changed.modified_at, changed.owner), (0o700, (4_321, 5), (0, 0)));
    assert_eq!(layer[b"d/e/new".as_slice()].owner, (0, 0));
}

#[test]
fn access_lists_stay_inside_and_those_of_the_host_outside() {
    let scratch = Scratch::new();
    let (source, view, into) = alike(&scratch);
    for (root, user) in [(&source, 7), (&view, 1234)] {
        for list in [c"system.posix_acl_access", c"system.posix_acl_default"] {
            setxattr(root.join("d"), list, &access_list(user), XattrFlags::empty()).expect("setxattr");
        }
    }
    // It inherits what is outside, and the directory around it would have its own inherited in the layer.
    fs::write(source.join("d/e/new"), b"new").expect("write");
    fs::write(source.join("d/new"), b"new").expect("write");
    assert!(!snapshot(&source)[b"d/new".as_slice()].attributes.is_empty());
    let synced = sync(&source, &view, MIRROR, &into).expect("sync");
    assert_eq!((synced.added, synced.changed, synced.attributes_left_behind), (2, 0, 0));
    let (layer, before) = (snapshot(&into), snapshot(&view));
    assert_eq!(layer[b"d".as_slice()], before[b"d".as_slice()]);
    assert_eq!(layer[b"d".as_slice()].attributes.len(), 2);
    for path in [b"d/e".as_slice(), b"d/e/new", b"d/new"] {
        assert!(layer[path].attributes.is_empty(), "{}", String::from_utf8_lossy(path));
    }
    // The same on the way to where a layer begins.
    let on_the_way = scratch.directory("on the way");
    let inside = beneath::open_root(&view.join("d")).expect("open");
    assert_eq!(repeat_directory(inside.as_fd(), &on_the_way, Owners::Canonical, Marks::Trusted).expect("repeat"), 0);
    assert_eq!(Node { same_as: b"d".to_vec(), ..snapshot(&on_the_way)[b"".as_slice()].clone() }, before[b"d".as_slice()]);
}

#[test]
fn a_directory_in_the_place_of_something_else_hides_what_is_below() {
    for (marks, attribute) in [(Marks::Trusted, b"trusted.overlay.opaque".as_slice()), (Marks::User, b"user.overlay.opaque")] {
        let scratch = Scratch::new();
        let (source, view, into) = alike(&scratch);
        fs::remove_file(source.join("d/file")).expect("remove");
        fs::create_dir(source.join("d/file")).expect("mkdir");
        let opened = beneath::open_root(&view).expect("open");
        plan_sync(&source, opened.as_fd(), BRING, &into, marks, &mut go_on).expect("sync");
        assert_eq!(snapshot(&into)[b"d/file".as_slice()].attributes[attribute], b"y");
    }
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let scratch = Scratch::new();
    let (source, view, into) = alike(&scratch);
    fs::write(source.join("d/one"), b"one").expect("write");
    fs::hard_link(source.join("d/one"), source.join("d/e/two")).expect("link");
    let synced = sync(&source, &view, MIRROR, &into).expect("sync");
    assert_eq!((synced.added, synced.bytes), (2, 3));
    let inode = |path: &str| fs::metadata(into.join(path)).expect("stat").ino();
    assert_eq!(inode("d/one"), inode("d/e/two"));
}

#[test]
fn sockets_are_skipped_and_devices_refused() {
    let scratch = Scratch::new();
    let (source, view, into) = alike(&scratch);
    let _socket = UnixListener::bind(source.join("d/socket")).expect("bind");
    fs::write(view.join("d/socket"), b"a file inside").expect("write");
    let synced = sync(&source, &view, MIRROR, &into).expect("sync");
    assert_eq!((synced.skipped, synced.skipped_count, synced.deleted), (vec![b"d/socket".to_vec()], 1, 0));
    mknodat(CWD, source.join("null"), FileType::CharacterDevice, Mode::empty(), makedev(1, 3)).expect("mknod");
    let error = sync(&source, &view, MIRROR, &into).expect_err("a device");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Refused, "null is a device".to_owned()));
}

#[test]
fn a_link_inside_leads_nowhere() {
    let scratch = Scratch::new();
    let (source, view, into) = alike(&scratch);
    let secret = scratch.directory("secret");
    fs::write(secret.join("file"), b"same").expect("write");
    set_time(&secret.join("file"), 1_000, 1);
    crate::remove_tree(&view.join("d")).expect("remove");
    symlink(&secret, view.join("d")).expect("symlink");
    let synced = sync(&source, &view, MIRROR, &into).expect("sync");
    assert_eq!((synced.changed, synced.added, synced.deleted), (1, 3, 0));
    assert_eq!(fs::read(secret.join("file")).expect("read"), b"same");
}

#[test]
fn what_was_renamed_meanwhile_is_neither_missed_nor_deleted() {
    let scratch = Scratch::new();
    let (source, view, into) = (scratch.directory("source"), scratch.directory("view"), scratch.directory("into"));
    for index in 0..10 {
        fs::write(source.join(format!("before{index}")), [index]).expect("write");
        // Of another size: all are made in the same tick of the clock.
        fs::write(view.join(format!("after{index}")), b"inside").expect("write");
        fs::write(view.join(format!("before{index}")), b"inside").expect("write");
    }
    let mut done = false;
    let opened = beneath::open_root(&view).expect("open");
    plan_sync(&source, opened.as_fd(), MIRROR, &into, Marks::Trusted, &mut |_| {
        if !done {
            done = true;
            for index in 0..10 {
                fs::rename(source.join(format!("before{index}")), source.join(format!("after{index}"))).expect("rename");
            }
        }
        ControlFlow::Continue(())
    })
    .expect("sync");
    let layer = snapshot(&into);
    for index in 0..10_u8 {
        assert_eq!(layer[format!("after{index}").as_bytes()].content, [index]);
    }
    // One was met by its old name, which is no reason for it to be gone.
    let gone = layer.values().filter(|node| node.kind == 'c').count();
    assert_eq!(gone, 9);
}

#[test]
fn a_file_that_changes_at_every_look_is_named() {
    let scratch = Scratch::new();
    let (source, view, into) = (scratch.directory("source"), scratch.directory("view"), scratch.directory("into"));
    fs::write(source.join("log"), vec![1; 4 << 20]).expect("write");
    fs::write(view.join("log"), vec![1; 4 << 20]).expect("write");
    // Made in one tick of the clock they would count as the same.
    set_time(&view.join("log"), 99_999, 0);
    let opened = beneath::open_root(&view).expect("open");
    let mut time = 0;
    let error = plan_sync(&source, opened.as_fd(), MIRROR, &into, Marks::Trusted, &mut |_| {
        time += 1;
        set_time(&source.join("log"), time, 0);
        ControlFlow::Continue(())
    })
    .expect_err("it never holds still");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Changed, "log keeps changing while it is copied".to_owned()));
}

#[test]
fn what_stands_in_the_place_of_ignored_names_is_skipped_and_named() {
    let scratch = Scratch::new();
    let (source, view, into) = (scratch.directory("source"), scratch.directory("view"), scratch.directory("into"));
    fs::write(source.join(".gitignore"), "*.log\nbuild/\n").expect("write");
    for name in ["keeps", "build", "goes"] {
        fs::write(source.join(name), b"a file").expect("write");
        fs::create_dir_all(view.join(name).join("deep")).expect("mkdir");
    }
    fs::write(view.join("keeps/deep/one.log"), b"inside").expect("write");
    let synced = sync(&source, &view, TIDY, &into).expect("sync");
    assert_eq!(synced.skipped, [b"keeps".to_vec()]);
    assert_eq!((synced.added, synced.changed, synced.ignored, synced.deleted), (1, 1, 1, 0));
    assert!(into.join("goes").is_file());
    assert!(fs::symlink_metadata(into.join("build")).is_err());
}

#[test]
fn depth_costs_neither_stack_nor_descriptors() {
    let scratch = Scratch::new();
    let (source, view, into) = (scratch.directory("source"), scratch.directory("view"), scratch.directory("into"));
    deep_tree(&source, 2_000);
    deep_tree(&view, 2_000);
    fs::remove_file(view.join("zz top")).expect("remove");
    fs::write(source.join(".gitignore"), "ignored\n").expect("write");
    let synced = sync(&source, &view, TIDY, &into).expect("sync");
    assert_eq!((synced.added, synced.deleted), (2, 0));
    let empty = scratch.directory("empty");
    fs::write(empty.join(".gitignore"), "ignored\n").expect("write");
    let other = scratch.directory("other");
    let synced = sync(&empty, &view, TIDY, &other).expect("sync");
    assert_eq!((synced.added, synced.deleted), (1, 1));
    fs::write(empty.join(".gitignore"), "bottom\n").expect("write");
    let third = scratch.directory("third");
    let synced = sync(&empty, &view, TIDY, &third).expect("sync");
    assert_eq!((synced.added, synced.deleted), (1, 0));
}

#[test]
fn the_layer_is_empty_before_and_elsewhere() {
    let scratch = Scratch::new();
    let (source, view, into) = alike(&scratch);
    assert_eq!(sync(&source, &view, BRING, &view).expect_err("not empty").kind(), ErrorKind::Refused);
    assert_eq!(sync(&source, &view, BRING, &source.join("d/e")).expect_err("inside").kind(), ErrorKind::Refused);
    let opened = beneath::open_root(&view).expect("open");
    let error =
        plan_sync(&source, opened.as_fd(), BRING, &into, Marks::Trusted, &mut |_| ControlFlow::Break(())).expect_err("told to");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
