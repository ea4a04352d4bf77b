//! The server as a host sees it, over a pair of streams with rmcp's own client; grants; configuration of hosts; budgets.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use pyro_api::table::{find, of_profile};
use pyro_api::{Error, Profile, Result};
use pyro_host::Session;
use rmcp::model::{CallToolRequestParams, CallToolResult, ClientRequest, Request};
use rmcp::service::{PeerRequestOptions, RoleClient, RunningService, ServiceExt};
use serde_json::{Value, json};

use super::grant::Grants;
use super::hosts::{self, connect_at};
use super::server::Server;
use super::{Options, PROFILES, tokens, tool_json, tools};
use crate::calls::Calls;

type Answer = dyn Fn(&str, Value, &mut Session<'_>) -> Result<Value> + Send + Sync;

/// Does what a test says.
struct Scripted(Box<Answer>);

impl Calls for Scripted {
    fn call(&self, op: &str, request: Value, session: &mut Session<'_>) -> Result<Value> {
        (self.0)(op, request, session)
    }
}

fn options(profile: Profile, roots: &[PathBuf]) -> Options {
    Options { profile, structured: false, grants: Grants::new(roots).expect("directories") }
}

/// Runs a test against a server over a pair of streams.
fn with_server<F, T>(options: Options, answer: Box<Answer>, test: F) -> T
where
    F: AsyncFnOnce(RunningService<RoleClient, ()>) -> T,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(async move {
            let service = Server::new(options, Arc::new(Scripted(answer))).serve(theirs).await.expect("a handshake");
            service.waiting().await.expect("an orderly end");
        });
        let client = ().serve(ours).await.expect("a handshake");
        let result = test(client).await;
        server.await.expect("the server does not panic");
        result
    })
}

fn nothing() -> Box<Answer> {
    Box::new(|op, _, _| Err(Error::internal(format!("{op} is not for this test"))))
}

fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.clone()).collect()
}

fn params(tool: &'static str, arguments: Value) -> CallToolRequestParams {
    let mut params = CallToolRequestParams::new(tool);
    params.arguments = arguments.as_object().cloned();
    params
}

fn called(options: Options, answer: Box<Answer>, tool: &'static str, arguments: Value) -> CallToolResult {
    with_server(options, answer, async |client| {
        let result = client.call_tool(params(tool, arguments)).await.expect("a result");
        client.cancel().await.expect("an orderly end");
        result
    })
}

fn exec_response(out: &str) -> Value {
    let clip = |text: &str| json!({"text": text, "bytes_total": text.len(), "bytes_omitted": 0, "lines_omitted": 0, "bytes_dropped": 0, "binary": false});
    json!({
        "workspace": "brave-otter", "exec": 3, "outcome": {"kind": "exited", "code": 0}, "stdout": clip(out), "stderr": clip(""),
        "duration_ms": 1234
    })
}

#[test]
fn a_profile_lists_its_tools_with_all_annotations() {
    for (_, profile, _) in PROFILES {
        let listed = with_server(options(profile, &[]), nothing(), async |client| {
            let info = client.peer_info().expect("server info").clone();
            assert_eq!(info.server_info.as_ref().map(|server| server.name.as_str()), Some("pyro"));
            let told = info.instructions.clone().expect("instructions");
            assert!(told.len() <= 2048, "{} bytes of instructions", told.len());
            let listed = client.list_all_tools().await.expect("tools");
            client.cancel().await.expect("an orderly end");
            listed
        });
        let names: Vec<&str> = listed.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names, of_profile(profile).filter_map(|op| op.tool).collect::<Vec<_>>());
        for tool in &listed {
            let hints = tool.annotations.as_ref().expect("annotations");
            let all = [hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint];
            assert!(all.iter().all(Option::is_some), "{}", tool.name);
            let destroys = ["workspace_delete", "snapshot_delete"].contains(&tool.name.as_ref());
            assert_eq!(hints.destructive_hint, Some(destroys), "{}", tool.name);
        }
    }
}

#[test]
fn a_call_is_checked_done_and_told_as_text() {
    let answer: Box<Answer> = Box::new(|op, request, _| {
        assert_eq!(op, "workspace exec");
        assert_eq!(request, json!({"workspace": "otter", "timeout_seconds": 3600, "wait_seconds": 45, "command": "ls"}));
        Ok(exec_response("a\nb\u{1b}[2J\n"))
    });
    let arguments = json!({"workspace": "otter", "command": "ls", "cwd": null});
    let result = called(options(Profile::WorkspaceCore, &[]), answer, "workspace_exec", arguments);
    assert_ne!(result.is_error, Some(true));
    assert_eq!(result.structured_content, None);
    assert_eq!(text(&result), "exit 0 in 1.2 s\n--- stdout (untrusted) ---\na\nb\\u{1b}[2J\n--- end ---\n");
}

#[test]
fn structured_results_come_only_when_they_were_asked_for() {
    let options = Options { structured: true, ..options(Profile::WorkspaceCore, &[]) };
    let arguments = json!({"workspace": "otter", "command": "ls"});
    let result = called(options, Box::new(|_, _, _| Ok(exec_response("a"))), "workspace_exec", arguments);
    assert_eq!(result.structured_content, Some(exec_response("a")));
    assert!(text(&result).starts_with("exit 0"));
}

#[test]
fn bad_arguments_and_failures_are_told_in_band() {
    let cases = [
        (json!({"workspace": "otter"}), "invalid: command is missing\nhint: Shell line to run"),
        (json!({"workspace": "otter", "cmd": "ls"}), "invalid: workspace exec takes no \"cmd\"\nhint: did you mean command?"),
        (json!({"workspace": "otter", "command": "ls"}), "not_found: no workspace \"otter\"\nhint: did you mean brave-otter?"),
    ];
    for (arguments, wanted) in cases {
        let answer: Box<Answer> =
            Box::new(|_, _, _| Err(Error::not_found("no workspace \"otter\"").hint("did you mean brave-otter?")));
        let result = called(options(Profile::WorkspaceCore, &[]), answer, "workspace_exec", arguments);
        assert_eq!(result.is_error, Some(true));
        assert_eq!(text(&result), wanted);
    }
}

#[test]
fn a_tool_outside_the_profile_is_unknown() {
    with_server(options(Profile::VmRun, &[]), nothing(), async |client| {
        for tool in ["workspace_exec", "vm_rum"] {
            let error = client.call_tool(params(tool, json!({"command": "ls"}))).await.expect_err("no such tool").to_string();
            assert!(error.contains(&format!("there is no tool \"{tool}\"")) || error.contains(tool), "{error}");
        }
        client.cancel().await.expect("an orderly end");
    });
}

/// Waits until a byte can be read, and gives it.
fn byte(from: BorrowedFd<'_>) -> u8 {
    let mut byte = [9];
    assert_eq!(rustix::io::read(from, &mut byte), Ok(1), "the other end was closed");
    byte[0]
}

#[test]
fn a_cancelled_call_is_taken_back_while_others_go_on() {
    let (started, has_started) = mpsc::channel();
    let (ended, has_ended) = mpsc::channel();
    let (started, ended) = (Mutex::new(started), Mutex::new(ended));
    let answer: Box<Answer> = Box::new(move |op, _, session| {
        if op == "workspace status" {
            return Err(Error::not_found("quick"));
        }
        started.lock().expect("no panic").send(()).expect("the test waits");
        ended.lock().expect("no panic").send(byte(session.signals.expect("signals"))).expect("the test waits");
        Err(Error::new(pyro_api::ErrorKind::Cancelled, "taken back"))
    });
    with_server(options(Profile::WorkspaceCore, &[]), answer, async |client| {
        let exec = Request::new(params("workspace_exec", json!({"workspace": "otter", "command": "sleep 1000"})));
        let long = client
            .send_cancellable_request(ClientRequest::CallToolRequest(exec), PeerRequestOptions::no_options())
            .await
            .expect("a request that goes out");
        tokio::task::spawn_blocking(move || has_started.recv()).await.expect("no panic").expect("the call starts");
        let quick = client.call_tool(params("workspace_status", json!({"workspace": "otter"}))).await.expect("a result");
        assert_eq!(text(&quick), "not_found: quick");
        long.cancel(Some("enough".to_owned())).await.expect("a notification that goes out");
        let signal = tokio::task::spawn_blocking(move || has_ended.recv()).await.expect("no panic").expect("the call ends");
        assert_eq!(signal, 0);
        client.cancel().await.expect("an orderly end");
    });
}

#[test]
fn no_call_waits_longer_than_hosts_do() {
    let waits = |op: &str, request: Value| {
        let mut request = request;
        tools::hold(find(op).expect("an op"), &mut request);
        request["wait_seconds"].clone()
    };
    assert_eq!(waits("workspace exec", json!({})), json!(45));
    assert_eq!(waits("workspace exec", json!({"wait_seconds": 600})), json!(45));
    assert_eq!(waits("workspace job", json!({"wait_seconds": 5})), json!(5));
    assert_eq!(waits("workspace diff", json!({})), Value::Null);
}

#[test]
fn no_result_or_error_is_longer_than_hosts_take() {
    let long = "line of output with \u{202e} in it\n".repeat(20_000);
    let line = "x".repeat(1_000_000);
    for out in [long.as_str(), line.as_str()] {
        let result = tools::success("workspace exec", exec_response(out), false);
        let text = text(&result);
        assert!(text.chars().count() <= tools::RESULT_CHARS_MAX, "{}", text.chars().count());
        assert!(text.starts_with("exit 0 in 1.2 s\n"), "{}", &text[..100]);
    }
    let shown = text(&tools::success("workspace exec", exec_response(&long), false));
    assert!(shown.contains(" lines left out here ...]") && shown.contains("next: workspace_job action=logs job=job3"), "{shown}");
    assert!(shown.contains("\\u{202e}") && !shown.contains('\u{202e}'));
    let error = tools::failure(&Error::sandbox(line.clone()).hint(line), false);
    let text = text(&error);
    assert!(text.chars().count() <= tools::ERROR_CHARS_MAX && text.contains("\nhint: x"), "{}", text.chars().count());
}

#[test]
fn host_paths_are_only_taken_below_granted_directories() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().canonicalize().expect("it exists");
    std::fs::create_dir_all(root.join("granted/src")).expect("directories");
    std::fs::create_dir_all(root.join("private")).expect("directories");
    std::os::unix::fs::symlink(root.join("private"), root.join("granted/out")).expect("a link");
    std::os::unix::fs::symlink(root.join("granted/src"), root.join("in")).expect("a link");
    let grants = Grants::new(&[root.join("granted")]).expect("a directory");
    let checked = |path: &str| {
        let mut request = json!({ "seed_path": path });
        grants.check(&["seed_path"], &[], &mut request).map(|()| request["seed_path"].as_str().unwrap_or_default().to_owned())
    };
    let made = |path: &str| {
        let mut request = json!({ "output": path });
        grants.check(&["output"], &["output"], &mut request).map(|()| request["output"].as_str().unwrap_or_default().to_owned())
    };
    let at = |path: &str| root.join(path).display().to_string();
    assert_eq!(checked(&at("granted/src")).expect("below"), at("granted/src"));
    assert_eq!(checked(&at("in")).expect("leads below"), at("granted/src"));
    assert_eq!(checked(&at("granted/src/../src")).expect("below"), at("granted/src"));
    for outside in ["private", "granted/out", "granted/../private", "absent", "granted-too"] {
        let error = checked(&at(outside)).expect_err(outside);
        assert!(error.message.ends_with("is not below a directory that this server may read"), "{error}");
    }
    assert_eq!(checked(&at("granted/absent")).expect_err("absent").kind, pyro_api::ErrorKind::NotFound);
    assert_eq!(made(&at("granted/src/../new")).expect("a new one below"), at("granted/new"));
    assert_eq!(made(&at("in/new")).expect("leads below"), at("granted/src/new"));
    for outside in ["new", "granted/out/new", "granted/../new", "granted-too/new", "granted/new/.."] {
        made(&at(outside)).expect_err(outside);
    }
    assert_eq!(made(&at("granted/absent/new")).expect_err("no directory").kind, pyro_api::ErrorKind::NotFound);
    checked("src").expect_err("relative");
    let none = Grants::new(&[])
        .expect("nothing")
        .check(&["seed_path"], &[], &mut json!({"seed_path": "/"}))
        .expect_err("nothing is granted");
    assert_eq!(none.hint.as_deref(), Some("a person can allow one: pyro mcp serve --allow-path DIR"));
    Grants::new(&[root.join("absent")]).expect_err("it does not exist");
}

#[test]
fn a_host_is_connected_without_touching_what_is_there() {
    let server = || hosts::Server { program: "/bin/pyro".to_owned(), arguments: vec!["mcp".to_owned(), "serve".to_owned()] };
    for name in hosts::NAMES {
        let directory = tempfile::tempdir().expect("a directory");
        let (home, project) = (directory.path().join("home"), directory.path().join("project"));
        let snippet = connect_at(name, &server(), false, &home, &project).expect("a snippet");
        assert!(snippet.contains("/bin/pyro") && !home.exists() && !project.exists(), "{name}: {snippet}");
        let wrote = connect_at(name, &server(), true, &home, &project).expect("written");
        let file = PathBuf::from(wrote.strip_prefix("wrote ").and_then(|rest| rest.split(';').next()).expect("it says where"));
        assert_eq!(std::fs::read_to_string(&file).expect("written").trim(), snippet.trim(), "{name}");
        assert!(connect_at(name, &server(), true, &home, &project).expect("again").ends_with("has pyro already\n"), "{name}");
        // Beside other settings, in their order.
        let (before, after) = match name {
            "codex" => ("model = \"x\"\n", "model = \"x\"\n\n[mcp_servers.pyro]"),
            _ => ("{\"zeta\": 1, \"alpha\": [2]}", "{\n  \"zeta\": 1,\n  \"alpha\": [\n    2\n  ],\n"),
        };
        std::fs::write(&file, before).expect("written");
        connect_at(name, &server(), true, &home, &project).expect("written");
        let text = std::fs::read_to_string(&file).expect("written");
        assert!(text.starts_with(after) && text.contains("/bin/pyro"), "{name}: {text}");
        if name != "codex" {
            std::fs::write(&file, "// mine\n{}").expect("written");
            let error = connect_at(name, &server(), true, &home, &project).expect_err("not plain JSON");
            assert!(error.hint.is_some_and(|hint| hint.contains("/bin/pyro")), "{name}");
            assert_eq!(std::fs::read_to_string(&file).expect("there"), "// mine\n{}");
        }
    }
}

#[test]
fn tool_lists_stay_within_their_budgets() {
    // Budgets of the contract, in tokens of o200k: name, description and input schema of every tool.
    let budgets = [(Profile::VmRun, 180), (Profile::WorkspaceCore, 1_600), (Profile::WorkspaceFull, 4_500)];
    let tokenizer = bpe_openai::o200k_base();
    for (profile, budget) in budgets {
        let exact: usize = of_profile(profile).map(|op| tokenizer.count(tool_json(op).to_string().as_str())).sum();
        println!("{profile:?}: {exact} tokens, {} estimated", tokens(profile));
        assert!(exact <= budget, "{profile:?}: {exact} tokens, more than {budget}");
        assert!(tokens(profile).abs_diff(exact) * 10 <= exact, "{profile:?}: {exact} tokens, {} estimated", tokens(profile));
    }
}
