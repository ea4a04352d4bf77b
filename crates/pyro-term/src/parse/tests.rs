use super::{Csi, Parser, Perform};
use crate::limits::OSC_BYTES_MAX;

/// What was asked for, in words.
#[derive(Default)]
struct Log(Vec<String>);

impl Perform for Log {
    fn print(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(last) if last.starts_with("print ") => last.push_str(text),
            _ => self.0.push(format!("print {text}")),
        }
    }
    fn control(&mut self, control: u8) {
        self.0.push(format!("control {control:#x}"));
    }
    fn csi(&mut self, csi: &Csi) {
        let private = if csi.private == 0 { ' ' } else { char::from(csi.private) };
        let between = if csi.intermediate == 0 { ' ' } else { char::from(csi.intermediate) };
        self.0.push(format!("csi{private}{:?}{between}{}", csi.numbers(), char::from(csi.last)));
    }
    fn escape(&mut self, intermediate: u8, last: u8) {
        self.0.push(format!("escape {intermediate:#x} {}", char::from(last)));
    }
    fn osc(&mut self, text: &[u8]) {
        self.0.push(format!("osc {}", String::from_utf8_lossy(text)));
    }
}

/// What is asked for, the same whole and byte by byte.
#[track_caller]
fn asked(bytes: &[u8]) -> Vec<String> {
    let (mut whole, mut single) = (Log::default(), Log::default());
    Parser::default().feed(bytes, &mut whole);
    let mut parser = Parser::default();
    for byte in bytes {
        parser.feed(&[*byte], &mut single);
    }
    assert_eq!(whole.0, single.0);
    whole.0
}

#[test]
fn text_controls_and_sequences_are_told_apart() {
    assert_eq!(
        asked(b"a\xc3\xa4\r\x1b[1;31mb\x1b[?25l\x1b[K\x1b(0\x1b7\x1b[6 q"),
        [
            "print aä",
            "control 0xd",
            "csi [1, 31] m",
            "print b",
            "csi?[25] l",
            "csi [0] K",
            "escape 0x28 0",
            "escape 0x0 7",
            "csi [6] q"
        ]
    );
}

#[test]
fn strings_end_at_bel_st_or_any_escape() {
    assert_eq!(
        asked(b"\x1b]0;t\x07x\x1b]2;u\x1b\\y\x1bPq#\n\x07\x1b\\z"),
        ["osc 0;t", "print x", "osc 2;u", "escape 0x0 \\", "print y", "escape 0x0 \\", "print z"]
    );
    assert_eq!(asked(b"\x1b]0;broken off\x18x"), ["print x"]);
}

#[test]
fn what_is_too_long_or_malformed_is_left_out_whole() {
    let mut long = b"\x1b]0;".to_vec();
    long.extend(vec![b'x'; OSC_BYTES_MAX]);
    long.extend(b"\x07after");
    assert_eq!(asked(&long), ["print after"]);
    assert_eq!(asked(b"\x1b[1?2mx"), ["print x"]);
    assert_eq!(asked(b"\x1b[99999999ax"), ["csi [65535] a", "print x"]);
    let many = format!("\x1b[{}5mx", "1;".repeat(100));
    assert_eq!(asked(many.as_bytes()).len(), 2);
}

#[test]
fn controls_inside_a_sequence_are_done_and_it_goes_on() {
    assert_eq!(asked(b"\x1b[1\r;2Hx"), ["control 0xd", "csi [1, 2] H", "print x"]);
}

#[test]
fn broken_utf8_is_replaced_as_the_standard_library_does() {
    for bytes in
        [&b"\xff\xfe"[..], b"a\xe2\x82", b"\xe2\x82\xac\xe2\x82x", b"\xf0\x9f\x98\x80\xf0\x9f", b"\xed\xa0\x80", b"\xc3\xc3\xa4"]
    {
        let mut with_end = bytes.to_vec();
        with_end.push(b'\r');
        let lossy = String::from_utf8_lossy(bytes);
        assert_eq!(asked(&with_end), [format!("print {lossy}"), "control 0xd".to_owned()]);
    }
}
