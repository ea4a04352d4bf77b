//! Files of a workspace: its agent answers, or for the diff its supervisor.

use pyro_api::Result;
use pyro_api::ops::edit::{FileEditRequest, FileEditResponse};
use pyro_api::ops::file::{
    DiffRequest, DiffResponse, FileListRequest, FileListResponse, FileReadRequest, FileReadResponse, FileWriteRequest,
    FileWriteResponse,
};
use pyro_api::ops::names::{
    FileDeleteRequest, FileDeleteResponse, FileMkdirRequest, FileMkdirResponse, FileMoveRequest, FileMoveResponse,
};
use pyro_api::ops::search::{FileSearchRequest, FileSearchResponse};
use pyro_api::ops::{FileDelete, FileEdit, FileList, FileMkdir, FileMove, FileRead, FileSearch, FileWrite, WorkspaceDiff};

use super::Handle;
use crate::{Host, Session};

impl Handle for FileList {
    fn handle(host: &Host, request: FileListRequest, session: &mut Session<'_>) -> Result<FileListResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for FileRead {
    fn handle(host: &Host, request: FileReadRequest, session: &mut Session<'_>) -> Result<FileReadResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for FileWrite {
    fn handle(host: &Host, request: FileWriteRequest, session: &mut Session<'_>) -> Result<FileWriteResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for FileEdit {
    fn handle(host: &Host, request: FileEditRequest, session: &mut Session<'_>) -> Result<FileEditResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for FileSearch {
    fn handle(host: &Host, request: FileSearchRequest, session: &mut Session<'_>) -> Result<FileSearchResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for FileDelete {
    fn handle(host: &Host, request: FileDeleteRequest, session: &mut Session<'_>) -> Result<FileDeleteResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for FileMove {
    fn handle(host: &Host, request: FileMoveRequest, session: &mut Session<'_>) -> Result<FileMoveResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for FileMkdir {
    fn handle(host: &Host, request: FileMkdirRequest, session: &mut Session<'_>) -> Result<FileMkdirResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for WorkspaceDiff {
    fn handle(host: &Host, request: DiffRequest, session: &mut Session<'_>) -> Result<DiffResponse> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}
