//! Replacements, rung by rung.

use super::{becomes, edit, edits, fails};

#[track_caller]
fn check(content: &str, old: &str, new: &str, want: &str, note: &str) {
    let report = becomes(&[("f", content)], &edits("f", vec![edit(old, new)]), &[("f", want)]);
    assert!(report.contains(note), "{note:?} is not in:\n{report}");
}

#[test]
fn each_rung_matches_what_it_is_for_and_says_so() {
    for (content, old, new, want, note) in [
        ("a b\nc\n", "b\nc", "x", "a x\n", "+1 -2"),
        // Line ends: the file keeps its own.
        ("a\r\nb\r\nc\r\n", "a\nb\n", "a\nx\n", "a\r\nx\r\nc\r\n", "line ends"),
        ("a\r\nb\r\n", "a", "x\ny", "x\r\ny\r\nb\r\n", "+2 -1"),
        ("a\nb\nc\n", "a\r\nb\r\n", "x\r\nb\r\n", "x\nb\nc\n", "line ends"),
        ("\u{feff}one\r\ntwo\r\n", "one\ntwo\n", "one\n2\n", "\u{feff}one\r\n2\r\n", "line ends"),
        ("a\r\n\r\nb\r\nc\r\n", "\nb\n", "\nx\ny\n", "a\r\n\r\nx\r\ny\r\nc\r\n", "line ends"),
        ("a {\n  }\n}\n", "  }\r\n}\r\n", "  }\r\n}\r\nb\r\n", "a {\n  }\n}\nb\n", "line ends"),
        // Line ends are all that it is about.
        ("a\r\nb\r\nc\n", "a\r\nb\r\n", "a\nb\n", "a\nb\nc\n", "+2 -2"),
        ("a\r\nb\r\n", "a\r\nb\r\n", "a\nb\n", "a\nb\n", "+2 -2"),
        ("long one\nlong two\n", "long one\nlong two\n", "long one\r\nlong two\r\n", "long one\r\nlong two\r\n", "+2 -2"),
        // The missing newline at the end stays missing.
        ("a\nlast", "a\nlast\n", "a\nnew\n", "a\nnew", "line ends"),
        ("a\nlast", "last\n", "last\nmore\n", "a\nlast\nmore", "line ends"),
        ("a\nlast", "last", "new", "a\nnew", ""),
        // Blanks at ends of lines: of lines that do not change they stay.
        ("foo(a,  \n    b)\nrest\n", "foo(a,\n    b)\nrest", "foo(a,\n    b)\nmore", "foo(a,  \n    b)\nmore\n", "blanks at ends"),
        ("foo\nbar\n", "foo  \nbar\n", "foo  \nbaz\n", "foo\nbaz\n", "blanks at ends"),
        // Pasted numbers.
        (
            "fn a() {\n    b();\n}\n",
            "118|fn a() {\n119|    b();\n",
            "118|fn a() {\n119|    c();\n",
            "fn a() {\n    c();\n}\n",
            "pasted line numbers",
        ),
        (
            "fn a() {\n    b();\n}\n",
            "   1\tfn a() {\n   2\t    b();\n",
            "fn a() {\n    c();\n",
            "fn a() {\n    c();\n}\n",
            "pasted line numbers",
        ),
        (
            "fn a() {\n    b();\n}\n",
            "1→fn a() {\n2→    b();\n",
            "1→fn a() {\n    x();\n2→    b();\n",
            "fn a() {\n    x();\n    b();\n}\n",
            "pasted line numbers",
        ),
        // Indentation, whatever it is made of.
        (
            "    if x:\n        y()\n",
            "if x:\n    y()\n",
            "if x:\n    z()\n    w()\n",
            "    if x:\n        z()\n        w()\n",
            "indentation (+4)",
        ),
        ("if x:\n    y()\n", "    if x:\n        y()\n", "    if x:\n        z()\n", "if x:\n    z()\n", "indentation (-4)"),
        (
            "\tif x {\n\t\ty()\n\t}\n",
            "    if x {\n        y()\n    }\n",
            "    if x {\n        z()\n    }\n",
            "\tif x {\n\t\tz()\n\t}\n",
            "tabs for 4 spaces",
        ),
        // A mark at the start of the file stays there.
        (
            "\u{feff}if x:\n    y()\n",
            "  if x:\n      y()\n",
            "  if z:\n      y()\n",
            "\u{feff}if z:\n    y()\n",
            "indentation (-2)",
        ),
        ("  a:\n    b\n", "\ta:\n\t\tb\n", "\ta:\n\t\tc\n", "  a:\n    c\n", "2 spaces for tabs"),
        // What a keyboard has.
        ("say “hi” — now\n", "say \"hi\" - now", "say \"ho\"", "say \"ho\"\n", "typographic"),
        ("a\u{a0}b c\n", "a b", "x", "x c\n", "typographic"),
        // Escaped once too often.
        ("a\n\t\"b\"\n", r#"a\n\t\"b\""#, r#"a\n\t\"c\""#, "a\n\t\"c\"\n", "one level of escapes"),
    ] {
        check(content, old, new, want, note);
    }
}

#[test]
fn a_text_that_is_applied_already_is_left_alone() {
    for (content, old, new) in [
        ("import os\nimport sys\n", "import json\n", "import sys\n"),
        // Sent again: the old text is now a part of the new one.
        ("import os\nimport sys\nx\n", "import os\n", "import os\nimport sys\n"),
        ("    foo_bar()\n    baz()\n", "foo_bar()\nbaz()\n", "    foo_bar()\n    baz()\n"),
    ] {
        check(content, old, new, content, "already applied");
    }
}

#[test]
fn finding_a_part_of_the_old_text_is_no_sign_of_having_been_applied() {
    fails(
        &[("f", "# coding: utf-8\nimport inspect\nimport os\n")],
        &edits("f", vec![edit("# codWRONGing\nimport inspect\n", "import inspect\n")]),
        &["not found"],
    );
}

#[test]
fn empty_old_text_creates_or_fills_and_nothing_else() {
    let request = edits("d/f", vec![edit("", "new\n")]);
    becomes(&[], &request, &[("d/f", "new\n")]);
    becomes(&[("d/f", "")], &request, &[("d/f", "new\n")]);
    becomes(&[("d/f", "new\n")], &request, &[("d/f", "new\n")]);
    fails(&[("d/f", "text\n")], &request, &["exists already, with 1 lines", "a line beside it"]);
}

#[test]
fn edits_see_what_the_ones_before_left() {
    let both = vec![edit("one", "two"), edit("two", "three")];
    becomes(&[("f", "one\n")], &edits("f", both), &[("f", "three\n")]);
}

#[test]
fn all_replaces_every_place_and_only_then() {
    let mut every = edit("a", "bb");
    every.all = true;
    becomes(&[("f", "a-a-a\n")], &edits("f", vec![every]), &[("f", "bb-bb-bb\n")]);
    fails(&[("f", "a-a-a\n")], &edits("f", vec![edit("a", "bb")]), &["stands in 3 places", "all=true"]);
    // Places that overlap are two all the same.
    fails(&[("f", "aXaXa\n")], &edits("f", vec![edit("aXa", "b")]), &["stands in 2 places"]);
}

#[test]
fn a_rung_with_two_places_is_an_error_and_not_passed_over() {
    fails(&[("f", "  foo\n    foo\n")], &edits("f", vec![edit("foo ", "bar ")]), &["stands in 2 places", "blanks at ends"]);
}

#[test]
fn indentation_must_be_off_by_the_same_on_every_line() {
    fails(&[("f", "  a\n      b\n")], &edits("f", vec![edit("a\n  b\n", "a\n  c\n")]), &["not found"]);
    // Less indentation than is to be taken away cannot be made.
    fails(&[("f", "a\nb\n")], &edits("f", vec![edit("    a\n    b\n", "    a\nc\n")]), &["not found"]);
}

#[test]
fn paths_are_found_by_the_names_that_models_give_them() {
    let files = [("src/a.rs", "one\n"), ("workspace/b", "one\n")];
    for name in ["src/a.rs", "./src/a.rs", "/workspace/src/a.rs", "workspace/src/a.rs", "src//a.rs"] {
        becomes(&files, &edits(name, vec![edit("one", "two")]), &[("src/a.rs", "two\n"), ("workspace/b", "one\n")]);
    }
    becomes(&files, &edits("workspace/b", vec![edit("one", "two")]), &[("src/a.rs", "one\n"), ("workspace/b", "two\n")]);
    fails(&files, &edits("a.rs", vec![edit("one", "two")]), &["there is no file a.rs", "There is: src/a.rs"]);
    for name in ["../x", "/etc/passwd", "a/../../x", "/workspaces/x", "", ".", "a\0b", ".git/config", "sub/.GIT/hooks/x"] {
        fails(&files, &edits(name, vec![edit("", "x")]), &["failed"]);
    }
}
