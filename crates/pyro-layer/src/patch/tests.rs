//! Patches as git reads them, where the property test of `diff` does not go: binary files, limits, counts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::{Patch, PatchLimits, unified_patch};
use crate::diff::tests::git_apply;
use crate::testing::{Scratch, go_on, name};
use crate::{Change, Stack, diff};

fn patch_of(scratch: &Scratch, limits: PatchLimits) -> (Vec<Change>, Patch) {
    let stacks = Stack { upper: scratch.directory("upper"), lowers: vec![scratch.directory("lower")] }.changes_of_upper();
    let mut changes = diff(&stacks, b"", &mut go_on).expect("diff");
    let patch = unified_patch(&stacks, &mut changes, b"", limits, &mut go_on).expect("patch");
    (changes, patch)
}

/// A file in the lower layer and what the upper has instead.
fn versions(scratch: &Scratch, path: &str, old: Option<&[u8]>, new: Option<&[u8]>) {
    for (layer, content) in [("lower", old), ("upper", new)] {
        if let Some(content) = content {
            let full = scratch.directory(layer).join(path);
            fs::create_dir_all(full.parent().expect("a parent")).expect("mkdir");
            fs::write(full, content).expect("write");
        }
    }
}

#[test]
fn binary_files_are_named() {
    let scratch = Scratch::new();
    versions(&scratch, "nul", Some(b"text\n"), Some(b"a\0b"));
    versions(&scratch, "latin", None, Some(b"na\xefve\n"));
    versions(&scratch, "text", None, Some(b"t\n"));
    let (changes, patch) = patch_of(&scratch, PatchLimits::default());
    assert_eq!(
        patch.text,
        "diff --git a/latin b/latin\nnew file mode 100644\nBinary files /dev/null and b/latin differ\n\
         diff --git a/nul b/nul\nBinary files a/nul and b/nul differ\n\
         diff --git a/text b/text\nnew file mode 100644\n--- /dev/null\n+++ b/text\n@@ -0,0 +1 @@\n+t\n"
    );
    assert_eq!(changes.iter().map(|change| change.binary).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn lines_are_counted_and_a_count_alone_writes_no_text() {
    let scratch = Scratch::new();
    versions(&scratch, "file", Some(b"1\n2\n3\n"), Some(b"1\ntwo\nand\n3"));
    for text_bytes_max in [0, 1 << 20] {
        let (changes, patch) = patch_of(&scratch, PatchLimits { text_bytes_max, ..PatchLimits::default() });
        assert_eq!((changes[0].added_lines, changes[0].removed_lines), (3, 2));
        assert_eq!(patch.text.is_empty(), text_bytes_max == 0);
    }
}

#[test]
fn what_is_left_out_is_counted() {
    let scratch = Scratch::new();
    versions(&scratch, "a", None, Some(&[b'x'; 5000]));
    versions(&scratch, "b", None, Some(b"small\n"));
    versions(&scratch, "c", None, Some(b"small too\n"));
    let (_, too_large) = patch_of(&scratch, PatchLimits { file_bytes_max: 4999, ..PatchLimits::default() });
    assert_eq!(too_large.omitted, 1);
    assert!(too_large.text.contains("small\n") && too_large.text.contains("small too\n") && !too_large.text.contains("xxx"));
    let (_, full) = patch_of(&scratch, PatchLimits { text_bytes_max: 200, ..PatchLimits::default() });
    assert_eq!(full.omitted, 1);
    let (_, exhausted) = patch_of(&scratch, PatchLimits { content_bytes_max: 5003, ..PatchLimits::default() });
    assert_eq!(exhausted.omitted, 2);
}

#[test]
fn a_fifo_in_place_of_a_file_does_not_block() {
    let scratch = Scratch::new();
    versions(&scratch, "file", Some(b"was\n"), Some(b"now\n"));
    let stacks = Stack { upper: scratch.path("upper"), lowers: vec![scratch.path("lower")] }.changes_of_upper();
    let mut changes = diff(&stacks, b"", &mut go_on).expect("diff");
    // Between diff and patch the workload swaps it.
    let path = scratch.path("upper/file");
    fs::remove_file(&path).expect("remove");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, rustix::fs::Dev::default())
        .expect("mkfifo");
    let patch = unified_patch(&stacks, &mut changes, b"", PatchLimits::default(), &mut go_on).expect("patch");
    assert!(!patch.text.contains("+now"));
    fs::remove_file(&path).expect("remove");
    symlink("/etc/passwd", &path).expect("symlink");
    let patch = unified_patch(&stacks, &mut changes, b"", PatchLimits::default(), &mut go_on).expect("patch");
    assert!(!patch.text.contains("root:"), "a link is not followed");
    fs::remove_file(&path).expect("remove");
    unified_patch(&stacks, &mut changes, b"", PatchLimits::default(), &mut go_on).expect("it may be gone");
}

#[test]
fn paths_are_relative_to_where_the_patch_is_applied() {
    let scratch = Scratch::new();
    versions(&scratch, "workspace/src/main.rs", Some(b"old\n"), Some(b"new\n"));
    versions(&scratch, "workspaces", None, Some(b"not below\n"));
    let stacks = Stack { upper: scratch.path("upper"), lowers: vec![scratch.path("lower")] }.changes_of_upper();
    for below in [b"workspace".as_slice(), b"/workspace/", b"workspace/src"] {
        let mut changes = diff(&stacks, below, &mut go_on).expect("diff");
        let patch = unified_patch(&stacks, &mut changes, b"workspace/", PatchLimits::default(), &mut go_on).expect("patch");
        assert!(patch.text.starts_with("diff --git a/src/main.rs b/src/main.rs\n"), "{}", patch.text);
        assert_eq!(changes.len(), 1);
    }
    git_apply(&scratch.path("lower/workspace"), &{
        let mut changes = diff(&stacks, b"workspace", &mut go_on).expect("diff");
        unified_patch(&stacks, &mut changes, b"workspace", PatchLimits::default(), &mut go_on).expect("patch").text
    });
    assert_eq!(fs::read(scratch.path("lower/workspace/src/main.rs")).expect("read"), b"new\n");
}

/// Every name and sort of change that the format has a special case for, through the real git.
#[test]
fn git_applies_every_special_case() {
    let names: [&[u8]; 9] =
        [b"plain", b"with space", b"tab\there", b"new\nline", b"quote\"", b"back\\slash", b"\xff", "ümläut".as_bytes(), b"a b/c d"];
    let contents: [Option<&[u8]>; 7] =
        [None, Some(b""), Some(b"x"), Some(b"x\n"), Some(b"x\ny"), Some(b"x\ny\n"), Some(b"\n\n\r\n")];
    for bytes in names {
        for (old, new) in contents.iter().flat_map(|old| contents.iter().map(move |new| (*old, *new))) {
            if old == new {
                continue;
            }
            let scratch = Scratch::new();
            let (lower, upper, target) = (scratch.directory("lower"), scratch.directory("upper"), scratch.directory("target"));
            let write = |root: &Path, content: &[u8], mode: u32| {
                let path = root.join(name(bytes));
                fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
                fs::write(&path, content).expect("write");
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            };
            if let Some(old) = old {
                write(&lower, old, 0o644);
                write(&target, old, 0o644);
            }
            match new {
                // Half of the changes come with another mode.
                Some(new) => write(&upper, new, if new.len() % 2 == 0 { 0o755 } else { 0o644 }),
                None => {
                    let path = upper.join(name(bytes));
                    fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
                    rustix::fs::mknodat(
                        rustix::fs::CWD,
                        path,
                        rustix::fs::FileType::CharacterDevice,
                        rustix::fs::Mode::empty(),
                        rustix::fs::Dev::default(),
                    )
                    .expect("make a whiteout");
                }
            }
            let (_, patch) = patch_of(&scratch, PatchLimits::default());
            git_apply(&target, &patch.text);
            let path = target.join(name(bytes));
            assert_eq!(fs::read(&path).ok().as_deref(), new, "{}", patch.text);
            if let Some(new) = new {
                let executable = fs::metadata(&path).expect("stat").permissions().mode() & 0o100 != 0;
                assert_eq!(executable, new.len() % 2 == 0, "{}", patch.text);
            }
        }
    }
}

#[test]
fn attribute_whiteouts_and_opaque_directories_of_both_spellings_are_read() {
    for prefix in ["trusted", "user"] {
        let scratch = Scratch::new();
        versions(&scratch, "gone", Some(b"1\n"), Some(b""));
        versions(&scratch, "d/hidden", Some(b"2\n"), None);
        versions(&scratch, "d/new", None, Some(b"3\n"));
        let attribute = |path: &str, what: &str, value: &[u8]| {
            rustix::fs::setxattr(scratch.path(path), format!("{prefix}.overlay.{what}"), value, rustix::fs::XattrFlags::empty())
                .expect("setxattr");
        };
        attribute("upper/gone", "whiteout", b"");
        attribute("upper", "opaque", b"x");
        attribute("upper/d", "opaque", b"y");
        let (changes, _) = patch_of(&scratch, PatchLimits::default());
        let told: Vec<(&[u8], crate::Status)> = changes.iter().map(|change| (change.path.as_slice(), change.status)).collect();
        assert_eq!(
            told,
            [(b"d/hidden".as_slice(), crate::Status::Deleted), (b"d/new", crate::Status::Added), (b"gone", crate::Status::Deleted)]
        );
    }
}

/// Files without order, for which the shortest form takes long to find: what is given up for time is brevity, not exactness.
#[test]
fn a_search_cut_short_is_still_exact() {
    let scratch = Scratch::new();
    let lines = |step: usize| (0..40_000).map(|index| format!("{}\n", index * step % 40_009)).collect::<String>();
    let (old, new) = (lines(7919), lines(104_729));
    versions(&scratch, "file", Some(old.as_bytes()), Some(new.as_bytes()));
    let (_, patch) = patch_of(&scratch, PatchLimits::default());
    assert_eq!(patch.omitted, 0);
    git_apply(&scratch.path("lower"), &patch.text);
    assert!(fs::read(scratch.path("lower/file")).expect("read") == new.as_bytes());
}
