//! Removal of trees that resist.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::remove_tree;
use crate::ErrorKind;
use crate::testing::Scratch;

#[test]
fn links_are_removed_and_not_followed() {
    let scratch = Scratch::new();
    let (tree, outside) = (scratch.directory("tree"), scratch.directory("outside"));
    fs::write(outside.join("canary"), b"alive").expect("write");
    symlink(&outside, tree.join("link")).expect("symlink");
    symlink(outside.join("canary"), tree.join("file link")).expect("symlink");
    fs::hard_link(outside.join("canary"), tree.join("hard")).expect("link");
    let removed = remove_tree(&tree).expect("remove");
    assert_eq!(removed.entry_count, 4);
    assert_eq!(fs::read(outside.join("canary")).expect("read"), b"alive");
    // A root that is a link is removed itself.
    symlink(&outside, scratch.path("root link")).expect("symlink");
    remove_tree(&scratch.path("root link")).expect("remove");
    assert!(outside.join("canary").exists());
}

#[test]
fn freed_bytes_are_those_that_lost_their_last_name() {
    let scratch = Scratch::new();
    let (tree, outside) = (scratch.directory("tree"), scratch.directory("outside"));
    fs::write(tree.join("own"), vec![1; 1 << 20]).expect("write");
    fs::write(outside.join("shared"), vec![1; 4 << 20]).expect("write");
    fs::hard_link(outside.join("shared"), tree.join("shared")).expect("link");
    assert_eq!(remove_tree(&tree).expect("remove").freed_bytes, 1 << 20);
}

#[test]
fn directories_that_forbid_entering_are_opened_up() {
    let mut scratch = Scratch::new();
    let overlay = scratch.overlay("merged", "upper", &["lower"]);
    fs::write(overlay.join("file"), b"").expect("write");
    scratch.unmount(&overlay);
    // The kernel makes work/work with mode 0000.
    let work = scratch.path("upper.work");
    assert_eq!(fs::metadata(work.join("work")).expect("stat").permissions().mode() & 0o777, 0);
    fs::create_dir(work.join("work/index")).expect("mkdir");
    remove_tree(&work).expect("remove");
    assert!(!work.exists());
}

#[test]
fn other_mounts_are_left_alone_and_the_rest_goes() {
    let scratch = Scratch::new();
    let (tree, outside) = (scratch.directory("tree/a/mount"), scratch.directory("outside"));
    fs::write(outside.join("canary"), b"alive").expect("write");
    fs::write(scratch.path("tree/z"), b"").expect("write");
    // The same file system by another mount: device numbers alone would not tell.
    rustix::mount::mount_bind(&outside, &tree).expect("bind mount");
    let error = remove_tree(&scratch.path("tree")).expect_err("a mount");
    rustix::mount::unmount(&tree, rustix::mount::UnmountFlags::empty()).expect("unmount");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("a/mount is another mount"), "{error}");
    assert!(outside.join("canary").exists());
    assert!(!scratch.path("tree/z").exists());
    remove_tree(&scratch.path("tree")).expect("remove the rest");
}

#[test]
fn what_is_not_there_is_no_failure() {
    let scratch = Scratch::new();
    assert_eq!(remove_tree(&scratch.path("gone")).expect("nothing"), super::Removed::default());
    assert_eq!(remove_tree(&scratch.path("gone/deeper")).expect("nothing"), super::Removed::default());
}

#[test]
fn a_directory_swapped_for_a_link_does_not_lead_out() {
    let scratch = Scratch::new();
    let outside = scratch.directory("outside");
    let stop = std::sync::atomic::AtomicBool::new(false);
    for index in 0..50 {
        fs::write(outside.join(format!("canary{index}")), b"alive").expect("write");
    }
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let mut swaps = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for tree in 0..200 {
                    let (directory, link) = (scratch.path(&format!("tree{tree}/d")), scratch.path("link"));
                    if symlink(&outside, &link).is_ok() {
                        let exchanged = rustix::fs::renameat_with(
                            rustix::fs::CWD,
                            &directory,
                            rustix::fs::CWD,
                            &link,
                            rustix::fs::RenameFlags::EXCHANGE,
                        );
                        swaps += u64::from(exchanged.is_ok());
                        if link.is_symlink() {
                            let _ = fs::remove_file(&link);
                        } else {
                            let _ = fs::remove_dir_all(&link);
                        }
                    }
                }
            }
            swaps
        });
        for _ in 0..20 {
            for tree in 0..200 {
                let _ = fs::create_dir_all(scratch.path(&format!("tree{tree}/d/e")));
            }
            for tree in 0..200 {
                // It may fail because its tree is pulled away; it may not lead out.
                let _ = remove_tree(&scratch.path(&format!("tree{tree}")));
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        swapping.join().expect("the other thread");
    });
    for index in 0..50 {
        assert_eq!(fs::read(outside.join(format!("canary{index}"))).expect("read"), b"alive");
    }
}
