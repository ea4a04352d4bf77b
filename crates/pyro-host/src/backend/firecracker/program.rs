//! Which Firecracker is used, if any: where it is, whether its version is one that we answer for, and a copy of it that stays what it is.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_api::{Error, Result};

use crate::backend::machine::{Accelerator, make_once, no_room};
use crate::doctor::{Attempt, attempt};

/// Asks for the program: a path, or a name on `PATH`. Unless it is asked for it is not used: no guest of it has ever run.
const NAMED_BY: &str = "PYRO_FIRECRACKER";

/// Its name on `PATH`, and in its sandbox.
const NAME: &str = "firecracker";

/// Largest program that is taken for it, bytes. Releases have three million.
const PROGRAM_BYTES_MAX: u64 = 64 << 20;

/// What is said of versions that are not accepted.
const ACCEPTED: &str = "accepted are 1.14 from 1.14.4 on, and from 1.15.1 on every later 1.x: they have the fix of CVE-2026-5747 (a guest that \
                        writes outside of its memory) and of what was found with it";

/// A version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// From what `--version` says first: `Firecracker v1.15.1`. `None` also for what is between releases (`v1.16.0-dev`).
    fn parse(said: &str) -> Option<Self> {
        let mut numbers = said.lines().next()?.strip_prefix("Firecracker v")?.split('.').map(|number| {
            let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse().ok().filter(|_| is_plain)
        });
        let version = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
        numbers.next().is_none().then_some(version)
    }

    /// Releases that have their security fixes, and whose API is the one that we speak.
    fn is_accepted(self) -> bool {
        match (self.major, self.minor) {
            (1, 14) => self.patch >= 4,
            (1, 15) => self.patch >= 1,
            (1, minor) => minor >= 16,
            _ => false,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A copy of the program, named after its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its file system: itself and nothing else.
    pub root: PathBuf,
    /// Its version.
    pub version: Version,
    /// Of its content.
    pub digest: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none.
    Nowhere,
    /// One that is accepted.
    Accepted(Installed),
    /// One that is not.
    Refused {
        /// Why.
        why: String,
    },
}

/// What is to run machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// This one.
    Firecracker(&'a Installed),
    /// QEMU, which translates code where the processor cannot run it.
    Qemu,
}

/// Firecracker where it works, else QEMU. `opens_inside`: whether its sandbox could open the host's KVM by name.
///
/// # Errors
/// `Unavailable` when one was asked for by name that is not accepted.
pub fn choose(accelerator: Accelerator, opens_inside: bool, found: &Found) -> Result<Choice<'_>> {
    match (accelerator, found) {
        (Accelerator::Kvm, Found::Refused { why }) => Err(Error::unavailable(why.clone())
            .hint(format!("install a release that is accepted, or do not set {NAMED_BY}, and QEMU is used"))),
        (Accelerator::Kvm, Found::Accepted(program)) if opens_inside => Ok(Choice::Firecracker(program)),
        (Accelerator::Kvm, Found::Nowhere | Found::Accepted(_)) | (Accelerator::Tcg, _) => Ok(Choice::Qemu),
    }
}

/// Looks for the program, and copies it into the directory of machines when it is new.
pub fn find(machines: &Path) -> Found {
    let refused = |why: String| Found::Refused { why };
    let path = match std::env::var_os(NAMED_BY).filter(|named| !named.is_empty()).map(PathBuf::from) {
        None => return Found::Nowhere,
        Some(path) if path.components().count() > 1 => path,
        Some(name) => match on_path(&name, std::env::var_os("PATH")) {
            Some(path) => path,
            None => return refused(format!("{} is not on the PATH", name.display())),
        },
    };
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(error) => return refused(format!("{} cannot be used: {error}", path.display())),
    };
    let digest = blake3::hash(&bytes).to_hex()[..32].to_owned();
    let directory = machines.join(format!("{NAME}-{digest}"));
    let shown = path.display();
    let said = match make_once(&directory, said_in, |unfinished| copy(&bytes, unfinished)) {
        Ok(said) => said,
        Err(error) => return refused(format!("{shown} cannot be used: {}", error.message)),
    };
    match Version::parse(&said) {
        Some(version) if version.is_accepted() => Found::Accepted(Installed { root: directory.join(ROOT), version, digest }),
        Some(version) => refused(format!("Firecracker {version} ({shown}) is not used: {ACCEPTED}")),
        None => {
            let said = pyro_wire::untrusted::escape(said.lines().next().unwrap_or_default());
            refused(format!("{shown} is not used: it does not give the version of a release ({said:?}); {ACCEPTED}"))
        }
    }
}

fn on_path(name: &Path, path: Option<OsString>) -> Option<PathBuf> {
    let is_program =
        |place: &PathBuf| fs::metadata(place).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    // What is looked for in the working directory is nobody's choice.
    std::env::split_paths(&path?).filter(|directory| directory.is_absolute()).map(|directory| directory.join(name)).find(is_program)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    if file.take(PROGRAM_BYTES_MAX + 1).read_to_end(&mut bytes)? as u64 > PROGRAM_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// In the directory of a copy: its file system, and what it has said of its version.
const ROOT: &str = "root";
const SAID: &str = "version";

fn said_in(directory: &Path) -> Result<Option<String>> {
    match fs::read_to_string(directory.join(SAID)) {
        Ok(said) => Ok(Some(said)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::unavailable(format!("read {}", directory.display())).because(error)),
    }
}

fn copy(bytes: &[u8], unfinished: &Path) -> Result<()> {
    let write = || -> io::Result<()> {
        let root = unfinished.join(ROOT);
        let program = root.join(NAME);
        fs::create_dir(&root)?;
        fs::write(&program, bytes)?;
        // Whoever runs it in its sandbox is somebody else on this host.
        for place in [&root, &program] {
            fs::set_permissions(place, fs::Permissions::from_mode(0o555))?;
        }
        // Of the copy: what it says now holds for as long as the copy is there.
        let said = match attempt(Command::new(&program).arg("--version").env_clear()) {
            Attempt::Worked(said) => said,
            Attempt::Failed(why) | Attempt::NotTried(why) => return Err(io::Error::other(why)),
        };
        fs::write(unfinished.join(SAID), said)?;
        // So that it can be deleted.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))
    };
    write().map_err(|error| no_room(unfinished, error))
}

#[cfg(test)]
mod tests {
    use pyro_api::ErrorKind;

    use super::*;

    fn version(said: &str) -> Option<String> {
        Version::parse(said).map(|version| version.to_string())
    }

    #[test]
    fn versions_are_those_of_releases() {
        for (said, expected) in [
            ("Firecracker v1.15.1", Some("1.15.1")),
            (
                "Firecracker v1.12.1\n\n2026-01-01T00:00:00 [anonymous-instance:main] Firecracker exiting successfully.",
                Some("1.12.1"),
            ),
            ("Firecracker v1.16.0-dev", None),
            ("Firecracker v1.16.0-dirty\n", None),
            ("Firecracker v1.15", None),
            ("Firecracker v1.15.1.2", None),
            ("Firecracker v1.+15.1", None),
            ("Firecracker 1.15.1", None),
            ("Jailer v1.15.1", None),
            ("Firecracker v99999999999.1.1", None),
            ("", None),
        ] {
            assert_eq!(version(said).as_deref(), expected, "{said:?}");
        }
    }

    #[test]
    fn only_releases_with_their_fixes_are_accepted() {
        for (text, accepted) in [
            ("0.25.2", false),
            ("1.0.0", false),
            ("1.12.1", false),
            ("1.13.9", false),
            ("1.14.0", false),
            ("1.14.3", false),
            ("1.14.4", true),
            ("1.14.10", true),
            ("1.15.0", false),
            ("1.15.1", true),
            ("1.15.2", true),
            ("1.16.0", true),
            ("1.99.7", true),
            ("2.0.0", false),
            ("2.15.1", false),
        ] {
            let version = Version::parse(&format!("Firecracker v{text}")).unwrap();
            assert_eq!(version.is_accepted(), accepted, "{text}");
        }
    }

    #[test]
    fn firecracker_runs_machines_where_it_can_and_qemu_elsewhere() {
        let program = Installed { root: "/".into(), version: Version { major: 1, minor: 15, patch: 1 }, digest: String::new() };
        let accepted = Found::Accepted(program.clone());
        let refused = Found::Refused { why: "too old".into() };
        let firecracker = Ok(Choice::Firecracker(&program));
        use Accelerator::{Kvm, Tcg};
        for (accelerator, opens_inside, found, expected) in [
            (Kvm, true, &accepted, firecracker),
            (Kvm, false, &accepted, Ok(Choice::Qemu)),
            (Kvm, true, &Found::Nowhere, Ok(Choice::Qemu)),
            (Kvm, true, &refused, Err(ErrorKind::Unavailable)),
            (Kvm, false, &refused, Err(ErrorKind::Unavailable)),
            (Tcg, true, &accepted, Ok(Choice::Qemu)),
            (Tcg, false, &accepted, Ok(Choice::Qemu)),
            (Tcg, true, &Found::Nowhere, Ok(Choice::Qemu)),
            (Tcg, true, &refused, Ok(Choice::Qemu)),
        ] {
            let chosen = choose(accelerator, opens_inside, found).map_err(|error| error.kind);
            assert_eq!(chosen, expected, "{accelerator:?} {opens_inside} {found:?}");
        }
    }

    #[test]
    fn a_copy_is_made_once_and_remembers_what_it_said() {
        let directory = tempfile::tempdir().unwrap();
        let program = b"#!/bin/sh\necho \"Firecracker v1.15.1\"\necho x >> \"$(dirname \"$0\")/../../asked\"\n";
        let place = directory.path().join("firecracker-0");
        for _ in 0..2 {
            let said = make_once(&place, said_in, |unfinished| copy(program, unfinished)).unwrap();
            assert_eq!(version(&said).as_deref(), Some("1.15.1"));
        }
        assert_eq!(fs::read(place.join("root/firecracker")).unwrap(), program);
        assert_eq!(fs::read_to_string(directory.path().join("asked")).unwrap(), "x\n");
        let mut names: Vec<_> = fs::read_dir(place.join("root")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["firecracker"]);
    }
}
