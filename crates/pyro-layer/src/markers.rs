//! What the top level of a seed tells about building and testing it.

use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, OFlags};

use crate::beneath;
use crate::error::{Naming, Result};

/// Names that say how a tree is built or tested, sorted. Paths with a slash are looked up as they are.
const MARKERS: [&str; 54] = [
    ".github/workflows",
    ".gitlab-ci.yml",
    ".pre-commit-config.yaml",
    "BUILD.bazel",
    "CMakeLists.txt",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "Gemfile",
    "Gemfile.lock",
    "MODULE.bazel",
    "Makefile",
    "Package.swift",
    "Pipfile",
    "Pipfile.lock",
    "Rakefile",
    "WORKSPACE",
    "build.gradle",
    "build.gradle.kts",
    "build.sbt",
    "build.zig",
    "bun.lock",
    "composer.json",
    "configure",
    "configure.ac",
    "deno.json",
    "dune-project",
    "go.mod",
    "go.sum",
    "gradlew",
    "justfile",
    "meson.build",
    "mix.exs",
    "mvnw",
    "noxfile.py",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "package.json",
    "pnpm-lock.yaml",
    "poetry.lock",
    "pom.xml",
    "pyproject.toml",
    "pytest.ini",
    "requirements-dev.txt",
    "requirements.txt",
    "rust-toolchain.toml",
    "setup.cfg",
    "setup.py",
    "stack.yaml",
    "tox.ini",
    "uv.lock",
    "vcpkg.json",
    "yarn.lock",
];

/// The markers that are at the top level of a tree, sorted. Links count only where they are not followed to be found.
///
/// # Errors
/// When the tree cannot be opened.
pub fn find_markers(tree: &Path) -> Result<Vec<String>> {
    let root = beneath::open_root(tree).naming(b"", "open the tree")?;
    Ok(MARKERS.iter().filter(|marker| is_there(&root, marker)).map(|marker| (*marker).to_owned()).collect())
}

fn is_there(root: &std::os::fd::OwnedFd, marker: &str) -> bool {
    match beneath::open_beneath(root, marker.as_bytes(), OFlags::PATH) {
        Ok(found) => fs::statat(&found, c"", AtFlags::EMPTY_PATH)
            .is_ok_and(|stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Directory)),
        // A marker that cannot be looked at tells nothing.
        Err(_) => false,
    }
}
