//! The steps from nothing to an agent that waits on its link.
//!
//! Two processes work at the same time, because making a network namespace takes as long as everything else:
//!
//! ```text
//!  supervisor (U1, one thread)                     first process (U1, own mount/pid/ipc/uts namespaces)
//!  fork_into ─────────────────────────────────────> die with the supervisor, own session
//!  user namespace U2 with its id map                network namespace, loopback up
//!  overlays: mounts in no namespace                 proc, sysfs, devpts, /dev, /run: likewise
//!  copy of the pyro binary, read-only               all mounts private
//!  send all of it ────────────────────────────────> attach, pivot_root
//!  control groups and their limits, send ─────────> join the groups, cgroup namespace, host name
//!  wait for a report, or for the                    enter U2: from here on no mount call can succeed
//!  report's end, which is the exec
//!                                                   ids, capabilities, limits, no new privileges, Landlock, filter
//!                                                   exec the agent with /dev/null three times and the link
//! ```
//!
//! Whatever fails, the first process reports the step and ends; nothing of the sandbox is left.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use pyro_api::{Error, Result};
use pyro_sys::confine::{self, Capability, ProcessLimits};
use pyro_sys::files;
use pyro_sys::mount::{self, Refuses};
use pyro_sys::seccomp::{self, Program};
use pyro_sys::socket;
use pyro_sys::spawn::{self, Namespaces as Kinds};
use pyro_sys::userns::UserNamespace;
use pyro_sys::{mount as mounts, network};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cgroup::{Groups, Hierarchies};
use super::filesystem::{self, Own, Parts, Plan};
use super::timing::{self, Marks};
use super::{MOUNTS_MAX, NamespaceSandbox, Namespaces};
use crate::backend::Launch;
use crate::privilege::Privilege;

/// What commands may do as root inside, and no more; all of it only over what the sandbox's own user namespace owns:
///
/// - `Chown`, `DacOverride`, `Fowner`, `Fsetid`: files of other ids inside; package managers and tar.
/// - `Kill`: processes of other ids inside.
/// - `Setuid`, `Setgid`: becoming another id inside; apt's and every daemon's way to give up root.
/// - `Setpcap`: giving up capabilities.
/// - `SysChroot`: package tools that work on a tree.
/// - `Setfcap`: packages with file capabilities (`ping`).
///
/// Not: `NetBindService` (every port is open to everybody inside, and the network belongs to the outer namespace), `Mknod`, `NetRaw`,
/// `AuditWrite` (the filter has no audit socket), and everything that reaches the kernel itself.
pub const CAPABILITIES: [Capability; 10] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::SysChroot,
    Capability::Setfcap,
];

/// Open descriptors of a process: what programs get (select(2) breaks above it), and what they may ask for.
const DESCRIPTORS: (u64, u64) = (1_024, 65_536);

/// Mode mask of everything inside.
const MASK: u32 = 0o022;

/// Longest host name: `HOST_NAME_MAX`.
const HOST_NAME_BYTES_MAX: usize = 64;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $what:literal;)*) => {
        /// What the first process was doing when it failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        enum Step { $($(#[$doc])* $name = $number,)* }

        impl Step {
            fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
            fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}
steps! {
    Begin = 1, "begin a session";
    Network = 2, "make its network namespace";
    Loopback = 3, "bring its loopback device up";
    Views = 4, "mount its own proc, devpts, /dev and /run";
    Private = 5, "separate its mounts";
    Parts = 6, "receive its mounts";
    Groups = 7, "join its control groups";
    Overlay = 8, "mount an overlay";
    Root = 9, "attach its root";
    Dev = 10, "mount /dev";
    Run = 11, "mount /run";
    Proc = 12, "mount /proc";
    Sys = 13, "mount /sys";
    Pivot = 14, "change its root";
    HostName = 15, "set its host name";
    Users = 16, "enter its user namespace";
    Ids = 17, "become its root";
    Capabilities = 18, "give up capabilities";
    Limits = 19, "limit its resources";
    NoNewPrivileges = 20, "give up new privileges";
    Landlock = 21, "enter a Landlock domain";
    Filter = 22, "filter system calls";
    Null = 23, "open its /dev/null";
    Exec = 24, "start the agent";
    Ports = 25, "open its low ports";
}

impl Step {
    /// What makes this step work, where a person can do something about it.
    fn hint(self, error: &io::Error) -> Option<&'static str> {
        match self {
            Self::Network => Some("sysctl user.max_net_namespaces must not be 0"),
            Self::Root | Self::Dev | Self::Run | Self::Proc | Self::Sys => {
                match error.raw_os_error() {
                    // ELOOP, ENOTDIR
                    Some(40 | 20) => {
                        Some("something in the workspace's files has its place: it must be a directory, or not be there")
                    }
                    // EPERM
                    Some(1) => Some("an outer container hides parts of /proc or /sys: start it with them unmasked"),
                    _ => None,
                }
            }
            // EINVAL
            Self::Overlay if error.raw_os_error() == Some(22) => Some(
                "layers with translated ids need Linux 5.19; and a work directory that was used with `volatile` cannot be used again",
            ),
            Self::Filter => Some("the kernel needs CONFIG_SECCOMP_FILTER; pyro never runs without it"),
            // EACCES
            Self::Exec if error.raw_os_error() == Some(13) => {
                Some("the pyro binary must be readable and executable for everybody: chmod a+rx")
            }
            _ => None,
        }
    }
}

/// Runs a launch.
pub(super) fn run(backend: &Namespaces, launch: &Launch, marks: &mut Marks) -> Result<NamespaceSandbox> {
    check(launch)?;
    let threads = spawn::thread_count().map_err(|error| Error::internal("count own threads").because(error))?;
    if threads != 1 {
        return Err(Error::internal(format!("a sandbox is launched by a process with one thread; this one has {threads}")));
    }
    let privilege = &backend.privilege;
    let plan = Plan {
        launch,
        ids: privilege.sandbox_ids(&launch.id),
        translates_ids: privilege.translates_ids(),
        nested: !in_first_user_namespace(privilege),
        layers: backend.layers,
    };
    let program = Program::build(backend.filter());
    let landlock = confine::landlock_version();
    let hierarchies = Hierarchies::find();
    // A process can only start in a group that is there (v2); it can join one later cheaply (v1).
    let early = match &hierarchies {
        Hierarchies::Unified(_) => Some(Groups::create(&hierarchies, &launch.id, &launch.limits)?),
        Hierarchies::Separate(_) | Hierarchies::None(_) => None,
    };
    let failed = |what: &str, error| Error::unavailable(format!("{what} for sandbox {}", launch.id)).because(error);
    let (link, agent_link) = socket::stream_pair().map_err(|error| failed("open the link", error))?;
    let (control, agent_control) = socket::message_pair().map_err(|error| failed("open a socket", error))?;

    let kinds = Kinds::MOUNT | Kinds::PID | Kinds::IPC | Kinds::UTS;
    let inside = Inside { plan: &plan, program: &program, landlock, fixed_groups: !matches!(privilege, Privilege::Single { .. }) };
    let group = early.as_ref().and_then(Groups::start_in);
    marks.mark(1);
    let mut child_marks = marks.clone();
    let mut ours = Some((link, control));
    let child = spawn::fork_into(kinds, group, || {
        // Only the supervisor has these from here on: that is how its death can be seen.
        drop(ours.take());
        let (step, error) = inside.run(&agent_control, agent_link.as_fd(), &mut child_marks);
        spawn::report_error(agent_control.as_fd(), step as u8, &error);
        1
    })
    .map_err(|error| {
        failed("make namespaces", error).hint("sysctl user.max_mnt_namespaces, user.max_pid_namespaces must not be 0")
    })?;
    marks.mark(2);
    drop((agent_link, agent_control));
    let (link, control) = ours.expect("it is taken in the other process only");
    let mut sandbox = NamespaceSandbox {
        child,
        link: Some(link),
        groups: early.unwrap_or_default(),
        landlock,
        privilege: privilege.clone(),
        ended: false,
    };
    // From here on dropping `sandbox` ends the process and takes the groups away.

    let result = give(backend, &plan, &hierarchies, &mut sandbox, &control, marks);
    let report = match result {
        // The process may have ended with a report of its own, which says more than that it could not be written to.
        Err(error) if error.kind == pyro_api::ErrorKind::Internal => await_exec(&control, &sandbox, marks).err().unwrap_or(error),
        Err(error) => error,
        Ok(()) => match await_exec(&control, &sandbox, marks) {
            Ok(()) => return Ok(sandbox),
            Err(error) => error,
        },
    };
    Err(report)
}

/// The request must be one that we can take responsibility for.
fn check(launch: &Launch) -> Result<()> {
    if !super::cgroup::is_id(&launch.id) {
        return Err(Error::internal(format!("{} is not the mark of a sandbox", launch.id)));
    }
    if launch.hostname.is_empty() || launch.hostname.len() > HOST_NAME_BYTES_MAX {
        return Err(Error::invalid(format!("the host name must have 1 to {HOST_NAME_BYTES_MAX} bytes")));
    }
    if launch.mounts.first().is_none_or(|first| first.at != "/") || launch.mounts.len() > MOUNTS_MAX {
        return Err(Error::internal(format!("the first mount must be / and there may be {MOUNTS_MAX}")));
    }
    for mount in &launch.mounts {
        let plain = Path::new(&mount.at).components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
        if !mount.at.starts_with('/') || !plain {
            return Err(Error::internal(format!("{} is not a plain absolute path", mount.at)));
        }
    }
    Ok(())
}

/// Whether overlay can keep its marks where only the host's root can write, and device nodes can be made.
fn in_first_user_namespace(privilege: &Privilege) -> bool {
    match privilege {
        Privilege::Range { .. } | Privilege::Single { .. } => false,
        // The first namespace maps every id to itself (user_namespaces(7)); no other has all of them.
        Privilege::Root { .. } => {
            fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
        }
    }
}

/// The supervisor's half: everything that the first process needs, sent in one message.
fn give(
    backend: &Namespaces,
    plan: &Plan<'_>,
    hierarchies: &Hierarchies,
    sandbox: &mut NamespaceSandbox,
    control: &OwnedFd,
    marks: &mut Marks,
) -> Result<()> {
    let id = &plan.launch.id;
    let user_namespace = UserNamespace::create(&backend.privilege.sandbox_maps(id), !plan.nested).map_err(|error| {
        Error::unavailable(format!("make the user namespace of sandbox {id}"))
            .because(error)
            .hint("sysctl user.max_user_namespaces must not be 0, and the ids of the sandbox must exist here")
    })?;
    marks.mark(3);
    let parts = Parts::make(plan, &user_namespace).map_err(|(what, error)| {
        let hint = match error.raw_os_error() {
            // EINVAL: an idmapped layer where the kernel has none of that kind.
            Some(22) if plan.translates_ids => Some("mounting layers with translated ids needs Linux 5.19 and a file system that can (ext4, XFS, btrfs, tmpfs from 6.3)"),
            _ => None,
        };
        let error = Error::unavailable(format!("prepare sandbox {id}: {what}")).because(error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })?;
    marks.mark(4);
    let binary = mounts::copy_of_host_path(&backend.binary)
        .and_then(|copy| {
            mount::restrict(&copy, Refuses { writes: true, set_ids: true, devices: true, programs: false })?;
            Ok(copy)
        })
        .map_err(|error| Error::unavailable(format!("open {}", backend.binary.display())).because(error))?;
    marks.mark(5);
    let send = |message: &[u8], descriptors: &[BorrowedFd<'_>]| {
        socket::send_descriptors(control, message, descriptors)
            .map_err(|error| Error::internal(format!("send its mounts to sandbox {id}")).because(error))
    };
    let mut descriptors = vec![user_namespace.as_fd(), binary.as_fd()];
    descriptors.extend(parts.descriptors());
    // Never empty: descriptors travel with data.
    let mut message = vec![PARTS];
    message.extend(parts.shape());
    send(&message, &descriptors)?;
    marks.mark(6);
    if matches!(hierarchies, Hierarchies::Separate(_) | Hierarchies::None(_)) {
        sandbox.groups = Groups::create(hierarchies, id, &plan.launch.limits)?;
    }
    let joins: Vec<BorrowedFd<'_>> = sandbox.groups.join_by().collect();
    send(&[GROUPS], &joins)?;
    marks.mark(7);
    Ok(())
}

/// First byte of the message with the mounts.
const PARTS: u8 = b'p';
/// The message with the control groups.
const GROUPS: u8 = b'g';

/// Waits until the agent runs: the report's other end closes at its exec.
fn await_exec(control: &OwnedFd, sandbox: &NamespaceSandbox, marks: &mut Marks) -> Result<()> {
    let mut bytes = [0; 256];
    let length = loop {
        let received = match socket::receive_descriptors(control, &mut bytes) {
            // Said once, before what there is to read, when the other end was closed with a message of ours unread in it (unix(7)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => socket::receive_descriptors(control, &mut bytes),
            received => received,
        };
        let (length, _) = received.map_err(|error| Error::internal("read the report of a sandbox").because(error))?;
        if bytes[..length].first() != Some(&timing::TAG) {
            break length;
        }
        marks.take(&bytes[..length]);
    };
    marks.mark(8);
    if let Some((step, error)) = spawn::parse_report(&bytes[..length]) {
        let step = Step::from_number(step);
        let what = step.map_or("start", Step::what);
        let hint = step.and_then(|step| step.hint(&error));
        let error = Error::unavailable(format!("the sandbox could not {what}")).because(error);
        return Err(match hint {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }
    let gone = sandbox.child.is_gone().map_err(|error| Error::internal("watch a sandbox").because(error))?;
    if gone {
        return Err(Error::sandbox("the first process of the sandbox ended before the agent answered"));
    }
    Ok(())
}

/// The first process's half. Runs in a fork: it must not return into the supervisor's code.
struct Inside<'a> {
    plan: &'a Plan<'a>,
    program: &'a Program,
    landlock: u32,
    fixed_groups: bool,
}

type Failure = (Step, io::Error);

/// Names the step of an error.
trait At<T> {
    fn at(self, step: Step) -> Result<T, Failure>;
}
impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|error| (step, error))
    }
}

impl Inside<'_> {
    /// Only comes back with what went wrong.
    fn run(&self, control: &OwnedFd, link: BorrowedFd<'_>, marks: &mut Marks) -> Failure {
        match self.prepare(control, marks) {
            Ok((binary, null)) => {
                let null = null.as_fd();
                let arguments = [c"pyro", c"@agent"];
                spawn::exec_with_only(binary.as_fd(), &[null, null, null, link], &arguments, control.as_fd(), Step::Exec as u8)
            }
            Err(failure) => failure,
        }
    }

    /// From here on we end when the supervisor does, and if it has ended already, now.
    fn die_with_supervisor(&self, control: &OwnedFd) -> Result<(), Failure> {
        spawn::die_with_parent().at(Step::Begin)?;
        let mut other_end = [PollFd::from_borrowed_fd(control.as_fd(), PollFlags::empty())];
        poll(&mut other_end, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_err(io::Error::from).at(Step::Begin)?;
        if other_end[0].revents().contains(PollFlags::HUP) {
            return Err((Step::Begin, io::ErrorKind::BrokenPipe.into()));
        }
        Ok(())
    }

    fn prepare(&self, control: &OwnedFd, marks: &mut Marks) -> Result<(OwnedFd, OwnedFd), Failure> {
        // Before: a copy of the supervisor, with all its powers and descriptors, in four new namespaces.
        self.die_with_supervisor(control)?;
        spawn::new_session().at(Step::Begin)?;
        spawn::default_signals().at(Step::Begin)?;
        spawn::ordinary_scheduling().at(Step::Begin)?;
        marks.mark(20);
        spawn::unshare(Kinds::NETWORK).at(Step::Network)?;
        marks.mark(21);
        network::loopback_up().at(Step::Loopback)?;
        marks.mark(22);
        open_low_ports().at(Step::Ports)?;
        marks.mark(23);
        files::set_mask(0);
        let own = Own::make(self.plan).at(Step::Views)?;
        files::set_mask(MASK);
        marks.mark(24);
        mount::make_all_private().at(Step::Private)?;
        marks.mark(25);

        let mut message = [0; 1 + MOUNTS_MAX];
        let (length, descriptors) = socket::receive_descriptors(control, &mut message).at(Step::Parts)?;
        marks.mark(26);
        let mut descriptors = descriptors.into_iter();
        let short = || (Step::Parts, io::Error::from(io::ErrorKind::UnexpectedEof));
        let Some((&PARTS, shape)) = message[..length].split_first() else { return Err(short()) };
        let (user_namespace, binary) = descriptors.next().zip(descriptors.next()).ok_or_else(short)?;
        let parts = Parts::from_descriptors(shape, descriptors).ok_or_else(short)?;
        filesystem::assemble(self.plan, parts, &own).map_err(|(what, error)| {
            let step = match what {
                "/dev" | "/dev/pts" => Step::Dev,
                "/run" => Step::Run,
                "/proc" => Step::Proc,
                "/sys" => Step::Sys,
                "the new root" => Step::Pivot,
                "an overlay by name" => Step::Overlay,
                _ => Step::Root,
            };
            (step, error)
        })?;
        drop(own);
        marks.mark(27);
        let (length, joins) = socket::receive_descriptors(control, &mut message).at(Step::Groups)?;
        if message[..length] != [GROUPS] {
            return Err((Step::Groups, io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        for join in joins {
            fs::File::from(join).write_all(b"0").at(Step::Groups)?;
        }
        spawn::unshare(Kinds::CGROUP).at(Step::Groups)?;
        marks.mark(28);
        confine::set_host_name(&self.plan.launch.hostname).at(Step::HostName)?;
        let null = files::open_both_ways(Path::new("/dev/null")).at(Step::Null)?;

        // Here the powers end. Until now: those of the outer namespace. After the next call: every capability, but only over the
        // sandbox's own user namespace, which owns no mounts, no network and no processes outside.
        UserNamespace::from(user_namespace).enter().at(Step::Users)?;
        marks.mark(30);
        confine::become_user(0, 0, self.fixed_groups).at(Step::Ids)?;
        // Changing ids has made the kernel forget it.
        self.die_with_supervisor(control)?;
        let limits = ProcessLimits { descriptors: DESCRIPTORS, processes: Some(self.plan.launch.limits.pids_max) };
        confine::limit_process(&limits).at(Step::Limits)?;
        confine::keep_capabilities(&CAPABILITIES).at(Step::Capabilities)?;
        marks.mark(31);
        confine::no_new_privileges().at(Step::NoNewPrivileges)?;
        if self.landlock >= confine::LANDLOCK_SCOPE_VERSION {
            confine::landlock_scope().at(Step::Landlock)?;
        }
        self.die_with_supervisor(control)?;
        // Last: what follows is exec, and the filter is made so that the agent can work under it.
        seccomp::install(self.program).at(Step::Filter)?;
        marks.mark(32);
        if let Some(message) = marks.message() {
            // Times are for people: that they do not arrive is no reason to fail.
            let _ = socket::send_descriptors(control, &message, &[]);
        }
        Ok((binary, null))
    }
}

/// Lets every user inside bind every port: the network namespace belongs to the outer user namespace, so no capability inside could.
fn open_low_ports() -> io::Result<()> {
    fs::File::options().write(true).open("/proc/sys/net/ipv4/ip_unprivileged_port_start")?.write_all(b"0")
}
