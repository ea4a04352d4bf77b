//! What models send to change files.

use pyro_edit::limits::{CONTENT_BYTES_MAX, FAILURE_CHARS_MAX, FILE_BYTES_MAX, REPORT_LINES_MAX};
use pyro_edit::{Edit, File, FileEdits, Memory, Mode, Options, RelPath, Request};

use crate::input::parts;

/// Any bytes as a patch of a made-up tree.
pub fn patch(bytes: &[u8]) {
    let file = |content: &[u8], mode| File { content: content.to_vec(), mode };
    let files = [
        ("f", file(b"a\nb\n\na\nc", Mode::Regular)),
        ("d/f", file(b"a\r\nb\r\n", Mode::Regular)),
        ("d/run", file(b"#!/bin/sh\n    one\n    two\n    three\nexit\n", Mode::Executable)),
        ("e", file(b"", Mode::Regular)),
        ("l", file(b"d/f", Mode::Symlink)),
        (".git/config", file(b"a\n", Mode::Regular)),
    ];
    let files = files.into_iter().map(|(path, file)| (RelPath::new(path.as_bytes(), b"").expect("a relative path"), file));
    holds(&Memory { files: files.collect() }, &Request::Patch(bytes.to_vec()));
}

/// Parts: the content of `f`; the content of `d/g`; then a patch, or any number of edits of a path, an old and a new text each. A path that begins with `*` has the
/// edit made everywhere.
pub fn plan(bytes: &[u8]) {
    let parts = parts(bytes);
    let content = |at: usize| parts.get(at).copied().unwrap_or_default().to_vec();
    let path = |path: &str| RelPath::new(path.as_bytes(), b"").expect("a relative path");
    let file = |content| File { content, mode: Mode::Regular };
    let files = Memory { files: [(path("f"), file(content(0))), (path("d/g"), file(content(1)))].into() };
    let request = match parts.get(2..) {
        Some([patch]) => Request::Patch(patch.to_vec()),
        Some(edits) => Request::Edits(edits.chunks_exact(3).map(edit_of).collect()),
        None => return,
    };
    holds(&files, &request);
}

fn edit_of(parts: &[&[u8]]) -> FileEdits {
    let path = parts[0].strip_prefix(b"*").unwrap_or(parts[0]);
    let edit = Edit { old: parts[1].to_vec(), new: parts[2].to_vec(), all: parts[0].starts_with(b"*") };
    FileEdits { path: path.to_vec(), edits: vec![edit] }
}

/// Whatever is asked of whatever files: nothing panics, the same comes of it each time, reading changes nothing; a plan has nothing outside in it, fits the files that it
/// was made for and leaves the others alone; a failure is short and says what to do.
fn holds(files: &Memory, request: &Request) {
    let options = Options { project: Some(b"d".to_vec()), ..Options::default() };
    let (mut read, mut again) = (files.clone(), files.clone());
    let outcome = pyro_edit::plan(request, &options, &mut read);
    assert_eq!(outcome, pyro_edit::plan(request, &options, &mut again), "twice the same is not the same");
    assert_eq!((&read, &again), (files, files), "reading has changed the files");
    match outcome {
        Ok(planned) => {
            let mut after = files.clone();
            after.apply(&planned.plan).expect("a plan fits its files");
            for change in &planned.plan.changes {
                let path = &change.path;
                assert!(!path.as_bytes().starts_with(b"/") && !path.is_git_internal(), "{path}");
                assert!(path.names().all(|name| !name.is_empty() && name != b"." && name != b".." && !name.contains(&0)), "{path}");
                assert!(change.after.as_ref().is_none_or(|file| file.content.len() <= FILE_BYTES_MAX), "{path} is too large");
            }
            let is_planned = |path: &RelPath| planned.plan.changes.iter().any(|change| change.path == *path);
            for (path, file) in files.files.iter().filter(|(path, _)| !is_planned(path)) {
                assert_eq!(after.files.get(path), Some(file), "{path} was to be left alone");
            }
            assert!(after.files.values().map(|file| file.content.len()).sum::<usize>() <= 2 * CONTENT_BYTES_MAX);
            let shown: usize = planned.report.files.iter().flat_map(|file| &file.regions).map(|region| region.lines.len()).sum();
            assert!(shown <= REPORT_LINES_MAX, "{shown} lines in a report");
            planned.report.render();
        }
        Err(failure) => {
            let text = failure.render();
            assert!(text.chars().count() <= FAILURE_CHARS_MAX, "{} characters", text.chars().count());
            assert!(text.contains("Nothing was changed") && text.contains("Next: "), "{text}");
            assert!(!failure.failed.is_empty());
        }
    }
}

/// Parts: two texts. Their difference, in the form and with the numbers that git gives it, makes the second of the first.
pub fn diff(bytes: &[u8]) {
    let parts = parts(bytes);
    let [old, new] = parts[..] else { return };
    let (Ok(old), Ok(new)) = (std::str::from_utf8(old), std::str::from_utf8(new)) else { return };
    if old == new || old.is_empty() || new.is_empty() {
        return;
    }
    let path = RelPath::new(b"f", b"").expect("a relative path");
    let mut files = Memory { files: [(path.clone(), File { content: old.as_bytes().to_vec(), mode: Mode::Regular })].into() };
    for context in [1, 3] {
        let request = Request::Patch(unified(old, new, context).into_bytes());
        match pyro_edit::plan(&request, &Options::default(), &mut files) {
            Ok(planned) => {
                let mut after = files.clone();
                after.apply(&planned.plan).expect("a plan fits its files");
                assert_eq!(String::from_utf8_lossy(&after.files[&path].content), new, "{context} lines of context");
            }
            Err(failure) => panic!("{context} lines of context: {}", failure.render()),
        }
    }
}

fn unified(old: &str, new: &str, context: usize) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let mut out = "diff --git a/f b/f\n--- a/f\n+++ b/f\n".to_owned();
    for group in similar::group_diff_ops(similar::capture_diff_slices(similar::Algorithm::Myers, &old, &new), context) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        // A range without lines has the number of the line before it.
        let number = |range: &std::ops::Range<usize>| range.start + usize::from(!range.is_empty());
        let (old_number, new_number) = (number(&old_range), number(&new_range));
        out.push_str(&format!("@@ -{old_number},{} +{new_number},{} @@\n", old_range.len(), new_range.len()));
        let mut push = |mark: char, line: &str| {
            let end = if line.ends_with('\n') { "" } else { "\n\\ No newline at end of file\n" };
            out.push_str(&format!("{mark}{line}{end}"));
        };
        for operation in group {
            if let similar::DiffOp::Equal { .. } = operation {
                old[operation.old_range()].iter().for_each(|line| push(' ', line));
            } else {
                old[operation.old_range()].iter().for_each(|line| push('-', line));
                new[operation.new_range()].iter().for_each(|line| push('+', line));
            }
        }
    }
    out
}
