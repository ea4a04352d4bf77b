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

/// The recordings, or others of the same form: `record.py random` makes some.
fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("RECORDINGS") {
        return folder.into();
    }
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
    for (end, size) in recording.changes.iter().copied().map(|(end, size)| (end, Some(size))).chain([(recording.bytes.len(), None)])
    {
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
            let rows: Vec<String> =
                pairs.filter(|(_, (a, b))| a != b).map(|(row, (a, b))| format!("row {row}\n  ours {a:?}\n  tmux {b:?}")).collect();
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

/// Most characters of the text of a recording, on a terminal and through a digest: what there is to read, and a fifth more.
const CHARS_MAX: &[(&str, usize)] = &[("git", 420), ("cargo", 800), ("pip", 420), ("npm", 40), ("docker", 70)];

#[test]
fn what_draws_itself_again_is_as_short_as_what_there_is_to_read() {
    for (name, chars_max) in CHARS_MAX {
        let recording = named(name);
        let mut digest = Digest::new();
        digest.push(&recording.bytes);
        let texts = [played(&recording, usize::MAX).take_text().text, digest.show(64 * 1024).text];
        for text in texts {
            assert!(
                text.chars().count() <= *chars_max,
                "{name}: {} characters of {}:\n{text}",
                text.chars().count(),
                recording.bytes.len()
            );
        }
    }
}

#[test]
fn text_that_is_taken_often_is_the_same_lines() {
    for name in ["cargo", "python", "ls", "yes", "bash", "zsh", "docker", "git"] {
        let recording = named(name);
        let once: Vec<String> = played(&recording, usize::MAX).take_text().text.lines().map(str::to_owned).collect();
        let mut terminal = Terminal::new(recording.size);
        let mut often = Vec::new();
        for piece in recording.bytes.chunks(200) {
            terminal.feed(piece);
            let fresh = terminal.take_text();
            often.extend(fresh.text.lines().map(str::to_owned));
            // A line that is finished just as it was shown before is not given again.
            often.extend(fresh.unfinished.lines().filter(|_| fresh.unfinished_is_new).map(str::to_owned));
        }
        // Lines that were taken before they were drawn again come again; what is on the screen at the end is the end of both.
        let ours: Vec<&String> = often.iter().filter(|line| once.contains(line) && !line.is_empty()).collect();
        let mut rest = ours.iter();
        for line in once.iter().filter(|line| !line.is_empty()) {
            assert!(rest.any(|ours| *ours == line), "{name}: {line:?} is missing or out of order in {often:#?}");
        }
        if !["docker", "git"].contains(&name) {
            assert_eq!(ours.len(), once.iter().filter(|line| !line.is_empty()).count(), "{name}: nothing is given twice");
        }
    }
}

#[test]
fn shells_mark_their_commands() {
    for name in ["bash", "zsh", "fish"] {
        let terminal = played(&named(name), usize::MAX);
        let commands = terminal.commands();
        let seen: Vec<(&str, &str, Option<i32>)> =
            commands.iter().map(|command| (command.line.as_deref().unwrap_or(""), command.output.as_str(), command.exit)).collect();
        assert_eq!(
            seen,
            [
                ("echo hello", "hello\n", Some(0)),
                ("false", "", Some(1)),
                ("printf 'no end'", "no end", Some(0)),
                ("echo a; echo b", "a\nb\n", Some(0)),
                ("seq 40 | tail -3", "38\n39\n40\n", Some(0)),
            ],
            "{name}"
        );
        assert!(terminal.is_at_prompt() && commands.iter().all(|command| command.finished && !command.is_cut));
    }
}

#[test]
#[ignore = "prints what the recordings come to, for whoever changes the bounds below"]
fn texts() {
    for recording in recordings() {
        let fresh = played(&recording, usize::MAX).take_text();
        let mut digest = Digest::new();
        digest.push(&recording.bytes);
        println!(
            "=== {}: {} bytes\n--- terminal\n{}\n--- unfinished\n{}",
            recording.name,
            recording.bytes.len(),
            fresh.text,
            fresh.unfinished
        );
        println!("--- digest\n{}", digest.show(8_000).text);
    }
}
