//! Copies of layers that overlayfs has made.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use super::copy_layer;
use crate::import::tests::{fifo, nasty_tree, set_time};
use crate::testing::{Node, Scratch, go_on, snapshot};
use crate::{ErrorKind, Marks};

/// A layer as it should be after a copy: without what overlayfs noted for itself, and without the metadata of whiteouts, which have none.
fn as_copied(layer: &Path) -> BTreeMap<Vec<u8>, Node> {
    let mut nodes = snapshot(layer);
    for node in nodes.values_mut() {
        for space in ["trusted", "user"] {
            for noted in ["impure", "uuid", "nlink"] {
                node.attributes.remove(format!("{space}.overlay.{noted}").as_bytes());
            }
            let origin = format!("{space}.overlay.origin").into_bytes();
            if node.kind == 'd' {
                node.attributes.entry(origin).and_modify(Vec::clear);
            } else {
                node.attributes.remove(&origin);
            }
        }
        if node.kind == 'c' {
            (node.mode, node.modified_at, node.owner, node.same_as) = (0, (0, 0), (0, 0), Vec::new());
        }
    }
    nodes
}

/// Everything that can be done in an overlay over `lower`.
fn work_in(view: &Path) {
    nasty_tree(&view.join("nasty"));
    fs::write(view.join("changed"), b"other").expect("write");
    fs::remove_file(view.join("gone")).expect("remove");
    fs::remove_file(view.join("also gone")).expect("remove");
    fs::remove_dir_all(view.join("remade")).expect("remove");
    fs::create_dir(view.join("remade")).expect("mkdir");
    fs::write(view.join("remade/new"), b"new").expect("write");
    fs::remove_file(view.join("merged/one")).expect("remove");
    set_time(&view.join("merged"), 1_111_111_111, 11);
    UnixListener::bind(view.join("socket")).expect("bind");
    lchown(view.join("socket"), Some(3), Some(4)).expect("chown");
    symlink("nowhere", view.join("someone's")).expect("symlink");
    lchown(view.join("someone's"), Some(1000), Some(100)).expect("chown");
    fs::write(view.join("owned"), b"owned").expect("write");
    lchown(view.join("owned"), Some(1234), Some(5678)).expect("chown");
    fs::set_permissions(view.join("owned"), fs::Permissions::from_mode(0o6755)).expect("chmod");
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    setxattr(view.join("owned"), c"security.capability", &capability, XattrFlags::empty()).expect("set a capability");
    fs::create_dir(view.join("theirs")).expect("mkdir");
    lchown(view.join("theirs"), Some(7), Some(8)).expect("chown");
    fs::set_permissions(view.join("theirs"), fs::Permissions::from_mode(0o2770)).expect("chmod");
}

fn lower(scratch: &Scratch) {
    let lower = scratch.directory("lower");
    for name in ["changed", "gone", "also gone", "kept"] {
        fs::write(lower.join(name), name).expect("write");
    }
    for name in ["remade", "merged"] {
        fs::create_dir(lower.join(name)).expect("mkdir");
        fs::write(lower.join(name).join("one"), b"1").expect("write");
        fs::write(lower.join(name).join("two"), b"2").expect("write");
    }
}

#[test]
fn a_copy_of_a_layer_says_the_same() {
    for marks in [Marks::Trusted, Marks::User] {
        let mut scratch = Scratch::new();
        lower(&scratch);
        let view = scratch.overlay_with("view", "upper", &["lower"], marks);
        work_in(&view);
        let seen = snapshot(&view);
        scratch.unmount(&view);
        let copy = scratch.directory("copy");
        let copied = copy_layer(&scratch.path("upper"), &copy, &mut go_on).expect("copy");
        let (wanted, found) = (as_copied(&scratch.path("upper")), as_copied(&copy));
        for (path, node) in &wanted {
            assert_eq!(found.get(path), Some(node), "{}", String::from_utf8_lossy(path));
        }
        assert_eq!((wanted.len(), copied.entry_count), (found.len(), wanted.len() as u64 - 1));
        assert_eq!((copied.linked_count, copied.attributes_left_behind), (0, 0));
        let whiteout = |name: &str| fs::symlink_metadata(copy.join(name)).expect("stat");
        assert_eq!(whiteout("gone").ino(), whiteout("merged/one").ino(), "whiteouts are one inode");
        assert_eq!((whiteout("gone").rdev(), whiteout("gone").mode() & 0o7777), (0, 0));
        // The kernel sees the same through it.
        let view = scratch.overlay_with("view again", "copy", &["lower"], marks);
        assert_eq!(snapshot(&view), seen);
    }
}

#[test]
fn what_overlayfs_notes_for_itself_is_left_out() {
    let scratch = Scratch::new();
    let (layer, copy) = (scratch.directory("layer"), scratch.directory("copy"));
    fs::create_dir(layer.join("d")).expect("mkdir");
    fs::write(layer.join("f"), b"").expect("write");
    for name in ["origin", "impure", "uuid", "nlink", "opaque", "overlay.opaque", "overlay.origin"] {
        for path in ["d", "f"] {
            for space in ["trusted", "user"] {
                setxattr(layer.join(path), format!("{space}.overlay.{name}"), b"y", XattrFlags::empty()).expect("setxattr");
            }
        }
    }
    setxattr(&layer, c"trusted.overlay.impure", b"y", XattrFlags::empty()).expect("setxattr");
    copy_layer(&layer, &copy, &mut go_on).expect("copy");
    let after = snapshot(&copy);
    let of = |path: &str| -> Vec<String> {
        after[path.as_bytes()].attributes.keys().map(|name| String::from_utf8(name.clone()).expect("text")).collect()
    };
    let kept = |space: &str, names: &[&str]| names.iter().map(|name| format!("{space}.overlay.{name}")).collect::<Vec<_>>();
    let of_files = ["opaque", "overlay.opaque", "overlay.origin"];
    let of_directories = ["opaque", "origin", "overlay.opaque", "overlay.origin"];
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(of("f"), sorted([kept("trusted", &of_files), kept("user", &of_files)].concat()));
    assert_eq!(of("d"), sorted([kept("trusted", &of_directories), kept("user", &of_directories)].concat()));
    assert!(after[b"d".as_slice()].attributes[b"trusted.overlay.origin".as_slice()].is_empty());
    assert!(after[b"".as_slice()].attributes.is_empty());
}

#[test]
fn a_device_in_a_layer_is_refused() {
    let scratch = Scratch::new();
    let (layer, copy) = (scratch.directory("layer"), scratch.directory("copy"));
    mknodat(CWD, layer.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).expect("mknod");
    let error = copy_layer(&layer, &copy, &mut go_on).expect_err("a device");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Refused, "null is a device".to_owned()));
}

#[test]
fn another_mount_in_a_layer_is_refused() {
    let scratch = Scratch::new();
    let (layer, copy) = (scratch.directory("layer"), scratch.directory("copy"));
    let inside = scratch.directory("layer/mount");
    rustix::mount::mount("tmpfs", &inside, "tmpfs", rustix::mount::MountFlags::empty(), c"").expect("mount");
    let error = copy_layer(&layer, &copy, &mut go_on).expect_err("a mount");
    rustix::mount::unmount(&inside, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Refused, "mount is another mount".to_owned()));
}

#[test]
fn an_empty_destination_outside_the_layer_is_asked_for() {
    let scratch = Scratch::new();
    let layer = scratch.directory("layer");
    let inside = scratch.directory("layer/a");
    fifo(&layer.join("fifo"));
    assert_eq!(copy_layer(&layer, &inside, &mut go_on).expect_err("inside").kind(), ErrorKind::Refused);
    assert_eq!(copy_layer(&inside, &layer, &mut go_on).expect_err("not empty").kind(), ErrorKind::Refused);
}

#[test]
fn a_copy_can_be_broken_off() {
    let scratch = Scratch::new();
    let (layer, copy) = (scratch.directory("layer"), scratch.directory("copy"));
    fs::write(layer.join("file"), b"").expect("write");
    let error = copy_layer(&layer, &copy, &mut |_| ControlFlow::Break(())).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
