//! The kernel: an uncompressed ELF file out of the image that a boot loader would be given.
//!
//! The monitor jumps right into it, through the entry that the kernel has for that (PVH), so nothing has to be decompressed at each start.

use std::fs;
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};

use super::{MICROVM, cannot_pick, decompress, not_in_packages};

/// The kernel's release and its image. There is exactly one: two would leave it to chance.
pub(super) fn find(tree: &Path) -> Result<(String, PathBuf)> {
    let mut found = None;
    for entry in fs::read_dir(tree.join("boot")).map_err(cannot_pick)? {
        let entry = entry.map_err(cannot_pick)?;
        let name = entry.file_name();
        let Some(release) = name.to_str().and_then(|name| name.strip_prefix("vmlinuz-")) else { continue };
        if !entry.file_type().map_err(cannot_pick)?.is_file() {
            continue;
        }
        if found.replace((release.to_owned(), entry.path())).is_some() {
            return Err(Error::unavailable(format!("{MICROVM} cannot be built: its packages hold more than one kernel")));
        }
    }
    found.ok_or_else(|| not_in_packages("boot/vmlinuz-*"))
}

/// The ELF file in a bzImage.
pub(super) fn uncompressed(image: &[u8]) -> Result<Vec<u8>> {
    let refused =
        |why: String| Error::unavailable(format!("{MICROVM} cannot be built: the kernel cannot be taken out of its image: {why}"));
    let payload = payload(image).ok_or_else(|| refused("it is no bzImage that says where its payload is".to_owned()))?;
    decompress::elf(payload).map_err(|error| refused(error.to_string()))
}

/// Where the header of a bzImage says what (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
/// Since this version of the protocol the header says where the payload is.
const VERSION_MIN: u16 = 0x0208;
const SECTOR_BYTES: usize = 512;

/// The compressed kernel. Behind a zstd frame follows its size, four bytes, which the decoder does not look at.
fn payload(image: &[u8]) -> Option<&[u8]> {
    if image.get(MAGIC..MAGIC + 4)? != b"HdrS" {
        return None;
    }
    let version = u16::from_le_bytes(image.get(VERSION..VERSION + 2)?.try_into().ok()?);
    if version < VERSION_MIN {
        return None;
    }
    let number = |at: usize| usize::try_from(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?)).ok();
    // 0 stands for 4: the oldest kernels did not fill it in.
    let setup_sectors = match image.get(SETUP_SECTORS)? {
        0 => 4,
        &sectors => usize::from(sectors),
    };
    let start = ((setup_sectors + 1) * SECTOR_BYTES).checked_add(number(PAYLOAD_OFFSET)?)?;
    image.get(start..start.checked_add(number(PAYLOAD_LENGTH)?)?)
}
