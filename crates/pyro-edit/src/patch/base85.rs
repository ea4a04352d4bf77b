//! Content in the form of `git diff --binary`: deflated, in lines of base 85, whole or as a difference from other content.
//!
//! What it unpacks to is bounded by what it says beforehand, and that by the largest file.

use std::io::Read as _;

use flate2::read::ZlibDecoder;

use crate::limits::FILE_BYTES_MAX;
use crate::patch::{Binary, PatchLines};

const DIGITS: &[u8; 85] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Reads `literal N` or `delta N` and its lines. `Ok(None)` when no such line stands here.
pub(crate) fn read(lines: &mut PatchLines<'_>) -> Result<Option<Binary>, &'static str> {
    let line = crate::view::without_end(lines.peek().unwrap_or_default());
    let (is_delta, size) = match (line.strip_prefix(b"literal "), line.strip_prefix(b"delta ")) {
        (Some(size), _) => (false, size),
        (None, Some(size)) => (true, size),
        (None, None) => return Ok(None),
    };
    let size: usize = std::str::from_utf8(size).ok().and_then(|size| size.trim().parse().ok()).ok_or("a size was expected")?;
    if size > FILE_BYTES_MAX {
        return Err("the content is larger than a file may be");
    }
    lines.at += 1;
    let mut deflated = Vec::new();
    while let Some(line) = lines.peek() {
        let line = crate::view::without_end(line);
        let Some((count, digits)) = line.split_first() else {
            lines.at += 1;
            break;
        };
        let count = match count {
            b'A'..=b'Z' => count - b'A' + 1,
            b'a'..=b'z' => count - b'a' + 27,
            _ => return Err("a line of base 85 begins with a letter for its length"),
        };
        push(&mut deflated, digits, usize::from(count)).ok_or("this is not a whole line of base 85")?;
        lines.at += 1;
    }
    let mut content = Vec::new();
    // One byte more than it should have shows that it has more.
    let inflated = ZlibDecoder::new(deflated.as_slice()).take(size as u64 + 1).read_to_end(&mut content);
    if inflated.is_err() || content.len() != size {
        lines.at -= 1;
        return Err("the binary content does not unpack to its size; it cannot be written by hand");
    }
    Ok(Some(if is_delta { Binary::Delta(content) } else { Binary::Literal(content) }))
}

fn push(out: &mut Vec<u8>, digits: &[u8], count: usize) -> Option<()> {
    if digits.len() != count.div_ceil(4) * 5 {
        return None;
    }
    let end = out.len() + count;
    for group in digits.chunks(5) {
        let mut number = 0u32;
        for digit in group {
            let value = DIGITS.iter().position(|known| known == digit)?;
            number = number.checked_mul(85)?.checked_add(value as u32)?;
        }
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.truncate(end);
    Some(())
}

/// Applies a git delta: copies from `base` and new bytes, by turns. `None` if it does not fit.
pub(crate) fn apply_delta(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut rest = delta;
    let base_size = number(&mut rest)?;
    let size = number(&mut rest)?;
    if base_size != base.len() || size > FILE_BYTES_MAX {
        return None;
    }
    let mut out = Vec::with_capacity(size);
    while let Some((operation, behind)) = rest.split_first() {
        rest = behind;
        if operation & 0x80 == 0 {
            // 0 is kept for later by git.
            let (bytes, behind) = rest.split_at_checked(usize::from(*operation)).filter(|(bytes, _)| !bytes.is_empty())?;
            out.extend_from_slice(bytes);
            rest = behind;
        } else {
            let mut field = |bits: std::ops::Range<u8>| {
                let mut value = 0usize;
                for (at, bit) in bits.enumerate() {
                    if operation & (1 << bit) != 0 {
                        let (byte, behind) = rest.split_first()?;
                        rest = behind;
                        value |= usize::from(*byte) << (8 * at);
                    }
                }
                Some(value)
            };
            let offset = field(0..4)?;
            let length = match field(4..7)? {
                0 => 0x10000,
                length => length,
            };
            out.extend_from_slice(base.get(offset..offset.checked_add(length)?)?);
        }
        if out.len() > size {
            return None;
        }
    }
    (out.len() == size).then_some(out)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0usize;
    for shift in (0..35).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
