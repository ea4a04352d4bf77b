//! The past of a workspace, seen from a front end. While it runs its supervisor does it; else a keeper, without starting it.

use std::collections::{BTreeSet, HashMap};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use pyro_api::ops::past::{
    CompareRequest, CompareResponse, Compared, ForkRequest, ForkResponse, MergeRequest, MergeResponse, RedoRequest, ResetRequest,
    RewindResponse, SnapshotCreateRequest, SnapshotCreateResponse, SnapshotDeleteRequest, SnapshotDeleteResponse,
    SnapshotListRequest, SnapshotListResponse, SnapshotView, UndoRequest,
};
use pyro_api::ops::{
    SnapshotCreate, SnapshotDelete, SnapshotList, WorkspaceCompare, WorkspaceDiff, WorkspaceExec, WorkspaceFork, WorkspaceMerge,
    WorkspaceRedo, WorkspaceReset, WorkspaceUndo,
};
use pyro_api::values::{IsolationLevel, IsolationMinimum, WorkspaceName, WorkspaceRef};
use pyro_api::{Call, Error, Op, Result};
use serde_json::{Value, json};

use super::Handle;
use crate::begin::{Unfinished, no_room};
use crate::clock::Instant;
use crate::fault;
use crate::keeper::SIZES;
use crate::layers::{self, LayerId, Naming};
use crate::past::{self, Target};
use crate::state::WorkspaceState;
use crate::store::{SnapshotRecord, StepRecord, Store, WorkspaceRecord};
use crate::supervisor::change::MergeOrder;
use crate::supervisor::past::Point;
use crate::{Host, Session};

/// What a supervisor is asked for by us, and by nobody else: the files as they are now.
pub const POINT: &str = "workspace point";

/// Has something done with a workspace as it is: running or not, it stays so.
fn ask(host: &Host, workspace: &WorkspaceRef, op: &str, request: Value, session: &mut Session<'_>) -> Result<Value> {
    let call = Call { op: op.to_owned(), request, stream: true, stdin: false };
    host.ask_without_starting(workspace, call, session, &|_, _| Ok(()))
}

/// Refuses for workspaces whose files nobody outside reads.
fn need_layers(record: &WorkspaceRecord) -> Result<()> {
    if has_layers(record)? { Ok(()) } else { Err(crate::supervisor::past::not_outside(&record.manifest.name, "merged")) }
}

/// Whether what a workspace has changed is in layers that we can read, and not on a disk of a machine's own.
pub(super) fn has_layers(record: &WorkspaceRecord) -> Result<bool> {
    let minimum: IsolationMinimum = record.manifest.isolation_minimum.parse()?;
    match minimum.level {
        IsolationLevel::Namespaces => Ok(true),
        IsolationLevel::Microvm => Ok(false),
    }
}

/// The files of a workspace as they are now, as a state that never changes again.
fn point(host: &Host, workspace: &WorkspaceRef, session: &mut Session<'_>) -> Result<Point> {
    super::parse(ask(host, workspace, POINT, json!({}), session)?)
}

impl Handle for SnapshotCreate {
    fn handle(host: &Host, request: SnapshotCreateRequest, session: &mut Session<'_>) -> Result<SnapshotCreateResponse> {
        super::parse(ask(host, &request.workspace, Self::NAME, super::to_value(&request)?, session)?)
    }
}

impl Handle for SnapshotList {
    fn handle(host: &Host, request: SnapshotListRequest, session: &mut Session<'_>) -> Result<SnapshotListResponse> {
        let record = host.store()?.find(&request.workspace)?;
        let manifest = &record.manifest;
        let snapshots = host.store()?.snapshots(&manifest.id)?;
        let above =
            |step: &StepRecord| step.layers.iter().filter(|layer| !manifest.base.contains(layer)).cloned().collect::<Vec<_>>();
        let layers: BTreeSet<LayerId> = snapshots.iter().flat_map(|snapshot| above(&snapshot.step)).collect();
        // Each is measured once, however many snapshots stand on it.
        let sizes: HashMap<LayerId, (u64, u64)> = if layers.is_empty() {
            HashMap::new()
        } else {
            let sizes: Vec<(u64, u64)> = host.ask_keeper(SIZES, super::to_value(&layers)?, session)?;
            layers.into_iter().zip(sizes).collect()
        };
        let view = |snapshot: SnapshotRecord| {
            let sizes = above(&snapshot.step).into_iter().map(|layer| sizes[&layer]);
            let (entry_count, bytes) = sizes.fold((0, 0), |(entries, room), (more, taken)| (entries + more, room + taken));
            SnapshotView { name: snapshot.name, at: snapshot.at.rfc3339(), made_by: past::view(&snapshot.step), entry_count, bytes }
        };
        Ok(SnapshotListResponse { workspace: manifest.name.clone(), snapshots: snapshots.into_iter().map(view).collect() })
    }
}

impl Handle for SnapshotDelete {
    fn handle(host: &Host, request: SnapshotDeleteRequest, _session: &mut Session<'_>) -> Result<SnapshotDeleteResponse> {
        let record = host.store()?.find(&request.workspace)?;
        let (id, workspace) = (&record.manifest.id, &record.manifest.name);
        find_snapshot(&*host.store()?, id, workspace, request.name.as_str())?;
        host.store()?.remove_snapshot(id, request.name.as_str())?;
        Ok(SnapshotDeleteResponse { workspace: workspace.clone(), name: request.name.to_string() })
    }
}

/// The step that a snapshot names.
///
/// # Errors
/// `NotFound` with the nearest names.
pub(crate) fn find_snapshot(store: &Store, id: &str, workspace: &str, name: &str) -> Result<u64> {
    let snapshots = store.snapshots(id)?;
    if let Some(found) = snapshots.iter().find(|snapshot| snapshot.name == name) {
        return Ok(found.step.step);
    }
    let near = pyro_api::nearest::nearest(name, snapshots.iter().map(|snapshot| snapshot.name.as_str()));
    let hint = pyro_api::nearest::did_you_mean(&near).unwrap_or_else(|| match snapshots.len() {
        0 => format!("it has none; workspace logs {workspace} shows its steps"),
        _ => format!("workspace snapshot list {workspace} shows them"),
    });
    Err(Error::not_found(format!("workspace {workspace} has no snapshot {name}")).hint(hint))
}

impl Handle for WorkspaceReset {
    fn handle(host: &Host, request: ResetRequest, session: &mut Session<'_>) -> Result<RewindResponse> {
        super::parse(ask(host, &request.workspace, Self::NAME, super::to_value(&request)?, session)?)
    }
}

/// Where a reset goes, and the words for it.
pub(crate) fn target_of(store: &Store, record: (&str, &str), request: &ResetRequest) -> Result<(Target, String)> {
    let (id, name) = record;
    match (&request.snapshot, request.step) {
        (Some(snapshot), _) => {
            let step = find_snapshot(store, id, name, snapshot.as_str())?;
            Ok((Target::Step(step), format!("to snapshot {snapshot}")))
        }
        (None, Some(step)) => Ok((Target::Step(step), format!("to step {step}"))),
        (None, None) => Ok((Target::Step(0), "to how it was created".to_owned())),
    }
}

impl Handle for WorkspaceUndo {
    fn handle(host: &Host, request: UndoRequest, session: &mut Session<'_>) -> Result<RewindResponse> {
        super::parse(ask(host, &request.workspace, Self::NAME, super::to_value(&request)?, session)?)
    }
}

impl Handle for WorkspaceRedo {
    fn handle(host: &Host, request: RedoRequest, session: &mut Session<'_>) -> Result<RewindResponse> {
        super::parse(ask(host, &request.workspace, Self::NAME, super::to_value(&request)?, session)?)
    }
}

impl Handle for WorkspaceFork {
    fn handle(host: &Host, request: ForkRequest, session: &mut Session<'_>) -> Result<ForkResponse> {
        let record = host.find_settled(&request.workspace)?;
        let names = names(host, &request)?;
        // From here until they are recorded, what they stand on is taken for garbage by nobody.
        let naming = Naming::shared(host.home())?;
        let point = point(host, &request.workspace, session)?;
        let made = names.into_iter().map(|name| fork(host, &naming, &record, name, &point)).collect::<Result<Vec<_>>>()?;
        let (unfinished, forks): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        fault::point(host.home(), "fork.made")?;
        // The rows first: their unique names decide.
        host.store()?.insert_all(&forks)?;
        fault::pass(host.home(), "fork.recorded");
        Unfinished::finish_all(host.home(), unfinished.into_iter().zip(forks.iter().map(|fork| fork.manifest.id.as_str())))?;
        fault::pass(host.home(), "fork.finished");
        let names: Vec<&str> = forks.iter().map(|fork| fork.manifest.name.as_str()).collect();
        host.store()?.add_forks(&record.manifest.id, &names.join(" "), point.step)?;
        Ok(ForkResponse {
            workspace: record.manifest.name.clone(),
            step: point.step,
            forks: forks.iter().map(super::workspace::view).collect(),
            copied: point.copied,
        })
    }
}

impl Handle for WorkspaceMerge {
    fn handle(host: &Host, request: MergeRequest, session: &mut Session<'_>) -> Result<MergeResponse> {
        let (ours, from) = (host.find_settled(&request.workspace)?, host.find_settled(&request.from)?);
        for side in [&ours, &from] {
            need_layers(side)?;
        }
        if ours.manifest.id == from.manifest.id {
            return Err(Error::invalid(format!("{} cannot be merged into itself", ours.manifest.name)));
        }
        if ours.manifest.mounts != from.manifest.mounts {
            return Err(Error::invalid(format!("{} and {} were not made of the same", ours.manifest.name, from.manifest.name))
                .hint("only forks can be merged: of one another, or of a third"));
        }
        // What is read is kept until it is merged.
        let _naming = Naming::shared(host.home())?;
        let theirs = point(host, &from.manifest.id.parse()?, session)?;
        let base = common(host, &ours, &from, &theirs)?;
        let workspace = ours.manifest.id.parse()?;
        let order = MergeOrder { request, from: from.manifest.name, mounts: from.manifest.mounts, theirs, base };
        let call = Call { op: Self::NAME.to_owned(), request: super::to_value(&order)?, stream: true, stdin: false };
        host.tell_supervisor(&workspace, &call, session).and_then(super::parse)
    }
}

impl Handle for WorkspaceCompare {
    fn handle(host: &Host, request: CompareRequest, _session: &mut Session<'_>) -> Result<CompareResponse> {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let mut compared = Vec::with_capacity(request.workspaces.len());
        for some in request.workspaces.chunks(at_once) {
            let each = std::thread::scope(|scope| {
                let threads: Vec<_> = some.iter().map(|workspace| scope.spawn(|| compare_one(host, workspace, &request))).collect();
                let joined =
                    threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(Error::internal("a thread died"))));
                joined.collect::<Result<Vec<_>>>()
            });
            compared.extend(each?);
        }
        Ok(CompareResponse { workspaces: compared })
    }
}

fn compare_one(host: &Host, workspace: &WorkspaceRef, request: &CompareRequest) -> Result<Compared> {
    let diff = super::parse(json!({ "workspace": workspace, "stat": true }))?;
    let changes = host.ask::<WorkspaceDiff>(diff)?;
    let mut compared = Compared {
        workspace: changes.workspace,
        outcome: None,
        passed: None,
        duration_ms: None,
        exec: None,
        changed: changes.changes.len() as u64,
        added_lines: changes.changes.iter().map(|change| change.added_lines).sum(),
        removed_lines: changes.changes.iter().map(|change| change.removed_lines).sum(),
    };
    if let Some(line) = &request.check {
        let exec = json!({ "workspace": workspace, "command": line, "timeout_seconds": request.timeout_seconds });
        let done = host.ask::<WorkspaceExec>(super::parse(exec)?)?;
        compared.outcome = Some(crate::supervisor::outcome::in_words(&done.outcome));
        compared.passed = Some(done.outcome.exit_code() == 0);
        compared.duration_ms = Some(done.duration_ms);
        compared.exec = Some(done.exec);
    }
    Ok(compared)
}

/// The layers of the last state that two workspaces had in common, as far as that can be told: a fork stands on it. An older one is as right,
/// only slower, as what both have changed alike is no conflict.
fn common(host: &Host, ours: &WorkspaceRecord, from: &WorkspaceRecord, theirs: &Point) -> Result<Vec<LayerId>> {
    let is_fork_of = |one: &WorkspaceRecord, other: &WorkspaceRecord| {
        one.manifest.origin.as_ref().is_some_and(|origin| origin.id == other.manifest.id)
    };
    if is_fork_of(from, ours) {
        return Ok(from.manifest.base.clone());
    }
    if is_fork_of(ours, from) {
        return Ok(ours.manifest.base.clone());
    }
    let now = host.store()?.position(&ours.manifest.id)?.layers;
    let shared = now.iter().rev().zip(theirs.layers.iter().rev()).take_while(|(one, other)| one == other).count();
    Ok(now[now.len() - shared..].to_vec())
}

/// As many names as are wanted, all free.
fn names(host: &Host, request: &ForkRequest) -> Result<Vec<String>> {
    let store = host.store()?;
    let count = request.count.get();
    let named = |name: &WorkspaceName| -> Result<Vec<String>> {
        if count == 1 {
            return Ok(vec![name.to_string()]);
        }
        (1..=count).map(|number| format!("{name}-{number}").parse::<WorkspaceName>().map(|name| name.to_string())).collect()
    };
    let names = match &request.name {
        Some(name) => named(name)?,
        None => {
            let mut names: Vec<String> = Vec::new();
            while names.len() < count as usize {
                let name = crate::begin::free_name(&store, &|name| names.iter().any(|taken| taken == name))?;
                names.push(name);
            }
            names
        }
    };
    for name in &names {
        if store.name_is_taken(name)? {
            return Err(Error::conflict(format!("there is a workspace {name} already")).hint("take another name, or delete it"));
        }
    }
    Ok(names)
}

/// Makes one fork on disk. It is recorded and finished with all others.
fn fork<'a>(
    host: &'a Host,
    naming: &Naming,
    of: &WorkspaceRecord,
    name: String,
    point: &Point,
) -> Result<(Unfinished<'a>, WorkspaceRecord)> {
    let home = host.home();
    let now = Instant::now();
    let (mut unfinished, id) = Unfinished::new(home)?;
    let manifest = of.manifest.forked(id.clone(), name, now, point.layers.clone(), point.step);
    let place = unfinished.place().clone();
    DirBuilder::new().mode(0o700).create(place.execs()).map_err(|error| no_room(&place.execs(), error))?;
    manifest.write_quickly(&place)?;
    let live = layers::reserve(home, naming, &id, &point.layers)?;
    unfinished.made(home.layer(&live));
    let state = WorkspaceState::Stopped;
    Ok((unfinished, WorkspaceRecord { manifest, state, used_at: now, exec_count: 0, isolation: None, live, expires_at: None }))
}
