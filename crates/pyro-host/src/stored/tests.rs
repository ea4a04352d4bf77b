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
fn lines_are_copied_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("1");
    let text: String = (1..=1000).map(|line| format!("line {line}\r\n")).collect();
    std::fs::write(file(&path, STDOUT), format!("{text}{}", "x".repeat(300_000))).unwrap();
    let copied = |range: &str| {
        let extent = pyro_term::stored::extent(open(&path, LogStream::Both).unwrap()).unwrap();
        let mut text = String::new();
        let lines = lines(range.parse().unwrap(), extent);
        copy(open(&path, LogStream::Both).unwrap(), &lines, &mut |piece| text.push_str(&String::from_utf8_lossy(piece))).unwrap();
        text
    };
    assert_eq!(copied("3-4"), "line 3\r\nline 4\r\n");
    assert_eq!(copied("1000"), "line 1000\r\n");
    assert_eq!(copied("-1").len(), 300_000);
    assert_eq!(copied("1001-").len(), 300_000);
    assert_eq!(copied("2000-"), "");
    assert_eq!(copied("-5000").len(), text.len() + 300_000);
}
