//! Texts of failures: they must let a model mend its request in one turn.

use super::{edit, edits, fails, patch, run, tree};
use crate::limits::FAILURE_CHARS_MAX;

#[test]
fn the_closest_place_is_quoted_with_numbers_and_what_differs() {
    let content = "fn f() {\n    let n = lines.len();\n    if n == 0 { return None; }\n    for (i, l) in lines.iter().enumerate().skip(1) {\n        g();\n    }\n}\n";
    let old =
        "    let n = lines.len();\n    if n == 0 { return None; }\n    for (i, l) in lines.iter().enumerate() {\n        g();\n";
    let request = edits("src/p.rs", vec![edit("fn f", "fn h"), edit(old, "x"), edit("}\n}", "}}")]);
    let text = fails(&[("src/p.rs", content)], &request, &["edits 1 and 3 match"]);
    assert_eq!(
        text,
        "edit 2 of 3 failed: text not found in src/p.rs. Nothing was changed (edits 1 and 3 match).\n\
         Closest place, lines 2-5 (3 of your 4 lines equal; line 4 differs):\n\
         2|    let n = lines.len();\n\
         3|    if n == 0 { return None; }\n\
         4|    for (i, l) in lines.iter().enumerate().skip(1) {\n\
         5|        g();\n\
         Yours had on line 4:     for (i, l) in lines.iter().enumerate() {\n\
         Next: send all 3 edits again with edit 2's old text copied from the lines above (without the \"2|\")"
    );
}

#[test]
fn ambiguous_places_are_told_apart_by_lines_that_only_one_has() {
    let content = "fn a() {\n    x();\n}\nfn b() {\n    x();\n}\n";
    let text = fails(
        &[("f", content)],
        &edits("f", vec![edit("    x();\n", "    y();\n")]),
        &["lines 2 and 5", "1|fn a() {", "4|fn b() {", "all=true"],
    );
    assert!(!text.contains("3|"), "{text}");
}

#[test]
fn bad_syntax_names_the_line_and_the_right_form() {
    for (text, words) in [
        ("hello\n", &["none of the known forms", "SEARCH"] as &[&str]),
        (
            "*** Begin Patch\n*** Update File: f\n@@\n a\nb\n*** End Patch\n",
            &["line 5 of the patch", "That line is: b", "blank (unchanged)"],
        ),
        ("*** Begin Patch\n*** Frobnicate: f\n*** End Patch\n", &["no file is named"]),
        ("--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\nb\n+c\n", &["line 5 of the patch", "without a mark"]),
        ("@@ -1 +1 @@\n-a\n+b\n", &["no file is named above this hunk"]),
        ("<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n", &["no file is named above this block"]),
        ("f\n<<<<<<< SEARCH\na\nb\n>>>>>>> REPLACE\n", &["no `=======`"]),
        ("f\n<<<<<<< SEARCH\na\n=======\nb\n", &["no `>>>>>>> REPLACE`"]),
        ("f\n<<<<<<< SEARCH\na\n=======\nb\n=======\nc\n>>>>>>> REPLACE\n", &["two `=======`"]),
        ("diff --git a/f b/f\nindex 1..2\nBinary files a/f and b/f differ\n", &["content itself is missing"]),
        ("diff --git a/f b/f\nGIT binary patch\nliteral 5\nzzzz\n\n", &["base 85"]),
        ("diff --git a/s b/s\nnew file mode 160000\n", &["submodule"]),
        ("--- a/f\n+++ b/f\n", &["no hunk"]),
    ] {
        fails(&[("f", "a\n")], &patch(text), words);
    }
}

#[test]
fn conflicts_are_refused() {
    let files = [("a", "1\n"), ("b", "2\n"), ("d/f", "3\n")];
    for (text, words) in [
        ("*** Begin Patch\n*** Add File: a\n+x\n*** End Patch\n", &["a is to be created, but exists already"] as &[&str]),
        ("*** Begin Patch\n*** Add File: n\n+x\n*** Add File: n\n+y\n*** End Patch\n", &["exists already"]),
        ("diff --git a/a b/b\nrename from a\nrename to b\n", &["cannot become `b`"]),
        ("*** Begin Patch\n*** Delete File: c\n*** End Patch\n", &["there is no file c"]),
        ("*** Begin Patch\n*** Add File: a/x\n+x\n*** End Patch\n", &["below `a`"]),
        ("*** Begin Patch\n*** Add File: d\n+x\n*** End Patch\n", &["`d` is a directory"]),
        ("*** Begin Patch\n*** Add File: n\n+x\n*** Add File: n/x\n+x\n*** End Patch\n", &["below `n`"]),
        ("--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-other\n", &["not found"]),
        ("--- /dev/null\n+++ b/.git/hooks/pre-commit\n@@ -0,0 +1 @@\n+x\n", &["inside .git"]),
        ("--- /dev/null\n+++ b/../x\n@@ -0,0 +1 @@\n+x\n", &["`..`"]),
    ] {
        fails(&files, &patch(text), words);
    }
}

#[test]
fn no_failure_is_longer_than_the_limit() {
    let long = "x".repeat(5000);
    let lines: String = (0..3000).map(|number| format!("line {number} {}\n", "ü".repeat(number % 400))).collect();
    for request in [
        edits(&long, vec![edit("a", "b")]),
        edits("f", vec![edit(&format!("line 7 {long}"), "b")]),
        edits("f", vec![edit("line", "b"); 900]),
        edits("f", vec![edit(&lines.replace("line 1", "lime 1"), "b")]),
        patch(&format!("--- a/{long}\n+++ b/{long}\n@@ -1 +1 @@\n-a\n+b\n")),
        patch(&format!("*** Begin Patch\n*** Update File: f\n{long}\n")),
    ] {
        let text = run(&tree(&[("f", &lines)]), &request).expect_err("it must not work").render();
        assert!(text.chars().count() <= FAILURE_CHARS_MAX, "{}", text.len());
        assert!(text.contains("Nothing was changed"), "{text}");
    }
}

#[test]
fn the_line_that_shares_most_words_is_shown_where_none_is_equal() {
    let file = "fn main() {\n    let number = 1;\n    print(number);\n}\n";
    let text = fails(&[("f", file)], &edits("f", vec![edit("let number = 7;", "x")]), &["2|    let number = 1;"]);
    assert!(!text.contains("4|}"), "{text}");
}
