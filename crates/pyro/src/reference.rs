//! The generated references: everything in them comes from the op table, the clap tree and the limits, so they cannot say anything else than
//! the program does. A test compares them with the files in `docs/reference`; `UPDATE=1` rewrites those.

use pyro_api::table::{OpSurface, of_profile, table};
use pyro_api::values::{DiskMib, MemMib, TimeoutSeconds, VcpuCount, serde_name};
use pyro_api::{Effect, ErrorKind, Profile};
use serde_json::{Map, Value, json};

use crate::cli::tree;
use crate::mcp;

#[cfg(test)]
mod tests;

/// Names of the documents, as files below `docs/reference`.
pub(crate) const NAMES: [&str; 3] = ["cli.md", "mcp.json", "rpc.json"];

/// One document.
pub(crate) struct Document {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// All documents, as they should be now.
pub(crate) fn documents() -> [Document; 3] {
    let [cli, mcp, rpc] = NAMES;
    [
        Document { name: cli, text: cli_text() },
        Document { name: mcp, text: format!("{:#}\n", mcp_value()) },
        Document { name: rpc, text: format!("{:#}\n", rpc_value()) },
    ]
}

/// Exit codes and what they mean; 128 and more are counted from there.
const EXIT_CODES: [(&str, &str); 8] = [
    ("0 to 255", "`run`, `workspace exec`: the command's own"),
    ("0", "any other command: done; `doctor`: this machine can make sandboxes"),
    ("1", "`doctor`: something stands in the way, or (with `--leaks`) something was left over"),
    ("2", "the command line or the request is wrong"),
    ("124", "it took longer than it may"),
    ("125", "pyro's own failure: not found, conflict, unavailable, limit, sandbox, internal"),
    ("126, 127", "the command is not executable, or was not found"),
    ("128 + n", "signal n ended the command; 130: it was taken back with Ctrl-C; 137: also out of memory"),
];

/// Every error kind; the match makes the compiler ask for new ones.
fn kinds() -> Vec<(String, &'static str)> {
    use ErrorKind::{Cancelled, Conflict, Internal, Invalid, Limit, NotFound, Sandbox, Timeout, Unavailable};
    [Invalid, NotFound, Conflict, Unavailable, Limit, Timeout, Sandbox, Cancelled, Internal]
        .into_iter()
        .map(|kind| {
            let about = match kind {
                Invalid => "the request itself is wrong",
                NotFound => "the thing named is not there",
                Conflict => "the thing is in a state that refuses this",
                Unavailable => "this machine or build cannot do it; the hint says what would make it work",
                Limit => "a named limit was reached",
                Timeout => "it took longer than it may",
                Sandbox => "the sandbox failed or broke the protocol",
                Cancelled => "the caller took the request back",
                Internal => "our own fault",
            };
            (serde_name(&kind), about)
        })
        .collect()
}

/// Limits that a user can meet: name, value, where it applies.
fn limits() -> Vec<(&'static str, String, &'static str)> {
    use pyro_api::ops::file::{FileListRequest, FileReadRequest};
    use pyro_wire::limits;
    vec![
        ("timeout_seconds", format!("{} to {}", TimeoutSeconds::MIN, TimeoutSeconds::MAX), "a command"),
        ("vcpu_count", format!("{} to {}", VcpuCount::MIN, VcpuCount::MAX), "a sandbox"),
        ("mem_mib", format!("{} to {}", MemMib::MIN, MemMib::MAX), "a sandbox"),
        ("disk_mib", format!("{} to {}", DiskMib::MIN, DiskMib::MAX), "a microVM"),
        ("workspace name", format!("{} characters", pyro_api::values::WORKSPACE_NAME_BYTES_MAX), "a workspace"),
        (
            "max_bytes",
            format!("1 to {}", FileReadRequest::BYTES_MAX),
            "one `workspace file read`, and standard input of one `workspace file write`",
        ),
        ("limit", format!("1 to {}", FileListRequest::LIMIT_MAX), "one `workspace file list`"),
        ("path", format!("{} bytes, {} a name", limits::PATH_BYTES_MAX, limits::NAME_BYTES_MAX), "any path inside"),
        ("arguments and variables", format!("{} bytes", limits::ARGUMENT_BYTES_MAX), "one command"),
        ("commands and file requests at one time", limits::CHANNELS_MAX.to_string(), "a workspace"),
    ]
}

fn cli_text() -> String {
    let mut text = "# Command line\n\nGenerated from the program: `UPDATE=1 cargo test -p pyro` rewrites it.\n\n".to_owned();
    let mut root = tree::whole();
    root.build();
    text.push_str(&format!("## pyro\n\n{}.\n\n", about(&root)));
    text.push_str(&arguments(&root, |argument| argument.is_global_set()));
    text.push_str(&format!("```text\n{}\n```\n\n", examples_root(&root)));
    for below in root.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        section("pyro", below, &mut text);
    }
    text.push_str("## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in EXIT_CODES {
        text.push_str(&format!("| {code} | {meaning} |\n"));
    }
    text.push_str("\n## Errors\n\nOn standard error as `pyro: sentence` and `hint: …`; with `--json` on standard output as ");
    text.push_str("`{\"error\": {\"kind\", \"message\", \"hint\"}}`.\n\n| kind | meaning |\n|---|---|\n");
    for (kind, meaning) in kinds() {
        text.push_str(&format!("| {kind} | {meaning} |\n"));
    }
    text.push_str("\n## Limits\n\n| limit | value | of |\n|---|---|---|\n");
    for (name, value, of) in limits() {
        text.push_str(&format!("| {name} | {value} | {of} |\n"));
    }
    text
}

fn about(command: &clap::Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn examples_root(root: &clap::Command) -> String {
    root.get_after_help().map(ToString::to_string).unwrap_or_default()
}

/// One command and all below it. Groups have only a heading.
fn section(path: &str, command: &clap::Command, text: &mut String) {
    let path = format!("{path} {}", command.get_name());
    text.push_str(&format!("## {path}\n\n{}.\n\n", about(command)));
    if command.has_subcommands() {
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            section(&path, below, text);
        }
        return;
    }
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    if let Some((_, rest)) = long.split_once("\n\n") {
        text.push_str(&format!("{rest}\n\n"));
    }
    let usage = command.clone().render_usage().to_string();
    text.push_str(&format!("```text\n{}\n```\n\n", usage.trim_start_matches("Usage: ")));
    text.push_str(&arguments(command, |argument| !argument.is_global_set() && argument.get_id() != "help"));
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if !examples.is_empty() {
        text.push_str(&format!("```text\n{}\n```\n\n", examples.trim_end()));
    }
}

fn arguments(command: &clap::Command, shown: impl Fn(&clap::Arg) -> bool) -> String {
    let arguments: Vec<&clap::Arg> = command.get_arguments().filter(|argument| shown(argument)).collect();
    if arguments.is_empty() {
        return String::new();
    }
    let mut text = "| argument | meaning |\n|---|---|\n".to_owned();
    for argument in arguments {
        let mut meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let default: Vec<String> = argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        if argument.get_action().takes_values() && !default.is_empty() {
            meaning.push_str(&format!(" (default `{}`)", default.join(" ")));
        }
        let possible: Vec<String> = argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if !possible.is_empty() && argument.get_action().takes_values() {
            meaning.push_str(&format!("; one of `{}`", possible.join("`, `")));
        }
        text.push_str(&format!("| `{}` | {} |\n", argument.to_string().replace('|', "\\|"), meaning.replace('|', "\\|")));
    }
    text.push('\n');
    text
}

fn mcp_value() -> Value {
    let profiles: Map<String, Value> = mcp::PROFILES
        .into_iter()
        .map(|(name, profile, about)| {
            let tools: Vec<&str> = of_profile(profile).filter_map(|op| op.tool).collect();
            (name.to_owned(), json!({ "about": about, "tools": tools, "tokens_estimated": mcp::tokens(profile) }))
        })
        .collect();
    let tools: Vec<Value> = of_profile(Profile::WorkspaceFull).map(mcp::tool_json).collect();
    json!({ "profiles": profiles, "tools": tools })
}

fn rpc_value() -> Value {
    let op = |op: &OpSurface| {
        let effect = match op.effect {
            Effect::Read => "read",
            Effect::Write => "write",
            Effect::Destroy => "destroy",
        };
        let value = json!({
            "about": op.description(),
            "effect": effect,
            "request": op.input_schema(),
            "response": op.output_schema(),
        });
        (op.name.to_owned(), value)
    };
    json!({
        "call": "one JSON object on one line: {\"op\": name, \"request\": {…}, \"stream\": false}",
        "reply": "lines of {\"event\": …} when stream is true, then one line of {\"response\": …} or {\"error\": {\"kind\", \"message\", \"hint\"}}",
        "error_kinds": kinds().into_iter().map(|(kind, about)| (kind, Value::from(about))).collect::<Map<_, _>>(),
        "ops": table().iter().map(op).collect::<Map<_, _>>(),
    })
}
