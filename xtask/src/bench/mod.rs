//! Side-by-side timings in one run: pyro and its peers on the same root file system, command, user and machine.
//!
//! Candidates take turns (A B C A B C …), so that whatever else the machine does falls on all of them. A candidate that is not
//! installed or does not work is listed with the reason and never with a number. No figure is asserted anywhere.

mod files;
mod layers;
mod machines;
mod peers;
mod report;
pub mod worker;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::project::{self, Context as _, Failure, Result, is_root, root, target};
use crate::setup;
use crate::users::{self, Ids, User};
use peers::{Candidate, Setting, candidates};
use report::{Row, Section, Series};
use worker::{Reply, Request};

/// How long nobody has used a workspace that is called idle.
const IDLE: std::time::Duration = std::time::Duration::from_secs(2);

/// Where the kernel's v2 tree is in a hybrid layout.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Runs before anything counts: files are in the page cache and directories have been made.
const WARM_UP: u32 = 3;

struct Options {
    repetitions: u32,
    rootfs: Option<PathBuf>,
    write: bool,
}

/// `cargo xtask bench`.
pub fn task(words: &[&str]) -> Result {
    match words {
        ["layers", words @ ..] => return layers::task(&options(words)?),
        ["files", words @ ..] => return files::task(&options(words)?),
        _ => {}
    }
    let options = options(words)?;
    let actors = actors()?;
    let mut sections = Vec::new();
    for actor in &actors {
        println!("\n== as {}", actor.who);
        sections.extend(measure(actor, &options)?);
    }
    let text = report::render(&sections, options.repetitions, &peers::versions(), &actors[0].pyro)?;
    println!("\n{text}");
    if options.write {
        let file = root().join("docs/benchmarks.md");
        fs::write(&file, &text).context(file.display())?;
    }
    Ok(())
}

/// Everybody who is measured: whoever calls, and as root both kinds of ordinary users.
fn actors() -> Result<Vec<Actor>> {
    setup::ensure(&[setup::For::Use, setup::For::Bench])?;
    let binary = project::build_release()?;
    let mut actors = vec![Actor::myself(&binary)?];
    if is_root() {
        for ids in [Ids::Range, Ids::Single] {
            actors.push(Actor::user(users::ensure(ids)?, ids, &binary)?);
        }
    }
    Ok(actors)
}

fn options(words: &[&str]) -> Result<Options> {
    let mut options = Options { repetitions: 50, rootfs: None, write: true };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| Failure::new(format!("{word} needs a value")));
        match *word {
            "--repetitions" => options.repetitions = value()?.parse().context("--repetitions")?,
            "--rootfs" => options.rootfs = Some(fs::canonicalize(value()?).context("--rootfs")?),
            "--no-write" => options.write = false,
            other => return Err(Failure::new(format!("bench has no option {other:?}"))),
        }
    }
    if options.repetitions == 0 {
        return Err(Failure::new("--repetitions must be at least 1"));
    }
    Ok(options)
}

/// Somebody to measure as.
struct Actor {
    who: String,
    pyro: PathBuf,
    xtask: PathBuf,
    home: PathBuf,
    scratch: PathBuf,
    user: Option<User>,
    range: Option<(u32, u32)>,
}

impl Actor {
    fn myself(pyro: &Path) -> Result<Self> {
        let scratch = target().join("bench");
        fs::create_dir_all(&scratch).context(scratch.display())?;
        let xtask = std::env::current_exe().context("own path")?;
        // As it is when it was installed: a copy starts some tenths of a millisecond sooner than the file that the linker wrote. That it is
        // held in larger pages by the kernel's cache would explain it, and was not looked into.
        let installed = scratch.join("pyro");
        fs::copy(pyro, &installed).context(installed.display())?;
        let who = if is_root() { "root" } else { "this user" }.to_owned();
        let range = if is_root() { None } else { users::range(&std::env::var("USER").unwrap_or_default()) };
        Ok(Self { who, pyro: installed, xtask, home: project::home(), scratch, user: None, range })
    }

    fn user(user: User, ids: Ids, pyro: &Path) -> Result<Self> {
        let pyro = user.stage(pyro)?;
        let xtask = user.stage(&std::env::current_exe().context("own path")?)?;
        let scratch = user.stage.join("bench");
        fs::create_dir_all(&scratch).context(scratch.display())?;
        chown(&scratch, Some(user.uid), Some(user.gid)).context(scratch.display())?;
        let range = if ids == Ids::Range { users::range(&user.name) } else { None };
        Ok(Self { who: ids.words().to_owned(), pyro, xtask, home: user.home(), scratch, range, user: Some(user) })
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        self.user.as_ref().map_or_else(|| vec![("PYRO_HOME", self.home.to_string_lossy().into_owned())], User::environment)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = self.user.as_ref().map_or_else(|| Command::new(program), |user| user.command(program));
        command.envs(self.environment());
        command
    }

    /// Runs pyro outside of any measurement and gives its JSON.
    fn pyro(&self, arguments: &[&str]) -> Result<Value> {
        let output = project::output(self.command(&self.pyro).args(arguments).arg("--json"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr }).into_owned();
            return Err(Failure::new(format!("pyro {}: {}", arguments.join(" "), text.trim())));
        }
        serde_json::from_slice(&output.stdout).context(format!("what pyro {} printed", arguments.join(" ")))
    }

    /// The root file system of the environment that pyro built for this user.
    fn environment_root(&self) -> Result<PathBuf> {
        self.pyro(&["env", "build", "debian:12"])?;
        let manifest = self.home.join("environments/debian_12/manifest.json");
        let manifest: Value =
            serde_json::from_slice(&fs::read(&manifest).context(manifest.display())?).context(manifest.display())?;
        let mount = manifest["mounts"].as_array().into_iter().flatten().find(|mount| mount["at"] == "/");
        let source = mount
            .and_then(|mount| mount["source"].as_str())
            .ok_or_else(|| Failure::new("the environment's manifest has no mount at /"))?;
        let layer = self.home.join(source);
        // A layer keeps what is at `/` in its `root` folder.
        Ok(if layer.join("root").is_dir() && !layer.join("bin").exists() { layer.join("root") } else { layer })
    }

    fn ids(&self) -> (u32, u32) {
        self.user.as_ref().map_or_else(
            || fs::metadata("/proc/self").map_or((0, 0), |metadata| (metadata.uid(), metadata.gid())),
            |user| (user.uid, user.gid),
        )
    }

    /// Starts a worker as this actor, on request where the v2 cgroup tree of a hybrid layout is not mounted.
    fn worker(&self, one_cgroup_tree: bool) -> Result<Worker> {
        let mut command = if one_cgroup_tree && is_hybrid() {
            if !is_root() {
                return Err(Failure::new(
                    "cgroups are in a hybrid layout, which it refuses, and only root can hide one tree from it",
                ));
            }
            let (uid, gid) = self.ids();
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", "umount \"$0\" && exec \"$@\"", UNIFIED, "setpriv"]);
            command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]).arg(&self.xtask);
            if self.user.is_some() {
                command.env_clear();
            }
            command.envs(self.environment());
            command
        } else {
            self.command(&self.xtask)
        };
        command.current_dir(&self.scratch).arg(worker::ROLE).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context(project::shown(&command))?;
        let stdin = child.stdin.take().expect("stdin was asked for");
        let stdout = BufReader::new(child.stdout.take().expect("stdout was asked for"));
        Ok(Worker { child, stdin, stdout, number: 0 })
    }
}

fn is_hybrid() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let has = |kind: &str, at: &str| {
        mounts.lines().any(|line| {
            let mut fields = line.split(' ').skip(1);
            fields.next().is_some_and(|path| at.is_empty() || path == at) && fields.next() == Some(kind)
        })
    };
    has("cgroup", "") && has("cgroup2", UNIFIED)
}

/// Our end of a worker.
struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    number: u64,
}

impl Worker {
    fn ask(&mut self, request: &Request) -> Result<Reply> {
        let mut line = serde_json::to_string(request).context("request")?;
        line.push('\n');
        self.stdin.write_all(line.as_bytes()).and_then(|()| self.stdin.flush()).context("a worker")?;
        line.clear();
        self.stdout.read_line(&mut line).context("a worker")?;
        if line.is_empty() {
            return Err(Failure::new("a worker ended early"));
        }
        serde_json::from_str(&line).context("a worker's answer")
    }

    /// Runs one command; its failure is an error.
    fn run(&mut self, argv: &[String], adopt: bool) -> Result<Reply> {
        checked(self.try_run(argv, adopt)?)
    }

    /// Runs the proof: it must end with its own exit status.
    fn prove(&mut self, argv: &[String]) -> Result {
        match self.try_run(argv, true)?.error {
            Some(error) if error.starts_with(peers::PROOF_STATUS) => Ok(()),
            Some(error) => Err(Failure::new(error)),
            None => Err(Failure::new("it ended well without running the command")),
        }
    }

    fn try_run(&mut self, argv: &[String], adopt: bool) -> Result<Reply> {
        self.number += 1;
        let number = self.number.to_string();
        let argv = argv.iter().map(|word| word.replace("{n}", &number)).collect();
        self.ask(&Request::Run { steps: vec![argv], adopt })
    }

    fn stop(self) -> Result {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        child.wait().context("a worker's end").map(drop)
    }
}

fn checked(reply: Reply) -> Result<Reply> {
    match &reply.error {
        None => Ok(reply),
        Some(error) => Err(Failure::new(error.clone())),
    }
}

fn measure(actor: &Actor, options: &Options) -> Result<Vec<Section>> {
    let built = actor.environment_root();
    let rootfs = match (&options.rootfs, &built) {
        (Some(rootfs), _) | (None, Ok(rootfs)) => rootfs.clone(),
        (None, Err(failure)) => {
            let row = Row {
                name: "everything".to_owned(),
                note: String::new(),
                outcome: Err(format!("there is no root file system: {failure}")),
            };
            return Ok(vec![Section { title: format!("As {}", actor.who), rows: vec![row] }]);
        }
    };
    let one_shot = one_shots(actor, options, &rootfs)?;
    let workspace = match built {
        Ok(_) => workspaces(actor, options).unwrap_or_else(|failure| vec![Row::new("workspaces", "", Err(failure))]),
        Err(failure) => vec![Row::new("workspaces", "", Err(failure))],
    };
    Ok(vec![
        Section { title: format!("One command in a fresh sandbox, as {}", actor.who), rows: one_shot },
        Section { title: format!("Workspaces, as {}", actor.who), rows: workspace },
        Section {
            title: format!("Machines with a kernel of their own, as {}", actor.who),
            rows: machines::machines(actor, options).unwrap_or_else(|failure| vec![Row::new("machines", "", Err(failure))]),
        },
    ])
}

/// `/bin/true` in a fresh sandbox, by every candidate in turn.
fn one_shots(actor: &Actor, options: &Options, rootfs: &Path) -> Result<Vec<Row>> {
    let setting = Setting { pyro: &actor.pyro, rootfs, scratch: &actor.scratch, ids: actor.ids(), range: actor.range };
    let mut plain = actor.worker(false)?;
    let mut hidden = actor.worker(true);
    let proofs = candidates(&setting, peers::PROOF)?;
    let mut racers = Vec::new();
    for (candidate, proof) in candidates(&setting, peers::TRUE)?.into_iter().zip(proofs) {
        let worker = worker_for(&candidate, &mut plain, &mut hidden);
        racers.push((
            candidate,
            worker.and_then(|worker| worker.prove(&proof.argv)).map(|()| Series::default()).map_err(|f| f.to_string()),
        ));
    }
    for repetition in 0..WARM_UP + options.repetitions {
        for (candidate, outcome) in &mut racers {
            let Ok(series) = outcome else { continue };
            match worker_for(candidate, &mut plain, &mut hidden).and_then(|worker| worker.run(&candidate.argv, true)) {
                Ok(reply) if repetition >= WARM_UP => series.push(&reply),
                Ok(_) => {}
                Err(failure) => *outcome = Err(failure.to_string()),
            }
        }
    }
    plain.stop()?;
    if let Ok(worker) = hidden {
        worker.stop()?;
    }
    end_podman(actor);
    Ok(racers
        .into_iter()
        .map(|(candidate, outcome)| Row { name: candidate.name.to_owned(), note: candidate.note, outcome })
        .collect())
}

fn worker_for<'a>(candidate: &Candidate, plain: &'a mut Worker, hidden: &'a mut Result<Worker>) -> Result<&'a mut Worker> {
    if !candidate.needs_one_cgroup_tree {
        return Ok(plain);
    }
    hidden.as_mut().map_err(|failure| Failure::new(failure.to_string()))
}

/// Rootless podman leaves a process that keeps its namespaces; it writes down which.
fn end_podman(actor: &Actor) {
    for folder in ["bench/podman-tmp", "run/libpod/tmp"] {
        let file = actor.scratch.parent().unwrap_or(&actor.scratch).join(folder).join("pause.pid");
        if let Ok(pid) = fs::read_to_string(&file)
            && let Ok(pid) = pid.trim().parse()
            && fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with("podman") || name.starts_with("catatonit"))
            && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).is_ok()
        {
            println!("(ended podman's pause process {pid})");
        }
    }
}

/// What a workspace's user waits for.
fn workspaces(actor: &Actor, options: &Options) -> Result<Vec<Row>> {
    let pyro = |words: &[&str]| -> Vec<String> {
        std::iter::once(actor.pyro.to_string_lossy().into_owned()).chain(words.iter().map(|word| (*word).to_owned())).collect()
    };
    let name = format!("bench-{}", std::process::id());
    let mut worker = actor.worker(false)?;
    let version = series(options, |_| worker.run(&pyro(&["--version"]), false));
    let mut created_count = 0;
    let created = series(options, |_| {
        created_count += 1;
        let fresh = format!("{name}-{created_count}");
        let create = pyro(&["workspace", "create", "debian:12", "--name", &fresh]);
        let steps = vec![create, pyro(&["workspace", "exec", &fresh, "--", "/bin/true"])];
        let reply = worker.ask(&Request::Run { steps, adopt: false }).and_then(checked);
        worker.run(&pyro(&["workspace", "delete", &fresh]), false)?;
        reply
    });
    let mut rows = vec![
        Row::new("pyro --version", "start of the process", version),
        Row::new("workspace create + first exec", "two commands of the CLI", created),
    ];

    let before = roles();
    match actor.pyro(&["workspace", "create", "debian:12", "--name", &name]) {
        Ok(_) => {
            let measured = in_workspace(actor, options, &mut worker, &name, &before);
            actor.pyro(&["workspace", "delete", &name])?;
            rows.extend(measured?);
        }
        Err(failure) => rows.push(Row::new("workspace exec", "", Err(failure))),
    }
    worker.stop()?;
    Ok(rows)
}

/// In one workspace that runs: calls by the CLI and by MCP, then its memory.
fn in_workspace(actor: &Actor, options: &Options, worker: &mut Worker, name: &str, before: &[u32]) -> Result<Vec<Row>> {
    let exec = |command: &[&str]| -> Vec<String> {
        let words = ["workspace", "exec", name, "--"].into_iter().chain(command.iter().copied()).map(str::to_owned);
        std::iter::once(actor.pyro.to_string_lossy().into_owned()).chain(words).collect()
    };
    worker.prove(&exec(peers::PROOF))?;
    let by_cli = series(options, |_| worker.run(&exec(peers::TRUE), false));

    let server = vec![actor.pyro.to_string_lossy().into_owned(), "mcp".to_owned(), "serve".to_owned()];
    let mut by_mcp = |command: Value| {
        let call = json!({ "workspace": name, "command": command });
        let ask = || Request::McpCall { tool: "workspace_exec".to_owned(), arguments: call.clone() };
        worker
            .ask(&Request::McpStart { argv: server.clone() })
            .and_then(checked)
            .and_then(|_| series(options, |_| worker.ask(&ask()).and_then(checked)))
            .and_then(|series| worker.ask(&Request::McpStop).map(|_| series))
    };
    let words = by_mcp(json!(peers::TRUE));
    let line = by_mcp(json!(peers::TRUE.join(" ")));
    std::thread::sleep(IDLE);
    Ok(vec![
        Row::new("workspace exec, CLI", "/bin/true in a running workspace, a process for each call", by_cli),
        Row::new("workspace exec, warm MCP", "the same by one MCP connection", words),
        Row::new("… as a shell line", "as models send it: bash is started first", line),
        Row::new(
            "idle workspace, memory",
            "PSS of its supervisor and agent, two seconds after the last command",
            idle_memory(before),
        ),
    ])
}

fn series(options: &Options, mut once: impl FnMut(u32) -> Result<Reply>) -> Result<Series> {
    let mut series = Series::default();
    for repetition in 0..WARM_UP + options.repetitions {
        let reply = once(repetition)?;
        if repetition >= WARM_UP {
            series.push(&reply);
        }
    }
    Ok(series)
}

/// Ids of every process of ours in a role (`@supervisor`, `@agent`, …).
fn roles() -> Vec<u32> {
    let is_role = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            line.split(|byte| *byte == 0).nth(1).is_some_and(|word| word.starts_with(b"@") && word != worker::ROLE.as_bytes())
        })
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_role).collect()
}

/// Memory of the role processes that were not there before.
fn idle_memory(before: &[u32]) -> Result<Series> {
    let mut pss_kib = 0_u32;
    let new: Vec<u32> = roles().into_iter().filter(|pid| !before.contains(pid)).collect();
    if new.is_empty() {
        return Err(Failure::new("no process of the workspace was found"));
    }
    for pid in new {
        pss_kib += self::pss_kib(pid)?;
    }
    Ok(Series::of_kib(pss_kib))
}

/// Memory of a process, its share of what it shares.
fn pss_kib(pid: u32) -> Result<u32> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let table = fs::read_to_string(&file).context(&file)?;
    let value =
        table.lines().find_map(|line| line.strip_prefix("Pss:")).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| Failure::new(format!("{file} has no Pss line")))
}
