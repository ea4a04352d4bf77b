//! Chat hosts: where each keeps its configuration and how a server is written there. What is there already stays as it is; what cannot be read is
//! never written over.

use std::io::Write;
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};
use serde_json::{Map, Value, json};

/// Hosts that are known.
pub(super) const NAMES: [&str; 6] = ["claude-code", "codex", "gemini-cli", "opencode", "vscode", "cursor"];

/// How the host starts us.
pub(super) struct Server {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
}

/// One host's way.
struct Host {
    /// Its file: below the home directory, or below the current one when it belongs to a project.
    file: PathBuf,
    format: Format,
}

enum Format {
    /// An object at these keys.
    Json { at: [&'static str; 2], entry: Value },
    /// A table of its own at the end of the file.
    Toml { table: &'static str, text: String },
}

fn host(name: &str, server: &Server, home: &Path, project: &Path) -> Host {
    let Server { program, arguments } = server;
    let plain = json!({ "command": program, "args": arguments });
    let typed = json!({ "type": "stdio", "command": program, "args": arguments });
    let servers = ["mcpServers", "pyro"];
    let (file, format) = match name {
        "claude-code" => (project.join(".mcp.json"), Format::Json { at: servers, entry: typed }),
        "codex" => {
            // A basic string of TOML escapes as JSON does.
            let text = format!("command = {}\nargs = {}\n", json!(program), json!(arguments));
            (home.join(".codex/config.toml"), Format::Toml { table: "[mcp_servers.pyro]", text })
        }
        "gemini-cli" => (home.join(".gemini/settings.json"), Format::Json { at: servers, entry: plain }),
        "opencode" => {
            let command: Vec<&String> = std::iter::once(program).chain(arguments).collect();
            let entry = json!({ "type": "local", "command": command, "enabled": true });
            (home.join(".config/opencode/opencode.json"), Format::Json { at: ["mcp", "pyro"], entry })
        }
        "vscode" => (project.join(".vscode/mcp.json"), Format::Json { at: ["servers", "pyro"], entry: typed }),
        _ => (home.join(".cursor/mcp.json"), Format::Json { at: servers, entry: plain }),
    };
    Host { file, format }
}

/// Prints what to add, or adds it.
pub(super) fn connect(name: &str, server: &Server, write: bool) -> Result<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).ok_or_else(|| Error::invalid("HOME is not set"))?;
    let project = std::env::current_dir().map_err(|error| Error::invalid("the current directory is gone").because(error))?;
    connect_at(name, server, write, &home, &project)
}

pub(super) fn connect_at(name: &str, server: &Server, write: bool, home: &Path, project: &Path) -> Result<String> {
    let Host { file, format } = host(name, server, home, project);
    let snippet = match &format {
        Format::Json { at: [outer, inner], entry } => format!("{:#}\n", json!({ *outer: { *inner: entry } })),
        Format::Toml { table, text } => format!("{table}\n{text}"),
    };
    if !write {
        eprintln!("pyro: add this to {}, or let --write do it", file.display());
        return Ok(snippet);
    }
    let before = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::invalid(format!("cannot read {}", file.display())).because(error)),
    };
    let after = match &format {
        Format::Json { at, entry } => with_entry(&before, *at, entry),
        Format::Toml { table, text } => with_table(&before, table, text),
    };
    let after =
        after.map_err(|why| Error::conflict(format!("{} {why}", file.display())).hint(format!("add by hand:\n{snippet}")))?;
    if after == before {
        return Ok(format!("{} has pyro already\n", file.display()));
    }
    replace(&file, &after).map_err(|error| Error::invalid(format!("cannot write {}", file.display())).because(error))?;
    Ok(format!("wrote {}; restart {name} to see it\n", file.display()))
}

/// The file's JSON with the entry in it.
fn with_entry(before: &str, [outer, inner]: [&str; 2], entry: &Value) -> Result<String, &'static str> {
    let mut root: Value = match before.trim() {
        "" => Value::Object(Map::new()),
        text => serde_json::from_str(text).map_err(|_| "is not plain JSON (comments?)")?,
    };
    let fields = root.as_object_mut().ok_or("is not a JSON object")?;
    let servers = fields.entry(outer).or_insert_with(|| Value::Object(Map::new()));
    let servers = servers.as_object_mut().ok_or("has something else where its servers belong")?;
    if servers.get(inner) == Some(entry) {
        return Ok(before.to_owned());
    }
    servers.insert(inner.to_owned(), entry.clone());
    Ok(format!("{root:#}\n"))
}

/// The file's TOML with the table at its end.
fn with_table(before: &str, table: &str, text: &str) -> Result<String, &'static str> {
    let entry = format!("{table}\n{text}");
    if before.contains(&entry) {
        return Ok(before.to_owned());
    }
    if before.lines().any(|line| line.trim() == table) {
        return Err("has another pyro already");
    }
    let gap = if before.is_empty() || before.ends_with("\n\n") {
        ""
    } else if before.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    Ok(format!("{before}{gap}{entry}"))
}

/// Puts the text in place of the file, all at once; a link stays a link, and the mode stays.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let directory = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let new = directory.join(format!(".pyro-{}.tmp", std::process::id()));
    let written = (|| {
        let mut output = std::fs::OpenOptions::new().write(true).create_new(true).open(&new)?;
        if let Ok(before) = std::fs::metadata(&file) {
            output.set_permissions(before.permissions())?;
        }
        output.write_all(text.as_bytes())?;
        output.sync_all()?;
        std::fs::rename(&new, &file)
    })();
    if written.is_err() {
        // What could not be put in place is of no use; the first error is the one that matters.
        let _ = std::fs::remove_file(&new);
    }
    written
}
