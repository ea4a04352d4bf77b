//! Searches: what is found and told, what is left out, and that nothing inside can hold one up.

use std::os::unix::fs::symlink;
use std::path::Path;

use pyro_wire::limits::OUTPUT_CREDIT_BYTES;
use pyro_wire::message::{Failed, FileStep, Search, SearchTell, Selection};
use pyro_wire::search::{Found, SearchAnswer};
use pyro_wire::{Frame, FromAgent, Stream, ToAgent};
use rustix::io::Errno;

use crate::client::{Client, path};

fn asked(at: &Path, pattern: &str) -> Search {
    Search {
        path: path(at.to_str().expect("UTF-8")),
        pattern: pattern.to_owned(),
        fixed: false,
        ignore_case: false,
        multiline: false,
        selection: Selection::default(),
        tell: SearchTell::Lines,
        context: 0,
        limit: 200,
        credit_bytes: OUTPUT_CREDIT_BYTES,
    }
}

fn answer(client: &mut Client, asked: &Search) -> Result<SearchAnswer, FromAgent> {
    let channel = client.open(ToAgent::Search(asked.clone()));
    let mut answer = Vec::new();
    loop {
        match client.receive() {
            Frame::Data { stream: Stream::Content, bytes, .. } => {
                client.send(channel, ToAgent::Credit { bytes: u32::try_from(bytes.len()).expect("a frame") });
                answer.extend(bytes);
            }
            Frame::Control { message: FromAgent::Done, .. } => {
                return Ok(SearchAnswer::from_json(&answer, asked).expect("an answer to it"));
            }
            Frame::Control { message, .. } => return Err(message),
            other => panic!("{other:?}"),
        }
    }
}

fn found(client: &mut Client, asked: &Search) -> Found {
    match answer(client, asked).expect("it searches") {
        SearchAnswer::Found(found) => found,
        other => panic!("{other:?}"),
    }
}

/// `path:line` of all that is told.
fn places(found: &Found) -> Vec<String> {
    let of = |file: &pyro_wire::search::FoundFile| {
        let path = file.path.as_ref().map_or(Vec::new(), |path| path.to_vec().expect("bytes"));
        let path = String::from_utf8_lossy(&path).into_owned();
        if file.lines.is_empty() { vec![path] } else { file.lines.iter().map(|line| format!("{path}:{}", line.number)).collect() }
    };
    found.files.iter().flat_map(of).collect()
}

fn write(at: &Path, name: &str, content: impl AsRef<[u8]>) {
    let file = at.join(name);
    std::fs::create_dir_all(file.parent().expect("a directory")).expect("writable");
    std::fs::write(file, content).expect("writable");
}

#[test]
fn lines_are_told_by_path_with_their_places() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    write(at, "b.txt", "one\ntwo needle\nthree\nneedle needle\n");
    write(at, "a/z", "needle\r\n");
    write(at, "a.x", "no\nNEEDLE\n");
    let mut client = Client::new();
    let all = found(&mut client, &asked(at, "needle"));
    assert_eq!(places(&all), ["a/z:1", "b.txt:2", "b.txt:4"]);
    let line = &all.files[1].lines[0];
    assert_eq!((line.column, line.text.as_str(), all.files[0].lines[0].text.as_str()), (5, "two needle", "needle"));
    assert_eq!((all.files_total, all.lines_total, all.searched, all.binary, all.unread), (2, 3, 3, 0, 0));
    let ignoring_case = found(&mut client, &Search { ignore_case: true, ..asked(at, "^NEEDLE$") });
    assert_eq!(places(&ignoring_case), ["a.x:2"], "a carriage return is a part of its line");
    let with_context = found(&mut client, &Search { context: 1, limit: 2, ..asked(at, "needle") });
    assert_eq!(places(&with_context), ["a/z:1", "b.txt:1", "b.txt:2", "b.txt:3"]);
    assert_eq!(with_context.lines_total, 3);
    let files = found(&mut client, &Search { tell: SearchTell::Files, limit: 1, ..asked(at, "needle") });
    assert_eq!((places(&files), files.files_total), (vec!["a/z".to_owned()], 2));
    let counts = found(&mut client, &Search { tell: SearchTell::Counts, ..asked(at, "needle") });
    assert_eq!(counts.files.iter().map(|file| file.matching).collect::<Vec<_>>(), [1, 2]);
    let over_lines = found(&mut client, &Search { multiline: true, ..asked(at, "needle\nthree") });
    assert_eq!(places(&over_lines), ["b.txt:2", "b.txt:3"]);
    let fixed = found(&mut client, &Search { fixed: true, ..asked(at, "n..dle") });
    assert_eq!((fixed.files_total, fixed.searched), (0, 3));
    let one = found(&mut client, &asked(&at.join("b.txt"), "two"));
    assert_eq!((places(&one), one.searched), (vec![":2".to_owned()], 1));
    assert_eq!(
        answer(&mut client, &asked(&at.join("nothing"), "x")),
        Err(FromAgent::Failed(Failed { errno: Errno::NOENT.raw_os_error(), step: FileStep::Open }))
    );
}

#[test]
fn globs_hidden_files_and_ignore_files_decide_what_is_searched() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    for name in ["src/a.rs", "src/b.py", "target/a.rs", ".hidden/a.rs", "src/deep/er/c.rs", "kept.log", "x.log", "sub/y.log"] {
        write(at, name, "needle\n");
    }
    write(at, ".gitignore", "target\n*.log\n!kept.log\n");
    write(at, "sub/.ignore", "!y.log\n");
    let mut client = Client::new();
    let mut of = |below: &str, globs: &[&str], hidden, ignored| {
        let selection = Selection { globs: globs.iter().map(|glob| (*glob).to_owned()).collect(), hidden, ignored };
        places(&found(&mut client, &Search { selection, tell: SearchTell::Files, ..asked(&at.join(below), "needle") }))
    };
    assert_eq!(of("", &[], false, false), ["kept.log", "src/a.rs", "src/b.py", "src/deep/er/c.rs", "sub/y.log"]);
    assert_eq!(of("", &["**/*.rs"], false, false), ["src/a.rs", "src/deep/er/c.rs"]);
    assert_eq!(of("", &["*.rs", "!deep"], false, false), ["src/a.rs"]);
    assert_eq!(of("", &["src/*"], false, false), ["src/a.rs", "src/b.py"]);
    assert_eq!(of("", &["*.{rs,log}"], true, true).len(), 7);
    assert_eq!(of("src/deep", &[], false, false), ["er/c.rs"]);
    std::fs::create_dir(at.join(".git")).expect("writable");
    write(at, "src/deep/z.log", "needle\n");
    assert_eq!(of("src/deep", &[], false, false), ["er/c.rs"], "files above count in a work tree");
}

#[test]
fn nothing_inside_holds_a_search_up_or_leads_it_away() {
    let outside = tempfile::tempdir().expect("a directory");
    write(outside.path(), "secret", "needle\n");
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    symlink(outside.path(), at.join("way")).expect("writable");
    symlink(outside.path().join("secret"), at.join("file")).expect("writable");
    symlink(".", at.join("round")).expect("writable");
    rustix::fs::mkfifoat(rustix::fs::CWD, at.join("pipe"), rustix::fs::Mode::RUSR).expect("mkfifo");
    let _socket = std::os::unix::net::UnixListener::bind(at.join("socket")).expect("writable");
    write(at, "binary", b"needle\n\0needle\n");
    write(at, "long", [vec![b'x'; 700], b"needle".to_vec(), vec![b'y'; 5000]].concat());
    write(at, "latin", b"caf\xe9 needle\n");
    // A line that is longer than is searched, all hole.
    let huge = std::fs::File::create(at.join("huge")).expect("writable");
    huge.set_len(8 << 30).expect("sparse");
    write(at, "utf16", "\u{feff}needle\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    std::fs::write(at.join("many"), "x".repeat(33 << 20)).expect("writable");
    let mut client = Client::new();
    let all = found(&mut client, &asked(at, "needle"));
    assert_eq!(places(&all), ["latin:1", "long:1", "utf16:1"]);
    assert_eq!((all.binary, all.unread), (2, 1), "{all:?}");
    let long = &all.files[1].lines[0];
    assert!(long.cut && long.column == 701 && long.text.contains("xneedley") && long.text.len() <= 500, "{long:?}");
    assert_eq!(all.files[0].lines[0].text, "caf\u{fffd} needle");
}

#[test]
fn a_wide_directory_is_shared_and_the_answer_is_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    for number in 0..3000 {
        write(at, &format!("f{number:04}"), format!("{number}\nneedle\n"));
    }
    let mut client = Client::new();
    let first = found(&mut client, &Search { limit: 50, ..asked(at, "needle") });
    assert_eq!((first.files.len(), first.files_total, first.searched), (50, 3000, 3000));
    assert_eq!(places(&first)[49], "f0049:2");
    for _ in 0..5 {
        assert_eq!(found(&mut client, &Search { limit: 50, ..asked(at, "needle") }), first);
    }
}

#[test]
fn what_is_no_pattern_or_glob_is_said_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut client = Client::new();
    for (pattern, says) in
        [("a(b", "unclosed group"), ("[z-a]", "invalid character class range"), ("a\\nb", "\\n"), ("(\\w{900}){900}", "size")]
    {
        match answer(&mut client, &asked(directory.path(), pattern)).expect("it answers") {
            SearchAnswer::BadPattern(why) => assert!(why.contains(says) && !why.contains('\n'), "{pattern}: {why:?}"),
            other => panic!("{pattern}: {other:?}"),
        }
    }
    let selection = Selection { globs: vec!["a[".to_owned()], ..Selection::default() };
    match answer(&mut client, &Search { selection, ..asked(directory.path(), "x") }).expect("it answers") {
        SearchAnswer::BadGlob(why) => assert!(why.contains("a["), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_search_that_is_taken_back_ends_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    // Slow: no engine but the slowest takes it, and nothing is ever found.
    for number in 0..8 {
        write(at, &format!("{number}"), "abcdefgh ".repeat(1 << 20));
    }
    let mut client = Client::new();
    let channel = client.open(ToAgent::Search(asked(at, "(\\w.{0,300}){20}never")));
    client.send(channel, ToAgent::Kill);
    let cancelled = FromAgent::Failed(Failed { errno: Errno::CANCELED.raw_os_error(), step: FileStep::Read });
    assert_eq!(client.message(channel), cancelled);
}
