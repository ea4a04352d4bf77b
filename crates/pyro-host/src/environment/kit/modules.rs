//! The kernel modules that a guest loads, and in which order.
//!
//! A guest has no modprobe: its first program loads files one after the other. What a module needs, it says itself in its section `.modinfo`;
//! the list that depmod makes is not in the package.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};

use super::{MICROVM, cannot_pick, decompress, not_in_packages};

/// What a guest needs that may not be built into its kernel: the transport of its devices, disks, randomness, memory that can be given back,
/// the overlay of its root, and the link to the supervisor.
const WANTED: &[&str] = &[
    "virtio_mmio",
    "virtio_blk",
    "virtio_rng",
    "virtio_balloon",
    "overlay",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
];

/// A module to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// As the kernel names it: with underscores.
    pub name: String,
    /// Uncompressed.
    pub content: Vec<u8>,
}

/// Deepest directory beneath the modules that is looked into; the kernel's own tree is 7 deep.
const DEPTH_MAX: usize = 16;

/// Everything to be loaded, in that order.
pub(super) fn needed(tree: &Path, release: &str) -> Result<Vec<Module>> {
    let directory = [tree.join("usr/lib/modules"), tree.join("lib/modules")]
        .into_iter()
        .map(|modules| modules.join(release))
        .find(|directory| directory.is_dir())
        .ok_or_else(|| not_in_packages(&format!("modules of Linux {release}")))?;
    let builtin = fs::read_to_string(directory.join("modules.builtin")).map_err(cannot_pick)?;
    let builtin: Vec<String> = builtin.lines().filter_map(|line| name_of(Path::new(line))).collect();
    let files = files_beneath(&directory.join("kernel")).map_err(cannot_pick)?;
    in_order(WANTED, &builtin, &mut |name| {
        let Some(file) = files.get(name) else { return Ok(None) };
        let content = fs::read(file).and_then(|bytes| decompress::elf(&bytes));
        content.map(Some).map_err(|error| {
            Error::unavailable(format!("{MICROVM} cannot be built: the kernel module {name} cannot be read")).because(error)
        })
    })
}

/// The wanted modules and what they depend on, dependencies first. What is built in needs no file.
pub(super) fn in_order(
    wanted: &[&str],
    builtin: &[String],
    read: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<Module>> {
    let mut ordered: Vec<Module> = Vec::new();
    // Those that wait for what they depend on, the innermost last.
    let mut waiting: Vec<(Module, Vec<String>)> = Vec::new();
    let mut next: Vec<String> = wanted.iter().rev().map(|&name| name.to_owned()).collect();
    loop {
        // What the innermost depends on comes before what is merely wanted too.
        let name = match waiting.last_mut() {
            Some((_, dependencies)) => dependencies.pop(),
            None => next.pop(),
        };
        let Some(name) = name else {
            let Some((module, _)) = waiting.pop() else { return Ok(ordered) };
            ordered.push(module);
            continue;
        };
        if ordered.iter().any(|module| module.name == name) || builtin.contains(&name) {
            continue;
        }
        if waiting.iter().any(|(module, _)| module.name == name) {
            return Err(Error::unavailable(format!("{MICROVM} cannot be built: the kernel module {name} depends on itself")));
        }
        let content = read(&name)?.ok_or_else(|| not_in_packages(&format!("the kernel module {name}")))?;
        let dependencies = dependencies(&content).ok_or_else(|| {
            Error::unavailable(format!("{MICROVM} cannot be built: the kernel module {name} does not say what it depends on"))
        })?;
        waiting.push((Module { name, content }, dependencies));
    }
}

/// The modules that a module names in `.modinfo`, last first: strings `key=value` that end with a zero byte.
pub(super) fn dependencies(module: &[u8]) -> Option<Vec<String>> {
    let section = section(module, b".modinfo")?;
    let depends = section.split(|&byte| byte == 0).find_map(|field| field.strip_prefix(b"depends="))?;
    let depends = std::str::from_utf8(depends).ok()?;
    Some(depends.split(',').filter(|name| !name.is_empty()).rev().map(with_underscores).collect())
}

/// A section of a 64-bit little-endian ELF file. elf(5), `Elf64_Ehdr` and `Elf64_Shdr`.
fn section<'a>(file: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let number = |bytes: &[u8], at: usize, width: usize| {
        let bytes = bytes.get(at..at.checked_add(width)?)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte))).ok()
    };
    // 64-bit, little-endian.
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, width, count) = (number(file, 0x28, 8)?, number(file, 0x3a, 2)?, number(file, 0x3c, 2)?);
    let header = |index: usize| {
        let start = table.checked_add(index.checked_mul(width)?)?;
        file.get(start..start.checked_add(width)?)
    };
    let content = |header: &[u8]| {
        let start = number(header, 0x18, 8)?;
        file.get(start..start.checked_add(number(header, 0x20, 8)?)?)
    };
    let names = content(header(number(file, 0x3e, 2)?)?)?;
    (0..count).find_map(|index| {
        let header = header(index)?;
        let name = names.get(number(header, 0, 4)?..)?.split(|&byte| byte == 0).next()?;
        (name == wanted).then(|| content(header)).flatten()
    })
}

/// All modules beneath a directory, by name. Links are not followed.
fn files_beneath(directory: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut waiting = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = waiting.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < DEPTH_MAX {
                waiting.push((entry.path(), depth + 1));
            } else if let Some(name) = name_of(&entry.path()).filter(|_| kind.is_file()) {
                files.insert(name, entry.path());
            }
        }
    }
    Ok(files)
}

/// The name of a module by its file: `virtio_rng` of `kernel/drivers/char/hw_random/virtio-rng.ko.xz`. `None` for other files.
pub(super) fn name_of(file: &Path) -> Option<String> {
    let (name, compression) = file.file_name()?.to_str()?.split_once(".ko")?;
    matches!(compression, "" | ".xz" | ".zst" | ".gz").then(|| with_underscores(name))
}

/// Files have either, the kernel has one.
fn with_underscores(name: &str) -> String {
    name.replace('-', "_")
}

/// Two digits: names in order are modules in order.
pub(super) fn file_name(index: usize, name: &str) -> String {
    format!("{index:02}-{name}.ko")
}

/// The files of a built kit, in the order in which they are to be loaded.
pub(super) fn listed(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort_unstable();
    Ok(files)
}
