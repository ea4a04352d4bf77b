//! With what privilege sandboxes are made here, and how a process gets into the user namespace ("U1") in which it is made with it.
//!
//! Everything after [`enter_self`] is the same in all modes: the process has CAP_SYS_ADMIN in its user namespace and in its mount
//! namespace. Nothing is remembered between calls: the machine may change.
//!
//! Trust: in the modes of an ordinary user, U1 gives no power over anything that the user had no power over before. In the mode of root
//! there is no U1, and the process keeps root's powers until its children give them up.

use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

use pyro_api::{Error, Result};
use pyro_sys::confine::{self, Capability, effective_capabilities, mask};
use pyro_sys::spawn::{self, Namespaces};
use pyro_sys::userns::{self, IdMaps, IdRange, UserNamespace};

/// Ids in each sandbox. As in container images: 0 to 65535, where 65534 is `nobody`.
pub const SANDBOX_IDS: u32 = 65_536;

/// Where systemd lets container managers take ids without asking (systemd.io/UIDS-GIDS, "container UID range").
const CONTAINER_IDS: Range<u32> = 524_288..1_879_048_192;

/// Which ids there are to make sandboxes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Root with all capabilities over its namespace.
    Root {
        /// Ids of the current namespace that sandboxes may be mapped to, in slots of [`SANDBOX_IDS`]. `None`: the namespace has no
        /// more ids than one sandbox needs, and every sandbox has those.
        slots: Option<Range<u32>>,
    },
    /// An ordinary user who owns a range of sub-ids.
    Range {
        /// The user; root in U1.
        uid: u32,
        /// Its group.
        gid: u32,
        /// The sub-user-ids: 1, 2, … in U1.
        users: Range<u32>,
        /// The sub-group-ids: 1, 2, … in U1.
        groups: Range<u32>,
    },
    /// An ordinary user with one id.
    Single {
        /// The user; root in U1.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Why there is no range: a sentence for `doctor`.
        why_no_range: String,
    },
}

impl Privilege {
    /// Word for reports and records.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Root { .. } => "root",
            Self::Range { .. } => "range",
            Self::Single { .. } => "single",
        }
    }

    /// The id map of a sandbox, seen from U1.
    #[must_use]
    pub fn sandbox_ids(&self, workspace_id: &str) -> IdRange {
        match self {
            Self::Root { slots: Some(slots) } => {
                let count = (slots.end - slots.start) / SANDBOX_IDS;
                let slot = (fnv1a(workspace_id) % u64::from(count)) as u32;
                IdRange { inside: 0, outside: slots.start + slot * SANDBOX_IDS, count: SANDBOX_IDS }
            }
            Self::Root { slots: None } => IdRange { inside: 0, outside: 0, count: SANDBOX_IDS },
            Self::Range { users, groups, .. } => {
                let count = users.len().min(groups.len()) as u32;
                IdRange { inside: 0, outside: 0, count: count.saturating_add(1).min(SANDBOX_IDS) }
            }
            Self::Single { .. } => IdRange { inside: 0, outside: 0, count: 1 },
        }
    }

    /// The same as lines of a map. Id 0 has a line of its own: in U1 it is another user than the rest, and the kernel wants each line to
    /// lie in one line of the map above.
    #[must_use]
    pub fn sandbox_maps(&self, workspace_id: &str) -> IdMaps {
        let ids = self.sandbox_ids(workspace_id);
        let lines = if self.translates_ids() || ids.count == 1 {
            vec![ids]
        } else {
            let (root, rest) = (ids.outside, ids.outside + 1);
            vec![IdRange { inside: 0, outside: root, count: 1 }, IdRange { inside: 1, outside: rest, count: ids.count - 1 }]
        };
        IdMaps { users: lines.clone(), groups: lines }
    }

    /// Whether ids on disk differ from ids of U1, so that layers are translated when they are mounted.
    #[must_use]
    pub fn translates_ids(&self) -> bool {
        matches!(self, Self::Root { slots: Some(_) })
    }
}

/// 64-bit FNV-1a: the slot must be the same in every process and build.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Finds out what privilege there is.
///
/// # Errors
/// `Unavailable`, with the setting at fault in the hint, when no sandbox can be made at all.
pub fn detect() -> Result<Privilege> {
    let (uid, gid) = confine::effective_ids();
    let wanted = mask(&[Capability::SysAdmin, Capability::Setuid, Capability::Setgid, Capability::Chown]);
    let capable = effective_capabilities().map_err(|error| Error::internal("own capabilities").because(error))? & wanted == wanted;
    if uid == 0 && capable {
        return Ok(Privilege::Root { slots: root_slots()? });
    }
    user_namespaces_allowed()?;
    match sub_ids(uid) {
        Ok((users, groups)) => Ok(Privilege::Range { uid, gid, users, groups }),
        Err(why_no_range) => Ok(Privilege::Single { uid, gid, why_no_range }),
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path)
        .map_err(|error| Error::unavailable(format!("read {path}")).because(error).hint("mount a proc file system at /proc"))
}

/// Ids that root here may give to sandboxes.
fn root_slots() -> Result<Option<Range<u32>>> {
    let (users, groups) = (mapped_ids(&read("/proc/self/uid_map")?), mapped_ids(&read("/proc/self/gid_map")?));
    // First the range meant for containers, else whatever lies above the ids that a system uses itself.
    for wanted in [CONTAINER_IDS, SANDBOX_IDS..u32::MAX] {
        for user_range in &users {
            for group_range in &groups {
                let start = user_range.start.max(group_range.start).max(wanted.start);
                let end = user_range.end.min(group_range.end).min(wanted.end);
                if end.saturating_sub(start) >= SANDBOX_IDS {
                    return Ok(Some(start..end));
                }
            }
        }
    }
    let has_all = |ranges: &[Range<u32>]| ranges.iter().any(|range| range.start == 0 && range.end >= SANDBOX_IDS);
    if has_all(&users) && has_all(&groups) {
        return Ok(None);
    }
    Err(Error::unavailable("root in this user namespace has too few ids for a sandbox")
        .hint("map at least 65536 user and group ids into this container, or run pyro as an ordinary user"))
}

/// Ids of this namespace that are mapped, from the text of a map: `inside outside count` on each line.
fn mapped_ids(map: &str) -> Vec<Range<u32>> {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    map.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (start, _, count) = (number(fields.next())?, fields.next(), number(fields.next())?);
            Some(start..start.saturating_add(count))
        })
        .collect()
}

/// The range that `/etc/subuid` and `/etc/subgid` give a user, or why there is none.
fn sub_ids(uid: u32) -> Result<(Range<u32>, Range<u32>), String> {
    for tool in ["newuidmap", "newgidmap"] {
        userns::tool(tool).map_err(|_| format!("{tool} is not installed (Debian: apt-get install uidmap)"))?;
    }
    let name = user_name(uid);
    let of = |path: &str| {
        let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        sub_range(&text, uid, name.as_deref()).ok_or_else(|| {
            let name = name.clone().unwrap_or_else(|| uid.to_string());
            format!(
                "{path} gives {name} no range of 65535 ids (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name})"
            )
        })
    };
    Ok((of("/etc/subuid")?, of("/etc/subgid")?))
}

/// First range of a user that is large enough, in the format of subuid(5): `name-or-id:first:count`.
fn sub_range(text: &str, uid: u32, name: Option<&str>) -> Option<Range<u32>> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        if Some(owner) != name && owner.parse() != Ok(uid) {
            return None;
        }
        let first: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        // Id 0 inside is the user itself.
        (count >= SANDBOX_IDS - 1).then(|| first..first.saturating_add(count.min(SANDBOX_IDS)))
    })
}

fn user_name(uid: u32) -> Option<String> {
    fs::read_to_string("/etc/passwd").ok()?.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Whether an ordinary user may make user namespaces that are worth something: by making one.
fn user_namespaces_allowed() -> Result<()> {
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let refused = |setting: &str, hint: &str| {
        Err(Error::unavailable(format!("this machine does not let ordinary users make user namespaces: {setting}")).hint(hint))
    };
    let restricted = number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1);
    let error = match userns::try_out() {
        // AppArmor lets the namespace be made, and takes the capabilities in it away: whether from us, only using one tells.
        Ok(()) if restricted => {
            let attempt =
                spawn::fork_into(Namespaces::USER | Namespaces::UTS, None, || u8::from(confine::set_host_name("pyro").is_err()));
            match attempt.and_then(|child| child.wait()) {
                Ok(spawn::Exit::Code(0)) => return Ok(()),
                Ok(_) => None,
                Err(error) => Some(error),
            }
        }
        Ok(()) => return Ok(()),
        Err(error) => Some(error),
    };
    if number("/proc/sys/user/max_user_namespaces") == Some(0) {
        return refused("user.max_user_namespaces is 0", "sysctl user.max_user_namespaces=10000, or run pyro as root");
    }
    if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return refused("kernel.unprivileged_userns_clone is 0", "sysctl kernel.unprivileged_userns_clone=1, or run pyro as root");
    }
    if restricted {
        return refused(
            "kernel.apparmor_restrict_unprivileged_userns is 1",
            "give the pyro binary an AppArmor profile with `userns,`, or sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run pyro as root",
        );
    }
    let unavailable = Error::unavailable("this machine does not let ordinary users make user namespaces").hint(
        "a container's seccomp profile or a kernel without CONFIG_USER_NS does this; run pyro as root or outside the container",
    );
    Err(match error {
        Some(error) => unavailable.because(error),
        None => unavailable,
    })
}

/// Brings this process, which must have one thread, to where sandboxes are made and layers are touched: into its own U1 with its own mounts.
/// For root that is where it is already.
///
/// # Errors
/// `Unavailable` when the namespace cannot be had.
pub fn enter_self(privilege: &Privilege) -> Result<()> {
    match privilege {
        Privilege::Root { .. } => return Ok(()),
        Privilege::Single { uid, gid, .. } => {
            userns::enter_single(*uid, *gid).map_err(|error| cannot_enter().because(error))?;
        }
        Privilege::Range { uid, gid, users, groups } => enter_range((*uid, users), (*gid, groups))?,
    }
    // The change of ids hid our own /proc files from us, and the id map of a sandbox is one of them.
    confine::dumpable().map_err(|error| cannot_enter().because(error))
}

fn enter_range((uid, users): (u32, &Range<u32>), (gid, groups): (u32, &Range<u32>)) -> Result<()> {
    let with_own = |own: u32, sub: &Range<u32>| {
        vec![IdRange { inside: 0, outside: own, count: 1 }, IdRange { inside: 1, outside: sub.start, count: sub.end - sub.start }]
    };
    let maps = IdMaps { users: with_own(uid, users), groups: with_own(gid, groups) };
    let namespace = UserNamespace::create_with_tools(&maps).map_err(|error| {
        cannot_enter()
            .because(error)
            .hint("newuidmap and newgidmap must be set-user-id root, and /etc/subuid and /etc/subgid must agree with them")
    })?;
    namespace.enter().map_err(|error| cannot_enter().because(error))?;
    confine::become_user(0, 0, true).map_err(|error| cannot_enter().because(error))?;
    spawn::unshare(Namespaces::MOUNT).map_err(|error| cannot_enter().because(error))
}

fn cannot_enter() -> Error {
    Error::unavailable("enter a user namespace of our own")
}

/// A command that starts a role of the pyro binary, with nothing of our environment but what roles read, and no standard streams. The
/// role calls [`detect`] and [`enter_self`] itself while it has one thread: what is inherited is never trusted to be right.
#[must_use]
pub fn command_in(_privilege: &Privilege, binary: &Path, arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for name in ROLE_ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Variables that roles read: where things are, and which locale and proxies `apt` uses when an environment is built.
const ROLE_ENVIRONMENT: [&str; 10] =
    ["PYRO_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "HOME", "PATH", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "LANG"];

#[cfg(test)]
mod tests;
