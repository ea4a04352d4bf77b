//! Running commands, and what was run.

use pyro_api::Result;
use pyro_api::ops::exec::{ExecRequest, ExecResponse, LogEntry, LogsRequest, LogsResponse, RunRequest, RunResponse};
use pyro_api::ops::{Run, WorkspaceExec, WorkspaceLogs};
use pyro_wire::untrusted::escape;

use super::Handle;
use crate::{Host, Session};

impl Handle for Run {
    fn handle(host: &Host, mut request: RunRequest, session: &mut Session<'_>) -> Result<RunResponse> {
        request.isolation = host.prepare(&request.environment, request.isolation, request.mem_mib.get(), session)?;
        request.seed_path = request.seed_path.map(|path| super::workspace::absolute(&path)).transpose()?;
        host.run_in_supervisor::<Self>(&request, session)
    }
}

impl Handle for WorkspaceExec {
    fn handle(host: &Host, request: ExecRequest, session: &mut Session<'_>) -> Result<ExecResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for WorkspaceLogs {
    fn handle(host: &Host, request: LogsRequest, _session: &mut Session<'_>) -> Result<LogsResponse> {
        let record = host.find_settled(&request.workspace)?;
        let (id, name) = (&record.manifest.id, &record.manifest.name);
        let store = host.store()?;
        let (count, events) = store.events(id, request.limit)?;
        let entries = events
            .into_iter()
            .map(|event| LogEntry {
                at: event.at.rfc3339(),
                op: event.op,
                subject: escape(&event.subject),
                outcome: event.outcome.map_or_else(|| "running".to_owned(), |outcome| escape(&outcome)),
                exec: event.exec,
                step: event.step,
                duration_ms: event.duration_ms,
            })
            .collect();
        Ok(LogsResponse { workspace: name.clone(), count, entries })
    }
}
