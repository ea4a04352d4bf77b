//! Kernels and modules without their compression, which is told by their first bytes.

use std::io::{self, Read as _};

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

/// Largest kernel or module without its compression. A kernel of Debian's has 60 MiB.
const SIZE_BYTES_MAX: u64 = 512 << 20;

/// What is never compressed.
const ELF: &[u8] = b"\x7fELF";

/// The content of an ELF file that is plain or compressed with zstd, gzip or xz. What lies behind the compressed part is left alone.
///
/// # Errors
/// `InvalidData` when it is compressed otherwise, damaged, too large or no ELF file.
pub(super) fn elf(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let content = match bytes {
        _ if bytes.starts_with(ELF) => return Ok(bytes.to_vec()),
        _ if bytes.starts_with(b"\x28\xb5\x2f\xfd") => read(StreamingDecoder::new(bytes).map_err(io::Error::other)?)?,
        _ if bytes.starts_with(b"\x1f\x8b") => read(GzDecoder::new(bytes))?,
        _ if bytes.starts_with(b"\xfd7zXZ\0") => read(XzReader::new(bytes, false))?,
        _ => return Err(invalid("compressed with neither zstd nor gzip nor xz")),
    };
    if content.starts_with(ELF) { Ok(content) } else { Err(invalid("no ELF file")) }
}

fn read(input: impl io::Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    input.take(SIZE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > SIZE_BYTES_MAX { Err(invalid("too large")) } else { Ok(content) }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is {what}"))
}
