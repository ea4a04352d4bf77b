//! Our side of QEMU's control socket: JSON lines (QMP, docs/interop/qmp-spec of QEMU).
//!
//! QEMU is not trusted once its guest runs. Until then it is as good as its package; what it says is bounded all the same.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pyro_api::{Error, Result};
use serde_json::{Value, json};

use super::arguments::STATE_FILE;

/// Longest line that is read. The longest that is asked for is the state of a migration, two thousand bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// How long one command may take. All of them are work of milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// How often it is asked whether the state is written: it takes some ten milliseconds.
const ASK_EVERY: Duration = Duration::from_millis(2);

pub struct Control {
    stream: BufReader<UnixStream>,
}

impl Control {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Tells a copy to take its devices' state and go on. The answer is not waited for: the guest's first word is one.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn resume(&self) -> Result<()> {
        let commands = [negotiate(), share_memory(), json!({ "execute": "migrate-incoming", "arguments": { "uri": STATE_FILE } })];
        commands.iter().try_for_each(|command| self.send(command))
    }

    /// Begins to talk to a machine that boots.
    ///
    /// # Errors
    /// When QEMU is gone or does not speak its protocol.
    pub fn greet(&mut self) -> Result<()> {
        self.stream.get_ref().set_read_timeout(Some(ANSWER_WITHIN)).map_err(|error| lost().because(error))?;
        self.ask(&negotiate()).map(drop)
    }

    /// Stops the machine and writes the state of its devices. Its memory stays where it is.
    ///
    /// # Errors
    /// When QEMU cannot.
    pub fn save(&mut self) -> Result<()> {
        self.ask(&share_memory())?;
        self.ask(&json!({ "execute": "migrate", "arguments": { "uri": STATE_FILE } }))?;
        let begun = Instant::now();
        loop {
            let state = self.ask(&json!({ "execute": "query-migrate" }))?;
            match state["status"].as_str().unwrap_or_default() {
                "completed" => return Ok(()),
                "failed" | "cancelled" => {
                    return Err(refused("to keep a machine", &state["error-desc"]));
                }
                _ if begun.elapsed() > ANSWER_WITHIN => {
                    return Err(Error::timeout("QEMU does not come to an end with a machine's state"));
                }
                _ => std::thread::sleep(ASK_EVERY),
            }
        }
    }

    fn send(&self, command: &Value) -> Result<()> {
        self.stream.get_ref().write_all(command.to_string().as_bytes()).map_err(|error| lost().because(error))
    }

    fn ask(&mut self, command: &Value) -> Result<Value> {
        self.send(command)?;
        loop {
            let mut line = String::new();
            let read = self.stream.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).map_err(|error| lost().because(error))?;
            if read == 0 {
                return Err(lost());
            }
            let mut said: Value = serde_json::from_str(&line).map_err(|error| lost().because(error))?;
            if let Some(answer) = said.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = said.get("error") {
                return Err(refused(command["execute"].as_str().unwrap_or_default(), &error["desc"]));
            }
            // A greeting or an event.
        }
    }
}

fn negotiate() -> Value {
    json!({ "execute": "qmp_capabilities" })
}

/// Memory that is a file of ours is not written into the state.
fn share_memory() -> Value {
    let capability = json!({ "capability": "x-ignore-shared", "state": true });
    json!({ "execute": "migrate-set-capabilities", "arguments": { "capabilities": [capability] } })
}

fn refused(what: &str, why: &Value) -> Error {
    let why = pyro_wire::Untrusted::new(why.as_str().unwrap_or("it does not say why").as_bytes()).escaped();
    Error::unavailable(format!("QEMU refuses {what}: {why}"))
}

fn lost() -> Error {
    Error::sandbox("QEMU does not answer its control socket")
}
