//! What git says of the same names.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use super::Ignored;
use crate::beneath;
use crate::testing::name;
use crate::{ErrorKind, IgnoreRules};

/// What is said of a path that leads through the directories of a tree.
fn is_ignored(source: &Path, path: &str, is_directory: bool) -> crate::Result<bool> {
    let mut ignored = Ignored::above(source)?;
    let mut rules = IgnoreRules::above(source).within(beneath::open_root(source).expect("open").as_fd(), b"");
    let mut at = source.to_owned();
    let mut walked = String::new();
    ignored.enter(beneath::open_root(&at).expect("open").as_fd(), b"")?;
    let names: Vec<&str> = path.split('/').collect();
    for (index, part) in names.iter().enumerate() {
        let below = if walked.is_empty() { (*part).to_owned() } else { format!("{walked}/{part}") };
        let is_last = index + 1 == names.len();
        let is = ignored.is(below.as_bytes(), is_directory || !is_last);
        // The walk of many threads says the same.
        assert_eq!(rules.is_ignored(below.as_bytes(), is_directory || !is_last), is, "{below}");
        if is {
            return Ok(true);
        }
        at.push(part);
        if !is_last {
            let opened = beneath::open_root(&at).expect("open");
            ignored.enter(opened.as_fd(), below.as_bytes())?;
            rules = rules.within(opened.as_fd(), below.as_bytes());
        }
        walked = below;
    }
    Ok(false)
}

fn git(repository: &Path, arguments: &[&str]) -> bool {
    let ran = Command::new("git")
        .current_dir(repository)
        .args(["-c", "core.excludesFile="])
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("run git");
    ran.status.success()
}

#[test]
fn it_says_what_git_says() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    assert!(git(root, &["init", "--quiet"]));
    fs::create_dir_all(root.join("a/b/target")).expect("mkdir");
    fs::create_dir_all(root.join("logs/deep")).expect("mkdir");
    fs::write(
        root.join(".gitignore"),
        "\u{feff}# a comment\n*.log\r\n!keep.log\n/top\ntarget/\nlogs\n\\#odd\na/*.tmp\n[bad\n**/x/**\n",
    )
    .expect("write");
    fs::write(root.join("a/.gitignore"), "!special.log\n/here\nb/*.c\n").expect("write");
    fs::write(root.join("a/b/.gitignore"), b"\xff\xfe\nbinary\n*.o\n!*.log").expect("write");
    for source in [root.to_owned(), root.join("a"), root.join("a/b")] {
        let below = source.strip_prefix(root).expect("below").to_str().expect("text").to_owned();
        for directory in ["", "a", "a/b", "a/b/target", "logs", "logs/deep"] {
            let names =
                ["x.log", "keep.log", "special.log", "top", "target", "logs", "#odd", "y.tmp", "here", "z.c", "binary", "w.o", "x"];
            for last in names {
                let path = if directory.is_empty() { last.to_owned() } else { format!("{directory}/{last}") };
                let Ok(path) = Path::new(&path).strip_prefix(&below) else { continue };
                let Some(path) = path.to_str().filter(|path| !path.is_empty()) else { continue };
                let is_directory = source.join(path).is_dir();
                let wanted = git(&source, &["check-ignore", "--quiet", "--no-index", "--", path]);
                assert_eq!(is_ignored(&source, path, is_directory).expect("read"), wanted, "{path} in {below}");
            }
        }
    }
}

#[test]
fn nothing_of_git_is_ignored_and_ignore_files_count_for_more() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    fs::create_dir_all(root.join(".git/logs")).expect("mkdir");
    fs::create_dir_all(root.join("a")).expect("mkdir");
    fs::write(root.join(".gitignore"), "*\n").expect("write");
    fs::write(root.join("a/.gitignore"), "!*\n").expect("write");
    fs::write(root.join(".ignore"), "!a\n!kept\nnot\n").expect("write");
    for (path, wanted) in [
        (".git", false),
        (".git/logs", false),
        (".git/logs/HEAD", false),
        ("any", true),
        ("kept", false),
        ("a", false),
        ("a/any", false),
        // The nearest of its kind says that it is not, and one of the other kind that it is.
        ("a/not", true),
    ] {
        assert_eq!(is_ignored(root, path, false).expect("read"), wanted, "{path}");
    }
}

#[test]
fn files_above_count_up_to_the_top_of_the_work_tree() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    fs::create_dir_all(root.join("a/b")).expect("mkdir");
    fs::write(root.join(".gitignore"), "b/one\n").expect("write");
    fs::write(root.join("a/.gitignore"), "/b/two\n").expect("write");
    let of = |path: &str| is_ignored(&root.join("a/b"), path, false).expect("read");
    assert_eq!((of("one"), of("two")), (false, false), "no work tree");
    fs::create_dir(root.join("a/.git")).expect("mkdir");
    assert_eq!((of("one"), of("two")), (false, true), "its top is a");
}

#[test]
fn odd_ignore_files_are_survived() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    fs::create_dir(root.join("secret")).expect("mkdir");
    fs::write(root.join("secret/patterns"), "*\n").expect("write");
    std::os::unix::fs::symlink("secret/patterns", root.join(".gitignore")).expect("symlink");
    fs::create_dir(root.join(".ignore")).expect("mkdir");
    assert!(!is_ignored(root, "any", false).expect("read"));
    fs::remove_file(root.join(".gitignore")).expect("remove");
    fs::write(root.join(".gitignore"), "a*\n").expect("write");
    assert!(is_ignored(root, "any", false).expect("read"));
    let odd = name(b"a\xff");
    let mut ignored = Ignored::above(root).expect("read");
    ignored.enter(beneath::open_root(root).expect("open").as_fd(), b"").expect("read");
    assert!(ignored.is(odd.as_bytes(), false));
    fs::write(root.join(".gitignore"), vec![b'#'; super::IGNORE_FILE_BYTES_MAX + 1]).expect("write");
    assert_eq!(is_ignored(root, "any", false).expect_err("too large").kind(), ErrorKind::Limit);
}
