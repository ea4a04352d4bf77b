//! The unprivileged users of tests and benchmarks: one with a range of subordinate ids, one without.
//!
//! They are made by root only. Each has a staging directory that it owns, on disk, with copies of the programs it is to run
//! and a `PYRO_HOME` of its own that is kept between runs (a built environment costs half a minute).

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{self, Context as _, Failure, Result};

/// Which ids a test user can map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// A range in `/etc/subuid` and `/etc/subgid`.
    Range,
    /// Its own id only.
    Single,
}

/// A user to run things as.
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Directory that it owns.
    pub stage: PathBuf,
}

impl Ids {
    fn login(self) -> &'static str {
        match self {
            Self::Range => "pyro-test-range",
            Self::Single => "pyro-test-single",
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Range => "an ordinary user with a range of ids",
            Self::Single => "an ordinary user with a single id",
        }
    }
}

/// Finds the user or makes it. Needs root.
pub fn ensure(ids: Ids) -> Result<User> {
    let login = ids.login();
    if find(login)?.is_none() {
        let mut useradd = Command::new(project::which("useradd").ok_or_else(|| Failure::new("useradd is missing"))?);
        useradd.args(["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]);
        if ids == Ids::Single {
            // System users are given no subordinate ids.
            useradd.arg("--system");
        }
        project::run(useradd.arg(login))?;
    }
    let (uid, gid) = find(login)?.ok_or_else(|| Failure::new(format!("user {login} was made and is not there")))?;
    let has_range = subordinate(login, uid)?;
    match ids {
        Ids::Range if !has_range => {
            let start = first_free()?;
            let range = format!("{start}-{}", start + 65_535);
            let usermod = project::which("usermod").ok_or_else(|| Failure::new("usermod is missing"))?;
            project::run(Command::new(usermod).args(["--add-subuids", &range, "--add-subgids", &range, login]))?;
        }
        Ids::Single if has_range => {
            return Err(Failure::new(format!("{login} has subordinate ids, and must have none"))
                .hint("take its lines out of /etc/subuid and /etc/subgid"));
        }
        Ids::Range | Ids::Single => {}
    }
    // /var/tmp: on disk everywhere, where /tmp may be memory; overlays and sizes behave as they do for users.
    let stage = Path::new("/var/tmp").join(login);
    fs::create_dir_all(&stage).context(stage.display())?;
    let metadata = fs::symlink_metadata(&stage).context(stage.display())?;
    if !metadata.is_dir() {
        return Err(Failure::new(format!("{} is not a directory", stage.display())));
    }
    chown(&stage, Some(uid), Some(gid)).context(stage.display())?;
    fs::set_permissions(&stage, fs::Permissions::from_mode(0o700)).context(stage.display())?;
    let user = User { name: login.to_owned(), uid, gid, stage };
    for folder in ["bin", "run"] {
        let path = user.stage.join(folder);
        fs::create_dir_all(&path).context(path.display())?;
        chown(&path, Some(uid), Some(gid)).context(path.display())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).context(path.display())?;
    }
    Ok(user)
}

impl User {
    /// Where its `PYRO_HOME` is.
    pub fn home(&self) -> PathBuf {
        self.stage.join("home")
    }

    /// Copies a program to where the user can read it.
    pub fn stage(&self, program: &Path) -> Result<PathBuf> {
        let name = program.file_name().ok_or_else(|| Failure::new(format!("{} is no file", program.display())))?;
        let copy = self.stage.join("bin").join(name);
        // A running program cannot be written over; a new file in its place can.
        if copy.exists() {
            fs::remove_file(&copy).context(copy.display())?;
        }
        fs::copy(program, &copy).context(format!("copy {} to {}", program.display(), copy.display()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).context(copy.display())?;
        Ok(copy)
    }

    /// The environment that its programs run with: nothing of ours but `PATH`.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        vec![
            ("PATH", std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned())),
            ("HOME", text(self.stage.clone())),
            ("USER", self.name.clone()),
            ("XDG_RUNTIME_DIR", text(self.stage.join("run"))),
            ("PYRO_HOME", text(self.home())),
        ]
    }

    /// A command that will run as this user, in its staging directory.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // Setting a user id as root also drops all supplementary groups.
        command.gid(self.gid).uid(self.uid).current_dir(&self.stage).env_clear().envs(self.environment());
        command
    }
}

fn find(login: &str) -> Result<Option<(u32, u32)>> {
    let table = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    Ok(table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == login).then(|| Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?)))?
    }))
}

fn ranges(file: &str) -> Vec<(String, u32, u32)> {
    let table = fs::read_to_string(file).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?))
    };
    table.lines().filter_map(entry).collect()
}

fn subordinate(login: &str, uid: u32) -> Result<bool> {
    let uid = uid.to_string();
    let has = |file| ranges(file).iter().any(|(name, _, count)| (*name == login || *name == uid) && *count >= 65_536);
    match (has("/etc/subuid"), has("/etc/subgid")) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        _ => Err(Failure::new(format!("{login} is in only one of /etc/subuid and /etc/subgid"))),
    }
}

/// First id above every range that is given away, and above the start that Debian uses.
fn first_free() -> Result<u32> {
    let taken = ["/etc/subuid", "/etc/subgid"].into_iter().flat_map(ranges);
    let end = taken.filter_map(|(_, start, count)| start.checked_add(count)).max().unwrap_or(0);
    Ok(end.max(100_000))
}

/// The first subordinate user and group id of a user, when there are enough of both.
pub fn range(login: &str) -> Option<(u32, u32)> {
    let first =
        |file| ranges(file).into_iter().find(|(name, _, count)| name == login && *count >= 65_536).map(|(_, start, _)| start);
    Some((first("/etc/subuid")?, first("/etc/subgid")?))
}
