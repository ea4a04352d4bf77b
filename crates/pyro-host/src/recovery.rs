//! After a death: what a killed supervisor, client or builder left behind is found by its lease, which the kernel has given
//! back, and cleared away. Any command does this for what it meets; `doctor --leaks` does it for everything and then looks for what has no owner.
//!
//! Everything here may itself be killed at any point, and is then simply done again.

use std::fmt;

use pyro_api::ops::exec::Outcome;
use pyro_api::{Error, ErrorKind, Result};

use crate::backend::namespaces::cgroup::{self, Leftover};
use crate::home::Home;
use crate::lease::Lease;
use crate::state::{StateEvent, WorkspaceState};
use crate::store::WorkspaceRecord;
use crate::{Host, janitor};

/// Why a workspace failed whose supervisor was killed.
const SUPERVISOR_DIED: &str = "its supervisor died; its files are as they were";

impl WorkspaceRecord {
    /// The state as it is when no supervisor is alive.
    #[must_use]
    pub fn settled(&self) -> WorkspaceState {
        if !self.state.needs_supervisor() {
            return self.state.clone();
        }
        match self.state.clone().apply(StateEvent::Lost(SUPERVISOR_DIED.to_owned())) {
            Ok(state) => state,
            Err(_) => WorkspaceState::Failed { why: SUPERVISOR_DIED.to_owned() },
        }
    }
}

/// Removes the control groups of a sandbox whose supervisor is dead, and what still runs in them. `mark`: [`Home::mark`] of its id.
///
/// # Errors
/// When one cannot be removed.
pub fn remove_groups(mark: &str) -> Result<()> {
    cgroup::sweep(&|other| other != mark).map(drop)
}

/// A workspace whose supervisor does not answer: if it is dead, the record says so from now on.
pub fn settle_dead(host: &Host, mut record: WorkspaceRecord) -> Result<WorkspaceRecord> {
    let id = record.manifest.id.clone();
    let taken = Lease::take(&host.home().workspace(&id).lease());
    let Ok(Some(_lease)) = taken else {
        // Somebody is ending or beginning right now: what the record says is as good as anything.
        return host.store()?.again(&record);
    };
    // Between our look at the record and the lease, its supervisor may have ended in good order.
    record = host.store()?.again(&record)?;
    if !record.state.needs_supervisor() {
        return Ok(record);
    }
    remove_groups(&host.home().mark(&id))?;
    let state = record.settled();
    let mut store = host.store()?;
    store.close_open(&id, &Outcome::SandboxLost { reason: "its supervisor died".into() }, "sandbox lost: its supervisor died")?;
    store.set_state(&id, &state, None, Some("workspace lost"))?;
    record.state = state;
    Ok(record)
}

/// A workspace that is recorded and has no files: it is being made, or its maker or its deleter died half-way.
pub fn settle_missing(host: &Host, record: WorkspaceRecord) -> Result<WorkspaceRecord> {
    let id = record.manifest.id.clone();
    let lease =
        Lease::take(&host.home().run_lease(&id)).map_err(|error| Error::unavailable("a lease cannot be taken").because(error))?;
    let Some(lease) = lease else { return Ok(record) };
    if host.home().workspace(&id).root().exists() {
        lease.remove();
        return host.settle(record);
    }
    clear_run(host.home(), &id, lease)?;
    host.store()?.delete(&id, &record.manifest.name)?;
    Err(Error::not_found(format!("workspace {} was never finished, or was deleted", record.manifest.name)))
}

fn clear_run(home: &Home, id: &str, lease: Lease) -> Result<()> {
    remove_groups(&home.mark(id))?;
    janitor::discard(home, home.unfinished(id).root())?;
    lease.remove();
    Ok(())
}

/// Clears away runs and unfinished workspaces whose process is dead; says what.
pub fn sweep_runs(home: &Home) -> Result<Vec<String>> {
    let unreadable = |error: std::io::Error| Error::unavailable("the runs cannot be listed").because(error);
    let mut cleared = Vec::new();
    for entry in std::fs::read_dir(home.runs()).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let id = name.strip_suffix(".lease").unwrap_or(name);
        let Ok(Some(lease)) = Lease::take(&home.run_lease(id)) else { continue };
        // A lease that was free belonged to a dead run, or to one that ended between our looking and taking: or that became a workspace,
        // whose sandbox is none of ours to clear. What is dead has a directory, for that is made before anything else and goes last.
        if !home.unfinished(id).root().exists() {
            lease.remove();
            continue;
        }
        cleared.push(format!("what was left of a run or an unfinished workspace ({id})"));
        clear_run(home, id, lease)?;
    }
    Ok(cleared)
}

/// Clears away what the dead left behind, anywhere, and then looks for what nobody owns: (cleared, leaks). Both in words.
///
/// # Errors
/// When the home or the database cannot be read.
pub fn find_leaks(host: &Host) -> Result<(Vec<String>, Vec<String>)> {
    let home = host.home();
    let mut cleared = sweep_runs(home)?;
    let records = host.store()?.workspaces()?;
    for record in records {
        let (name, needed) = (record.manifest.name.clone(), record.state.needs_supervisor());
        match host.settle(record) {
            Ok(settled) if needed && !settled.state.needs_supervisor() => {
                cleared.push(format!("what was left of the sandbox of workspace {name}"));
            }
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NotFound => cleared.push(error.message),
            Err(error) => return Err(error),
        }
    }
    let abandoned = crate::environment::sweep(home.root())?;
    if abandoned > 0 {
        cleared.push(format!("{abandoned} unfinished environments"));
    }
    let collected = crate::garbage::collect(host.home(), crate::garbage::Measure::No)?;
    if collected.count() > 0 {
        cleared.push(format!("{} layers and {} seeds that nothing named", collected.layers, collected.seeds));
    }
    let mut leaks = look(host)?;
    if !leaks.is_empty() {
        // Others may be at work in this home: what they were just making or taking away is gone, or has its owner, at a second look.
        let still = look(host)?;
        leaks.retain(|leak| still.contains(leak));
    }
    // A machine keeps its control groups though the home that they were made for is deleted, or is another one at the same path.
    leaks.retain(|leak| {
        let is_gone = matches!(leak, Leak::Group(group) if cgroup::remove_empty(group));
        if is_gone {
            cleared.push(format!("{leak}: empty, and of no sandbox of this home"));
        }
        !is_gone
    });
    Ok((cleared, leaks.iter().map(Leak::to_string).collect()))
}

/// Something that nobody owns.
#[derive(PartialEq, Eq)]
enum Leak {
    /// Control groups of this home.
    Group(Leftover),
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for Leak {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => {
                let places: Vec<String> = group.directories.iter().map(|path| path.display().to_string()).collect();
                write!(formatter, "cgroup {}", places.join(", "))
            }
            Self::Other(words) => formatter.write_str(words),
        }
    }
}

/// One look for what nobody owns, after the trash has been emptied.
fn look(host: &Host) -> Result<Vec<Leak>> {
    let home = host.home();
    janitor::run(host)?;
    let mut leaks = Vec::new();
    let live = |id: &str| is_live(home, id);
    for leftover in cgroup::list(&|_| true) {
        // Those of other homes are theirs to judge.
        let of_this_home = leftover.id.split_once('-').filter(|(_, id)| home.mark(id) == leftover.id);
        if of_this_home.is_some_and(|(_, id)| !live(id)) {
            leaks.push(Leak::Group(leftover));
        }
    }
    let known: Vec<String> = host.store()?.workspaces()?.into_iter().map(|record| record.manifest.id).collect();
    for (directory, is_owned) in [
        (home.workspaces(), &(|name: &str| known.iter().any(|id| id == name)) as &dyn Fn(&str) -> bool),
        (home.runs(), &|name: &str| live(name.strip_suffix(".lease").unwrap_or(name))),
        (home.trash(), &|_: &str| false),
    ] {
        let entries = std::fs::read_dir(&directory)
            .map_err(|error| Error::unavailable(format!("{} cannot be listed", directory.display())).because(error))?;
        for name in entries.flatten().map(|entry| entry.file_name()) {
            if !is_owned(&name.to_string_lossy()) {
                leaks.push(Leak::Other(format!("{} has no owner", directory.join(name).display())));
            }
        }
    }
    for mount in mounts_below(home) {
        leaks.push(Leak::Other(format!("mount {mount} in the host's own file system")));
    }
    Ok(leaks)
}

/// Whether the run or workspace with this id has a live supervisor.
fn is_live(home: &Home, id: &str) -> bool {
    // What cannot be told is not called dead. Leases of runs are tried; that of a workspace is not, for whoever starts it this moment would find it taken.
    let run = home.run_lease(id);
    Lease::is_held(&run).unwrap_or(true) || matches!(crate::client::connect(&home.workspace(id).control()), Ok(Some(_)))
}

/// Mount points below a home that this process can see: sandboxes mount in namespaces of their own, so there are none.
fn mounts_below(home: &Home) -> Vec<String> {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return Vec::new() };
    let places = table.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned);
    places
        .filter(|place| std::path::Path::new(place).starts_with(home.root()) && std::path::Path::new(place) != home.root())
        .collect()
}

#[cfg(test)]
mod tests;
