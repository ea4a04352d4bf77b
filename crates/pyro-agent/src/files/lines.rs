//! Lines of a file by their numbers, or the last ones: whatever its size, in pieces, so that what is held is what is told.
//!
//! Numbers are counted from the beginning. The last lines are looked for from the end, and have numbers only in a file that is not too large to be counted.

use std::os::fd::OwnedFd;

use memchr::{memchr_iter, memrchr, memrchr_iter};
use pyro_wire::FromAgent;
use pyro_wire::limits::LINES_COUNTED_BYTES_MAX;
use pyro_wire::message::{FileStep, LinesRead, Part, Read};
use rustix::io::Errno;

use super::{Failure, Reply, at};

#[cfg(test)]
mod tests;

/// What is read of a file at one time.
const PIECE_BYTES: usize = 256 * 1024;

/// Answers a read of lines.
pub fn read(reply: &Reply, file: &OwnedFd, request: &Read) -> Result<FromAgent, Failure> {
    let size = rustix::fs::fstat(file).map_err(at(FileStep::Read))?.st_size;
    let size = u64::try_from(size).unwrap_or(0);
    let bytes_max = usize::try_from(request.bytes_max).unwrap_or(usize::MAX);
    let mut fill = |buffer: &mut [u8], offset| loop {
        if reply.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        match rustix::io::pread(file, &mut *buffer, offset) {
            Err(Errno::INTR) => {}
            result => return result.map_err(at(FileStep::Read)),
        }
    };
    let (content, read) = match request.part {
        Part::From(_) => unreachable!("bytes are read elsewhere"),
        Part::Lines { first, last } => numbered(&mut fill, size, first, last, bytes_max)?,
        Part::LastLines(count) => last_lines(&mut fill, size, count, bytes_max)?,
    };
    reply.send_content(&content)?;
    Ok(FromAgent::LinesRead(read))
}

/// Reads at a place; 0 at the end.
type Fill<'a> = &'a mut dyn FnMut(&mut [u8], u64) -> Result<usize, Failure>;

/// Lines from one number to another, or to the end.
fn numbered(fill: Fill<'_>, size: u64, first: u64, last: Option<u64>, bytes_max: usize) -> Result<(Vec<u8>, LinesRead), Failure> {
    let mut content = Vec::new();
    let mut buffer = vec![0; PIECE_BYTES];
    // Ends of lines before the place, which is where the next piece begins.
    let (mut ends, mut place) = (0_u64, 0_u64);
    let mut start = (first == 1).then_some(0_u64);
    let mut is_whole = false;
    let mut is_line_open = false;
    loop {
        let length = fill(&mut buffer, place)?;
        let piece = &buffer[..length];
        let Some(end) = piece.last() else { break };
        is_line_open = *end != b'\n';
        let mut from = 0;
        if start.is_none()
            && let Some(behind) = behind_end(piece, first - 1 - ends)
        {
            from = behind;
            start = Some(place + behind as u64);
        }
        if start.is_some() && !is_whole {
            let before = ends + count(&piece[..from]);
            let behind = last.and_then(|last| behind_end(&piece[from..], last - before));
            let wanted = behind.map_or(&piece[from..], |behind| &piece[from..from + behind]);
            let room = bytes_max - content.len();
            content.extend_from_slice(&wanted[..wanted.len().min(room)]);
            is_whole = behind.is_some() || wanted.len() > room;
            if wanted.len() > room {
                keep_whole_lines(&mut content);
            }
        }
        ends += count(piece);
        place += length as u64;
        if is_whole && size.max(place) > LINES_COUNTED_BYTES_MAX {
            return Ok((content, LinesRead { offset: start.unwrap_or(place), first: Some(first), total: None }));
        }
    }
    let total = ends + u64::from(is_line_open);
    Ok((content, LinesRead { offset: start.unwrap_or(place), first: Some(first), total: Some(total) }))
}

/// So many lines at the end, or as many as there is room for.
fn last_lines(fill: Fill<'_>, size: u64, lines: u64, bytes_max: usize) -> Result<(Vec<u8>, LinesRead), Failure> {
    let mut buffer = vec![0; PIECE_BYTES];
    let floor = size.saturating_sub(bytes_max as u64);
    // Where the lines begin that are found so far, and what of the file has been looked at.
    let (mut start, mut seen) = (size, size);
    let mut found = 0;
    'pieces: while seen > floor {
        let length = (seen - floor).min(PIECE_BYTES as u64);
        seen -= length;
        let length = usize::try_from(length).expect("it is at most a piece");
        let mut filled = 0;
        while filled < length {
            match fill(&mut buffer[filled..length], seen + filled as u64)? {
                // It has become shorter: there is nothing at its end.
                0 => break,
                more => filled += more,
            }
        }
        for end in memrchr_iter(b'\n', &buffer[..filled]) {
            let behind = seen + end as u64 + 1;
            // The end of the last line begins none.
            if behind < size {
                found += 1;
                start = behind;
                if found == lines {
                    break 'pieces;
                }
            }
        }
    }
    if found < lines && floor == 0 {
        start = 0;
    } else if found == 0 {
        // A part of one line.
        start = floor;
    }
    let mut content = Vec::new();
    while content.len() < bytes_max {
        let want = PIECE_BYTES.min(bytes_max - content.len());
        let length = fill(&mut buffer[..want], start + content.len() as u64)?;
        if length == 0 {
            break;
        }
        content.extend_from_slice(&buffer[..length]);
    }
    if start > LINES_COUNTED_BYTES_MAX {
        return Ok((content, LinesRead { offset: start, first: None, total: None }));
    }
    let (mut before, mut place) = (0, 0);
    while place < start {
        let want = usize::try_from(start - place).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let length = fill(&mut buffer[..want], place)?;
        if length == 0 {
            break;
        }
        before += count(&buffer[..length]);
        place += length as u64;
    }
    let total = before + count(&content) + u64::from(content.last().is_some_and(|end| *end != b'\n'));
    Ok((content, LinesRead { offset: start, first: Some(before + 1), total: Some(total) }))
}

fn count(piece: &[u8]) -> u64 {
    memchr_iter(b'\n', piece).count() as u64
}

/// Where it goes on behind so many ends of lines, one at least.
fn behind_end(piece: &[u8], ends: u64) -> Option<usize> {
    usize::try_from(ends - 1).ok().and_then(|index| memchr_iter(b'\n', piece).nth(index)).map(|end| end + 1)
}

/// Takes off a line that is not whole, unless it is the only one.
fn keep_whole_lines(content: &mut Vec<u8>) {
    if let Some(end) = memrchr(b'\n', content) {
        content.truncate(end + 1);
    }
}
