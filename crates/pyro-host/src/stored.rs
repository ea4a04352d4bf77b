//! Stored output of a command: three files beside its workspace, read by line.
//!
//! `3.out` and `3.err` are the two streams as they came, up to a cap. `3.order` says how they took turns: four bytes for each run, little-endian, the
//! highest bit set for standard error and the rest the length. What it does not tell comes at the end: standard output, then standard error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use pyro_api::ops::job::LogStream;
use pyro_api::values::LineRange;
use pyro_term::stored::Extent;

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

/// Hands on the lines of a range as they are, in pieces.
///
/// # Errors
/// Those of the file system.
pub fn copy(mut stream: impl BufRead, lines: &RangeInclusive<u64>, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let (mut number, mut is_open) = (0, false);
    loop {
        let read = stream.fill_buf()?;
        if read.is_empty() || (number == *lines.end() && !is_open) {
            return Ok(());
        }
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            number += u64::from(!is_open);
            is_open = !piece.ends_with(b"\n");
            if lines.contains(&number) {
                take(piece);
            }
        }
        let length = read.len();
        stream.consume(length);
    }
}

/// Which lines a range means in a stream of this extent.
pub fn lines(range: LineRange, extent: Extent) -> RangeInclusive<u64> {
    match range {
        LineRange::Between(first, last) => first..=last.unwrap_or(u64::MAX),
        LineRange::Last(count) => extent.last_lines(count),
    }
}
