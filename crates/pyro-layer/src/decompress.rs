//! An archive's outer form: plain, gzip or zstd, told by its first bytes and never by its name.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::ZSTD_WINDOW_BYTES_MAX;

type Input<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// Size of the buffer in front of a file: one full pipe, twice.
const INPUT_BUFFER_BYTES: usize = 128 * 1024;

/// The bytes of an archive without its compression.
pub(crate) enum Decompressed<R: Read> {
    Plain(Input<R>),
    Gzip(Box<MultiGzDecoder<Input<R>>>),
    Zstd(Box<ZstdStream<Input<R>>>),
}

/// Looks at the first bytes.
pub(crate) fn open<R: Read>(mut input: R) -> Result<Decompressed<R>> {
    let mut first = Vec::with_capacity(6);
    input.by_ref().take(6).read_to_end(&mut first).map_err(|error| Error::reading("cannot read the archive", error))?;
    let other = |name: &str| Err(Error::new(ErrorKind::Refused, format!("the archive is {name}; give tar, tar.gz or tar.zst")));
    if first.is_empty() {
        return Err(Error::damaged("the archive is empty"));
    }
    if first.starts_with(b"\xfd7zXZ") {
        return other("compressed with xz");
    }
    if first.starts_with(b"BZh") {
        return other("compressed with bzip2");
    }
    if first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06") {
        return other("a zip file");
    }
    let gzip = first.starts_with(b"\x1f\x8b");
    let zstd =
        first.starts_with(b"\x28\xb5\x2f\xfd") || (first.len() >= 4 && first[0] & 0xf0 == 0x50 && first[1..4] == *b"\x2a\x4d\x18");
    let input = BufReader::with_capacity(INPUT_BUFFER_BYTES, Cursor::new(first).chain(input));
    Ok(if gzip {
        Decompressed::Gzip(Box::new(MultiGzDecoder::new(input)))
    } else if zstd {
        Decompressed::Zstd(Box::new(ZstdStream::new(input)))
    } else {
        Decompressed::Plain(input)
    })
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(input) => input.read(buffer),
            Self::Zstd(input) => input.read(buffer),
        }
    }
}

/// A sequence of zstd frames, as `zstd -T0` and `pzstd` write them, with their checksums checked.
pub(crate) struct ZstdStream<R> {
    input: R,
    decoder: FrameDecoder,
    inside_frame: bool,
}

impl<R: BufRead> ZstdStream<R> {
    fn new(input: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
        Self { input, decoder, inside_frame: false }
    }

    /// Starts the next frame; `false` at the end.
    fn start_frame(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            let mut magic = [0; 4];
            self.input.read_exact(&mut magic)?;
            // Skippable frames (RFC 8878, 3.1.2): pzstd puts sizes in them.
            if magic[0] & 0xf0 == 0x50 && magic[1..] == *b"\x2a\x4d\x18" {
                let mut length = [0; 4];
                self.input.read_exact(&mut length)?;
                let length = u64::from(u32::from_le_bytes(length));
                if io::copy(&mut self.input.by_ref().take(length), &mut io::sink())? != length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            self.decoder.reset(Cursor::new(magic).chain(&mut self.input)).map_err(io::Error::other)?;
            return Ok(true);
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for ZstdStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.inside_frame {
                if !self.start_frame()? {
                    return Ok(0);
                }
                self.inside_frame = true;
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.decoder.is_finished() {
                let written = self.decoder.get_checksum_from_data();
                if written.is_some() && written != self.decoder.get_calculated_checksum() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the zstd checksum does not fit"));
                }
                self.inside_frame = false;
                continue;
            }
            self.decoder.decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBlocks(1)).map_err(io::Error::other)?;
        }
    }
}
