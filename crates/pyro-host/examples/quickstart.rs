//! A workspace from Rust: create it, write a file, run it, see what changed, delete it.
//!
//! `cargo build --package pyro`, then `cargo run --package pyro-host --example quickstart`, with the name of an environment if it is not
//! to be debian:12. It takes the program that was built beside it; `PYRO_BIN` names another. `PYRO_HOME` says where workspaces are kept,
//! as everywhere.

use std::path::PathBuf;

use pyro_api::ops::workspace::{CreateRequest, DeleteRequest};
use pyro_api::ops::{FileWrite, WorkspaceCreate, WorkspaceDelete, WorkspaceDiff, WorkspaceExec};
use pyro_api::ops::{exec::ExecRequest, file::DiffRequest, file::FileWriteRequest};
use pyro_api::{Error, Event, Result};
use pyro_host::{Host, HostOptions, Session};
use serde_json::json;

fn main() -> Result<()> {
    let host = Host::open(HostOptions {
        home: HostOptions::default_home()?,
        binary: binary()?,
        isolation: HostOptions::default_isolation()?,
    })?;

    // A request is a plain struct; from JSON it gets the same defaults and the same checks as everywhere.
    let environment = std::env::args().nth(1).unwrap_or_else(|| "debian:12".to_owned());
    let create: CreateRequest = request(json!({ "environment": environment }))?;
    // Events come while a call runs (the first use of an environment builds it); the response is complete without them.
    let mut on_event = |event: Event| {
        if let Event::Progress(progress) = event {
            eprintln!("{} {} {}", progress.step, progress.done, progress.unit);
        }
    };
    let workspace = host.request::<WorkspaceCreate>(create, &mut Session::new(&mut on_event))?.workspace.workspace;
    println!("made {workspace}");

    // Whatever becomes of the rest, the workspace goes.
    let told = story(&host, &workspace);
    let delete: DeleteRequest = request(json!({ "workspace": workspace }))?;
    host.ask::<WorkspaceDelete>(delete)?;
    println!("deleted {workspace}");
    told
}

fn story(host: &Host, workspace: &str) -> Result<()> {
    let write: FileWriteRequest =
        request(json!({ "workspace": workspace, "path": "hello.sh", "text": "echo \"hello from $(uname)\"\n" }))?;
    host.ask::<FileWrite>(write)?;

    let exec: ExecRequest = request(json!({ "workspace": workspace, "command": ["sh", "hello.sh"] }))?;
    let done = host.ask::<WorkspaceExec>(exec)?;
    println!("{:?} after {} ms: {}", done.outcome, done.duration_ms, done.stdout.text.trim_end());

    let diff: DiffRequest = request(json!({ "workspace": workspace }))?;
    print!("{}", host.ask::<WorkspaceDiff>(diff)?.patch);
    Ok(())
}

fn request<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::invalid(error.to_string()))
}

/// Examples are built one directory below programs.
fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("PYRO_BIN") {
        return Ok(binary.into());
    }
    let example = std::env::current_exe().map_err(|error| Error::unavailable("this program has no place").because(error))?;
    let beside = example.parent().and_then(|examples| examples.parent()).map(|programs| programs.join("pyro"));
    beside.filter(|binary| binary.exists()).ok_or_else(|| {
        Error::unavailable("there is no pyro program beside this example").hint("cargo build --package pyro, or set PYRO_BIN")
    })
}
