//! Shells: their workspace's supervisor has them. Only opening one starts a workspace.

use pyro_api::ops::shell::{
    ShellAttachRequest, ShellCloseRequest, ShellListRequest, ShellListResponse, ShellOpenRequest, ShellReadRequest,
    ShellResizeRequest, ShellSignalRequest, ShellView, ShellWriteRequest,
};
use pyro_api::ops::{ShellAttach, ShellClose, ShellList, ShellOpen, ShellRead, ShellResize, ShellSignal, ShellWrite};
use pyro_api::values::WorkspaceRef;
use pyro_api::{Call, Error, Op, Result};
use serde_json::json;

use super::Handle;
use crate::{Host, Session, client};

impl Handle for ShellOpen {
    fn handle(host: &Host, request: ShellOpenRequest, session: &mut Session<'_>) -> Result<ShellView> {
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for ShellList {
    fn handle(host: &Host, request: ShellListRequest, session: &mut Session<'_>) -> Result<ShellListResponse> {
        let record = host.find_settled(&request.workspace)?;
        let Some(stream) = host.connect(&record)? else {
            return Ok(ShellListResponse { workspace: record.manifest.name, shells: Vec::new() });
        };
        ask::<Self>(&stream, &request, session, &record.manifest.name)
    }
}

macro_rules! of_a_running_shell {
    ($($op:ident, $request:ident;)*) => {$(
        impl Handle for $op {
            fn handle(host: &Host, request: $request, session: &mut Session<'_>) -> Result<ShellView> {
                let (stream, name) = running(host, &request.workspace, request.shell.as_str())?;
                ask::<Self>(&stream, &request, session, &name)
            }
        }
    )*};
}
of_a_running_shell! {
    ShellWrite, ShellWriteRequest;
    ShellRead, ShellReadRequest;
    ShellSignal, ShellSignalRequest;
    ShellResize, ShellResizeRequest;
    ShellClose, ShellCloseRequest;
}

impl Handle for ShellAttach {
    fn handle(host: &Host, request: ShellAttachRequest, session: &mut Session<'_>) -> Result<ShellView> {
        let (stream, name) = running(host, &request.workspace, request.shell.as_str())?;
        let call = Call { op: Self::NAME.to_owned(), request: super::to_value(&request)?, stream: true, stdin: true };
        match client::ask(&stream, &call, session)? {
            client::Answered::Response(answer) => super::parse(answer),
            client::Answered::Declined => Err(ending(&name)),
            client::Answered::Left => {
                // How it stands that was left. What was seen live is not new to anybody.
                let read = super::parse(json!({ "workspace": request.workspace, "shell": request.shell }))?;
                let view = ShellRead::handle(host, read, session)?;
                Ok(ShellView { text: String::new(), screen: None, ..view })
            }
        }
    }
}

fn ending(name: &str) -> Error {
    Error::conflict(format!("{name} is being stopped")).hint("its shells end with it")
}

fn running(host: &Host, workspace: &WorkspaceRef, shell: &str) -> Result<(std::os::unix::net::UnixStream, String)> {
    let record = host.find_settled(workspace)?;
    let name = record.manifest.name.clone();
    match host.connect(&record)? {
        Some(stream) => Ok((stream, name)),
        None => {
            Err(Error::not_found(format!("{name} has no shell {shell}: it is not running")).hint("workspace shell open makes one"))
        }
    }
}

fn ask<O: Handle>(
    stream: &std::os::unix::net::UnixStream,
    request: &O::Request,
    session: &mut Session<'_>,
    name: &str,
) -> Result<O::Response> {
    let call = Call { op: O::NAME.to_owned(), request: super::to_value(request)?, stream: O::LIVE, stdin: O::LIVE };
    match client::ask(stream, &call, session)? {
        client::Answered::Response(answer) => super::parse(answer),
        client::Answered::Declined | client::Answered::Left => Err(ending(name)),
    }
}
