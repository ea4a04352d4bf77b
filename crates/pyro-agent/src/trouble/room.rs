//! Whether a command that failed had no room left to write.

use std::path::{Path, PathBuf};

use pyro_wire::Bytes;

/// Where commands write that name no place of their own: hier(7).
const USUAL_PLACES: [&str; 6] = ["/workspace", "/tmp", "/var/tmp", "/root", "/dev/shm", "/run"];

/// Less than this is none: the smallest write that a program would notice as missing is a page.
const ROOM_BYTES_MIN: u64 = 4096;

/// The first of the working directory and the usual places whose file system has no room for bytes or for files.
///
/// A program that gives room back before it ends is not seen through: then its own words are all there is.
pub fn full_directory(cwd: &Path) -> Option<Bytes> {
    let places = std::iter::once(cwd.to_owned()).chain(USUAL_PLACES.iter().map(PathBuf::from));
    places.filter(|place| is_full(place)).map(|place| Bytes::from(place.as_os_str())).next()
}

fn is_full(directory: &Path) -> bool {
    let Ok(state) = rustix::fs::statvfs(directory) else { return false };
    // A file system that counts neither (devtmpfs of some kernels, overlay of nothing) says zero of everything.
    let bytes = state.f_blocks > 0 && state.f_bavail.saturating_mul(state.f_frsize) < ROOM_BYTES_MIN;
    bytes || (state.f_files > 0 && state.f_favail == 0)
}
