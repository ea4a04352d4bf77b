//! Extended attributes: which of them a tree may bring into a layer, and reading and setting them.
//!
//! An allow-list, because an attribute can change what a layer *means*: `user.overlay.*` and `trusted.overlay.*` hide and redirect
//! files of the layers below, `security.selinux` and the like belong to the host.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use crate::Owners;
use crate::error::{Error, Naming, Result};

/// Linux `XATTR_SIZE_MAX` and `XATTR_LIST_MAX`.
const ATTRIBUTE_BYTES_MAX: usize = 65_536;

/// Whether an attribute may come into a layer.
pub(crate) fn is_taken_over(name: &[u8], owners: Owners) -> bool {
    if name.starts_with(b"user.") {
        return !name.starts_with(b"user.overlay.");
    }
    name == b"security.capability" && owners == Owners::Canonical
}

/// The names of all attributes; none where the file system has no such thing.
pub(crate) fn names(file: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> rustix::io::Result<Vec<CString>> {
    /// More than most files have. The kernel takes memory for as much as it is offered, for each file again.
    const SHORT_LIST_BYTES: usize = 256;
    buffer.resize(ATTRIBUTE_BYTES_MAX, 0);
    let mut listed = fs::flistxattr(file, &mut buffer[..SHORT_LIST_BYTES]);
    if listed == Err(Errno::RANGE) {
        listed = fs::flistxattr(file, &mut buffer[..]);
    }
    let length = match listed {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    Ok(buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| CString::new(name).ok())
        .collect())
}

/// The value of one attribute, `None` when it is not there or not for us to see.
pub(crate) fn value(file: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Option<Vec<u8>>> {
    // 64 bytes hold what overlays and capabilities use.
    let mut short = [0; 64];
    match fs::fgetxattr(file, name, &mut short[..]) {
        Ok(length) => return Ok(Some(short[..length].to_vec())),
        Err(Errno::RANGE) => {}
        // EOVERFLOW: a capability of a user namespace that has no meaning in ours.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::OVERFLOW) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    let mut long = vec![0; ATTRIBUTE_BYTES_MAX];
    match fs::fgetxattr(file, name, &mut long[..]) {
        Ok(length) => {
            long.truncate(length);
            Ok(Some(long))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sets one attribute; `false` when this file system or namespace does not allow it.
pub(crate) fn set(file: BorrowedFd<'_>, path: &[u8], name: &[u8], value: &[u8]) -> Result<bool> {
    match fs::fsetxattr(file, name, value, XattrFlags::empty()) {
        Ok(()) => Ok(true),
        // ENOSPC: ext4 says so when they come to more than a block, on a disk that has room. When it has none, the content says so.
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL | Errno::RANGE | Errno::TOOBIG | Errno::NOSPC) => Ok(false),
        Err(errno) => Err(errno).naming(path, "set an attribute"),
    }
}

/// What becomes of one attribute when its file is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The copy gets it too, where that is allowed.
    Taken,
    /// The copy gets it too, or it would not be a copy.
    Vital,
    /// The copy gets it without its value.
    Emptied,
    /// The copy does not get it, and the report counts it.
    Missed,
    /// The copy does not get it: it is not the tree's.
    Dropped,
}

/// In a layer that is made of what a user brought along. What belongs to the host (labels, access lists) is not the tree's; only
/// attributes that users set are missed.
pub(crate) fn in_seed(name: &[u8], owners: Owners) -> Fate {
    if is_taken_over(name, owners) {
        Fate::Taken
    } else if name.starts_with(b"user.") {
        Fate::Missed
    } else {
        Fate::Dropped
    }
}

/// In a layer that gets some of what others show. Access lists are the workload's own here.
pub(crate) fn in_shown(name: &[u8], owners: Owners) -> Fate {
    if is_access_list(name) { Fate::Taken } else { in_seed(name, owners) }
}

fn is_access_list(name: &[u8]) -> bool {
    name == b"system.posix_acl_access" || name == b"system.posix_acl_default"
}

/// In a copy of a layer, as the kernel's overlay documentation has it. What overlayfs notes about the inodes and file systems of the layers below
/// is not true of a copy; that a directory was copied up from *somewhere* still is, and decides how it is listed
/// ([`crate::marks::Marks::make_merged`]). Access lists as in [`in_shown`].
pub(crate) fn in_layer(name: &[u8], is_directory: bool) -> Fate {
    let overlay = name.strip_prefix(b"trusted.overlay.").or_else(|| name.strip_prefix(b"user.overlay."));
    match overlay {
        Some(b"origin") if is_directory => Fate::Emptied,
        Some(b"origin" | b"impure" | b"uuid" | b"nlink") => Fate::Dropped,
        Some(_) => Fate::Vital,
        None if name.starts_with(b"user.") || name == b"security.capability" || is_access_list(name) => Fate::Taken,
        None => Fate::Dropped,
    }
}

/// The attributes that a copy of a layer would have, by name.
pub(crate) fn of_layer(
    file: BorrowedFd<'_>,
    path: &[u8],
    is_directory: bool,
    buffer: &mut Vec<u8>,
) -> Result<Vec<(CString, Vec<u8>)>> {
    let mut kept = Vec::new();
    for name in names(file, buffer).naming(path, "list its attributes")? {
        let value = match in_layer(name.to_bytes(), is_directory) {
            Fate::Dropped | Fate::Missed => None,
            Fate::Emptied => Some(Vec::new()),
            Fate::Taken | Fate::Vital => value(file, &name).naming(path, "read an attribute")?,
        };
        kept.extend(value.map(|value| (name, value)));
    }
    kept.sort_unstable();
    Ok(kept)
}

/// Copies the attributes that are to come along; the answer is how many had to be left behind.
pub(crate) fn copy(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    path: &[u8],
    fate: impl Fn(&[u8]) -> Fate,
    buffer: &mut Vec<u8>,
) -> Result<u64> {
    let mut left_behind = 0;
    for name in names(from, buffer).naming(path, "list its attributes")? {
        let fate = fate(name.to_bytes());
        let value = match fate {
            Fate::Dropped => continue,
            Fate::Missed => {
                left_behind += 1;
                continue;
            }
            Fate::Emptied => Some(Vec::new()),
            Fate::Taken | Fate::Vital => value(from, &name).naming(path, "read an attribute")?,
        };
        let is_set = match value {
            Some(value) => set(to, path, name.to_bytes(), &value)?,
            None => false,
        };
        if !is_set && matches!(fate, Fate::Vital | Fate::Emptied) {
            return Err(Error::system(path, "copy what it says about other layers", Errno::OPNOTSUPP));
        }
        left_behind += u64::from(!is_set);
    }
    Ok(left_behind)
}
