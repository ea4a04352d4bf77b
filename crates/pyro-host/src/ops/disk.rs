//! The disk of a stopped workspace. A role process reads it ([`crate::begin::disk`]): who asks may be nobody to the layers.

use pyro_api::ops::disk::{DiskExportRequest, DiskExportResponse, DiskListRequest, DiskReadRequest};
use pyro_api::ops::file::{FileListResponse, FileReadResponse};
use pyro_api::ops::{DiskExport, DiskList, DiskRead};
use pyro_api::values::WorkspaceRef;
use pyro_api::{Error, Result};

use super::Handle;
use super::past::has_layers;
use super::workspace::absolute;
use crate::supervisor::past::NOT_OUTSIDE;
use crate::{Host, Session};

/// The id of a workspace that is stopped and can be read outside.
fn stopped(host: &Host, workspace: &WorkspaceRef) -> Result<WorkspaceRef> {
    let record = host.find_settled(workspace)?;
    let name = &record.manifest.name;
    if !has_layers(&record)? {
        return Err(Error::unavailable(format!("the disk of {name} is not read outside: {NOT_OUTSIDE}"))
            .hint("workspace file list and file read start it and ask inside"));
    }
    if record.state.needs_supervisor() {
        return Err(Error::conflict(format!("workspace {name} is running, and its disk changes"))
            .hint(format!("stop it with workspace stop {name}, or use workspace file list, file read or export")));
    }
    record.manifest.id.parse()
}

impl Handle for DiskList {
    fn handle(host: &Host, mut request: DiskListRequest, session: &mut Session<'_>) -> Result<FileListResponse> {
        request.workspace = stopped(host, &request.workspace)?;
        host.run_in_supervisor::<Self>(&request, session)
    }
}

impl Handle for DiskRead {
    fn handle(host: &Host, mut request: DiskReadRequest, session: &mut Session<'_>) -> Result<FileReadResponse> {
        request.workspace = stopped(host, &request.workspace)?;
        host.run_in_supervisor::<Self>(&request, session)
    }
}

impl Handle for DiskExport {
    fn handle(host: &Host, mut request: DiskExportRequest, session: &mut Session<'_>) -> Result<DiskExportResponse> {
        request.workspace = stopped(host, &request.workspace)?;
        request.output = absolute(&request.output)?;
        host.run_in_supervisor::<Self>(&request, session)
    }
}
