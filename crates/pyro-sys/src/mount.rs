//! Mounts by descriptor (the mount API of Linux 5.2, `mount_setattr` of 5.12).
//!
//! A mount is made *detached*: it is in no namespace until [`attach`], so it can be prepared by one process and attached by
//! another, and no path is looked up while it is. Places are given as descriptors from [`crate::beneath`], never as paths through a
//! tree that somebody else wrote.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::check;

/// What a mount does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refuses {
    /// Writes.
    pub writes: bool,
    /// Gaining ids or capabilities by running a file.
    pub set_ids: bool,
    /// Opening device nodes.
    pub devices: bool,
    /// Running files.
    pub programs: bool,
}

impl Refuses {
    /// Nothing.
    pub const NOTHING: Self = Self { writes: false, set_ids: false, devices: false, programs: false };
    /// Everything but writes: what a file system of pure data needs.
    pub const ALL_BUT_WRITES: Self = Self { writes: false, set_ids: true, devices: true, programs: true };
    /// Writes and nothing more: programs and their set-user-id bits work.
    pub const ALL_BUT_PROGRAMS: Self = Self { writes: true, devices: true, ..Self::NOTHING };
    /// Everything.
    pub const ALL: Self = Self { writes: true, ..Self::ALL_BUT_WRITES };

    fn flags(self) -> MountAttrFlags {
        let mut flags = MountAttrFlags::empty();
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.writes);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, self.set_ids);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, self.devices);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, self.programs);
        flags
    }
}

/// One option of a file system.
#[derive(Clone, Copy, Debug)]
pub enum Setting<'a> {
    /// `name`
    Flag(&'a str),
    /// `name=value`; at most 255 bytes (fsconfig(2)).
    Text(&'a str, &'a str),
    /// `name=` the file behind a descriptor.
    Descriptor(&'a str, BorrowedFd<'a>),
}

/// A new instance of a file system, detached. It belongs to the user namespace, process namespace and network namespace of the caller.
///
/// # Errors
/// As fsopen(2), fsconfig(2), fsmount(2).
pub fn new_filesystem(kind: &str, settings: &[Setting<'_>], refuses: Refuses) -> io::Result<OwnedFd> {
    let context = configure(kind, settings)?;
    create(&context, refuses)
}

/// The first half of [`new_filesystem`]: opened and configured, not created.
///
/// # Errors
/// As fsopen(2), fsconfig(2).
pub fn configure(kind: &str, settings: &[Setting<'_>]) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for setting in settings {
        match setting {
            Setting::Flag(name) => fsconfig_set_flag(&context, *name)?,
            Setting::Text(name, value) => fsconfig_set_string(&context, *name, *value)?,
            Setting::Descriptor(name, value) => fsconfig_set_fd(&context, *name, value)?,
        }
    }
    Ok(context)
}

/// The second half of [`new_filesystem`].
///
/// # Errors
/// As fsconfig(2), fsmount(2).
pub fn create(context: impl AsFd, refuses: Refuses) -> io::Result<OwnedFd> {
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, refuses.flags())?)
}

/// A detached copy of the mount at `path` below `start`, with `path` as its root. With an empty path it is `start` itself.
///
/// # Errors
/// As open_tree(2).
pub fn copy(start: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    Ok(open_tree(start, path, flags)?)
}

/// A detached copy of the mount at a path, with everything that is mounted below it.
///
/// # Errors
/// As open_tree(2).
pub fn copy_all_at(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?)
}

/// A detached copy of what a path of the host names. Symbolic links are followed: the path is ours.
///
/// # Errors
/// As open_tree(2).
pub fn copy_of_host_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

/// Attaches a detached mount on a place.
///
/// # Errors
/// As move_mount(2): `EINVAL` when the place is not in our mount namespace.
pub fn attach(mount: impl AsFd, place: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", place, "", flags)?)
}

/// Attaches a detached mount on a path of the host, in our own mount namespace.
///
/// # Errors
/// As move_mount(2).
pub fn attach_at_host_path(mount: impl AsFd, path: &Path) -> io::Result<()> {
    Ok(move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Takes away what is mounted at a path of the host in our own mount namespace, with everything below. The working directory becomes `/`.
///
/// # Errors
/// As umount2(2).
pub fn detach_host_path(path: &Path) -> io::Result<()> {
    rustix::process::chdir("/")?;
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH)?)
}

fn set_attributes(mount: BorrowedFd<'_>, path: &CString, flags: libc::c_int, attributes: &libc::mount_attr) -> io::Result<()> {
    // SAFETY: mount_setattr(2) (5.12) reads a C string and a mount_attr of the given size; both live until it returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}

/// Makes a mount refuse more.
///
/// # Errors
/// As mount_setattr(2).
pub fn restrict(mount: impl AsFd, refuses: Refuses) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: u64::from(refuses.flags().bits()), attr_clr: 0, propagation: 0, userns_fd: 0 };
    set_attributes(mount.as_fd(), &CString::default(), libc::AT_EMPTY_PATH, &attributes)
}

/// Lets a mount be written to again.
///
/// # Errors
/// As mount_setattr(2).
pub fn allow_writes(mount: impl AsFd) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: 0, attr_clr: libc::MOUNT_ATTR_RDONLY, propagation: 0, userns_fd: 0 };
    set_attributes(mount.as_fd(), &CString::default(), libc::AT_EMPTY_PATH, &attributes)
}

/// Translates ids on a detached mount that nobody has used yet: id *i* on disk appears as the id that `user_namespace` maps *i* to.
///
/// # Errors
/// `EINVAL` when the file system cannot do it (most can; tmpfs from 6.3), `EPERM` without CAP_SYS_ADMIN over the file system.
pub fn translate_ids(mount: impl AsFd, user_namespace: impl AsFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_fd().as_raw_fd() as u64,
    };
    set_attributes(mount.as_fd(), &CString::default(), libc::AT_EMPTY_PATH, &attributes)
}

/// Cuts every mount of our namespace off from the namespace it was copied from: nothing we mount appears there.
///
/// # Errors
/// As mount_setattr(2).
pub fn make_all_private() -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    set_attributes(CWD, &CString::from(c"/"), libc::AT_RECURSIVE, &attributes)
}

/// Makes an attached mount the root of our mount namespace and takes everything else away. Our working directory is then `/`.
///
/// # Errors
/// As pivot_root(2) and umount2(2). After an error the namespace is not fit for use.
pub fn pivot_into(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    // pivot_root(2), "pivot_root(".", ".")": the old root is stacked on the new one, and is what `.` then names.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// Mounts an overlay the old way, with names relative to the working directory: before 6.5 there is no other for more than one layer.
///
/// # Errors
/// As mount(2).
pub fn overlay_by_name(at: &Path, options: &str) -> io::Result<()> {
    let options = CString::new(options).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(rustix::mount::mount(c"overlay", at.as_os_str().as_bytes(), c"overlay", flags, options.as_c_str())?)
}
