//! Requests and files made to be slow or large. A test that takes long has failed.

use super::{becomes, edit, edits, fails, patch, run, tree};
use crate::limits::{EDITS_MAX, FILE_BYTES_MAX, PATCH_BYTES_MAX};

#[test]
fn a_thousand_hunks_in_ten_thousand_lines_are_quick() {
    let line = |number: usize| format!("line {number}\n");
    let old: String = (0..10_000).map(line).collect();
    let new: String = (0..10_000).map(|number| if number % 10 == 5 { format!("new {number}\n") } else { line(number) }).collect();
    let hunk = |at: usize| format!("@@\n {}-{}+new {at}\n {}", line(at - 1), line(at), line(at + 1));
    let hunks: String = (0..1000).map(|number| hunk(number * 10 + 5)).collect();
    becomes(&[("f", &old)], &patch(&format!("--- a/f\n+++ b/f\n{hunks}")), &[("f", &new)]);
}

#[test]
fn lines_that_are_all_alike_cost_no_more() {
    let old = "a\n".repeat(200_000);
    let hunk = format!("@@ -1,3 +1,3 @@\n{}-a\n+b\n", " a\n".repeat(2000));
    fails(&[("f", &old)], &patch(&format!("--- a/f\n+++ b/f\n{}", hunk.repeat(100))), &["hunk"]);
    let text = format!("{}b\n", "a\n".repeat(10_000));
    fails(&[("f", &old)], &edits("f", vec![edit(&text, "x")]), &["not found"]);
    fails(&[("f", &old)], &edits("f", vec![edit(&"a\n".repeat(10_000), "x")]), &["places"]);
}

#[test]
fn what_is_too_large_is_refused_in_words() {
    let mut every = edit("a", &"b".repeat(1 << 20));
    every.all = true;
    fails(&[("f", &"a".repeat(100))], &edits("f", vec![every]), &["more lines or bytes"]);
    fails(&[], &edits("f", vec![edit("", "x"); EDITS_MAX + 1]), &["more than 1000 edits"]);
    fails(&[], &edits("f", vec![edit("", &"x".repeat(PATCH_BYTES_MAX + 1))]), &["4 MiB"]);
    fails(&[("f", &"x".repeat(FILE_BYTES_MAX + 1))], &edits("f", vec![edit("x", "y")]), &["16 MiB"]);
    fails(&[], &patch(&"x".repeat(PATCH_BYTES_MAX + 1)), &["4 MiB"]);
    let copies: String = (0..900).map(|number| format!("diff --git a/f b/{number}\ncopy from f\ncopy to {number}\n")).collect();
    fails(&[("f", &"x".repeat(1 << 20))], &patch(&copies), &["128 MiB"]);
}

#[test]
fn any_number_of_lines_left_out_is_quick() {
    let old: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let cut = |word: &str| (0..1000).map(|number| format!("{word} {}\n...\n", number * 20)).collect::<String>();
    let new: String =
        (0..20_000).map(|number| if number % 20 == 0 { format!("new {number}\n") } else { format!("line {number}\n") }).collect();
    becomes(&[("f", &old)], &edits("f", vec![edit(&cut("line"), &cut("new"))]), &[("f", &new)]);
    let blank = |word: &str| format!("{word} 7\n{}...\n", "\n".repeat(1 << 19));
    becomes(&[("f", &old)], &edits("f", vec![edit(&blank("line"), &blank("new"))]), &[("f", &old.replace("line 7\n", "new 7\n"))]);
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    let mut files = tree(&[("f", "")]);
    let content: Vec<u8> = [b"\xff\xfe\x00bin\n".as_slice(), b"word\n", b"\x80\x81\n"].concat();
    files.files.values_mut().next().expect("one").content = content.clone();
    let (after, planned) = run(&files, &edits("f", vec![edit("word", "WORD")])).expect("it is there once");
    assert_eq!(
        after.files.values().next().expect("one").content,
        content
            .to_ascii_uppercase()
            .iter()
            .zip(&content)
            .map(|(upper, byte)| if byte.is_ascii_lowercase() && b"word".contains(byte) { *upper } else { *byte })
            .collect::<Vec<_>>()
    );
    assert!(planned.report.render().contains("binary"));
}

/// Not in every run: these are the slowest requests known, and how long they take is to be seen, not asserted.
#[test]
#[ignore = "takes seconds"]
fn the_slowest_requests_end() {
    let time = |what: &str, content: &str, request: &crate::Request| {
        let started_at = std::time::Instant::now();
        let failure = run(&tree(&[("f", content)]), request).expect_err("too much").render();
        println!("{what}: {} ms: {}", started_at.elapsed().as_millis(), failure.lines().next().unwrap_or_default());
    };
    let alike = "0123456789abcde\n".repeat(1 << 20);
    let other: String = (0..1 << 20).map(|number| format!("{:014}\n", number % 200)).collect();
    let hunk = "@@\n-0123456789abcde\n-0123456789abcde\n+b\n";
    time("hunks that stand everywhere", &alike, &patch(&format!("--- a/f\n+++ b/f\n{}", hunk.repeat(20_000))));
    let hunk = "@@\n 0123456789abcde\n 0123456789abcde\n-x\n+b\n 0123456789abcde\n 0123456789abcde\n";
    time("hunks that stand nowhere", &alike, &patch(&format!("--- a/f\n+++ b/f\n{}", hunk.repeat(20_000))));
    let lines: String = (0..300).map(|number| format!(" {:014}\n", number % 200)).collect();
    time(
        "long hunks that stand nowhere",
        &other,
        &patch(&format!("--- a/f\n+++ b/f\n{}", format!("@@\n{lines}-x\n+y\n").repeat(800))),
    );
    let old = "0123456789abcde\n".repeat(100);
    time("pieces that stand everywhere", &alike, &edits("f", vec![edit(&"0123456789abcde\n...\n".repeat(100_000), "...\n")]));
    time(
        "as many dots in both",
        &alike,
        &edits("f", vec![edit(&"0123456789abcde\n...\n".repeat(100_000), &"x\n...\n".repeat(100_000))]),
    );
    time(
        "blank lines beside dots",
        &alike,
        &edits("f", vec![edit(&format!("a\n{}...\n", "\n".repeat(1 << 20)), &format!("b\n{}...\n", "\n".repeat(1 << 20)))]),
    );
    time("edits that stand everywhere", &alike, &edits("f", vec![edit(&old, "x"); 1000]));
    time("edits that stand nowhere", &alike, &edits("f", vec![edit(&format!("{old}x"), "x"); 1000]));
    time("edits of one word that stand nowhere", &other, &edits("f", vec![edit("00000000 00000042", "x"); 1000]));
}
