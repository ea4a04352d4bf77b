//! Which shared libraries a program of the packages needs: asked of the packages' own loader, which is the one that will look for them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pyro_api::{Error, Result};

use super::{MICROVM, not_in_packages, within};

/// The loader, where the packages put it. Programs name it as `/lib64/…`, and no link of the packages makes `/lib64` that.
pub(super) const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

/// Where libraries are in the packages, and where they are put: the loader looks there without being told (its built-in default).
const DIRECTORY: &str = "usr/lib/x86_64-linux-gnu";

/// The libraries of a program, relative to the tree.
pub(super) fn needed(tree: &Path, program: &str) -> Result<Vec<PathBuf>> {
    let refused =
        |why: String| Error::unavailable(format!("{MICROVM} cannot be built: the libraries of {program} cannot be listed: {why}"));
    let output = Command::new(within(tree, Path::new(LOADER))?)
        // Variants for newer processors would make a kit of one machine unfit for another.
        .args(["--inhibit-cache", "--glibc-hwcaps-mask", "none", "--library-path"])
        .arg(tree.join(DIRECTORY))
        .arg("--list")
        .arg(within(tree, Path::new(program))?)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| refused(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // It fails when one is not found, and says which.
    let libraries = parse(tree, &text)?;
    if !output.status.success() || libraries.is_empty() {
        return Err(refused(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(libraries)
}

/// The loader's list: `libz.so.1 => /tree/usr/lib/x86_64-linux-gnu/libz.so.1 (0x00007f…)` and the like, one a line.
pub(super) fn parse(tree: &Path, text: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines() {
        // The kernel's own library stands alone, and the loader itself with the path that programs name it by.
        let Some((name, place)) = line.trim().split_once(" => ") else { continue };
        if name.starts_with('/') {
            continue;
        }
        let place = place.rsplit_once(" (").map_or(place, |(path, _)| path);
        // One of the machine's own would be found too, and be missing later.
        let library = Path::new(place).strip_prefix(tree).ok().filter(|library| library.starts_with(DIRECTORY));
        libraries.push(library.ok_or_else(|| not_in_packages(&format!("{name}, which QEMU needs")))?.to_owned());
    }
    libraries.sort_unstable();
    libraries.dedup();
    Ok(libraries)
}
