//! Limits by control groups: version 2, or the separate hierarchies of version 1, or both on one machine.
//!
//! A sandbox's groups are at `<our own group>/pyro/<id>`, so that what is left over names its owner. The directory `pyro` stays.
//! A limit that could not be set is not an error: it is reported, with the reason.
//!
//! Only our own groups are changed. In particular no controller is switched on in a group that somebody else made.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};

use crate::backend::{Limits, Pressure};

/// Name of our part of every hierarchy.
const OURS: &str = "pyro";
/// Where hierarchies are mounted (file-hierarchy(7), cgroups(7)); nobody mounts them elsewhere.
const MOUNT_POINT: &str = "/sys/fs/cgroup";
/// Period of processor time, microseconds: the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;
const MIB: u64 = 1024 * 1024;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory.
    Memory,
    /// Processes.
    Pids,
    /// Processor time.
    Cpu,
}

impl Resource {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// Name of its controller.
    #[must_use]
    pub fn controller(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The group that limits one resource of one sandbox.
#[derive(Debug)]
struct Group {
    resource: Resource,
    version: Version,
    directory: PathBuf,
    /// v1: the `tasks` file to join by.
    join: Option<File>,
}

/// The groups of one sandbox.
#[derive(Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    missing: Vec<(Resource, String)>,
    /// v2: the one directory, to start a process in.
    directory: Option<File>,
}

/// How this machine does it.
pub enum Hierarchies {
    /// One tree for everything; our own group in it.
    Unified(String),
    /// A tree for each controller; the text of `/proc/self/cgroup`.
    Separate(String),
    /// None that we can see, and why.
    None(String),
}

impl Hierarchies {
    /// Looks.
    #[must_use]
    pub fn find() -> Self {
        let own = match fs::read_to_string("/proc/self/cgroup") {
            Ok(own) => own,
            Err(error) => return Self::None(format!("/proc/self/cgroup: {error}")),
        };
        // Only the unified tree has this file at its root mount point.
        if Path::new(MOUNT_POINT).join("cgroup.controllers").exists() {
            return match own.lines().find_map(|line| line.strip_prefix("0::")) {
                Some(path) => Self::Unified(path.to_owned()),
                None => Self::None("this process is in no group of the unified tree".to_owned()),
            };
        }
        if own.lines().any(|line| line.split(':').nth(1).is_some_and(|controllers| !controllers.is_empty())) {
            return Self::Separate(own);
        }
        Self::None(format!("no control groups are mounted at {MOUNT_POINT}"))
    }
}

/// Our own group of a v1 controller, as a directory.
fn separate_parent(own: &str, controller: &str) -> Result<PathBuf, String> {
    let path = own
        .lines()
        .find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let controllers = fields.nth(1)?;
            controllers.split(',').any(|name| name == controller).then(|| fields.next().unwrap_or("/"))
        })
        .ok_or_else(|| format!("the kernel has no {controller} controller outside the unified tree"))?;
    Ok(Path::new(MOUNT_POINT).join(controller).join(path.trim_start_matches('/')))
}

/// The nearest group above us (or ours) in which groups with these controllers can be made.
fn unified_parent(own: &str) -> Result<PathBuf, String> {
    let root = Path::new(MOUNT_POINT);
    let mut group = root.join(own.trim_start_matches('/'));
    let mut seen = String::from("no group above this process hands controllers on");
    loop {
        match fs::read_to_string(group.join("cgroup.subtree_control")) {
            Ok(controllers) if controllers.split_ascii_whitespace().any(|name| name == "memory") => {
                match make_directory(&group.join(OURS)) {
                    Ok(()) => return Ok(group),
                    Err(error) => seen = format!("{}: {error}", group.display()),
                }
            }
            Ok(_) | Err(_) => {}
        }
        if group == root || !group.pop() {
            return Err(format!("{seen}; run under a systemd user session with Delegate=yes, or as root"));
        }
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn set(directory: &Path, file: &str, value: &str) -> Result<(), String> {
    let path = directory.join(file);
    let write = || File::options().write(true).open(&path)?.write_all(value.as_bytes());
    write().map_err(|error| format!("write {value} to {}: {error}", path.display()))
}

/// For settings of swap: on kernels without swap accounting they are absent, and there is nothing to limit.
fn set_if_there(directory: &Path, file: &str, value: &str) -> Result<(), String> {
    match File::options().write(true).open(directory.join(file)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(|error| format!("write {value} to {}: {error}", directory.join(file).display())),
    }
}

impl Groups {
    /// Makes the groups of a sandbox and sets their limits.
    ///
    /// # Errors
    /// Only when processes live in a group of this id: then something of an earlier life is still running.
    pub fn create(hierarchies: &Hierarchies, id: &str, limits: &Limits) -> Result<Self> {
        let mut groups = Self::default();
        match hierarchies {
            Hierarchies::None(why) => groups.miss_all(why),
            Hierarchies::Separate(own) => {
                for resource in Resource::ALL {
                    let made = match separate_group(own, resource, id) {
                        Ok(made) => made.unused(id).map(|directory| Group::separate(resource, directory, limits))?,
                        Err(why) => Err(why),
                    };
                    match made {
                        Ok(group) => groups.groups.push(group),
                        Err(why) => groups.missing.push((resource, why)),
                    }
                }
            }
            Hierarchies::Unified(own) => match unified_group(own, id) {
                Ok(made) => groups.unified(&made.unused(id)?, limits),
                Err(why) => groups.miss_all(&why),
            },
        }
        Ok(groups)
    }

    fn miss_all(&mut self, why: &str) {
        self.missing = Resource::ALL.iter().map(|resource| (*resource, why.to_owned())).collect();
    }

    fn unified(&mut self, directory: &Path, limits: &Limits) {
        match File::open(directory) {
            Ok(file) => self.directory = Some(file),
            Err(error) => return self.miss_all(&format!("{}: {error}", directory.display())),
        }
        for resource in Resource::ALL {
            let done = match resource {
                Resource::Memory => set(directory, "memory.max", &(limits.mem_mib * MIB).to_string())
                    .and_then(|()| set_if_there(directory, "memory.swap.max", "0")),
                Resource::Pids => set(directory, "pids.max", &limits.pids_max.to_string()),
                Resource::Cpu => set(directory, "cpu.max", &format!("{} {CPU_PERIOD_US}", quota(limits))),
            };
            match done {
                Ok(()) => self.groups.push(Group { resource, version: Version::Two, directory: directory.to_owned(), join: None }),
                Err(why) => self.missing.push((resource, why)),
            }
        }
    }

    /// v2: the group for the new process to start in. Joining later would take a lock of the whole machine for milliseconds.
    #[must_use]
    pub fn start_in(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd)
    }

    /// v1: the files for the new process to write `0` to, while it has one thread. That form takes no lock of the whole machine
    /// (kernel/cgroup/cgroup.c, `cgroup_procs_write_start`): 0.05 ms instead of 9.
    pub fn join_by(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.groups.iter().filter_map(|group| group.join.as_ref().map(AsFd::as_fd))
    }

    /// Whether a resource is limited for a process: read back from the kernel, the limit and that the process is in the group, by the text
    /// of its `/proc/<pid>/cgroup`. The sentence says what was seen.
    pub fn held(&self, resource: Resource, membership: &str) -> (bool, String) {
        if let Some((_, why)) = self.missing.iter().find(|(missing, _)| *missing == resource) {
            return (false, why.clone());
        }
        let Some(group) = self.groups.iter().find(|group| group.resource == resource) else {
            return (false, "no group was made".to_owned());
        };
        if !group.is_among(membership) {
            return (false, format!("the sandbox is not in {}", group.directory.display()));
        }
        match group.limit() {
            Ok(limit) => (true, limit),
            Err(why) => (false, why),
        }
    }

    /// See [`crate::backend::Sandbox::pressure`].
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let group = |resource| self.groups.iter().find(|group: &&Group| group.resource == resource);
        let read = |group: &Group, file: &str| fs::read_to_string(group.directory.join(file)).unwrap_or_default();
        // Lines of a name and a number.
        let counted = |resource, file: [&str; 2], name: &str| {
            let text =
                group(resource).map(|group| read(group, file[usize::from(group.version == Version::Two)])).unwrap_or_default();
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            found.unwrap_or(0)
        };
        let peak = group(Resource::Memory).and_then(|group| {
            let file = if group.version == Version::One { "memory.max_usage_in_bytes" } else { "memory.peak" };
            read(group, file).trim().parse::<u64>().ok()
        });
        Pressure {
            memory_kills: counted(Resource::Memory, ["memory.oom_control", "memory.events"], "oom_kill "),
            processes_refused: counted(Resource::Pids, ["pids.events", "pids.events"], "max "),
            memory_peak_mib: peak.map(|bytes| bytes / MIB),
        }
    }

    /// Takes the groups away.
    ///
    /// # Errors
    /// When one is still in use.
    pub fn remove(&mut self) -> Result<()> {
        self.directory = None;
        let mut removed: Option<PathBuf> = None;
        let mut result = Ok(());
        for group in self.groups.drain(..) {
            if removed.as_ref() != Some(&group.directory)
                && let Err(error) = remove_group(&group.directory)
            {
                result = Err(Error::internal(format!("remove {}", group.directory.display())).because(error));
            }
            removed = Some(group.directory);
        }
        result
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // After kill() there is nothing left to remove; after a failed launch the reason is already on its way.
        let _ = self.remove();
    }
}

fn quota(limits: &Limits) -> u64 {
    u64::from(limits.vcpu_count) * CPU_PERIOD_US
}

/// A directory that is there now.
struct Made {
    directory: PathBuf,
    was_there: bool,
}

impl Made {
    /// The directory, if nothing runs in it: what is left of a sandbox that was killed can be used again.
    fn unused(self, id: &str) -> Result<PathBuf> {
        if self.was_there && !processes(&self.directory).is_empty() {
            return Err(
                Error::conflict(format!("processes of an earlier {id} are still running")).hint("pyro doctor --leaks names them")
            );
        }
        Ok(self.directory)
    }
}

fn make_group(parent: &Path, id: &str) -> Result<Made, (PathBuf, io::Error)> {
    let ours = parent.join(OURS);
    let directory = ours.join(id);
    let mut made = fs::create_dir(&directory);
    if made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        // The first sandbox here since the machine started.
        made = make_directory(&ours).and_then(|()| fs::create_dir(&directory));
    }
    match made {
        Ok(()) => Ok(Made { directory, was_there: false }),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Made { directory, was_there: true }),
        Err(error) => Err((directory, error)),
    }
}

fn separate_group(own: &str, resource: Resource, id: &str) -> Result<Made, String> {
    let parent = separate_parent(own, resource.controller())?;
    let made = match make_group(&parent, id) {
        // In a container that does not see its whole tree, the root of what it sees is its own group.
        Err((_, error)) if error.kind() == ErrorKind::NotFound => {
            make_group(&Path::new(MOUNT_POINT).join(resource.controller()), id)
        }
        result => result,
    };
    made.map_err(|(directory, error)| format!("make {}: {error}", directory.display()))
}

fn unified_group(own: &str, id: &str) -> Result<Made, String> {
    let parent = unified_parent(own)?;
    let ours = parent.join(OURS);
    for resource in Resource::ALL {
        // One by one: a controller that is not handed to us must not cost us the others. What is missing shows when its limit is set.
        let _ = set(&ours, "cgroup.subtree_control", &format!("+{}", resource.controller()));
    }
    make_group(&parent, id).map_err(|(directory, error)| format!("make {}: {error}", directory.display()))
}

impl Group {
    fn separate(resource: Resource, directory: PathBuf, limits: &Limits) -> Result<Self, String> {
        let limited = match resource {
            Resource::Memory => {
                let bytes = (limits.mem_mib * MIB).to_string();
                set(&directory, "memory.limit_in_bytes", &bytes)
                    .and_then(|()| set_if_there(&directory, "memory.memsw.limit_in_bytes", &bytes))
            }
            Resource::Pids => set(&directory, "pids.max", &limits.pids_max.to_string()),
            Resource::Cpu => set(&directory, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())
                .and_then(|()| set(&directory, "cpu.cfs_quota_us", &quota(limits).to_string())),
        };
        let tasks = directory.join("tasks");
        let joined = limited
            .and_then(|()| File::options().write(true).open(&tasks).map_err(|error| format!("{}: {error}", tasks.display())));
        match joined {
            Ok(join) => Ok(Self { resource, version: Version::One, directory, join: Some(join) }),
            Err(why) => {
                // It was just made and nothing is in it; the reason for giving it up matters more than that it stays.
                let _ = fs::remove_dir(&directory);
                Err(why)
            }
        }
    }

    /// Whether this is one of the groups of a process (cgroups(7), `/proc/<pid>/cgroup`: number, controllers, path).
    fn is_among(&self, membership: &str) -> bool {
        // What is above our part of the hierarchy looks different from within a control group namespace.
        let Some(name) = self.directory.file_name().and_then(|name| name.to_str()) else { return false };
        let ours = format!("/{OURS}/{name}");
        membership.lines().any(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return false };
            let is_it = match self.version {
                Version::One => controllers.split(',').any(|name| name == self.resource.controller()),
                Version::Two => controllers.is_empty(),
            };
            is_it && path.ends_with(&ours)
        })
    }

    /// The limit as the kernel has it.
    fn limit(&self) -> Result<String, String> {
        let number = |file: &str| {
            let text = fs::read_to_string(self.directory.join(file)).map_err(|error| format!("{file}: {error}"))?;
            let field = text.split_ascii_whitespace().next().unwrap_or_default().to_owned();
            field.parse::<u64>().map_err(|_| format!("{file} is {field}"))
        };
        // v1 says "no limit" as the highest multiple of a page below 2^63.
        let limited = |what: &str, value: u64| {
            if value < 1 << 62 { Ok(value) } else { Err(format!("{what} is not limited")) }
        };
        Ok(match (self.resource, self.version) {
            (Resource::Memory, Version::One) => {
                format!("{} MiB, by a v1 control group", limited("memory", number("memory.limit_in_bytes")?)? / MIB)
            }
            (Resource::Memory, Version::Two) => {
                format!("{} MiB, by a control group", number("memory.max")? / MIB)
            }
            (Resource::Pids, Version::One) => {
                format!("{} processes, by a v1 control group", number("pids.max")?)
            }
            (Resource::Pids, Version::Two) => {
                format!("{} processes, by a control group", number("pids.max")?)
            }
            (Resource::Cpu, Version::One) => format!(
                "{} processors, by a v1 control group",
                number("cpu.cfs_quota_us")?.checked_div(number("cpu.cfs_period_us")?).unwrap_or(0)
            ),
            (Resource::Cpu, Version::Two) => {
                format!("{} processors, by a control group", number("cpu.max")?.checked_div(CPU_PERIOD_US).unwrap_or(0))
            }
        })
    }
}

/// Tries to remove a group whose last process has just ended.
const REMOVE_TRIES_MAX: u32 = 200;

fn remove_group(directory: &Path) -> io::Result<()> {
    for _ in 0..REMOVE_TRIES_MAX {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => std::thread::yield_now(),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        }
    }
    fs::remove_dir(directory)
}

/// Processes in a group.
fn processes(directory: &Path) -> Vec<i32> {
    let mut text = String::new();
    // A group that is gone has none.
    let _ = File::open(directory.join("cgroup.procs")).and_then(|mut file| file.read_to_string(&mut text));
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The groups of one id that exist now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Id of the workspace or run.
    pub id: String,
    /// The directories, one for each hierarchy.
    pub directories: Vec<PathBuf>,
    /// Processes in them.
    pub processes: Vec<i32>,
}

/// Most directories that a search looks at: machines have hundreds of groups, not tens of thousands.
const SEARCH_MAX: usize = 20_000;

/// Every group on this machine that has our mark: a directory `pyro` with something in it that is named like an id. Those of running
/// sandboxes are among them; the caller knows which ids have an owner. Only what is in groups of `wanted` ids is looked at.
#[must_use]
pub fn list(wanted: &dyn Fn(&str) -> bool) -> Vec<Leftover> {
    let mut found: Vec<Leftover> = Vec::new();
    let mut waiting = vec![PathBuf::from(MOUNT_POINT)];
    let mut looked_at = 0;
    while let Some(directory) = waiting.pop() {
        looked_at += 1;
        if looked_at > SEARCH_MAX {
            break;
        }
        let ours = directory.file_name().is_some_and(|name| name == OURS);
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            // Not through symbolic links: `cpu` is one to `cpu,cpuacct` on many machines.
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name();
            match name.to_str().filter(|name| ours && is_id(name)) {
                None => waiting.push(entry.path()),
                Some(id) if !wanted(id) => {}
                Some(id) => {
                    let members = processes(&entry.path());
                    match found.iter_mut().find(|leftover| leftover.id == id) {
                        Some(leftover) => {
                            leftover.directories.push(entry.path());
                            leftover.processes.extend(members);
                        }
                        None => found.push(Leftover { id: id.to_owned(), directories: vec![entry.path()], processes: members }),
                    }
                }
            }
        }
    }
    for leftover in &mut found {
        leftover.processes.sort_unstable();
        leftover.processes.dedup();
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found
}

/// Marks end in 12 lower-case hexadecimal digits, with 8 more and a dash before them when they name a home; nothing else below a
/// directory `pyro` is ours.
pub fn is_id(name: &str) -> bool {
    let is_hex =
        |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match name.split_once('-') {
        Some((home, id)) => is_hex(home, 8) && is_hex(id, 12),
        None => is_hex(name, 12),
    }
}

/// Removes the groups of every id that `is_owned` denies: kills what runs in them first. Returns what was removed.
///
/// # Errors
/// When a group cannot be removed.
pub fn sweep(is_owned: &dyn Fn(&str) -> bool) -> Result<Vec<Leftover>> {
    let orphans = list(&|id| !is_owned(id));
    for orphan in &orphans {
        remove(orphan)?;
    }
    Ok(orphans)
}

/// Kills the processes of a leftover and removes its groups.
///
/// # Errors
/// When a group cannot be removed.
pub fn remove(leftover: &Leftover) -> Result<()> {
    for directory in &leftover.directories {
        for _ in 0..REMOVE_TRIES_MAX {
            // Read again each time: a process may have started another meanwhile. Membership was looked up just now, so the
            // number is still that of a process of the group (as nearly as v1 can say it).
            let members = processes(directory);
            if members.is_empty() {
                break;
            }
            for pid in members {
                pyro_sys::spawn::kill_now(pid).map_err(|error| Error::internal(format!("kill process {pid}")).because(error))?;
            }
        }
        remove_group(directory).map_err(|error| Error::internal(format!("remove {}", directory.display())).because(error))?;
    }
    Ok(())
}

/// Removes the groups of a leftover in which nothing runs; says whether all of them are gone.
#[must_use]
pub fn remove_empty(leftover: &Leftover) -> bool {
    // The kernel refuses where there is a process.
    leftover.directories.iter().filter(|directory| remove_group(directory).is_err()).count() == 0
}
