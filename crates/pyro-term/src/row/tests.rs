use super::Row;

fn row(text: &str) -> Row {
    let mut row = Row::default();
    row.put_ascii(0, text.as_bytes());
    row
}

#[test]
fn overwriting_half_of_a_wide_character_blanks_the_other_half() {
    let mut wide = Row::default();
    wide.put(0, '日', 2);
    wide.put(2, '本', 2);
    assert_eq!((wide.text().as_str(), wide.len()), ("日本", 4));
    let mut left = wide.clone();
    left.put(0, 'a', 1);
    assert_eq!(left.text(), "a 本");
    let mut right = wide.clone();
    right.put(1, 'a', 1);
    assert_eq!(right.text(), " a本");
    let mut both = wide.clone();
    both.put_ascii(1, b"xy");
    assert_eq!(both.text(), " xy");
    wide.cut(3);
    assert_eq!(wide.text(), "日");
}

#[test]
fn combining_characters_go_with_their_cell() {
    let mut row = row("aeo");
    row.combine(2, '\u{301}');
    assert_eq!(row.text(), "ae\u{301}o");
    row.insert(0, 2, 80);
    assert_eq!(row.text(), "  ae\u{301}o");
    row.delete(0, 3);
    assert_eq!(row.text(), "e\u{301}o");
    row.put(0, 'x', 1);
    assert_eq!(row.text(), "xo");
    row.combine(0, '\u{301}');
    row.combine(80, '\u{301}');
    assert_eq!(row.text(), "xo");
}

#[test]
fn a_row_is_as_long_as_was_written_to_it() {
    let mut row = row("abcdef");
    row.erase(2, 4);
    assert_eq!(row.text(), "ab  ef");
    row.truncate(3);
    assert_eq!((row.text().as_str(), row.len()), ("ab", 3));
    row.put_ascii(6, b"z");
    assert_eq!(row.text(), "ab    z");
    row.insert(1, 100, 8);
    assert_eq!(row.len(), 8);
}
