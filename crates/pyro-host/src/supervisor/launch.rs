//! From a plan to a sandbox that is believed: launched, its agent has answered, and the isolation was measured and is as
//! strong as was asked. Whatever fails on the way, nothing is left running.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pyro_api::ops::workspace::{Guarantee, GuaranteeName, IsolationReport};
use pyro_api::values::{IsolationMinimum, serde_name};
use pyro_api::{Error, Result};
use pyro_wire::frame::Frame;
use pyro_wire::limits::HELLO_DEADLINE_MS;
use pyro_wire::message::{AgentHello, Hello, Probe, ProbeName};
use pyro_wire::{FromAgent, ToAgent, Untrusted};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::link::{Broken, Link};
use crate::backend::{Backend, Launch, MakeLayers, Sandbox};
use crate::name::new_nonce;

/// A sandbox whose agent has answered and whose isolation is as asked.
pub struct Live {
    /// The sandbox.
    pub sandbox: Box<dyn Sandbox>,
    /// The link to its agent.
    pub link: Link,
    /// What holds.
    pub isolation: IsolationReport,
}

/// Starts a sandbox. Must be called on a thread that lives as long as the sandbox shall: the kernel ends it with that thread.
///
/// # Errors
/// `Unavailable` when this host cannot do it or less would be held than `minimum`; `Sandbox` when the agent does not answer as it must.
pub fn bring_up(
    backend: &dyn Backend,
    launch: &Launch,
    make_layers: &mut MakeLayers<'_>,
    minimum: &IsolationMinimum,
    build: &str,
) -> Result<Live> {
    bring_up_within(backend, launch, make_layers, minimum, build, Duration::from_millis(HELLO_DEADLINE_MS))
}

/// As [`bring_up`], with another deadline for the hello.
pub(super) fn bring_up_within(
    backend: &dyn Backend,
    launch: &Launch,
    make_layers: &mut MakeLayers<'_>,
    minimum: &IsolationMinimum,
    build: &str,
    hello_deadline: Duration,
) -> Result<Live> {
    let sandbox = backend.launch(launch, make_layers)?;
    match welcome(sandbox, launch, build, hello_deadline) {
        Ok(Welcomed { sandbox, link, hello, outside }) => {
            let isolation = report(backend.name(), &outside, &hello.probes);
            match missing(minimum, &isolation) {
                None => Ok(Live { sandbox, link, isolation }),
                Some(error) => Err(end(sandbox, error)),
            }
        }
        Err(error) => Err(error),
    }
}

/// A sandbox whose agent has answered.
pub(super) struct Welcomed {
    pub(super) sandbox: Box<dyn Sandbox>,
    pub(super) link: Link,
    pub(super) hello: AgentHello,
    /// What was seen of it from outside.
    pub(super) outside: Vec<Guarantee>,
}

/// Says hello, looks at the sandbox from outside while its agent starts, and waits for the answer.
pub(super) fn welcome(mut sandbox: Box<dyn Sandbox>, launch: &Launch, build: &str, deadline: Duration) -> Result<Welcomed> {
    let nonce = new_nonce();
    let hello = ToAgent::Hello(Hello { nonce, build: build.to_owned(), hostname: launch.hostname.clone() });
    let mut link = Link::new(sandbox.link()).map_err(|error| Error::internal("the link cannot be used").because(error))?;
    let answered = link
        .send(0, &hello)
        .map_err(|violation| Error::internal(format!("the hello breaks the protocol: {violation}")))
        .and_then(|()| {
            // When the agent is gone already, waiting for its answer says so better.
            let _ = link.flush();
            let outside = sandbox.probe();
            await_hello(sandbox.as_ref(), &mut link, deadline * sandbox.slowness()).map(|hello| (hello, outside))
        })
        .and_then(|(hello, outside)| {
            if hello.nonce != nonce || hello.build != build {
                return Err(Error::sandbox("the agent is not of the same build as its supervisor"));
            }
            Ok((hello, outside))
        });
    match answered {
        Ok((hello, outside)) => Ok(Welcomed { sandbox, link, hello, outside }),
        Err(error) => Err(end(sandbox, error)),
    }
}

/// Ends a sandbox that is of no use. Why it is of no use is what the caller hears, even when something of it cannot be taken away.
fn end(sandbox: Box<dyn Sandbox>, why: Error) -> Error {
    if let Err(error) = sandbox.kill() {
        super::complain(&error);
    }
    why
}

fn await_hello(sandbox: &dyn Sandbox, link: &mut Link, patience: Duration) -> Result<AgentHello> {
    let deadline = Instant::now() + patience;
    let broke = |violation: pyro_wire::Violation| Error::sandbox(format!("the agent broke the protocol: {violation}"));
    let ended = || {
        let error = Error::sandbox("the sandbox ended before its agent answered");
        error.hint(sandbox.last_words().unwrap_or_else(|| "doctor says what this machine can do".to_owned()))
    };
    loop {
        match link.flush() {
            Ok(()) => {}
            Err(Broken::Closed) => return Err(ended()),
            Err(Broken::Violation(violation)) => return Err(broke(violation)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::timeout(format!("the agent did not answer within {} s", patience.as_secs())));
        }
        let watch = sandbox.watch();
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, link.wants_to_write());
        let link_fd = link.fd();
        let mut fds = [PollFd::new(&link_fd, flags), PollFd::new(&watch, PollFlags::IN)];
        let timeout = Timespec::try_from(left).expect("ten seconds are a time");
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::internal("poll").because(error)),
        }
        let readable = !fds[0].revents().is_empty();
        let gone = !fds[1].revents().is_empty();
        if readable {
            let mut frames = Vec::new();
            let read = link.read(|frame| frames.push(frame));
            if let Err(Broken::Violation(violation)) = read {
                return Err(broke(violation));
            }
            let mut frames = frames.into_iter();
            match (frames.next(), frames.next()) {
                (Some(Frame::Control { channel: 0, message: FromAgent::Hello(hello) }), None) => return Ok(hello),
                (Some(Frame::Control { channel: 0, message: FromAgent::Hello(_) }), Some(_)) => {
                    return Err(broke(pyro_wire::Violation("it said more than its hello before it was asked".to_owned())));
                }
                (Some(_), _) => return Err(broke(pyro_wire::Violation("its first message is not a hello".to_owned()))),
                (None, _) => {}
            }
            if read.is_err() {
                return Err(ended());
            }
        } else if gone {
            return Err(ended());
        }
    }
}

fn guarantee_of(probe: ProbeName) -> GuaranteeName {
    match probe {
        ProbeName::OwnProcesses => GuaranteeName::OwnProcesses,
        ProbeName::OwnFileSystem => GuaranteeName::OwnFileSystem,
        ProbeName::OwnUserIds => GuaranteeName::OwnUserIds,
        ProbeName::NoNetwork => GuaranteeName::NoNetwork,
        ProbeName::NoNewPrivileges => GuaranteeName::NoNewPrivileges,
        ProbeName::FewCapabilities => GuaranteeName::FewCapabilities,
        ProbeName::SyscallFilter => GuaranteeName::SyscallFilter,
    }
}

/// Puts together what was seen from both sides. A guarantee holds only when no side saw it broken; and where both
/// sides can look, when both saw it hold.
fn report(backend: &str, outside: &[Guarantee], inside: &[Probe]) -> IsolationReport {
    let mut all: BTreeMap<GuaranteeName, Guarantee> = outside.iter().map(|seen| (seen.name, seen.clone())).collect();
    for probe in inside {
        let name = guarantee_of(probe.name);
        let detail = Untrusted::new(probe.detail.as_bytes()).escaped();
        all.entry(name)
            .and_modify(|seen| {
                if !probe.held {
                    seen.held = false;
                    seen.detail = format!("inside: {detail}");
                }
            })
            .or_insert(Guarantee { name, held: probe.held, detail });
    }
    let guarantees: Vec<Guarantee> = all.into_values().collect();
    let not_held: Vec<String> = guarantees.iter().filter(|seen| !seen.held).map(|seen| serde_name(&seen.name)).collect();
    let summary = match not_held.as_slice() {
        [] => format!("{backend}: all guarantees held"),
        several => format!("{backend}: held all but {}", several.join(", ")),
    };
    IsolationReport { backend: backend.to_owned(), summary, guarantees }
}

/// What was asked for and is not held, as the error that refuses it.
fn missing(minimum: &IsolationMinimum, isolation: &IsolationReport) -> Option<Error> {
    let wanted = minimum.level.guarantees().iter().chain(&minimum.guarantees);
    let missing: Vec<String> = wanted
        .filter_map(|name| match isolation.guarantees.iter().find(|seen| seen.name == *name) {
            Some(seen) if seen.held => None,
            Some(seen) => Some(format!("{} ({})", serde_name(name), seen.detail)),
            None => Some(format!("{} (nothing here can tell)", serde_name(name))),
        })
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(
        Error::unavailable(format!("isolation {minimum} cannot be met: {}", missing.join("; ")))
            .hint("doctor says which setting of this machine is at fault; or ask for less with isolation"),
    )
}

#[cfg(test)]
mod tests {
    use pyro_api::ops::workspace::{Guarantee, GuaranteeName};
    use pyro_wire::message::{Probe, ProbeName};

    use super::{missing, report};

    fn outside(name: GuaranteeName, held: bool) -> Guarantee {
        Guarantee { name, held, detail: "seen outside".into() }
    }

    fn inside(name: ProbeName, held: bool) -> Probe {
        Probe { name, held, detail: "tried inside\u{1b}[2J".into() }
    }

    #[test]
    fn a_guarantee_holds_only_when_no_side_saw_it_broken() {
        let table = [(true, true, true), (true, false, false), (false, true, false), (false, false, false)];
        for (outer, inner, held) in table {
            let report = report("namespaces", &[outside(GuaranteeName::NoNetwork, outer)], &[inside(ProbeName::NoNetwork, inner)]);
            assert_eq!(report.guarantees[0].held, held, "outside {outer}, inside {inner}");
        }
        let only_inside = report("namespaces", &[], &[inside(ProbeName::NoNetwork, true)]);
        assert!(only_inside.guarantees[0].held);
        assert!(!only_inside.guarantees[0].detail.contains('\u{1b}'), "text from inside is escaped");
    }

    #[test]
    fn a_minimum_that_is_not_held_is_refused_by_name() {
        let all = pyro_api::values::IsolationLevel::Namespaces.guarantees();
        let mut seen: Vec<Guarantee> = all.iter().map(|name| outside(*name, true)).collect();
        seen.push(outside(GuaranteeName::MemoryLimit, false));
        let report = report("namespaces", &seen, &[]);
        assert!(missing(&"namespaces".parse().unwrap(), &report).is_none());
        let error = missing(&"namespaces,memory_limit".parse().unwrap(), &report).expect("refused");
        assert!(error.message.contains("memory_limit (seen outside)"), "{error}");
        let error = missing(&"namespaces,disk_limit".parse().unwrap(), &report).expect("refused");
        assert!(error.message.contains("disk_limit"), "{error}");
    }
}
