//! The MCP server and what belongs to it: `mcp serve`, `mcp connect`, `mcp profiles`. The protocol is rmcp's, and asynchronous code is only below
//! this file.
//!
//! Results are text first, because hosts differ in what else they pass on to the model; every size is limited here, because
//! each host cuts in its own way.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};
use pyro_api::table::of_profile;
use pyro_api::{Error, Profile, Result};
use pyro_host::Host;
use serde_json::{Value, json};

mod grant;
mod hosts;
mod server;
mod tools;

#[cfg(test)]
mod tests;

pub(crate) use tools::tool_json;

/// Profiles by name, smallest first, and what each is for.
pub(crate) const PROFILES: [(&str, Profile, &str); 3] = [
    ("vm-run", Profile::VmRun, "one-shot runs only"),
    ("workspace-core", Profile::WorkspaceCore, "a workspace: look, edit, run, compare"),
    ("workspace-full", Profile::WorkspaceFull, "everything that a model may do"),
];

/// How a server behaves.
#[derive(Debug)]
pub(crate) struct Options {
    profile: Profile,
    structured: bool,
    grants: grant::Grants,
}

/// Subcommands of `mcp`.
pub(crate) fn commands() -> [Command; 3] {
    let profile = Arg::new("profile")
        .long("profile")
        .value_name("PROFILE")
        .value_parser(PROFILES.map(|(name, ..)| name))
        .default_value("workspace-core")
        .help("Tools to show: `pyro mcp profiles` lists them");
    let allow = Arg::new("allow-path")
        .long("allow-path")
        .value_name("DIR")
        .action(ArgAction::Append)
        .value_hint(ValueHint::DirPath)
        .value_parser(clap::value_parser!(PathBuf))
        .help("Let models seed workspaces from below this directory of the host; none by default");
    let structured = Arg::new("structured")
        .long("structured")
        .action(ArgAction::SetTrue)
        .help("Add structured results, for programs: some hosts then hide the text from the model");
    let host = Arg::new("host").required(true).value_name("HOST").value_parser(hosts::NAMES).help("Chat host to connect");
    let write =
        Arg::new("write").long("write").action(ArgAction::SetTrue).help("Write the host's configuration instead of printing it");
    [
        Command::new("serve")
            .about("Serve one chat host on standard input and output")
            .args([profile.clone(), allow.clone(), structured])
            .after_help("Examples:\n  pyro mcp serve\n  pyro mcp serve --profile workspace-full --allow-path ~/src\n"),
        Command::new("connect")
            .about("Print or write the configuration that adds pyro to a chat host")
            .args([host, profile, allow, write])
            .after_help("Examples:\n  pyro mcp connect claude-code\n  pyro mcp connect codex --profile workspace-full --write\n"),
        Command::new("profiles").about("List the tool profiles, their tools and what they cost"),
    ]
}

/// Options of `mcp serve` from its arguments.
pub(crate) fn options(matches: &ArgMatches) -> Result<Options> {
    let paths: Vec<PathBuf> = matches.get_many("allow-path").into_iter().flatten().cloned().collect();
    Ok(Options { profile: profile(matches), structured: matches.get_flag("structured"), grants: grant::Grants::new(&paths)? })
}

fn profile(matches: &ArgMatches) -> Profile {
    let name = matches.get_one::<String>("profile").expect("it has a default");
    let (_, profile, _) = PROFILES.into_iter().find(|(known, ..)| known == name).expect("clap knows the names");
    profile
}

/// Serves until standard input ends.
pub(crate) fn serve(options: Options, host: Host) -> Result<ExitCode> {
    server::serve(options, Arc::new(host))?;
    Ok(ExitCode::SUCCESS)
}

/// `mcp connect`.
pub(crate) fn connect(matches: &ArgMatches) -> Result<String> {
    let host = matches.get_one::<String>("host").expect("clap requires it");
    let mut arguments = vec!["mcp".to_owned(), "serve".to_owned()];
    let profile = matches.get_one::<String>("profile").expect("it has a default");
    if profile != "workspace-core" {
        arguments.extend(["--profile".to_owned(), profile.clone()]);
    }
    // The server will be started from wherever the host happens to be.
    let mut add = |flag: &str, path: std::io::Result<PathBuf>| {
        let path = path.map_err(|error| Error::invalid(format!("{flag} is not usable")).because(error))?;
        let path = path.into_os_string().into_string().map_err(|_| Error::invalid(format!("{flag} is not valid UTF-8")))?;
        arguments.extend([flag.to_owned(), path]);
        Ok::<(), Error>(())
    };
    if let Some(home) = matches.get_one::<PathBuf>("home") {
        add("--home", std::path::absolute(home))?;
    }
    for path in matches.get_many::<PathBuf>("allow-path").into_iter().flatten() {
        add("--allow-path", path.canonicalize())?;
    }
    let program =
        std::env::current_exe().map_err(|error| Error::internal("cannot tell where the pyro binary is").because(error))?;
    let program =
        program.into_os_string().into_string().map_err(|_| Error::invalid("the path of the pyro binary is not valid UTF-8"))?;
    hosts::connect(host, &hosts::Server { program, arguments }, matches.get_flag("write"))
}

/// `mcp profiles`, as text or JSON.
pub(crate) fn profiles(json: bool) -> String {
    let listed = PROFILES.map(|(name, profile, about)| {
        let tools: Vec<&str> = of_profile(profile).filter_map(|op| op.tool).collect();
        (name, about, tools, tokens(profile))
    });
    if json {
        let profiles: Vec<Value> = listed
            .into_iter()
            .map(
                |(name, about, tools, tokens)| json!({"profile": name, "about": about, "tools": tools, "tokens_estimated": tokens}),
            )
            .collect();
        return format!("{:#}\n", json!({ "profiles": profiles }));
    }
    listed
        .into_iter()
        .map(|(name, about, tools, tokens)| {
            format!("{name}: {about}; {} tools, about {tokens} tokens\n  {}\n", tools.len(), tools.join(" "))
        })
        .collect()
}

/// What the tools of a profile cost a model, in tokens: an estimate by length. 4.4 characters a token is what o200k needs for these
/// lists; a test compares.
pub(crate) fn tokens(profile: Profile) -> usize {
    let characters: usize = of_profile(profile).map(|op| tool_json(op).to_string().len()).sum();
    characters * 10 / 44
}
