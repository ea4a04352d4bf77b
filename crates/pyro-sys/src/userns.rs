//! User namespaces: made by a parent that stays outside, with their id maps.
//!
//! Trust: whoever writes the maps decides which ids of the outside exist inside. A map is written once and never again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::spawn::{Namespaces, Placeholder, placeholder_in, remove_placeholder, unshare};

/// `count` ids from `inside` on are the ids from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id outside: in the namespace of whoever writes the map.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The id maps of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMaps {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

/// A user namespace that no process may be left in; it lives while the descriptor does.
#[derive(Debug)]
pub struct UserNamespace {
    descriptor: OwnedFd,
    /// What it was made with, until somebody has time to collect it.
    placeholder: Option<Remains>,
}

/// A process made for its namespaces; collected when this is dropped.
#[derive(Debug)]
struct Remains(i32);

impl Drop for Remains {
    fn drop(&mut self) {
        remove_placeholder(self.0);
    }
}

impl AsFd for UserNamespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl From<OwnedFd> for UserNamespace {
    /// A descriptor of one, received from whoever made it.
    fn from(descriptor: OwnedFd) -> Self {
        Self { descriptor, placeholder: None }
    }
}

impl UserNamespace {
    /// Makes one and writes its maps. Needs CAP_SETUID and CAP_SETGID where we are. `as_host_root`: our id 0 is the host's, which is
    /// quicker.
    ///
    /// # Errors
    /// When the kernel allows no more of them, or not these maps.
    pub fn create(maps: &IdMaps, as_host_root: bool) -> io::Result<Self> {
        // The files of a zombie can be written by the host's root only.
        let kind = if as_host_root { Placeholder::Ended } else { Placeholder::Waiting };
        Self::of_placeholder(kind, |pid| {
            write_map(pid, "uid_map", &maps.users)?;
            write_map(pid, "gid_map", &maps.groups)
        })
    }

    /// Makes one whose maps are written by `newuidmap` and `newgidmap`: for a user who owns sub-ids but has no privilege.
    ///
    /// # Errors
    /// When the programs are not there (`NotFound`) or refuse: the text is theirs.
    pub fn create_with_tools(maps: &IdMaps) -> io::Result<Self> {
        let (users, groups) = (tool("newuidmap")?, tool("newgidmap")?);
        Self::of_placeholder(Placeholder::Waiting, |pid| {
            // At the same time: each of them is a dynamic program that takes a millisecond to start.
            let users = start_tool(&users, pid, &maps.users)?;
            let groups = start_tool(&groups, pid, &maps.groups)?;
            finish_tool(users).and(finish_tool(groups))
        })
    }

    fn of_placeholder(kind: Placeholder, write: impl FnOnce(i32) -> io::Result<()>) -> io::Result<Self> {
        let placeholder = Remains(placeholder_in(Namespaces::USER, kind)?);
        let pid = placeholder.0;
        write(pid)?;
        let descriptor = File::open(format!("/proc/{pid}/ns/user"))?.into();
        Ok(Self { descriptor, placeholder: Some(placeholder) })
    }

    /// Itself and nothing more: once a process lives in it, nothing else has to keep it.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { placeholder: None, ..self }
    }

    /// Enters it: after this the process has every capability inside and none outside. It must have one thread.
    ///
    /// # Errors
    /// As setns(2).
    pub fn enter(self) -> io::Result<()> {
        let Self { descriptor, placeholder } = self;
        drop(placeholder);
        Ok(move_into_link_name_space(descriptor.as_fd(), Some(LinkNameSpaceType::User))?)
    }
}

/// Whether the kernel lets us make user namespaces, by making one and throwing it away. It may still be worth little: some security
/// modules let it be made and take the capabilities in it away.
///
/// # Errors
/// What the kernel said.
pub fn try_out() -> io::Result<()> {
    remove_placeholder(placeholder_in(Namespaces::USER, Placeholder::Ended)?);
    Ok(())
}

/// Moves this process into a new user namespace in which it is root and no other id exists, with mounts of its own.
/// Needs no privilege. Groups cannot be changed in it (user_namespaces(7), `setgroups`).
///
/// # Errors
/// When the kernel does not allow it.
pub fn enter_single(uid: u32, gid: u32) -> io::Result<()> {
    unshare(Namespaces::USER | Namespaces::MOUNT)?;
    write_file("/proc/self/setgroups", "deny")?;
    write_file("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write_file("/proc/self/gid_map", &format!("0 {gid} 1"))
}

fn write_map(pid: i32, name: &str, ranges: &[IdRange]) -> io::Result<()> {
    let text: String = ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count)).collect();
    write_file(&format!("/proc/{pid}/{name}"), &text)
}

/// In one write, as the kernel demands of maps.
fn write_file(path: &str, text: &str) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all(text.as_bytes())
}

/// Where set-uid programs live. Not `PATH`: the environment does not choose what we run.
const TOOL_DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// Finds `newuidmap` or `newgidmap`.
///
/// # Errors
/// `NotFound`.
pub fn tool(name: &str) -> io::Result<PathBuf> {
    TOOL_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

fn start_tool(program: &Path, pid: i32, ranges: &[IdRange]) -> io::Result<std::process::Child> {
    let numbers = ranges.iter().flat_map(|range| [range.inside, range.outside, range.count]);
    Command::new(program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

/// Most bytes of a tool's complaint that are kept.
const COMPLAINT_BYTES_MAX: u64 = 400;

fn finish_tool(mut child: std::process::Child) -> io::Result<()> {
    let mut complaint = String::new();
    if let Some(stderr) = child.stderr.take() {
        // What cannot be read is not worth failing for: the status decides.
        let _ = stderr.take(COMPLAINT_BYTES_MAX).read_to_string(&mut complaint);
    }
    if child.wait()?.success() { Ok(()) } else { Err(io::Error::other(complaint.trim().to_owned())) }
}
