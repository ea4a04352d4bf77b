use std::io::Read;

use pyro_wire::Stream;

use super::*;
use crate::supervisor::output::{KEPT_BYTES_MAX, Outputs};

fn all(path: &Path, stream: LogStream) -> String {
    let mut text = String::new();
    open(path, stream).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_was_written_is_read_apart_and_in_the_order_in_which_it_came() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("7");
    assert_eq!(all(&path, LogStream::Both), "", "nothing was written");
    let mut outputs = Outputs::new(Some(path.clone()));
    for (stream, text) in [
        (Stream::Stdout, "a\n"),
        (Stream::Stdout, "b\n"),
        (Stream::Stderr, "x\n"),
        (Stream::Stdout, "c\n"),
        (Stream::Stderr, "y\n"),
    ] {
        outputs.push(stream, text.as_bytes());
    }
    assert_eq!(all(&path, LogStream::Stdout), "a\nb\nc\n");
    assert_eq!(all(&path, LogStream::Stderr), "x\ny\n");
    assert_eq!(all(&path, LogStream::Both), "a\nb\nx\nc\ny\n", "the last run is told by what is left");
    // A supervisor that was killed leaves an order that ends anywhere.
    std::fs::write(file(&path, ORDER), [2, 0, 0, 0, 9]).unwrap();
    assert_eq!(all(&path, LogStream::Both), "a\nb\nc\nx\ny\n");
    std::fs::remove_file(file(&path, ORDER)).unwrap();
    assert_eq!(all(&path, LogStream::Both), "a\nb\nc\nx\ny\n");
}

#[test]
fn beyond_the_cap_it_is_counted_and_what_is_kept_is_a_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("1");
    let mut outputs = Outputs::new(Some(path.clone()));
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..40 {
        outputs.push(Stream::Stdout, &piece);
    }
    outputs.push(Stream::Stderr, b"end\n");
    assert_eq!(outputs.bytes_total(), (40 << 20, 4));
    assert_eq!(outputs.bytes_dropped(), ((40 << 20) - KEPT_BYTES_MAX, 0));
    assert_eq!(file(&path, STDOUT).metadata().unwrap().len(), KEPT_BYTES_MAX);
    assert!(all(&path, LogStream::Both).ends_with("xend\n"));
}

#[test]
fn lines_are_picked_by_number_from_the_end_and_by_what_they_hold() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("1");
    let text: String = (1..=1000).map(|line| format!("line {line}\n")).collect();
    std::fs::write(file(&path, STDOUT), format!("{text}unfinished")).unwrap();
    let pick = |range: Option<&str>, word: Option<&str>| {
        let mut text = String::new();
        let mut last = 0;
        let range = range.map(|range| range.parse().unwrap());
        let holds = |line: &[u8]| word.is_none_or(|word| String::from_utf8_lossy(line).contains(word));
        let picked = pick(
            || open(&path, LogStream::Both),
            range,
            word.is_some().then_some(&holds as Matches<'_>),
            |number, piece| {
                if number != last {
                    text.push_str(&format!("{number}:"));
                    last = number;
                }
                text.push_str(&String::from_utf8_lossy(piece));
            },
        );
        (picked.unwrap(), text)
    };
    let total = |first_line, lines| Picked { lines_total: 1001, first_line, lines };
    assert_eq!(pick(Some("3-4"), None), (total(3, 2), "3:line 3\n4:line 4\n".to_owned()));
    assert_eq!(pick(Some("-2"), None), (total(1000, 2), "1000:line 1000\n1001:unfinished".to_owned()));
    assert_eq!(pick(Some("-5000"), Some("line 77")).0, total(77, 11));
    assert_eq!(pick(Some("1000-"), None).0, total(1000, 2));
    assert_eq!(pick(Some("2000"), None), (total(0, 0), String::new()));
    assert_eq!(pick(None, Some("e 99")).0, total(99, 12));
    assert_eq!(pick(None, Some("fin")), (total(1001, 1), "1001:unfinished".to_owned()));
    // One line of any length is one line: whole when it is read, cut when it is searched.
    std::fs::write(file(&path, STDOUT), ["x".repeat(300_000), "y".to_owned()].join("\n")).unwrap();
    let (picked, text) = pick(None, None);
    assert_eq!((picked.lines_total, picked.lines, text.len()), (2, 2, 300_000 + 1 + 1 + 2 + 2));
    let (picked, text) = pick(None, Some("x"));
    assert_eq!((picked.lines, text.len()), (1, 65_536 + 1 + 2));
}
