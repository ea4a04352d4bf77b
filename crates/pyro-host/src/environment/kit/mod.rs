//! The kit that microVMs are made of: a virtual machine monitor in a root of its own, a kernel, and the modules that a guest loads.
//!
//! It comes from packages that are unpacked and never installed. Of them only what a microVM needs is picked, so that the monitor, which
//! hostile code may take over, finds no shell, no tool and no other program where it is. What is picked is a layer like any other:
//!
//! ```text
//! layers/DIGEST/root/      the whole file system of the monitor: /qemu, its loader and libraries, /qboot.rom, places for mounts
//!               kernel     the kernel, uncompressed (ELF)
//!               modules/   00-NAME.ko, 01-NAME.ko, …: to be loaded in this order
//!               kit.json   what it is of
//! ```
//!
//! Trust: the packages come from the archive that the machine itself trusts. The loader and the monitor of the packages are run here with the
//! rights of the builder, as maintainer scripts are for other environments, but only to say what they need and which version they are.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pyro_api::{Error, Result};
use serde::{Deserialize, Serialize};

use super::manifest::{failed, sync_directory};
use super::unpack::Unpacked;
use super::{MICROVM, resolve};

mod decompress;
mod kernel;
mod libraries;
mod modules;

#[cfg(test)]
mod tests;

/// What a microVM is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kit {
    /// The file system that the monitor sees as its `/`.
    pub root: PathBuf,
    /// The kernel, an ELF file.
    pub kernel: PathBuf,
    /// Modules for a guest, in the order in which they are to be loaded.
    pub modules: Vec<PathBuf>,
    /// `10.0.13`.
    pub qemu_version: String,
    /// `6.12.107+deb13-cloud-amd64`.
    pub kernel_release: String,
    /// Digest of its content; the name of its layer.
    pub digest: String,
}

/// The built kit; `None` when it is not built, or no longer whole, or was built by a version of this program that made it otherwise.
///
/// # Errors
/// When its manifest is damaged or its files cannot be read.
pub fn kit(home: &Path) -> Result<Option<Kit>> {
    let Some(environment) = resolve(home, MICROVM)? else { return Ok(None) };
    let Some(layer) = environment.layer() else { return Ok(None) };
    let Some(facts) = Facts::read(layer) else { return Ok(None) };
    let modules = modules::listed(&layer.join(MODULES)).map_err(|error| failed("cannot read the modules of microvm", error))?;
    Ok(Some(Kit {
        root: layer.join(ROOT),
        kernel: layer.join(KERNEL),
        modules,
        qemu_version: facts.qemu,
        kernel_release: facts.kernel,
        digest: environment.digest,
    }))
}

const ROOT: &str = "root";
const KERNEL: &str = "kernel";
const MODULES: &str = "modules";
const FACTS: &str = "kit.json";

/// How a kit looks on disk. Raised when that changes: an older one is then not current, and is built again.
const FORMAT: u32 = 1;

/// `kit.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Facts {
    qemu: String,
    kernel: String,
    format: u32,
}

impl Facts {
    /// Of a kit of today's form.
    fn read(layer: &Path) -> Option<Self> {
        let text = fs::read(layer.join(FACTS)).ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(|facts| facts.format == FORMAT)
    }
}

/// Whether a layer is a kit of the form that is used now.
pub(super) fn is_current(layer: &Path) -> bool {
    Facts::read(layer).is_some()
}

/// What `env inspect` says of it; of a built one with its versions.
pub(super) fn notes(layer: Option<&Path>) -> Vec<String> {
    let mut notes = vec![
        "no environment: nothing runs in it, --isolation microvm is made of it".to_owned(),
        "of its packages only the monitor, its libraries, the kernel and a few modules are kept".to_owned(),
    ];
    notes.extend(layer.and_then(Facts::read).map(|facts| format!("QEMU {}, Linux {}", facts.qemu, facts.kernel)));
    notes
}

/// Whether a kit can be built for this machine.
///
/// # Errors
/// `Unavailable` on processors for which there is none.
pub(super) fn check_machine() -> Result<()> {
    check_architecture(std::env::consts::ARCH)
}

fn check_architecture(architecture: &str) -> Result<()> {
    if architecture == "x86_64" {
        return Ok(());
    }
    Err(Error::unavailable(format!(
        "{MICROVM} cannot be built here: microVMs are for x86_64 only, and this machine is {architecture}"
    ))
    .hint("the namespaces backend works here: leave --isolation microvm away"))
}

/// Where the packages put things.
const QEMU: &str = "usr/bin/qemu-system-x86_64";
const QBOOT: &str = "usr/share/qemu/qboot.rom";

/// Mount points and places that programs expect, and their modes. The others are made with what is in them.
const DIRECTORIES: &[(&str, u32)] =
    &[("dev", 0o755), ("proc", 0o755), ("run", 0o755), ("sys", 0o755), ("tmp", 0o1777), ("workspace", 0o755)];

/// Picks the kit out of a tree of unpacked packages into the empty directory `layer`. `check` is asked between steps and ends it by an error.
///
/// # Errors
/// `Unavailable` when the packages do not hold what is needed or its programs do not run; those of the disk; those of `check`.
pub(super) fn pick(tree: &Path, layer: &Path, check: &mut dyn FnMut() -> Result<()>) -> Result<Unpacked> {
    // Links in the packages are followed, and none may lead out of them.
    let tree = &fs::canonicalize(tree).map_err(cannot_pick)?;
    let root = layer.join(ROOT);
    make_directory(&root, 0o755)?;
    for (directory, mode) in DIRECTORIES {
        make_directory(&root.join(directory), *mode)?;
    }
    let libraries = libraries::needed(tree, QEMU)?;
    put(tree, Path::new(QEMU), &root.join("qemu"), 0o755)?;
    put(tree, Path::new(libraries::LOADER), &root.join("lib64/ld-linux-x86-64.so.2"), 0o755)?;
    for library in &libraries {
        check()?;
        put(tree, library, &root.join(library), 0o644)?;
    }
    put(tree, Path::new(QBOOT), &root.join("qboot.rom"), 0o644)?;
    let qemu = version_of(&root)?;
    check()?;
    let (release, image) = kernel::find(tree)?;
    let kernel = kernel::uncompressed(&fs::read(&image).map_err(cannot_pick)?)?;
    write(&layer.join(KERNEL), &kernel, 0o644)?;
    check()?;
    make_directory(&layer.join(MODULES), 0o755)?;
    for (index, module) in modules::needed(tree, &release)?.into_iter().enumerate() {
        check()?;
        write(&layer.join(MODULES).join(modules::file_name(index, &module.name)), &module.content, 0o644)?;
    }
    let facts = Facts { qemu, kernel: release, format: FORMAT };
    let text = serde_json::to_vec(&facts).map_err(|error| Error::internal("kit.json").because(error))?;
    write(&layer.join(FACTS), &text, 0o644)?;
    check()?;
    let unpacked = seal(layer).map_err(cannot_pick)?;
    // The manifest must never name files that a power cut took.
    File::open(layer).and_then(|layer| Ok(rustix::fs::syncfs(&layer)?)).map_err(cannot_pick)?;
    Ok(unpacked)
}

/// The version of the picked monitor, told by itself in the root that it will have: so it is known to start there, with what is there.
fn version_of(root: &Path) -> Result<String> {
    let refused =
        |why: String| Error::unavailable(format!("{MICROVM} cannot be built: QEMU does not start in its own root: {why}"));
    let output = Command::new("unshare")
        .arg("--root")
        .arg(root)
        .args(["/qemu", "--version"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| refused(error.to_string()))?;
    if !output.status.success() {
        return Err(refused(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).map(str::to_owned).ok_or_else(|| refused("it does not say its version".to_owned()))
}

/// `QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)`.
fn parse_version(text: &str) -> Option<&str> {
    let version = text.lines().next()?.strip_prefix("QEMU emulator version ")?.split_whitespace().next()?;
    version.starts_with(|character: char| character.is_ascii_digit()).then_some(version)
}

/// The digest and the size of everything in the layer. It is of path, mode and content: times and ids are not part of a kit.
fn seal(layer: &Path) -> io::Result<Unpacked> {
    let mut entries = Vec::new();
    let mut waiting = vec![layer.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory)? {
            let (path, facts) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if facts.is_dir() {
                waiting.push(path.clone());
            }
            entries.push((path, facts));
        }
        sync_directory(&directory)?;
    }
    entries.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    let mut hasher = blake3::Hasher::new();
    // What the digest is of: a change of the form must not meet an old digest.
    hasher.update(b"pyro microvm kit 1\n");
    let mut size_bytes = 0;
    for (path, facts) in entries {
        let name = path.strip_prefix(layer).map_err(io::Error::other)?.as_os_str().as_bytes();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(&(facts.permissions().mode()).to_le_bytes());
        if facts.is_file() {
            size_bytes += facts.len();
            hasher.update(&facts.len().to_le_bytes());
            hasher.update_reader(File::open(&path)?)?;
        }
    }
    Ok(Unpacked { digest: hasher.finalize().to_hex().to_string(), size_bytes })
}

/// Where a path of the tree really is. Links may lead to other files of the tree and nowhere else.
fn within(tree: &Path, path: &Path) -> Result<PathBuf> {
    match fs::canonicalize(tree.join(path)) {
        Ok(found) if found.starts_with(tree) => Ok(found),
        Ok(_) => Err(not_in_packages(&path.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(not_in_packages(&path.display().to_string())),
        Err(error) => Err(cannot_pick(error)),
    }
}

fn put(tree: &Path, path: &Path, to: &Path, mode: u32) -> Result<()> {
    let from = within(tree, path)?;
    // From the outermost that is missing: each with its own mode, whatever the mask of the process is.
    let missing: Vec<&Path> = to.ancestors().skip(1).take_while(|directory| !directory.is_dir()).collect();
    for directory in missing.into_iter().rev() {
        make_directory(directory, 0o755)?;
    }
    fs::copy(from, to).and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(mode))).map_err(cannot_pick)
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    // The mask of the process takes bits away.
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(cannot_pick)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    fs::write(path, content).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode))).map_err(cannot_pick)
}

fn cannot_pick(error: io::Error) -> Error {
    failed(format!("cannot build {MICROVM}"), error)
}

/// The packages are not what they were when this was written.
fn not_in_packages(what: &str) -> Error {
    Error::unavailable(format!("{MICROVM} cannot be built: its packages do not hold {what}"))
}
