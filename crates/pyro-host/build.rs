//! Gives the build an id: a hash of the sources that both ends of the link are made from. A supervisor and an agent with
//! different ids refuse one another, so two builds that differ must not share one; two that do not may.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The crates that are on either side of the link.
const CRATES: [&str; 5] = ["pyro-agent", "pyro-host", "pyro-layer", "pyro-sys", "pyro-wire"];

fn main() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a directory of crates").to_owned();
    let mut files = BTreeSet::new();
    for name in CRATES {
        let sources = crates.join(name).join("src");
        println!("cargo::rerun-if-changed={}", sources.display());
        collect(&sources, &mut files);
    }
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.strip_prefix(&crates).expect("all are below it").hash(&mut hasher);
        fs::read(&file).unwrap_or_default().hash(&mut hasher);
    }
    println!("cargo::rustc-env=PYRO_BUILD={:016x}", hasher.finish());
}

fn collect(directory: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path);
        }
    }
}
