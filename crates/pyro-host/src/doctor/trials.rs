//! Trying things, each in a child process that ends after a while at the latest.

use std::fs;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pyro_sys::mount;
use pyro_sys::spawn::{self, Namespaces};
use pyro_sys::userns::{self, IdMaps, IdRange, UserNamespace};

use super::HostFacts;
use crate::environment;
use crate::privilege::{self, Privilege};

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It worked, and this is what it said.
    Worked(String),
    /// It did not, and this is why.
    Failed(String),
    /// Nothing here could try it, for this reason.
    NotTried(String),
}

impl Attempt {
    /// It worked.
    #[must_use]
    pub fn worked(&self) -> bool {
        match self {
            Self::Worked(_) => true,
            Self::Failed(_) | Self::NotTried(_) => false,
        }
    }

    /// What it said or why not.
    #[must_use]
    pub fn words(&self) -> &str {
        match self {
            Self::Worked(words) | Self::Failed(words) | Self::NotTried(words) => words,
        }
    }
}

/// Everything that was tried.
#[derive(Clone, Debug)]
pub struct Trials {
    /// A user namespace, as whoever asks.
    pub user_namespace: Attempt,
    /// A mount namespace of our own: as root without, otherwise within a user namespace.
    pub mount_namespace: Attempt,
    /// An overlay with its writable layer beneath the home directory, mounted there.
    pub overlay: Attempt,
    /// A mount with its ids mapped to a range, where the home directory is or would be; root only.
    pub mapped_mounts: Attempt,
    /// A range of ids through `newuidmap`.
    pub id_range: Attempt,
    /// A pseudo-terminal.
    pub terminal: Attempt,
    /// The speed of a guest under `/dev/kvm`.
    pub kvm: Attempt,
    /// QEMU and a kernel for guests: what is built of them.
    pub kit: Attempt,
    /// A cgroup made where sandboxes would have theirs: the controllers that it has.
    pub cgroup: Attempt,
    /// Free bytes where the home directory is or would be.
    pub free_bytes: Option<u64>,
    /// Type of the file system there.
    pub file_system: Option<String>,
}

/// How long a child may take. The slowest honest answer, of an emulated guest, is a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How much of a child's words is kept.
const WORDS_BYTES_MAX: u64 = 4096;

/// What [`probe`] can try in the role `@probe`.
pub const PROBES: &[&str] = &["user-namespaces", "mounts", "overlay", "mapped-mounts", "id-range", "kvm"];

/// Guest rounds that are timed: a tenth of a millisecond at native speed, a tenth of a second when emulated.
const KVM_ROUNDS: u32 = 100_000;
/// Where the ids of an attempt are mapped to: any range of 65536 will do.
const MAPPED_TO: u32 = 524_288;

/// The role `@probe`: tries one thing and says what came of it, in a line. The process is of no other use afterwards, and the caller may
/// kill it at any time. It must have one thread.
///
/// # Errors
/// What went wrong, in words.
pub fn probe(name: &str, place: Option<&Path>) -> Result<String, String> {
    let said = |step: &'static str| move |error: std::io::Error| format!("{step}: {error}");
    let place = || place.ok_or_else(|| format!("the probe {name} needs a directory"));
    match name {
        "user-namespaces" => enter_user_namespace().map_err(said("a user namespace"))?,
        "mounts" => enter_mounts().map_err(said("a mount namespace"))?,
        "overlay" => {
            let place = place()?;
            enter_mounts().map_err(said("a mount namespace"))?;
            overlay(place).map_err(said("an overlay"))?;
        }
        "mapped-mounts" => {
            let place = place()?;
            let range = IdRange { inside: 0, outside: MAPPED_TO, count: 65_536 };
            let maps = IdMaps { users: vec![range], groups: vec![range] };
            let namespace = UserNamespace::create(&maps, false).map_err(said("a user namespace with a range of ids"))?;
            let mount = mount::copy_of_host_path(place).map_err(said("a copy of a mount"))?;
            mount::translate_ids(&mount, &namespace).map_err(said("mapping its ids"))?;
        }
        "id-range" => match privilege::detect().map_err(|error| error.message)? {
            Privilege::Root { .. } => {}
            Privilege::Single { why_no_range, .. } => return Err(why_no_range),
            range @ Privilege::Range { .. } => privilege::enter_self(&range).map_err(|error| error.message)?,
        },
        "kvm" => {
            let device = fs::File::options().read(true).write(true).open("/dev/kvm").map_err(|error| error.to_string())?;
            let taken = pyro_sys::kvm::speed(&device, KVM_ROUNDS).map_err(said("a guest"))?;
            return Ok((taken.as_nanos() / u128::from(KVM_ROUNDS)).to_string());
        }
        _ => return Err(format!("there is no probe {name}; there are: {}", PROBES.join(", "))),
    }
    Ok(String::new())
}

fn enter_user_namespace() -> std::io::Result<()> {
    userns::enter_single(rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}

/// As a sandbox's supervisor does: root needs no user namespace for it.
fn enter_mounts() -> std::io::Result<()> {
    if rustix::process::getuid().is_root() {
        spawn::unshare(Namespaces::MOUNT)?
    } else {
        enter_user_namespace()?
    }
    mount::make_all_private()
}

/// Mounts an overlay and writes through it.
fn overlay(place: &Path) -> std::io::Result<()> {
    let in_user_namespace =
        fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]));
    rustix::process::chdir(place)?;
    for directory in ["lower", "upper", "work", "merged"] {
        fs::create_dir(directory)?;
    }
    fs::write("lower/file", "below")?;
    let options = if in_user_namespace {
        "lowerdir=lower,upperdir=upper,workdir=work,userxattr"
    } else {
        "lowerdir=lower,upperdir=upper,workdir=work"
    };
    mount::overlay_by_name(Path::new("merged"), options)?;
    fs::write("merged/file", "above")?;
    if fs::read("lower/file")? == b"below" && fs::read("upper/file")? == b"above" {
        Ok(())
    } else {
        Err(std::io::Error::other("what was written did not end up in the writable layer"))
    }
}

impl Trials {
    /// Tries everything on this machine.
    #[must_use]
    pub fn run(facts: &HostFacts, home: &Path, binary: &Path) -> Self {
        let with_role = |name: &str, place: Option<&Path>| attempt(Command::new(binary).args(["@probe", name]).args(place));
        let place = home.to_owned();
        let disk = within_patience(move || {
            let existing = nearest_existing(&place);
            let free_bytes = rustix::fs::statvfs(&existing).ok().map(|facts| facts.f_bavail.saturating_mul(facts.f_frsize));
            let scratch = Scratch::new(&existing).map_err(|error| format!("cannot write to {}: {error}", existing.display()));
            (fs::canonicalize(&existing).unwrap_or(existing), free_bytes, scratch)
        });
        let (existing, free_bytes, scratch) = disk.unwrap_or_else(|| {
            (home.to_owned(), None, Err(format!("{} does not answer within {} s", home.display(), PATIENCE.as_secs())))
        });
        Self {
            user_namespace: with_role("user-namespaces", None),
            mount_namespace: with_role("mounts", None),
            overlay: match &scratch {
                Ok(scratch) => with_role("overlay", Some(&scratch.path)),
                Err(why) => Attempt::NotTried(why.clone()),
            },
            mapped_mounts: match &scratch {
                Ok(scratch) if facts.uid == 0 => with_role("mapped-mounts", Some(&scratch.path)),
                Ok(_) => Attempt::NotTried("only root can".to_owned()),
                Err(why) => Attempt::NotTried(why.clone()),
            },
            id_range: with_role("id-range", None),
            terminal: terminal(),
            kvm: if facts.exists("/dev/kvm") {
                with_role("kvm", None)
            } else {
                Attempt::NotTried("there is no /dev/kvm".to_owned())
            },
            kit: kit(home),
            cgroup: cgroup(facts),
            free_bytes,
            file_system: facts.file_system(&existing),
        }
    }
}

/// Opening one end is enough: nothing waits for the other.
fn terminal() -> Attempt {
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    let made = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).and_then(|end| {
        unlockpt(&end)?;
        ptsname(&end, Vec::new())
    });
    match made {
        Ok(name) => Attempt::Worked(name.to_string_lossy().into_owned()),
        Err(error) => Attempt::Failed(error.to_string()),
    }
}

/// Makes a cgroup beside our own in every tree that counts, and takes it away again.
fn cgroup(facts: &HostFacts) -> Attempt {
    let Some(own) = facts.text("/proc/self/cgroup") else {
        return Attempt::NotTried("/proc/self/cgroup cannot be read".to_owned());
    };
    let name = format!("pyro-doctor-{}", std::process::id());
    let mut works = Vec::new();
    let mut why = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let tree = if controllers.is_empty() {
            ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
                .into_iter()
                .find(|tree| facts.exists(&format!("{tree}/cgroup.controllers")))
                .map(str::to_owned)
        } else if controllers.split(',').any(|controller| ["memory", "pids", "cpu"].contains(&controller)) {
            controllers.split(',').find(|one| ["memory", "pids", "cpu"].contains(one)).map(|one| format!("/sys/fs/cgroup/{one}"))
        } else {
            continue;
        };
        let Some(tree) = tree else { continue };
        // Seen from a cgroup namespace or a container, the path may lead elsewhere: then the tree's own root.
        let parent = [format!("{tree}{path}"), tree.clone()].into_iter().map(PathBuf::from).find(|place| place.is_dir());
        let Some(place) = parent.map(|parent| parent.join(&name)) else { continue };
        match fs::create_dir(&place) {
            Ok(()) => {
                if controllers.is_empty() {
                    let given = fs::read_to_string(place.join("cgroup.controllers")).unwrap_or_default();
                    works.extend(
                        given
                            .split_whitespace()
                            .filter(|one| ["memory", "pids", "cpu"].contains(one))
                            .map(|one| format!("{one} (v2)")),
                    );
                } else {
                    works.extend(
                        controllers
                            .split(',')
                            .filter(|one| ["memory", "pids", "cpu"].contains(one))
                            .map(|one| format!("{one} (v1)")),
                    );
                }
                // It is empty, so this cannot fail for long.
                let _ = fs::remove_dir(&place);
            }
            Err(error) => why.push(format!("{}: {error}", place.parent().unwrap_or(&place).display())),
        }
    }
    works.sort_unstable();
    works.dedup();
    match (works.is_empty(), why.is_empty()) {
        (false, _) => Attempt::Worked(works.join(", ")),
        (true, false) => Attempt::Failed(why.join("; ")),
        (true, true) => Attempt::Failed("no controller for memory, pids or cpu is given to a new cgroup".to_owned()),
    }
}

fn kit(home: &Path) -> Attempt {
    let home = home.to_owned();
    match within_patience(move || environment::kit(&home)) {
        Some(Ok(Some(kit))) => Attempt::Worked(format!("QEMU {} and Linux {}", kit.qemu_version, kit.kernel_release)),
        Some(Ok(None)) => Attempt::NotTried("not built".to_owned()),
        Some(Err(error)) => Attempt::Failed(error.message),
        None => Attempt::Failed(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Whether guest code runs on the processor here, found out in a process of its own. `binary` is our program.
pub fn kvm_runs_at_full_speed(binary: &Path) -> bool {
    match attempt(Command::new(binary).args(["@probe", "kvm"])) {
        Attempt::Worked(answer) => answer.parse().is_ok_and(super::judge::is_full_speed),
        Attempt::Failed(_) | Attempt::NotTried(_) => false,
    }
}

/// Runs a program to its end, but no longer than [`PATIENCE`].
pub fn attempt(command: &mut Command) -> Attempt {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("LC_ALL", "C").spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Attempt::NotTried(format!("cannot start {}: {error}", command.get_program().to_string_lossy())),
    };
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < PATIENCE => thread::sleep(LOOK_EVERY),
            Ok(None) => {
                // Not waited for: a process that hangs in the kernel would hang us too. The next init reaps it.
                let _ = child.kill();
                return Attempt::Failed(format!("no answer within {} s", PATIENCE.as_secs()));
            }
            Err(error) => return Attempt::NotTried(error.to_string()),
        }
    };
    if status.success() {
        Attempt::Worked(child.stdout.map(words).unwrap_or_default())
    } else {
        let said = child.stderr.map(words).unwrap_or_default();
        Attempt::Failed(if said.is_empty() { status.to_string() } else { said.lines().last().unwrap_or_default().to_owned() })
    }
}

/// What is in a pipe now: a grandchild that lives on must not keep us. A pipe holds more than these programs say.
fn words(pipe: impl std::io::Read + AsFd) -> String {
    let mut text = Vec::new();
    if rustix::io::ioctl_fionbio(&pipe, true).is_ok() {
        // At the end of what is there it may say that it would wait; what was read stays.
        let _ = pipe.take(WORDS_BYTES_MAX).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// Does something that may hang, such as looking at a network file system whose server is gone. Then its thread stays behind.
fn within_patience<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(action()));
    told.recv_timeout(PATIENCE).ok()
}

/// The directory itself or the first one above it that is there.
fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// A directory for an attempt, gone afterwards.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(parent: &Path) -> std::io::Result<Self> {
        let path = parent.join(format!(".pyro-doctor-{}", std::process::id()));
        // Left by one of the same number that was killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // An overlay's work directory holds one that nobody may look into, and which is empty.
        let _ = fs::remove_dir(self.path.join("work/work"));
        let _ = fs::remove_dir_all(&self.path);
    }
}
