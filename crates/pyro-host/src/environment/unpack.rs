//! From a tar stream to the tree of a layer, with the stream's digest.

use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use pyro_api::{Error, Result};

use super::IdMode;
use super::manifest::failed;

/// What was unpacked.
pub(super) struct Unpacked {
    /// Digest of the stream: the same packages give the same.
    pub digest: String,
    pub size_bytes: u64,
}

const CHUNK_BYTES: usize = 256 * 1024;

/// Unpacks a stream into a directory that it makes.
pub(super) fn unpack(mut stream: impl Read, root: &Path, id_mode: IdMode, progress: &mut dyn FnMut(u64)) -> Result<Unpacked> {
    let broke = |error: io::Error| failed("cannot unpack the environment", error);
    std::fs::create_dir(root).map_err(broke)?;
    let owner = if id_mode == IdMode::Single { "--no-same-owner" } else { "--same-owner" };
    let mut tar = Command::new("tar")
        .args(["--extract", "--numeric-owner", owner, "--preserve-permissions", "--xattrs", "--xattrs-include=*", "--directory"])
        .arg(root)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(broke)?;
    let mut digest = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut total = 0;
    if let Some(mut input) = tar.stdin.take() {
        loop {
            let count = stream.read(&mut chunk).map_err(broke)?;
            let bytes = chunk.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            digest.update(bytes);
            input.write_all(bytes).map_err(broke)?;
            total += count as u64;
            progress(total);
        }
    }
    let status = tar.wait().map_err(broke)?;
    if !status.success() || total == 0 {
        return Err(Error::internal("cannot unpack the environment: the stream is not a whole archive"));
    }
    Ok(Unpacked { digest: digest.finalize().to_hex().to_string(), size_bytes: total })
}
