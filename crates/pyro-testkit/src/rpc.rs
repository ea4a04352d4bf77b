//! One `pyro rpc` that answers many calls: a case that makes thousands of them does not start a process for each.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{self, Receiver};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::env::{DEADLINE, TestEnv};

/// A connection, ended when it is dropped.
#[derive(Debug)]
pub struct Rpc {
    child: Child,
    /// Taken when it ends.
    stdin: Option<ChildStdin>,
    /// Whole lines of its standard output, read on a thread: reading a pipe has no deadline.
    lines: Receiver<String>,
}

/// How a call was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The response; or the error as it was sent, with its `kind` and `message`.
    pub outcome: Result<Value, Value>,
    /// What the command wrote, if it was one: all of it.
    pub stdout: Vec<u8>,
}

impl Rpc {
    /// Starts one in a home.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(env: &TestEnv) -> Self {
        let mut command = env.command(&["rpc"]);
        command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::inherit());
        let mut child = command.spawn().expect("start pyro");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines }
    }

    /// Makes a call and waits for its answer.
    ///
    /// # Panics
    /// When there is none within [`DEADLINE`], or it is of another shape.
    pub fn answer(&mut self, op: &str, request: &Value) -> Answer {
        let mut line = json!({ "op": op, "request": request, "stream": true }).to_string();
        line.push('\n');
        let stdin = self.stdin.as_mut().expect("it is taken at the end only");
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).expect("pyro rpc reads calls");
        let mut stdout = Vec::new();
        loop {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("no answer to {op} {request}: {error}"));
            let mut reply: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
            if let Some(text) = reply["event"]["stdout"].as_str() {
                stdout.extend(STANDARD.decode(text).expect("output is in base64"));
            } else if let Some(response) = reply.get_mut("response") {
                return Answer { outcome: Ok(response.take()), stdout };
            } else if let Some(error) = reply.get_mut("error") {
                return Answer { outcome: Err(error.take()), stdout };
            }
        }
    }

    /// Makes a call that must go well.
    ///
    /// # Panics
    /// When it does not.
    pub fn call(&mut self, op: &str, request: &Value) -> Value {
        self.answer(op, request).outcome.unwrap_or_else(|error| panic!("{op} {request}: {error}"))
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // One that does not end when its input does is not waited for by a case that has failed already.
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
