//! What the first process of a machine of its own needs: modules, randomness, the clock, its root, and the end.
//!
//! Everything here acts on the whole machine. It is for a guest whose first process is ours; nothing on a host calls it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, move_mount};
use rustix::system::RebootCommand;
use rustix::time::{ClockId, Timespec};

use crate::check;

/// Loads a kernel module. One that is loaded already is no error.
///
/// # Errors
/// As finit_module(2).
pub fn load_module(module: impl AsFd) -> io::Result<()> {
    match rustix::system::finit_module(module, c"", 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `RNDRESEEDCRNG` of linux/random.h: `_IO('R', 0x07)`.
const RESEED: libc::c_ulong = 0x5207;

/// Mixes bytes into the kernel's random number generator, and makes it use them from now on. What it gave before says nothing about what it
/// gives after, as long as nobody else knows the bytes.
///
/// # Errors
/// As random(4); `ENODATA` when the generator has never been seeded.
pub fn reseed_randomness(bytes: &[u8]) -> io::Result<()> {
    let mut device = File::options().write(true).open("/dev/urandom")?;
    device.write_all(bytes)?;
    // SAFETY: this request takes no argument.
    check(libc::c_long::from(unsafe { libc::ioctl(device.as_raw_fd(), RESEED as _) })).map(drop)
}

/// Sets the clock of the machine, in nanoseconds since 1970.
///
/// # Errors
/// As clock_settime(2).
pub fn set_clock(unix_time_ns: u64) -> io::Result<()> {
    let time = std::time::Duration::from_nanos(unix_time_ns);
    let time = Timespec::try_from(time).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    Ok(rustix::time::clock_settime(ClockId::Realtime, time)?)
}

/// Makes a mounted directory the root of this mount namespace, and of this process, whose working directory is then `/`. Unlike
/// [`crate::mount::pivot_into`] it works where the root is the kernel's first file system, which stays below for ever (pivot_root(2), NOTES).
///
/// # Errors
/// As move_mount(2) and chroot(2).
pub fn switch_root(root: &Path) -> io::Result<()> {
    rustix::process::chdir(root)?;
    move_mount(CWD, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

/// Makes `root` the root of this process only.
///
/// # Errors
/// As chroot(2).
pub fn enter_root(root: &Path) -> io::Result<()> {
    rustix::process::chroot(root)?;
    Ok(rustix::process::chdir("/")?)
}

/// Writes out what is not on disk yet, and restarts the machine: how a machine that is told not to restart ends. Returns only when it could not.
///
/// # Errors
/// As reboot(2).
pub fn end() -> io::Result<()> {
    rustix::fs::sync();
    Ok(rustix::system::reboot(RebootCommand::Restart)?)
}
