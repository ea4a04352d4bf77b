//! Seeds: a directory or an archive comes in whole and as it was, or not at all.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use pyro_testkit::{Mode, TestEnv, skip};
use rustix::fs::{CWD, FileType, Mode as Bits, mknodat};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::{case, noise};

fn create(env: &TestEnv, word: &str, seed: &Path) -> (String, Value) {
    let name = env.name(word);
    let made: Value = env.json(&["workspace", "create", "debian:12", "--name", &name, "--seed-path", &seed.to_string_lossy()]);
    (name, made)
}

/// Path, kind, mode, owner, links, size, time and link target of everything in a workspace, as its own find(1) tells it.
fn inside(env: &TestEnv, ws: &str) -> BTreeMap<String, String> {
    let look = r"find . -mindepth 1 -printf '%P\0%y %m %U:%G %n %s %T@ %l\0'";
    let text = env.pyro(&["workspace", "exec", ws, "--", "sh", "-c", look]).expect_ok().stdout;
    let mut parts = text.split('\0');
    let mut found = BTreeMap::new();
    while let (Some(path), Some(what)) = (parts.next(), parts.next()) {
        found.insert(path.to_owned(), what.to_owned());
    }
    found
}

/// A tree with everything that a project may have.
fn tree(root: &Path) {
    let write = |path: &[u8], content: &[u8], mode: u32| {
        let path = root.join(OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().expect("below the root")).expect("make a folder");
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    write(b"plain.txt", b"plain\n", 0o644);
    write(b"run.sh", b"#!/bin/sh\necho ran\n", 0o755);
    write(b"secret", b"only for me\n", 0o600);
    write(b"read-only", b"fixed\n", 0o444);
    write(b"set-id", b"x", 0o6755);
    write(b"empty", b"", 0o644);
    write(b"deep/er/and/deeper/file", b"deep\n", 0o640);
    write(b".hidden/.git-like", b"h\n", 0o644);
    write(b"new\nline", b"named with a line feed\n", 0o644);
    write(b"bad\xff\xfename", b"named with no text\n", 0o644);
    write("umlaut-\u{e4}".as_bytes(), b"named with an umlaut\n", 0o644);
    write(b"-rf", b"named like a flag\n", 0o644);
    write(b"big", &noise(3 << 20), 0o644);
    write(&[b'n'; 255], b"the longest name\n", 0o644);
    write(b"Cargo.toml", b"[package]\n", 0o644);
    fs::create_dir(root.join("sticky")).expect("make a folder");
    fs::set_permissions(root.join("sticky"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    fs::create_dir(root.join("empty-dir")).expect("make a folder");
    fs::hard_link(root.join("plain.txt"), root.join("hard-link")).expect("link");
    symlink("plain.txt", root.join("link")).expect("link");
    symlink("/etc/hostname", root.join("absolute-link")).expect("link");
    symlink("../../../../etc/shadow", root.join("escaping-link")).expect("link");
    symlink("nowhere", root.join("dangling-link")).expect("link");
    symlink("loop", root.join("loop")).expect("link");
    for (path, seconds) in [("plain.txt", 981_173_106), ("deep/er", 1_000_000_000)] {
        let file = fs::File::open(root.join(path)).expect("open");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).expect("set a time");
    }
}

fn check_tree(found: &BTreeMap<String, String>) {
    let of = |path: &str| found.get(path).map_or("missing", String::as_str);
    assert!(of("plain.txt").starts_with("f 644 0:0 2 6 981173106."), "{}", of("plain.txt"));
    assert_eq!(of("hard-link"), of("plain.txt"));
    assert!(of("run.sh").starts_with("f 755 0:0 1 19"), "{}", of("run.sh"));
    assert!(of("secret").starts_with("f 600 "), "{}", of("secret"));
    assert!(of("read-only").starts_with("f 444 "), "{}", of("read-only"));
    assert!(of("empty").starts_with("f 644 0:0 1 0 "), "{}", of("empty"));
    assert!(of("deep/er").starts_with("d ") && of("deep/er").contains(" 1000000000."), "{}", of("deep/er"));
    assert!(of("sticky").starts_with("d 1777 "), "{}", of("sticky"));
    assert!(of("empty-dir").starts_with("d "), "{}", of("empty-dir"));
    assert!(of("new\nline").starts_with("f 644 0:0 1 23"), "{}", of("new\nline"));
    assert!(found.keys().any(|name| name.starts_with("bad\u{fffd}")), "{:?}", found.keys());
    for (link, target) in [
        ("link", "plain.txt"),
        ("absolute-link", "/etc/hostname"),
        ("escaping-link", "../../../../etc/shadow"),
        ("dangling-link", "nowhere"),
        ("loop", "loop"),
    ] {
        assert!(of(link).starts_with("l ") && of(link).ends_with(&format!(" {target}")), "{link}: {}", of(link));
    }
    assert_eq!(found.keys().filter(|name| name.len() == 255).count(), 1);
}

#[test]
fn a_directory_comes_in_as_it_is() {
    case(|env| {
        let here = env.scratch();
        let root = here.path().join("seed");
        fs::create_dir(&root).expect("make a folder");
        tree(&root);
        let (ws, made) = create(env, "tree", &root);
        let found = inside(env, &ws);
        check_tree(&found);
        // No more and no less, as the host's own find tells it.
        let host =
            std::process::Command::new("find").args([".", "-mindepth", "1", "-print0"]).current_dir(&root).output().expect("find");
        let count = host.stdout.iter().filter(|byte| **byte == 0).count();
        assert_eq!((found.len(), &made["seed"]["entry_count"]), (count, &json!(count)));
        assert_eq!(made["seed"]["markers"], json!(["Cargo.toml"]));
        // Links lead nowhere but inside.
        let ran = env.pyro(&["workspace", "exec", &ws, "--", "cat", "absolute-link"]).expect_ok();
        assert_eq!(ran.stdout, env.pyro(&["workspace", "file", "read", &ws, "/etc/hostname"]).expect_ok().stdout);
        let ran = env
            .pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "cat escaping-link | head -c 5; ./run.sh; cat big | wc -c"])
            .expect_ok();
        assert_eq!(ran.stdout, format!("root:ran\n{}\n", 3 << 20));
        // What is done inside is not done outside.
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "rm -rf ./* .hidden; echo gone >plain.txt"]).expect_ok();
        assert_eq!(fs::read_to_string(root.join("plain.txt")).expect("the seed is there"), "plain\n");
        assert_eq!(
            env.json::<Value>(&["workspace", "diff", &ws, "--stat"])["changes"].as_array().map(|all| all.len() > 20),
            Some(true)
        );
    });
}

#[test]
fn archives_come_in_as_they_are() {
    case(|env| {
        let here = env.scratch();
        let root = here.path().join("seed");
        fs::create_dir(&root).expect("make a folder");
        tree(&root);
        let plain = here.path().join("seed.tar");
        let made =
            std::process::Command::new("tar").args(["--format=pax", "-cf"]).arg(&plain).args(["-C"]).arg(&root).arg(".").status();
        assert!(made.expect("tar runs").success());
        let bytes = fs::read(&plain).expect("read it");
        let gz = here.path().join("seed.tar.gz");
        let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&gz).expect("make it"), flate2::Compression::fast());
        encoder.write_all(&bytes).and_then(|()| encoder.finish().map(drop)).expect("compress");
        let zst = here.path().join("seed.tar.zst");
        fs::write(&zst, ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest))
            .expect("compress");
        // What it is, it says itself: not its name.
        let odd = here.path().join("seed.bin");
        fs::copy(&gz, &odd).expect("copy");
        for file in [plain, gz, zst, odd] {
            let (ws, made) = create(env, "archive", &file);
            check_tree(&inside(env, &ws));
            assert!(made["seed"]["bytes"].as_u64().is_some_and(|bytes| bytes > 3 << 20), "{made:#}");
            assert_eq!(made["seed"]["markers"], json!(["Cargo.toml"]));
            env.pyro(&["workspace", "delete", &ws]).expect_ok();
        }
    });
}

#[test]
fn a_sparse_file_of_two_gigabytes_stays_sparse() {
    case(|env| {
        let here = env.scratch();
        let root = here.path().join("seed");
        fs::create_dir(&root).expect("make a folder");
        let file = fs::File::create(root.join("disk.img")).expect("make it");
        file.set_len(2 << 30).expect("make a hole");
        std::os::unix::fs::FileExt::write_all_at(&file, b"in the middle", 1 << 30).expect("write");
        let (ws, made) = create(env, "sparse", &root);
        assert_eq!(made["seed"]["bytes"], 2_u64 << 30);
        let look = "stat -c '%s %b' disk.img; dd if=disk.img bs=1 skip=1073741824 count=13 2>/dev/null";
        let ran = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", look]).expect_ok();
        let (sizes, middle) = ran.stdout.split_once('\n').expect("two lines");
        let (size, blocks) = sizes.split_once(' ').expect("two numbers");
        assert_eq!((size, middle), ("2147483648", "in the middle"));
        assert!(blocks.parse::<u64>().expect("a number") < 20_000, "{blocks} blocks of 512 bytes on disk");
        // And from an archive that says where the holes are.
        let archive = here.path().join("sparse.tar");
        let made = std::process::Command::new("tar").arg("-cSf").arg(&archive).arg("-C").arg(&root).arg("disk.img").status();
        assert!(made.expect("tar runs").success());
        let (ws, _) = create(env, "sparsetar", &archive);
        let ran = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", look]).expect_ok();
        assert!(ran.stdout.starts_with("2147483648 ") && ran.stdout.ends_with("in the middle"), "{}", ran.stdout);
    });
}

#[test]
fn pipes_come_along_and_sockets_are_named() {
    case(|env| {
        let here = env.scratch();
        mknodat(CWD, here.path().join("pipe"), FileType::Fifo, Bits::from_raw_mode(0o600), 0).expect("make a pipe");
        fs::set_permissions(here.path().join("pipe"), fs::Permissions::from_mode(0o620)).expect("chmod");
        let _listener = UnixListener::bind(here.path().join("agent.sock")).expect("make a socket");
        fs::write(here.path().join("file"), "x").expect("write");
        let (ws, made) = create(env, "pipes", here.path());
        let found = inside(env, &ws);
        assert!(found["pipe"].starts_with("p 620 "), "{found:?}");
        assert!(!found.contains_key("agent.sock"));
        assert_eq!(made["seed"]["skipped"], json!(["agent.sock"]));
        let name = env.name("told");
        let ran = env
            .pyro(&["workspace", "create", "debian:12", "--name", &name, "--seed-path", &here.path().to_string_lossy()])
            .expect_ok();
        assert!(ran.all().contains("agent.sock"), "{}", ran.all());
    });
}

/// Creating from this fails, says this, and leaves nothing.
#[track_caller]
fn refused(env: &TestEnv, seed: &Path, says: &str) {
    let name = env.name("refused");
    let ran = env.pyro(&["workspace", "create", "debian:12", "--name", &name, "--seed-path", &seed.to_string_lossy()]);
    assert!((ran.code == 125 || ran.code == 2) && ran.stderr.contains(says), "wanted {says:?} from {}", ran.all());
    assert!(ran.stderr.len() < 2000 && !ran.stderr.contains('\u{1b}'), "{}", ran.all());
    env.pyro(&["workspace", "status", &name]).expect_error(125, &name);
}

#[test]
fn a_device_is_refused_by_name() {
    case(|env| {
        if Mode::ours() != Mode::Root {
            return skip("root", "only root can make a device");
        }
        let here = env.scratch();
        fs::create_dir(here.path().join("dev")).expect("make a folder");
        fs::write(here.path().join("first"), "x").expect("write");
        mknodat(
            CWD,
            here.path().join("dev/null"),
            FileType::CharacterDevice,
            Bits::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        )
        .expect("make a device");
        refused(env, here.path(), "dev/null");
    });
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    case(|env| {
        if Mode::ours() == Mode::Root {
            return skip("an ordinary user", "root reads everything");
        }
        refused(env, Path::new("/etc/shadow"), "/etc/shadow");
    });
}

/// One entry, as it is: the archive's own checks are not asked.
fn raw(kind: EntryType, path: &[u8], link: &[u8], data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path);
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(data.len() as u64);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), data].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = raw(EntryType::Regular, b"first", b"", b"an honest file\n");
    bytes.extend(entries.iter().flatten());
    bytes.extend([0; 1024]);
    bytes
}

#[test]
fn hostile_archives_are_refused_by_name_and_nothing_comes_in() {
    case(|env| {
        let here = env.scratch();
        let canary = here.path().join("canary");
        fs::write(&canary, "untouched").expect("write");
        let file = |path: &[u8]| raw(EntryType::Regular, path, b"", b"evil\n");
        let link = |path: &[u8], target: &[u8]| raw(EntryType::Symlink, path, target, b"");
        let outside = canary.to_string_lossy().into_owned();
        let table: Vec<(&str, Vec<u8>, &str)> = vec![
            ("absolute", archive(&[file(outside.as_bytes())]), ""),
            ("climbing", archive(&[file(b"a/../../../../evil")]), "evil"),
            ("through a link", archive(&[link(b"door", b"/tmp"), file(b"door/evil")]), "door"),
            ("through a link upwards", archive(&[link(b"door", b"../.."), file(b"door/evil")]), "door"),
            ("hard link outside", archive(&[raw(EntryType::Link, b"stolen", b"/etc/passwd", b"")]), "/etc/passwd"),
            ("hard link upwards", archive(&[raw(EntryType::Link, b"stolen", b"../../../etc/passwd", b"")]), "etc/passwd"),
            ("hard link to nothing", archive(&[raw(EntryType::Link, b"stolen", b"nothing", b"")]), "stolen"),
            (
                "hard link through a link",
                archive(&[link(b"door", b"/etc"), raw(EntryType::Link, b"stolen", b"door/passwd", b"")]),
                "door/passwd",
            ),
            ("device", archive(&[raw(EntryType::Char, b"mem", b"", b"")]), "mem"),
            ("cut short", archive(&[file(b"x")])[..1700].to_vec(), ""),
            ("no archive", b"this is no archive at all, whatever its name says\n".repeat(40), ""),
            ("empty", Vec::new(), ""),
            (
                "bad checksum",
                {
                    let mut bytes = archive(&[file(b"x")]);
                    bytes[1024] ^= 1;
                    bytes
                },
                "",
            ),
            (
                "bomb",
                {
                    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    let mut header = Header::new_gnu();
                    header.set_path("zeros").expect("a name");
                    header.set_size(1 << 50);
                    header.set_cksum();
                    encoder.write_all(header.as_bytes()).expect("compress");
                    encoder.write_all(&vec![0; 1 << 20]).expect("compress");
                    encoder.finish().expect("compress")
                },
                "",
            ),
        ];
        for (number, (what, bytes, says)) in table.into_iter().enumerate() {
            let path = here.path().join(format!("{number}.tar"));
            fs::write(&path, bytes).expect("write");
            println!("{what}");
            // An absolute name may also be taken as one below the workspace: then it is inside, and the canary lives.
            if what == "absolute" {
                let name = env.name("absolute");
                let ran = env.pyro(&["workspace", "create", "debian:12", "--name", &name, "--seed-path", &path.to_string_lossy()]);
                assert!(ran.code == 0 || ran.stderr.contains("canary"), "{}", ran.all());
                continue;
            }
            refused(env, &path, says);
        }
        assert_eq!(fs::read_to_string(&canary).expect("it is there"), "untouched");
        assert!(!Path::new("/tmp/evil").exists());
        env.assert_no_leaks();
    });
}

#[test]
fn a_seed_that_is_not_there_or_is_no_seed_says_so() {
    case(|env| {
        let here = env.scratch();
        refused(env, &here.path().join("nothing"), "nothing");
        let pipe = here.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Bits::from_raw_mode(0o600), 0).expect("make a pipe");
        refused(env, &pipe, "pipe");
        refused(env, Path::new("/dev/zero"), "/dev/zero");
        // The home itself is no seed: it would contain its own copy.
        refused(env, env.home(), "");
        // A relative path is the caller's.
        fs::create_dir(here.path().join("relative")).expect("make a folder");
        fs::write(here.path().join("relative/file"), "found\n").expect("write");
        let name = env.name("relative");
        let mut command = env.command(&["workspace", "create", "debian:12", "--name", &name, "--seed-path", "relative"]);
        assert!(command.current_dir(here.path()).status().expect("start pyro").success());
        assert_eq!(env.pyro(&["workspace", "exec", &name, "--", "cat", "file"]).expect_ok().stdout, "found\n");
        let ran = env.pyro(&["run", "debian:12", "--seed-path", &here.path().join("nothing").to_string_lossy(), "--", "true"]);
        ran.expect_error(125, "nothing");
    });
}

#[test]
fn a_hundred_thousand_files_come_in() {
    case(|env| {
        if Mode::ours() != Mode::Root {
            return skip("root", "others bring in twenty thousand, in the same way");
        }
        let here = env.scratch();
        let path = here.path().join("many.tar");
        let mut builder = Builder::new(std::io::BufWriter::new(fs::File::create(&path).expect("make it")));
        for number in 0..100_000_u32 {
            let mut header = Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o644);
            header.set_mtime(1_000_000_000);
            let name = PathBuf::from(format!("{:03}/{:03}/{number}", number % 100, number / 100 % 100));
            builder.append_data(&mut header, name, &b"x"[..]).expect("append");
        }
        builder.into_inner().and_then(|mut file| file.flush()).expect("finish");
        let (ws, made) = create(env, "many", &path);
        assert!(made["seed"]["entry_count"].as_u64().is_some_and(|count| count >= 100_000), "{}", made["seed"]);
        let count = "find . -type f | wc -l";
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", count]).expect_ok().stdout.trim(), "100000");
        env.pyro(&["workspace", "delete", &ws]).expect_ok();
    });
}

#[test]
fn twenty_thousand_files_of_a_directory_come_in_and_what_changed_is_found_among_them() {
    case(|env| {
        let here = env.scratch();
        for folder in 0..200 {
            let folder = here.path().join(format!("{folder:03}"));
            fs::create_dir(&folder).expect("make a folder");
            for file in 0..100 {
                fs::write(folder.join(file.to_string()), "x").expect("write");
            }
        }
        let (ws, made) = create(env, "manydir", here.path());
        assert_eq!(made["seed"]["entry_count"], 20_200);
        let changed = "echo y >000/0; rm 001/1; echo new >new";
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", changed]).expect_ok();
        let diff: Value = env.json(&["workspace", "diff", &ws]);
        assert_eq!(diff["changes"].as_array().map(Vec::len), Some(3), "{:.500}", diff.to_string());
    });
}

#[test]
fn attributes_of_files_come_along_where_they_can() {
    case(|env| {
        let here = env.scratch();
        let file = here.path().join("tagged");
        fs::write(&file, "x").expect("write");
        let name = CString::new("user.origin").expect("no NUL");
        if rustix::fs::setxattr(&file, &name, b"host", rustix::fs::XattrFlags::empty()).is_err() {
            return skip("extended attributes", "the file system of the test's home has none");
        }
        let (ws, _) = create(env, "tagged", here.path());
        let look = r#"perl -e 'my ($f, $k, $b) = ("tagged", "user.origin", "\0" x 64); my $n = syscall(191, $f, $k, $b, 64); print substr($b, 0, $n)'"#;
        if cfg!(not(target_arch = "x86_64")) {
            return skip("x86_64", "the number of the system call is of that processor");
        }
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", look]).expect_ok().stdout, "host");
        assert!(fs::metadata(&file).expect("it is there").size() == 1);
    });
}
