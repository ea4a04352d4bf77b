//! A workspace from Rust: create it, write a file, run it, see what changed, delete it.
//!
//! `cargo build --release --package pyro`, then
//! `cargo run --package pyro-host --example quickstart -- target/x86_64-unknown-linux-gnu/release/pyro`.

use std::path::PathBuf;

use pyro_api::ops::workspace::{CreateRequest, DeleteRequest};
use pyro_api::ops::{FileWrite, WorkspaceCreate, WorkspaceDelete, WorkspaceDiff, WorkspaceExec};
use pyro_api::ops::{exec::ExecRequest, file::DiffRequest, file::FileWriteRequest};
use pyro_api::{Error, Event, Result};
use pyro_host::{Host, HostOptions, Session};
use serde_json::json;

fn main() -> Result<()> {
    let binary = std::env::args_os().nth(1).ok_or_else(|| Error::invalid("which pyro binary?").hint("quickstart PATH_TO_PYRO"))?;
    let host = Host::open(HostOptions { home: HostOptions::default_home()?, binary: PathBuf::from(binary), run_here: false })?;

    // Events come while a call runs; the response is complete without them.
    let mut on_event = |event: Event| {
        if let Event::Progress(progress) = event {
            eprintln!("{} {}", progress.step, progress.done);
        }
    };
    let mut session = Session { on_event: &mut on_event, stdin: None, signals: None };

    // A request is a plain struct; from JSON it gets the same defaults and the same checks as everywhere.
    let create: CreateRequest = request(json!({ "environment": "debian:12" }))?;
    let workspace = host.request::<WorkspaceCreate>(create, &mut session)?.workspace.workspace;
    println!("made {workspace}");

    let write: FileWriteRequest =
        request(json!({ "workspace": workspace, "path": "hello.sh", "text": "echo \"hello from $(uname)\"\n" }))?;
    host.request::<FileWrite>(write, &mut session)?;

    let exec: ExecRequest = request(json!({ "workspace": workspace, "command": ["sh", "hello.sh"] }))?;
    let done = host.request::<WorkspaceExec>(exec, &mut session)?;
    println!("{:?} after {} ms: {}", done.outcome, done.duration_ms, done.stdout.text.trim_end());

    let diff: DiffRequest = request(json!({ "workspace": workspace }))?;
    print!("{}", host.request::<WorkspaceDiff>(diff, &mut session)?.patch);

    let delete: DeleteRequest = request(json!({ "workspace": workspace }))?;
    host.request::<WorkspaceDelete>(delete, &mut session)?;
    Ok(())
}

fn request<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::invalid(error.to_string()))
}
