//! Whatever the order in which files come, the same of them is told.

use pyro_wire::SandboxPath;
use pyro_wire::message::Selection;
use pyro_wire::search::SearchAnswer;

use super::*;

fn asked(tell: SearchTell, context: u32, limit: u32) -> Search {
    Search {
        path: SandboxPath::workspace(),
        pattern: "x".to_owned(),
        fixed: false,
        ignore_case: false,
        multiline: false,
        selection: Selection::default(),
        tell,
        context,
        limit,
        credit_bytes: 1,
    }
}

/// A file with lines that match at every third number.
fn file(path: &str, matches: u64, text: &str) -> FoundFile {
    let line = |number| FoundLine { number, column: u64::from(number % 3 == 2), text: text.to_owned(), cut: false };
    FoundFile { path: path_of(path.as_bytes()), matching: matches, lines: (1..=matches * 3).map(line).collect() }
}

fn answer(asked: &Search, files: &[FoundFile], order: impl Iterator<Item = usize>) -> Found {
    let mut kept = Kept::new(asked);
    for at in order {
        let path = files[at].path.as_ref().expect("a path").to_vec().expect("bytes");
        kept.add(files[at].clone(), &path);
    }
    kept.totals.searched = files.len() as u64;
    kept.answer()
}

#[test]
fn the_first_by_path_are_told_whatever_came_first() {
    let asked = asked(SearchTell::Lines, 1, 7);
    let files: Vec<FoundFile> = ["a/b", "a.b", "a/c/d", "b", "a"].iter().map(|path| file(path, 3, "text")).collect();
    let straight = answer(&asked, &files, 0..5);
    let paths: Vec<_> = straight.files.iter().map(|file| file.path.clone().expect("a path")).collect();
    assert_eq!(paths, ["a", "a/b", "a/c/d"].map(|path| Bytes::from(path.as_bytes())));
    assert_eq!((straight.files_total, straight.lines_total), (5, 15));
    let of_last: Vec<u64> = straight.files[2].lines.iter().map(|line| line.number).collect();
    assert_eq!(of_last, [1, 2, 3], "one line that matches with its neighbours");
    for order in [[4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [1, 3, 0, 2, 4]] {
        assert_eq!(answer(&asked, &files, order.into_iter()), straight, "{order:?}");
    }
    let json = SearchAnswer::Found(straight).to_json();
    SearchAnswer::from_json(&json, &asked).expect("what is told can be told");
}

#[test]
fn an_answer_is_never_larger_than_its_limit() {
    let asked = asked(SearchTell::Lines, 1, 10_000);
    // Each character becomes six.
    let long = "\u{1}".repeat(500);
    let files: Vec<FoundFile> = (0..40).map(|number| file(&format!("f{number:02}"), 100, &long)).collect();
    let straight = answer(&asked, &files, 0..40);
    assert_eq!(answer(&asked, &files, (0..40).rev()), straight);
    assert!(straight.files.len() > 2 && straight.lines_total == 4000);
    let json = SearchAnswer::Found(straight).to_json();
    assert!(json.len() <= SEARCH_ANSWER_BYTES_MAX && json.len() > SEARCH_ANSWER_BYTES_MAX / 2, "{} bytes", json.len());
    SearchAnswer::from_json(&json, &asked).expect("what is told can be told");
}

#[test]
fn files_are_counted_where_no_lines_are_told() {
    let asked = asked(SearchTell::Counts, 0, 2);
    let files: Vec<FoundFile> = ["c", "b", "a"].iter().map(|path| FoundFile { lines: Vec::new(), ..file(path, 3, "") }).collect();
    let found = answer(&asked, &files, 0..3);
    assert_eq!((found.files.len(), found.files_total, found.lines_total), (2, 3, 9));
}
