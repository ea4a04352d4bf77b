//! A server for models that is killed takes nothing with it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{SEEN_OUTSIDE, mark, namespaces_case, wait_until_gone};

#[test]
fn a_killed_server_leaves_workspaces_usable() {
    namespaces_case(SEEN_OUTSIDE, |env| {
        let ws = env.name("served");
        let mark = mark(50);
        let mut server = env.command(&["mcp", "serve"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start pyro");
        let mut to = server.stdin.take().expect("stdin is piped");
        let mut from = BufReader::new(server.stdout.take().expect("stdout is piped"));
        let mut say = |message: Value| writeln!(to, "{message}").expect("the server reads");
        let mut hear = |id: u64| loop {
            let mut line = String::new();
            assert!(from.read_line(&mut line).expect("the server writes") > 0, "the server ended");
            let message: Value = serde_json::from_str(&line).expect("JSON");
            if message["id"] == id {
                return message;
            }
        };
        let client = json!({ "name": "test", "version": "1" });
        say(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize",
                    "params": { "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client } }));
        assert!(hear(1)["result"]["serverInfo"].is_object());
        say(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        say(
            json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "workspace_create", "arguments": { "name": ws } } }),
        );
        let made = hear(2);
        assert!(made["result"]["isError"] != true && made["error"].is_null(), "{made:#}");
        say(json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call",
                    "params": { "name": "workspace_exec", "arguments": { "workspace": ws, "command": "echo kept >kept" } } }));
        let ran = hear(3);
        assert!(ran["result"]["isError"] != true && ran["error"].is_null(), "{ran:#}");
        // One that is still running when the server dies.
        say(json!({ "jsonrpc": "2.0", "id": 4, "method": "tools/call",
                    "params": { "name": "workspace_exec", "arguments": { "workspace": ws, "command": format!("sleep {mark}"), "timeout_seconds": 600 } } }));
        env.wait_for("the command to run", || (!pyro_testkit::processes_with(&mark).is_empty()).then_some(()));
        server.kill().expect("kill it");
        server.wait().expect("it is dead");
        wait_until_gone(env, &mark);
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "cat", "kept"]).expect_ok().stdout, "kept\n");
        let view: Value = env.json(&["workspace", "status", &ws]);
        assert_eq!(view["state"], "running");
    });
}
