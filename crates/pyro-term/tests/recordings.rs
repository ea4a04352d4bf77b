//! Recordings of real programs on a terminal: the screen is what tmux shows for the same bytes, and the text is as short as what there is to read.
//!
//! `tests/recordings/record.py record` makes recordings, `tests/recordings/record.py expect` asks tmux again.

use std::fs;
use std::path::{Path, PathBuf};

use pyro_term::{Digest, Size, Terminal};

/// One recording.
struct Recording {
    name: String,
    bytes: Vec<u8>,
    /// What tmux shows at the end.
    screen: String,
    size: Size,
    /// Sizes that it changes to, each after so many bytes.
    changes: Vec<(usize, Size)>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

fn size(text: &str) -> Size {
    let (columns, rows) = text.split_once('x').expect("COLUMNSxROWS");
    Size { columns: columns.parse().expect("a number"), rows: rows.parse().expect("a number") }
}

fn recordings() -> Vec<Recording> {
    let list = fs::read_to_string(folder().join("recordings.txt")).expect("the list of recordings");
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().expect("a name").to_owned();
            let first = size(words.next().expect("a size"));
            let change = |word: &str| {
                let (at, to) = word.split_once(':').expect("BYTES:COLUMNSxROWS");
                (at.parse().expect("a number"), size(to))
            };
            let bytes = fs::read(folder().join(format!("{name}.term"))).expect("its bytes");
            let screen = fs::read_to_string(folder().join(format!("{name}.screen"))).expect("its screen");
            Recording { bytes, screen, size: first, changes: words.map(change).collect(), name }
        })
        .collect()
}

/// The terminal after a recording, fed in pieces of at most so many bytes.
fn played(recording: &Recording, piece_bytes: usize) -> Terminal {
    let mut terminal = Terminal::new(recording.size);
    let mut at = 0;
    for (end, size) in recording.changes.iter().copied().map(|(end, size)| (end, Some(size))).chain([(recording.bytes.len(), None)]) {
        recording.bytes[at..end].chunks(piece_bytes).for_each(|piece| terminal.feed(piece));
        if let Some(size) = size {
            terminal.resize(size);
        }
        at = end;
    }
    terminal
}

fn named(name: &str) -> Recording {
    recordings().into_iter().find(|recording| recording.name == name).expect("a recording of that name")
}

#[test]
fn screens_are_as_tmux_shows_them() {
    let mut different = Vec::new();
    for recording in recordings() {
        let ours = played(&recording, usize::MAX).screen().lines.join("\n");
        if ours.trim_end() != recording.screen.trim_end() {
            let pairs = ours.lines().zip(recording.screen.lines()).enumerate();
            let rows: Vec<String> = pairs.filter(|(_, (a, b))| a != b).map(|(row, (a, b))| format!("row {row}\n  ours {a:?}\n  tmux {b:?}")).collect();
            different.push(format!("{}:\n{}", recording.name, rows.join("\n")));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn pieces_make_no_difference() {
    for recording in recordings() {
        let whole = played(&recording, usize::MAX);
        for piece_bytes in [1, 7] {
            let mut whole_text = played(&recording, usize::MAX);
            let mut pieces = played(&recording, piece_bytes);
            assert_eq!(whole.screen(), pieces.screen(), "{}", recording.name);
            assert_eq!(whole.commands(), pieces.commands(), "{}", recording.name);
            assert_eq!(whole_text.take_text(), pieces.take_text(), "{}", recording.name);
        }
    }
}

#[test]
#[ignore = "prints what the recordings come to, for whoever changes the bounds below"]
fn texts() {
    for recording in recordings() {
        let fresh = played(&recording, usize::MAX).take_text();
        let mut digest = Digest::new();
        digest.push(&recording.bytes);
        println!("=== {}: {} bytes\n--- terminal\n{}\n--- unfinished\n{}", recording.name, recording.bytes.len(), fresh.text, fresh.unfinished);
        println!("--- digest\n{}", digest.show(8_000).text);
    }
}
