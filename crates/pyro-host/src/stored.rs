//! Stored output of a command: three files beside its workspace, read by line.
//!
//! `3.out` and `3.err` are the two streams as they came, up to a cap. `3.order` says how they took turns: four bytes for each run, little-endian, the
//! highest bit set for standard error and the rest the length. What it does not tell comes at the end: standard output, then standard error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use pyro_api::ops::job::LogStream;
use pyro_api::values::LineRange;

#[cfg(test)]
mod tests;

/// Ending of the file of standard output.
pub const STDOUT: &str = "out";
/// Ending of the file of standard error.
pub const STDERR: &str = "err";
/// Ending of the file that tells their order.
pub const ORDER: &str = "order";
/// Marks a run of standard error.
pub const IS_STDERR: u32 = 1 << 31;

/// Longest part of a line that is searched; the rest of it is passed over.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The file of one part: `execs/3` and `out` give `execs/3.out`.
pub fn file(path: &Path, ending: &str) -> PathBuf {
    path.with_extension(ending)
}

/// Opens the output of the command that is stored at `path`. What was never written is empty.
///
/// # Errors
/// Those of the file system.
pub fn open(path: &Path, stream: LogStream) -> io::Result<Box<dyn BufRead>> {
    let part = |ending| match File::open(file(path, ending)) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    Ok(match stream {
        LogStream::Stdout => part(STDOUT)?.map_or_else(|| Box::new(io::empty()) as Box<dyn BufRead>, |part| Box::new(part)),
        LogStream::Stderr => part(STDERR)?.map_or_else(|| Box::new(io::empty()) as Box<dyn BufRead>, |part| Box::new(part)),
        LogStream::Both => {
            let runs = Runs { order: part(ORDER)?, parts: [part(STDOUT)?, part(STDERR)?], run: None, is_told: true };
            Box::new(BufReader::new(runs))
        }
    })
}

/// Both streams in the order in which they came.
struct Runs {
    order: Option<BufReader<File>>,
    parts: [Option<BufReader<File>>; 2],
    /// Of which part, and how much is left of it.
    run: Option<(usize, u64)>,
    /// The order has more to tell.
    is_told: bool,
}

impl Runs {
    fn next_run(&mut self) -> io::Result<Option<(usize, u64)>> {
        let mut run = [0; 4];
        let told = match &mut self.order {
            Some(order) if self.is_told => order.read_exact(&mut run).is_ok(),
            _ => false,
        };
        if told {
            let run = u32::from_le_bytes(run);
            return Ok(Some((usize::from(run & IS_STDERR != 0), u64::from(run & !IS_STDERR))));
        }
        self.is_told = false;
        for (index, part) in self.parts.iter_mut().enumerate() {
            if let Some(part) = part
                && !part.fill_buf()?.is_empty()
            {
                return Ok(Some((index, u64::MAX)));
            }
        }
        Ok(None)
    }
}

impl Read for Runs {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            let (index, left) = match self.run.take() {
                Some(run) => run,
                None => match self.next_run()? {
                    Some(run) => run,
                    None => return Ok(0),
                },
            };
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(room.len());
            let count = match &mut self.parts[index] {
                Some(part) => part.read(&mut room[..wanted])?,
                None => 0,
            };
            if count > 0 {
                let left = left - count as u64;
                self.run = (left > 0).then_some((index, left));
                return Ok(count);
            }
        }
    }
}

/// Lines of an output that were asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// Lines in all; an unfinished last one counts.
    pub lines_total: u64,
    /// Number of the first line that was picked; 0 when none was.
    pub first_line: u64,
    /// Lines that were picked.
    pub lines: u64,
}

/// Whether a line, without its end, is wanted.
pub type Matches<'a> = &'a dyn Fn(&[u8]) -> bool;

/// Goes through all lines and hands on those that are in `range`, with their numbers: in pieces, as they are read. With `matches` only those are
/// handed on that it finds; each is one piece then, cut at 64 KiB.
///
/// # Errors
/// Those of the file system.
pub fn pick(
    open: impl Fn() -> io::Result<Box<dyn BufRead>>,
    range: Option<LineRange>,
    matches: Option<Matches<'_>>,
    mut take: impl FnMut(u64, &[u8]),
) -> io::Result<Picked> {
    let (first, last) = match range {
        None => (1, u64::MAX),
        Some(LineRange::Between(first, last)) => (first, last),
        Some(LineRange::From(first)) => (first, u64::MAX),
        Some(LineRange::Last(count)) => {
            let total = each_piece(open()?, |_, _| {})?;
            (total.saturating_sub(count) + 1, u64::MAX)
        }
    };
    let mut picked = Picked::default();
    let mut last_picked = 0;
    let mut hand_on = |number, piece: &[u8]| {
        if last_picked != number {
            last_picked = number;
            picked.lines += 1;
            picked.first_line = if picked.lines == 1 { number } else { picked.first_line };
        }
        take(number, piece);
    };
    let wanted = |number| (first..=last).contains(&number);
    let lines_total = match matches {
        None => each_piece(open()?, |number, piece| {
            if wanted(number) {
                hand_on(number, piece);
            }
        })?,
        Some(matches) => {
            let mut line = Vec::new();
            let mut look = |number, line: &mut Vec<u8>| {
                if wanted(number) && matches(line.strip_suffix(b"\n").unwrap_or(line)) {
                    hand_on(number, line);
                }
                line.clear();
            };
            let total = each_piece(open()?, |number, piece| {
                let room = LINE_BYTES_MAX.saturating_sub(line.len());
                line.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.ends_with(b"\n") {
                    if room < piece.len() {
                        line.push(b'\n');
                    }
                    look(number, &mut line);
                }
            })?;
            if !line.is_empty() {
                look(total, &mut line);
            }
            total
        }
    };
    Ok(Picked { lines_total, ..picked })
}

/// Calls for each line with its number, from 1, and as much of it as is read at once, its end with it; gives how many lines there are.
fn each_piece(mut reader: Box<dyn BufRead>, mut take: impl FnMut(u64, &[u8])) -> io::Result<u64> {
    let (mut number, mut is_open) = (0, false);
    loop {
        let read = reader.fill_buf()?;
        if read.is_empty() {
            return Ok(number);
        }
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            number += u64::from(!is_open);
            is_open = !piece.ends_with(b"\n");
            take(number, piece);
        }
        let length = read.len();
        reader.consume(length);
    }
}
