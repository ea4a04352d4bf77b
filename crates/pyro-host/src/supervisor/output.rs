//! What a command writes: kept on disk up to a cap, counted without one, and shown as head and tail in whole lines.
//!
//! Both streams are kept apart, and beside them the order in which their pieces came, as far as two pipes have one. Memory is bounded whatever
//! comes: endless, binary, or one line of any length.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pyro_api::ops::exec::Clip;
use pyro_wire::Stream;

use crate::stored;

/// Kept of each of the two streams of one command: the contract's 64 MiB for both together.
pub const KEPT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Shown of the beginning of a stream that is too long. A quarter: what went wrong is nearly always at the end.
const HEAD_BYTES: usize = 4 * 1024;
/// Shown of its end.
const TAIL_BYTES: usize = 12 * 1024;

/// Both streams of one command.
#[derive(Debug)]
pub struct Outputs {
    stdout: Kept,
    stderr: Kept,
    order: Order,
}

impl Outputs {
    /// Keeps them in files that begin with `path`, which are made when the first byte comes; without one they are only shown.
    pub fn new(path: Option<PathBuf>) -> Self {
        let file = |ending| path.as_deref().map(|path| stored::file(path, ending));
        Self {
            stdout: Kept::new(file(stored::STDOUT)),
            stderr: Kept::new(file(stored::STDERR)),
            order: Order { path: file(stored::ORDER), file: None, last: None, is_broken: false },
        }
    }

    /// Takes the next bytes of standard output or standard error.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let (kept, mark) = match stream {
            Stream::Stderr => (&mut self.stderr, stored::IS_STDERR),
            Stream::Stdout | Stream::Stdin | Stream::Content => (&mut self.stdout, 0),
        };
        let length = kept.push(bytes);
        self.order.push(mark, length);
    }

    /// Bytes seen so far, of both.
    pub fn bytes_total(&self) -> (u64, u64) {
        (self.stdout.clip.bytes_total, self.stderr.clip.bytes_total)
    }

    /// Bytes that were not kept, of both: beyond the cap, or the disk was full.
    pub fn bytes_dropped(&self) -> (u64, u64) {
        (self.stdout.dropped_bytes, self.stderr.dropped_bytes)
    }

    /// Both as they are shown.
    pub fn clips(&self) -> (Clip, Clip) {
        (self.stdout.clip(), self.stderr.clip())
    }
}

/// Which stream came when: runs of bytes, each as [`stored::Runs`] reads it. The last run is not written until another stream has its turn: what no
/// run tells is the rest.
#[derive(Debug)]
struct Order {
    path: Option<PathBuf>,
    file: Option<File>,
    last: Option<(u32, u32)>,
    is_broken: bool,
}

impl Order {
    fn push(&mut self, mark: u32, length: usize) {
        let length = u32::try_from(length).unwrap_or(0);
        if length == 0 {
            return;
        }
        // A stream is kept up to 32 MiB, so a run of it fits below the mark.
        match &mut self.last {
            Some((last, run)) if *last == mark => *run = run.saturating_add(length),
            last => {
                if let (Some((mark, run)), Some(path), false) = (last.take(), &self.path, self.is_broken) {
                    // Once something is missing, nothing after it would be in its place.
                    self.is_broken = append(&mut self.file, path, &(mark | run).to_le_bytes()) != 4;
                }
                *last = Some((mark, length));
            }
        }
    }
}

/// One stream of one command.
#[derive(Debug)]
struct Kept {
    path: Option<PathBuf>,
    file: Option<File>,
    kept_bytes: u64,
    /// Bytes that could not be kept: beyond the cap, or the disk was full.
    dropped_bytes: u64,
    clip: Clipper,
}

impl Kept {
    fn new(path: Option<PathBuf>) -> Self {
        Self { path, file: None, kept_bytes: 0, dropped_bytes: 0, clip: Clipper::default() }
    }

    /// Takes the next bytes; gives how many are kept.
    fn push(&mut self, bytes: &[u8]) -> usize {
        self.clip.push(bytes);
        let Some(path) = &self.path else { return 0 };
        let room = usize::try_from(KEPT_BYTES_MAX.saturating_sub(self.kept_bytes)).unwrap_or(usize::MAX);
        let fits = &bytes[..bytes.len().min(room)];
        // Once something was dropped nothing is kept after it: what is on disk is a beginning, not a patchwork.
        let kept = if self.dropped_bytes == 0 { append(&mut self.file, path, fits) } else { 0 };
        self.kept_bytes += kept as u64;
        self.dropped_bytes += (bytes.len() - kept) as u64;
        kept
    }

    fn clip(&self) -> Clip {
        Clip { bytes_dropped: self.dropped_bytes, ..self.clip.finish() }
    }
}

/// How many bytes could be appended.
fn append(file: &mut Option<File>, path: &Path, bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        return 0;
    }
    if file.is_none() {
        *file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path).ok();
    }
    let Some(file) = file else { return 0 };
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A full disk is no reason to end the command: what is missing is counted and said.
            Err(_) => break,
        }
    }
    written
}

/// Head and tail of a stream.
#[derive(Debug, Default)]
pub struct Clipper {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    bytes_total: u64,
    lines_total: u64,
    nul: bool,
}

impl Clipper {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes_total += bytes.len() as u64;
        self.lines_total += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.nul |= bytes.contains(&0);
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
        self.head.extend_from_slice(head);
        // Only the end of a large piece can be part of the tail.
        let rest = &rest[rest.len().saturating_sub(TAIL_BYTES)..];
        let too_many = (self.tail.len() + rest.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..too_many);
        self.tail.extend(rest);
    }

    /// As it is shown.
    pub fn finish(&self) -> Clip {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let whole = self.bytes_total == (self.head.len() + tail.len()) as u64;
        let (shown, head_end) = if whole {
            let mut all = self.head.clone();
            all.extend_from_slice(&tail);
            let end = all.len();
            (all, end)
        } else {
            // Whole lines where there are any; a line that alone is longer than what is shown is cut between characters.
            let head_end = self.head.iter().rposition(|byte| *byte == b'\n').map_or(self.head.len(), |at| at + 1);
            let tail_start = tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let tail_start = if tail_start == tail.len() { 0 } else { tail_start };
            let head_end = character_end(&self.head, head_end);
            let tail_start = character_start(&tail, tail_start);
            let mut all = self.head[..head_end].to_vec();
            all.extend_from_slice(&tail[tail_start..]);
            (all, head_end)
        };
        let bytes_omitted = self.bytes_total - shown.len() as u64;
        let lines_shown = shown.iter().filter(|byte| **byte == b'\n').count() as u64;
        let lines_omitted = self.lines_total - lines_shown;
        let text = if bytes_omitted == 0 {
            String::from_utf8_lossy(&shown).into_owned()
        } else {
            let (head, tail) = shown.split_at(head_end);
            let head = String::from_utf8_lossy(head);
            let newline = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
            format!(
                "{head}{newline}[... {lines_omitted} lines, {bytes_omitted} bytes left out ...]\n{}",
                String::from_utf8_lossy(tail)
            )
        };
        let binary = self.nul || std::str::from_utf8(&shown).is_err();
        Clip { text, bytes_total: self.bytes_total, bytes_omitted, lines_omitted, bytes_dropped: 0, binary }
    }
}

/// The last place at or before `end` that is not inside a UTF-8 character.
fn character_end(bytes: &[u8], end: usize) -> usize {
    // A character has at most four bytes; what is not UTF-8 is cut anywhere.
    (end.saturating_sub(3)..=end).rev().find(|at| is_boundary(bytes, *at)).unwrap_or(end)
}

/// The first place at or after `start` that is not inside a UTF-8 character.
fn character_start(bytes: &[u8], start: usize) -> usize {
    (start..=(start + 3).min(bytes.len())).find(|at| is_boundary(bytes, *at)).unwrap_or(start)
}

/// Whether a character may begin at `at`: the byte there is not a continuation byte. The end of an unfinished head counts
/// as inside when its last character is not whole.
fn is_boundary(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at) {
        Some(byte) => byte & 0b1100_0000 != 0b1000_0000,
        None => {
            let last = &bytes[bytes.len().saturating_sub(3)..];
            match std::str::from_utf8(last) {
                Ok(_) => true,
                Err(error) => error.error_len().is_some(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clipper, HEAD_BYTES, TAIL_BYTES};

    fn clip(pieces: &[&[u8]]) -> pyro_api::ops::exec::Clip {
        let mut clipper = Clipper::default();
        for piece in pieces {
            clipper.push(piece);
        }
        clipper.finish()
    }

    #[test]
    fn short_output_is_shown_whole() {
        let shown = clip(&[b"one\n", b"two"]);
        assert_eq!((shown.text.as_str(), shown.bytes_total, shown.bytes_omitted, shown.lines_omitted), ("one\ntwo", 7, 0, 0));
        assert!(!shown.binary);
        let full = vec![b'x'; HEAD_BYTES + TAIL_BYTES];
        assert_eq!(clip(&[&full]).bytes_omitted, 0);
    }

    #[test]
    fn long_output_is_head_and_tail_in_whole_lines_with_exact_counts() {
        let text: String = (0..10_000).map(|line| format!("line {line}\n")).collect();
        let shown = clip(&text.as_bytes().chunks(1000).collect::<Vec<_>>());
        assert!(shown.text.starts_with("line 0\nline 1\n") && shown.text.ends_with("line 9998\nline 9999\n"), "{}", shown.text);
        let marker = shown.text.lines().find(|line| line.starts_with("[...")).expect("a marker");
        assert_eq!(marker, format!("[... {} lines, {} bytes left out ...]", shown.lines_omitted, shown.bytes_omitted));
        let rest: String = shown.text.lines().filter(|line| !line.starts_with("[...")).map(|line| format!("{line}\n")).collect();
        assert_eq!(rest.len() as u64 + shown.bytes_omitted, text.len() as u64);
        assert_eq!(rest.lines().count() as u64 + shown.lines_omitted, 10_000);
        assert!(rest.lines().all(|line| text.contains(line)));
    }

    #[test]
    fn one_endless_line_is_cut_between_characters() {
        let shown = clip(&["aä€😀".repeat(20_000).as_bytes()]);
        assert!(!shown.binary && !shown.text.contains('\u{fffd}'), "cut inside a character");
        assert_eq!(shown.lines_omitted, 0);
        assert!(shown.bytes_omitted > 180_000);
    }

    #[test]
    fn binary_is_said_and_never_fails() {
        assert!(clip(&[b"a\0b"]).binary);
        assert!(clip(&[b"\xff\xfe"]).binary);
        assert!(clip(&[&[0x80; 100_000]]).binary);
    }
}
