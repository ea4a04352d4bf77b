use proptest::prelude::*;

use super::{Size, Terminal};
use crate::limits::{
    COMMANDS_MAX, HISTORY_CELLS_MAX, REPLY_BYTES_MAX, TITLE_CHARS_MAX, UNREAD_BYTES_MAX, UNREAD_LINE_BYTES_MAX, UNREAD_LINES_MAX,
};

const SIZE: Size = Size { columns: 20, rows: 5 };

fn terminal(bytes: &[u8]) -> Terminal {
    let mut terminal = Terminal::new(SIZE);
    terminal.feed(bytes);
    terminal
}

#[track_caller]
fn assert_screen(bytes: &[u8], lines: &[&str]) {
    assert_eq!(terminal(bytes).screen().lines.join("\n").trim_end(), lines.join("\n"));
}

#[test]
fn text_is_given_once() {
    let mut t = terminal(b"one\r\ntwo\r\n$ ");
    let fresh = t.take_text();
    assert_eq!((fresh.text.as_str(), fresh.unfinished.as_str(), fresh.unfinished_is_new), ("one\ntwo\n", "$", true));
    let fresh = t.take_text();
    assert_eq!((fresh.text.as_str(), fresh.unfinished.as_str(), fresh.unfinished_is_new), ("", "$", false));
    t.feed(b"ls\r\na b\r\n$ ");
    assert_eq!(t.take_text().text, "$ ls\na b\n");
    // A line that was shown before it was finished is not shown again.
    t.feed(b"\r\nx\r\n");
    assert_eq!(t.take_text().text, "x\n");
    // Nor one that is drawn again as it was.
    t.feed(b"\x1b[A\rx\r\n");
    assert_eq!(t.take_text().text, "");
    t.feed(b"\x1b[A\ry\r\n");
    assert_eq!(t.take_text().text, "y\n");
}

#[test]
fn wrapped_lines_are_whole_wherever_they_are() {
    let mut t = terminal(b"0123456789012345678901234\r\n");
    assert_eq!(t.take_text().text, "0123456789012345678901234\n");
    t.feed("é".repeat(300).as_bytes());
    let fresh = t.take_text();
    assert_eq!((fresh.text.as_str(), fresh.unfinished), ("", "é".repeat(300)));
    t.feed(b"end\r\n\r\nnext\r\n");
    assert_eq!(t.take_text().text, "é".repeat(300) + "end\n\nnext\n");
}

#[test]
fn lines_that_nobody_takes_are_dropped_and_counted() {
    let mut t = Terminal::new(SIZE);
    (0..20_000).for_each(|line| t.feed(format!("{line}\r\n").as_bytes()));
    let fresh = t.take_text();
    assert_eq!(fresh.text.lines().count() as u64 + fresh.lines_dropped, 20_000);
    assert!(fresh.text.ends_with("\n19999\n") && fresh.lines_dropped >= 9_990);
}

#[test]
fn a_program_with_the_whole_screen_is_shown_as_a_screen() {
    let mut t = terminal(b"before\r\n\x1b[?1049h\x1b[2J\x1b[3;3Hhello\x1b]0;an editor\x07");
    let fresh = t.take_text();
    let screen = fresh.screen.expect("the alternate screen");
    assert_eq!(
        (fresh.text.as_str(), screen.lines[2].as_str(), screen.alternate, screen.title.as_str()),
        ("before\n", "  hello", true, "an editor")
    );
    assert_eq!((screen.cursor_row, screen.cursor_column), (2, 7));
    t.feed(b"\x1b[?1049lafter\r\n");
    let fresh = t.take_text();
    assert_eq!((fresh.text.as_str(), fresh.screen), ("after\n", None));
}

#[test]
fn a_title_has_its_limit_as_it_is_shown() {
    let title = |bytes: &[u8]| terminal(&[b"\x1b]2;", bytes, b"\x07"].concat()).screen().title;
    assert_eq!(title(b"an\x7f\xff").as_str(), "an\\u{7f}\u{fffd}");
    for long in [b"x".repeat(4000), b"\x7f".repeat(4000), "\u{202e}".repeat(1000).into_bytes()] {
        assert_eq!(title(&long).chars().count(), TITLE_CHARS_MAX);
    }
}

#[test]
fn a_screen_that_is_cleared_was_text() {
    let mut t = terminal(b"one\r\ntwo\r\n\x1b[H\x1b[2J\x1b[3Jthree\r\n");
    assert_eq!(t.take_text().text, "one\ntwo\nthree\n");
}

#[test]
fn programs_are_answered() {
    assert_eq!(terminal(b"ab\x1b[6n\x1b[5n").take_replies(), b"\x1b[1;3R\x1b[0n");
    assert_eq!(terminal(b"\x1b[c\x1b[>c").take_replies(), b"\x1b[?1;2c\x1b[>0;10;0c");
    assert_eq!(
        terminal(b"\x1b[?2004h\x1b[?2004$p\x1b[?2026$p\x1b[?7$p").take_replies(),
        b"\x1b[?2004;1$y\x1b[?2026;0$y\x1b[?7;1$y"
    );
    assert_eq!(terminal(b"\x1b[18t\x1b[>q").take_replies(), b"\x1b[8;5;20t\x1bP>|pyro\x1b\\");
    let mut many = terminal(&b"\x1b[6n".repeat(100_000));
    assert!(many.take_replies().len() <= REPLY_BYTES_MAX && many.take_replies().is_empty());
}

#[test]
fn modes_and_bells_are_known() {
    let t = terminal(b"\x1b[?1h\x1b[?2004h\x1b[?25l\x07\x07");
    assert!(t.modes().application_cursor && t.modes().bracketed_paste && !t.modes().cursor_visible && !t.screen().cursor_visible);
    assert_eq!(t.bells(), 2);
}

#[test]
fn sequences_that_recordings_do_not_have() {
    assert_screen(b"\x1b(0lqk\x1b(B x", &["┌─┐ x"]);
    assert_screen(b"\x1b)0\x0eq\x0fq", &["─q"]);
    assert_screen(b"abc\x1b[4h\x1b[1GXY\x1b[4lZ", &["XYZbc"]);
    assert_screen(b"a\x1b[3bc", &["aaaac"]);
    assert_screen(b"\x1b[2;4r\x1b[?6h\x1b[1;1Ha\x1b[9;1Hb", &["", "a", "", "b"]);
    assert_screen(b"one\x1b7\x1b[3;3Hx\x1b8two", &["onetwo", "", "  x"]);
    assert_screen(b"\x1b[5C\x1bH\x1b[3g\r\tx", &["                   x"]);
    assert_screen(b"a\tb\x1b[Zc", &["a       c"]);
    assert_screen("12345678901234567890\x08x".as_bytes(), &["123456789012345678x0"]);
    assert_screen("1234567890123456789日".as_bytes(), &["1234567890123456789", "日"]);
    assert_screen(b"gone\x1bcnew", &["new"]);
    assert_screen(b"\x1b[31;4", &[]);
}

#[test]
fn what_marks_say_is_kept_within_bounds() {
    let mut t = terminal(b"\x1b]633;A\x07$ \x1b]633;B\x07ls\x1b]633;E;ls\\x3b -l;nonce\x07\r\n\x1b]633;C\x07out");
    let running = t.commands();
    assert_eq!((running[0].line.as_deref(), running[0].output.as_str(), running[0].finished), (Some("ls; -l"), "out", false));
    t.feed(b"\r\n\x1b]633;D;7\x07");
    assert_eq!((t.commands()[0].output.as_str(), t.commands()[0].exit), ("out\n", Some(7)));
    for _ in 0..100 {
        t.feed(b"\x1b]133;C\x07x\x1b]133;D\x07");
    }
    assert_eq!((t.commands().len(), t.commands().last().and_then(|last| last.exit)), (COMMANDS_MAX, None));
    // Output that went too far up has lost its beginning.
    t.feed(b"\x1b]133;C\x07first\r\n");
    (0..10_000).for_each(|line| t.feed(format!("{line}\r\n").as_bytes()));
    t.feed(b"\x1b]133;D;0\x07");
    let last = t.commands().pop().expect("a command");
    assert!(last.is_cut && last.output.ends_with("\n9999\n") && !last.output.contains("first"));
}

/// Pieces of what programs write to terminals.
fn drawn() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z ]{0,30}".prop_map(String::into_bytes),
        2 => Just(b"\r\n".to_vec()),
        1 => proptest::sample::select(vec!["\n", "\r", "\x08", "\t", "\x0e", "\x0f", "日本", "e\u{301}\u{302}", "😀", "\u{200d}", "\u{9b}"]).prop_map(|text| text.as_bytes().to_vec()),
        4 => (0u16..30, 0u16..30, "[@A-Za-z`]").prop_map(|(first, second, last)| format!("\x1b[{first};{second}{last}").into_bytes()),
        1 => (0u16..=u16::MAX, "[@A-Za-z`]").prop_map(|(first, last)| format!("\x1b[{first}{last}").into_bytes()),
        2 => (proptest::sample::select(vec![1, 6, 7, 25, 47, 1047, 1048, 1049, 2004]), "[hl]").prop_map(|(mode, last)| format!("\x1b[?{mode}{last}").into_bytes()),
        1 => "[78DEHMc=>]".prop_map(|last| format!("\x1b{last}").into_bytes()),
        1 => "[ABCD]".prop_map(|mark| format!("\x1b]133;{mark}\x07").into_bytes()),
        1 => Just(b"\x1b(0\x1b#8\x1b[4h".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

fn sizes() -> impl Strategy<Value = Size> {
    (1u16..40, 1u16..12).prop_map(|(columns, rows)| Size { columns, rows })
}

proptest! {
    #[test]
    fn pieces_make_no_difference(bytes in drawn(), pieces in proptest::collection::vec(1usize..30, 1..8)) {
        let mut whole = terminal(&bytes);
        let mut parts = Terminal::new(SIZE);
        let (mut rest, mut pieces) = (bytes.as_slice(), pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*pieces.next().unwrap_or(&1)).min(rest.len()));
            parts.feed(piece);
            rest = after;
        }
        prop_assert_eq!(whole.screen(), parts.screen());
        prop_assert_eq!(whole.commands(), parts.commands());
        prop_assert_eq!(whole.take_text(), parts.take_text());
        prop_assert_eq!(whole.take_replies(), parts.take_replies());
    }

    #[test]
    fn any_bytes_at_any_size_leave_a_screen_of_that_size(parts in proptest::collection::vec((drawn(), sizes()), 1..6)) {
        let mut t = Terminal::new(SIZE);
        for (bytes, size) in parts {
            t.feed(&bytes);
            t.take_text();
            t.resize(size);
            let screen = t.screen();
            prop_assert_eq!(screen.lines.len(), usize::from(size.rows));
            prop_assert!(screen.cursor_row < usize::from(size.rows) && screen.cursor_column < usize::from(size.columns));
            prop_assert!(t.board.page.lines.iter().all(|line| line.row.len() <= usize::from(size.columns)));
            prop_assert!(t.board.text_page().lines.iter().all(|line| line.row.len() <= usize::from(size.columns)));
            prop_assert!(!screen.lines.iter().any(|line| line.chars().any(char::is_control)));
        }
    }

    #[test]
    fn memory_is_bounded(bytes in drawn(), times in 1usize..300) {
        let mut t = Terminal::new(SIZE);
        (0..times).for_each(|_| t.feed(&bytes));
        let (lines, weight, cells) = t.board.unread.weight();
        prop_assert!(lines <= UNREAD_LINES_MAX && weight <= UNREAD_BYTES_MAX + 2 * UNREAD_LINE_BYTES_MAX && cells <= HISTORY_CELLS_MAX);
        prop_assert!(t.board.replies.len() <= REPLY_BYTES_MAX);
    }

    #[test]
    fn plain_lines_come_out_as_they_went_in(lines in proptest::collection::vec("[!-~]{0,60}", 0..40), often: bool) {
        let mut t = Terminal::new(SIZE);
        let mut text = String::new();
        for line in &lines {
            t.feed(line.as_bytes());
            t.feed(b"\r\n");
            if often {
                text.push_str(&t.take_text().text);
            }
        }
        text.push_str(&t.take_text().text);
        prop_assert_eq!(text, lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }
}
