//! System calls that a sandbox is made of, each behind a safe function. The only crate of the product with `unsafe`.
//!
//! It knows the kernel and nothing of the product: no workspace, no directory layout, no error text for people. Functions
//! return [`std::io::Error`] with the number the kernel gave, never a sentence, so that they can be used between a fork
//! and an exec and so that the caller, who knows what it was doing, says it.

#[cfg(not(target_os = "linux"))]
compile_error!("pyro-sys is for Linux only");

pub mod attempt;
pub mod beneath;
pub mod blocked;
pub mod clock;
pub mod command;
pub mod confine;
pub mod files;
pub mod in_root;
pub mod inside;
pub mod interrupt;
pub mod kvm;
pub mod machine;
pub mod memory;
pub mod mount;
pub mod network;
pub mod replace;
pub mod seccomp;
pub mod socket;
pub mod spawn;
pub mod start;
pub mod userns;
mod vfork;
pub mod visit;

/// Turns the result of a raw system call into a [`std::io::Result`].
fn check(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
