//! What the tests of this crate share: trees as values, and real overlays.
//!
//! Tests whose truth comes from the kernel mount real file systems, so they need root; without it they fail and say so.

pub(crate) mod model;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::{Marks, Progress};

/// A callback that never cancels.
pub(crate) fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The same cases every time, so that a change is judged by itself; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose others.
pub(crate) fn slice(cases: u32) -> ProptestConfig {
    let chosen = ProptestConfig::default();
    let rng_seed = match chosen.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        seed @ RngSeed::Fixed(_) => seed,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { chosen.cases } else { cases };
    ProptestConfig { cases, rng_seed, failure_persistence: None, max_shrink_iters: 2000, ..chosen }
}

pub(crate) fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// An access list as the kernel has it in an attribute (`linux/posix_acl_xattr.h`): mode 0755, and one more user who may read and enter.
pub(crate) fn access_list(user: u32) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 7, NOBODY), (0x02, 5, user), (0x04, 5, NOBODY), (0x10, 5, NOBODY), (0x20, 5, NOBODY)];
    let bytes =
        |(tag, permissions, id): (u16, u16, u32)| [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat();
    [2_u32.to_le_bytes().to_vec(), entries.map(bytes).concat()].concat()
}

/// One entry of a tree, with everything that has to survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) content: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) modified_at: (i64, i64),
    pub(crate) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first name, in order, of the same file.
    pub(crate) same_as: Vec<u8>,
}

/// Content above this is compared by its size and first bytes only.
const CONTENT_BYTES_MAX: u64 = 8 << 20;

/// Reads a whole tree by ordinary calls, knowing nothing of the code under test. The root is the empty path.
pub(crate) fn snapshot(root: &Path) -> BTreeMap<Vec<u8>, Node> {
    let mut nodes = BTreeMap::new();
    let mut paths = vec![PathBuf::new()];
    while let Some(path) = paths.pop() {
        let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let metadata = std::fs::symlink_metadata(&full).expect("stat");
        let kind = metadata.file_type();
        let (letter, content) = if kind.is_dir() {
            for entry in std::fs::read_dir(&full).expect("list") {
                paths.push(path.join(entry.expect("entry").file_name()));
            }
            ('d', Vec::new())
        } else if kind.is_symlink() {
            ('l', std::fs::read_link(&full).expect("readlink").into_os_string().into_vec())
        } else if kind.is_file() {
            ('f', if metadata.len() <= CONTENT_BYTES_MAX { std::fs::read(&full).expect("read") } else { Vec::new() })
        } else if kind.is_fifo() {
            ('p', Vec::new())
        } else if kind.is_socket() {
            ('s', Vec::new())
        } else {
            ('c', Vec::new())
        };
        let mut attributes = BTreeMap::new();
        if letter == 'f' || letter == 'd' {
            let mut list = vec![0; 65536];
            let length = rustix::fs::llistxattr(&full, &mut list[..]).expect("listxattr");
            for attribute in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                let mut value = vec![0; 65536];
                let length = rustix::fs::lgetxattr(&full, attribute, &mut value[..]).expect("getxattr");
                attributes.insert(attribute.to_vec(), value[..length].to_vec());
            }
        }
        let node = Node {
            kind: letter,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            content,
            size: if letter == 'd' { 0 } else { metadata.len() },
            modified_at: (metadata.mtime(), metadata.mtime_nsec()),
            attributes,
            same_as: (metadata.dev(), metadata.ino()).0.to_le_bytes().into_iter().chain(metadata.ino().to_le_bytes()).collect(),
        };
        nodes.insert(path.into_os_string().into_vec(), node);
    }
    first_names(&mut nodes);
    nodes
}

/// Says by the first of its names which file is which.
fn first_names(nodes: &mut BTreeMap<Vec<u8>, Node>) {
    let mut first = BTreeMap::new();
    for (path, node) in nodes {
        let same: &Vec<u8> = first.entry(node.same_as.clone()).or_insert_with(|| path.clone());
        node.same_as.clone_from(same);
    }
}

/// What a stack of layers shows, uppermost first: each laid upon those below it, by the plainest code that says what a layer means.
pub(crate) fn merged(layers: &[PathBuf], marks: Marks) -> BTreeMap<Vec<u8>, Node> {
    let space = match marks {
        Marks::Trusted => "trusted",
        Marks::User => "user",
    };
    let is = |node: &Node, mark: &str| node.attributes.get(format!("{space}.overlay.{mark}").as_bytes()).cloned();
    let mut nodes: BTreeMap<Vec<u8>, Node> = BTreeMap::new();
    for (index, layer) in layers.iter().enumerate().rev() {
        for (path, mut node) in snapshot(layer) {
            let is_whiteout = node.kind == 'c' || (node.kind == 'f' && is(&node, "whiteout").is_some());
            let hides = node.kind != 'd' || is(&node, "opaque").as_deref() == Some(b"y");
            let was_directory = nodes.get(&path).is_some_and(|below| below.kind == 'd');
            if !path.is_empty() && (hides || !was_directory) {
                nodes.retain(|other, _| other != &path && !other.starts_with(&[&path[..], b"/"].concat()));
            }
            if !is_whiteout {
                // An overlay's own marks are not shown, and what somebody inside takes for one is shown without its escape.
                let (own, escaped) = (format!("{space}.overlay."), format!("{space}.overlay.overlay."));
                node.attributes = std::mem::take(&mut node.attributes)
                    .into_iter()
                    .filter_map(|(name, value)| match name.strip_prefix(escaped.as_bytes()) {
                        Some(rest) => Some(([own.as_bytes(), rest].concat(), value)),
                        None => (!name.starts_with(own.as_bytes())).then_some((name, value)),
                    })
                    .collect();
                // Names of one file in one layer.
                node.same_as = [format!("{index}/").as_bytes(), &node.same_as].concat();
                nodes.insert(path, node);
            }
        }
    }
    first_names(&mut nodes);
    nodes
}

/// A memory file system of our own, gone when dropped. Overlays on it are quick and have all attributes.
pub(crate) struct Scratch {
    directory: tempfile::TempDir,
    overlays: Vec<PathBuf>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts file systems and has to run as root: what an overlay leaves behind is only known to the kernel"
        );
        let directory = tempfile::tempdir().expect("temporary directory");
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), c"mode=0755")
            .expect("mount a tmpfs: this test needs CAP_SYS_ADMIN");
        Self { directory, overlays: Vec::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("mkdir");
        path
    }

    /// Mounts an overlay as the product does: lowers uppermost first, no redirects, no metadata-only copies, no index.
    pub(crate) fn overlay(&mut self, at: &str, upper: &str, lowers: &[&str]) -> PathBuf {
        self.overlay_with(at, upper, lowers, Marks::Trusted)
    }

    /// The same, with the marks that it is to make and obey.
    pub(crate) fn overlay_with(&mut self, at: &str, upper: &str, lowers: &[&str], marks: Marks) -> PathBuf {
        let target = self.directory(at);
        let (upper, work) = (self.directory(upper), self.directory(&format!("{upper}.work")));
        let lowers: Vec<String> = lowers.iter().map(|lower| self.directory(lower).to_str().expect("text").to_owned()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}{}",
            lowers.join(":"),
            upper.to_str().expect("text"),
            work.to_str().expect("text"),
            options_of(marks)
        );
        self.mount_overlay(target, options)
    }

    /// Mounts layers that nobody writes to, uppermost first. An empty one is put below them: an overlay has at least two.
    pub(crate) fn sealed_overlay(&mut self, at: &str, layers: &[PathBuf], marks: Marks) -> PathBuf {
        let target = self.directory(at);
        let mut lowers: Vec<&str> = layers.iter().map(|layer| layer.to_str().expect("text")).collect();
        let nothing = self.directory("nothing");
        lowers.push(nothing.to_str().expect("text"));
        let options = format!("lowerdir={}{}", lowers.join(":"), options_of(marks));
        self.mount_overlay(target, options)
    }

    fn mount_overlay(&mut self, target: PathBuf, options: String) -> PathBuf {
        let options = std::ffi::CString::new(options).expect("no NUL");
        rustix::mount::mount("overlay", &target, "overlay", MountFlags::empty(), options.as_c_str())
            .expect("mount an overlay: this test needs overlayfs and CAP_SYS_ADMIN");
        self.overlays.push(target.clone());
        target
    }

    /// Detached: a test beside this one may be starting a program, which holds our descriptors until it has.
    pub(crate) fn unmount(&mut self, at: &Path) {
        rustix::mount::unmount(at, UnmountFlags::DETACH).expect("unmount the overlay");
        self.overlays.retain(|overlay| overlay != at);
    }
}

/// What every overlay of the product is mounted with.
fn options_of(marks: Marks) -> &'static str {
    match marks {
        Marks::Trusted => ",redirect_dir=nofollow,metacopy=off,index=off",
        Marks::User => ",redirect_dir=nofollow,metacopy=off,index=off,userxattr",
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for overlay in self.overlays.drain(..).rev() {
            let _ = rustix::mount::unmount(&overlay, UnmountFlags::DETACH);
        }
        let _ = rustix::mount::unmount(self.directory.path(), UnmountFlags::DETACH);
    }
}
