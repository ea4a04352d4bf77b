//! Gives back the room that zeros take in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};

/// Zeros are looked for in pieces of this size: of the pages of a file system, and large enough that a gigabyte has few.
const PIECE_BYTES: usize = 64 * 1024;

/// Makes holes where the file has nothing but zeros. It reads the same as before.
///
/// # Errors
/// When it cannot be read. That its file system has no holes is none.
pub fn dig(file: &File) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let length = file.metadata()?.len();
    let mut at = 0;
    while at < length {
        let bytes = usize::try_from(length - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        file.read_exact_at(&mut piece[..bytes], at)?;
        if piece[..bytes].iter().all(|byte| *byte == 0) {
            match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, bytes as u64) {
                Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
                made => made?,
            }
        }
        at += bytes as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_take_no_room_and_everything_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        let mut content = vec![0; 10 * PIECE_BYTES + 100];
        for at in [0, 3 * PIECE_BYTES + 7, 10 * PIECE_BYTES + 99] {
            content[at] = 1;
        }
        std::fs::write(&path, &content).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        file.sync_all().unwrap();
        let before = file.metadata().unwrap().blocks();
        dig(&file).unwrap();
        file.sync_all().unwrap();
        assert!(std::fs::read(&path).unwrap() == content);
        let after = file.metadata().unwrap().blocks();
        // A file system without holes keeps what it had.
        assert!(after == before || after * 512 <= 4 * PIECE_BYTES as u64, "{before} {after}");
    }
}
