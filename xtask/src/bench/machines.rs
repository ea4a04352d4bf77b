//! Machines with a kernel of their own: what starting and using one takes, and how much slower it computes than a sandbox of namespaces beside it.

use std::fs;

use serde_json::{Value, json};

use super::report::{Row, Series};
use super::worker::Request;
use super::{Actor, Options, checked, peers, series};
use crate::project::{Failure, Result};

/// A machine takes a hundred times as long as a sandbox of namespaces.
const REPETITIONS_MAX: u32 = 20;

/// Machines that are alive when the memory of one is taken: they share what none of them has changed.
const ALIVE: usize = 4;

/// Something that a compiler works on for a while: two hundred small functions.
const PROGRAM: &str = "i=0; while [ $i -lt 200 ]; do echo \"int f$i(int a, int b) { for (int i = 0; i < a; i++) b += i * $i ^ b; return b; }\"; i=$((i+1)); done >work.c";

const ISOLATIONS: [&str; 2] = ["namespaces", "microvm"];

pub fn machines(actor: &Actor, options: &Options) -> Result<Vec<Row>> {
    let options = Options { repetitions: options.repetitions.min(REPETITIONS_MAX), rootfs: None, write: false };
    actor.pyro(&["env", "build", "microvm"])?;
    let pyro = |words: &[&str]| -> Vec<String> {
        std::iter::once(actor.pyro.to_string_lossy().into_owned()).chain(words.iter().map(|word| (*word).to_owned())).collect()
    };
    let mut worker = actor.worker(false)?;
    let name = format!("bench-{}-m", std::process::id());
    let run = pyro(&["run", "--isolation", "microvm", "debian:12", "--", "/bin/true"]);
    // The first of all boots the machine that the others are copies of.
    let run = series(&options, |_| worker.run(&run, false));
    let mut count = 0;
    let created = series(&options, |_| {
        count += 1;
        let fresh = format!("{name}-{count}");
        let create = pyro(&["workspace", "create", "debian:12", "--isolation", "microvm", "--name", &fresh]);
        let steps = vec![create, pyro(&["workspace", "exec", &fresh, "--", "/bin/true"])];
        let reply = worker.ask(&Request::Run { steps, adopt: false }).and_then(checked);
        worker.run(&pyro(&["workspace", "delete", &fresh]), false)?;
        reply
    });
    let mut rows = vec![
        Row::new("pyro run --isolation microvm", "/bin/true as a whole process, from a machine that has booted before", run),
        Row::new("workspace create + first exec", "two commands of the CLI", created),
    ];
    let before = qemus();
    let names: Vec<String> = (0..ALIVE).map(|number| format!("{name}-alive-{number}")).collect();
    for name in &names {
        actor.pyro(&["workspace", "create", "debian:12", "--isolation", "microvm", "--name", name])?;
    }
    let server = pyro(&["mcp", "serve"]);
    let mut by_mcp = |tool: &str, arguments: Value| {
        let ask = || Request::McpCall { tool: tool.to_owned(), arguments: arguments.clone() };
        worker
            .ask(&Request::McpStart { argv: server.clone() })
            .and_then(checked)
            .and_then(|_| series(&options, |_| worker.ask(&ask()).and_then(checked)))
            .and_then(|series| worker.ask(&Request::McpStop).map(|_| series))
    };
    let exec = by_mcp("workspace_exec", json!({ "workspace": names[0], "command": peers::TRUE }));
    let read = by_mcp("workspace_file_read", json!({ "workspace": names[0], "path": "/etc/debian_version" }));
    let memory = memory(&before);
    for name in &names {
        actor.pyro(&["workspace", "delete", name])?;
    }
    rows.push(Row::new("workspace exec, warm MCP", "/bin/true in a running machine, by one MCP connection", exec));
    rows.push(Row::new("file read, warm MCP", "a file of a few bytes", read));
    rows.push(Row::new("idle machine, memory", "PSS of QEMU, the mean of four that are alive", memory));
    worker.stop()?;
    // Computing is the same for every user.
    if actor.user.is_none() {
        rows.extend(slowdowns(actor, &options, &name)?);
    }
    Ok(rows)
}

/// The same work with both isolations.
fn slowdowns(actor: &Actor, options: &Options, name: &str) -> Result<Vec<Row>> {
    let options = Options { repetitions: options.repetitions.min(3), rootfs: None, write: false };
    let mut worker = actor.worker(false)?;
    let mut rows = Vec::new();
    for (what, prepare, work) in [
        ("gcc -O1", PROGRAM, "gcc -O1 -c work.c"),
        (
            "git status",
            "git init -q . && for i in $(seq 2000); do echo $i >file$i; done && git add .",
            "git status --short >/dev/null",
        ),
    ] {
        for isolation in ISOLATIONS {
            let workspace = format!("{name}-{isolation}");
            actor.pyro(&["workspace", "create", "debian:12-build", "--isolation", isolation, "--name", &workspace])?;
            let exec = |line: &str| -> Vec<String> {
                let words = ["workspace", "exec", &workspace, "--timeout-seconds", "600", "--", "sh", "-c", line];
                std::iter::once(actor.pyro.to_string_lossy().into_owned()).chain(words.map(str::to_owned)).collect()
            };
            let prepared = worker.run(&exec(prepare), false);
            let times = prepared.and_then(|_| series(&options, |_| worker.run(&exec(work), false)));
            actor.pyro(&["workspace", "delete", &workspace])?;
            rows.push(Row::new(
                &format!("{what}, {isolation}"),
                "in a workspace of debian:12-build, a process of the CLI for each",
                times,
            ));
        }
    }
    worker.stop()?;
    Ok(rows)
}

/// Process ids of every QEMU of ours.
fn qemus() -> Vec<u32> {
    let is_one = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).next() == Some(b"/qemu"))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

/// Memory of those that were not there before, the mean of them.
fn memory(before: &[u32]) -> Result<Series> {
    let new: Vec<u32> = qemus().into_iter().filter(|pid| !before.contains(pid)).collect();
    let count = u32::try_from(new.len()).unwrap_or(u32::MAX);
    if count == 0 {
        return Err(Failure::new("no QEMU was found"));
    }
    let mut pss_kib = 0;
    for pid in new {
        pss_kib += super::pss_kib(pid)?;
    }
    Ok(Series::of_kib(pss_kib / count))
}
