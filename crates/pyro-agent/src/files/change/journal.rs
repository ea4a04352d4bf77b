//! What was to be done, where whoever comes after us finds it: the journal of a change of several files is there from before its first rename until
//! everything is over. The agent that finds one at its start takes the change back, or takes away what is left of it when its last rename was done.
//!
//! It is for the death of the agent, not of the machine: nothing is synced, as nothing else is inside.
//! The format is for ourselves alone: lines of a word, numbers, and paths in hexadecimal. It gets its name when it is whole, so what is there under that
//! name and is none of ours is somebody's own: it stays, and nothing is done that would need one.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyro_edit::RelPath;
use rustix::fs::{AtFlags, FileType, Mode as Bits, OFlags, RenameFlags};
use rustix::io::Errno;

use super::super::write::{with_temporary_name, write_all};
use super::beneath;
use super::step::{self, Kind, Step};

/// Its name in the workspace.
pub const NAME: &str = ".pyro-journal";
/// The last line.
const END: &str = "end";
/// More than a thousand files of the longest paths.
const BYTES_MAX: u64 = 32 << 20;

/// One change at a time has one.
static ONE: Mutex<()> = Mutex::new(());

/// A journal on disk. Dropping it takes it away.
pub struct Journal<'a> {
    root: &'a OwnedFd,
    _one: MutexGuard<'static, ()>,
}

impl<'a> Journal<'a> {
    /// Says what is to be done.
    ///
    /// # Errors
    /// `EXIST` when somebody has a file of that name; whatever writing it meets.
    pub fn write(root: &'a OwnedFd, steps: &[Step]) -> Result<Self, Errno> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        write_alone(root, steps)?;
        Ok(Self { root, _one: one })
    }
}

/// As [`Journal::write`], by the only one who does.
pub fn write_alone(root: &OwnedFd, steps: &[Step]) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name: &Path| rustix::fs::openat(root, name, flags, Bits::from_raw_mode(0o600));
    let (unnamed, file) = with_temporary_name(open)?;
    let name = || rustix::fs::renameat_with(root, &unnamed, root, NAME, RenameFlags::NOREPLACE);
    let named = write_all(&file, text(steps).as_bytes()).and_then(|()| match name() {
        // Of a workspace that went back to a moment when one was there.
        Err(Errno::EXIST) => {
            recover_alone(root);
            name()
        }
        named => named,
    });
    if named.is_err() {
        let _left = rustix::fs::unlinkat(root, &unnamed, AtFlags::empty());
    }
    named
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        let _left = rustix::fs::unlinkat(self.root, NAME, AtFlags::empty());
    }
}

/// Takes back what an agent was doing when it was killed, or finishes it; at once when there is nothing.
pub fn recover(root: &OwnedFd) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    recover_alone(root);
}

fn recover_alone(root: &OwnedFd) {
    match read(root) {
        // There is none, or it is somebody's own.
        Ok(None) | Err(_) => return,
        Ok(Some(steps)) if steps.last().is_some_and(|last| last.is_made(root)) => step::finish(root, &steps),
        Ok(Some(steps)) => step::take_back(root, &steps),
    }
    let _left = rustix::fs::unlinkat(root, NAME, AtFlags::empty());
}

/// The steps of a journal that we wrote; `None` when there is none.
fn read(root: &OwnedFd) -> Result<Option<Vec<Step>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match beneath(root, NAME, flags) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = rustix::fs::fstat(&file)?;
    // Others inside may write here too, and are not to move files with our rights.
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o7777 == 0o600;
    if !is_ours || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::PERM);
    }
    let mut text = String::new();
    let read = std::fs::File::from(file).take(BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    steps(&text).map(Some).ok_or(Errno::INVAL)
}

fn text(steps: &[Step]) -> String {
    let hex = |path: &Path| {
        let digits: String = path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        if digits.is_empty() { "-".to_owned() } else { digits }
    };
    let mut text = String::new();
    for Step { path, aside, kind, of: _ } in steps {
        let (word, numbers) = match kind {
            Kind::Remove => ("remove", [0; 3]),
            Kind::RemoveDirectory { mode, owner } => ("rmdir", [u64::from(*mode), u64::from(owner.0), u64::from(owner.1)]),
            Kind::MakeDirectory => ("mkdir", [0; 3]),
            Kind::Create { new } => ("create", [*new, 0, 0]),
            Kind::Replace { new } => ("replace", [*new, 0, 0]),
        };
        let [one, two, three] = numbers;
        text.push_str(&format!("{word} {one} {two} {three} {} {}\n", hex(path), hex(aside)));
    }
    text.push_str(END);
    text
}

fn steps(text: &str) -> Option<Vec<Step>> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.pop() != Some(END) {
        return None;
    }
    lines.into_iter().map(step).collect()
}

fn step(line: &str) -> Option<Step> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [word, one, two, three, path, aside] = fields[..] else { return None };
    let number = |text: &str| text.parse::<u64>().ok();
    let small = |text: &str| text.parse::<u32>().ok();
    let kind = match word {
        "remove" => Kind::Remove,
        "rmdir" => Kind::RemoveDirectory { mode: small(one)?, owner: (small(two)?, small(three)?) },
        "mkdir" => Kind::MakeDirectory,
        "create" => Kind::Create { new: number(one)? },
        "replace" => Kind::Replace { new: number(one)? },
        _ => return None,
    };
    let path = path_of(path)?;
    let of = RelPath::new(path.as_os_str().as_bytes(), b"").ok()?;
    Some(Step { of, path, aside: if aside == "-" { PathBuf::new() } else { path_of(aside)? }, kind })
}

fn path_of(hex: &str) -> Option<PathBuf> {
    let digits = hex.as_bytes();
    let bytes = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let path = PathBuf::from(OsString::from_vec(bytes.collect::<Option<Vec<u8>>>()?));
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}
