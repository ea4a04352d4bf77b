//! Every range of files of every ending is what splitting it says.

use super::*;

fn filler(text: &[u8]) -> impl FnMut(&mut [u8], u64) -> Result<usize, Failure> + '_ {
    move |buffer, offset| {
        let rest = usize::try_from(offset).ok().and_then(|offset| text.get(offset..)).unwrap_or_default();
        // Short reads are no ends.
        let length = rest.len().min(buffer.len()).min(7);
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

#[test]
fn every_range_is_what_its_lines_are() {
    for text in ["", "\n", "one", "one\n", "one\ntwo", "a\n\n\nb\n", "0123456789\nabcdefghijklmnop\r\nz\n\nend"] {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for first in 1..=lines.len() + 2 {
            for last in (first..=lines.len() + 2).map(Some).chain([None]) {
                let wanted =
                    lines.get(first - 1..last.map_or(lines.len(), |last| last.min(lines.len()))).unwrap_or_default().concat();
                let (content, read) =
                    numbered(&mut filler(text.as_bytes()), text.len() as u64, first as u64, last.map(|last| last as u64), 1000)
                        .expect("it reads");
                assert_eq!(String::from_utf8_lossy(&content), wanted, "{text:?} {first}-{last:?}");
                assert_eq!((read.first, read.total), (Some(first as u64), Some(lines.len() as u64)), "{text:?}");
                assert!(text[usize::try_from(read.offset).expect("small")..].starts_with(&wanted), "{text:?} {first}-{last:?}");
            }
        }
        for count in 1..=lines.len() + 2 {
            let at = lines.len().saturating_sub(count);
            let (content, read) =
                last_lines(&mut filler(text.as_bytes()), text.len() as u64, count as u64, 1000).expect("it reads");
            assert_eq!(String::from_utf8_lossy(&content), lines[at..].concat(), "{text:?} -{count}");
            let first = at as u64 + 1;
            assert_eq!((read.first, read.total), (Some(first), Some(lines.len() as u64)), "{text:?} -{count}");
        }
    }
}

#[test]
fn what_does_not_fit_ends_with_a_line_or_is_the_beginning_of_one() {
    let text = b"0123456789\nabc\nd\nefghijklmnopqrst\n";
    let numbered = |first, bytes_max| numbered(&mut filler(text), text.len() as u64, first, None, bytes_max).expect("it reads").0;
    assert_eq!(numbered(1, 16), b"0123456789\nabc\n");
    assert_eq!(numbered(1, 4), b"0123");
    let last = |count, bytes_max| last_lines(&mut filler(text), text.len() as u64, count, bytes_max).expect("it reads");
    let (content, read) = last(4, 22);
    assert_eq!((content.as_slice(), read.first), (b"d\nefghijklmnopqrst\n".as_slice(), Some(3)));
    let (content, read) = last(4, 5);
    assert_eq!((content.as_slice(), read.first, read.offset), (b"qrst\n".as_slice(), Some(4), 29));
}

#[test]
fn a_large_file_is_not_counted_for_its_end() {
    let size = LINES_COUNTED_BYTES_MAX * 20;
    let mut bytes_read = 0;
    let mut fill = |buffer: &mut [u8], offset: u64| {
        let length = buffer.len().min(usize::try_from(size.saturating_sub(offset)).expect("64 bits"));
        bytes_read += length;
        // A line of 16 bytes.
        for (index, byte) in buffer[..length].iter_mut().enumerate() {
            *byte = if (offset + index as u64) % 16 == 15 { b'\n' } else { b'x' };
        }
        Ok(length)
    };
    let (content, read) = last_lines(&mut fill, size, 50, 65_536).expect("it reads");
    assert_eq!((content.len(), read), (50 * 16, LinesRead { offset: size - 800, first: None, total: None }));
    assert!(bytes_read < 2 * PIECE_BYTES, "{bytes_read} bytes were read");
}
