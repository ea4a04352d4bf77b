//! What can be read about a machine, beneath a root directory that tests can choose.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Largest file that is read here: `/proc/self/mountinfo` of a busy machine is a tenth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads files of a machine. Whatever cannot be read is absent.
#[derive(Clone, Debug)]
pub struct HostFacts {
    root: PathBuf,
    /// Directories in which programs are looked for.
    path: Vec<PathBuf>,
    /// User id of whoever asks.
    pub uid: u32,
    /// User name of whoever asks, for the files of id ranges.
    pub user: String,
    /// `6.1.0-13-amd64`.
    pub kernel: String,
}

impl HostFacts {
    /// This machine, now.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut facts = Self { root: PathBuf::from("/"), path, uid, user: String::new(), kernel };
        facts.user = facts.user_name(uid).unwrap_or_else(|| uid.to_string());
        facts
    }

    /// A machine whose root directory is `root`, for tests.
    #[must_use]
    pub fn beneath(root: &Path, uid: u32, kernel: &str) -> Self {
        let path = ["usr/bin", "usr/sbin"].map(|directory| root.join(directory)).to_vec();
        let mut facts = Self { root: root.to_owned(), path, uid, user: String::new(), kernel: kernel.to_owned() };
        facts.user = facts.user_name(uid).unwrap_or_else(|| uid.to_string());
        facts
    }

    /// A file's text without the space around it.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        use std::io::Read as _;
        let mut text = Vec::new();
        let place = self.place(path);
        // Not a pipe or a device: reading could wait for ever.
        if !fs::metadata(&place).is_ok_and(|facts| facts.is_file()) {
            return None;
        }
        fs::File::open(place).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// A file that holds a number.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// Something is there.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.place(path)).is_ok()
    }

    /// The program's place on the path.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().map(|directory| directory.join(name)).find(|place| place.is_file())
    }

    /// The program runs with root's rights, or with the capability for it.
    #[must_use]
    pub fn is_privileged(&self, program: &Path) -> bool {
        let setuid = fs::metadata(program).is_ok_and(|facts| facts.permissions().mode() & 0o4000 != 0);
        setuid || rustix::fs::getxattr(program, "security.capability", &mut [0_u8; 64]).is_ok_and(|length| length > 0)
    }

    /// Kernel version as two numbers.
    #[must_use]
    pub fn kernel_version(&self) -> Option<(u32, u32)> {
        let mut parts = self.kernel.split(|c: char| !c.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// How many ids `/etc/subuid` or `/etc/subgid` gives to the user, as one range. subuid(5).
    #[must_use]
    pub fn id_range(&self, file: &str) -> Option<u64> {
        let uid = self.uid.to_string();
        self.text(file)?
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let owner = fields.next()?;
                let count = fields.nth(1)?.trim().parse::<u64>().ok()?;
                (owner == self.user || owner == uid).then_some(count)
            })
            .max()
    }

    /// The type of the file system that a path is on, from the mount table: the longest mount point that holds it.
    #[must_use]
    pub fn file_system(&self, path: &Path) -> Option<String> {
        let table = self.text("/proc/self/mountinfo")?;
        table
            .lines()
            .filter_map(|line| {
                let (mount, kind) = line.split_once(" - ")?;
                let at = mount.split(' ').nth(4)?;
                path.starts_with(at).then(|| (at.len(), kind.split(' ').next().unwrap_or_default()))
            })
            // The last of the same length is the one on top.
            .max_by_key(|&(length, _)| length)
            .map(|(_, kind)| kind.to_owned())
    }

    fn user_name(&self, uid: u32) -> Option<String> {
        let uid = uid.to_string();
        let users = self.text("/etc/passwd")?;
        users.lines().find(|line| line.split(':').nth(2) == Some(&uid))?.split(':').next().map(str::to_owned)
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}
