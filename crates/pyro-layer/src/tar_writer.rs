//! Writing tar: POSIX headers with extended (PAX) records for what does not fit into them.
//!
//! It is the other half of [`crate::tar_reader`], with the same entries, and only what that reads is written. The crate `tar` is not used:
//! it would have to be told every record, checksum and sparse map anyway, since it writes long names the GNU way, no times below a
//! second and no holes of its own accord, and reads files by path.
//!
//! Names are written as the bytes they are. A file with holes is written as GNU sparse format 1.0, which GNU tar and bsdtar unpack with its
//! holes; written in full, a file of a few bytes could make an archive of terabytes.

use std::io::Write;

use crate::error::{Error, Result};
use crate::tar_reader::{TarEntry, TarKind};

const BLOCK: usize = 512;

/// Octal digits of the fields for ids, and for sizes and times.
const ID_DIGITS: usize = 7;
const LONG_DIGITS: usize = 11;

/// Writes entries one after the other.
pub(crate) struct TarWriter<'a> {
    output: std::io::BufWriter<&'a mut dyn Write>,
    /// Bytes of the current entry's data, with the map before it.
    data_bytes: u64,
}

impl<'a> TarWriter<'a> {
    pub(crate) fn new(output: &'a mut dyn Write) -> Self {
        Self { output: std::io::BufWriter::with_capacity(128 * 1024, output), data_bytes: 0 }
    }

    /// Begins an entry. The data of its pieces must follow, all of it and in order.
    pub(crate) fn begin(&mut self, entry: &TarEntry) -> Result<()> {
        let stored: u64 = entry.pieces.iter().map(|piece| piece.length).sum();
        let is_sparse = stored != entry.size;
        let map = if is_sparse { map(entry) } else { Vec::new() };
        let size = stored + map.len() as u64;
        let base = entry.name.strip_suffix(b"/").unwrap_or(&entry.name).rsplit(|byte| *byte == b'/').next().unwrap_or_default();

        let mut records = Records::default();
        let (seconds, nanoseconds) = entry.modified_at;
        if nanoseconds != 0 || !fits(seconds, LONG_DIGITS) {
            records.add(b"mtime", time(seconds, nanoseconds).as_bytes());
        }
        for (key, id) in [(b"uid", entry.user), (b"gid", entry.group)] {
            if !fits_unsigned(id, ID_DIGITS) {
                records.add(key, id.to_string().as_bytes());
            }
        }
        if !fits_unsigned(size, LONG_DIGITS) {
            records.add(b"size", size.to_string().as_bytes());
        }
        let mut name = entry.name.clone();
        if is_sparse {
            records.add(b"GNU.sparse.major", b"1");
            records.add(b"GNU.sparse.minor", b"0");
            records.add_name(b"GNU.sparse.name", &entry.name);
            records.add(b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
            // For readers that know nothing of holes: what they unpack is not the file.
            name = [b"GNUSparseFile.0/", base].concat();
        } else if name.len() > NAME_FIELD_BYTES {
            records.add_name(b"path", &name);
        }
        if entry.link.len() > NAME_FIELD_BYTES {
            records.add_name(b"linkpath", &entry.link);
        }
        for (attribute, value) in &entry.attributes {
            records.add(&[b"SCHILY.xattr.", attribute.as_slice()].concat(), value);
        }
        let records = records.finish();
        if !records.is_empty() {
            let name = [b"PaxHeaders/", base].concat();
            self.header(&name, b'x', &TarEntry::default(), records.len() as u64)?;
            self.block_data(&records)?;
        }
        let kind = match entry.kind {
            TarKind::File => b'0',
            TarKind::HardLink => b'1',
            TarKind::Symlink => b'2',
            TarKind::Directory => b'5',
            TarKind::Fifo => b'6',
            TarKind::Device => return Err(Error::refused(&entry.name, "is a device")),
        };
        self.header(&name, kind, entry, size)?;
        self.data_bytes = 0;
        self.data(&map)
    }

    /// Some of the data of the current entry.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.data_bytes += bytes.len() as u64;
        self.write(bytes)
    }

    /// Ends an entry.
    pub(crate) fn end(&mut self) -> Result<()> {
        let beyond = usize::try_from(self.data_bytes % BLOCK as u64).unwrap_or(0);
        self.data_bytes = 0;
        if beyond > 0 { self.write(&[0; BLOCK][beyond..]) } else { Ok(()) }
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.write(&[0; 2 * BLOCK])?;
        self.output.flush().map_err(unwritten)
    }

    fn block_data(&mut self, bytes: &[u8]) -> Result<()> {
        self.data_bytes = 0;
        self.data(bytes)?;
        self.end()
    }

    fn header(&mut self, name: &[u8], kind: u8, entry: &TarEntry, size: u64) -> Result<()> {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &name[..name.len().min(NAME_FIELD_BYTES)]);
        put(100, octal(entry.mode.into(), ID_DIGITS).as_bytes());
        put(108, octal(entry.user, ID_DIGITS).as_bytes());
        put(116, octal(entry.group, ID_DIGITS).as_bytes());
        put(124, octal(size, LONG_DIGITS).as_bytes());
        put(136, octal(u64::try_from(entry.modified_at.0).unwrap_or(0), LONG_DIGITS).as_bytes());
        // The sum is made as if its own field were spaces.
        put(148, b"        ");
        put(156, &[kind]);
        put(157, &entry.link[..entry.link.len().min(NAME_FIELD_BYTES)]);
        put(257, b"ustar\x0000");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.write(&block)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_all(bytes).map_err(unwritten)
    }
}

fn unwritten(error: std::io::Error) -> Error {
    Error::writing("cannot write the archive", error)
}

/// Name and link field of a header.
const NAME_FIELD_BYTES: usize = 100;

/// Records of an extended header.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    is_binary: bool,
}

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        // ` `, `=` and newline; the length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.bytes.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ", key, b"=", value, b"\n"] {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Names in records are UTF-8 unless something else is said, and on Linux names are bytes.
    fn add_name(&mut self, key: &[u8], name: &[u8]) {
        self.is_binary |= std::str::from_utf8(name).is_err();
        self.add(key, name);
    }

    fn finish(self) -> Vec<u8> {
        if !self.is_binary {
            return self.bytes;
        }
        let mut first = Self::default();
        first.add(b"hdrcharset", b"BINARY");
        [first.bytes, self.bytes].concat()
    }
}

/// The map of a sparse file, in whole blocks. It ends where the file does, also when that is a hole.
fn map(entry: &TarEntry) -> Vec<u8> {
    let end = entry.pieces.last().map_or(0, |piece| piece.offset + piece.length);
    let ends_in_hole = end != entry.size;
    let mut map = format!("{}\n", entry.pieces.len() + usize::from(ends_in_hole));
    for piece in &entry.pieces {
        map.push_str(&format!("{}\n{}\n", piece.offset, piece.length));
    }
    if ends_in_hole {
        map.push_str(&format!("{}\n0\n", entry.size));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

fn fits_unsigned(number: u64, digits: usize) -> bool {
    number < 1 << (3 * digits)
}

fn fits(number: i64, digits: usize) -> bool {
    u64::try_from(number).is_ok_and(|number| fits_unsigned(number, digits))
}

/// A number for a field: 0 when it does not fit, and then a record says it.
fn octal(number: u64, digits: usize) -> String {
    let number = if fits_unsigned(number, digits) { number } else { 0 };
    format!("{number:0digits$o}\0")
}

/// Seconds with a fraction. Two seconds before 1970 and a quarter after that is -1.75.
fn time(seconds: i64, nanoseconds: u32) -> String {
    match (seconds, nanoseconds) {
        (_, 0) => format!("{seconds}"),
        (0.., _) => format!("{seconds}.{nanoseconds:09}"),
        (..0, _) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    }
}

#[cfg(test)]
mod tests;
