//! What a model's calls about files cost: small ones through one warm connection, a search of a large tree beside ripgrep, and a command's output.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::report::{self, Row, Series};
use super::worker::Request;
use super::{Actor, Options, Worker, checked, layers, series};
use crate::project::{Context as _, Result, root};

/// Files of the tree that is searched.
const FILES: u32 = 100_000;

/// Between calls that do not come at once: far less than any model takes.
const THOUGHT: Duration = Duration::from_millis(10);

/// What is looked for: it is in ten files of the tree and nowhere else.
const PATTERN: &str = "line of file 4242[0-9]$";

/// A million lines, and what wrote them: no faster way is in every environment.
const LINES: &str =
    "yes 'this is a line of some build, as long as such lines are, with a path/to/a/file.rs:12:34 in it' | head -n 1000000";

/// `cargo xtask bench files`.
pub fn task(options: &Options) -> Result {
    let actors = super::actors()?;
    let about = "Written by `cargo xtask bench files`; do not edit. Times are milliseconds, medians and the 95th percentile. Calls go one after the other through one MCP
connection: each 10 ms after the one before was answered, as one does who thinks, and then each at once, where what changes files waits until the
step of the one before is made. The tree that is searched is 1,000 directories of 100
files of 0.2 to 2.2 KB. `pyro ÷` is pyro's median as a fraction of the row's. CLI: a process for each call.
";
    let mut sections = String::new();
    for actor in &actors {
        println!("\n== as {}", actor.who);
        let measured = measure(actor, options)?;
        println!("{measured}");
        sections.push_str(&measured);
    }
    let command = format!("cargo xtask bench files --repetitions {}", options.repetitions);
    let versions = [report::first_line(Command::new("rg").arg("--version"))];
    let page = report::head("Benchmarks of files", about, &command, &versions, &actors[0].pyro)? + &sections;
    if options.write {
        let file = root().join("docs/benchmarks-files.md");
        fs::write(&file, &page).context(file.display())?;
    }
    Ok(())
}

fn measure(actor: &Actor, options: &Options) -> Result<String> {
    actor.environment_root()?;
    let tree = layers::tree(actor, FILES)?;
    let name = format!("files-{}", std::process::id());
    let seed = tree.to_string_lossy();
    // As many processors as ripgrep has.
    let processors = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let create = ["workspace", "create", "debian:12", "--name", &name, "--seed-path", &seed, "--vcpu-count", &processors];
    actor.pyro(&create)?;
    let mut worker = actor.worker(false)?;
    let who = &actor.who;
    let page =
        report::against_first(
            &format!("Calls of a warm connection, 10 ms apart, as {who}"),
            &calls(actor, options, &mut worker, &name, THOUGHT)?,
        ) + &report::against_first(
            &format!("Calls of a warm connection, each at once, as {who}"),
            &calls(actor, options, &mut worker, &name, Duration::ZERO)?,
        ) + &report::against_first(
            &format!("A search of {FILES} files, as {who}"),
            &search(actor, options, &mut worker, &name, &tree),
        ) + &report::against_first(&format!("1,000,000 lines of output, as {who}"), &output(actor, options, &mut worker, &name));
    worker.stop()?;
    actor.pyro(&["workspace", "delete", &name])?;
    fs::remove_dir_all(&tree).context(tree.display())?;
    Ok(page)
}

/// Small calls. The first is the plainest there is, so that the others are seen as multiples of it.
fn calls(actor: &Actor, options: &Options, worker: &mut Worker, name: &str, thought: Duration) -> Result<Vec<Row>> {
    let argv = ["mcp", "serve"].iter().map(|word| (*word).to_owned());
    let server = std::iter::once(actor.pyro.to_string_lossy().into_owned()).chain(argv).collect();
    worker.ask(&Request::McpStart { argv: server }).and_then(checked)?;
    let path = "d00000/f001.txt";
    let arguments = |tool: &str, number: u32| -> Value {
        match tool {
            "workspace_file_write" => json!({ "workspace": name, "path": path, "text": format!("count {number}\n").repeat(20) }),
            // The write before it left the last number; each edit leaves its own.
            "workspace_file_edit" => {
                let edit = json!({ "old": format!("n {number}\n"), "new": format!("n {}\n", number + 1) });
                json!({ "workspace": name, "path": "edited.txt", "edits": [edit] })
            }
            "workspace_file_search" => json!({ "workspace": name, "path": path, "pattern": "count" }),
            "workspace_file_list" => json!({ "workspace": name, "path": "d00000" }),
            "workspace_exec" => json!({ "workspace": name, "command": ["true"] }),
            _ => json!({ "workspace": name, "path": path, "lines": "1-10" }),
        }
    };
    let first = json!({ "workspace": name, "path": "edited.txt", "text": "n 0\n" });
    worker.ask(&Request::McpCall { tool: "workspace_file_write".to_owned(), arguments: first }).and_then(checked)?;
    let ways = [
        ("workspace_file_read", "ten lines of a small file; at most 1.5 ms is the goal"),
        ("workspace_file_write", "20 lines; at most 1.5 ms is the goal"),
        ("workspace_file_edit", "a line of a small file; at most 1.5 ms is the goal"),
        ("workspace_file_search", "of one small file"),
        ("workspace_file_list", "a directory of 100 files"),
        ("workspace_exec", "true"),
    ];
    let rows = ways.map(|(tool, note)| {
        let call = |number: u32| Request::McpCall { tool: tool.to_owned(), arguments: arguments(tool, number) };
        Row::new(
            tool,
            note,
            series(options, |number| {
                thread::sleep(thought);
                worker.ask(&call(number)).and_then(checked)
            }),
        )
    });
    worker.ask(&Request::McpStop).and_then(checked)?;
    Ok(rows.into())
}

/// A whole search beside ripgrep on the same tree outside, in turns.
fn search(actor: &Actor, options: &Options, worker: &mut Worker, name: &str, tree: &Path) -> Vec<Row> {
    let own = actor.pyro.to_string_lossy().into_owned();
    let pyro: Vec<String> = [&own, "workspace", "file", "search", name, PATTERN].iter().map(|word| (*word).to_string()).collect();
    let bare: Vec<String> =
        ["rg", "--line-number", PATTERN, &tree.to_string_lossy()].iter().map(|word| (*word).to_string()).collect();
    let candidates = [
        ("workspace file search, CLI", "inside, over an overlay; at most 1.3 of rg is the goal", pyro),
        ("rg", "on the directory outside; no isolation", bare),
    ];
    in_turns(options, worker, candidates)
}

/// A command that writes a lot, beside the same in a shell outside.
fn output(actor: &Actor, options: &Options, worker: &mut Worker, name: &str) -> Vec<Row> {
    let own = actor.pyro.to_string_lossy().into_owned();
    let pyro = [&own, "workspace", "exec", name, "--", "sh", "-c", LINES].iter().map(|word| (*word).to_string()).collect();
    let bare = ["sh", "-c", LINES].iter().map(|word| (*word).to_string()).collect();
    let candidates = [
        ("workspace exec, CLI", "94 MB, kept up to the cap and shown as it comes; 470 ms are 200 MB/s, the goal", pyro),
        ("sh", "the same outside, to nowhere", bare),
    ];
    in_turns(options, worker, candidates)
}

/// Candidates take turns; one that does not work is told why.
fn in_turns<const N: usize>(options: &Options, worker: &mut Worker, candidates: [(&str, &str, Vec<String>); N]) -> Vec<Row> {
    let mut all: Vec<Result<Series>> = candidates.iter().map(|_| Ok(Series::default())).collect();
    for repetition in 0..super::WARM_UP + options.repetitions {
        for ((_, _, argv), measured) in candidates.iter().zip(&mut all) {
            let Ok(series) = measured else { continue };
            match worker.run(argv, false) {
                Ok(reply) if repetition >= super::WARM_UP => series.push(&reply),
                Ok(_) => {}
                Err(failure) => *measured = Err(failure),
            }
        }
    }
    candidates.into_iter().zip(all).map(|((name, note, _), measured)| Row::new(name, note, measured)).collect()
}
