//! What an agent says of a file is held to what was asked, and text that is not UTF-8 is named as far as it can be.

use super::*;

fn reading(request: serde_json::Value) -> Reading {
    let request: FileReadRequest = serde_json::from_value(request).expect("a request");
    let mut reading = Reading::new(&SandboxPath::workspace(), &request).expect("a part").0;
    reading.found(100).expect("once");
    reading
}

fn lines(request: &str, content: &str, read: LinesRead) -> Result<FileReadResponse, Violation> {
    let mut reading = reading(serde_json::json!({ "workspace": "w", "path": "f", "lines": request, "numbered": true }));
    reading.content = content.as_bytes().to_vec();
    reading.lines("w", &SandboxPath::workspace(), read)
}

#[test]
fn lines_that_were_not_asked_for_are_refused() {
    let read = |first, total| LinesRead { offset: 0, first, total };
    let told = lines("3-4", "a\nb\n", read(Some(3), Some(9))).expect("it fits");
    assert_eq!((told.content.as_str(), told.first_line, told.numbered), ("3|a\n4|b\n", Some(3), true));
    assert_eq!(lines("-2", "a\nb\n", read(None, None)).expect("it fits").content, "a\nb\n");
    assert!(lines("3-", "", read(Some(3), Some(2))).is_ok());
    for (request, content, read) in [
        ("3-4", "a\nb\n", read(Some(2), None)),
        ("3-4", "a\nb\nc\n", read(Some(3), None)),
        ("3-4", "a\nb\n", read(Some(3), Some(3))),
        ("-1", "a\nb\n", read(Some(1), Some(2))),
        ("3-4", "a\n", read(None, None)),
    ] {
        assert!(lines(request, content, read).is_err(), "{request} {content:?} {read:?}");
    }
}

#[test]
fn a_file_and_a_directory_are_not_mixed() {
    let mut reading = reading(serde_json::json!({ "workspace": "w", "path": "f" }));
    assert!(reading.found(1).is_err());
    assert!(reading.add(&[]).is_err());
    assert!(reading.lines("w", &SandboxPath::workspace(), LinesRead { offset: 0, first: Some(1), total: None }).is_err());
    assert!(reading.listed("w", &SandboxPath::workspace(), Listed { total: 0, more: false }).is_err());
}

#[test]
fn what_is_not_utf8_is_named_by_its_mark_or_its_bytes() {
    for (content, offset, name) in [
        (&b"\xff\xfeh\0"[..], 0, Some("utf-16le")),
        (b"\xfe\xff\0h", 0, Some("utf-16be")),
        (b"\xff\xfeh\0", 7, None),
        (b"caf\xe9\r\n", 0, Some("latin-1")),
        (b"\x89PNG\x1a\xff", 0, None),
    ] {
        assert_eq!(charset(content, offset), name, "{content:?}");
    }
}
