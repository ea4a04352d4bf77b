//! The supervisor's half of a launch: the steps from nothing to an agent that waits on its link.
//!
//! Two processes work at the same time, because making a network namespace takes as long as everything else:
//!
//! ```text
//!  supervisor (U1)                                  first process (U1, process namespace of its own)
//!  start our own program as the first process ────> a clean image: none of our memory, no environment, no descriptor
//!  send the plan                                    but null three times and the control socket
//!  user namespace U2 with its id map                mount, network, ipc, uts namespaces, loopback up
//!  writable layers; in no namespace: overlays,      proc, sysfs: likewise
//!  /dev, /dev/pts, /run                             read the plan
//!  send all of it ────────────────────────────────> attach, pivot_root
//!  control groups and their limits, send ─────────> join the groups, cgroup namespace, host name
//!  wait for a report, or for                        enter U2: from here on no mount call can succeed
//!  the end of the control socket                    ids, capabilities, limits, no new privileges, Landlock, filter
//!                                                   close the control socket, be the agent
//! ```
//!
//! The first process can be begun before it is known what is wanted ([`begin_ahead`]): until it needs the plan, all sandboxes are alike.
//!
//! Whatever fails, the first process reports the step and ends; nothing of the sandbox is left. Its half is in [`super::first`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use pyro_api::{Error, ErrorKind, Result};
use pyro_sys::mount::{self, Refuses};
use pyro_sys::socket;
use pyro_sys::spawn::{self, Child, Namespaces as Kinds};
use pyro_sys::start::{self, Program};
use pyro_sys::userns::UserNamespace;

use super::cgroup::{Groups, Hierarchies};
use super::filesystem::Parts;
use super::first::{GROUPS, PARTS, PROGRAM, Step};
use super::plan::Plan;
use super::switch::Ground;
use super::timing::{self, Marks};
use super::{MOUNTS_MAX, NamespaceSandbox, Namespaces};
use crate::backend::{Launch, MakeLayers};

/// Longest host name: `HOST_NAME_MAX`.
const HOST_NAME_BYTES_MAX: usize = 64;

/// How our program is told that it is the first process of a sandbox.
const ARGUMENTS: [&std::ffi::CStr; 2] = [c"pyro", c"@agent"];

/// Runs a launch.
pub(super) fn run(
    backend: &Namespaces,
    launch: &Launch,
    program: Option<&super::Program<'_>>,
    make_layers: &mut MakeLayers<'_>,
    marks: &mut Marks,
) -> Result<NamespaceSandbox> {
    check(launch)?;
    let privilege = &backend.privilege;
    let plan = Plan::new(launch, program, privilege, marks.begin());
    let hierarchies = Hierarchies::find();
    // A process can only start in a group that is there (v2); it can join one later cheaply (v1).
    let early = match &hierarchies {
        Hierarchies::Unified(_) => Some(Groups::create(&hierarchies, &launch.id, &launch.limits)?),
        Hierarchies::Separate(_) | Hierarchies::None(_) => None,
    };
    marks.mark(1);
    let Begun { child, control } = match backend.take_begun() {
        Some(begun) => begun,
        None => begin(backend, early.as_ref().and_then(Groups::start_in))?,
    };
    marks.mark(2);
    let failed = |error| Error::unavailable(format!("open the link of sandbox {}", launch.id)).because(error);
    let (link, agent_link) = socket::stream_pair().map_err(failed)?;
    let mut sandbox = NamespaceSandbox {
        child,
        link: Some(link),
        groups: early.unwrap_or_default(),
        landlock: plan.landlock,
        privilege: privilege.clone(),
        ground: None,
        ended: false,
    };
    // From here on dropping `sandbox` ends the process and takes the groups away.

    let supervisor = Supervisor { backend, launch, program, plan: &plan, hierarchies: &hierarchies, control: &control };
    let given = supervisor.give(&mut sandbox, agent_link, make_layers, marks);
    let report = match given {
        // The process may have ended with a report of its own, which says more than that it could not be written to.
        Err(error) if error.kind == ErrorKind::Internal => await_end(&control, &sandbox, marks).err().unwrap_or(error),
        Err(error) => error,
        Ok(()) => match await_end(&control, &sandbox, marks) {
            Ok(()) => return Ok(sandbox),
            Err(error) => error,
        },
    };
    Err(report)
}

/// A first process that has begun: what it does until it needs its plan is the same for every sandbox.
#[derive(Debug)]
pub(super) struct Begun {
    child: Child,
    control: OwnedFd,
}

impl Begun {
    /// It is not needed.
    pub(super) fn end(self) {
        // A process of ours that cannot be killed is gone already.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Starts a first process, in the v2 group if one is given.
pub(super) fn begin(backend: &Namespaces, group: Option<BorrowedFd<'_>>) -> Result<Begun> {
    let failed = |what: &str, error| Error::unavailable(format!("{what} for a sandbox")).because(error);
    let (control, agent_control) = socket::message_pair().map_err(|error| failed("open a socket", error))?;
    let binary = copy_of(&backend.binary)?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|error| failed("open /dev/null", error.into()))?;
    let null = null.as_fd();
    let program = Program { file: binary.as_fd(), arguments: &ARGUMENTS, descriptors: &[null, null, null, agent_control.as_fd()] };
    let child = start::start_in(Kinds::PID, group, &program).map_err(|failure| match failure {
        start::Failure::Process(error) => {
            failed("make a process namespace", error).hint("sysctl user.max_pid_namespaces must not be 0")
        }
        start::Failure::Execute(error) => not_executed(&backend.binary, &error),
    })?;
    Ok(Begun { child, control })
}

/// Begins before it is known what is wanted. Not where a process has to start in its control group: that has its sandbox's name.
pub(super) fn begin_ahead(backend: &Namespaces) -> Result<Option<Begun>> {
    match Hierarchies::find() {
        Hierarchies::Unified(_) => Ok(None),
        Hierarchies::Separate(_) | Hierarchies::None(_) => begin(backend, None).map(Some),
    }
}

/// Our own program for the first process: attached nowhere and read-only, so that nothing inside can reach the file of the host by it.
fn copy_of(binary: &Path) -> Result<OwnedFd> {
    mount::copy_of_host_path(binary)
        .and_then(|copy| {
            mount::restrict(&copy, Refuses { writes: true, set_ids: true, devices: true, programs: false })?;
            Ok(copy)
        })
        .map_err(|error| Error::unavailable(format!("open {}", binary.display())).because(error))
}

fn not_executed(binary: &Path, error: &io::Error) -> Error {
    let told = Error::unavailable(format!("the sandbox could not start the agent from {}: {error}", binary.display()));
    // EACCES
    if error.raw_os_error() == Some(13) {
        return told.hint("the pyro binary must be executable, and on a file system that is not mounted noexec: chmod a+rx");
    }
    told
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

/// What the supervisor works with.
struct Supervisor<'a> {
    backend: &'a Namespaces,
    launch: &'a Launch,
    program: Option<&'a super::Program<'a>>,
    plan: &'a Plan,
    hierarchies: &'a Hierarchies,
    control: &'a OwnedFd,
}

impl Supervisor<'_> {
    /// Gives the first process everything that it needs, as it becomes ready.
    fn give(
        &self,
        sandbox: &mut NamespaceSandbox,
        agent_link: UnixStream,
        make_layers: &mut MakeLayers<'_>,
        marks: &mut Marks,
    ) -> Result<()> {
        let Self { backend, launch, program, plan, hierarchies, control } = *self;
        let id = &launch.id;
        let send = |message: &[u8], descriptors: &[BorrowedFd<'_>]| {
            socket::send_descriptors(control, message, descriptors)
                .map_err(|error| Error::internal(format!("send its plan to sandbox {id}")).because(error))
        };
        let orders = serde_json::to_vec(plan).map_err(|error| Error::internal("write the plan of a sandbox").because(error))?;
        send(&orders, &[agent_link.as_fd()])?;
        // The agent's end is in its hands only: that is how its death can be seen.
        drop(agent_link);
        let user_namespace = UserNamespace::create(&backend.privilege.sandbox_maps(id), !plan.nested).map_err(|error| {
            Error::unavailable(format!("make the user namespace of sandbox {id}"))
                .because(error)
                .hint("sysctl user.max_user_namespaces must not be 0, and the ids of the sandbox must exist here")
        })?;
        marks.mark(3);
        make_layers()?;
        marks.mark(4);
        let parts = Parts::make(plan, launch, backend.layers, &user_namespace).map_err(|(what, error)| {
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
        marks.mark(5);
        let mut descriptors = vec![user_namespace.as_fd()];
        descriptors.extend(parts.descriptors());
        // Never empty: descriptors travel with data.
        let mut message = vec![PARTS];
        message.extend(parts.shape());
        send(&message, &descriptors)?;
        marks.mark(6);
        if matches!(hierarchies, Hierarchies::Separate(_) | Hierarchies::None(_)) {
            sandbox.groups = Groups::create(hierarchies, id, &launch.limits)?;
        }
        let joins: Vec<BorrowedFd<'_>> = sandbox.groups.join_by().collect();
        send(&[GROUPS], &joins)?;
        marks.mark(7);
        if let Some(program) = program {
            let mut descriptors = vec![program.output, program.errors];
            descriptors.extend(&program.descriptors);
            send(&[PROGRAM], &descriptors)?;
        }
        let (overlays, kept) = parts.into_overlays(&launch.mounts).unzip();
        let (plan, users, kept) = (plan.clone(), user_namespace.alone(), kept.unwrap_or_default());
        sandbox.ground = Some(Ground { plan, how: backend.layers, users, overlays, kept, unused: Vec::new(), prepared: None });
        Ok(())
    }
}

/// Waits until the first process is the agent: then it closes its end.
fn await_end(control: &OwnedFd, sandbox: &NamespaceSandbox, marks: &mut Marks) -> Result<()> {
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
