//! Three texts into one: what is kept to the byte, what is a conflict, and an independent merge of the same differences.

use proptest::prelude::*;
use similar::TextMerge;

use super::{ConflictHunk, Favour, Joined, join};
use crate::lines::Search;
use crate::testing::slice;

fn joined(base: &str, ours: &str, theirs: &str, favour: Option<Favour>) -> Joined {
    join(base, ours, theirs, favour, &mut Search::new())
}

#[test]
fn changes_apart_are_put_together_to_the_byte() {
    let table = [
        ("one line each", "1\n2\n3\n", "one\n2\n3\n", "1\n2\nthree\n", "one\n2\nthree\n"),
        ("lines added and taken away", "1\n2\n3\n4\n", "0\n1\n2\n3\n4\n", "1\n2\n3\n", "0\n1\n2\n3\n"),
        ("the same change", "1\n2\n", "1\nzwei\n", "1\nzwei\n", "1\nzwei\n"),
        ("the same change and another", "1\n2\n3\n4\n", "eins\n2\n3\n4\n", "eins\n2\n3\nvier\n", "eins\n2\n3\nvier\n"),
        ("carriage returns", "1\r\n2\r\n3\r\n", "one\r\n2\r\n3\r\n", "1\r\n2\r\nthree\r\n", "one\r\n2\r\nthree\r\n"),
        ("a carriage return alone", "1\r1\n2\n3", "1\r1\n2\nthree", "one\r1\n2\n3", "one\r1\n2\nthree"),
        ("no line feed at the end", "1\n2\n3", "one\n2\n3", "1\n2\nthree", "one\n2\nthree"),
        ("a line feed at the end added", "1\n2\n3", "1\n2\n3\n", "one\n2\n3", "one\n2\n3\n"),
        ("a line feed at the end taken away", "1\n2\n3\n", "one\n2\n3\n", "1\n2\n3", "one\n2\n3"),
        ("only ours", "1\n", "2\n", "1\n", "2\n"),
        ("only theirs", "1\n", "1\n", "2", "2"),
        ("all deleted on one side", "1\n2\n", "", "1\n2\n", ""),
        ("from nothing to the same", "", "1", "1", "1"),
        ("nothing", "", "", "", ""),
    ];
    for (title, base, ours, theirs, expected) in table {
        assert_eq!(joined(base, ours, theirs, None), Joined { text: expected.to_owned(), hunks: Vec::new() }, "{title}");
        assert_eq!(joined(base, theirs, ours, None).text, expected, "{title}, the other way round");
    }
}

#[test]
fn lines_that_both_changed_are_told_and_can_be_decided() {
    let hunk = |ours_line, base: &str, ours: &str, theirs: &str| ConflictHunk {
        ours_line,
        base: base.to_owned(),
        ours: ours.to_owned(),
        theirs: theirs.to_owned(),
    };
    // Title, base, ours, theirs, the hunk, and the text with either side's lines.
    let table = [
        ("the same line", "0\n1\n2\n", "0\na\n2\n", "0\nb\n2\n", hunk(2, "1\n", "a\n", "b\n"), "0\na\n2\n", "0\nb\n2\n"),
        (
            "lines that touch",
            "1\n2\n3\n",
            "a\n2\n3\n",
            "1\nb\n3\n",
            hunk(1, "1\n2\n", "a\n2\n", "1\nb\n"),
            "a\n2\n3\n",
            "1\nb\n3\n",
        ),
        ("added at one place", "1\n", "1\na\n", "1\nb\n", hunk(2, "", "a\n", "b\n"), "1\na\n", "1\nb\n"),
        ("changed and deleted", "1\n2\n", "1\na\n", "1\n", hunk(2, "2\n", "a\n", ""), "1\na\n", "1\n"),
        (
            "after a change of ours alone",
            "1\n2\n3\n",
            "0\n1\n2\na\n",
            "1\n2\nb\n",
            hunk(4, "3\n", "a\n", "b\n"),
            "0\n1\n2\na\n",
            "0\n1\n2\nb\n",
        ),
        ("before a change of theirs alone", "1\n2\n3\n", "a\n2\n3\n", "b\n2\n", hunk(1, "1\n", "a\n", "b\n"), "a\n2\n", "b\n2\n"),
        ("line ends", "1\n", "1\r\n", "1", hunk(1, "1\n", "1\r\n", "1"), "1\r\n", "1"),
        ("everything", "", "a", "b\n", hunk(1, "", "a", "b\n"), "a", "b\n"),
    ];
    for (title, base, ours, theirs, hunk, with_ours, with_theirs) in table {
        let merged = |favour| joined(base, ours, theirs, favour);
        assert_eq!(merged(None), Joined { text: with_ours.to_owned(), hunks: vec![hunk.clone()] }, "{title}");
        assert_eq!(merged(Some(Favour::Ours)), Joined { text: with_ours.to_owned(), hunks: vec![hunk.clone()] }, "{title}");
        assert_eq!(merged(Some(Favour::Theirs)), Joined { text: with_theirs.to_owned(), hunks: vec![hunk] }, "{title}");
    }
}

fn texts() -> impl Strategy<Value = String> {
    (prop::collection::vec(prop::sample::select(&["a\n", "b\n", "c\n", "\n"][..]), 0..12), any::<bool>())
        .prop_map(|(lines, is_ended)| if is_ended { lines.concat() } else { lines.concat().trim_end().to_owned() })
}

proptest! {
    #![proptest_config(slice(4000))]

    #[test]
    fn it_is_what_an_independent_merge_makes_of_it(base in texts(), ours in texts(), theirs in texts()) {
        let merged = joined(&base, &ours, &theirs, None);
        let other = TextMerge::from_lines(base.as_str(), ours.as_str(), theirs.as_str());
        prop_assert_eq!(merged.hunks.len(), other.conflict_count());
        if merged.hunks.is_empty() {
            prop_assert_eq!(merged.text, other.to_string());
        }
        prop_assert_eq!(joined(&base, &base, &theirs, None).text, theirs.as_str());
        prop_assert_eq!(joined(&base, &ours, &base, None).text, ours.as_str());
        prop_assert_eq!(joined(&base, &ours, &ours, None).text, ours.as_str());
        // Neither side is above the other.
        prop_assert_eq!(joined(&base, &theirs, &ours, Some(Favour::Ours)).text, joined(&base, &ours, &theirs, Some(Favour::Theirs)).text);
    }
}

#[test]
fn many_changes_beside_each_other_are_all_taken() {
    let text = |is_changed: fn(usize) -> bool| -> String {
        (0..4000).map(|line| if is_changed(line) { format!("changed {line}\n") } else { format!("{line}\n") }).collect()
    };
    let merged = joined(&text(|_| false), &text(|line| line % 4 == 0), &text(|line| line % 4 == 2), None);
    assert_eq!(merged, Joined { text: text(|line| line % 2 == 0), hunks: Vec::new() });
}

/// Files without order, for which the shortest form takes long to find: what is given up for time is how little is in conflict, not what is right.
#[test]
fn a_search_cut_short_is_still_right() {
    let lines = |step: usize| (0..40_000).map(|index| format!("{}\n", index * step % 40_009)).collect::<String>();
    let (base, changed) = (lines(7919), lines(104_729));
    assert!(joined(&base, &changed, &base, None) == Joined { text: changed.clone(), hunks: Vec::new() });
    assert!(joined(&base, &base, &changed, None) == Joined { text: changed, hunks: Vec::new() });
}
