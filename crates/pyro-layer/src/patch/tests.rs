//! Patches as git reads them, where the property test of `diff` does not go: binary files, limits, counts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::{BinaryFiles, Patch, PatchLimits, unified_patch};
use crate::diff::tests::{git_apply, git_apply_with};
use crate::testing::{Scratch, go_on, name, snapshot};
use crate::{Change, Marks, Stack, Stacks, diff};

fn patch_of(scratch: &Scratch, limits: PatchLimits) -> (Vec<Change>, Patch) {
    let stacks = Stack { upper: scratch.directory("upper"), lowers: vec![scratch.directory("lower")], marks: Marks::Trusted }
        .changes_of_upper();
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

/// Every change of a binary file, of every length of a last line, there and back through the real git.
#[test]
fn git_applies_binary_files_and_takes_them_back() {
    // Bytes that do not get shorter by being compressed, so that lines are full.
    let noise = |bytes: usize, seed: u32| -> Vec<u8> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        [vec![0], (0..bytes).map(next).collect()].concat()
    };
    let mut cases: Vec<[Option<Vec<u8>>; 2]> = vec![
        [None, Some(noise(5, 1))],
        [Some(noise(5, 1)), None],
        [Some(b"text\n".to_vec()), Some(noise(5, 1))],
        [Some(noise(5, 1)), Some(b"text\n".to_vec())],
        [Some(noise(5, 1)), Some(Vec::new())],
        [Some(Vec::new()), Some(noise(5, 1))],
        [None, Some(b"na\xefve\n".to_vec())],
        [Some(noise(100_000, 2)), Some(noise(99_999, 3))],
        [Some(vec![0; 100_000]), Some(vec![0; 100_001])],
    ];
    cases.extend((0..60).map(|bytes| [Some(noise(bytes, 4)), Some(noise(bytes + 1, 5))]));
    for [old, new] in cases {
        for modes in [(0o644, 0o644), (0o644, 0o755)] {
            let scratch = Scratch::new();
            let write = |layer: &str, content: &Option<Vec<u8>>, mode: u32| {
                let path = scratch.directory(layer).join("with space");
                if let Some(content) = content {
                    fs::write(&path, content).expect("write");
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
                }
            };
            for (layer, content, mode) in [("old", &old, modes.0), ("new", &new, modes.1), ("target", &old, modes.0)] {
                write(layer, content, mode);
            }
            let stacks = Stacks { old: vec![scratch.path("old")], new: vec![scratch.path("new")], marks: Marks::Trusted };
            let mut changes = diff(&stacks, b"", &mut go_on).expect("diff");
            let limits = PatchLimits { binary: BinaryFiles::Written, ..PatchLimits::default() };
            let patch = unified_patch(&stacks, &mut changes, b"", limits, &mut go_on).expect("patch");
            assert!(changes[0].binary && patch.text.contains("\nGIT binary patch\n"), "{}", patch.text);
            let target = scratch.path("target");
            let is = |content: &Option<Vec<u8>>, mode: u32| {
                assert_eq!(fs::read(target.join("with space")).ok(), *content, "{}", patch.text);
                if content.is_some() {
                    let found = fs::metadata(target.join("with space")).expect("stat").permissions().mode();
                    assert_eq!(found & 0o100, mode & 0o100, "{}", patch.text);
                }
            };
            git_apply(&target, &patch.text);
            is(&new, modes.1);
            git_apply_with(&target, &patch.text, &["--reverse"]);
            is(&old, modes.0);
        }
    }
}

/// The same bytes as git's own, down to the identities, so that they name objects of a repository.
#[test]
fn a_binary_file_is_written_as_git_writes_it() {
    let scratch = Scratch::new();
    versions(&scratch, "b", Some(b"\0"), Some(b"\0\x01\x02"));
    let stacks = Stack { upper: scratch.directory("upper"), lowers: vec![scratch.directory("lower")], marks: Marks::Trusted }
        .changes_of_upper();
    let mut changes = diff(&stacks, b"", &mut go_on).expect("diff");
    let limits = PatchLimits { binary: BinaryFiles::Written, ..PatchLimits::default() };
    let ours = unified_patch(&stacks, &mut changes, b"", limits, &mut go_on).expect("patch").text;
    let mut git = std::process::Command::new("git");
    git.args(["-c", "core.compression=6", "diff", "--no-index", "--no-prefix", "--binary", "--full-index", "lower/b", "upper/b"])
        .current_dir(scratch.path(""))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    let theirs = String::from_utf8(git.output().expect("run git: this test needs git").stdout).expect("text");
    let below = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(below(&ours)[..3], below(&theirs)[..3]);
    let forms = |text: &str| text.lines().filter(|line| line.starts_with("literal")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(forms(&ours), forms(&theirs));
}

#[test]
fn git_applies_links_that_lead_to_no_text() {
    let scratch = Scratch::new();
    let [old, new, target] = ["old", "new", "target"].map(|layer| scratch.directory(layer));
    let link = |layer: &Path, path: &str, to: &[u8]| symlink(name(to), layer.join(path)).expect("symlink");
    for layer in [&old, &target] {
        link(layer, "changed", b"\xff1");
        link(layer, "gone", b"\xff");
        fs::write(layer.join("file"), b"\0").expect("write");
    }
    for (path, to) in [("changed", b"\xff2"), ("made", b"\xff3"), ("file", b"\xff4")] {
        link(&new, path, to);
    }
    let stacks = Stacks { old: vec![old], new: vec![new.clone()], marks: Marks::Trusted };
    let mut changes = diff(&stacks, b"", &mut go_on).expect("diff");
    let limits = PatchLimits { binary: BinaryFiles::Written, ..PatchLimits::default() };
    let patch = unified_patch(&stacks, &mut changes, b"", limits, &mut go_on).expect("patch");
    git_apply(&target, &patch.text);
    let mut nodes = [new, target].map(|tree| snapshot(&tree));
    for node in nodes.iter_mut().flat_map(|nodes| nodes.values_mut()) {
        (node.modified_at, node.same_as) = ((0, 0), Vec::new());
    }
    assert_eq!(nodes[0], nodes[1]);
}

#[test]
fn binary_files_count_against_the_limits_of_a_patch() {
    let scratch = Scratch::new();
    versions(&scratch, "a", None, Some(&[0; 5000]));
    versions(&scratch, "b", None, Some(b"\0"));
    let limits = PatchLimits { binary: BinaryFiles::Written, ..PatchLimits::default() };
    let (_, patch) = patch_of(&scratch, PatchLimits { file_bytes_max: 4999, ..limits });
    assert_eq!((patch.omitted, patch.text.matches("GIT binary patch").count()), (1, 1));
    let (changes, patch) = patch_of(&scratch, PatchLimits { text_bytes_max: 0, ..limits });
    assert!(patch.text.is_empty() && changes.iter().all(|change| change.binary));
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
    let stacks =
        Stack { upper: scratch.path("upper"), lowers: vec![scratch.path("lower")], marks: Marks::Trusted }.changes_of_upper();
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
    let stacks =
        Stack { upper: scratch.path("upper"), lowers: vec![scratch.path("lower")], marks: Marks::Trusted }.changes_of_upper();
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
