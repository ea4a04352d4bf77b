//! Whether a command waits for somebody to type: told from what its processes are blocked in, never from what they have written.

use std::os::fd::BorrowedFd;

use pyro_sys::blocked::{Waiting, waiting};
use rustix::fs::{fstat, stat};

use crate::tree::Tree;

/// Processes of one command that are looked at.
const PROCESSES_MAX: usize = 512;

/// Whether something of a command is blocked in reading a terminal, or the pipe that is its standard input, for however long it takes.
///
/// Who waits for a terminal among other things and has children counts for nothing: it passes on what is typed to one of them (sudo(8), script(1)), and
/// whether that one wants anything is seen by itself.
pub fn is_waiting(tree: &Tree, pipe: Option<BorrowedFd<'_>>) -> bool {
    let members = tree.members();
    let is_input =
        |pid: i32, descriptor: i32| is_terminal(pid, descriptor) || pipe.is_some_and(|pipe| is_pipe(pid, descriptor, pipe));
    members.iter().take(PROCESSES_MAX).any(|(pid, _)| {
        waiting(*pid).iter().any(|waiting| match waiting {
            Waiting::ReadsTerminal => true,
            Waiting::Reads(descriptor) => is_input(*pid, *descriptor),
            Waiting::Polls(descriptors) => {
                let has_children = members.iter().any(|(_, parent)| parent == pid);
                !has_children && descriptors.iter().any(|descriptor| is_input(*pid, *descriptor))
            }
        })
    })
}

fn is_terminal(pid: i32, descriptor: i32) -> bool {
    let Ok(target) = std::fs::read_link(link(pid, descriptor)) else { return false };
    target.starts_with("/dev/pts") || target.as_os_str() == "/dev/tty"
}

fn is_pipe(pid: i32, descriptor: i32, pipe: BorrowedFd<'_>) -> bool {
    let (Ok(theirs), Ok(ours)) = (stat(link(pid, descriptor)), fstat(pipe)) else { return false };
    (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
}

fn link(pid: i32, descriptor: i32) -> String {
    format!("/proc/{pid}/fd/{descriptor}")
}
