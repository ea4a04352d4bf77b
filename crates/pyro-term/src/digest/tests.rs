use proptest::prelude::*;

use super::{Digest, Shown};
use crate::limits::{HEAD_BYTES, LINE_BYTES_MAX, TAIL_BYTES};

fn digest(bytes: &[u8]) -> Digest {
    let mut digest = Digest::new();
    digest.push(bytes);
    digest
}

fn text(bytes: &[u8]) -> String {
    digest(bytes).show(16_000).text
}

fn numbered(lines: std::ops::Range<u32>) -> String {
    lines.map(|line| format!("line {line}\n")).collect()
}

/// A stream is shown the same, however it comes.
#[track_caller]
fn assert_same_in_pieces(bytes: &[u8], sizes: &[usize]) {
    let whole = digest(bytes);
    let mut pieces = Digest::new();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*sizes.next().unwrap_or(&1)).clamp(1, rest.len()));
        pieces.push(piece);
        rest = after;
    }
    for budget in [400, 2_000, 64 * 1024] {
        let (whole, pieces) = (whole.show(budget), pieces.show(budget));
        let at = whole.text.bytes().zip(pieces.text.bytes()).take_while(|(a, b)| a == b).count();
        let around =
            |text: &str| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(40)..text.len().min(at + 40)]).into_owned();
        assert_eq!(around(&whole.text), around(&pieces.text), "at {at} of {} and {}", whole.text.len(), pieces.text.len());
        let rest = |shown: Shown| Shown { text: String::new(), ..shown };
        assert_eq!(rest(whole), rest(pieces));
    }
}

#[test]
fn short_output_is_shown_whole() {
    assert_eq!(text(b"one\ntwo"), "one\ntwo");
    assert_eq!(text(b""), "");
    assert_eq!(text(b"one\r\n\ttwo  \r\n"), "one\n\ttwo  \n");
    let long = "x".repeat(10_000);
    assert_eq!(text(long.as_bytes()), long);
    let shown = digest(b"one\ntwo").show(1000);
    assert_eq!((shown.bytes_total, shown.lines_total, shown.unfinished.as_deref()), (7, 2, Some("two")));
    assert_eq!((digest(b"one\n").show(1000).lines_total, digest(b"one\n").show(1000).unfinished), (1, None));
}

#[test]
fn what_redraws_itself_is_shown_as_it_stands() {
    assert_eq!(text(b"  1%\r 50%\r100%\ndone\n"), "100%\ndone\n");
    assert_eq!(text(b"Downloading [##  ]\r\x1b[KDone\n"), "Done\n");
    assert_eq!(text(b"abc\x08\x08X\n"), "aXc\n");
    assert_eq!(text(b"spin |\x08/\x08-\x08 \x08\n"), "spin\n");
    assert_eq!(text(b"\x1b[1;31merror\x1b[0m: x\n"), "error: x\n");
    assert_eq!(text(b"\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\\n"), "link\n");
    assert_eq!(text(b"abcdef\r\x1b[3Cx\x1b[1K!\n"), "    !f\n");
    assert_eq!(text("日本\rab\n".as_bytes()), "ab本\n");
    assert_eq!(text(b"a\tb\x1b[m\tc\n"), "a\tb\tc\n");
    assert_eq!(text(b"abc\r\n\rxyz\r\r\n"), "abc\nxyz\n");
}

#[test]
fn lines_above_are_drawn_again() {
    // As docker and npm do: some lines, then up and all of them again.
    let mut bytes = b"start\n".to_vec();
    for step in 0..50 {
        bytes.extend(format!("layer a {step}\x1b[K\nlayer b {step}\x1b[K\n").bytes());
        if step < 49 {
            bytes.extend(b"\x1b[2A");
        }
    }
    bytes.extend(b"end\n");
    assert_eq!(text(&bytes), "start\nlayer a 49\nlayer b 49\nend\n");
    assert_eq!(text(b"a\nb\nc\n\x1b[2F\x1b[Jx\n"), "a\nx\n");
    assert_eq!(text(b"one\ntwo\n\x1b[9Azero\x1b[Bx\x1b[1000Btwo\n"), "zero\ntwo x\n     two\n");
}

#[test]
fn equal_lines_are_folded_where_they_are_enough() {
    assert_eq!(text(b"y\ny\ny\n"), "y\ny\ny\n");
    let shown = digest(&b"y\n".repeat(1_000_000)).show(400);
    assert_eq!(
        (shown.text.as_str(), shown.folded_lines, shown.lines_omitted),
        ("y\n[the line above 999,999 more times]\n", 999_999, 0)
    );
    assert_eq!(text(b"a\n\x1b[1mb\x1b[m\nb\nb\nb\nc"), "a\nb\n[the line above 3 more times]\nc");
}

#[test]
fn long_output_is_head_and_tail_with_the_lines_that_are_left_out() {
    let all = numbered(1..100_001);
    let shown = digest(all.as_bytes()).show(4_000);
    assert!(shown.text.starts_with("line 1\nline 2\n") && shown.text.ends_with("line 99999\nline 100000\n"), "{}", shown.text);
    assert!(shown.text.chars().count() <= 4_000);
    let omitted = shown.omitted.clone().expect("something is left out");
    let marker = shown.text.lines().find(|line| line.starts_with("[...")).expect("a marker");
    assert!(marker.ends_with(&format!("left out: lines {}-{} ...]", omitted.start(), omitted.end())), "{marker}");
    let gone = numbered(u32::try_from(*omitted.start()).unwrap()..u32::try_from(*omitted.end()).unwrap() + 1);
    assert_eq!((gone.len() as u64, gone.lines().count() as u64), (shown.bytes_omitted, shown.lines_omitted));
    assert!(!gone.contains(shown.text.lines().last().expect("a line")));
    let head = shown.text.find("[...").expect("a marker");
    assert!((900..=1000).contains(&head), "a quarter is head: {head}");
}

#[test]
fn the_first_lines_that_look_like_errors_are_quoted_with_their_numbers() {
    let mut all = numbered(1..3_001);
    all.push_str("src/main.rs:1: error: the cause\n");
    all.push_str(&numbered(3_002..9_001));
    all.push_str("error: another\n");
    all.push_str(&numbered(9_002..20_001));
    let shown = digest(all.as_bytes()).show(4_000);
    assert!(
        shown.text.contains("\n[line 3001] src/main.rs:1: error: the cause\n[line 9001] error: another\nline 1"),
        "{}",
        shown.text
    );
    assert!(shown.text.chars().count() <= 4_000);
    // What stands in the tail is not quoted too.
    let last = numbered(1..20_000) + "error: at the end\n";
    assert_eq!(digest(last.as_bytes()).show(4_000).text.matches("error: at the end").count(), 1);
}

#[test]
fn long_lines_are_cut_when_not_everything_fits() {
    let line = "é".repeat(3_000);
    let shown = digest(format!("{line}\n{}", numbered(1..2_000)).as_bytes()).show(4_000);
    let first = shown.text.lines().next().expect("a line");
    assert_eq!(first, format!("{} [... 5.1 KiB of this line left out]", "é".repeat(400)));
    assert_eq!(shown.clipped_lines, 1);
    let endless = "aä€😀".repeat(200_000);
    let shown = digest(endless.as_bytes()).show(64 * 1024);
    assert!(!shown.binary && !shown.text.contains('\u{fffd}') && shown.bytes_omitted as usize >= endless.len() - LINE_BYTES_MAX);
    let coloured = format!("\x1b[1m{}\x1b[m\n", "x".repeat(5_000));
    assert_eq!(text(coloured.as_bytes()).len(), 5_001);
    assert_eq!(text(format!("{}\rab\x1b[K\n", "x".repeat(5_000)).as_bytes()), "ab\n");
}

#[test]
fn what_is_no_text_is_said_and_made_harmless() {
    assert!(digest(b"a\0b").show(400).binary);
    assert!(digest(&[0x80; 100_000]).show(400).binary);
    assert!(!digest("für\n".as_bytes()).show(400).binary);
    assert!(!digest(b"f\xfcr alle, die das lesen\n").show(400).binary);
    assert_eq!(text("a\u{7}b\u{9b}c\u{202e}d\n".as_bytes()), "a\\u{7}b\\u{9b}c\\u{202e}d\n");
    assert_eq!(text("\x1b[ma\u{7}b\u{9b}c\u{202e}d\n".as_bytes()), "a\\u{7}b\\u{9b}c\\u{202e}d\n");
}

#[test]
fn nothing_swallows_the_next_line() {
    assert_eq!(text(b"\x1b]0;title\nafter\n\x1bPq\nmore\n\x1b[12\nlast\n"), "\nafter\n\nmore\n\nlast\n");
}

/// Pieces of output that redraws itself.
fn drawn() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z ]{0,12}".prop_map(String::into_bytes),
        3 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\x08\x08".to_vec()),
        1 => Just(b"\t".to_vec()),
        1 => Just("日\u{301}€".as_bytes().to_vec()),
        1 => Just(b"error: x\n".to_vec()),
        2 => (0u16..70, "[ABCDEFGJKmsuXh]").prop_map(|(count, last)| format!("\x1b[{count}{last}").into_bytes()),
        1 => Just(b"\x1b]0;x\x07".to_vec()),
        1 => Just(b"\x1bM\x1b7\x1b8".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
        1 => Just(numbered(0..300).into_bytes()),
        1 => Just(vec![b'x'; 5_000]),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Text between the markers: what is shown of the stream itself.
fn shown_lines(shown: &Shown) -> Vec<&str> {
    shown.text.lines().filter(|line| !line.starts_with('[')).collect()
}

proptest! {
    #[test]
    fn pieces_make_no_difference(bytes in drawn(), sizes in proptest::collection::vec(1usize..200, 1..8)) {
        assert_same_in_pieces(&bytes, &sizes);
    }

    #[test]
    fn pieces_make_no_difference_for_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..3_000), sizes in proptest::collection::vec(1usize..50, 1..8)) {
        assert_same_in_pieces(&bytes, &sizes);
    }

    #[test]
    fn budgets_and_totals_hold(bytes in drawn(), budget in 400usize..5_000) {
        let shown = digest(&bytes).show(budget);
        prop_assert!(shown.text.chars().count() <= budget, "{} > {budget}", shown.text.chars().count());
        prop_assert_eq!(shown.bytes_total, bytes.len() as u64);
        prop_assert!(shown.bytes_omitted <= shown.bytes_total);
        prop_assert!(shown.lines_omitted <= shown.lines_total);
        let ends = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        prop_assert_eq!(shown.lines_total, ends + u64::from(bytes.last().is_some_and(|last| *last != b'\n')));
        prop_assert!(!shown.text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
    }

    #[test]
    fn plain_lines_are_shown_as_they_are_and_add_up(
        lengths in proptest::collection::vec(0usize..600, 1..400), closed: bool, budget in 400usize..20_000
    ) {
        // Each line is different, so nothing is folded.
        let lines: Vec<String> = lengths.iter().enumerate().map(|(number, length)| format!("{number} {}", "x".repeat(*length))).collect();
        let all = lines.join("\n") + if closed { "\n" } else { "" };
        let shown = digest(all.as_bytes()).show(budget);
        let mut bytes = 0;
        for line in shown_lines(&shown) {
            let kept = line.split(" [... ").next().expect("a first part");
            prop_assert!(lines.iter().any(|whole| whole == kept || (kept.len() < line.len() && whole.starts_with(kept))), "{line}");
            bytes += kept.len() as u64 + 1;
        }
        bytes -= u64::from(!shown.text.ends_with('\n'));
        prop_assert_eq!(bytes + shown.bytes_omitted, all.len() as u64);
        prop_assert_eq!(shown_lines(&shown).len() as u64 + shown.lines_omitted, lines.len() as u64);
    }

    #[test]
    fn memory_is_bounded(bytes in drawn(), times in 1usize..200) {
        let mut digest = Digest::new();
        for _ in 0..times {
            digest.push(&bytes);
        }
        prop_assert!(digest.kept.store.head().map(|(text, _)| text.len()).sum::<usize>() <= HEAD_BYTES + LINE_BYTES_MAX);
        prop_assert!(digest.kept.store.tail().map(|(text, _)| text.len()).sum::<usize>() <= TAIL_BYTES + LINE_BYTES_MAX);
        prop_assert!(digest.live.weight() <= crate::digest::live::WEIGHT_MAX);
    }
}
