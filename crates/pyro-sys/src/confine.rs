//! Giving up what a process may do, for itself and everything it starts: ids, capabilities, privileges by exec, resources,
//! reach beyond its domain. Nothing here can be taken back, which is the point.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use crate::check;

/// A capability (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names of capabilities(7)")]
pub enum Capability {
    Chown = 0,
    DacOverride = 1,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    Setgid = 6,
    Setuid = 7,
    Setpcap = 8,
    SysChroot = 18,
    SysAdmin = 21,
    Setfcap = 31,
}

/// The mask of some capabilities, as `/proc/<pid>/status` shows it.
#[must_use]
pub fn mask(capabilities: &[Capability]) -> u64 {
    capabilities.iter().fold(0, |mask, capability| mask | 1 << (*capability as u8))
}

/// Highest capability number there can be: two 32-bit words in capset(2).
const CAPABILITY_MAX: u8 = 63;

/// Keeps only these capabilities: bounding, permitted and effective sets. Inheritable and ambient sets become empty.
///
/// # Errors
/// Without CAP_SETPCAP.
pub fn keep_capabilities(kept: &[Capability]) -> io::Result<()> {
    let kept = mask(kept);
    for number in 0..=CAPABILITY_MAX {
        if kept & 1 << number != 0 {
            continue;
        }
        // SAFETY: prctl(2) with PR_CAPBSET_DROP takes a number and touches no memory.
        match check(libc::c_long::from(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) })) {
            Ok(_) => {}
            // One past the last that this kernel has.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let kept = CapabilitySet::from_bits_retain(kept);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Own effective capabilities, as a mask.
///
/// # Errors
/// Never in practice.
pub fn effective_capabilities() -> io::Result<u64> {
    Ok(rustix::thread::capabilities(None)?.effective.bits())
}

/// Own effective user and group id.
#[must_use]
pub fn effective_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Becomes this user and group for good. With `drop_groups` the list of further groups is emptied; where a user namespace with one id
/// forbids that (user_namespaces(7), `setgroups`), it must stay. The process must have one thread.
///
/// # Errors
/// When the ids are not mapped.
pub fn become_user(uid: u32, gid: u32, drop_groups: bool) -> io::Result<()> {
    if drop_groups {
        rustix::thread::set_thread_groups(&[])?;
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Runs `action` with other ids for file access and with every capability that we have, then goes back. What is created
/// belongs to these ids. For root only: the ids are taken, not asked for. Clears the parent-death signal and the dumpable flag of the process
/// (`commit_creds` of the kernel does).
///
/// # Errors
/// Those of `action`; `EPERM` when the ids could not be taken.
pub fn with_file_ids<T>(uid: u32, gid: u32, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = rustix::thread::capabilities(None)?;
    let (own_uid, own_gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    set_file_ids(uid, gid)?;
    // Leaving uid 0 for files takes the file capabilities out of the effective set (capabilities(7)): they are needed.
    let result = rustix::thread::set_capabilities(None, before).map_err(io::Error::from).and_then(|()| action());
    set_file_ids(own_uid, own_gid)?;
    rustix::thread::set_capabilities(None, before)?;
    result
}

fn set_file_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: setfsuid(2) and setfsgid(2) take a number each and touch no memory. They report no errors: the second call,
    // with an id that is not valid, changes nothing and returns the one in force.
    let (now_gid, now_uid) = unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
        (libc::syscall(libc::SYS_setfsgid, u32::MAX), libc::syscall(libc::SYS_setfsuid, u32::MAX))
    };
    if now_uid as u32 == uid && now_gid as u32 == gid { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

/// From now on no exec gives more than we have: set-user-id bits and file capabilities mean nothing.
///
/// # Errors
/// Never in practice.
pub fn no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Makes this process unreadable for others of its user: no ptrace, no `/proc/<pid>/mem`. Until the next exec.
///
/// # Errors
/// Never in practice.
pub fn not_dumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Makes this process readable again for its user, after a change of ids has made it unreadable. Its `/proc` files belong to the host's
/// root as long as it is not, even for itself in a user namespace of its own.
///
/// # Errors
/// Never in practice.
pub fn dumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// Limits of a process that need no control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Open descriptors: what a program gets, and what it may raise that to.
    pub descriptors: (u64, u64),
    /// Processes of one user id. `None`: not set here.
    pub processes: Option<u64>,
}

/// Sets the limits. Never more than the limit there is: raising takes a capability outside.
///
/// # Errors
/// Never in practice.
pub fn limit_process(limits: &ProcessLimits) -> io::Result<()> {
    let (soft, hard) = limits.descriptors;
    lower(Resource::Nofile, soft, hard)?;
    if let Some(processes) = limits.processes {
        lower(Resource::Nproc, processes, processes)?;
    }
    // One byte, not zero: with a `|program` core pattern the kernel ignores the limit unless it is exactly 1, and would start that
    // program *on the host* for a crash inside (fs/coredump.c, "RLIMIT_CORE is set to 1").
    lower(Resource::Core, 1, 1)
}

fn lower(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum.map_or(hard, |now| now.min(hard));
    let limit = Rlimit { current: Some(soft.min(hard)), maximum: Some(hard) };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// `LANDLOCK_CREATE_RULESET_VERSION` (linux/landlock.h).
const LANDLOCK_VERSION: u32 = 1;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL` (linux/landlock.h, ABI 6).
const LANDLOCK_SCOPES: u64 = 0b11;

/// `struct landlock_ruleset_attr` (linux/landlock.h) as of ABI 6.
#[repr(C)]
struct LandlockRuleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// Version of Landlock that the kernel has; 0 when it has none or it is switched off.
#[must_use]
pub fn landlock_version() -> u32 {
    // SAFETY: with this flag landlock_create_ruleset(2) takes no structure, and answers a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<LandlockRuleset>(), 0_usize, LANDLOCK_VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Least version for [`landlock_scope`].
pub const LANDLOCK_SCOPE_VERSION: u32 = 6;

/// Enters a Landlock domain from which no process outside of it can be signalled and no abstract socket outside of it reached.
///
/// It handles no file access on purpose: a domain that does is bound to the inodes of the root it was made for, so that
/// renames would fail for ever once a sandbox gets a new root; and it would say nothing that the mount namespace does not.
///
/// # Errors
/// Before version [`LANDLOCK_SCOPE_VERSION`], or without no-new-privileges.
pub fn landlock_scope() -> io::Result<()> {
    let attributes = LandlockRuleset { handled_access_fs: 0, handled_access_net: 0, scoped: LANDLOCK_SCOPES };
    // SAFETY: landlock_create_ruleset(2) reads a structure of the given size, which lives until it returns.
    let ruleset = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size_of::<LandlockRuleset>(), 0_u32)
    })?;
    let number = i32::try_from(ruleset).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    let ruleset = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: landlock_restrict_self(2) takes a descriptor and flags, and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) }).map(drop)
}

/// Sets the host name of the current UTS namespace.
///
/// # Errors
/// When it is longer than 64 bytes, or the namespace is not ours.
pub fn set_host_name(name: &str) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}
