//! The `host` environment: the machine's own programs, for code that its user would run on it anyway.
//!
//! Everything that is shown is named here: `/usr`, the directories beside it that hold programs and libraries, and the
//! directories that the user names are mounted (read-only, under copy-on-write); the parts of `/etc` that programs in `/usr` need are *copied* into a
//! small layer; accounts, host names and name service are made up. Nothing else of the machine can be reached: no home
//! directories, no keys, no sockets, no `/var`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};

use super::build::publish;
use super::include::{self, on_host};
use super::manifest::{Manifest, ManifestMount, Stamp, failed, sync_directory};
use super::workdir::WorkDirectory;
use super::{EnvironmentKind, HOST, IdMode};

/// Directories at `/` that hold programs and libraries: links into `/usr` on most machines, real directories on some.
const PROGRAM_DIRECTORIES: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What of `/etc` is copied. A star at the end stands for any rest of the name. Not in it, on purpose: everything that can hold a
/// credential (`environment`, `profile.d`, `gitconfig`, `npmrc`, `pip.conf`, `maven/settings.xml`) or name a user or a host.
const ETC: &[&str] = &[
    "R",
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java*",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "magic",
    "magic.mime",
    "maven/logging",
    "maven/m2.conf",
    "mime.types",
    "networks",
    "os-release",
    "perl",
    "pki/ca-trust/extracted",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "profile",
    "protocols",
    "python*",
    "redhat-release",
    "rpc",
    "services",
    "shells",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
];

/// Empty directories, with their modes: where the sandbox mounts its own, and what programs expect.
const DIRECTORIES: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
    ("workspace", 0o755),
];

/// Files that are made up rather than copied.
const FILES: &[(&str, &str)] = &[
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hostname", "sandbox\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
    ("etc/machine-id", ""),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
    ),
    ("etc/resolv.conf", ""),
];

/// Copies that go out of date when the machine changes: libraries, alternatives, certificates.
const STAMPED: &[&str] = &["etc/ld.so.cache", "etc/alternatives", "etc/ssl/certs"];

/// Largest file that is copied: certificates of all authorities in one file are a quarter of a MiB.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most files that are copied: `/etc/alternatives` and `/etc/ssl/certs` have a few hundred each.
const FILES_MAX: usize = 20_000;
/// Deepest directory that is copied.
const DEPTH_MAX: usize = 16;

/// What `env inspect` says of it.
pub(super) fn notes(includes: &[String], path: &[String]) -> Vec<String> {
    let mut notes = vec![
        "its programs and files are the machine's own, and change when the machine's do".to_owned(),
        "it shares the page cache with the machine: not for hostile code, least of all on a kernel that lacks fixes".to_owned(),
        "without root, what is there can be read and run inside, but not changed".to_owned(),
    ];
    if !includes.is_empty() {
        notes.push(
            "included directories were looked through for keys and sockets when it was built; what is put there later is shown too"
                .to_owned(),
        );
    }
    if !path.is_empty() {
        notes.push(format!("in front of PATH: {}", path.join(":")));
    }
    notes
}

/// Builds it from this machine. `earlier`: directories shown so far, which stay.
pub(super) fn build(home: &Path, description: &str, id_mode: IdMode, includes: &[String], earlier: &[String]) -> Result<Manifest> {
    let root = Path::new("/");
    let mut all: Vec<String> = Vec::new();
    for include in earlier {
        all.push(include::check(root, include).map_err(|error| {
            Error::conflict(error.message)
                .hint("it was shown so far: pyro env build host --rebuild, with every --include that you want")
        })?);
    }
    for include in includes {
        all.push(include::check(root, include)?);
    }
    let plan = plan(root, all)?;
    let work = WorkDirectory::new(home, "host")?;
    let layer = work.path().join("layer");
    let digest = plan.digest();
    fs::create_dir(&layer)
        .and_then(|()| plan.write(&layer.join("root")))
        .and_then(|()| sync_directory(&layer))
        .map_err(|error| failed("cannot build host", error))?;
    let relative = publish(home, &layer, &digest)?;
    let mut mounts = vec![ManifestMount { at: "/".to_owned(), source: relative.join("root") }];
    mounts.extend(plan.mounts.iter().map(|at| ManifestMount { at: at.clone(), source: PathBuf::from(at) }));
    Ok(Manifest {
        name: HOST.to_owned(),
        kind: EnvironmentKind::Ordinary,
        digest,
        description: description.to_owned(),
        built_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        size_bytes: plan.size_bytes(),
        contents: plan.mounts.clone(),
        includes: plan.includes,
        id_mode,
        mounts,
        path: plan.path,
        stamps: STAMPED.iter().filter_map(|file| Stamp::of(&root.join(file))).collect(),
    })
}

/// What the environment is made of.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The small layer at `/`, by path without the leading slash. A directory comes before what is in it.
    pub nodes: BTreeMap<PathBuf, Node>,
    /// Directories of the machine, shown at the same path, an outer one first.
    pub mounts: Vec<String>,
    pub includes: Vec<String>,
    pub path: Vec<String>,
}

/// One thing in the small layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link { target: PathBuf },
}

/// Plans the environment of the machine whose root directory is `root`. Includes have been checked.
pub(super) fn plan(root: &Path, mut includes: Vec<String>) -> Result<Plan> {
    let mut plan = Plan::default();
    for &(directory, mode) in DIRECTORIES {
        plan.nodes.insert(directory.into(), Node::Directory { mode });
    }
    for name in ETC {
        plan.copy_named(root, name)?;
    }
    for &(file, content) in FILES {
        plan.nodes.insert(file.into(), Node::File { mode: 0o644, content: content.as_bytes().to_vec() });
    }
    let shell = if on_host(root, "/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let accounts = format!("root:x:0:0:root:/root:{shell}\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n");
    plan.nodes.insert("etc/passwd".into(), Node::File { mode: 0o644, content: accounts.into_bytes() });
    plan.mounts.push("/usr".to_owned());
    for &name in PROGRAM_DIRECTORIES {
        let place = root.join(name);
        match fs::symlink_metadata(&place) {
            Ok(facts) if facts.is_symlink() => {
                let target = fs::read_link(&place).map_err(|error| failed(format!("cannot read the link /{name}"), error))?;
                // A link elsewhere would lead nowhere inside.
                if target.strip_prefix("/").unwrap_or(&target).starts_with("usr") {
                    plan.nodes.insert(name.into(), Node::Link { target });
                }
            }
            Ok(facts) if facts.is_dir() => plan.mount(format!("/{name}")),
            Ok(_) | Err(_) => {}
        }
    }
    includes.sort_unstable();
    includes.dedup();
    // One inside another is shown with it.
    let mut outer: Vec<String> = Vec::new();
    for include in includes {
        if !outer.iter().any(|other| Path::new(&include).starts_with(other)) {
            outer.push(include);
        }
    }
    for include in &outer {
        plan.mount(include.clone());
        plan.path.extend(program_directory(root, include));
    }
    plan.includes = outer;
    plan.add_file_systems_beneath(root);
    Ok(plan)
}

/// Where the programs of a toolchain are.
fn program_directory(root: &Path, include: &str) -> Option<String> {
    if include.ends_with("/bin") {
        return Some(include.to_owned());
    }
    let bin = format!("{}/bin", include.trim_end_matches('/'));
    on_host(root, &bin).is_dir().then_some(bin)
}

impl Plan {
    fn mount(&mut self, at: String) {
        self.directory(Path::new(at.trim_start_matches('/')));
        self.mounts.push(at);
    }

    /// A directory with those above it.
    fn directory(&mut self, path: &Path) {
        for directory in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            self.nodes.entry(directory.to_owned()).or_insert(Node::Directory { mode: 0o755 });
        }
    }

    /// `/usr/local` and the like on a file system of their own: an overlay does not look across.
    fn add_file_systems_beneath(&mut self, root: &Path) {
        let Ok(table) = fs::read_to_string(root.join("proc/self/mountinfo")) else { return };
        let mut further: Vec<String> = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            // Escaped characters in a mount point: none of a toolchain's.
            .filter(|at| !at.contains('\\') && include::SHOWN_ALREADY.iter().any(|shown| at.starts_with(&format!("{shown}/"))))
            .filter(|at| on_host(root, at).is_dir())
            .map(str::to_owned)
            .collect();
        further.sort_unstable();
        further.dedup();
        self.mounts.extend(further);
    }

    /// Copies what a line of [`ETC`] names.
    fn copy_named(&mut self, root: &Path, name: &str) -> Result<()> {
        let etc = root.join("etc");
        match name.strip_suffix('*') {
            None => self.copy(&etc.join(name), &Path::new("etc").join(name), 0),
            Some(start) => {
                let mut matching: Vec<_> = fs::read_dir(&etc)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.file_name())
                    .filter(|found| found.to_str().is_some_and(|found| found.starts_with(start)))
                    .collect();
                matching.sort_unstable();
                matching.iter().try_for_each(|found| self.copy(&etc.join(found), &Path::new("etc").join(found), 0))
            }
        }
    }

    /// Copies a file, a link as a link, or a directory. What only some users may read is not copied, nor what holds a
    /// private key; what is missing or broken is left out, for a machine need not have all of it.
    fn copy(&mut self, from: &Path, to: &Path, depth: usize) -> Result<()> {
        let Ok(facts) = fs::symlink_metadata(from) else { return Ok(()) };
        let mode = facts.permissions().mode() & 0o755;
        let everybody_may_read = facts.permissions().mode() & 0o004 != 0;
        let node = if facts.is_symlink() {
            let Ok(target) = fs::read_link(from) else { return Ok(()) };
            Node::Link { target }
        } else if facts.is_dir() && everybody_may_read && depth < DEPTH_MAX {
            let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            names.sort_unstable();
            for name in names {
                self.copy(&from.join(&name), &to.join(&name), depth + 1)?;
            }
            Node::Directory { mode }
        } else if facts.is_file() && everybody_may_read && facts.len() <= FILE_BYTES_MAX {
            let Some(content) = read_regular(from) else { return Ok(()) };
            if content.windows(PRIVATE_KEY.len()).any(|window| window == PRIVATE_KEY) {
                return Ok(());
            }
            Node::File { mode, content }
        } else {
            return Ok(());
        };
        if self.nodes.len() >= FILES_MAX {
            return Err(Error::limit(format!("the environment host would need more than {FILES_MAX} files of /etc")));
        }
        if let Some(parent) = to.parent() {
            self.directory(parent);
        }
        self.nodes.insert(to.to_owned(), node);
        Ok(())
    }

    pub fn size_bytes(&self) -> u64 {
        self.nodes.values().map(|node| if let Node::File { content, .. } = node { content.len() as u64 } else { 0 }).sum()
    }

    /// Digest of the layer and of what is shown with it, but not of the shown content: that is the machine's.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            // Lengths in front: two fields cannot pass for one.
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for (path, node) in &self.nodes {
            field(path.as_os_str().as_encoded_bytes());
            let (kind, mode, content) = match node {
                Node::Directory { mode } => (b'd', *mode, &[] as &[u8]),
                Node::File { mode, content } => (b'f', *mode, content.as_slice()),
                Node::Link { target } => (b'l', 0, target.as_os_str().as_encoded_bytes()),
            };
            field(&[kind]);
            field(&mode.to_le_bytes());
            field(content);
        }
        for mount in &self.mounts {
            field(mount.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Writes the layer into a directory that it makes.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o755).create(root)?;
        for (path, node) in &self.nodes {
            let place = root.join(path);
            match node {
                Node::Directory { .. } => fs::create_dir(&place)?,
                Node::File { mode, content } => {
                    fs::write(&place, content)?;
                    fs::set_permissions(&place, fs::Permissions::from_mode(*mode))?;
                }
                Node::Link { target } => symlink(target, &place)?,
            }
        }
        // Last, and inner ones first: a directory need not be writable for its owner.
        for (path, node) in self.nodes.iter().rev() {
            if let Node::Directory { mode } = node {
                fs::set_permissions(root.join(path), fs::Permissions::from_mode(*mode))?;
            }
        }
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))
    }
}

/// How every private key in text form begins, whatever its kind.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// The content of a regular file, bounded; `None` when it is something else by now or cannot be read.
fn read_regular(path: &Path) -> Option<Vec<u8>> {
    // Not through a link that was put there meanwhile, and without waiting for a writer should it be a pipe.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok()?;
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= FILE_BYTES_MAX).then_some(content)
}
