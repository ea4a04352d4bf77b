//! What a command writes: kept on disk up to a cap, counted without one, and shown as a digest.
//!
//! Both streams are kept apart, and beside them the order in which their pieces came, as far as two pipes have one. Memory is bounded whatever
//! comes: endless, binary, or one line of any length.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pyro_api::ops::exec::Clip;
use pyro_term::Digest;
use pyro_wire::Stream;

use crate::stored;

/// Kept of each of the two streams of one command: the contract's 64 MiB for both together.
pub const KEPT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Shown of both streams together, characters: what fits a result over MCP (8,000), with room for what is said around it.
pub const SHOWN_CHARS: usize = 7_000;

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

    /// The last line of what was written last, as it would stand on a terminal.
    pub fn last_line(&self) -> String {
        let last = if matches!(self.order.last, Some((stored::IS_STDERR, _))) { &self.stderr } else { &self.stdout };
        last.digest.show(SHOWN_CHARS).text.lines().next_back().unwrap_or_default().to_owned()
    }

    /// Bytes seen so far, of both.
    pub fn bytes_total(&self) -> (u64, u64) {
        (self.stdout.digest.bytes_total(), self.stderr.digest.bytes_total())
    }

    /// Bytes that were not kept, of both: beyond the cap, or the disk was full.
    pub fn bytes_dropped(&self) -> (u64, u64) {
        (self.stdout.dropped_bytes, self.stderr.dropped_bytes)
    }

    /// Both as they are shown.
    pub fn clips(&self) -> (Clip, Clip) {
        clips((&self.stdout.digest, self.stdout.dropped_bytes), (&self.stderr.digest, self.stderr.dropped_bytes))
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
    digest: Digest,
}

impl Kept {
    fn new(path: Option<PathBuf>) -> Self {
        Self { path, file: None, kept_bytes: 0, dropped_bytes: 0, digest: Digest::new() }
    }

    /// Takes the next bytes; gives how many are kept.
    fn push(&mut self, bytes: &[u8]) -> usize {
        self.digest.push(bytes);
        let Some(path) = &self.path else { return 0 };
        let room = usize::try_from(KEPT_BYTES_MAX.saturating_sub(self.kept_bytes)).unwrap_or(usize::MAX);
        let fits = &bytes[..bytes.len().min(room)];
        // Once something was dropped nothing is kept after it: what is on disk is a beginning, not a patchwork.
        let kept = if self.dropped_bytes == 0 { append(&mut self.file, path, fits) } else { 0 };
        self.kept_bytes += kept as u64;
        self.dropped_bytes += (bytes.len() - kept) as u64;
        kept
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

/// A digest as the surface has it.
pub fn clip(digest: &Digest, budget_chars: usize, bytes_dropped: u64) -> Clip {
    let shown = digest.show(budget_chars);
    Clip {
        text: shown.text,
        bytes_total: shown.bytes_total,
        bytes_omitted: shown.bytes_omitted,
        lines_omitted: shown.lines_omitted,
        bytes_dropped,
        binary: shown.binary,
    }
}

/// Both streams within one budget: what one of them does not need, the other may have; errors come first when both are long.
pub fn clips(stdout: (&Digest, u64), stderr: (&Digest, u64)) -> (Clip, Clip) {
    let needs = |digest: &Digest| digest.show(SHOWN_CHARS).text.chars().count();
    let (out, err) = (needs(stdout.0), needs(stderr.0));
    let err_budget = err.min((SHOWN_CHARS / 2).max(SHOWN_CHARS.saturating_sub(out)));
    let out_budget = SHOWN_CHARS.saturating_sub(err_budget);
    (clip(stdout.0, out_budget, stdout.1), clip(stderr.0, err_budget.max(1), stderr.1))
}
