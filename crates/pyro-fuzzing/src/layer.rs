//! Archives of users and of environments.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use pyro_layer::{ArchiveLimits, Owners, Progress, import_archive, remove_tree, unpack_environment};

use crate::input::numbers;

/// Small, so that they are met, and nothing large is ever written.
const LIMITS: ArchiveLimits = ArchiveLimits { entries_max: 100, bytes_max: 256 << 10 };

const BLOCK: usize = 512;

/// The first byte says whether the checksums of headers are put right (1) and whether it is an environment's (2); behind it is the archive. Whatever it is, it ends, within
/// the limits, and has made nothing outside of its destination.
pub fn archive(bytes: &[u8]) {
    let ([choice], bytes) = numbers(bytes);
    let mut archive = bytes.to_vec();
    if choice & 1 != 0 {
        archive.chunks_exact_mut(BLOCK).filter(|block| is_header(block)).for_each(put_checksum_right);
    }
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let (destination, beside) = (scratch.path().join("destination"), scratch.path().join("beside"));
    fs::create_dir(&destination).expect("a directory");
    fs::write(&beside, b"as it was").expect("a file");
    let mut go_on = |_: Progress| ControlFlow::Continue(());
    let outcome = if choice & 2 == 0 {
        import_archive(archive.as_slice(), &destination, Owners::CallerOnly, LIMITS, &mut go_on).map(|report| report.entry_count)
    } else {
        unpack_environment(archive.as_slice(), &destination, Owners::CallerOnly, LIMITS, &mut go_on)
            .map(|report| report.entry_count)
    };
    match outcome {
        Ok(entry_count) => assert!(entry_count <= LIMITS.entries_max, "{entry_count} entries"),
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{:?}", error.to_string()),
    }
    assert_eq!(fs::read(&beside).expect("it is there"), b"as it was");
    assert_eq!(fs::read_dir(scratch.path()).expect("it can be listed").count(), 2, "something is beside the destination");
    let metadata = fs::symlink_metadata(&beside).expect("it is there");
    assert_eq!(metadata.nlink(), 1, "it has another name within the destination");
    let (count, bytes) = size(&destination);
    // Directories that are named by what is in them are made without an entry of their own.
    assert!(count <= LIMITS.entries_max * 64 && bytes <= 2 * LIMITS.bytes_max, "{count} names, {bytes} bytes");
    remove_tree(&destination).expect("what was unpacked can be removed");
}

/// Not of zeros, and the mark of ustar or room for it: so that content is left as it is, mostly.
fn is_header(block: &[u8]) -> bool {
    block[257..262] == *b"ustar"
}

fn put_checksum_right(block: &mut [u8]) {
    let sum: u32 = block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Names below a directory, and the blocks of their files.
fn size(directory: &Path) -> (u64, u64) {
    let (mut count, mut bytes) = (0, 0);
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            count += 1;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.is_file() {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    (count, bytes)
}
