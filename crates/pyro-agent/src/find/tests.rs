//! The order of candidates, and files that are not what they seem.

use super::*;

fn found(program: &str, env: &[&str]) -> Vec<String> {
    let env: Vec<String> = env.iter().map(|variable| (*variable).to_owned()).collect();
    candidates(program, &env).into_iter().map(|path| path.into_string().expect("UTF-8")).collect()
}

#[test]
fn candidates_are_in_the_order_of_the_path() {
    assert_eq!(found("x", &["PATH=/a:/b"]), ["/a/x", "/b/x"]);
    assert_eq!(found("x", &["PATH=:/b:"]), ["./x", "/b/x", "./x"]);
    assert_eq!(found("x", &["NOTPATH=/a"]), ["/bin/x", "/usr/bin/x"]);
    assert_eq!(found("x", &["PATH=/first", "PATH=/second"]), ["/first/x"]);
    assert_eq!(found("./x", &["PATH=/a"]), ["./x"]);
    assert_eq!(found("", &["PATH=/a"]), [""; 0]);
}

#[test]
fn a_strange_file_has_no_interpreter_and_does_no_harm() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    let mut cut = std::fs::read("/bin/true").expect("readable");
    cut.truncate(64);
    let mut huge = cut.clone();
    // Table offset and entry count as large as they can be.
    huge[32..40].fill(0xff);
    huge[54..58].fill(0xff);
    let cases: [(&[u8], Option<&str>); 8] = [
        (b"", None),
        (b"#!", None),
        (b"#!   \n", None),
        (b"#! /bin/sh -e\n", Some("/bin/sh")),
        (b"#!/bin/sh", Some("/bin/sh")),
        (b"\x7fELF", None),
        (&cut, None),
        (&huge, None),
    ];
    for (content, expected) in cases {
        std::fs::write(&file, content).expect("writable");
        assert_eq!(interpreter(&file), expected.map(PathBuf::from), "{content:?}");
    }
    assert_eq!(interpreter(Path::new("/dev/zero")), None);
    assert!(interpreter(Path::new("/bin/true")).is_some_and(|loader| loader.exists()));
}
