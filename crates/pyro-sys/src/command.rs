//! Starting a command without copying this process, and learning how it ended.
//!
//! The child is made by `clone(CLONE_VM | CLONE_VFORK)` on a stack of its own: it shares our memory and we stand still
//! until it has executed the program or is gone. So the cost does not grow with our memory, and a failure is read out of
//! a variable: the step and the error number, exactly. `posix_spawn` does the same inside but hides the step; `clone3` is
//! refused inside a sandbox, so this is the older `clone`.
//!
//! This must never `fork`, and between clone and exec nothing may allocate, lock, panic or unwind.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::vfork::{BlockedSignals, Stack, default_signals, errno};

#[cfg(test)]
mod tests;

/// A command that is ready to start: everything is in the form that the kernel takes.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Paths to execute, tried in this order while they are not there or may not be executed. Relative ones are looked up from `cwd`.
    pub programs: &'a [CString],
    /// Arguments, the program's own name first.
    pub argv: &'a [CString],
    /// The whole environment.
    pub env: &'a [CString],
    /// Working directory.
    pub cwd: &'a CStr,
    /// Becomes descriptor 0.
    pub stdin: BorrowedFd<'a>,
    /// Becomes descriptor 1.
    pub stdout: BorrowedFd<'a>,
    /// Becomes descriptor 2. No other descriptor is passed on.
    pub stderr: BorrowedFd<'a>,
    /// Descriptor 0 is a terminal that is to control the new session (`TIOCSCTTY` of ioctl_tty(2)).
    pub is_terminal: bool,
}

/// A process that executes its program, leader of its own session and process group.
#[derive(Debug)]
pub struct Spawned {
    /// Process id; ours to wait for, so it is not given to another process before [`wait`] has returned it.
    pub pid: i32,
    /// Readable when the process has ended.
    pub pidfd: OwnedFd,
}

/// Why a command did not start. No process is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// What was being done.
    pub step: Step,
    /// Linux error number.
    pub errno: i32,
}

/// Steps of starting a command, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A process could not be made.
    Clone,
    /// It could not lead a session of its own.
    Session,
    /// The working directory could not be entered.
    ChangeDirectory,
    /// Its descriptors could not be put in place.
    Descriptors,
    /// No program could be executed. The number is that of the first program that is there but cannot be executed, else that of the last.
    Execute,
}

/// How a process ended, and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit code or signal.
    pub status: Status,
    /// Processor time of the process and of the children that it waited for, microseconds.
    pub cpu_us: u64,
    /// Largest resident memory of one of them, KiB.
    pub rss_max_kib: u64,
}

/// Exit code or signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It returned this code.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
}

/// Starts commands; keeps the one stack that their children stand on until they execute.
#[derive(Debug)]
pub struct Spawner {
    stack: Stack,
}

impl Spawner {
    /// Maps the stack.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self { stack: Stack::new()? })
    }

    /// Starts a command. On return it executes its program, in a new session, with default signal dispositions, no signal
    /// blocked, and no descriptor but the three.
    ///
    /// # Errors
    /// The step that failed; no process is left then.
    pub fn spawn(&mut self, command: &Command<'_>) -> Result<Spawned, SpawnError> {
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
        };
        let (programs, argv, env) = (pointers(command.programs), pointers(command.argv), pointers(command.env));
        let mut child = Child {
            programs: programs.as_ptr(),
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            cwd: command.cwd.as_ptr(),
            descriptors: [command.stdin.as_raw_fd(), command.stdout.as_raw_fd(), command.stderr.as_raw_fd()],
            is_terminal: command.is_terminal,
            failure: None,
        };
        let mut pidfd: RawFd = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        let blocked = BlockedSignals::all();
        // SAFETY: clone(2) with CLONE_VM | CLONE_VFORK.
        // - The stack is ours alone: `&mut self` excludes a second spawn, and CLONE_VFORK holds this thread here until the child
        //   no longer uses the memory.
        // - `run_child` only touches `child`, which lives in this frame and outlives the call for the same reason, and what its
        //   pointers lead to: the three vectors above and the C strings borrowed by `command`, which all outlive the call.
        // - Every signal is blocked in this thread, so in the child too, and no handler of ours can run in the child on shared memory.
        // - With CLONE_PIDFD the fifth argument must point to room for one int; `pidfd` is that.
        let pid = unsafe {
            libc::clone(
                run_child,
                self.stack.top(),
                flags,
                (&raw mut child).cast(),
                &raw mut pidfd,
                ptr::null_mut::<libc::c_void>(),
                ptr::null_mut::<libc::c_void>(),
            )
        };
        let clone_errno = errno();
        drop(blocked);
        if pid < 0 {
            return Err(SpawnError { step: Step::Clone, errno: clone_errno });
        }
        // SAFETY: clone succeeded, so it stored a new descriptor that nobody else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        // SAFETY: `child` is a live local. The compiler does not know that the other process wrote it: volatile makes it look.
        match unsafe { (&raw const child.failure).read_volatile() } {
            None => Ok(Spawned { pid, pidfd }),
            Some(failure) => {
                // It has called _exit; this takes it out of the process table.
                let _gone = wait(pid, Wait::UntilEnded);
                Err(failure)
            }
        }
    }
}

/// What the child reads, and the one thing that it writes.
struct Child {
    programs: *const *const libc::c_char,
    argv: *const *const libc::c_char,
    env: *const *const libc::c_char,
    cwd: *const libc::c_char,
    descriptors: [RawFd; 3],
    is_terminal: bool,
    failure: Option<SpawnError>,
}

/// The child, from clone to exec, in the parent's memory.
extern "C" fn run_child(argument: *mut libc::c_void) -> libc::c_int {
    let child = argument.cast::<Child>();
    // SAFETY: `argument` is the `Child` of the waiting `spawn`, valid and not touched by it until we are gone.
    unsafe {
        let failure = prepare_and_execute(&*child);
        (&raw mut (*child).failure).write_volatile(Some(failure));
        libc::_exit(127)
    }
}

/// When memory runs out, the kernel takes a command before the process that serves all commands, however small each of them is: half of what
/// can be added (proc(5), `oom_score_adj`). That it cannot be said is no reason not to start.
fn first_to_go() {
    // SAFETY: a C string, and plain numbers.
    let file = unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    if file >= 0 {
        // SAFETY: the descriptor was just opened and is nobody else's; the buffer is a constant of three bytes.
        unsafe {
            libc::write(file, c"500".as_ptr().cast(), 3);
            libc::close(file);
        }
    }
}

/// Returns only when something failed.
///
/// # Safety
/// To be called in a vfork-style child only, with a `Child` whose pointers are null-terminated arrays of C strings (`cwd`: one C string).
unsafe fn prepare_and_execute(child: &Child) -> SpawnError {
    let failed = |step| SpawnError { step, errno: errno() };
    // SAFETY: setsid has no arguments.
    if unsafe { libc::setsid() } < 0 {
        return failed(Step::Session);
    }
    // SAFETY: this is a vfork-style child, whose dispositions are its own (no CLONE_SIGHAND).
    unsafe { default_signals() };
    first_to_go();
    // SAFETY: `cwd` is a C string (contract of this function).
    if unsafe { libc::chdir(child.cwd) } != 0 {
        return failed(Step::ChangeDirectory);
    }
    let [stdin, stdout, stderr] = child.descriptors;
    let mut high = [stdin, stdout, stderr];
    for descriptor in &mut high {
        // One that is 0, 1 or 2 would be overwritten below, or keep its close-on-exec flag.
        if *descriptor <= 2 {
            // SAFETY: takes plain numbers.
            *descriptor = unsafe { libc::fcntl(*descriptor, libc::F_DUPFD, 3) };
        }
    }
    for (descriptor, number) in high.into_iter().zip(0..) {
        // SAFETY: takes plain numbers; the descriptor table is the child's own (no CLONE_FILES).
        if unsafe { libc::dup2(descriptor, number) } < 0 {
            return failed(Step::Descriptors);
        }
    }
    // SAFETY: takes plain numbers. We lead a session that has no terminal yet, so nobody's is taken away.
    if child.is_terminal && unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
        return failed(Step::Descriptors);
    }
    // SAFETY: takes plain numbers; closes only in the child's own table. By number: older C libraries have no wrapper.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } != 0 {
        return failed(Step::Descriptors);
    }
    let mut failure = SpawnError { step: Step::Execute, errno: libc::ENOENT };
    let mut refused = None;
    let mut next = child.programs;
    // SAFETY: `programs` is a null-terminated array (contract), and we stop at the null.
    while !unsafe { *next }.is_null() {
        // SAFETY: a C string and two null-terminated arrays of C strings (contract).
        unsafe { libc::execve(*next, child.argv, child.env) };
        failure.errno = errno();
        match failure.errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => refused = Some(failure),
            _ => return failure,
        }
        // SAFETY: the element was not the terminating null, so there is one after it.
        next = unsafe { next.add(1) };
    }
    refused.unwrap_or(failure)
}

/// How long to wait for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until it has ended.
    UntilEnded,
    /// Not at all: only look.
    Look,
}

/// Takes an ended child out of the process table. `None` when it has not ended; being stopped is not an end.
///
/// # Errors
/// `ECHILD` when it is not ours or was waited for before.
pub fn wait(pid: i32, how: Wait) -> io::Result<Option<Ended>> {
    assert!(pid > 0, "a process is waited for by its own id, never by group");
    let options = match how {
        Wait::UntilEnded => 0,
        Wait::Look => libc::WNOHANG,
    };
    let mut status = 0;
    // SAFETY: rusage is a plain C structure of integers; all zeros is a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers lead to live locals of the right type.
        let found = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
        match found {
            0 => return Ok(None),
            found if found > 0 => break,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    // The kernel keeps both in eight and seven bits; without WUNTRACED there is no third case.
    let status = if libc::WIFSIGNALED(status) {
        Status::Signal((libc::WTERMSIG(status) & 0x7f) as u8)
    } else {
        Status::Code((libc::WEXITSTATUS(status) & 0xff) as u8)
    };
    let micros = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    Ok(Some(Ended {
        status,
        cpu_us: micros(usage.ru_utime).saturating_add(micros(usage.ru_stime)),
        rss_max_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    }))
}

/// The id of some child that has ended and was not waited for; `None` when there is none now.
///
/// # Errors
/// `ECHILD` when there is no child at all.
pub fn ended_child() -> io::Result<Option<i32>> {
    // SAFETY: siginfo_t is a plain C structure; all zeros is a value of it, and says "no process" if the kernel leaves it alone.
    let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is a live local of the right type. WNOWAIT leaves the child to be waited for by id.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut found, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: waitid fills the fields of SIGCHLD, of which si_pid is one; untouched it is 0.
    let pid = unsafe { found.si_pid() };
    Ok((pid > 0).then_some(pid))
}
