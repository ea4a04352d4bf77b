//! What is needed to start a program from a child that shares our memory: a stack for it, and signals that cannot reach it.
//!
//! Between clone and exec such a child may not allocate, lock, panic or unwind, and writes only to what its parent set aside for it.

use std::io;
use std::ptr;

/// Address space of the child's stack. The child calls a dozen libc wrappers from one function, in an unoptimised build well under
/// 4 KiB; only pages that are touched cost memory.
const STACK_BYTES: usize = 64 * 1024;

/// The stack begins at the end of the mapping; the page at its start stays without access, so that an overflow faults.
const GUARD_BYTES: usize = 4096;

/// A stack for one child at a time.
#[derive(Debug)]
pub(crate) struct Stack {
    /// Start of a private mapping of `STACK_BYTES`, the lowest page of which is a guard.
    bottom: ptr::NonNull<libc::c_void>,
}

// SAFETY: the mapping belongs to this value alone and is not tied to the thread that made it.
unsafe impl Send for Stack {}

impl Stack {
    /// Maps one.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: an anonymous private mapping at an address that the kernel chooses touches no memory that exists.
        let bottom = unsafe {
            libc::mmap(
                ptr::null_mut(),
                STACK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if bottom == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range is the first page of the mapping just made, which nothing else knows of.
        if unsafe { libc::mprotect(bottom, GUARD_BYTES, libc::PROT_NONE) } != 0 {
            let error = io::Error::last_os_error();
            // SAFETY: exactly the mapping just made; nothing points into it.
            unsafe { libc::munmap(bottom, STACK_BYTES) };
            return Err(error);
        }
        Ok(Self { bottom: ptr::NonNull::new(bottom).expect("mmap without MAP_FIXED never gives the address 0") })
    }

    /// One past its highest address, where a stack begins; a page boundary.
    pub(crate) fn top(&mut self) -> *mut libc::c_void {
        self.bottom.as_ptr().wrapping_byte_add(STACK_BYTES)
    }

    /// Its lowest address and its size, as clone3(2) wants it.
    pub(crate) fn range(&mut self) -> (u64, u64) {
        (self.bottom.as_ptr() as u64, STACK_BYTES as u64)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no child uses it, as whoever starts one waits until it has left it.
        unsafe { libc::munmap(self.bottom.as_ptr(), STACK_BYTES) };
    }
}

/// The kernel's own `struct sigaction` (handler, flags, restorer where there is one, mask), all zeros: SIG_DFL, no flags, empty mask.
#[repr(C)]
struct KernelSigaction([u64; 4]);

/// Linux `_NSIG`: the largest signal number.
const SIGNAL_MAX: libc::c_int = 64;

/// Gives every signal its default action and unblocks all: ignored signals and the mask survive an exec. What this process ignores is not
/// ours to know, so it is all of them; 0.1 us each.
///
/// # Safety
/// Only in a child that has been cloned without CLONE_SIGHAND and is about to execute a program: handlers are forgotten.
pub(crate) unsafe fn default_signals() {
    // By number: the C library refuses its own two signals, which an ancestor may have left ignored.
    let default = KernelSigaction([0; 4]);
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: `default` is readable and at least as long as the kernel's structure; no old action is asked for; the last argument
        // is the kernel's size of a signal set. KILL and STOP answer EINVAL, which is as good.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, ptr::null_mut::<libc::c_void>(), 8_usize) };
    }
    // SAFETY: an all-zero sigset_t is the empty set on Linux, and the old set is not asked for.
    unsafe {
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// The last error number.
pub(crate) fn errno() -> libc::c_int {
    // SAFETY: the C library's pointer to this thread's error number is always valid. A vfork-style child shares it with the
    // thread that stands still for it.
    unsafe { *libc::__errno_location() }
}

/// All signals are blocked in this thread while it lives, and so in a child that is started meanwhile: none of our handlers runs there.
pub(crate) struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    pub(crate) fn all() -> Self {
        // SAFETY: both sets are live locals; sigfillset and pthread_sigmask only write them. They cannot fail with these arguments.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: restores the set read in `all`; same thread, since this value is not Send in practice: it lives in one function.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}
