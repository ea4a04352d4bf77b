//! The first process's half of a launch: from our program, started clean with all powers of the supervisor, to an agent that has none of
//! them. The supervisor's half is in [`super::launch`].
//!
//! Nothing inside exists yet while this runs, and nobody else is in its namespaces. It reads only what the supervisor sends.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use pyro_sys::confine::{self, Capability, ProcessLimits};
use pyro_sys::replace::Image;
use pyro_sys::seccomp::{self, Program};
use pyro_sys::spawn::{self, Namespaces as Kinds};
use pyro_sys::userns::UserNamespace;
use pyro_sys::{files, mount, network, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::filesystem::{self, Own, Parts};
use super::plan::Plan;
use super::timing::Marks;
use super::{LINK, MOUNTS_MAX};

/// First byte of the message with the mounts.
pub const PARTS: u8 = b'p';
/// The message with the control groups.
pub const GROUPS: u8 = b'g';
/// The message with the descriptors of a program.
pub const PROGRAM: u8 = b'x';

/// Most bytes of a plan: a few hundred for each of [`MOUNTS_MAX`] mounts, and two paths of the host at most 4096 bytes long, each byte as a
/// number.
const PLAN_BYTES_MAX: usize = 64 * 1024;

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

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $what:literal;)*) => {
        /// What the first process was doing when it failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step { $($(#[$doc])* $name = $number,)* }

        impl Step {
            pub fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}
steps! {
    Begin = 1, "begin";
    Plan = 23, "receive its plan";
    Network = 2, "make its namespaces";
    Loopback = 3, "bring its loopback device up";
    Views = 4, "mount its own proc";
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
    Ports = 25, "open its low ports";
    Program = 26, "execute its program";
}

impl Step {
    /// What makes this step work, where a person can do something about it.
    pub fn hint(self, error: &io::Error) -> Option<&'static str> {
        match self {
            Self::Network => {
                Some("sysctl user.max_net_namespaces, max_mnt_namespaces, max_ipc_namespaces and max_uts_namespaces must not be 0")
            }
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
            _ => None,
        }
    }
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

/// Does everything that comes before the agent: comes back confined, with the agent's end of the link. On failure the supervisor has
/// been told, and the process must end.
///
/// # Errors
/// The step that failed, in words: for a log that nobody may read.
pub fn become_inside(control: OwnedFd) -> Result<UnixStream, String> {
    prepare(&control).map_err(|(step, error)| {
        spawn::report_error(control.as_fd(), step as u8, &error);
        format!("could not {}: {error}", step.what())
    })
    // `control` is closed here: that is how the supervisor learns that we are inside.
}

fn prepare(control: &OwnedFd) -> Result<UnixStream, Failure> {
    die_with_supervisor(control)?;
    spawn::ordinary_scheduling().at(Step::Begin)?;
    files::set_mask(MASK);
    let mut marks = Marks::unsettled();
    marks.mark(20);
    spawn::unshare(Kinds::MOUNT | Kinds::IPC | Kinds::UTS | Kinds::NETWORK).at(Step::Network)?;
    marks.mark(21);
    mount::make_all_private().at(Step::Private)?;
    network::loopback_up().at(Step::Loopback)?;
    marks.mark(22);
    open_low_ports().at(Step::Ports)?;
    marks.mark(23);
    let own = Own::make().at(Step::Views)?;
    marks.mark(24);
    // So far it is the same for every sandbox.
    let (plan, link) = receive_plan(control).at(Step::Plan)?;
    marks.settle(plan.timed_since);
    let filter = Program::build(plan.filter());
    marks.mark(25);

    let mut message = [0; 2 + MOUNTS_MAX];
    let (length, descriptors) = socket::receive_descriptors(control, &mut message).at(Step::Parts)?;
    marks.mark(26);
    let mut descriptors = descriptors.into_iter();
    let short = || (Step::Parts, io::Error::from(io::ErrorKind::UnexpectedEof));
    let Some((&PARTS, shape)) = message[..length].split_first() else { return Err(short()) };
    let user_namespace = descriptors.next().ok_or_else(short)?;
    let parts = Parts::from_descriptors(shape, descriptors).ok_or_else(short)?;
    filesystem::assemble(&plan, parts, &own).map_err(|(what, error)| {
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
    marks.mark(28);
    let program =
        plan.program.as_ref().map(|arguments| receive_program(control, arguments, &link).at(Step::Program)).transpose()?;
    spawn::unshare(Kinds::CGROUP).at(Step::Groups)?;
    confine::set_host_name(&plan.hostname).at(Step::HostName)?;
    marks.mark(29);

    // Here the powers end. Until now: those of the outer namespace. After the next call: every capability, but only over the
    // sandbox's own user namespace, which owns no mounts, no network and no processes outside.
    UserNamespace::from(user_namespace).enter().at(Step::Users)?;
    marks.mark(30);
    confine::become_user(0, 0, !plan.single).at(Step::Ids)?;
    // One more than the control group has, where there is one: it is to refuse first, because it counts that.
    let limits = ProcessLimits { descriptors: DESCRIPTORS, processes: Some(plan.pids_max.saturating_add(1)) };
    confine::limit_process(&limits).at(Step::Limits)?;
    confine::keep_capabilities(&CAPABILITIES).at(Step::Capabilities)?;
    marks.mark(31);
    confine::no_new_privileges().at(Step::NoNewPrivileges)?;
    if plan.landlock >= confine::LANDLOCK_SCOPE_VERSION {
        confine::landlock_scope().at(Step::Landlock)?;
    }
    // Changing ids has made the kernel forget it.
    die_with_supervisor(control)?;
    // Last: the filter is made so that the agent can work under it.
    seccomp::install(&filter).at(Step::Filter)?;
    marks.mark(32);
    if let Some(message) = marks.message() {
        // Times are for people: that they do not arrive is no reason to fail.
        let _ = socket::send_descriptors(control, &message, &[]);
    }
    match program {
        None => Ok(link),
        // Comes back only when it could not be executed.
        Some(program) => Err((Step::Program, program.execute())),
    }
}

/// Everything that a program needs, received before there is nothing left to receive it with.
fn receive_program(control: &OwnedFd, arguments: &[String], link: &UnixStream) -> io::Result<Image> {
    let mut message = [0; 1];
    let (length, descriptors) = socket::receive_descriptors(control, &mut message)?;
    let mut descriptors = descriptors.into_iter();
    let output = descriptors.next().filter(|_| message[..length] == [PROGRAM]).ok_or(io::ErrorKind::UnexpectedEof)?;
    let errors = descriptors.next().ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut places = vec![(output, 1), (errors, 2), (link.as_fd().try_clone_to_owned()?, LINK)];
    places.extend(descriptors.zip(LINK + 1..));
    Image::new(arguments, places)
}

/// From here on we end when the supervisor does, and if it has ended already, now.
fn die_with_supervisor(control: &OwnedFd) -> Result<(), Failure> {
    spawn::die_with_parent().at(Step::Begin)?;
    let mut other_end = [PollFd::from_borrowed_fd(control.as_fd(), PollFlags::empty())];
    poll(&mut other_end, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_err(io::Error::from).at(Step::Begin)?;
    if other_end[0].revents().contains(PollFlags::HUP) {
        return Err((Step::Begin, io::ErrorKind::BrokenPipe.into()));
    }
    Ok(())
}

fn receive_plan(control: &OwnedFd) -> io::Result<(Plan, UnixStream)> {
    let mut bytes = vec![0; PLAN_BYTES_MAX];
    let (length, descriptors) = socket::receive_descriptors(control, &mut bytes)?;
    let plan = serde_json::from_slice(&bytes[..length])?;
    let link = descriptors.into_iter().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((plan, link.into()))
}

/// Lets every user inside bind every port: the network namespace belongs to the outer user namespace, so no capability inside could.
fn open_low_ports() -> io::Result<()> {
    fs::File::options().write(true).open("/proc/sys/net/ipv4/ip_unprivileged_port_start")?.write_all(b"0")
}
