//! Lines left out: `...` in an old text, and in a new one.

use super::{becomes, edit, edits, fails, patch};
use crate::limits::FAILURE_CHARS_MAX;

const FILE: &str = "\
use std::fmt;

/// Adds.
fn add(a: u32, b: u32) -> u32 {
    let sum = a + b;
    check(sum);
    sum
}

/// Takes away.
fn sub(a: u32, b: u32) -> u32 {
    let rest = a - b;
    check(rest);
    rest
}
";

#[track_caller]
fn check(content: &str, old: &str, new: &str, want: &str, notes: &[&str]) {
    let report = becomes(&[("f", content)], &edits("f", vec![edit(old, new)]), &[("f", want)]);
    for note in notes {
        assert!(report.contains(note), "{note:?} is not in:\n{report}");
    }
}

#[test]
fn what_dots_stand_for_is_kept() {
    for dots in [
        "...",
        "    ...",
        "…",
        "    # ...",
        "// ... existing code ...",
        "    /* ... */",
        "<!-- ... rest of the function unchanged ... -->",
    ] {
        check(
            FILE,
            &format!("fn add(a: u32, b: u32) -> u32 {{\n{dots}\n    sum\n}}\n"),
            &format!("fn add(a: u64, b: u64) -> u64 {{\n{dots}\n    sum + 0\n}}\n"),
            &FILE.replace("fn add(a: u32, b: u32) -> u32", "fn add(a: u64, b: u64) -> u64").replace("    sum\n", "    sum + 0\n"),
            &["edit 1: kept for `...`: lines 5-6"],
        );
    }
    // Several times, and with blank lines around that the file has or has not.
    check(
        FILE,
        "use std::fmt;\n\n...\n\n    check(sum);\n    ...\n    let rest = a - b;\n",
        "use std::io;\n\n...\n\n    look(sum);\n    ...\n    let left = a - b;\n",
        &FILE.replace("fmt", "io").replace("check(sum)", "look(sum)").replace("let rest", "let left"),
        &["kept for `...`: lines 2-5, 7-11"],
    );
    // Before the first line and behind the last they say nothing.
    check(
        FILE,
        "...\n    sum\n...\n",
        "...\n    sum + 0\n...\n",
        &FILE.replace("    sum\n", "    sum + 0\n"),
        &["lines that are kept"],
    );
    // Nothing may be left out as well, and a last line may have no newline.
    check("a\nb\nc", "a\n...\nb\n...\nc", "A\n...\nb\n...\nC", "A\nb\nC", &["lines that are kept"]);
    // Lines are taken away, and put in.
    check("a\nb\nc\nd\n", "a\n...\nd\n", "...\nd\ne\n", "b\nc\nd\ne\n", &["+1 -1"]);
}

#[test]
fn blocks_may_leave_lines_out() {
    let text = "f\n<<<<<<< SEARCH\nfn sub(a: u32, b: u32) -> u32 {\n    ...\n    check(rest);\n=======\nfn sub(a: u64, b: u64) -> u64 {\n    ...\n    look(rest);\n>>>>>>> REPLACE\n";
    let want = FILE.replace("fn sub(a: u32, b: u32) -> u32", "fn sub(a: u64, b: u64) -> u64").replace("check(rest)", "look(rest)");
    let report = becomes(&[("f", FILE)], &patch(text), &[("f", &want)]);
    assert!(report.contains("block 1: kept for `...`: lines 12"), "{report}");
}

#[test]
fn the_pieces_climb_down_the_ladder_together() {
    for (content, old, new, want, note) in [
        ("a\r\nb\r\nc\r\n", "a\n...\nc\n", "x\n...\ny\n", "x\r\nb\r\ny\r\n", "line ends"),
        ("\u{feff}a\nb\nc\n", "a\n...\nc\n", "x\n...\nc\n", "\u{feff}x\nb\nc\n", "line ends"),
        ("a  \nb\nc\n", "a\n...\nc\n", "a\nx\n...\nC\n", "a  \nx\nb\nC\n", "blanks at ends"),
        (
            "    one\n      two\n    three\n",
            "one\n...\nthree\n",
            "one\n...\n3\n",
            "    one\n      two\n    3\n",
            "indentation (+4)",
        ),
        (
            "fn a() {\n    b();\n}\nlast\n",
            "1|fn a() {\n...\n4|last\n",
            "1|fn x() {\n...\n4|last\n",
            "fn x() {\n    b();\n}\nlast\n",
            "line numbers",
        ),
    ] {
        check(content, old, new, want, &[note, "kept for `...`: lines 2"]);
    }
}

#[test]
fn a_file_that_has_the_dots_itself_is_taken_at_its_word() {
    // Python's empty bodies, in a file that also could be read with lines left out.
    let stub = "class A:\n    def f(self) -> int:\n        ...\n    def g(self) -> int:\n        ...\n";
    check(
        stub,
        "    def f(self) -> int:\n        ...\n",
        "    def f(self) -> str:\n        ...\n",
        &stub.replacen("int", "str", 1),
        &["+1 -1"],
    );
    let report = becomes(
        &[("f", stub)],
        &edits("f", vec![edit("    def f(self) -> int:\n        ...\n", "    def f(self) -> int:\n        return 1\n")]),
        &[("f", &stub.replacen("...", "return 1", 1))],
    );
    assert!(!report.contains("kept"), "{report}");
    // On a lower rung as well.
    check(
        stub,
        "def g(self) -> int:\n    ...\n",
        "def g(self) -> int:\n    return 2\n",
        &stub.replace("g(self) -> int:\n        ...", "g(self) -> int:\n        return 2"),
        &["indentation (+4)"],
    );
    // A comment that is there goes when it is told to.
    check("a\n# ... existing code ...\nb\n", "# ... existing code ...\n", "real\n", "a\nreal\nb\n", &["+1 -1"]);
}

#[test]
fn pieces_that_could_be_laid_in_two_ways_are_an_error() {
    let text = fails(
        &[("f", FILE)],
        &edits("f", vec![edit("fn add(a: u32, b: u32) -> u32 {\n    ...\n}\n", "fn add() {\n    ...\n}\n")]),
        &["the lines behind its `...` number 1 stand in 2 places in f", "lines 8 and 15", "7|    sum", "14|    rest"],
    );
    assert!(text.chars().count() <= FAILURE_CHARS_MAX);
    // The first piece stands twice above the second, so either could be meant.
    fails(
        &[("f", "a\nx\na\ny\nb\n")],
        &edits("f", vec![edit("a\n...\nb\n", "A\n...\nb\n")]),
        &["before its first `...` stand in 2 places", "lines 1 and 3"],
    );
    // Another place of a piece that does not fit between the others is none.
    check("b\na\ny\nb\na\n", "a\n...\nb\n", "A\n...\nB\n", "b\nA\ny\nB\na\n", &["lines 3"]);
    // Places that overlap are several all the same.
    fails(
        &[("f", "s\nx\nx\nx\ne\n")],
        &edits("f", vec![edit("s\n...\nx\nx\n...\ne\n", "s\n...\ny\n...\ne\n")]),
        &["number 1 stand in 2 places"],
    );
}

#[test]
fn a_piece_that_is_not_there_is_named_and_its_closest_place_shown() {
    fails(
        &[("f", FILE)],
        &edits(
            "f",
            vec![edit("fn sub(a: u32, b: u32) -> u32 {\n    ...\n    check(left);\n", "fn sub() {\n    ...\n    check(left);\n")],
        ),
        &["text not found in f", "Looked for: the lines behind its `...` number 1.", "13|    check(rest);", "line 13 differs"],
    );
    fails(
        &[("f", FILE)],
        &edits(
            "f",
            vec![edit("    let rest = a - b;\n...\n    let sum = a + b;\n", "    let r = a - b;\n...\n    let s = a + b;\n")],
        ),
        &["has the lines behind its `...` number 1 at line 5, but not below those before them", "in the order"],
    );
    // No line begins where a piece ends within one.
    fails(&[("f", "a\nx\nbb\n")], &edits("f", vec![edit("a\n...\nb\n", "a\n...\nc\n")]), &["not found"]);
}

#[test]
fn dots_that_do_not_match_each_other_are_an_error_that_says_so() {
    let files = [("f", FILE)];
    for (old, new, words) in [
        (
            "use std::fmt;\n...\n    sum\n",
            "use std::io;\n    sum\n",
            &["its old text has 1 `...` line and its new text 0 `...` lines", "the same `...` lines"] as &[&str],
        ),
        ("use std::fmt;\n...\n    sum\n", "use std::io;\n...\n    sum\n...\n", &["1 `...` line and its new text 2 `...` lines"]),
        ("use std::fmt;\n...\n    sum\n", "use std::io;\n# ...\n    sum\n", &["are not the same"]),
        ("...\n    sum\n", "before\n...\n    sum\n", &["beside no line of its old text"]),
        ("    check(sum);\n...\n", "    check(sum);\n...\nbehind\n", &["beside no line of its old text"]),
        ("...\n", "...\n...\n", &["1 `...` line and its new text 2"]),
        ("\n...\n", "  \n...\n", &["nothing but `...`"]),
        ("    sum\n  ...\n", "    sum\n    ...\n", &["old and new text are the same"]),
    ] {
        fails(&files, &edits("f", vec![edit(old, new)]), words);
    }
    // Where the file has such lines, they are most likely meant as they are: then the closest place says more.
    fails(
        &[("f", "def g(a, b):\n    ...\n\nx = 1\n")],
        &edits("f", vec![edit("def g(a):\n    ...\n", "def g(a):\n    return a\n")]),
        &["not found", "do not stand for lines left out", "1|def g(a, b):", "line 1 differs"],
    );
    let mut every = edit("use std::fmt;\n...\n    sum\n", "use std::io;\n...\n    sum\n");
    every.all = true;
    fails(&files, &edits("f", vec![every]), &["not found", "With all=true `...`"]);
}

#[test]
fn a_new_text_does_not_put_dots_where_lines_were() {
    let body = "    let sum = a + b;\n    check(sum);\n    sum\n";
    for dots in [
        "    // ... existing code ...\n",
        "    # ... rest of the function ...\n",
        "    // ...\n",
        "    /* ... */\n    sum\n",
        "    (rest of code ...)\n",
        "    ...\n    sum\n",
        "    check(sum);\n    ...\n",
    ] {
        fails(
            &[("f", FILE)],
            &edits("f", vec![edit(body, dots)]),
            &["its new text has the line `", "which its old text and the file have not", "the lines that it stands for"],
        );
    }
    // With words it is never meant, also where nothing is taken away.
    fails(&[("f", FILE)], &edits("f", vec![edit("    sum\n", "    sum\n    // ... existing code ...\n")]), &["existing code"]);
    // A text that is not there is the first thing to mend; both are said.
    fails(
        &[("f", FILE)],
        &edits("f", vec![edit("    let sum = a * b;\n    check(sum);\n", "    // ... existing code ...\n")]),
        &["not found", "stands for lines left out", "5|    let sum = a + b;"],
    );
    let text = "f\n<<<<<<< SEARCH\n    check(sum);\n=======\n    // ... existing code ...\n>>>>>>> REPLACE\n";
    fails(&[("f", FILE)], &patch(text), &["the block failed", "send it as a + line of a diff"]);
}

#[test]
fn dots_that_may_be_meant_are_written() {
    for (content, old, new, want) in [
        // An empty body in Python, also with its documentation.
        ("def f():\n    return 1\n\nx = 1\n", "    return 1\n", "    ...\n", "def f():\n    ...\n\nx = 1\n"),
        (
            "class A:\n    def f(self):\n        return 1\n",
            "    def f(self):\n        return 1\n",
            "    def f(self):\n        \"\"\"One.\"\"\"\n        ...\n",
            "class A:\n    def f(self):\n        \"\"\"One.\"\"\"\n        ...\n",
        ),
        // Nothing is taken away.
        ("a\nb\n", "a\n", "a\n...\n", "a\n...\nb\n"),
        ("a\nb\n", "a\n", "a\n# ...\n", "a\n# ...\nb\n"),
        // The file has such a line elsewhere.
        ("a\n# ...\nb\nc\n", "b\nc\n", "# ...\n", "a\n# ...\n# ...\n"),
        // Part of a line, and JavaScript.
        ("f(a)\n", "f(a)", "f(...a)", "f(...a)\n"),
        ("x = {\n  a,\n  b,\n}\n", "  b,\n", "  ...rest\n", "x = {\n  a,\n  ...rest\n}\n"),
    ] {
        check(content, old, new, want, &[]);
    }
    // A diff says what each line is, so it is believed.
    let text = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n+// ... existing code ...\n";
    becomes(&[("f", "a\nb\n")], &patch(text), &[("f", "a\n// ... existing code ...\n")]);
}

#[test]
fn an_edit_with_dots_that_was_sent_before_changes_nothing() {
    let (old, new) =
        ("use std::fmt;\n...\n    check(sum);\n", "use std::fmt;\nuse std::io;\n...\n    check(sum);\n    check(sum + 1);\n");
    let want = FILE
        .replace("use std::fmt;\n", "use std::fmt;\nuse std::io;\n")
        .replace("    check(sum);\n", "    check(sum);\n    check(sum + 1);\n");
    check(FILE, old, new, &want, &["kept for `...`"]);
    check(&want, old, new, &want, &["already applied (line 1), nothing changed"]);
    // And where the old text is gone.
    let new = "use core::fmt;\n...\n    examine(sum);\n";
    let want = FILE.replace("use std::fmt;", "use core::fmt;").replace("check(sum)", "examine(sum)");
    check(FILE, old, new, &want, &["kept for `...`"]);
    check(&want, old, new, &want, &["already applied"]);
}
