//! Reading tar: V7, ustar, PAX and GNU, with long names, fractional times, attributes and sparse files.
//!
//! This is the only reader: what it yields is what is checked *and* what is unpacked, so no two readers can disagree about where an entry
//! begins (CVE-2025-62518 and its kin). Where the format's dialects contradict each other (two sizes, two names, content
//! after a link), it refuses instead of choosing. It allocates nothing that a length in the archive asks for without a limit.

use std::collections::HashMap;
use std::io::Read;

use crate::error::{Error, Result, shown};
use crate::limits::{ARCHIVE_NAME_BYTES_MAX, ARCHIVE_PADDING_BYTES_MAX, EXTENDED_HEADER_BYTES_MAX, SPARSE_PIECES_MAX};

const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TarKind {
    #[default]
    File,
    HardLink,
    Symlink,
    Device,
    Directory,
    Fifo,
}

/// One entry, with its names as they are in the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TarEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: TarKind,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) user: u64,
    pub(crate) group: u64,
    pub(crate) modified_at: (i64, u32),
    /// Size of the file, holes included.
    pub(crate) size: u64,
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where its data is, in order: one piece for an ordinary file.
    pub(crate) pieces: Vec<Piece>,
}

/// A run of data of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Reads entries one after the other.
pub(crate) struct TarReader<R> {
    input: R,
    /// Bytes that may still be read.
    bytes_left: u64,
    bytes_max: u64,
    /// Data and padding of the current entry that have not been read.
    data_left: u64,
    padding_left: u64,
    global: Records,
    seen_header: bool,
}

/// What one header block says.
struct Header {
    name: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    mode: u64,
    user: u64,
    group: u64,
    size: u64,
    modified_at: i64,
    block: Box<[u8; BLOCK]>,
}

/// Records of an extended header. Sparse pieces of the oldest dialect repeat their keys, so they are kept apart.
#[derive(Clone, Default)]
struct Records {
    values: HashMap<Vec<u8>, Vec<u8>>,
    sparse: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> TarReader<R> {
    /// A reader that takes at most `bytes_max` bytes from its input.
    pub(crate) fn new(input: R, bytes_max: u64) -> Self {
        Self {
            input,
            bytes_left: bytes_max,
            bytes_max,
            data_left: 0,
            padding_left: 0,
            global: Records::default(),
            seen_header: false,
        }
    }

    /// The next entry; what was not read of the one before is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<TarEntry>> {
        let mut records: Option<Records> = None;
        let mut long_name: Option<Vec<u8>> = None;
        let mut long_link: Option<Vec<u8>> = None;
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else {
                if records.is_some() || long_name.is_some() || long_link.is_some() {
                    return Err(Error::damaged("the archive ends after an extended header, before the entry that it belongs to"));
                }
                return Ok(None);
            };
            match header.kind {
                b'x' => {
                    let parsed = parse_records(&self.extended(&header)?)?;
                    if records.replace(parsed).is_some() {
                        return Err(Error::damaged("two extended headers for one entry"));
                    }
                }
                b'g' => {
                    let parsed = parse_records(&self.extended(&header)?)?;
                    self.take_global(parsed)?;
                }
                b'L' => {
                    if long_name.replace(self.long(&header)?).is_some() {
                        return Err(Error::damaged("two long names for one entry"));
                    }
                }
                b'K' => {
                    if long_link.replace(self.long(&header)?).is_some() {
                        return Err(Error::damaged("two long link targets for one entry"));
                    }
                }
                // The name of a volume: no entry.
                b'V' => self.set_data(&header, header.size)?,
                _ => return self.entry(header, records.unwrap_or_default(), long_name, long_link).map(Some),
            }
        }
    }

    /// Hands out the data of the current entry: offset in the file, bytes.
    pub(crate) fn content(&mut self, entry: &TarEntry, take: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; 128 * 1024];
        for piece in &entry.pieces {
            let mut at = piece.offset;
            let mut left = piece.length;
            while left > 0 {
                let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                self.read_exact(&mut buffer[..wanted])?;
                self.data_left -= wanted as u64;
                take(at, &buffer[..wanted])?;
                at += wanted as u64;
                left -= wanted as u64;
            }
        }
        Ok(())
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        let wanted = buffer.len() as u64;
        if wanted > self.bytes_left {
            return Err(Error::limit(format!("the archive holds more than {} bytes", self.bytes_max)));
        }
        self.bytes_left -= wanted;
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::damaged("the archive is cut short"),
            _ => Error::reading("cannot read the archive", error),
        })
    }

    /// Reads one block; `None` when the input has ended before it.
    fn read_block(&mut self) -> Result<Option<Box<[u8; BLOCK]>>> {
        let mut block = Box::new([0; BLOCK]);
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Error::damaged("the archive is cut short")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::reading("cannot read the archive", error)),
            }
        }
        self.bytes_left = self
            .bytes_left
            .checked_sub(BLOCK as u64)
            .ok_or_else(|| Error::limit(format!("the archive holds more than {} bytes", self.bytes_max)))?;
        Ok(Some(block))
    }

    fn skip_rest(&mut self) -> Result<()> {
        let mut left = self.data_left + self.padding_left;
        let mut buffer = [0; 4096];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.read_exact(&mut buffer[..wanted])?;
            left -= wanted as u64;
        }
        self.data_left = 0;
        self.padding_left = 0;
        Ok(())
    }

    fn set_data(&mut self, header: &Header, size: u64) -> Result<()> {
        // Checked before anything is added to it: a size near 2^64 must not wrap.
        if size > self.bytes_left {
            return Err(Error::limit(format!(
                "{} is larger than what may still be unpacked ({} bytes)",
                shown(&header.name),
                self.bytes_left
            )));
        }
        self.data_left = size;
        self.padding_left = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn read_header(&mut self) -> Result<Option<Header>> {
        let Some(block) = self.read_block()? else {
            return Err(Error::damaged(if self.seen_header {
                "the archive is cut short: its end mark is missing"
            } else {
                "the archive is empty"
            }));
        };
        if block.iter().all(|byte| *byte == 0) {
            self.read_padding()?;
            return Ok(None);
        }
        if !checksum_fits(&block) {
            return Err(Error::damaged(if self.seen_header {
                "the archive is damaged: a header's checksum does not fit"
            } else {
                "this is no tar archive"
            }));
        }
        self.seen_header = true;
        Header::parse(block).map(Some)
    }

    /// After the end mark only padding may follow: what another reader would take for more entries is refused.
    fn read_padding(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let mut seen = 0;
        loop {
            let count = match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::reading("cannot read the archive to its end", error)),
            };
            seen += count as u64;
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(Error::damaged("more data follows the end mark of the archive"));
            }
            if seen > ARCHIVE_PADDING_BYTES_MAX {
                return Err(Error::limit(format!("more than {ARCHIVE_PADDING_BYTES_MAX} bytes of padding follow the archive")));
            }
        }
    }

    fn extended(&mut self, header: &Header) -> Result<Vec<u8>> {
        if header.size > EXTENDED_HEADER_BYTES_MAX {
            return Err(Error::limit(format!("an extended header is larger than {EXTENDED_HEADER_BYTES_MAX} bytes")));
        }
        self.whole_data(header)
    }

    fn long(&mut self, header: &Header) -> Result<Vec<u8>> {
        if header.size > ARCHIVE_NAME_BYTES_MAX as u64 + 1 {
            return Err(Error::limit(format!("a name is longer than {ARCHIVE_NAME_BYTES_MAX} bytes")));
        }
        Ok(until_nul(&self.whole_data(header)?).to_vec())
    }

    fn whole_data(&mut self, header: &Header) -> Result<Vec<u8>> {
        self.set_data(header, header.size)?;
        let mut data = vec![0; usize::try_from(header.size).unwrap_or(usize::MAX)];
        self.read_exact(&mut data)?;
        self.data_left = 0;
        Ok(data)
    }

    /// Records for all entries that follow. `git archive` puts a comment there, GNU tar may put times and owners.
    fn take_global(&mut self, records: Records) -> Result<()> {
        for key in [b"path".as_slice(), b"linkpath", b"size"] {
            if records.values.contains_key(key) {
                return Err(Error::damaged(format!("a global header sets the {} of every entry", shown(key))));
            }
        }
        if !records.sparse.is_empty() || records.values.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            return Err(Error::damaged("a global header makes every entry sparse"));
        }
        self.global.values.extend(records.values);
        Ok(())
    }

    fn entry(&mut self, header: Header, own: Records, long_name: Option<Vec<u8>>, long_link: Option<Vec<u8>>) -> Result<TarEntry> {
        let mut records = self.global.values.clone();
        records.extend(own.values);
        let mut name = choose("names", records.remove(b"path".as_slice()), long_name, &header.name)?;
        let link = choose("link targets", records.remove(b"linkpath".as_slice()), long_link, &header.link)?;
        let mut kind = match header.kind {
            b'0' | 0 | b'7' | b'S' => TarKind::File,
            b'1' => TarKind::HardLink,
            b'2' => TarKind::Symlink,
            b'3' | b'4' => TarKind::Device,
            b'5' => TarKind::Directory,
            b'6' => TarKind::Fifo,
            other => return Err(Error::refused(&name, &format!("is of a type that is not known here ({})", shown(&[other])))),
        };
        let stored = match records.remove(b"size".as_slice()) {
            None => header.size,
            Some(text) => {
                let size = decimal(&text).ok_or_else(|| bad_record("size", &text))?;
                /// What 11 octal digits hold at most: what writers put in the field when the size does not fit.
                const FULL_FIELD: u64 = 0o777_7777_7777;
                if header.size != 0 && header.size != FULL_FIELD && header.size != size {
                    return Err(Error::damaged(format!("{} has two sizes, {} and {size}", shown(&name), header.size)));
                }
                size
            }
        };
        // V7 has no type for directories, and GNU tar follows it: a slash at the end makes one.
        if kind == TarKind::File && name.ends_with(b"/") {
            kind = TarKind::Directory;
        }
        if kind != TarKind::File && stored != 0 {
            return Err(Error::damaged(format!("{} has content, which its type cannot have", shown(&name))));
        }
        self.set_data(&header, stored)?;
        let mut size = stored;
        let mut pieces = vec![Piece { offset: 0, length: stored }];
        if kind == TarKind::File {
            if header.kind == b'S' {
                (size, pieces) = self.gnu_pieces(&header, &name)?;
            } else if let Some(real) =
                records.get(b"GNU.sparse.realsize".as_slice()).or_else(|| records.get(b"GNU.sparse.size".as_slice()))
            {
                size = decimal(real).ok_or_else(|| bad_record("GNU.sparse size", real))?;
                pieces = self.pax_pieces(&records, &own.sparse, &name)?;
                if let Some(real_name) = records.remove(b"GNU.sparse.name".as_slice()) {
                    name = real_name;
                }
            } else if !own.sparse.is_empty() || records.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
                return Err(Error::damaged(format!("{} is sparse without a size", shown(&name))));
            }
            check_pieces(&pieces, size, self.data_left, &name)?;
        }
        let number = |key: &[u8], field: u64| match records.get(key) {
            Some(text) => decimal(text).ok_or_else(|| bad_record("id", text)),
            None => Ok(field),
        };
        let modified_at = match records.get(b"mtime".as_slice()) {
            Some(text) => parse_time(text).ok_or_else(|| bad_record("mtime", text))?,
            None => (header.modified_at, 0),
        };
        let attributes = records
            .iter()
            .filter_map(|(key, value)| key.strip_prefix(b"SCHILY.xattr.").map(|attribute| (attribute.to_vec(), value.clone())))
            .collect::<std::collections::BTreeMap<_, _>>();
        Ok(TarEntry {
            user: number(b"uid", header.user)?,
            group: number(b"gid", header.group)?,
            name,
            kind,
            link,
            // Numbers above the permission bits are the file's type in some writers.
            mode: u32::try_from(header.mode & 0o7777).unwrap_or(0),
            modified_at,
            size,
            attributes: attributes.into_iter().collect(),
            pieces,
        })
    }

    /// The map of an old GNU sparse entry: four pieces in the header, then blocks of 21.
    fn gnu_pieces(&mut self, header: &Header, name: &[u8]) -> Result<(u64, Vec<Piece>)> {
        let field = |block: &[u8; BLOCK], at: usize| number(&block[at..at + 12]).ok_or_else(|| bad_map(name));
        let mut pieces = Vec::new();
        let mut take = |block: &[u8; BLOCK], start: usize, count: usize| -> Result<()> {
            for at in (0..count).map(|index| start + index * 24) {
                if block[at] == 0 {
                    break;
                }
                pieces.push(Piece { offset: field(block, at)?, length: field(block, at + 12)? });
                if pieces.len() > SPARSE_PIECES_MAX {
                    return Err(Error::limit(format!("{} has more than {SPARSE_PIECES_MAX} pieces", shown(name))));
                }
            }
            Ok(())
        };
        take(&header.block, 386, 4)?;
        let size = field(&header.block, 483)?;
        let mut more = header.block[482] != 0;
        while more {
            let block = self.read_block()?.ok_or_else(|| Error::damaged("the archive is cut short"))?;
            take(&block, 0, 21)?;
            more = block[504] != 0;
        }
        Ok((size, pieces))
    }

    /// The map of a PAX sparse entry, in one of its three dialects.
    fn pax_pieces(
        &mut self,
        records: &HashMap<Vec<u8>, Vec<u8>>,
        repeated: &[(Vec<u8>, Vec<u8>)],
        name: &[u8],
    ) -> Result<Vec<Piece>> {
        let mut numbers: Vec<u64> = Vec::new();
        if records.get(b"GNU.sparse.major".as_slice()).map(Vec::as_slice) == Some(b"1") {
            // 1.0: decimal lines before the data, padded to a block.
            let count = self.map_numbers(name)?;
            numbers = count;
        } else if let Some(map) = records.get(b"GNU.sparse.map".as_slice()) {
            // 0.1: one record.
            if !map.is_empty() {
                for part in map.split(|byte| *byte == b',') {
                    numbers.push(decimal(part).ok_or_else(|| bad_map(name))?);
                }
            }
        } else {
            // 0.0: offset and length, again and again.
            for (index, (key, value)) in repeated.iter().enumerate() {
                let wanted: &[u8] = if index % 2 == 0 { b"GNU.sparse.offset" } else { b"GNU.sparse.numbytes" };
                if key != wanted {
                    return Err(bad_map(name));
                }
                numbers.push(decimal(value).ok_or_else(|| bad_map(name))?);
            }
        }
        if !numbers.len().is_multiple_of(2) {
            return Err(bad_map(name));
        }
        if numbers.len() / 2 > SPARSE_PIECES_MAX {
            return Err(Error::limit(format!("{} has more than {SPARSE_PIECES_MAX} pieces", shown(name))));
        }
        Ok(numbers.chunks_exact(2).map(|pair| Piece { offset: pair[0], length: pair[1] }).collect())
    }

    fn map_numbers(&mut self, name: &[u8]) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut digits: Vec<u8> = Vec::new();
        let mut wanted = None;
        loop {
            if self.data_left < BLOCK as u64 {
                return Err(bad_map(name));
            }
            let mut block = [0; BLOCK];
            self.read_exact(&mut block)?;
            self.data_left -= BLOCK as u64;
            for byte in block {
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(bad_map(name));
                    }
                    continue;
                }
                let value = decimal(&digits).ok_or_else(|| bad_map(name))?;
                digits.clear();
                match wanted {
                    None if value > SPARSE_PIECES_MAX as u64 => {
                        return Err(Error::limit(format!("{} has more than {SPARSE_PIECES_MAX} pieces", shown(name))));
                    }
                    None => wanted = Some(value * 2),
                    Some(_) => numbers.push(value),
                }
                if wanted == Some(numbers.len() as u64) {
                    return Ok(numbers);
                }
            }
        }
    }
}

impl Header {
    fn parse(block: Box<[u8; BLOCK]>) -> Result<Self> {
        let field = |from: usize, length: usize| &block[from..from + length];
        let mut name = until_nul(field(0, 100)).to_vec();
        let posix = field(257, 6) == b"ustar\0";
        let prefix = until_nul(field(345, 155));
        if posix && !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        let value = |what: &str, from: usize, length: usize| {
            number(field(from, length)).ok_or_else(|| Error::damaged(format!("{} has a {what} that is no number", shown(&name))))
        };
        let modified_at = signed_number(field(136, 12))
            .ok_or_else(|| Error::damaged(format!("{} has a time that is no number", shown(&name))))?;
        Ok(Self {
            kind: block[156],
            link: until_nul(field(157, 100)).to_vec(),
            mode: value("mode", 100, 8)?,
            // Old writers leave these empty or negative; only an environment looks at them.
            user: number(field(108, 8)).unwrap_or(u64::MAX),
            group: number(field(116, 8)).unwrap_or(u64::MAX),
            size: value("size", 124, 12)?,
            modified_at,
            name,
            block,
        })
    }
}

/// One of several ways to say the same; more than one is a contradiction unless they agree.
fn choose(what: &str, extended: Option<Vec<u8>>, long: Option<Vec<u8>>, short: &[u8]) -> Result<Vec<u8>> {
    match (extended, long) {
        (Some(extended), Some(long)) if extended != long => {
            Err(Error::damaged(format!("an entry has two {what}, {} and {}", shown(&extended), shown(&long))))
        }
        (Some(name), _) | (None, Some(name)) => {
            if name.contains(&0) {
                return Err(Error::refused(&name, "holds a NUL byte"));
            }
            if name.len() > ARCHIVE_NAME_BYTES_MAX {
                return Err(Error::limit(format!("{} is longer than {ARCHIVE_NAME_BYTES_MAX} bytes", shown(&name))));
            }
            Ok(name)
        }
        (None, None) => Ok(short.to_vec()),
    }
}

/// Pieces come in order, do not overlap, stay within the file, and are exactly the data that is stored.
fn check_pieces(pieces: &[Piece], size: u64, stored: u64, name: &[u8]) -> Result<()> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for piece in pieces {
        let next = piece.offset.checked_add(piece.length).ok_or_else(|| bad_map(name))?;
        if piece.offset < end || next > size {
            return Err(bad_map(name));
        }
        end = next;
        sum += piece.length;
    }
    if sum != stored {
        return Err(Error::damaged(format!("{} has {stored} bytes of data where its map says {sum}", shown(name))));
    }
    Ok(())
}

fn bad_map(name: &[u8]) -> Error {
    Error::damaged(format!("{} has a map of its data that makes no sense", shown(name)))
}

fn bad_record(what: &str, text: &[u8]) -> Error {
    Error::damaged(format!("an extended header has a {what} that is no number: {}", shown(text)))
}

/// Records are `LENGTH KEY=VALUE\n`, and the length counts all of it.
fn parse_records(mut data: &[u8]) -> Result<Records> {
    let bad = || Error::damaged("an extended header is malformed");
    let mut records = Records::default();
    while !data.is_empty() {
        // Some writers pad with NUL.
        if data.iter().all(|byte| *byte == 0) {
            break;
        }
        let space = data.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = usize::try_from(decimal(&data[..space]).ok_or_else(bad)?).map_err(|_| bad())?;
        if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &data[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let (key, value) = (record[..equals].to_vec(), record[equals + 1..].to_vec());
        data = &data[length..];
        if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
            records.sparse.push((key, value));
        } else if let Some(before) = records.values.insert(key.clone(), value)
            && records.values.get(&key) != Some(&before)
            && [b"path".as_slice(), b"linkpath", b"size", b"GNU.sparse.name"].contains(&key.as_slice())
        {
            return Err(Error::damaged(format!("an extended header says {} twice and differently", shown(&key))));
        }
    }
    Ok(records)
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with an optional sign and fraction, as in `1700000000.123456789`; digits beyond nanoseconds are cut off.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9).fold(0, |sum, index| sum * 10 + u32::from(fraction.get(index).map_or(0, |digit| digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        // -1.25 is two seconds before 1970 and 0.75 after that.
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// A number of a header: octal digits with spaces around them, or base 256 when the highest bit is set.
fn signed_number(field: &[u8]) -> Option<i64> {
    match field.first()? {
        0x80 | 0xff => {
            // Two's complement in all the field's bytes, with the mark's bits as the sign.
            let negative = field[0] == 0xff;
            let mut value: i128 = if negative { -1 } else { 0 };
            for byte in &field[1..] {
                value = (value << 8) | i128::from(*byte);
            }
            i64::try_from(value).ok()
        }
        _ => {
            let digits = field.split(|byte| *byte == 0).next()?;
            let digits = digits.trim_ascii();
            if !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
                return None;
            }
            Some(digits.iter().fold(0, |value, digit| (value << 3) | i64::from(digit - b'0')))
        }
    }
}

fn number(field: &[u8]) -> Option<u64> {
    u64::try_from(signed_number(field)?).ok()
}

/// The sum of all bytes with the sum's own field as spaces; old writers added signed bytes.
fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let Some(written) = signed_number(&block[148..156]) else { return false };
    let bytes = || block.iter().enumerate().map(|(index, byte)| if (148..156).contains(&index) { b' ' } else { *byte });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    written == unsigned || written == signed
}
