//! Extended attributes: which of them a tree may bring into a layer, and reading and setting them.
//!
//! An allow-list, because an attribute can change what a layer *means*: `user.overlay.*` and `trusted.overlay.*` hide and redirect
//! files of the layers below, `security.selinux` and the like belong to the host.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use crate::Owners;
use crate::error::{Naming, Result};

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
    buffer.resize(ATTRIBUTE_BYTES_MAX, 0);
    let length = match fs::flistxattr(file, &mut buffer[..]) {
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
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL | Errno::RANGE | Errno::TOOBIG) => Ok(false),
        Err(errno) => Err(errno).naming(path, "set an attribute"),
    }
}

/// Copies the attributes that may come along; the answer is how many had to be left behind.
pub(crate) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &[u8], owners: Owners, buffer: &mut Vec<u8>) -> Result<u64> {
    let mut left_behind = 0;
    for name in names(from, buffer).naming(path, "list its attributes")? {
        if !is_taken_over(name.to_bytes(), owners) {
            // What belongs to the host (labels, access lists) is not the tree's; only attributes that users set are missed.
            left_behind += u64::from(name.to_bytes().starts_with(b"user."));
            continue;
        }
        match value(from, &name).naming(path, "read an attribute")? {
            Some(value) => left_behind += u64::from(!set(to, path, name.to_bytes(), &value)?),
            None => left_behind += 1,
        }
    }
    Ok(left_behind)
}
