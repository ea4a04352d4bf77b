//! Archives of nasty trees, unpacked by GNU tar and by our own reader.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, setxattr};

use super::{TarOptions, export_tar};
use crate::import::tests::{nasty_tree, set_time};
use crate::testing::{Node, Scratch, go_on, name, snapshot};
use crate::{ArchiveLimits, ErrorKind, Exported, ExportedLinks, Mounts, Owners, beneath, import_archive};

fn archive(root: &Path, path: &str, options: &TarOptions) -> crate::Result<(Vec<u8>, Exported)> {
    let mut bytes = Vec::new();
    let root = beneath::open_root(root).expect("open");
    let exported = export_tar(root.as_fd(), path.as_bytes(), &mut bytes, options, &mut go_on)?;
    Ok((bytes, exported))
}

/// A nasty tree, and what only archives find hard.
fn very_nasty_tree(root: &Path) {
    nasty_tree(root);
    let mut deep = PathBuf::new();
    for byte in [b'a', 0xfe, b'c', b'\n'] {
        deep.push(name(&[byte; 120]));
    }
    let deep = root.join(deep);
    fs::create_dir_all(&deep).expect("mkdir");
    let long = deep.join(name(&[0xff; 200]));
    fs::write(&long, b"long and invalid").expect("write");
    fs::hard_link(&long, deep.join("z")).expect("link");
    symlink(name(&[0x80; 300]), deep.join("link")).expect("symlink");
    symlink("x/".repeat(100), deep.join("slashes")).expect("symlink");
    let sparse = fs::File::create(deep.join("sparse and long")).expect("create");
    sparse.set_len(20 << 30).expect("truncate");
    rustix::io::pwrite(&sparse, &[7; 5000], 10 << 30).expect("pwrite");
    rustix::io::pwrite(&sparse, b"the end", (20 << 30) - 7).expect("pwrite");
    fs::File::create(root.join("only a hole")).expect("create").set_len(1 << 30).expect("truncate");
    fs::write(root.join("someone's"), b"").expect("write");
    lchown(root.join("someone's"), Some(3_000_000_000), Some(70_000)).expect("chown");
    setxattr(root.join("someone's"), c"user.lines", b"a\nb=c\n", XattrFlags::empty()).expect("setxattr");
    set_time(&root.join("someone's"), -3, 250_000_000);
    fs::write(root.join("-rf"), b"").expect("write");
    fs::write(root.join("back\\slash"), b"").expect("write");
    set_time(root, 1_500_000_000, 5);
}

fn assert_same(found: &BTreeMap<Vec<u8>, Node>, wanted: &BTreeMap<Vec<u8>, Node>) {
    for (path, node) in wanted {
        assert_eq!(found.get(path), Some(node), "{}", String::from_utf8_lossy(path));
    }
    assert_eq!(found.len(), wanted.len());
}

#[test]
fn gnu_tar_unpacks_what_was_there() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.path("source"), scratch.directory("destination"));
    very_nasty_tree(&source);
    let (bytes, exported) = archive(&source, "", &TarOptions::default()).expect("export");
    fs::write(scratch.path("archive"), &bytes).expect("write");
    let output = Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--file"])
        .arg(scratch.path("archive"))
        .current_dir(&destination)
        .output()
        .expect("run tar");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wanted = snapshot(&source);
    assert_same(&snapshot(&destination), &wanted);
    assert_eq!((exported.entry_count, exported.skipped_count), (wanted.len() as u64 - 1, 0));
    assert!(fs::metadata(destination.join("only a hole")).expect("stat").blocks() < 100, "holes stay holes");
    assert!(bytes.len() < 8 << 20, "holes take no room in the archive");
}

#[test]
fn our_own_reader_unpacks_what_was_there() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.path("source"), scratch.directory("destination"));
    very_nasty_tree(&source);
    let (bytes, exported) = archive(&source, "", &TarOptions::default()).expect("export");
    let report = import_archive(&bytes[..], &destination, Owners::Canonical, ArchiveLimits::default(), &mut go_on).expect("import");
    assert_eq!(report.entry_count, exported.entry_count);
    let mut wanted = snapshot(&source);
    wanted.values_mut().for_each(|node| node.owner = (0, 0));
    assert_same(&snapshot(&destination), &wanted);
}

#[test]
fn the_same_tree_makes_the_same_archive() {
    let scratch = Scratch::new();
    let source = scratch.path("source");
    very_nasty_tree(&source);
    let one = archive(&source, "", &TarOptions::default()).expect("export");
    assert!(one == archive(&source, "", &TarOptions::default()).expect("export"));
}

#[test]
fn names_begin_where_they_are_told_to() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.directory("source/d"), scratch.directory("destination"));
    fs::write(source.join("one"), b"1").expect("write");
    fs::hard_link(source.join("one"), source.join("two")).expect("link");
    for (path, top, wanted) in [
        ("d", "", vec!["", "one", "two"]),
        ("d", "top/", vec!["", "top", "top/one", "top/two"]),
        ("", "a/b", vec!["", "a", "a/b", "a/b/d", "a/b/d/one", "a/b/d/two"]),
        ("d/one", "", vec!["", "one"]),
        ("d/one", "top", vec!["", "top", "top/one"]),
    ] {
        let options = TarOptions { top: top.into(), ..TarOptions::default() };
        let (bytes, _) = archive(&scratch.path("source"), path, &options).expect("export");
        let destination = destination.join(format!("{path}{top}").replace('/', "-"));
        fs::create_dir(&destination).expect("mkdir");
        import_archive(&bytes[..], &destination, Owners::Canonical, ArchiveLimits::default(), &mut go_on).expect("import");
        let found: Vec<String> = snapshot(&destination).into_keys().map(|path| String::from_utf8(path).expect("text")).collect();
        assert_eq!(found, wanted, "{path} as {top}");
    }
}

#[test]
fn what_cannot_be_in_an_archive_is_named() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    let _socket = UnixListener::bind(source.join("socket")).expect("bind");
    symlink("/etc", source.join("out")).expect("symlink");
    for attribute in [c"user.a=b", c"user.a%3Db", c"user.overlay.opaque", c"user.kept"] {
        setxattr(&source, attribute, b"y", XattrFlags::empty()).expect("setxattr");
    }
    for index in 0..20 {
        setxattr(&source, format!("user.large{index:02}"), &[index; 60_000], XattrFlags::empty()).expect("setxattr");
    }
    let options = TarOptions { links: ExportedLinks::InsideOnly, ..TarOptions::default() };
    let (bytes, exported) = archive(&source, "", &options).expect("export");
    assert_eq!(exported.skipped, [b"socket".to_vec()]);
    assert_eq!(exported.links_left_out, [b"out".to_vec()]);
    // Eight of sixty thousand bytes fit.
    assert_eq!((exported.entry_count, exported.attributes_left_behind), (0, 3 + 12));
    let destination = scratch.directory("destination");
    import_archive(&bytes[..], &destination, Owners::Canonical, ArchiveLimits::default(), &mut go_on).expect("import");
    assert_eq!(snapshot(&destination)[b"".as_slice()].attributes.len(), 9);
    for path in ["socket", "out", "out/passwd", "..", "missing"] {
        assert!(archive(&source, path, &options).is_err(), "{path}");
    }
}

#[test]
fn a_file_that_changes_meanwhile_is_an_error() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    fs::write(source.join("log"), vec![1; 4 << 20]).expect("write");
    for length in [1 << 20, 8 << 20] {
        let root = beneath::open_root(&source).expect("open");
        let error = export_tar(root.as_fd(), b"", &mut std::io::sink(), &TarOptions::default(), &mut |_| {
            fs::OpenOptions::new().write(true).open(source.join("log")).expect("open").set_len(length).expect("resize");
            ControlFlow::Continue(())
        })
        .expect_err("it changed");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Changed, "log changed while it was exported".to_owned()));
    }
}

#[test]
fn it_ends_when_told_to_and_when_nothing_takes_it() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    fs::write(source.join("large"), vec![1; 4 << 20]).expect("write");
    let root = beneath::open_root(&source).expect("open");
    let options = TarOptions::default();
    let error = export_tar(root.as_fd(), b"", &mut Full, &options, &mut go_on).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Full);
    let error =
        export_tar(root.as_fd(), b"", &mut std::io::sink(), &options, &mut |_| ControlFlow::Break(())).expect_err("told to");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn a_mount_is_in_the_archive_only_when_that_is_wanted() {
    let scratch = Scratch::new();
    let (source, mount) = (scratch.directory("source"), scratch.directory("source/a/mount"));
    let outside = scratch.directory("outside/deep");
    fs::write(outside.join("file"), b"content").expect("write");
    fs::write(scratch.path("source/z"), b"").expect("write");
    rustix::mount::mount_bind(scratch.path("outside"), &mount).expect("bind mount");
    let stays = archive(&source, "", &TarOptions::default());
    let crosses = archive(&source, "", &TarOptions { mounts: Mounts::Cross, ..TarOptions::default() });
    rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    assert_eq!(stays.expect_err("a mount").to_string(), "a/mount is another mount");
    let (bytes, exported) = crosses.expect("export");
    let destination = scratch.directory("destination");
    import_archive(&bytes[..], &destination, Owners::Canonical, ArchiveLimits::default(), &mut go_on).expect("import");
    assert_eq!(exported.entry_count, 5);
    assert_eq!(fs::read(destination.join("a/mount/deep/file")).expect("it is there"), b"content");
    assert!(destination.join("z").exists());
}
