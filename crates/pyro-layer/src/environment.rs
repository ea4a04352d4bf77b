//! Unpacking an environment: a root file system as mmdebstrap writes it, with its numeric ids.
//!
//! The result is content-addressed: its digest covers everything that a sandbox can see of it but attributes.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::archive::{ArchiveLimits, Policy, Source, unpack};
use crate::error::Result;
use crate::writer::Metadata;
use crate::{Owners, Watch};

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackReport {
    /// Digest of the canonical manifest, 64 hexadecimal digits.
    pub digest: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of file content.
    pub size_bytes: u64,
    /// Device nodes that were left out: a sandbox gets its own `/dev`.
    pub devices_skipped: u64,
    /// Attributes and capabilities that this namespace or file system does not allow.
    pub attributes_left_behind: u64,
}

/// Unpacks a tar stream of a root file system into the empty directory `destination`.
///
/// # Errors
/// As [`crate::import_archive`]. The destination then holds a part, to be discarded.
pub fn unpack_environment(
    archive: impl Read,
    destination: &Path,
    owners: Owners,
    limits: ArchiveLimits,
    watch: Watch<'_>,
) -> Result<UnpackReport> {
    let (report, manifest) = unpack(archive, destination, Policy { owners, source: Source::Environment }, limits, watch)?;
    Ok(UnpackReport {
        digest: manifest.expect("an environment has a manifest").digest(),
        entry_count: report.entry_count,
        size_bytes: report.bytes,
        devices_skipped: report.skipped_count,
        attributes_left_behind: report.attributes_left_behind,
    })
}

/// Every entry of a tree in one canonical form. It says what the *archive* says: the ids are the canonical ones also where the
/// process could not give files away, so the same archive has the same digest in every mode.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Manifest {
    pub(crate) fn directory(&mut self, path: &[u8], metadata: &Metadata) {
        self.record(path, b'd', Some(metadata), 0, b"");
    }

    pub(crate) fn file(&mut self, path: &[u8], metadata: &Metadata, size: u64, hash: blake3::Hash) {
        self.record(path, b'f', Some(metadata), size, hash.as_bytes());
    }

    pub(crate) fn symlink(&mut self, path: &[u8], metadata: &Metadata, target: &[u8]) {
        self.record(path, b'l', Some(metadata), 0, target);
    }

    pub(crate) fn fifo(&mut self, path: &[u8], metadata: &Metadata) {
        self.record(path, b'p', Some(metadata), 0, b"");
    }

    pub(crate) fn hard_link(&mut self, path: &[u8], target: &[u8]) {
        self.record(path, b'h', None, 0, target);
    }

    fn record(&mut self, path: &[u8], kind: u8, metadata: Option<&Metadata>, size: u64, rest: &[u8]) {
        let (mode, (seconds, nanoseconds), (user, group)) = metadata
            .map_or((0, (0, 0), (0, 0)), |metadata| (metadata.mode, metadata.modified_at, metadata.owner.unwrap_or((0, 0))));
        let mut record = vec![kind];
        record.extend_from_slice(&mode.to_le_bytes());
        record.extend_from_slice(&user.to_le_bytes());
        record.extend_from_slice(&group.to_le_bytes());
        record.extend_from_slice(&size.to_le_bytes());
        record.extend_from_slice(&seconds.to_le_bytes());
        record.extend_from_slice(&nanoseconds.to_le_bytes());
        record.extend_from_slice(&(rest.len() as u64).to_le_bytes());
        record.extend_from_slice(rest);
        self.entries.insert(path.to_vec(), record);
    }

    fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        // What the digest is of: a change of the form must not meet an old digest.
        hasher.update(b"pyro layer manifest 1\n");
        for (path, record) in &self.entries {
            hasher.update(&(path.len() as u64).to_le_bytes());
            hasher.update(path);
            hasher.update(record);
        }
        hasher.finalize().to_hex().to_string()
    }
}
