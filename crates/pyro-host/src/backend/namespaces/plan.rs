//! What is decided about a sandbox before anything of it is made. The supervisor makes the plan, works by it, and sends it to the sandbox's
//! first process, which works by the same.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_sys::confine;
use pyro_sys::seccomp::Filter;
use serde::{Deserialize, Serialize};

use super::{Devices, Program};
use crate::backend::{Launch, StackMount};
use crate::privilege::Privilege;

/// The plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Host name inside.
    pub hostname: String,
    /// The file system, from `/` down.
    pub overlays: Vec<Overlay>,
    /// An empty private directory on the host for mounting over.
    pub staging: OsString,
    /// Give up crash safety of the writable layers.
    pub volatile: bool,
    /// Memory limit, MiB.
    pub mem_mib: u64,
    /// Limit of processes and threads.
    pub pids_max: u64,
    /// First id of the sandbox in the current user namespace.
    pub first_id: u32,
    /// How many ids it has.
    pub id_count: u32,
    /// Layers hold ids as they are inside, and are translated when they are mounted.
    pub translates_ids: bool,
    /// The current user namespace is not the first one: overlay must keep its marks in `user.` attributes, and device
    /// nodes cannot be made.
    pub nested: bool,
    /// It has one id only: what only other ids could do is answered with success, and groups cannot be changed.
    pub single: bool,
    /// Landlock of this kernel; 0 when it has none.
    pub landlock: u32,
    /// Which device nodes there are.
    pub devices: Devices,
    /// What runs there when it is not our agent: the program inside and its arguments, the program's own name first.
    pub program: Option<Vec<String>>,
    /// When the launch began, if its steps are timed.
    pub timed_since: Option<Duration>,
}

/// One overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Where it is mounted inside.
    pub at: String,
    /// The directory on the host that holds upper and work; of no use inside.
    #[serde(skip)]
    pub writable: PathBuf,
    /// The writable layer, from there.
    pub upper: PathBuf,
    /// The work directory, from there.
    pub work: PathBuf,
}

impl Plan {
    /// Decides.
    pub fn new(launch: &Launch, program: Option<&Program<'_>>, privilege: &Privilege, timed_since: Option<Duration>) -> Self {
        let ids = privilege.sandbox_ids(&launch.id);
        Self {
            hostname: launch.hostname.clone(),
            overlays: launch.mounts.iter().map(Overlay::of).collect(),
            staging: launch.staging.clone().into_os_string(),
            volatile: launch.volatile,
            mem_mib: launch.limits.mem_mib,
            pids_max: launch.limits.pids_max,
            first_id: ids.outside,
            id_count: ids.count,
            translates_ids: privilege.translates_ids(),
            nested: !in_first_user_namespace(privilege),
            single: matches!(privilege, Privilege::Single { .. }),
            landlock: confine::landlock_version(),
            devices: program.map_or(Devices::Few, |program| program.devices),
            program: program.map(|program| program.arguments.clone()),
            timed_since,
        }
    }

    /// The same over other layers.
    pub fn with_mounts(&self, mounts: &[StackMount]) -> Self {
        Self { overlays: mounts.iter().map(Overlay::of).collect(), ..self.clone() }
    }

    /// The system call filter.
    pub fn filter(&self) -> Filter {
        if self.program.is_some() {
            // A program of ours changes no owners, so nothing needs to be played to it.
            return Filter::Standard;
        }
        if self.single { Filter::FakeRoot } else { Filter::Standard }
    }
}

impl Overlay {
    /// The deepest directory that holds both upper and work, and the way to each from there.
    fn of(stack: &StackMount) -> Self {
        let both = stack.upper.components().zip(stack.work.components());
        let writable: PathBuf = both.take_while(|(one, other)| one == other).map(|(part, _)| part).collect();
        let rest = |path: &Path| path.strip_prefix(&writable).map_or_else(|_| path.to_owned(), Path::to_owned);
        let (upper, work) = (rest(&stack.upper), rest(&stack.work));
        Self { at: stack.at.clone(), writable, upper, work }
    }
}

/// Whether overlay can keep its marks where only the host's root can write, and device nodes can be made.
pub fn in_first_user_namespace(privilege: &Privilege) -> bool {
    match privilege {
        Privilege::Range { .. } | Privilege::Single { .. } => false,
        // The first namespace maps every id to itself (user_namespaces(7)); no other has all of them.
        Privilege::Root { .. } => {
            fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(upper: &str, work: &str) -> Overlay {
        Overlay::of(&StackMount { at: "/".into(), lowers: Vec::new(), sealed: 0, upper: upper.into(), work: work.into() })
    }

    #[test]
    fn upper_and_work_are_reached_from_the_directory_that_holds_both() {
        for (one, other, common, first, second) in [
            ("/h/w/upper/root", "/h/w/work", "/h/w", "upper/root", "work"),
            ("/h/w/u", "/h/w/u2", "/h/w", "u", "u2"),
            ("/a", "/b", "/", "a", "b"),
        ] {
            let found = overlay(one, other);
            assert_eq!((found.writable, found.upper, found.work), (common.into(), first.into(), second.into()));
        }
    }

    #[test]
    fn any_path_of_a_home_arrives_as_it_is() {
        use std::os::unix::ffi::OsStringExt;
        let launch = Launch {
            id: "0123456789ab".into(),
            hostname: "h".into(),
            mounts: Vec::new(),
            staging: OsString::from_vec(b"/home/\xff\"\n/staging".to_vec()).into(),
            volatile: true,
            limits: crate::backend::Limits { mem_mib: 1, disk_mib: 1, vcpu_count: 1, pids_max: 1 },
        };
        let plan = Plan::new(
            &launch,
            None,
            &Privilege::Single { uid: 1, gid: 1, why_no_range: String::new() },
            Some(Duration::from_nanos(5)),
        );
        let sent = serde_json::to_vec(&plan).unwrap();
        assert_eq!(serde_json::from_slice::<Plan>(&sent).unwrap(), plan);
    }
}
