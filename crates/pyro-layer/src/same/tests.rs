//! Layers beside their copies, after one thing more was done.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, removexattr, setxattr};

use super::is_same_layer;
use crate::copy::copy_layer;
use crate::import::tests::set_time;
use crate::testing::{Scratch, go_on};

/// A layer with everything that one can hold.
fn written(scratch: &Scratch) -> std::path::PathBuf {
    let layer = scratch.directory("layer");
    for name in ["one", "another"] {
        let directory = scratch.directory(&format!("layer/{name}"));
        fs::write(directory.join("file"), name).expect("write");
        fs::hard_link(directory.join("file"), directory.join("linked")).expect("link");
        symlink(name, directory.join("link")).expect("symlink");
        mknodat(CWD, directory.join("gone"), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).expect("mknod");
    }
    fs::write(layer.join("marked"), b"marked").expect("write");
    setxattr(layer.join("marked"), c"user.mark", b"1", XattrFlags::empty()).expect("setxattr");
    setxattr(layer.join("one"), c"trusted.overlay.opaque", b"y", XattrFlags::empty()).expect("setxattr");
    layer
}

fn after(more: impl FnOnce(&Path)) -> bool {
    let scratch = Scratch::new();
    let layer = written(&scratch);
    let copy = scratch.directory("copy");
    copy_layer(&layer, &copy, &mut go_on).expect("copy");
    assert!(is_same_layer(&layer, &copy).expect("compare"), "a copy is the same");
    let time = fs::metadata(layer.join("one")).and_then(|one| one.modified()).expect("its time");
    more(&layer);
    // What is done in a directory changes its time as well: a difference must be seen without that.
    fs::File::open(layer.join("one")).and_then(|one| one.set_modified(time)).expect("set its time");
    is_same_layer(&layer, &copy).expect("compare")
}

#[test]
fn nothing_done_is_the_same() {
    assert!(after(|_| ()));
    assert!(after(|layer| drop(fs::read(layer.join("one/file")).expect("read"))));
    assert!(after(|layer| set_time(layer, 1_111_111_111, 11)), "the time of the root is nobody's");
    // What overlayfs notes for itself is in no copy.
    assert!(after(|layer| setxattr(layer, c"trusted.overlay.impure", b"y", XattrFlags::empty()).expect("setxattr")));
}

#[test]
fn whatever_is_done_is_a_difference() {
    type Done = (&'static str, fn(&Path));
    let done: &[Done] = &[
        ("content of the same size and time", |layer| {
            let file = layer.join("one/file");
            let time = fs::metadata(&file).and_then(|file| file.modified()).expect("its time");
            fs::write(&file, "two").expect("write");
            fs::File::open(&file).and_then(|file| file.set_modified(time)).expect("set its time");
        }),
        ("time", |layer| set_time(&layer.join("one/file"), 1_111_111_111, 11)),
        ("time of a directory", |layer| set_time(&layer.join("another"), 1_111_111_111, 11)),
        ("mode", |layer| fs::set_permissions(layer.join("one/file"), Permissions::from_mode(0o4755)).expect("chmod")),
        ("mode of the root", |layer| fs::set_permissions(layer, Permissions::from_mode(0o700)).expect("chmod")),
        ("owner", |layer| lchown(layer.join("one/link"), Some(7), None).expect("chown")),
        ("attribute", |layer| setxattr(layer.join("marked"), c"user.mark", b"2", XattrFlags::empty()).expect("setxattr")),
        ("attribute gone", |layer| removexattr(layer.join("marked"), c"user.mark").expect("removexattr")),
        ("not opaque", |layer| removexattr(layer.join("one"), c"trusted.overlay.opaque").expect("removexattr")),
        ("new", |layer| fs::write(layer.join("one/new"), b"").expect("write")),
        ("gone", |layer| fs::remove_file(layer.join("one/linked")).expect("remove")),
        ("renamed", |layer| fs::rename(layer.join("one/link"), layer.join("one/other")).expect("rename")),
        ("a whiteout is gone", |layer| fs::remove_file(layer.join("one/gone")).expect("remove")),
        ("a file became a whiteout", |layer| {
            fs::remove_file(layer.join("one/link")).expect("remove");
            fs::rename(layer.join("one/gone"), layer.join("one/link")).expect("rename");
            mknodat(CWD, layer.join("one/gone"), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).expect("mknod");
        }),
        ("a link leads elsewhere", |layer| {
            let link = layer.join("one/link");
            let time = fs::symlink_metadata(&link).expect("stat");
            fs::remove_file(&link).expect("remove");
            symlink("eno", &link).expect("symlink");
            use std::os::unix::fs::MetadataExt;
            set_time(&link, time.mtime(), time.mtime_nsec());
        }),
        ("a name of another file", |layer| {
            let copy_of = |name: &str| {
                let (file, linked) = (layer.join("one/file"), layer.join("one").join(name));
                let time = fs::metadata(&file).and_then(|file| file.modified()).expect("its time");
                fs::remove_file(&linked).expect("remove");
                fs::write(&linked, "one").expect("write");
                fs::File::open(&linked).and_then(|file| file.set_modified(time)).expect("set its time");
            };
            copy_of("linked");
        }),
    ];
    for (what, more) in done {
        assert!(!after(more), "{what}");
    }
}
