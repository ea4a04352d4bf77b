//! Starting a program as a process of new namespaces, without copying this one.
//!
//! As in [`crate::command`] the child shares our memory on a stack of its own and we stand still until it has executed the program or is
//! gone. What is different: it may get namespaces and a v2 control group, and it executes a file that need not have a name. This is for the
//! outside; it needs clone3(2).

use std::ffi::{CStr, c_char, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::command::{Wait, wait};
use crate::spawn::{CLONE_INTO_CGROUP, Child, Namespaces};
use crate::vfork::{BlockedSignals, Stack, default_signals, errno};

/// A program to start.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The file; may be an `O_PATH` descriptor of one in no mount namespace.
    pub file: BorrowedFd<'a>,
    /// Arguments, its own name first. Its environment is empty.
    pub arguments: &'a [&'a CStr],
    /// Its descriptors: 0, 1, 2, …; it gets no other.
    pub descriptors: &'a [BorrowedFd<'a>],
}

/// Why a program did not start. No process is left.
#[derive(Debug)]
pub enum Failure {
    /// A process could not be made: the kernel refused it, or the namespaces.
    Process(io::Error),
    /// The program could not be executed.
    Execute(io::Error),
}

/// Most descriptors and arguments of a program.
const LIST_MAX: usize = 16;

/// What the child reads, and the one thing that it writes.
struct Plan {
    file: RawFd,
    argv: [*const c_char; LIST_MAX + 1],
    descriptors: [RawFd; LIST_MAX],
    count: RawFd,
    /// An error number; 0 when there was none.
    failure: i32,
}

/// Starts a program in new namespaces, and in the v2 control group whose directory is given. It is the leader of a session of its own,
/// has default signals, and is killed when this *thread* ends (prctl(2), `PR_SET_PDEATHSIG`).
///
/// # Errors
/// See [`Failure`].
pub fn start_in(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>, program: &Program<'_>) -> Result<Child, Failure> {
    if program.descriptors.len() > LIST_MAX || program.arguments.len() > LIST_MAX {
        return Err(Failure::Process(io::Error::from_raw_os_error(libc::E2BIG)));
    }
    let mut stack = Stack::new().map_err(Failure::Process)?;
    let mut plan = Plan {
        file: program.file.as_raw_fd(),
        argv: [std::ptr::null(); LIST_MAX + 1],
        descriptors: [-1; LIST_MAX],
        count: program.descriptors.len() as RawFd,
        failure: 0,
    };
    for (slot, argument) in plan.argv.iter_mut().zip(program.arguments) {
        *slot = argument.as_ptr();
    }
    for (slot, descriptor) in plan.descriptors.iter_mut().zip(program.descriptors) {
        *slot = descriptor.as_raw_fd();
    }
    let mut pidfd: RawFd = -1;
    let (bottom, size) = stack.range();
    let base = namespaces.bits() | (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64;
    let arguments = libc::clone_args {
        flags: base | cgroup.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: bottom,
        stack_size: size,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |cgroup| cgroup.as_raw_fd() as u64),
    };
    let blocked = BlockedSignals::all();
    // SAFETY: the stack is a live mapping that only this child uses. CLONE_VFORK holds this thread until the child has left our
    // memory, so `plan`, what it points to and `pidfd` outlive its use of them. All signals are blocked, so none of our handlers runs in it.
    let result = unsafe { clone3(&arguments, execute, (&raw mut plan).cast()) };
    drop(blocked);
    if result < 0 {
        return Err(Failure::Process(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL))));
    }
    // SAFETY: the call succeeded with CLONE_PIDFD, so the kernel stored a new descriptor that nobody else owns.
    let descriptor = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(result).map_err(|_| Failure::Process(io::Error::from_raw_os_error(libc::EOVERFLOW)))?;
    // SAFETY: `plan` is a live local. The compiler does not know that the other process wrote it: volatile makes it look.
    match unsafe { (&raw const plan.failure).read_volatile() } {
        0 => Ok(Child::new(pid, descriptor)),
        number => {
            // It has called _exit; this takes it out of the process table.
            let _gone = wait(pid, Wait::UntilEnded);
            Err(Failure::Execute(io::Error::from_raw_os_error(number)))
        }
    }
}

/// The child, from clone to exec, in the parent's memory.
extern "C" fn execute(argument: *mut c_void) -> ! {
    let plan = argument.cast::<Plan>();
    // SAFETY: `argument` is the `Plan` of the waiting `start_in`, valid and not touched by it until we are gone.
    unsafe {
        let number = prepare_and_execute(&*plan);
        (&raw mut (*plan).failure).write_volatile(number);
        libc::_exit(127)
    }
}

/// Returns only when something failed: with the error number.
///
/// # Safety
/// In a vfork-style child only; `argv` is a null-terminated array of C strings.
unsafe fn prepare_and_execute(plan: &Plan) -> i32 {
    // SAFETY: calls that take plain numbers and change this process alone; its descriptor table and signal actions are its own (neither
    // CLONE_FILES nor CLONE_SIGHAND). execveat(2) gets an empty path and two null-terminated arrays that live in the waiting parent.
    unsafe {
        if libc::setsid() < 0 || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return errno();
        }
        default_signals();
        // First all copied above the numbers that are written over.
        let mut copies = plan.descriptors;
        let file = libc::fcntl(plan.file, libc::F_DUPFD_CLOEXEC, plan.count);
        if file < 0 {
            return errno();
        }
        for copy in &mut copies[..plan.count as usize] {
            *copy = libc::fcntl(*copy, libc::F_DUPFD_CLOEXEC, plan.count);
            if *copy < 0 {
                return errno();
            }
        }
        for (number, copy) in (0..).zip(&copies[..plan.count as usize]) {
            if libc::dup2(*copy, number) < 0 {
                return errno();
            }
        }
        if libc::syscall(libc::SYS_close_range, plan.count, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0 {
            return errno();
        }
        let env: [*const c_char; 1] = [std::ptr::null()];
        libc::syscall(libc::SYS_execveat, file, c"".as_ptr(), plan.argv.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH);
        errno()
    }
}

/// clone3(2) for a child on a stack of its own, which runs `body(argument)`. Gives the process id, or a negative error number.
///
/// # Safety
/// The stack that `arguments` names must be the child's alone while it uses our memory, and everything that `body` reaches must live until
/// then: with CLONE_VM, CLONE_VFORK must be given too.
unsafe fn clone3(arguments: &libc::clone_args, body: extern "C" fn(*mut c_void) -> !, argument: *mut c_void) -> i64 {
    let result: i64;
    // SAFETY: clone3(2) reads a live clone_args of the given size. In the parent the call returns and the branch is taken. The child goes on
    // at the top of its own stack, which is aligned as calls demand it, touches nothing of ours, and never returns from `body`. The clobbers
    // are those of the system call instruction.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") std::ptr::from_ref(arguments),
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") argument,
            in("r13") body,
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
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x9",
            "blr x10",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            in("x9") argument,
            in("x10") body,
            inlateout("x0") std::ptr::from_ref(arguments) => result,
            in("x1") size_of::<libc::clone_args>(),
            options(nostack),
        );
    }
    result
}

#[cfg(test)]
mod tests;
