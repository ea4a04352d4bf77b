//! Processes in new namespaces, held by a process descriptor, and their end.
//!
//! [`fork_into`] is a real fork, not a vfork: the child runs our own code for a millisecond. That is sound only while the
//! calling process has one thread, because a lock held by another thread at the moment of the fork would stay locked for ever
//! in the child. So it looks, and refuses.

use std::io;
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::check;

/// Which namespaces a new process gets for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces(u64);

impl Namespaces {
    /// None: everything is shared with the parent.
    pub const NONE: Self = Self(0);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    /// Process ids: the new process is number 1 in it.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    /// System V and POSIX message queues, semaphores, shared memory.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// Host name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    /// Network: empty but for a loopback device that is down.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET as u64);
    /// Control groups: the group the process is in becomes `/`.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);
    /// User and group ids, capabilities.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
}

impl Namespaces {
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

impl BitOr for Namespaces {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// linux/sched.h; the constant of the libc crate is cut to 32 bits, that is, 0.
pub(crate) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child process, held by its descriptor so that its number cannot come to mean another process.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    descriptor: OwnedFd,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// It is gone, and something else has collected its status (`SIGCHLD` is ignored in this process).
    Unknown,
}

impl Child {
    pub(crate) fn new(pid: i32, descriptor: OwnedFd) -> Self {
        Self { pid, descriptor }
    }

    /// Its number in our process namespace. Stays reserved until [`Child::wait`] has returned.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Kills it. One that is already gone is no error.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn kill(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.descriptor, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it is gone.
    ///
    /// # Errors
    /// Only when it is not our child.
    pub fn wait(&self) -> io::Result<Exit> {
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.descriptor.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => {
                    return Ok(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Exit::Code(code),
                        (None, Some(signal)) => Exit::Signal(signal),
                        (None, None) => Exit::Unknown,
                    });
                }
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(Exit::Unknown),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether it has ended, without waiting and without collecting it.
    ///
    /// # Errors
    /// When the descriptor cannot be polled.
    pub fn is_gone(&self) -> io::Result<bool> {
        wait_readable(&self.descriptor, std::time::Duration::ZERO)
    }
}

impl AsFd for Child {
    /// Readable when it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Threads of this process. Needs `/proc`.
///
/// # Errors
/// When `/proc` is not there.
pub fn thread_count() -> io::Result<u64> {
    // A directory has one link for itself, one for its name, and one for each directory in it.
    Ok(rustix::fs::stat(c"/proc/self/task")?.st_nlink.saturating_sub(2))
}

/// Starts a process in new namespaces, and in the v2 cgroup whose directory is given. It runs `body`, and exits with
/// what `body` returns; it never comes back from this function. A panic in `body` ends it with status 101.
///
/// Works inside a sandbox too, where clone3(2) does not exist, if no cgroup is given.
///
/// The new process has copies of all our memory and descriptors. Its parent-death signal is not set.
///
/// # Errors
/// When this process has more than one thread (`EBUSY`: see the module's text), or the kernel refuses.
pub fn fork_into(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>, body: impl FnOnce() -> u8) -> io::Result<Child> {
    if thread_count()? != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let mut descriptor: RawFd = -1;
    let flags = namespaces.0 | libc::CLONE_PIDFD as u64;
    let pid = match cgroup {
        // SAFETY: clone(2) writes the pidfd through a pointer to a live c_int (its `parent_tid`; the arguments after it are zero, so
        // that their order, which differs between processors, does not matter). There is no CLONE_VM and no stack: like fork, the child
        // continues here on its own copy of the stack. This process has one thread (checked above), so no lock of the allocator or of
        // std is held by a thread that does not exist in the child.
        None => check(unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD as u64, 0, &raw mut descriptor, 0, 0) })?,
        Some(cgroup) => {
            let arguments = libc::clone_args {
                flags: flags | CLONE_INTO_CGROUP,
                pidfd: &raw mut descriptor as u64,
                child_tid: 0,
                parent_tid: 0,
                exit_signal: libc::SIGCHLD as u64,
                stack: 0,
                stack_size: 0,
                tls: 0,
                set_tid: 0,
                set_tid_size: 0,
                cgroup: cgroup.as_raw_fd() as u64,
            };
            // SAFETY: as above; clone3(2) reads a live clone_args of the given size. Only this call knows cgroups (5.7).
            check(unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) })?
        }
    };
    if pid == 0 {
        let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: _exit(2) has no requirements. It is used rather than exit() so that nothing of the parent's (buffers,
        // atexit functions) is run a second time in the child.
        unsafe { libc::_exit(i32::from(code)) }
    }
    // SAFETY: the call succeeded with CLONE_PIDFD, so the kernel stored a new descriptor that nobody else owns.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    Ok(Child { pid: i32::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?, descriptor })
}

/// What becomes of a process that is made only for its namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// It has ended when its maker goes on: what is left is a zombie whose `/proc` entry still shows its namespaces. The cheapest way, as
    /// nothing has to be woken up; but the `/proc` files of a zombie belong to the host's root.
    Ended,
    /// It waits to be killed.
    Waiting,
}

/// Makes a process in new namespaces that does nothing, without copying page tables. [`remove_placeholder`] must follow.
pub(crate) fn placeholder_in(namespaces: Namespaces, kind: Placeholder) -> io::Result<i32> {
    let (vfork, call) = match kind {
        Placeholder::Ended => (libc::CLONE_VFORK as u64, libc::SYS_exit),
        Placeholder::Waiting => (0, WAITING_CALL),
    };
    let arguments = libc::clone_args {
        flags: namespaces.0 | libc::CLONE_VM as u64 | vfork,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        // No SIGCHLD: a role process may have a handler that would collect the zombie.
        exit_signal: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // The new process must never run a signal handler: it has no stack of its own. It keeps the mask that it is born with.
    // SAFETY: sigfillset and sigprocmask write to live sets; `before` is initialised by the latter, which fails for no valid set.
    unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result: i64;
    // SAFETY: clone3(2) reads a live clone_args of the given size. With CLONE_VM and no stack of its own the child runs on
    // our memory and with our stack pointer, but it executes only the few instructions after the branch, which touch no memory: it
    // asks to be killed when we die, and then makes a system call (exit, or one that waits for a signal), again and again. All signals are blocked in it, so no handler runs on our
    // stack. The clobbers are those of the syscall instruction; the child changes registers of its own only.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 3f",
            "mov edi, {set_death_signal}",
            "mov esi, {kill}",
            "mov eax, {prctl}",
            "syscall",
            "2:",
            "xor edi, edi",
            "xor esi, esi",
            "xor edx, edx",
            "xor r10d, r10d",
            "mov rax, r12",
            "syscall",
            "jmp 2b",
            "3:",
            inlateout("rax") libc::SYS_clone3 => result,
            inlateout("rdi") &raw const arguments => _,
            inlateout("rsi") size_of::<libc::clone_args>() => _,
            in("r12") call,
            set_death_signal = const libc::PR_SET_PDEATHSIG,
            kill = const libc::SIGKILL,
            prctl = const libc::SYS_prctl,
            out("rdx") _,
            out("r10") _,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as above, with the instructions of this processor.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 3f",
            "mov x0, {set_death_signal}",
            "mov x1, {kill}",
            "mov x8, {prctl}",
            "svc 0",
            "2:",
            "mov x0, xzr",
            "mov x1, xzr",
            "mov x2, xzr",
            "mov x3, xzr",
            "mov x8, x9",
            "svc 0",
            "b 2b",
            "3:",
            in("x8") libc::SYS_clone3,
            in("x9") call,
            set_death_signal = const libc::PR_SET_PDEATHSIG,
            kill = const libc::SIGKILL,
            prctl = const libc::SYS_prctl,
            inlateout("x0") &raw const arguments => result,
            inlateout("x1") size_of::<libc::clone_args>() => _,
            out("x2") _,
            out("x3") _,
            options(nostack),
        );
    }
    // SAFETY: `before` was written by sigprocmask above.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL)));
    }
    i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

/// ppoll(2) of nothing, without a limit of time: with all arguments zero it waits for ever.
const WAITING_CALL: libc::c_long = libc::SYS_ppoll;

/// Ends and collects a process made by [`placeholder_in`].
pub(crate) fn remove_placeholder(pid: i32) {
    let mut status = 0;
    // SAFETY: `pid` is a child of ours that nobody has collected, so it names no other process. kill(2) takes numbers; waitpid(2) writes
    // to a live c_int. __WALL is needed for a child without an exit signal.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, &raw mut status, libc::__WALL);
    }
}

/// Asks for SIGKILL when the *thread* that started this process ends (prctl(2), `PR_SET_PDEATHSIG`). The kernel forgets it when
/// the process changes its user ids, so it is to be asked for again after that.
///
/// # Errors
/// Never in practice.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Becomes an ordinary process for the scheduler, whatever the parent is: a sandbox with a real-time class could stop the machine, and
/// cannot join a control group.
///
/// # Errors
/// Never in practice.
pub fn ordinary_scheduling() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: sched_setscheduler(2) for the calling thread reads a live sched_param.
    check(libc::c_long::from(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const priority) })).map(drop)
}

/// Own process number.
#[must_use]
pub fn own_pid() -> i32 {
    Pid::as_raw(Some(rustix::process::getpid()))
}

/// Writes a step and the error it ended with; [`parse_report`] reads it. Allocates nothing.
pub fn report_error(report: BorrowedFd<'_>, tag: u8, error: &io::Error) {
    let mut bytes = [tag; 5];
    bytes[1..].copy_from_slice(&error.raw_os_error().unwrap_or(libc::EIO).to_le_bytes());
    // There is nobody else to tell.
    let _ = rustix::io::write(report, &bytes);
}

/// Reads what [`report_error`] wrote.
#[must_use]
pub fn parse_report(bytes: &[u8]) -> Option<(u8, io::Error)> {
    let (tag, number) = bytes.split_first()?;
    Some((*tag, io::Error::from_raw_os_error(i32::from_le_bytes(number.get(..4)?.try_into().ok()?))))
}

/// Leaves namespaces for new ones: only for those that concern the calling thread at once (not [`Namespaces::PID`]).
///
/// # Errors
/// As unshare(2).
pub fn unshare(namespaces: Namespaces) -> io::Result<()> {
    let flags = libc::c_int::try_from(namespaces.0).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: unshare(2) with namespace flags only (the type holds nothing else) touches no memory and no descriptor table.
    check(libc::c_long::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// Kills a process that is not our child and waits a moment until it is gone (not collected). One that is gone already is no error.
///
/// # Errors
/// When it may not be signalled.
pub fn kill_now(pid: i32) -> io::Result<()> {
    /// The kernel ends a killed process in well under this, unless it is stuck in a driver.
    const WAIT: std::time::Duration = std::time::Duration::from_secs(1);
    let Some(pid) = Pid::from_raw(pid) else {
        return Ok(());
    };
    let descriptor = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        result => result?,
    };
    match rustix::process::pidfd_send_signal(&descriptor, Signal::KILL) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    wait_readable(&descriptor, WAIT).map(drop)
}

/// A descriptor of a process that becomes readable when the process has ended. `None` when there is no such process.
///
/// # Errors
/// When there are too many descriptors.
pub fn watch(pid: i32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// Waits until a descriptor is readable or has been hung up; `false` when that takes longer.
///
/// # Errors
/// When it cannot be polled.
pub fn wait_readable(descriptor: impl AsFd, limit: std::time::Duration) -> io::Result<bool> {
    let until = std::time::Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let timeout = rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
