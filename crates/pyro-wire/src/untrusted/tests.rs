//! The ways out of `Untrusted`.

use super::*;

#[test]
fn what_could_drive_a_terminal_is_made_visible() {
    let cases = [
        ("plain é 漢 🦦\tx\n", "plain é 漢 🦦\tx\n"),
        ("\u{1b}[31mred", "\\u{1b}[31mred"),
        ("\r\u{8}\u{7}\u{0}", "\\u{d}\\u{8}\\u{7}\\u{0}"),
        ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
        ("\u{202e}gpj.exe\u{2069}", "\\u{202e}gpj.exe\\u{2069}"),
        ("\u{200b}\u{200f}\u{feff}\u{61c}", "\\u{200b}\\u{200f}\\u{feff}\\u{61c}"),
    ];
    for (text, shown) in cases {
        assert_eq!(escape(text), shown);
    }
}

#[test]
fn every_way_out_has_its_rule() {
    let bytes = b"a\xff\x1b".to_vec();
    let untrusted = Untrusted::new(bytes.clone());
    assert_eq!(untrusted.lossy(), "a\u{fffd}\u{1b}");
    assert_eq!(untrusted.escaped(), "a\u{fffd}\\u{1b}");
    assert_eq!(untrusted.raw_ref(), &bytes);
    assert_eq!(untrusted.raw(), bytes);
}
