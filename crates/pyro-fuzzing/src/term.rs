//! What commands write, and names of keys.

use pyro_term::limits::{
    COLUMNS_MAX, COMMANDS_MAX, REPLY_BYTES_MAX, ROWS_MAX, TITLE_CHARS_MAX, UNREAD_BYTES_MAX, UNREAD_LINE_BYTES_MAX,
};
use pyro_term::{Digest, Size, Terminal, encode_key, encode_paste, stored};

use crate::input::{numbers, parts, pieces};

/// The first byte is the size of the pieces. Each part of the rest begins with a size of the screen, in columns and rows; behind it is what is written, and what is then
/// typed by name and pasted. It is all the same in which pieces it comes.
pub fn screen(bytes: &[u8]) {
    let ([size], bytes) = numbers(bytes);
    let (mut whole, mut in_pieces) = (Terminal::new(Size { columns: 20, rows: 5 }), Terminal::new(Size { columns: 20, rows: 5 }));
    for part in parts(bytes) {
        let ([columns, rows], text) = numbers(part);
        let size_of_screen = Size { columns: u16::from(columns), rows: u16::from(rows) };
        whole.resize(size_of_screen);
        in_pieces.resize(size_of_screen);
        whole.feed(text);
        pieces(text, size).for_each(|piece| in_pieces.feed(piece));
        let screen = whole.screen();
        assert_eq!(screen, in_pieces.screen());
        assert_eq!(screen.lines.len(), usize::from(size_of_screen.rows.clamp(1, ROWS_MAX)));
        assert!(
            screen.cursor_row < screen.lines.len()
                && screen.cursor_column < usize::from(size_of_screen.columns.clamp(1, COLUMNS_MAX))
        );
        assert!(!screen.lines.iter().any(|line| line.chars().any(char::is_control)), "{screen:?}");
        assert!(screen.title.chars().count() <= TITLE_CHARS_MAX && !screen.title.chars().any(char::is_control), "{screen:?}");
        let fresh = whole.take_text();
        assert_eq!(fresh, in_pieces.take_text());
        assert!(fresh.text.len() <= UNREAD_BYTES_MAX + 2 * UNREAD_LINE_BYTES_MAX, "{} bytes", fresh.text.len());
        assert!(!acts(&fresh.text) && !acts(&fresh.unfinished), "{fresh:?}");
        let replies = whole.take_replies();
        assert!(replies.len() <= REPLY_BYTES_MAX, "{} bytes", replies.len());
        assert_eq!(replies, in_pieces.take_replies());
        assert_eq!(whole.commands(), in_pieces.commands());
        assert!(whole.commands().len() <= COMMANDS_MAX);
        assert_eq!(
            (whole.modes(), whole.bells(), whole.is_at_prompt()),
            (in_pieces.modes(), in_pieces.bells(), in_pieces.is_at_prompt())
        );
        keys(&whole, &String::from_utf8_lossy(text));
    }
}

/// A control other than line ends and tabs.
fn acts(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'))
}

fn keys(terminal: &Terminal, text: &str) {
    match encode_key(text, terminal.modes()) {
        Ok(bytes) => assert!((1..=16).contains(&bytes.len()), "{text:?} is sent as {bytes:?}"),
        Err(unknown) => {
            assert!(!acts(&unknown.to_string()) && unknown.name.chars().count() <= 400, "{unknown:?}");
        }
    }
    let pasted = encode_paste(text, terminal.modes());
    if terminal.modes().bracketed_paste {
        let inner = pasted.strip_prefix(b"\x1b[200~").and_then(|rest| rest.strip_suffix(b"\x1b[201~")).expect("brackets");
        assert!(!String::from_utf8_lossy(inner).contains("\x1b[201~"), "{text:?} ends its own brackets");
    }
}

/// The first two bytes are the size of the pieces and of what is to be shown. What is shown of a stream is the same in whatever pieces it comes, within its budget, and acts
/// on no terminal; reading it again from where it was stored is bounded the same way.
pub fn digest(bytes: &[u8]) {
    let ([size, budget], stream) = numbers(bytes);
    let (mut whole, mut in_pieces) = (Digest::new(), Digest::new());
    whole.push(stream);
    pieces(stream, size).for_each(|piece| in_pieces.push(piece));
    let extent = stored::extent(stream).expect("a slice can be read");
    for budget in [usize::from(budget) * 16, 64 * 1024] {
        let shown = whole.show(budget);
        assert_eq!(shown, in_pieces.show(budget));
        assert!(shown.text.chars().count() <= budget.max(400), "{} characters of {budget}", shown.text.chars().count());
        assert!(!acts(&shown.text) && !shown.unfinished.as_deref().is_some_and(acts), "{shown:?}");
        assert_eq!((shown.bytes_total, shown.lines_total), (extent.bytes, extent.lines));
        assert!(shown.bytes_omitted <= shown.bytes_total && shown.lines_omitted <= shown.lines_total, "{shown:?}");

        let first = u64::from(size);
        let window = stored::window(stream, first..=first + 20, budget).expect("a slice can be read");
        assert!(window.text.chars().count() <= budget.max(400) && !acts(&window.text), "{window:?}");
        assert!(
            window.lines.as_ref().is_none_or(|lines| *lines.start() == first.max(1) && *lines.end() <= extent.lines),
            "{window:?}"
        );
    }
    let found = stored::search(stream, 1, 5, |line| line.contains('e')).expect("a slice can be read");
    assert!(found.hits.len() <= 5 && found.hits.len() as u64 <= found.hits_total && found.lines_total == extent.lines, "{found:?}");
    assert!(!found.hits.iter().any(|hit| acts(&hit.text)), "{found:?}");
}
