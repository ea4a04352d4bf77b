//! Which directories of the machine a user may show inside: toolchains, never homes, keys, sockets or places that anybody can write to.
//!
//! Checked when the environment is built. What is put into a directory afterwards is shown too, which `env inspect` says.

use std::fs::{self, FileType};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use pyro_api::{Error, Result};

/// Places that are refused with everything in them.
const REFUSED_TREES: &[(&str, &str)] = &[
    ("/etc", "holds the machine's configuration and keys"),
    ("/proc", "is the kernel's"),
    ("/sys", "is the kernel's"),
    ("/dev", "holds devices"),
    ("/run", "holds sockets"),
    ("/var", "holds data of services"),
    ("/boot", "holds kernels"),
    ("/tmp", "is writable by everybody"),
    ("/lost+found", "is the file system's"),
];

/// Directories that hold keys, wherever they are.
const KEY_DIRECTORIES: &[&str] =
    &[".ssh", ".gnupg", ".aws", ".azure", ".kube", ".password-store", ".mozilla", ".thunderbird", ".gcloud", ".oci", ".pki"];

/// Files that hold keys, wherever they are.
const KEY_FILES: &[&str] = &[
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_ecdsa_sk",
    "id_ed25519_sk",
    ".netrc",
    ".git-credentials",
    ".pypirc",
    ".bash_history",
    ".zsh_history",
    ".pgpass",
    ".my.cnf",
];

/// Names that hold keys in a user's directory, but that packages deep in a toolchain carry harmlessly.
const KEY_NAMES_NEAR_THE_TOP: &[&str] =
    &[".config", ".docker", ".npmrc", ".cache", "credentials", "credentials.toml", ".credentials", "auth.json", "config.json"];
/// How far down those names count: `DIR/name` and `DIR/sub/name`.
const NEAR_THE_TOP_DEPTH_MAX: usize = 2;

/// How many names are looked at: ten times a large toolchain. More means that it is something else.
const ENTRIES_MAX: usize = 2_000_000;
/// Deeper trees are somebody's trap: the longest path that programs can name has half as many parts.
const DEPTH_MAX: usize = 4096;

/// Checks a directory that a user wants to show, on the machine whose root directory is `root`; returns it without needless parts.
pub(super) fn check(root: &Path, include: &str) -> Result<String> {
    let refuse = |why: &str| Error::invalid(format!("{include} cannot be shown inside: it {why}"));
    let path = Path::new(include);
    let is_plain = path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let Some(shown) = path.components().collect::<PathBuf>().to_str().map(str::to_owned).filter(|_| is_plain) else {
        return Err(refuse("is not a whole path").hint("give the path from / on, without .."));
    };
    if shown.contains(['\n', '\\', ':', ',']) {
        return Err(refuse("has a character in its name that mounts cannot have"));
    }
    if shown == "/" {
        return Err(refuse("is the whole machine").hint("name the directory of one toolchain"));
    }
    for (place, why) in REFUSED_TREES {
        if Path::new(&shown).starts_with(place) {
            return Err(refuse(why));
        }
    }
    if SHOWN_ALREADY.iter().any(|place| Path::new(&shown).starts_with(place)) {
        return Err(refuse("is part of host already"));
    }
    for home in homes(root) {
        if home.starts_with(&shown) {
            return Err(refuse("holds the home directory of a user").hint("name the toolchain's own directory in it"));
        }
    }
    if let Some(name) = names_keys(Path::new(&shown)) {
        return Err(refuse(&format!("is in {name}, where keys are kept")));
    }
    check_way(root, &shown, include)?;
    check_content(&on_host(root, &shown), include)?;
    Ok(shown)
}

/// Shown by `host` without being asked for.
pub(super) const SHOWN_ALREADY: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// A path of the machine, beneath its root directory.
pub(super) fn on_host(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Each directory from the root down: there, not a link, and not everybody's.
fn check_way(root: &Path, shown: &str, include: &str) -> Result<()> {
    let mut way = root.to_owned();
    for part in Path::new(shown).components().filter(|part| matches!(part, Component::Normal(_))) {
        way.push(part);
        let facts = fs::symlink_metadata(&way).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(format!("there is no directory {include} on this machine")),
            _ => Error::invalid(format!("{include} cannot be shown inside")).because(error),
        })?;
        if facts.is_symlink() {
            let real = fs::canonicalize(on_host(root, shown)).unwrap_or_else(|_| way.clone());
            return Err(Error::invalid(format!("{include} cannot be shown inside: {} is a link", way.display()))
                .hint(format!("--include {}", real.display())));
        }
        if !facts.is_dir() {
            return Err(Error::invalid(format!("{include} cannot be shown inside: {} is not a directory", way.display())));
        }
        if facts.permissions().mode() & 0o002 != 0 {
            return Err(Error::invalid(format!("{include} cannot be shown inside: everybody can write to {}", way.display())));
        }
    }
    Ok(())
}

/// Looks through the whole directory for keys and sockets. Links are not followed: inside, they lead to what is there.
fn check_content(top: &Path, include: &str) -> Result<()> {
    let refuse = |path: &Path, why: &str| {
        Err(Error::invalid(format!("{include} cannot be shown inside: {} {why}", path.display()))
            .hint("name a directory without it, such as its bin"))
    };
    let mut waiting = vec![(top.to_owned(), 1)];
    let mut seen = 0_usize;
    while let Some((directory, depth)) = waiting.pop() {
        let entries = fs::read_dir(&directory).map_err(|error| {
            Error::invalid(format!("{include} cannot be shown inside: cannot look into {}", directory.display())).because(error)
        })?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::invalid(format!("{include} cannot be read")).because(error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| Error::invalid(format!("{include} cannot be read")).because(error))?;
            seen += 1;
            if seen > ENTRIES_MAX || depth > DEPTH_MAX {
                return Err(Error::limit(format!(
                    "{include} is too large to be shown inside: it holds more than {ENTRIES_MAX} files"
                )));
            }
            if kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
                return refuse(&path, "is a socket or a device");
            }
            if let Some(name) = entry.file_name().to_str()
                && is_key(name, kind, depth)
            {
                return refuse(&path, "may hold keys");
            }
            if kind.is_dir() {
                waiting.push((path, depth + 1));
            }
        }
    }
    Ok(())
}

fn is_key(name: &str, kind: FileType, depth: usize) -> bool {
    (kind.is_dir() && KEY_DIRECTORIES.contains(&name))
        || (!kind.is_dir() && KEY_FILES.contains(&name))
        || (depth <= NEAR_THE_TOP_DEPTH_MAX && KEY_NAMES_NEAR_THE_TOP.contains(&name))
}

/// The part of a path that names a place for keys.
fn names_keys(path: &Path) -> Option<&str> {
    path.iter()
        .filter_map(|part| part.to_str())
        .find(|part| KEY_DIRECTORIES.contains(part) || [".config", ".docker"].contains(part))
}

/// Home directories of the machine's users, from its list of users and from where they usually are.
fn homes(root: &Path) -> Vec<PathBuf> {
    let mut homes = vec![PathBuf::from("/root"), PathBuf::from("/home")];
    homes.extend(
        fs::read_dir(root.join("home")).into_iter().flatten().flatten().map(|entry| Path::new("/home").join(entry.file_name())),
    );
    if let Ok(users) = fs::File::open(root.join("etc/passwd")) {
        for line in BufReader::new(users).lines().map_while(io::Result::ok) {
            let mut fields = line.split(':').skip(2);
            let uid = fields.next().and_then(|uid| uid.parse::<u32>().ok());
            let home = fields.nth(2).filter(|home| home.starts_with('/') && *home != "/");
            if let (Some(uid), Some(home)) = (uid, home)
                && (uid == 0 || (FIRST_PERSON_UID..NOBODY_UID).contains(&uid))
            {
                homes.push(PathBuf::from(home));
            }
        }
    }
    homes
}

/// Users below are services (Debian policy 9.2.2).
const FIRST_PERSON_UID: u32 = 1000;
const NOBODY_UID: u32 = 65534;
