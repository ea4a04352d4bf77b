//! Every change is seen, and what is not settled is not trusted.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{XattrFlags, setxattr};

use super::{Fingerprint, fingerprint, take};
use crate::import::tests::{deep_tree, fifo, set_time};
use crate::testing::{Scratch, go_on};
use crate::{ErrorKind, Owners, import_directory};

/// Takes it again and again until what was made just now has settled.
fn settled(source: &Path) -> Fingerprint {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(found) = fingerprint(source, &mut go_on).expect("fingerprint") {
            return found;
        }
        std::thread::yield_now();
    }
    panic!("nothing changes, and still there is no fingerprint");
}

fn tree(scratch: &Scratch) -> PathBuf {
    let source = scratch.directory("source");
    for directory in ["a", "a/b", "c", "d"] {
        fs::create_dir_all(source.join(directory)).expect("mkdir");
        for name in ["one", "two", "three"] {
            fs::write(source.join(directory).join(name), name).expect("write");
        }
    }
    symlink("target", source.join("link")).expect("symlink");
    fifo(&source.join("fifo"));
    source
}

#[test]
fn it_is_the_same_as_long_as_nothing_changes() {
    let scratch = Scratch::new();
    let source = tree(&scratch);
    let first = settled(&source);
    for _ in 0..20 {
        assert_eq!(fingerprint(&source, &mut go_on).expect("fingerprint"), Some(first));
    }
    // Reading is no change, by whomever.
    assert_eq!(fs::read(source.join("a/one")).expect("read"), b"one");
    let copy = scratch.directory("copy");
    import_directory(&source, &copy, Owners::Canonical, &mut go_on).expect("import");
    assert_eq!(settled(&source), first);
    assert_ne!(settled(&copy), first, "another tree is another tree");
    let text = first.to_string();
    assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn every_change_is_seen() {
    let scratch = Scratch::new();
    let source = tree(&scratch);
    let mut seen = vec![settled(&source)];
    let changes: [(&str, &dyn Fn()); 13] = [
        ("content", &|| fs::write(source.join("a/b/one"), "ONE").expect("write")),
        // As an editor may set the time back; the size is as it was.
        ("content with an old time", &|| {
            fs::write(source.join("a/b/one"), "one").expect("write");
            set_time(&source.join("a/b/one"), 1_000, 1);
        }),
        ("a mode", &|| fs::set_permissions(source.join("c/two"), fs::Permissions::from_mode(0o600)).expect("chmod")),
        ("an owner", &|| chown(source.join("c/two"), Some(7), Some(8)).expect("chown")),
        ("an attribute", &|| setxattr(source.join("c/two"), c"user.note", b"new", XattrFlags::empty()).expect("setxattr")),
        ("a new name", &|| fs::write(source.join("d/four"), "").expect("write")),
        ("another name of a file", &|| fs::hard_link(source.join("d/four"), source.join("a/b/four")).expect("link")),
        ("a name less", &|| fs::remove_file(source.join("d/three")).expect("remove")),
        ("a new name of it", &|| fs::rename(source.join("d/one"), source.join("d/uno")).expect("rename")),
        ("two names exchanged", &|| {
            fs::rename(source.join("d/two"), source.join("x")).expect("rename");
            fs::rename(source.join("d/uno"), source.join("d/two")).expect("rename");
            fs::rename(source.join("x"), source.join("d/uno")).expect("rename");
        }),
        ("a directory moved", &|| fs::rename(source.join("a/b"), source.join("b")).expect("rename")),
        ("another target", &|| {
            fs::remove_file(source.join("link")).expect("remove");
            symlink("other", source.join("link")).expect("symlink");
        }),
        ("the root's mode", &|| fs::set_permissions(&source, fs::Permissions::from_mode(0o700)).expect("chmod")),
    ];
    for (what, change) in changes {
        change();
        let now = settled(&source);
        assert!(!seen.contains(&now), "{what}");
        seen.push(now);
    }
}

#[test]
fn what_may_change_again_without_a_sign_is_not_trusted() {
    let scratch = Scratch::new();
    let source = tree(&scratch);
    let changed_at = |path: &str| {
        let metadata = fs::symlink_metadata(source.join(path)).expect("stat");
        let seconds = Duration::from_secs(metadata.ctime().try_into().expect("after 1970"));
        seconds + Duration::from_nanos(metadata.ctime_nsec().try_into().expect("a fraction"))
    };
    // The last thing that was made: all else is older, or as old.
    let last = changed_at("fifo");
    assert_eq!(take(&source, last, &mut go_on).expect("fingerprint"), None);
    let tick = Duration::from_nanos(1);
    assert!(take(&source, last + tick, &mut go_on).expect("fingerprint").is_some());
    settled(&source);
    fs::set_permissions(source.join("a/b/one"), fs::Permissions::from_mode(0o600)).expect("chmod");
    let last = changed_at("a/b/one");
    assert_eq!(take(&source, last, &mut go_on).expect("fingerprint"), None);
    assert!(take(&source, last + tick, &mut go_on).expect("fingerprint").is_some());
}

#[test]
fn a_change_during_an_import_is_seen_after_it() {
    let scratch = Scratch::new();
    let (source, copy) = (tree(&scratch), scratch.directory("copy"));
    let before = settled(&source);
    let mut calls = 0;
    import_directory(&source, &copy, Owners::Canonical, &mut |_| {
        calls += 1;
        // Of a file that has been copied or one that has not: it is in neither case what it was.
        if calls == 5 {
            fs::write(source.join("c/one"), "ONE").expect("write");
        }
        ControlFlow::Continue(())
    })
    .expect("import");
    assert_ne!(fingerprint(&source, &mut go_on).expect("fingerprint"), Some(before));
    assert_ne!(settled(&source), before);
}

#[test]
fn other_file_systems_in_it_count_too() {
    let scratch = Scratch::new();
    let source = tree(&scratch);
    let mounted = scratch.directory("source/mounted");
    let before = settled(&source);
    rustix::mount::mount("tmpfs", &mounted, "tmpfs", rustix::mount::MountFlags::empty(), c"").expect("mount");
    let covered = settled(&source);
    fs::write(mounted.join("file"), b"").expect("write");
    let filled = settled(&source);
    rustix::mount::unmount(&mounted, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    assert!(before != covered && covered != filled);
    assert_eq!(settled(&source), before);
}

#[test]
fn depth_costs_neither_stack_nor_descriptors() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    for index in 0..20 {
        deep_tree(&scratch.directory(&format!("source/chain{index}")), 1_000);
    }
    let first = settled(&source);
    assert_eq!(settled(&source), first);
    assert_eq!(fingerprint(&source, &mut |_| ControlFlow::Break(())).expect_err("cancelled").kind(), ErrorKind::Cancelled);
    let mut calls = 0;
    let outcome = fingerprint(&source, &mut |_| {
        calls += 1;
        if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // Where helpers were quicker there was nothing left to be broken off.
    assert!(outcome.is_ok_and(|found| found == Some(first)) || calls == 3);
    assert!(fingerprint(&source.join("missing"), &mut go_on).is_err());
}
