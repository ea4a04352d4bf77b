//! An answer that cannot be one is refused; one that can is as it was.

use super::*;
use crate::message::tests::search;

fn line(number: u64, column: u64) -> FoundLine {
    FoundLine { number, column, text: "a line".to_owned(), cut: false }
}

fn file(path: &str, matching: u64, lines: Vec<FoundLine>) -> FoundFile {
    FoundFile { path: Some(Bytes::from(path.as_bytes())), matching, lines }
}

fn found(files: Vec<FoundFile>) -> Found {
    let lines_total = files.iter().map(|file| file.matching).sum();
    Found { files_total: number(files.len()), lines_total, searched: 100, binary: 1, unread: 2, files }
}

#[track_caller]
fn refused(found: Found, asked: &Search, says: &str) {
    let answer = SearchAnswer::Found(found);
    match SearchAnswer::from_json(&answer.to_json(), asked) {
        Ok(taken) => assert!(says.is_empty() && taken == answer, "{answer:?} was taken"),
        Err(violation) => assert!(!says.is_empty() && violation.0.contains(says), "{violation}"),
    }
}

#[test]
fn an_answer_is_held_to_what_was_asked() {
    let asked = Search { context: 1, limit: 3, ..search() };
    let three = vec![line(1, 0), line(2, 1), line(3, 0)];
    refused(found(vec![]), &asked, "");
    refused(found(vec![file("a/b", 1, three.clone()), file("a.b", 9, vec![line(1, 5), line(2, 1)])]), &asked, "");
    refused(found(vec![FoundFile { path: None, ..file("a", 1, vec![line(1, 1)]) }]), &asked, "");
    refused(found(vec![file("a.b", 1, vec![]), file("a/b", 1, vec![])]), &asked, "not in order");
    refused(found(vec![file("a", 1, vec![]), file("a", 1, vec![])]), &asked, "not in order");
    refused(found(vec![file("../a", 1, vec![])]), &asked, "relative and plain");
    refused(found(vec![FoundFile { path: None, ..file("a", 1, vec![]) }, file("b", 1, vec![])]), &asked, "without a path");
    refused(found(vec![file("a", 0, vec![])]), &asked, "counts wrongly");
    refused(found(vec![file("a", 1, vec![line(1, 1), line(2, 1)])]), &asked, "counts wrongly");
    refused(found(vec![file("a", 2, vec![line(2, 1), line(2, 1)])]), &asked, "not in order");
    refused(found(vec![file("a", 2, vec![line(1, 1), line(2, 0), line(3, 0), line(4, 0)])]), &asked, "more lines");
    refused(found(vec![file("a", 4, (1..5).map(|number| line(number, 1)).collect())]), &asked, "more or less");
    refused(Found { lines_total: 0, ..found(vec![file("a", 1, three)]) }, &asked, "more or less");
    refused(Found { searched: 0, ..found(vec![file("a", 1, vec![])]) }, &asked, "more or less");
    let long = FoundLine { text: "x".repeat(FOUND_LINE_BYTES_MAX * 3 + 1), ..line(1, 1) };
    refused(found(vec![file("a", 1, vec![long])]), &asked, "a line that is none");
    let files = Search { tell: SearchTell::Files, limit: 1, ..search() };
    refused(found(vec![file("a", 1, vec![])]), &files, "");
    refused(found(vec![file("a", 1, vec![line(1, 1)])]), &files, "counts wrongly");
    refused(found(vec![file("a", 1, vec![]), file("b", 1, vec![])]), &files, "more or less");
    assert!(SearchAnswer::from_json(b"{\"found\":{}}", &asked).is_err());
}
