//! The command line: a call from the arguments, output as it comes, the response as text or JSON, and an exit status.
//!
//! Only this file and those below it know terminals. Exit codes: the command's own; 2 usage; 124 timeout; 125 our own failure; 126 and 127
//! not executable and not found; 128+n ended by signal n; 130 taken back.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::ArgMatches;
use pyro_api::ops::{Run, ShellAttach, WorkspaceExec};
use pyro_api::table::OpSurface;
use pyro_api::{Error, Op, Result};
use pyro_host::RunAhead;
use serde_json::{Value, json};

use crate::calls::Calls;
use crate::render::{self, Style};
use crate::{calls, mcp, reference, rpc};

mod content;
pub(crate) mod examples;
mod live;
mod raw;
mod terminal;
pub(crate) mod tree;
mod usage;

#[cfg(test)]
mod tests;

/// `pyro --version`, without anything else being built.
pub(crate) fn print_version() -> ExitCode {
    terminal::print(format!("pyro {}\n", crate::VERSION).as_bytes())
}

/// What the global flags say.
#[derive(Clone, Copy, Debug)]
struct Global {
    json: bool,
    quiet: bool,
    color: bool,
    /// Colours in errors.
    red: bool,
}

impl Global {
    fn from_matches(matches: &ArgMatches) -> Self {
        let (color, red) = match matches.get_one::<String>("color").map(String::as_str) {
            Some("always") => (true, true),
            Some("never") => (false, false),
            _ => (terminal::colors(std::io::stdout().is_terminal()), terminal::colors(std::io::stderr().is_terminal())),
        };
        Self { json: matches.get_flag("json"), quiet: matches.get_flag("quiet"), color, red }
    }
}

/// Runs one command line.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    // First of all, so that it goes on while the rest is read. Without it a run takes longer, and says what is wrong.
    let command = arguments[1..].iter().find(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
    let is_run = command.is_some_and(|command| command == Run::NAME);
    let ahead = if is_run { calls::binary().and_then(|binary| RunAhead::begin(&binary)).ok() } else { None };
    let matches = match tree::parse(&arguments) {
        Ok(matches) => matches,
        Err(error) => return usage::report(&error, &arguments),
    };
    let (path, matches) = tree::chosen(&matches);
    let global = Global::from_matches(matches);
    match dispatch(&path, matches, global, ahead) {
        Ok(code) => code,
        Err(error) => terminal::report(&error, global.json, global.red),
    }
}

fn dispatch(path: &str, matches: &ArgMatches, global: Global, ahead: Option<RunAhead>) -> Result<ExitCode> {
    let host = || calls::open_host(matches.get_one("home").cloned());
    match path {
        "mcp serve" => mcp::serve(mcp::options(matches)?, host()?),
        "mcp connect" => mcp::connect(matches).map(|text| terminal::print(text.as_bytes())),
        "mcp profiles" => Ok(terminal::print(mcp::profiles(global.json).as_bytes())),
        "rpc" => rpc::serve(&host()?),
        "completions" => {
            let shell = *matches.get_one::<clap_complete::Shell>("shell").expect("clap requires it");
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut tree::whole(), "pyro", &mut script);
            Ok(terminal::print(&script))
        }
        "reference" => {
            let name = matches.get_one::<String>("document").expect("clap requires it");
            let document = reference::documents().into_iter().find(|document| document.name == name);
            Ok(terminal::print(document.expect("clap knows the names").text.as_bytes()))
        }
        name => {
            let op = pyro_api::table::find(name)?;
            let request = request(op, matches)?;
            let host = host()?;
            let host = match ahead {
                Some(ahead) => host.with_ahead(ahead),
                None => host,
            };
            call(&host, op, request, global)
        }
    }
}

/// The checked request, with what standard input gives.
fn request(op: &OpSurface, matches: &ArgMatches) -> Result<Value> {
    let mut request = op.request_from_matches(matches)?;
    for field in op.host_paths {
        match request.get_mut(*field) {
            Some(Value::String(path)) => *path = absolute(path)?,
            Some(Value::Array(paths)) => {
                for path in paths {
                    if let Value::String(path) = path {
                        *path = absolute(path)?;
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(field) = op.stdin
        && request.get(field).is_none()
        && !op.stdin_unless.iter().any(|field| request.get(field).is_some())
        && !std::io::stdin().is_terminal()
    {
        content::fill(&mut request, field, &mut std::io::stdin().lock())?;
    }
    op.request_from_json(request)
}

/// A path on the host as the op gets it: below our own directory when it is relative.
fn absolute(path: &str) -> Result<String> {
    let absolute = std::path::absolute(path).map_err(|error| Error::invalid(format!("{path:?} is not a path")).because(error))?;
    absolute.into_os_string().into_string().map_err(|_| Error::invalid("the current directory's name is not valid UTF-8"))
}

/// What a program ends with that nobody listens to any more: 128 and SIGPIPE.
const UNWANTED: u8 = 141;

/// Does one op and shows what comes of it.
fn call(calls: &dyn Calls, op: &OpSurface, request: Value, global: Global) -> Result<ExitCode> {
    let terminal = op.name == ShellAttach::NAME || request.get("tty") == Some(&Value::Bool(true));
    if terminal && global.json {
        return Err(Error::invalid("a terminal and --json do not go together").hint("leave one of them out"));
    }
    let mut live = live::Live::start(op.live, global.json, global.quiet)?;
    let raw = terminal.then(raw::Raw::enter).transpose()?;
    let mut request = request;
    if let (true, Some((columns, rows))) = (op.name == WorkspaceExec::NAME, raw.as_ref().and_then(raw::Raw::size)) {
        request["columns"] = columns.into();
        request["rows"] = rows.into();
    }
    let stdin = std::io::stdin();
    let stdin = (op.live && (terminal || !stdin.is_terminal())).then(|| std::os::fd::AsFd::as_fd(&stdin));
    let response = live.call(calls, op.name, request, stdin, terminal);
    drop(raw);
    let output = live.finish();
    if output == live::Output::Unwanted {
        return Ok(ExitCode::from(UNWANTED));
    }
    let response = response?;
    let code = exit_code(op, &response)?;
    if global.json {
        terminal::print(format!("{response:#}\n").as_bytes());
        return Ok(code);
    }
    let style = Style { color: global.color, terminal: std::io::stdout().is_terminal(), now: jiff::Timestamp::now() };
    let shown = render::for_person(op.name, response, &style)?;
    if output == live::Output::None {
        terminal::print(&shown.out);
    }
    if let (Some(note), false) = (shown.note, global.quiet) {
        terminal::note(&note);
    }
    Ok(code)
}

/// The status a response stands for: a command's own, whether doctor found the machine well, or whether a merge had conflicts.
fn exit_code(op: &OpSurface, response: &Value) -> Result<ExitCode> {
    let code = match op.name {
        name if op.command_outcome => {
            let outcome = response.get("outcome").cloned().unwrap_or(Value::Null);
            render::parsed::<pyro_api::ops::exec::Outcome>(name, outcome)?.exit_code()
        }
        "doctor" => u8::from(response.get("ok") != Some(&Value::Bool(true))),
        // As git: nothing was changed.
        "workspace merge" => u8::from(response.get("conflict_count") != Some(&json!(0))),
        _ => 0,
    };
    Ok(ExitCode::from(code))
}

/// An error as `--json` prints it.
fn error_json(error: &Error) -> Value {
    json!({ "error": error })
}
