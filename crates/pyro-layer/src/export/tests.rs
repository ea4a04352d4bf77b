//! Exports of trees that an enemy has made, to places where something may be.

use std::fs;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::{Existing, ExportOptions, Exported, export_directory};
use crate::entry::{ExportedLinks, stays_inside};
use crate::import::tests::nasty_tree;
use crate::testing::{Scratch, go_on, snapshot};
use crate::{ErrorKind, Marks, beneath};

fn open(path: &Path) -> OwnedFd {
    beneath::open_root(path).expect("open")
}

fn export(root: &Path, path: &str, destination: &Path) -> crate::Result<Exported> {
    export_directory(open(root).as_fd(), path.as_bytes(), destination, ExportOptions::default(), &mut go_on)
}

const REPLACE: ExportOptions = ExportOptions { links: ExportedLinks::AsTheyAre, existing: Existing::Replace };

/// Names in a directory.
fn listed(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_nasty_tree_leaves_as_the_callers_own_and_gives_no_rights() {
    let scratch = Scratch::new();
    let (source, outside) = (scratch.path("source"), scratch.directory("outside"));
    nasty_tree(&source);
    lchown(source.join("large"), Some(1234), Some(5678)).expect("chown");
    lchown(source.join("loop"), Some(1234), Some(5678)).expect("chown");
    let _socket = UnixListener::bind(source.join("socket")).expect("bind");
    mknodat(CWD, source.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).expect("mknod");
    fs::set_permissions(source.join("d"), fs::Permissions::from_mode(0o2775)).expect("chmod");
    fs::set_permissions(source.join("large"), fs::Permissions::from_mode(0o1644)).expect("chmod");
    let exported = export(&source, "", &outside.join("out")).expect("export");
    let mut skipped = exported.skipped.clone();
    skipped.sort();
    assert_eq!(skipped, [b"fifo".to_vec(), b"null".to_vec(), b"socket".to_vec()]);
    assert_eq!((exported.skipped_count, exported.links_left_out_count), (3, 0));
    let mut wanted = snapshot(&source);
    wanted.retain(|path, _| !skipped.contains(path));
    for node in wanted.values_mut() {
        node.mode &= if node.kind == 'd' { 0o1777 } else { 0o777 };
        node.owner = (0, 0);
        node.attributes.remove(b"security.capability".as_slice());
    }
    let found = snapshot(&outside.join("out"));
    for (path, node) in &wanted {
        assert_eq!(found.get(path), Some(node), "{}", String::from_utf8_lossy(path));
    }
    assert_eq!((wanted.len(), exported.entry_count), (found.len(), found.len() as u64 - 1));
    assert!(fs::metadata(outside.join("out/sparse")).expect("stat").blocks() * 512 < 1 << 20, "holes stay holes");
    assert_eq!(listed(&outside), ["out"]);
}

#[test]
fn a_merged_view_is_exported_as_it_is_seen() {
    let mut scratch = Scratch::new();
    for (layer, name) in [("lower/a", "below"), ("lower/a", "changed"), ("upper/a", "changed"), ("upper/a", "above")] {
        fs::write(scratch.directory(layer).join(name), layer).expect("write");
    }
    let view = scratch.sealed_overlay("view", &[scratch.path("upper"), scratch.path("lower")], Marks::Trusted);
    let outside = scratch.directory("outside");
    assert_eq!(export(&view, "a/", &outside.join("a")).expect("export").entry_count, 3);
    assert_eq!(snapshot(&outside.join("a")), snapshot(&view.join("a")));
    assert_eq!(export(&view, "./a//changed", &outside.join("one")).expect("export").bytes, 7);
    assert_eq!(fs::read(outside.join("one")).expect("read"), b"upper/a");
}

#[test]
fn one_file_or_link_is_exported_too() {
    let scratch = Scratch::new();
    let (source, outside) = (scratch.path("source"), scratch.directory("outside"));
    nasty_tree(&source);
    assert_eq!(export(&source, "setuid", &outside.join("file")).expect("export").entry_count, 1);
    assert_eq!(fs::metadata(outside.join("file")).expect("stat").mode() & 0o7777, 0o755);
    export(&source, "escaping", &outside.join("link")).expect("export");
    assert_eq!(fs::read_link(outside.join("link")).expect("readlink"), Path::new("../../../escaping"));
    let error = export(&source, "fifo", &outside.join("fifo")).expect_err("a FIFO");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(listed(&outside), ["file", "link"]);
}

#[test]
fn a_path_leads_through_real_directories_only() {
    let scratch = Scratch::new();
    let (source, outside) = (scratch.directory("source"), scratch.directory("outside"));
    fs::write(scratch.directory("secret").join("file"), b"secret").expect("write");
    symlink("../secret", source.join("link")).expect("symlink");
    symlink("/", source.join("root")).expect("symlink");
    for path in ["link/file", "root/etc/passwd", "../secret", "link/../secret"] {
        assert_eq!(export(&source, path, &outside.join("out")).expect_err(path).kind(), ErrorKind::Refused, "{path}");
        assert!(listed(&outside).is_empty());
    }
    assert!(export(&source, "missing", &outside.join("other")).expect_err("missing").raw_os_error().is_some());
}

#[test]
fn what_is_at_the_destination_stays() {
    let scratch = Scratch::new();
    let (source, outside, elsewhere) =
        (scratch.directory("source/d"), scratch.directory("outside"), scratch.directory("elsewhere"));
    fs::write(source.join("file"), b"new").expect("write");
    fs::write(outside.join("file"), b"old").expect("write");
    scratch.directory("outside/full/of");
    symlink(&elsewhere, outside.join("link")).expect("symlink");
    symlink("nowhere", outside.join("dangling")).expect("symlink");
    for name in ["file", "full", "link", "dangling"] {
        for path in ["d", "d/file"] {
            let error = export(&scratch.path("source"), path, &outside.join(name)).expect_err("occupied");
            assert_eq!(error.kind(), ErrorKind::Refused, "{path} -> {name}");
            assert!(error.to_string().ends_with("is there already"), "{error}");
        }
    }
    assert_eq!(listed(&outside), ["dangling", "file", "full", "link"]);
    assert!(listed(&elsewhere).is_empty());
    assert_eq!(fs::read(outside.join("file")).expect("read"), b"old");
    // An empty directory makes room for a directory, not for a file.
    scratch.directory("outside/empty");
    assert_eq!(export(&source, "file", &outside.join("empty")).expect_err("a directory").kind(), ErrorKind::Refused);
    export(&source, "", &outside.join("empty")).expect("export");
    assert_eq!(listed(&outside.join("empty")), ["file"]);
    for nowhere in ["", "/", ".."] {
        assert_eq!(export(&source, "", Path::new(nowhere)).expect_err("no name").kind(), ErrorKind::Refused);
    }
}

#[test]
fn what_is_at_the_destination_goes_when_that_is_asked_for() {
    let scratch = Scratch::new();
    let (source, outside, elsewhere) =
        (scratch.directory("source/d"), scratch.directory("outside"), scratch.directory("elsewhere"));
    fs::write(source.join("file"), b"new").expect("write");
    for path in ["d", "d/file"] {
        fs::write(outside.join("file"), b"old").expect("write");
        scratch.directory("outside/full/of");
        symlink(&elsewhere, outside.join("link")).expect("symlink");
        for name in ["file", "full", "link", "nothing"] {
            export_directory(open(&scratch.path("source")).as_fd(), path.as_bytes(), &outside.join(name), REPLACE, &mut go_on)
                .expect("export");
            let file = if path == "d" { outside.join(name).join("file") } else { outside.join(name) };
            assert_eq!(fs::read(file).expect("read"), b"new");
            assert!(!fs::symlink_metadata(outside.join(name)).expect("stat").is_symlink());
        }
        assert_eq!(listed(&outside), ["file", "full", "link", "nothing"]);
        assert!(listed(&elsewhere).is_empty());
        for name in listed(&outside) {
            crate::remove_tree(&outside.join(name)).expect("remove");
        }
    }
}

#[test]
fn nothing_is_left_of_an_export_that_fails() {
    let scratch = Scratch::new();
    let (source, outside) = (scratch.path("source"), scratch.directory("outside"));
    nasty_tree(&source);
    fs::write(outside.join("old"), b"old").expect("write");
    for path in ["", "large"] {
        for existing in [Existing::Keep, Existing::Replace] {
            let (mut calls, name) = (0, if existing == Existing::Keep { "new" } else { "old" });
            let options = ExportOptions { existing, ..ExportOptions::default() };
            let error = export_directory(open(&source).as_fd(), path.as_bytes(), &outside.join(name), options, &mut |_| {
                calls += 1;
                if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .expect_err("cancelled");
            assert_eq!(error.kind(), ErrorKind::Cancelled);
            assert_eq!(listed(&outside), ["old"]);
            assert_eq!(fs::read(outside.join("old")).expect("read"), b"old");
        }
    }
    let small = scratch.directory("small");
    rustix::mount::mount("tmpfs", &small, "tmpfs", rustix::mount::MountFlags::empty(), c"size=1m").expect("mount");
    let error = export(&source, "", &small.join("out")).expect_err("full");
    let left = listed(&small);
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    assert_eq!((error.kind(), left.len()), (ErrorKind::Full, 0));
}

#[test]
fn a_destination_within_what_is_exported_is_refused() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    fs::write(source.join("file"), b"").expect("write");
    assert_eq!(export(&source, "", &source.join("out")).expect_err("inside").kind(), ErrorKind::Refused);
    assert_eq!(listed(&source), ["file"]);
}

#[test]
fn links_that_could_lead_out_are_kept_back_and_named() {
    for (path, target, stays) in [
        ("link", "file", true),
        ("link", "./a/b/c", true),
        ("link", "..", false),
        ("link", "/etc", false),
        ("a/link", "..", true),
        ("a/link", "../..", false),
        ("a/b/link", "../.././c", true),
        ("a/b/link", ".././../..", false),
        // `z` may be a link to where it lies, and then this leads above `a`.
        ("a/b/link", "z/../../..", false),
        ("a/b/link", "z/../c", false),
        ("a/b/link", "...", true),
    ] {
        assert_eq!(stays_inside(path.as_bytes(), target.as_bytes()), stays, "{path} -> {target}");
    }
    let scratch = Scratch::new();
    let (source, outside) = (scratch.path("source"), scratch.directory("outside"));
    nasty_tree(&source);
    let options = ExportOptions { links: ExportedLinks::InsideOnly, ..ExportOptions::default() };
    let exported = export_directory(open(&source).as_fd(), b"", &outside.join("out"), options, &mut go_on).expect("export");
    let mut left_out = exported.links_left_out;
    left_out.sort();
    assert_eq!((left_out, exported.links_left_out_count), (vec![b"absolute".to_vec(), b"escaping".to_vec()], 2));
    assert!(fs::symlink_metadata(outside.join("out/escaping")).is_err());
    assert!(fs::symlink_metadata(outside.join("out/loop")).is_ok());
    let error = export_directory(open(&source).as_fd(), b"absolute", &outside.join("one"), options, &mut go_on).expect_err("out");
    assert_eq!(error.kind(), ErrorKind::Refused);
}
