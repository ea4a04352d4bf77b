//! Imports of trees that have everything a tree can have.

use std::ffi::CString;
use std::fs;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, Dev, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use super::import_directory;
use crate::beneath::{self, Descent, Mounts};
use crate::testing::{Scratch, access_list, go_on, name, snapshot};
use crate::{ErrorKind, Owners, SeedReport, measure, remove_tree};

fn import(source: &Path, destination: &Path) -> crate::Result<SeedReport> {
    import_directory(source, destination, Owners::Canonical, &mut go_on)
}

pub(crate) fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o640), Dev::default()).expect("make a FIFO");
}

pub(crate) fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).expect("set a time");
}

/// A tree with one of everything.
pub(crate) fn nasty_tree(root: &Path) {
    fs::create_dir(root).expect("mkdir");
    let at = |bytes: &[u8]| root.join(name(bytes));
    fs::write(at(&[b'n'; 255]), b"long").expect("write");
    fs::write(at(b"new\nline"), b"").expect("write");
    fs::write(at(b"\xff\xfe invalid"), b"bytes\0and\xffmore").expect("write");
    fs::write(at(b"large"), vec![7; 3 << 20]).expect("write");
    fs::write(at(b"setuid"), b"#!").expect("write");
    fs::set_permissions(at(b"setuid"), fs::Permissions::from_mode(0o4755)).expect("chmod");
    fs::write(at(b"unreadable"), b"mode 0").expect("write");
    fs::set_permissions(at(b"unreadable"), fs::Permissions::from_mode(0o000)).expect("chmod");
    symlink("/etc/passwd", at(b"absolute")).expect("symlink");
    symlink("../../../escaping", at(b"escaping")).expect("symlink");
    symlink("loop", at(b"loop")).expect("symlink");
    set_time(&at(b"loop"), 1_000_000_000, 7);
    fifo(&at(b"fifo"));
    fs::create_dir_all(at(b"d/e")).expect("mkdir");
    fs::write(at(b"d/first"), b"linked").expect("write");
    fs::hard_link(at(b"d/first"), at(b"d/e/second")).expect("link");
    fs::hard_link(at(b"d/first"), at(b"third")).expect("link");
    fs::hard_link(at(b"loop"), at(b"d/loop too")).expect("link");
    let sparse = fs::File::create(at(b"sparse")).expect("create");
    sparse.set_len(2 << 30).expect("truncate");
    rustix::io::pwrite(&sparse, b"in the middle", 1 << 30).expect("pwrite");
    setxattr(at(b"large"), c"user.note", b"attribute\0bytes", XattrFlags::empty()).expect("setxattr");
    setxattr(at(b"d"), c"user.on a directory", &[b'x'; 200], XattrFlags::empty()).expect("setxattr");
    // cap_net_bind_service+ep, as `setcap` writes it.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    setxattr(at(b"third"), c"security.capability", &capability, XattrFlags::empty()).expect("set a capability");
    set_time(&at(b"large"), -2_000_000_000, 123_456_789);
    set_time(&at(b"third"), 4_102_444_800, 999_999_999);
    for (directory, mode) in [(b"sealed".as_slice(), 0o555), (b"forbidden", 0o000), (b"sticky", 0o1777)] {
        fs::create_dir(at(directory)).expect("mkdir");
        fs::write(at(directory).join("inside"), b"in").expect("write");
        set_time(&at(directory), 1_234_567_890, 42);
        fs::set_permissions(at(directory), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    set_time(root, 1_500_000_000, 5);
}

#[test]
fn a_nasty_tree_comes_through_equal() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.path("source"), scratch.directory("destination"));
    nasty_tree(&source);
    let report = import(&source, &destination).expect("import");
    let (before, after) = (snapshot(&source), snapshot(&destination));
    for (path, node) in &before {
        assert_eq!(after.get(path), Some(node), "{}", String::from_utf8_lossy(path));
    }
    assert_eq!(before.len(), after.len());
    assert_eq!(report.entry_count, before.len() as u64 - 1);
    assert_eq!((report.skipped_count, report.attributes_left_behind), (0, 0));
    assert!(fs::metadata(destination.join("sparse")).expect("stat").blocks() * 512 < 1 << 20, "holes stay holes");
    let mut middle = [0; 13];
    crate::content::read_full(fs::File::open(destination.join("sparse")).expect("open"), &mut middle, 1 << 30).expect("read");
    assert_eq!(&middle, b"in the middle");
    // On the way out too.
    assert_eq!(measure(&destination).expect("measure").entry_count, report.entry_count);
    remove_tree(&destination).expect("remove");
    assert!(!destination.exists());
}

#[test]
fn files_of_other_owners_become_the_inside_roots() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    fs::write(source.join("file"), b"mine").expect("write");
    std::os::unix::fs::chown(source.join("file"), Some(1234), Some(5678)).expect("chown");
    import(&source, &destination).expect("import");
    let metadata = fs::metadata(destination.join("file")).expect("stat");
    assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
}

#[test]
fn sockets_are_skipped_and_named() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    let _listener = UnixListener::bind(source.join("agent.sock")).expect("bind");
    fs::write(source.join("Cargo.toml"), b"").expect("write");
    fs::create_dir_all(source.join(".github/workflows")).expect("mkdir");
    let report = import(&source, &destination).expect("import");
    assert_eq!(report.skipped, [b"agent.sock".to_vec()]);
    assert_eq!(report.skipped_count, 1);
    assert_eq!(report.markers, [".github/workflows", "Cargo.toml"]);
    assert!(!destination.join("agent.sock").exists());
}

#[test]
fn devices_are_refused_by_name() {
    for (number, kind) in [
        (makedev(1, 3), FileType::CharacterDevice),
        (makedev(0, 0), FileType::CharacterDevice),
        (makedev(7, 0), FileType::BlockDevice),
    ] {
        let scratch = Scratch::new();
        let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
        fs::create_dir(source.join("deep")).expect("mkdir");
        mknodat(CWD, source.join("deep/null\u{1b}"), kind, Mode::from_raw_mode(0o666), number).expect("mknod");
        let error = import(&source, &destination).expect_err("a device");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Refused, "deep/null\\u{1b} is a device".to_owned()));
    }
}

#[test]
fn attributes_that_an_overlay_would_obey_are_not_taken_over() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    fs::create_dir(source.join("d")).expect("mkdir");
    for attribute in [c"trusted.overlay.opaque", c"user.overlay.opaque", c"user.overlay.redirect", c"user.kept"] {
        setxattr(source.join("d"), attribute, b"y", XattrFlags::empty()).expect("setxattr");
    }
    let report = import(&source, &destination).expect("import");
    let attributes: Vec<Vec<u8>> = snapshot(&destination)[b"d".as_slice()].attributes.keys().cloned().collect();
    assert_eq!(attributes, [b"user.kept".to_vec()]);
    assert_eq!(report.attributes_left_behind, 2);
}

#[test]
fn access_lists_of_the_host_stay_there() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    fs::create_dir(source.join("d")).expect("mkdir");
    for list in [c"system.posix_acl_access", c"system.posix_acl_default"] {
        setxattr(source.join("d"), list, &access_list(7), XattrFlags::empty()).expect("setxattr");
    }
    fs::write(source.join("d/f"), b"inherits").expect("write");
    let report = import(&source, &destination).expect("import");
    assert_eq!(report.attributes_left_behind, 0);
    assert!(snapshot(&destination).values().all(|node| node.attributes.is_empty()));
}

#[test]
fn a_directory_that_contains_the_destination_is_refused() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    let inside = scratch.directory("source/a/b");
    assert_eq!(import(&source, &inside).expect_err("inside").kind(), ErrorKind::Refused);
    assert_eq!(import(&inside, &inside).expect_err("itself").kind(), ErrorKind::Refused);
    // Seen by another path, which only the walk itself can notice.
    let other = scratch.directory("other/mounted");
    rustix::mount::mount_bind(scratch.path("source/a"), &other).expect("bind mount");
    let error = import(&scratch.path("other"), &inside).expect_err("through a mount");
    assert_eq!(error.kind(), ErrorKind::Refused);
    rustix::mount::unmount(&other, rustix::mount::UnmountFlags::DETACH).expect("unmount");
}

#[test]
fn a_destination_that_is_not_empty_is_refused() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    fs::write(destination.join("old"), b"").expect("write");
    assert_eq!(import(&source, &destination).expect_err("not empty").kind(), ErrorKind::Refused);
}

#[test]
fn a_callback_cancels_between_and_within_files() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    fs::write(source.join("large"), vec![1; 8 << 20]).expect("write");
    for allowed in [0, 1, 3] {
        let destination = scratch.directory(&format!("destination{allowed}"));
        let mut calls = 0;
        let error = import_directory(&source, &destination, Owners::Canonical, &mut |progress| {
            assert!(progress.bytes <= 8 << 20);
            calls += 1;
            if calls > allowed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect_err("cancelled");
        assert_eq!((error.kind(), calls), (ErrorKind::Cancelled, allowed + 1));
    }
}

#[test]
fn a_full_file_system_is_named() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    fs::write(source.join("large"), vec![1; 4 << 20]).expect("write");
    let small = scratch.directory("small");
    rustix::mount::mount("tmpfs", &small, "tmpfs", rustix::mount::MountFlags::empty(), c"size=1m").expect("mount");
    let error = import(&source, &small).expect_err("full");
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().starts_with("large: "), "{error}");
}

#[test]
fn a_file_that_changes_at_every_look_is_named() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    fs::write(source.join("log"), vec![1; 4 << 20]).expect("write");
    let mut length = 4 << 20;
    // The callback runs within the copy of a large file: each time it is called the file has grown.
    let error = import_directory(&source, &destination, Owners::Canonical, &mut |_| {
        length += 1;
        fs::OpenOptions::new().write(true).open(source.join("log")).expect("open").set_len(length).expect("grow");
        ControlFlow::Continue(())
    })
    .expect_err("it never holds still");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Changed, "log keeps changing while it is copied".to_owned()));
}

#[test]
fn a_file_that_changes_once_is_copied_again() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    fs::write(source.join("file"), vec![1; 4 << 20]).expect("write");
    let mut changed = false;
    import_directory(&source, &destination, Owners::Canonical, &mut |_| {
        if !changed {
            changed = true;
            fs::write(source.join("file"), vec![2; 2 << 20]).expect("write");
        }
        ControlFlow::Continue(())
    })
    .expect("import");
    assert_eq!(fs::read(destination.join("file")).expect("read"), vec![2; 2 << 20]);
}

#[test]
fn what_a_file_was_renamed_to_is_not_missed() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    for index in 0..10 {
        fs::write(source.join(format!("before{index}")), [index]).expect("write");
    }
    let mut done = false;
    let report = import_directory(&source, &destination, Owners::Canonical, &mut |_| {
        if !done {
            done = true;
            for index in 0..10 {
                fs::rename(source.join(format!("before{index}")), source.join(format!("after{index}"))).expect("rename");
            }
        }
        ControlFlow::Continue(())
    })
    .expect("import");
    // One was copied before the renames and is there by both names; none is missing.
    assert_eq!(report.entry_count, 11);
    for index in 0..10 {
        assert_eq!(fs::read(destination.join(format!("after{index}"))).expect("read"), [index]);
    }
}

#[test]
fn what_was_gone_for_a_moment_is_not_missed() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    for index in 0..10 {
        fs::write(source.join(format!("file{index}")), [index]).expect("write");
    }
    let mut calls = 0;
    import_directory(&source, &destination, Owners::Canonical, &mut |_| {
        calls += 1;
        // The first one to be met is there; the others are not, until one of them has been missed.
        if calls == 1 {
            for index in 0..10 {
                let _ = fs::rename(source.join(format!("file{index}")), source.join(format!("away{index}")));
            }
        } else if calls == 2 {
            for index in 0..10 {
                let _ = fs::rename(source.join(format!("away{index}")), source.join(format!("file{index}")));
            }
        }
        ControlFlow::Continue(())
    })
    .expect("import");
    for index in 0..10 {
        assert_eq!(fs::read(destination.join(format!("file{index}"))).expect("read"), [index]);
    }
}

/// Makes a chain of directories, one beneath the other.
pub(crate) fn deep_tree(root: &Path, depth: usize) {
    let mut descent = Descent::new(beneath::open_root(root).expect("open")).expect("descent");
    for _ in 0..depth {
        rustix::fs::mkdirat(descent.here(), c"d", Mode::RWXU).expect("mkdir");
        descent.enter(c"d", Mounts::Stay).expect("enter");
    }
    let file = rustix::fs::openat(descent.here(), c"bottom", rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY, Mode::RUSR)
        .expect("create");
    rustix::io::write(&file, b"deep").expect("write");
    // A second name at the top: the import has to name the first one across all of the depth.
    rustix::fs::linkat(descent.here(), c"bottom", beneath::open_root(root).expect("open"), c"zz top", rustix::fs::AtFlags::empty())
        .expect("link");
}

#[test]
fn ten_thousand_levels_are_copied_measured_and_removed() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    deep_tree(&source, 10_000);
    let report = import(&source, &destination).expect("import");
    assert_eq!(report.entry_count, 10_002);
    assert_eq!(measure(&destination).expect("measure").entry_count, 10_002);
    let mut descent = Descent::new(beneath::open_root(&destination).expect("open")).expect("descent");
    for _ in 0..10_000 {
        descent.enter(c"d", Mounts::Stay).expect("enter");
    }
    let bottom = beneath::stat(descent.here(), c"bottom").expect("stat");
    let top = beneath::stat(beneath::open_root(&destination).expect("open"), c"zz top").expect("stat");
    assert_eq!(bottom.st_ino, top.st_ino);
    let file = beneath::open_content(descent.here(), c"bottom").expect("open");
    let mut content = [0; 10];
    assert_eq!(crate::content::read_full(&file, &mut content, 0).expect("read"), 4);
    for tree in [source, destination] {
        assert_eq!(remove_tree(&tree).expect("remove").entry_count, 10_003);
    }
}

#[test]
fn a_tree_too_deep_is_an_error_and_not_a_crash() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    let mut at = beneath::open_root(&source).expect("open");
    for _ in 0..crate::limits::DEPTH_MAX + 10 {
        rustix::fs::mkdirat(at.as_fd(), c"d", Mode::RWXU).expect("mkdir");
        at = rustix::fs::openat(&at, c"d", rustix::fs::OFlags::DIRECTORY, Mode::empty()).expect("open");
    }
    let error = import(&source, &destination).expect_err("too deep");
    assert!(error.to_string().len() < 1000, "{error}");
}

#[test]
fn one_id_neither_needs_nor_gets_capabilities() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.path("source"), scratch.directory("destination"));
    nasty_tree(&source);
    import_directory(&source, &destination, Owners::CallerOnly, &mut go_on).expect("import");
    let after = snapshot(&destination);
    assert!(!after[b"third".as_slice()].attributes.contains_key(b"security.capability".as_slice()));
    assert!(after[b"large".as_slice()].attributes.contains_key(b"user.note".as_slice()));
}

#[test]
fn names_are_the_same_bytes() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source"), scratch.directory("destination"));
    let mut names: Vec<CString> =
        (1..=255_u8).filter(|byte| *byte != b'/' && *byte != b'.').map(|byte| CString::new([byte]).expect("no NUL")).collect();
    for bytes in &names {
        fs::write(source.join(name(bytes.to_bytes())), b"").expect("write");
    }
    import(&source, &destination).expect("import");
    let mut copied: Vec<CString> = beneath::list(beneath::open_root(&destination).expect("open").as_fd())
        .expect("list")
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    names.sort();
    copied.sort();
    assert_eq!(names, copied);
}
