//! Patches in three forms, and what is wrapped around them.

use super::{becomes, fails, patch, path, run, tree};
use crate::{Before, File, Mode, Options, Request, Status, plan};

const OLD: &str = "one\ntwo\nthree\nfour\nfive\n";
const NEW: &str = "one\ntwo\nTHREE\nfour\nfive\n";

#[test]
fn the_same_change_is_read_in_every_form_and_wrapping() {
    let hunk = " two\n-three\n+THREE\n four\n";
    let unified = format!("--- a/f\n+++ b/f\n@@ -2,3 +2,3 @@\n{hunk}");
    let v4a = format!("*** Begin Patch\n*** Update File: f\n@@\n{hunk}*** End Patch\n");
    for text in [
        unified.clone(),
        format!("diff --git a/f b/f\nindex 123..456 100644\n{unified}"),
        format!("--- f\n+++ f\n@@ -2,3 +2,3 @@\n{hunk}"),
        format!("--- a/f\t2024-01-01 00:00:00.000 +0000\n+++ b/f\t2024-01-01\n@@ -2,3 +2,3 @@ section\n{hunk}"),
        format!(
            "--- one/f 2024-01-01 00:00:00.000000000 +0000\n+++ two/f 2024-01-01 00:00:00.000000000 +0000\n@@ -2,3 +2,3 @@\n{hunk}"
        ),
        format!("--- /workspace/f\n+++ /workspace/f\n@@ -2,3 +2,3 @@\n{hunk}"),
        format!("--- a/workspace/f\n+++ b/workspace/f\n@@ -2,3 +2,3 @@\n{hunk}"),
        unified.replace("@@ -2,3 +2,3 @@", "@@ -9,7 +90,1 @@"),
        unified.replace("@@ -2,3 +2,3 @@", "@@"),
        unified.replace("@@ -2,3 +2,3 @@", "@@ ... @@"),
        unified.replace("@@ -2,3 +2,3 @@", "@@ -2 +2 @@"),
        unified.replace('\n', "\r\n"),
        unified.trim_end().to_owned(),
        format!("```diff\n{unified}```\nand more\n"),
        format!("apply_patch <<'PATCH'\n{v4a}PATCH\n"),
        format!("cat <<EOF | git apply\n{unified}EOF\n"),
        format!("From 1234 Mon Sep 17\nSubject: [PATCH] x\n\n- item\n---\n f | 2 +-\n\n{unified}-- \n2.47.3\n\n"),
        unified.lines().map(|line| format!("    {line}\n")).collect(),
        v4a.clone(),
        v4a.replace("@@\n", ""),
        v4a.replace("*** Begin Patch\n", "").replace("*** End Patch\n", ""),
        v4a.replace("@@\n", "@@ one\n"),
        v4a.replace('\n', "\r\n"),
        format!("```\n{v4a}```\n"),
        "f\n<<<<<<< SEARCH\ntwo\nthree\n=======\ntwo\nTHREE\n>>>>>>> REPLACE\n".to_owned(),
        "**f**\n```python\n<<<<<<< SEARCH\nthree\n=======\nTHREE\n>>>>>>> REPLACE\n```\n".to_owned(),
        "```\nf\n<<<<<<< SEARCH\nthree\n=======\nTHREE\n>>>>>>> REPLACE\n```\n".to_owned(),
    ] {
        becomes(&[("f", OLD)], &patch(&text), &[("f", NEW)]);
    }
}

#[test]
fn files_are_created_deleted_moved_and_copied() {
    let files = [("a", "1\n2\n"), ("b", "x\n")];
    for (text, want) in [
        (
            "--- /dev/null\n+++ b/n\n@@ -0,0 +1,2 @@\n+p\n+q\n\\ No newline at end of file\n",
            &[("a", "1\n2\n"), ("b", "x\n"), ("n", "p\nq")] as &[(&str, &str)],
        ),
        ("--- a/b\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n", &[("a", "1\n2\n")]),
        ("diff --git a/b b/b\ndeleted file mode 100644\n", &[("a", "1\n2\n")]),
        ("diff --git a/e b/e\nnew file mode 100644\nindex 0000000..e69de29\n", &[("a", "1\n2\n"), ("b", "x\n"), ("e", "")]),
        ("diff --git a/b b/c\nsimilarity index 100%\nrename from b\nrename to c\n", &[("a", "1\n2\n"), ("c", "x\n")]),
        ("diff --git a/b b/c\ncopy from b\ncopy to c\n", &[("a", "1\n2\n"), ("b", "x\n"), ("c", "x\n")]),
        // Two files change places.
        (
            "diff --git a/a b/b\nrename from a\nrename to b\ndiff --git a/b b/a\nrename from b\nrename to a\n",
            &[("a", "x\n"), ("b", "1\n2\n")],
        ),
        (
            "*** Begin Patch\n*** Add File: d/n\n+p\n+\n+q\n*** Delete File: b\n*** Update File: a\n*** Move to: c\n@@\n 1\n-2\n+3\n*** End Patch\n",
            &[("c", "1\n3\n"), ("d/n", "p\n\nq\n")],
        ),
        ("n\n<<<<<<< SEARCH\n=======\np\n>>>>>>> REPLACE\n", &[("a", "1\n2\n"), ("b", "x\n"), ("n", "p\n")]),
        (
            "diff --git \"a/\\303\\274 \\\"q\" \"b/\\303\\274 \\\"q\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/\\303\\274 \\\"q\"\n@@ -0,0 +1 @@\n+p\n",
            &[("a", "1\n2\n"), ("b", "x\n"), ("ü \"q", "p\n")],
        ),
    ] {
        becomes(&files, &patch(text), want);
    }
}

#[test]
fn modes_and_links_are_part_of_the_plan() {
    let text = "diff --git a/f b/f\nold mode 100644\nnew mode 100755\ndiff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+f\n\\ No newline at end of file\n";
    let (after, planned) = run(&tree(&[("f", "x\n")]), &patch(text)).expect("it works");
    assert_eq!(after.files[&path("f")].mode, Mode::Executable);
    assert_eq!(after.files[&path("l")], File { content: b"f".to_vec(), mode: Mode::Symlink });
    assert_eq!(planned.plan.changes[0].before, Before::Present(Mode::Regular));
    assert!(planned.report.render().contains("is now executable"));
    // Nothing is written through a link.
    let text = run(&after, &patch("--- a/l\n+++ b/l\n@@ -1 +1 @@\n-f\n+g\n")).expect_err("a link").render();
    assert!(text.contains("symbolic link to `f`"), "{text}");
}

#[test]
fn numbers_only_break_ties() {
    let content = "a\nx\nb\nx\nc\nx\nd\n";
    let hunk = |number: usize| format!("--- a/f\n+++ b/f\n@@ -{number},1 +{number},1 @@\n-x\n+y\n");
    becomes(&[("f", content)], &patch(&hunk(4)), &[("f", "a\nx\nb\ny\nc\nx\nd\n")]);
    fails(&[("f", content)], &patch(&hunk(3)), &["stands in 3 places", "@@ -LINE,1 +LINE,1 @@"]);
    // The only place is taken whatever the number says.
    becomes(&[("f", "a\nx\n")], &patch(&hunk(40)), &[("f", "a\ny\n")]);
    // The other hunks say how far off the numbers are.
    let text = "--- a/f\n+++ b/f\n@@ -11 +11 @@\n-a\n+A\n@@ -14 +14 @@\n-x\n+y\n";
    let report = becomes(&[("f", content)], &patch(text), &[("f", "A\nx\nb\ny\nc\nx\nd\n")]);
    assert!(report.contains("moved by -10"), "{report}");
}

#[test]
fn lines_above_a_hunk_narrow_its_place() {
    let content = "class A:\n    def f(self):\n        return 1\n\nclass B:\n    def f(self):\n        return 1\n    def g(self):\n        return 1\n";
    let text =
        "*** Begin Patch\n*** Update File: f\n@@ class B:\n@@ def f(self):\n-        return 1\n+        return 2\n*** End Patch\n";
    let want = content.replacen("return 1", "@", 1).replacen("return 1", "return 2", 1).replacen('@', "return 1", 1);
    becomes(&[("f", content)], &patch(text), &[("f", &want)]);
    fails(&[("f", content)], &patch(&text.replace("@@ def f(self):\n", "")), &["stands in 2 places"]);
}

#[test]
fn context_may_be_stale_at_its_ends_while_the_rest_is_unique() {
    let text = "--- a/f\n+++ b/f\n@@ -1,5 +1,5 @@\n ONE\n two\n-three\n+THREE\n four\n FIVE\n";
    let report = becomes(&[("f", OLD)], &patch(text), &[("f", NEW)]);
    assert!(report.contains("context lines"), "{report}");
    // Lines beside the change must be there.
    fails(&[("f", OLD)], &patch(&text.replace(" two", " TWO")), &["not found", "2|two"]);
}

#[test]
fn what_is_applied_already_is_said_and_left() {
    let text = "--- a/f\n+++ b/f\n@@ -2,3 +2,4 @@\n two\n-three\n+THREE and\n+more of it\n four\n";
    let (after, _) = run(&tree(&[("f", OLD)]), &patch(text)).expect("it works");
    let (again, planned) = run(&after, &patch(text)).expect("it works again");
    assert_eq!(again, after);
    assert_eq!(planned.report.files[0].status, Status::Unchanged);
    assert!(planned.plan.changes.is_empty());
    // Context on one side only, so that it would be found again.
    let text = "*** Begin Patch\n*** Update File: f\n@@\n five\n+a sixth line\n*** End Patch\n";
    let (after, _) = run(&tree(&[("f", OLD)]), &patch(text)).expect("it works");
    let (again, _) = run(&after, &patch(text)).expect("it works again");
    assert_eq!(again, after);
}

#[test]
fn files_keep_line_ends_indentation_and_missing_newline() {
    let text = "--- a/f\n+++ b/f\n@@ -1,2 +1,3 @@\n one\n-two\n+zwei\n+drei\n";
    for (content, want) in [
        ("one\r\ntwo\r\n", "one\r\nzwei\r\ndrei\r\n"),
        ("one\ntwo", "one\nzwei\ndrei"),
        ("\u{feff}one\r\ntwo", "\u{feff}one\r\nzwei\r\ndrei"),
        ("\tone\n\ttwo\n", "\tone\n\tzwei\n\tdrei\n"),
        ("one  \ntwo\n", "one  \nzwei\ndrei\n"),
    ] {
        becomes(&[("f", content)], &patch(text), &[("f", want)]);
    }
    // What is put at the end of a file comes behind a whole line.
    let text = "*** Begin Patch\n*** Update File: f\n@@\n+new\n*** End Patch\n";
    becomes(&[("f", "a\r\nb")], &patch(text), &[("f", "a\r\nb\r\nnew")]);
}

#[test]
fn hunks_may_come_in_any_order_but_not_overlap() {
    let text = "*** Begin Patch\n*** Update File: f\n@@\n-four\n+4\n@@\n-two\n+2\n*** End Patch\n";
    becomes(&[("f", OLD)], &patch(text), &[("f", "one\n2\nthree\n4\nfive\n")]);
    // Context may be shared.
    let text = "*** Begin Patch\n*** Update File: f\n@@\n one\n-two\n+2\n three\n@@\n three\n-four\n+4\n five\n*** End Patch\n";
    becomes(&[("f", OLD)], &patch(text), &[("f", "one\n2\nthree\n4\nfive\n")]);
    let text = "*** Begin Patch\n*** Update File: f\n@@\n-two\n-three\n+2\n@@\n-three\n+3\n*** End Patch\n";
    fails(&[("f", OLD)], &patch(text), &["hunk 2 of 2", "changed by hunk 1"]);
}

#[test]
fn a_file_takes_the_place_of_a_directory_that_goes() {
    let files = [("d/a", "1\n"), ("d/e/b", "2\n"), ("f", "x\n")];
    for (text, want) in [
        (
            "--- a/d/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n--- a/d/e/b\n+++ /dev/null\n@@ -1 +0,0 @@\n-2\n--- /dev/null\n+++ b/d\n@@ -0,0 +1 @@\n+flat\n",
            &[("d", "flat\n"), ("f", "x\n")] as &[(&str, &str)],
        ),
        // In the order of git, which names the new file first.
        (
            "*** Begin Patch\n*** Add File: d\n+flat\n*** Delete File: d/a\n*** Delete File: d/e/b\n*** End Patch\n",
            &[("d", "flat\n"), ("f", "x\n")],
        ),
        ("diff --git a/d/e/b b/d/e\nrename from d/e/b\nrename to d/e\n", &[("d/a", "1\n"), ("d/e", "2\n"), ("f", "x\n")]),
    ] {
        becomes(&files, &patch(text), want);
    }
    let text = "*** Begin Patch\n*** Add File: d\n+flat\n*** End Patch\n";
    fails(&files, &patch(text), &["`d` is a directory"]);
    // One that is emptied of one file only, and one that gets another.
    fails(
        &files,
        &patch(&text.replace("*** End", "*** Delete File: d/a\n*** End")),
        &["`d` is a directory, and `d/e/b` in it stays"],
    );
    let text = "*** Begin Patch\n*** Delete File: d/a\n*** Delete File: d/e/b\n*** Add File: d\n+flat\n*** Add File: d/c\n+c\n*** End Patch\n";
    fails(&files, &patch(text), &["cannot be a file below `d`"]);
}

#[test]
fn git_internals_are_changed_only_when_allowed() {
    let request = Request::Patch(b"--- /dev/null\n+++ b/.git/info/exclude\n@@ -0,0 +1 @@\n+x\n".to_vec());
    let options = Options { allow_git_internals: true, ..Options::default() };
    assert!(plan(&request, &Options::default(), &mut tree(&[])).is_err());
    assert!(plan(&request, &options, &mut tree(&[])).is_ok());
}
