//! A workspace's life, seen from a front end.

use std::collections::BTreeMap;

use pyro_api::ops::workspace::{
    CreateRequest, CreateResponse, DeleteRequest, DeleteResponse, ListRequest, ListResponse, OriginView, StartRequest,
    StatusRequest, StopRequest, UpdateRequest, WorkspaceView,
};
use pyro_api::ops::{
    WorkspaceCreate, WorkspaceDelete, WorkspaceList, WorkspaceStart, WorkspaceStatus, WorkspaceStop, WorkspaceUpdate,
};
use pyro_api::values::{IsolationLevel, IsolationMinimum};
use pyro_api::{Error, ErrorKind, Result};

use super::Handle;
use crate::clock::Instant;
use crate::lease::{TRY_EVERY, TRY_FOR};
use crate::state::WorkspaceState;
use crate::store::WorkspaceRecord;
use crate::{Host, Session, janitor, recovery};

/// A path of the host as an absolute one: a supervisor has a working directory of its own.
pub(super) fn absolute(path: &str) -> Result<String> {
    let absolute = std::path::absolute(path).map_err(|error| Error::invalid(format!("path {path:?}")).because(error))?;
    absolute.into_os_string().into_string().map_err(|_| Error::invalid(format!("path {path:?} is not UTF-8")))
}

pub(crate) fn view(record: &WorkspaceRecord) -> WorkspaceView {
    let manifest = &record.manifest;
    let failure = match &record.state {
        WorkspaceState::Failed { why } => Some(why.clone()),
        WorkspaceState::Stopped | WorkspaceState::Starting | WorkspaceState::Running | WorkspaceState::Stopping => None,
    };
    let minimum = manifest.isolation_minimum.parse::<IsolationMinimum>();
    let has_disk = minimum.is_ok_and(|minimum| minimum.level == IsolationLevel::Microvm);
    WorkspaceView {
        workspace: manifest.name.clone(),
        id: manifest.id.clone(),
        labels: manifest.labels.clone(),
        environment: manifest.environment.clone(),
        state: record.state.view(),
        failure,
        created_at: Instant(manifest.created_at).rfc3339(),
        used_at: record.used_at.rfc3339(),
        vcpu_count: manifest.vcpu_count,
        mem_mib: manifest.mem_mib,
        disk_mib: has_disk.then_some(manifest.disk_mib),
        exec_count: record.exec_count,
        seed: manifest.seed.clone(),
        fork_of: manifest.origin.as_ref().map(|origin| OriginView {
            workspace: origin.name.clone(),
            id: origin.id.clone(),
            step: origin.step,
        }),
        expires_at: record.expires_at.map(|at| at.rfc3339()),
        isolation: record.isolation.clone(),
    }
}

impl Handle for WorkspaceCreate {
    fn handle(host: &Host, mut request: CreateRequest, session: &mut Session<'_>) -> Result<CreateResponse> {
        if let Some(name) = &request.name {
            let taken = host.store()?.name_is_taken(name.as_str())?;
            if taken && request.reuse {
                let record = host.find_settled(&name.as_str().parse()?)?;
                return Ok(CreateResponse { workspace: view(&record), reused: true });
            }
            if taken {
                return Err(Error::conflict(format!("there is a workspace {name} already"))
                    .hint("use it, delete it, or take another name; reuse answers with the one that is there"));
            }
        }
        request.isolation = host.prepare(&request.environment, request.isolation, request.mem_mib.get(), session)?;
        request.seed_path = request.seed_path.map(|path| absolute(&path)).transpose()?;
        match host.run_in_supervisor::<Self>(&request, session) {
            // Somebody made one with this name in the meantime.
            Err(error) if error.kind == ErrorKind::Conflict && request.reuse => {
                let name = request.name.as_ref().expect("reuse was checked to come with a name");
                let record = host.find_settled(&name.as_str().parse()?)?;
                Ok(CreateResponse { workspace: view(&record), reused: true })
            }
            made => made,
        }
    }
}

impl Handle for WorkspaceList {
    fn handle(host: &Host, request: ListRequest, _session: &mut Session<'_>) -> Result<ListResponse> {
        let records = host.store()?.workspaces()?;
        let mut workspaces = Vec::new();
        for record in records {
            let record = match host.settle(record) {
                Ok(record) => record,
                // Somebody deletes it while we list.
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let labels = &record.manifest.labels;
            let has_labels = request.labels.iter().all(|label| labels.get(label.key.as_str()) == Some(&label.value));
            let has_name = request.name.as_ref().is_none_or(|text| record.manifest.name.contains(text.as_str()));
            let has_state = request.state.is_none_or(|state| record.state.view() == state);
            if has_labels && has_name && has_state {
                workspaces.push(WorkspaceView { isolation: None, ..view(&record) });
            }
        }
        Ok(ListResponse { workspaces })
    }
}

impl Handle for WorkspaceStatus {
    fn handle(host: &Host, request: StatusRequest, _session: &mut Session<'_>) -> Result<WorkspaceView> {
        host.find_settled(&request.workspace).map(|record| view(&record))
    }
}

impl Handle for WorkspaceUpdate {
    fn handle(host: &Host, request: UpdateRequest, _session: &mut Session<'_>) -> Result<WorkspaceView> {
        let record = host.find_settled(&request.workspace)?;
        let mut manifest = record.manifest.clone();
        let mut changes = Vec::new();
        if let Some(name) = &request.name {
            changes.push(format!("name {} to {name}", manifest.name));
            name.as_str().clone_into(&mut manifest.name);
        }
        for key in &request.clear_labels {
            changes.push(format!("without {key}"));
            manifest.labels.remove(key.as_str());
        }
        let set: BTreeMap<String, String> =
            request.labels.iter().map(|label| (label.key.as_str().to_owned(), label.value.clone())).collect();
        let expires_at = match request.ttl_seconds {
            None => record.expires_at,
            Some(0) => None,
            Some(seconds) => Some(Instant::now().later(seconds)),
        };
        if expires_at != record.expires_at {
            changes.push(expires_at.map_or_else(|| "kept".to_owned(), |at| format!("until {}", at.rfc3339())));
        }
        changes.extend(set.iter().map(|(key, value)| format!("{key}={value}")));
        manifest.labels.extend(set);
        // The database decides whether the name is free; the manifest follows it.
        host.store()?.set_name_and_labels(&manifest.id, &manifest.name, &manifest.labels, expires_at, &changes.join(", "))?;
        manifest.write(&host.home().workspace(&manifest.id))?;
        let record = host.store()?.again(&WorkspaceRecord { manifest, ..record })?;
        host.settle(record).map(|record| view(&record))
    }
}

impl Handle for WorkspaceStart {
    fn handle(host: &Host, request: StartRequest, session: &mut Session<'_>) -> Result<WorkspaceView> {
        let record = host.find_settled(&request.workspace)?;
        host.start(&record, session)?;
        let record = host.store()?.again(&record)?;
        Ok(view(&record))
    }
}

impl Handle for WorkspaceStop {
    fn handle(host: &Host, request: StopRequest, session: &mut Session<'_>) -> Result<WorkspaceView> {
        let record = host.find_settled(&request.workspace)?;
        if record.state.needs_supervisor() {
            host.stop(&record, session)?;
        }
        let record = host.store()?.again(&record)?;
        host.settle(record).map(|record| view(&record))
    }
}

impl Handle for WorkspaceDelete {
    fn handle(host: &Host, request: DeleteRequest, session: &mut Session<'_>) -> Result<DeleteResponse> {
        let record = host.store()?.find(&request.workspace)?;
        let (id, workspace) = (record.manifest.id.clone(), record.manifest.name.clone());
        delete(host, record, session)?;
        Ok(DeleteResponse { workspace, id })
    }
}

/// Ends what runs of a workspace, and takes everything of it away.
pub(crate) fn delete(host: &Host, record: WorkspaceRecord, session: &mut Session<'_>) -> Result<()> {
    let (id, name) = (record.manifest.id.clone(), record.manifest.name.clone());
    if !host.home().workspace(&id).root().exists() {
        recovery::settle_missing(host, record.clone())?;
    }
    // That the end of its supervisor could not be recorded (a full disk) does not keep it: what must be is that nobody owns it any more.
    let stopped = host.stop(&record, session);
    let lease = host.hold(&id, &name).map_err(|held| stopped.err().unwrap_or(held))?;
    if record.state.needs_supervisor() {
        recovery::remove_groups(&host.home().mark(&id))?;
    }
    // Out of the way first, and then forgotten: dying in between leaves a row without files, which is forgotten at its next use.
    janitor::discard(host.home(), host.home().workspace(&id).root())?;
    let forgotten = host.store()?.delete(&id, &name);
    if forgotten.is_err() {
        // On a full disk not even this can be written until what was thrown away is gone.
        crate::garbage::collect_of(host.home(), &id)?;
        let begun = std::time::Instant::now();
        loop {
            janitor::make_room(host)?;
            match host.store()?.delete(&id, &name) {
                // The kernel takes a sandbox's overlay down a moment after its last process, and keeps the room of deleted files until then.
                Err(_) if begun.elapsed() < TRY_FOR => std::thread::sleep(TRY_EVERY),
                deleted => break deleted?,
            }
        }
    }
    drop(lease);
    // Its layers and its seed, unless another stands on them.
    crate::garbage::collect(host.home(), crate::garbage::Measure::No)?;
    host.start_janitor();
    Ok(())
}
