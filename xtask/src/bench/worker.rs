//! The process that runs and times. One for each way of being (root, a user; with or without a changed cgroup tree), so that the
//! same few lines measure every candidate and switching between candidates costs nothing.
//!
//! It reads one JSON request a line and answers one JSON line. Wall time is from before the spawn to after the wait. Processor time is
//! what the kernel accounts to children that have been waited for; processes that a candidate leaves behind are adopted and
//! waited for too, after the clock has stopped.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::project::{Context as _, Failure, Result};

/// First argument of the program in this role.
pub const ROLE: &str = "@bench-worker";

/// How long a candidate's leftovers may take before they are taken for something that stays (podman's pause process).
const ADOPTION: Duration = Duration::from_millis(500);

/// What to do and time.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Run these commands, one after the other.
    Run {
        /// Program and arguments of each.
        steps: Vec<Vec<String>>,
        /// Wait for what they leave behind, so that its processor time counts.
        adopt: bool,
    },
    /// Start an MCP server and shake hands.
    McpStart {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Call a tool of it.
    McpCall {
        /// Which.
        tool: String,
        /// With what.
        arguments: Value,
    },
    /// End it.
    McpStop,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Wall time, milliseconds.
    pub wall_ms: f64,
    /// Processor time of everything that was waited for, milliseconds.
    pub cpu_ms: Option<f64>,
    /// Why it does not count.
    pub error: Option<String>,
}

/// Serves requests until standard input ends.
pub fn serve() -> Result {
    set_child_subreaper(true).context("adopt what candidates leave behind")?;
    let mut worker = Worker { errors: scratch_file()?, stayers: Vec::new(), mcp: None };
    for line in std::io::stdin().lock().lines() {
        let request = serde_json::from_str(&line.context("request")?).context("request")?;
        let reply =
            worker.answer(request).unwrap_or_else(|failure| Reply { wall_ms: 0.0, cpu_ms: None, error: Some(failure.to_string()) });
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &reply).context("reply")?;
        out.write_all(b"\n").and_then(|()| out.flush()).context("reply")?;
    }
    worker.mcp.take().map_or(Ok(()), Mcp::stop)
}

struct Worker {
    errors: File,
    stayers: Vec<i32>,
    mcp: Option<Mcp>,
}

impl Worker {
    fn answer(&mut self, request: Request) -> Result<Reply> {
        match request {
            Request::Run { steps, adopt } => self.run(&steps, adopt),
            Request::McpStart { argv } => timed(|| {
                self.mcp = Some(Mcp::start(&argv)?);
                Ok(())
            }),
            Request::McpCall { tool, arguments } => {
                let mcp = self.mcp.as_mut().ok_or_else(|| Failure::new("no server was started"))?;
                timed(|| mcp.call(&tool, &arguments))
            }
            Request::McpStop => timed(|| self.mcp.take().map_or(Ok(()), Mcp::stop)),
        }
    }

    fn run(&mut self, steps: &[Vec<String>], adopt: bool) -> Result<Reply> {
        self.errors.set_len(0).and_then(|()| self.errors.rewind()).context("scratch file")?;
        let commands: Result<Vec<Command>> = steps.iter().map(|step| self.command(step)).collect();
        let mut error = None;
        let cpu_before = children_cpu_ms()?;
        let start = Instant::now();
        for mut command in commands? {
            let status = command.status().context(command.get_program().to_string_lossy())?;
            if !status.success() {
                error = Some(status.to_string());
                break;
            }
        }
        let wall_ms = start.elapsed().as_secs_f64() * 1000.0;
        if adopt {
            self.adopt()?;
        }
        let cpu_ms = Some(children_cpu_ms()? - cpu_before);
        let error = match error {
            None => None,
            Some(status) => Some(format!("{status}: {}", self.last_error()?)),
        };
        Ok(Reply { wall_ms, cpu_ms, error })
    }

    fn command(&self, step: &[String]) -> Result<Command> {
        let (program, arguments) = step.split_first().ok_or_else(|| Failure::new("a step needs a program"))?;
        let errors = self.errors.try_clone().context("scratch file")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Ok(command)
    }

    fn last_error(&mut self) -> Result<String> {
        let mut text = String::new();
        self.errors.rewind().and_then(|()| self.errors.read_to_string(&mut text)).context("scratch file")?;
        Ok(text.trim().lines().next_back().unwrap_or("it said nothing").to_owned())
    }

    /// Waits for adopted processes, except those that have been seen to stay.
    fn adopt(&mut self) -> Result {
        let deadline = Instant::now() + ADOPTION;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return Ok(()),
                Err(error) => {
                    return Err(Failure::new(format!("wait for what was left behind: {error}")));
                }
                Ok(WaitStatus::StillAlive) => {
                    let alive = children();
                    if alive.iter().all(|pid| self.stayers.contains(pid)) {
                        return Ok(());
                    }
                    if Instant::now() > deadline {
                        self.stayers = alive;
                        return Ok(());
                    }
                    std::thread::yield_now();
                }
                Ok(_) => {}
            }
        }
    }
}

fn timed(work: impl FnOnce() -> Result) -> Result<Reply> {
    let start = Instant::now();
    work()?;
    Ok(Reply { wall_ms: start.elapsed().as_secs_f64() * 1000.0, cpu_ms: None, error: None })
}

fn children_cpu_ms() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("processor time of children")?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one benchmark fit in 52 bits")]
    let ms = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1000.0;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}

fn children() -> Vec<i32> {
    let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// An unnamed file for standard error: a pipe would have to be emptied while the clock runs.
fn scratch_file() -> Result<File> {
    let path = std::env::temp_dir().join(format!("pyro-bench-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).context(path.display())?;
    fs::remove_file(&path).context(path.display())?;
    Ok(file)
}

/// A small MCP client over the standard streams of a server: enough to shake hands and call a tool.
struct Mcp {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next_id: u64,
}

impl Mcp {
    fn start(argv: &[String]) -> Result<Self> {
        let (program, arguments) = argv.split_first().ok_or_else(|| Failure::new("a server needs a program"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context(program)?;
        let stdin = child.stdin.take().expect("stdin was asked for");
        let stdout = BufReader::new(child.stdout.take().expect("stdout was asked for"));
        let mut mcp = Self { child, stdin, stdout, next_id: 1 };
        let client = json!({ "name": "pyro-bench", "version": env!("CARGO_PKG_VERSION") });
        mcp.request("initialize", &json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client }))?;
        mcp.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(mcp)
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Result {
        let result = self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))?;
        if result["isError"] == true {
            return Err(Failure::new(format!("{tool}: {}", result["content"][0]["text"])));
        }
        Ok(())
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.stdout.read_line(&mut line).context("the server's answer")? == 0 {
                return Err(Failure::new(format!("the server ended while {method} was asked")));
            }
            let mut answer: Value = serde_json::from_str(&line).context("the server's answer")?;
            if answer["id"] == id {
                return match answer["error"].take() {
                    Value::Null => Ok(answer["result"].take()),
                    error => Err(Failure::new(format!("{method}: {}", error["message"]))),
                };
            }
        }
    }

    fn send(&mut self, message: &Value) -> Result {
        let mut line = message.to_string();
        line.push('\n');
        self.stdin.write_all(line.as_bytes()).and_then(|()| self.stdin.flush()).context("the server's standard input")
    }

    fn stop(self) -> Result {
        let Self { mut child, stdin, stdout, .. } = self;
        drop((stdin, stdout));
        child.wait().context("the server's end").map(drop)
    }
}
