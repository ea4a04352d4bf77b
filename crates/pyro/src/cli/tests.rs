//! Command lines: what parses, what is refused and in which words, and what a call does to the terminal's side.

use std::cell::RefCell;
use std::ffi::OsString;
use std::sync::Mutex;

use pyro_api::table::{self, table};
use pyro_api::{Error, ErrorKind, Result};
use pyro_host::Session;
use serde_json::{Value, json};

use super::{content, examples, exit_code, request, terminal, tree, usage};
use crate::calls::Calls;

/// The words of a line, split as a shell does: spaces, and quotes of either kind.
fn words(line: &str) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (character, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (' ', None) => words.extend(word.take().map(OsString::from)),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word.map(OsString::from));
    words
}

fn refused(line: &str) -> Error {
    let arguments = words(line);
    match tree::parse(&arguments) {
        Err(error) => usage::explained(&error, &arguments),
        Ok(matches) => {
            let (path, matches) = tree::chosen(&matches);
            request(table::find(&path).expect("an op"), matches).err().unwrap_or_else(|| panic!("{line} is taken"))
        }
    }
}

#[test]
fn the_tree_is_sound() {
    tree::whole().debug_assert();
}

#[test]
fn every_op_is_reached_by_its_name_and_has_examples_that_parse() {
    for op in table() {
        let lines = examples::of(op.name);
        assert_eq!(lines.is_empty(), !op.on_command_line, "{} has examples, or no command", op.name);
        let mut command = tree::whole();
        for word in op.name.split(' ') {
            command = command.find_subcommand(word).unwrap_or_else(|| panic!("{}: no {word}", op.name)).clone();
        }
        assert!(command.get_about().is_some(), "{}", op.name);
    }
    for (name, lines) in examples::ALL {
        for line in *lines {
            let line = line.split(" | ").find(|part| part.starts_with("pyro ")).expect("one part calls pyro");
            let line = line.split(['<', '>']).next().expect("split gives one");
            let matches = tree::parse(&words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
            let (path, matches) = tree::chosen(&matches);
            assert!(path.starts_with(name), "{line} is an example of {path}, not of {name}");
            if let Ok(op) = table::find(&path) {
                let mut request = op.request_from_matches(matches).expect("a request");
                if let Some(field) = op.stdin
                    && request.get(field).is_none()
                    && !op.stdin_unless.iter().any(|field| request.get(field).is_some())
                {
                    content::fill(&mut request, field, &mut "content".as_bytes()).expect("content");
                }
                op.request_from_json(request).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }
}

#[test]
fn a_wrong_command_line_is_refused_in_the_words_json_callers_get() {
    let cases = [
        ("pyro wrkspace", "pyro has no command \"wrkspace\"", "did you mean workspace?"),
        ("pyro ws exce x", "workspace has no command \"exce\"", "did you mean exec?"),
        ("pyro zzz", "pyro has no command \"zzz\"", "it has run, workspace, env, gc, doctor, mcp, rpc, completions, help"),
        ("pyro workspace status", "workspace is missing", "Workspace name or id"),
        ("pyro workspace exec x", "there is no command to run", "put it after `--`, such as: -- ls -l"),
        ("pyro workspace exec x --", "there is no command to run", "put it after `--`, such as: -- ls -l"),
        ("pyro run debian:12 ls", "run takes no \"ls\"", "put the command after `--`, such as: -- ls -l"),
        ("pyro ws exec x --timeout 3 -- ls", "workspace exec takes no \"--timeout\"", "did you mean --timeout-seconds?"),
        ("pyro run -l -- ls", "run takes no \"-l\"", "flags of the command itself go after `--`"),
        ("pyro ws stop x --zzzzzz", "workspace stop takes no \"--zzzzzz\"", "workspace stop --help shows its flags"),
        ("pyro ws exec x --timeout-seconds 0 -- ls", "timeout_seconds 0 is not between 1 and 604800", ""),
        ("pyro ws exec x --timeout-seconds soon -- ls", "timeout_seconds \"soon\" is not a whole number between 1 and 604800", ""),
        ("pyro ws file list x --depth many", "depth \"many\" is not a whole number that fits here", ""),
        ("pyro ws list --state asleep", "state \"asleep\" is not one of starting, running, stopping, stopped, failed", ""),
        (
            "pyro ws list --state stoped",
            "state \"stoped\" is not one of starting, running, stopping, stopped, failed",
            "did you mean stopped?",
        ),
        ("pyro ws create --label a", "label \"a\" has no '='", "write KEY=VALUE, such as branch=main"),
        ("pyro ws create --reuse", "reuse needs a name to look for", "add name"),
        ("pyro ws update x", "nothing to change", "give a name, labels, labels to clear or ttl_seconds"),
        ("pyro ws job logs x jobs", "\"jobs\" is not a job", "such as job3; workspace job list shows them"),
        (
            "pyro ws job logs x job3 --lines 5-2",
            "lines \"5-2\" are no lines",
            "such as 40-80, 40- (to the end), -50 (the last 50) or 40",
        ),
        (
            "pyro run --isolation strong -- ls",
            "\"strong\" is not a level of isolation",
            "namespaces or microvm, and guarantees such as memory_limit after a comma",
        ),
        ("pyro env build deb/../x", "\"deb/../x\" is not the name of an environment", "such as debian:12; env list shows them"),
        ("pyro completions fsh", "shell \"fsh\" is not one of bash, elvish, fish, powershell, zsh", "did you mean fish or zsh?"),
        ("pyro ws file read x y --offset", "offset has no value", ""),
    ];
    for (line, sentence, hint) in cases {
        let error = refused(line);
        assert_eq!((error.message.as_str(), error.hint.as_deref().unwrap_or_default()), (sentence, hint), "{line}");
        assert_eq!((error.kind, error.exit_code()), (ErrorKind::Invalid, 2), "{line}");
    }
}

#[test]
fn flags_become_the_request() {
    let line = "pyro run --env A=1 --env B=2 --cwd src --seed-path /src/x --mem-mib 64 host -- sh -c 'exit 3'";
    let matches = tree::parse(&words(line)).expect("a command line");
    let (path, matches) = tree::chosen(&matches);
    let request = request(table::find(&path).expect("run"), matches).expect("a request");
    let wanted = json!({
        "environment": "host", "seed_path": "/src/x", "cwd": "src", "env": ["A=1", "B=2"], "timeout_seconds": 30, "vcpu_count": 1,
        "mem_mib": 64, "disk_mib": 16384, "isolation": "namespaces", "command": ["sh", "-c", "exit 3"]
    });
    assert_eq!(request, wanted);
}

#[test]
fn relative_host_paths_are_made_absolute() {
    let matches = tree::parse(&words("pyro ws create --seed-path sub/dir")).expect("a command line");
    let request = request(table::find("workspace create").expect("an op"), tree::chosen(&matches).1).expect("a request");
    let here = std::env::current_dir().expect("a current directory");
    assert_eq!(request["seed_path"], json!(here.join("sub/dir")));
}

#[test]
fn content_is_text_when_it_is_text_else_base64() {
    let filled = |bytes: &[u8]| {
        let mut request = json!({});
        content::fill(&mut request, "text", &mut &bytes[..]).map(|()| request)
    };
    assert_eq!(filled(b"hi\n").expect("text"), json!({"text": "hi\n"}));
    assert_eq!(filled(b"").expect("text"), json!({"text": ""}));
    assert_eq!(filled(b"\xff\x00").expect("bytes"), json!({"base64": "/wA="}));
    let mut endless = std::io::repeat(b'x');
    let error = content::fill(&mut json!({}), "text", &mut endless).expect_err("too long");
    assert_eq!(error.kind, ErrorKind::Limit);
}

#[test]
fn errors_are_a_sentence_and_a_hint_with_nothing_that_a_terminal_obeys() {
    let error = Error::not_found("no workspace \u{1b}[31mred").hint("did you mean brave-otter?");
    assert_eq!(terminal::error_text(&error, false), "pyro: no workspace \\u{1b}[31mred\nhint: did you mean brave-otter?\n");
    assert_eq!(
        super::error_json(&error),
        json!({"error": {"kind": "not_found", "message": "no workspace \u{1b}[31mred", "hint": "did you mean brave-otter?"}})
    );
}

#[test]
fn the_status_is_the_commands_own_or_says_how_it_ended() {
    let cases = [
        (json!({"kind": "exited", "code": 3}), 3),
        (json!({"kind": "signaled", "signal": 15, "name": "SIGTERM"}), 143),
        (json!({"kind": "timed_out", "after_seconds": 30}), 124),
        (json!({"kind": "out_of_memory", "limit_mib": 64}), 137),
        (json!({"kind": "cancelled"}), 130),
        (json!({"kind": "not_started", "reason": "not found", "code": 127}), 127),
        (json!({"kind": "sandbox_lost", "reason": "killed"}), 125),
    ];
    for (outcome, code) in cases {
        let status = exit_code(table::find("run").expect("run"), &json!({ "outcome": outcome })).expect("a status");
        assert_eq!(format!("{status:?}"), format!("{:?}", std::process::ExitCode::from(code)));
    }
    let doctor =
        |ok: bool| format!("{:?}", exit_code(table::find("doctor").expect("doctor"), &json!({ "ok": ok })).expect("a status"));
    assert_eq!(doctor(true), format!("{:?}", std::process::ExitCode::SUCCESS));
    assert_eq!(doctor(false), format!("{:?}", std::process::ExitCode::from(1)));
}

/// Remembers what it was asked; answers what it was told to.
struct Scripted {
    asked: Mutex<RefCell<Vec<(String, Value)>>>,
    answer: fn() -> Result<Value>,
}

impl Calls for Scripted {
    fn call(&self, op: &str, request: Value, session: &mut Session<'_>) -> Result<Value> {
        assert!(session.signals.is_some(), "a person can always take a call back");
        self.asked.lock().expect("one thread").borrow_mut().push((op.to_owned(), request));
        (self.answer)()
    }
}

#[test]
fn a_call_goes_out_once_and_its_error_comes_back() {
    let calls = Scripted { asked: Mutex::default(), answer: || Err(Error::conflict("it is stopping")) };
    let global = super::Global { json: true, quiet: true, color: false, red: false };
    let op = table::find("workspace stop").expect("an op");
    let error = super::call(&calls, op, json!({"workspace": "x"}), global).expect_err("the scripted error");
    assert_eq!((error.message.as_str(), error.exit_code()), ("it is stopping", 125));
    assert_eq!(*calls.asked.lock().expect("one thread").borrow(), [("workspace stop".to_owned(), json!({"workspace": "x"}))]);
}
