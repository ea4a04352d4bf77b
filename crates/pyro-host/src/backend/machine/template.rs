//! Machines that have booted and belong to nobody: made once for each environment and size, and copied for every sandbox.
//!
//! A template is what its key is a digest of: monitor and kernel, the environment's image, sizes, our own program, and the list of devices. Whatever
//! of it changes gives another key, so a template is never used with anything that it was not made of. It is a directory with two files that
//! are never written again: the memory, sparse, and the state of the devices.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyro_api::{Error, Result};
use pyro_wire::FromAgent;
use pyro_wire::frame::{Decoder, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::{Disks, Machine, Monitor, Places, archive, no_room, open_to_read};
use crate::backend::Launch;

/// How long a machine may take to boot. A stock kernel takes three seconds when its code is translated; a busy host takes longer.
pub const BOOT_WITHIN: Duration = Duration::from_secs(60);

/// A machine to be copied. Both files are open for reading only.
pub struct Template {
    /// Its memory.
    pub memory: File,
    /// Its devices' state.
    pub state: File,
}

/// What a template was made of, for whoever looks which are still of use.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MadeOf {
    /// Build of our program.
    build: String,
    /// The kit's file system, and the environment's image.
    needs: Vec<PathBuf>,
}

impl MadeOf {
    fn of(machine: &Machine) -> Self {
        Self { build: crate::BUILD.to_owned(), needs: vec![machine.kit.root.clone(), machine.environment.clone()] }
    }

    fn is_of_use(&self) -> bool {
        self.build == crate::BUILD && self.needs.iter().all(|path| path.exists())
    }
}

/// Deletes templates that nothing can be copied from any more: of another build of our program, of an environment or a kit that is gone. Copies that
/// run keep what they have open. Says how much room that made.
///
/// # Errors
/// When one is there and cannot be deleted.
pub fn sweep(machines: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(machines) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut freed_bytes = 0;
    for entry in entries {
        let path = entry?.path();
        let Ok(text) = fs::read(path.join(MADE_OF)) else { continue };
        if serde_json::from_slice::<MadeOf>(&text).is_ok_and(|made| made.is_of_use()) {
            continue;
        }
        for name in [MEMORY, STATE, MADE_OF] {
            let file = path.join(name);
            freed_bytes += fs::metadata(&file).map_or(0, |facts| facts.blocks() * 512);
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::remove_dir(&path)?;
        // Whoever holds it makes the same again.
        let _ = fs::remove_file(path.with_extension("lock"));
    }
    Ok(freed_bytes)
}

const MADE_OF: &str = "made-of.json";
const MEMORY: &str = "memory";
const STATE: &str = "state";

/// What a machine is started from.
pub struct Files<'a> {
    /// Its memory.
    pub memory: &'a File,
    /// The state of a copy's devices; where it is kept, when a template is made.
    pub state: &'a File,
    /// Kernel and first files, for a machine that boots.
    pub boot: Option<(&'a File, &'a File)>,
}

/// Read by everybody, written by nobody: monitors open them as the id that they have in their sandbox. Their directory is private.
const FINISHED: u32 = 0o444;

impl Template {
    /// The template for a machine; made first when it is not there.
    pub fn ensure<M: Monitor>(
        monitor: &M,
        places: Places<'_>,
        machine: &Machine,
        launch: &Launch,
        machines: &Path,
    ) -> Result<Self> {
        let directory = machines.join(key(monitor, machine));
        make_once(&directory, Self::open, |unfinished| {
            places.tell.0("booting the first machine of this environment and size");
            make(monitor, places, machine, launch, machines, unfinished)
        })
    }

    fn open(directory: &Path) -> Result<Option<Self>> {
        let (memory, state) = (directory.join(MEMORY), directory.join(STATE));
        if !memory.exists() || !state.exists() {
            return Ok(None);
        }
        Ok(Some(Self { memory: open_to_read(&memory)?, state: open_to_read(&state)? }))
    }
}

fn key<M: Monitor>(monitor: &M, machine: &Machine) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &str| {
        // Each with its length: no two lists of parts are the same text.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    };
    add(crate::BUILD);
    add(&machine.kit.digest);
    add(&machine.environment.to_string_lossy());
    add(M::NAME);
    monitor.recipe(machine).iter().for_each(|part| add(part));
    // It has seen its disks, and remembers how large they are.
    add(&machine.limits.disk_mib.to_string());
    // The guest has found out how fast its time goes, and on KVM what else it can.
    add(&processor());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// What tells one model of processor from another, as the kernel shows it for the first. The others are not read: that takes a while where there
/// are many.
fn processor() -> String {
    let mut text = vec![0; 4096];
    let length = File::open("/proc/cpuinfo").and_then(|mut file| file.read(&mut text)).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]);
    let names = ["vendor_id", "cpu family", "model", "stepping", "microcode", "flags"];
    let first = text.split("\n\n").next().unwrap_or_default();
    first.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect::<Vec<_>>().join("\n")
}

/// Unfinished files, which go when they were not finished.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is beneath the directory of machines, where the next who makes the same begins by taking it away.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `open` finds in a directory; `make` makes it first when it is not there: whole or not at all, and once, however many want it.
///
/// # Errors
/// Those of `open` and `make`, and of the disk.
pub fn make_once<T>(
    directory: &Path,
    open: impl Fn(&Path) -> Result<Option<T>>,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<T> {
    if let Some(found) = open(directory)? {
        return Ok(found);
    }
    let lock = directory.with_extension("lock");
    let unable = |error: io::Error| no_room(directory, error);
    let lock_file = File::options().create(true).append(true).open(&lock).map_err(unable)?;
    // Whoever comes second uses what the first has made.
    lock_file.lock().map_err(unable)?;
    if let Some(found) = open(directory)? {
        return Ok(found);
    }
    let unfinished = Unfinished(directory.with_extension("unfinished"));
    match fs::remove_dir_all(&unfinished.0) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unable(error)),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir(&unfinished.0).map_err(unable)?;
    make(&unfinished.0)?;
    match fs::rename(&unfinished.0, directory) {
        // Half of one cannot be there: it was renamed whole.
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => return Err(unable(error)),
        Ok(()) | Err(_) => {}
    }
    open(directory)?.ok_or_else(|| Error::internal(format!("{} was just made and is not there", directory.display())))
}

fn make<M: Monitor>(
    monitor: &M,
    places: Places<'_>,
    machine: &Machine,
    launch: &Launch,
    machines: &Path,
    unfinished: &Path,
) -> Result<()> {
    let unable = |error: io::Error| no_room(unfinished, error);
    let create = |name: &str, mode| {
        let path = unfinished.join(name);
        // QEMU looks for a descriptor that can be written and nothing else.
        let file = File::options().create_new(true).read(name != STATE).write(true).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(mode)).map(|()| file)
    };
    // A monitor opens it by name, as another user.
    let memory = create(MEMORY, 0o666).map_err(unable)?;
    memory.set_len(machine.limits.mem_mib << 20).map_err(unable)?;
    let state = create(STATE, 0o666).map_err(unable)?;
    let archive = unfinished.join("archive");
    let first_files = create("archive", 0o444).map_err(unable)?;
    archive::write(&first_files, places.binary, &machine.kit.modules)
        .map_err(|error| Error::unavailable("the first files of a machine cannot be written").because(error))?;
    let first_files = open_to_read(&archive)?;
    let kernel = open_to_read(&machine.kit.kernel)?;
    let disks = Disks::placeholders(machine, machines)?;
    let files = Files { memory: &memory, state: &state, boot: Some((&kernel, &first_files)) };
    monitor.make_template(machine, launch, &disks, &files)?;
    let finish = || {
        for (file, name) in [(&memory, MEMORY), (&state, STATE)] {
            file.sync_all()?;
            fs::set_permissions(unfinished.join(name), fs::Permissions::from_mode(FINISHED))?;
        }
        fs::remove_file(&archive)?;
        fs::write(unfinished.join(MADE_OF), serde_json::to_vec(&MadeOf::of(machine))?)
    };
    finish().map_err(unable)?;
    // Those of the build before are not asked for again. That one cannot be deleted is no reason to fail.
    let _ = sweep(machines);
    Ok(())
}

/// Waits until the agent says that it waits.
///
/// # Errors
/// When the machine ends before, does not say so in time, or says something else.
pub fn await_waiting(link: &UnixStream, watch: BorrowedFd<'_>, within: Duration) -> Result<()> {
    link.set_nonblocking(true).map_err(|error| Error::internal("the link cannot be used").because(error))?;
    let deadline = Instant::now() + within;
    let mut decoder = Decoder::new();
    let ended = || Error::sandbox("the machine ended before its agent was up");
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::timeout(format!("the machine was not up within {} s", within.as_secs())));
        }
        let mut fds = [PollFd::from_borrowed_fd(link.as_fd(), PollFlags::IN), PollFd::from_borrowed_fd(watch, PollFlags::IN)];
        let timeout = Timespec::try_from(left).expect("minutes are a time");
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::internal("poll").because(error)),
        }
        if !fds[1].revents().is_empty() {
            return Err(ended());
        }
        if fds[0].revents().is_empty() {
            continue;
        }
        match decoder.fill(&mut &*link) {
            Ok(fill) if fill.bytes == 0 => return Err(ended()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            Err(_) => return Err(ended()),
        }
        let broke = |violation: pyro_wire::Violation| Error::sandbox(format!("the agent broke the protocol: {violation}"));
        match decoder.next_frame().map_err(broke)? {
            Some(Frame::Control { channel: 0, message: FromAgent::Waiting }) => return Ok(()),
            Some(_) => return Err(broke(pyro_wire::Violation("its first message is not that it waits".to_owned()))),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_goes_when_what_it_was_made_of_has_gone() {
        let home = tempfile::tempdir().unwrap();
        let make = |name: &str, made: &MadeOf| {
            let directory = home.path().join(name);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join(MEMORY), [1; 8192]).unwrap();
            fs::write(directory.join(STATE), "state").unwrap();
            fs::write(directory.join(MADE_OF), serde_json::to_vec(made).unwrap()).unwrap();
        };
        let needs = vec![home.path().to_owned()];
        make("kept", &MadeOf { build: crate::BUILD.to_owned(), needs: needs.clone() });
        make("older", &MadeOf { build: "0.0.1+gone".to_owned(), needs });
        make("orphan", &MadeOf { build: crate::BUILD.to_owned(), needs: vec![home.path().join("gone")] });
        fs::create_dir(home.path().join("being-made.unfinished")).unwrap();
        fs::write(home.path().join("blank-1.ext4"), "x").unwrap();
        assert!(sweep(home.path()).unwrap() >= 16_384);
        let mut left: Vec<_> =
            fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort_unstable();
        assert_eq!(left, ["being-made.unfinished", "blank-1.ext4", "kept"]);
        assert_eq!(sweep(&home.path().join("nothing")).unwrap(), 0);
    }
}
