//! The disk of a stopped workspace. A keeper reads it: who asks may be nobody to the layers.

use pyro_api::ops::disk::{DiskExportRequest, DiskExportResponse, DiskListRequest, DiskReadRequest};
use pyro_api::ops::file::{FileListResponse, FileReadResponse};
use pyro_api::ops::{DiskExport, DiskList, DiskRead};
use pyro_api::values::WorkspaceRef;
use pyro_api::{Call, Error, Result};

use super::Handle;
use super::past::has_layers;
use super::workspace::absolute;
use crate::store::WorkspaceRecord;
use crate::supervisor::past::NOT_OUTSIDE;
use crate::{Host, Session};

/// Asks about a workspace that is stopped and can be read outside.
fn ask<O: Handle>(host: &Host, workspace: &WorkspaceRef, request: &O::Request, session: &mut Session<'_>) -> Result<O::Response> {
    let may = |record: &WorkspaceRecord, runs: bool| {
        let name = &record.manifest.name;
        if !has_layers(record)? {
            return Err(Error::unavailable(format!("the disk of {name} is not read outside: {NOT_OUTSIDE}"))
                .hint("workspace file list and file read start it and ask inside"));
        }
        if runs {
            return Err(Error::conflict(format!("workspace {name} is running, and its disk changes"))
                .hint(format!("stop it with workspace stop {name}, or use workspace file list, file read or export")));
        }
        Ok(())
    };
    let call = Call { op: O::NAME.to_owned(), request: super::to_value(request)?, stream: true, stdin: false };
    super::parse(host.ask_without_starting(workspace, call, session, &may)?)
}

impl Handle for DiskList {
    fn handle(host: &Host, request: DiskListRequest, session: &mut Session<'_>) -> Result<FileListResponse> {
        ask::<Self>(host, &request.workspace, &request, session)
    }
}

impl Handle for DiskRead {
    fn handle(host: &Host, request: DiskReadRequest, session: &mut Session<'_>) -> Result<FileReadResponse> {
        ask::<Self>(host, &request.workspace, &request, session)
    }
}

impl Handle for DiskExport {
    fn handle(host: &Host, mut request: DiskExportRequest, session: &mut Session<'_>) -> Result<DiskExportResponse> {
        request.output = absolute(&request.output)?;
        ask::<Self>(host, &request.workspace, &request, session)
    }
}
