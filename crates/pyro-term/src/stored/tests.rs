use std::io::BufReader;

use proptest::prelude::*;

use super::{Extent, extent, search, window};

/// Read in pieces of a few bytes.
fn stream(bytes: &[u8]) -> BufReader<&[u8]> {
    BufReader::with_capacity(7, bytes)
}

fn numbered(count: u32) -> String {
    (1..=count).map(|line| format!("line {line}\n")).collect()
}

#[test]
fn a_window_shows_the_lines_that_a_marker_names() {
    let all = numbered(100_000);
    let shown = window(stream(all.as_bytes()), 41..=44, 1000).unwrap();
    assert_eq!((shown.text.as_str(), shown.lines, shown.next_line), ("line 41\nline 42\nline 43\nline 44\n", Some(41..=44), None));
    let shown = window(stream(b"a\n  1%\r100%\nb"), 2..=9, 1000).unwrap();
    assert_eq!((shown.text.as_str(), shown.lines, shown.next_line), ("100%\nb", Some(2..=3), None));
    assert_eq!(window(stream(b"a\nb\n"), 3..=9, 1000).unwrap(), super::Window::default());
    assert_eq!(window(stream(b""), 1..=9, 1000).unwrap(), super::Window::default());
}

#[test]
fn page_after_page_gives_all_of_it() {
    let all = numbered(30_000);
    let (mut line, mut text) = (1, String::new());
    loop {
        let page = window(all.as_bytes(), line..=u64::MAX, 10_000).unwrap();
        assert!(page.text.chars().count() <= 10_000);
        text.push_str(&page.text);
        match page.next_line {
            Some(next) => line = next,
            None => break,
        }
    }
    assert_eq!(text, all);
}

#[test]
fn lines_of_any_length_are_cut() {
    let all = format!("{}\nnext\n", "x".repeat(1_000_000));
    let shown = window(all.as_bytes(), 1..=2, 2_000).unwrap();
    assert!(
        shown.text.starts_with("xxx") && shown.text.ends_with(" of this line left out]\nnext\n") && shown.text.len() < 500,
        "{}",
        shown.text
    );
    assert_eq!((shown.clipped_lines, shown.next_line), (1, None));
}

#[test]
fn lines_are_counted_with_an_unfinished_last_one() {
    assert_eq!(extent(stream(b"a\nb")).unwrap(), Extent { bytes: 3, lines: 2 });
    assert_eq!(extent(stream(b"a\nb\n")).unwrap().last_lines(1), 2..=2);
    assert_eq!(extent(stream(b"a\nb\n")).unwrap().last_lines(9), 1..=2);
    assert!(extent(stream(b"")).unwrap().last_lines(9).is_empty());
}

#[test]
fn what_is_looked_for_is_found_as_it_stands() {
    let all = b"one\n\x1b[31mer\x1b[mror\x1b]0;x\x07: x\r\n 1%\r error 2\nlast error";
    let found = search(stream(all), 1, 2, |line| line.contains("error")).unwrap();
    let hits: Vec<(u64, &str)> = found.hits.iter().map(|hit| (hit.line, hit.text.as_str())).collect();
    assert_eq!((hits, found.hits_total, found.lines_total), (vec![(2, "error: x"), (3, " error 2")], 3, 4));
    assert_eq!(search(stream(all), 4, 9, |line| line.contains("error")).unwrap().hits.len(), 1);
}

proptest! {
    #[test]
    fn any_window_of_anything_is_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), first in 0u64..30, more in 0u64..30, budget in 0usize..2_000) {
        let shown = window(stream(&bytes), first..=first + more, budget).unwrap();
        prop_assert!(shown.text.chars().count() <= budget.max(400));
        prop_assert!(shown.next_line.is_none_or(|next| next > first.max(1)), "it goes on");
        let total = extent(stream(&bytes)).unwrap();
        prop_assert_eq!(search(stream(&bytes), 1, 0, |_| true).unwrap().hits_total, total.lines);
    }
}
