use super::{Size, Terminal};

fn terminal(bytes: &[u8]) -> Terminal {
    let mut terminal = Terminal::new(Size { columns: 20, rows: 5 });
    terminal.feed(bytes);
    terminal
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
}
