use super::{encode_key, encode_paste};
use crate::Modes;

fn sent(name: &str) -> String {
    String::from_utf8(encode_key(name, Modes::default()).unwrap()).unwrap()
}

#[test]
fn keys_are_sent_as_xterm_sends_them() {
    for (name, bytes) in [
        ("enter", "\r"),
        ("Enter", "\r"),
        ("ctrl-c", "\x03"),
        ("Ctrl+C", "\x03"),
        ("C-c", "\x03"),
        ("^C", "\x03"),
        ("ctrl-\\", "\x1c"),
        ("ctrl-space", "\0"),
        ("ctrl-[", "\x1b"),
        ("alt-x", "\x1bx"),
        ("M-x", "\x1bx"),
        ("alt-enter", "\x1b\r"),
        ("shift-tab", "\x1b[Z"),
        ("backspace", "\x7f"),
        ("up", "\x1b[A"),
        ("ctrl-right", "\x1b[1;5C"),
        ("shift-alt-left", "\x1b[1;4D"),
        ("home", "\x1b[H"),
        ("pgdn", "\x1b[6~"),
        ("Page Down", "\x1b[6~"),
        ("del", "\x1b[3~"),
        ("ctrl-del", "\x1b[3;5~"),
        ("f1", "\x1bOP"),
        ("f12", "\x1b[24~"),
        ("shift-f5", "\x1b[15;2~"),
        ("a", "a"),
        ("-", "-"),
        ("ctrl--", "\x1f"),
        ("ä", "ä"),
    ] {
        if name == "ctrl--" {
            assert!(encode_key(name, Modes::default()).is_err(), "xterm sends nothing for it");
        } else {
            assert_eq!(sent(name), bytes, "{name}");
        }
    }
    let application = Modes { application_cursor: true, ..Modes::default() };
    assert_eq!(encode_key("up", application).unwrap(), b"\x1bOA");
    assert_eq!(encode_key("ctrl-up", application).unwrap(), b"\x1b[1;5A");
}

#[test]
fn a_wrong_name_is_answered_with_near_ones() {
    assert_eq!(encode_key("entr", Modes::default()).unwrap_err().to_string(), "there is no key `entr`; near it are enter, end");
    assert!(encode_key("pagedwn", Modes::default()).unwrap_err().nearest.contains(&"pagedown"));
    assert!(encode_key("crtl-c", Modes::default()).unwrap_err().nearest.contains(&"ctrl-c"));
    assert_eq!(encode_key("what is this", Modes::default()).unwrap_err().nearest, Vec::<&str>::new());
    for wrong in ["", "-", "ctrl-", "hyper-x", "ctrl-enter", "\u{1b}", "ctrl-ä"] {
        if wrong != "-" {
            assert!(encode_key(wrong, Modes::default()).is_err(), "{wrong:?}");
        }
    }
}

#[test]
fn nothing_pasted_ends_the_brackets() {
    let bracketed = Modes { bracketed_paste: true, ..Modes::default() };
    assert_eq!(encode_paste("a\nb\x1b[201~rm", bracketed), b"\x1b[200~a\rb[201~rm\x1b[201~");
    assert_eq!(encode_paste("a\r\nb", Modes::default()), b"a\rb");
}
