//! The system call filter: what commands inside may ask the kernel for.
//!
//! [`table`] is the list, each group with its reason; [`program`] turns it into a filter whose cost to load is small. What is not on the
//! list does not exist (`ENOSYS`), so that programs take their fallback. There is no way to run without it.

pub mod program;
pub mod table;

use std::io;

use crate::check;
pub use program::{Instruction, Program};

/// Which filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The list as it is.
    Standard,
    /// For a sandbox with one user id: changing owners and ids answers success and does nothing, so that package managers work.
    FakeRoot,
    /// Only what [`Filter::FakeRoot`] adds, and everything else allowed: for a trusted tool outside that believes it is root, in a
    /// user namespace with a single id. It isolates nothing.
    PretendOnly,
}

/// Puts [`Filter::PretendOnly`] on the calling thread and what it starts, for ever.
///
/// # Errors
/// When the kernel has no seccomp.
pub fn pretend_to_be_root() -> io::Result<()> {
    crate::confine::no_new_privileges()?;
    install(&Program::build(Filter::PretendOnly))
}

/// `SECCOMP_SET_MODE_FILTER` (linux/seccomp.h).
const SET_MODE_FILTER: libc::c_uint = 1;

/// Filters this thread and everything it starts, for ever. Needs no-new-privileges.
///
/// # Errors
/// When the kernel has no seccomp, or refuses the program.
pub fn install(program: &Program) -> io::Result<()> {
    let instructions = program.instructions();
    let length = u16::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let header = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: seccomp(2) reads a sock_fprog and `len` instructions behind it. `Instruction` has the layout of sock_filter
    // (`repr(C)`, the same fields), the slice lives until the call returns, and the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const header) }).map(drop)
}
