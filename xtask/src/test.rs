//! Everything that a change must pass, in the order in which it is quickest to learn of a mistake.
//!
//! The last line is the sum of what the runners counted themselves. A phase that counts nothing (format, lints) adds one failure
//! when it fails and nothing when it passes; a runner that dies before its summary adds one failure.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::counts::Counts;
use crate::project::{self, Context as _, Failure, Result, cargo, is_root, root, target};
use crate::users::{self, Ids};
use crate::{demo, readme, setup};

/// What the conformance cases read: which program to test.
const BINARY: &str = "PYRO_TEST_BINARY";
/// What the conformance cases read: where built environments are kept between runs.
const HOME: &str = "PYRO_TEST_HOME";

/// What the tests of the Firecracker backend read: a program to talk to. Without it they say `SKIPPED`.
const FIRECRACKER: &str = "PYRO_TEST_FIRECRACKER";

/// `cargo xtask test`.
pub fn task(options: &[&str]) -> Result {
    let (mut fast, mut machines) = (false, false);
    let (mut filter, mut past) = (None, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--fast" => fast = true,
            "--machines" => machines = true,
            "--past" => {
                let number = options.next().and_then(|word| word.parse::<u64>().ok());
                past = Some(number.ok_or_else(|| Failure::new("--past needs a number of sequences"))?);
            }
            other if other.starts_with('-') => {
                return Err(Failure::new(format!("test has no option {other:?}")));
            }
            other => filter = Some(other.to_owned()),
        }
    }
    let mut run = Run { counts: Counts::default(), phases: Vec::new() };
    if !fast {
        run.phase("setup", || setup::ensure(&[setup::For::Use, setup::For::Test]).map(|()| None));
        if run.counts.failed > 0 {
            return run.end();
        }
    }
    if let Some(count) = past {
        run.phase(&format!("{count} sequences of the past"), || long_past(count));
        return run.end();
    }
    if filter.is_none() {
        run.phase("format", || project::run(cargo().args(["fmt", "--all", "--check"])).map(|()| None));
        run.phase("lints", || {
            project::run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])).map(|()| None)
        });
    }
    if is_root() {
        run.phase("users", || {
            [Ids::Range, Ids::Single].into_iter().try_for_each(|ids| users::ensure(ids).map(drop)).map(|()| None)
        });
    }
    let mut monitor = std::env::var_os(FIRECRACKER).map(PathBuf::from);
    if !fast && filter.is_none() && monitor.is_none() {
        run.phase("Firecracker, for its tests", || {
            monitor = setup::firecracker()?;
            Ok(None)
        });
    }
    let mut built = None;
    run.phase("build", || {
        built = Some(Built::make()?);
        Ok(None)
    });
    let Some(built) = built else { return run.end() };
    for unit in built.units.iter().filter(|_| filter.is_none()) {
        if unit.needs_root() && !is_root() {
            println!("\n{} changes to other users: it is run when root runs the tests.", unit.title());
            continue;
        }
        run.phase(&unit.title(), || {
            let mut command = unit.command();
            command.envs(monitor.iter().map(|monitor| (FIRECRACKER, monitor)));
            runner(&mut command)
        });
    }
    if filter.is_none() && !fast {
        run.phase("examples in the documentation", || runner(cargo().args(["test", "--workspace", "--doc", "--quiet"])));
    }
    // It takes minutes of one processor, and cases wait more than they compute: it is built behind them.
    let release = (filter.is_none() && !fast && !machines).then(|| std::thread::spawn(project::build_release_behind));
    for case in built.cases.iter().filter(|_| !machines) {
        conformance(&mut run, case, &built, filter.as_deref(), fast)?;
    }
    if machines {
        for case in &built.cases {
            run.phase("cases in machines of their own", || in_machines(case, &project::build_release()?, filter.as_slice()));
        }
        return run.end();
    }
    if filter.is_none() && !fast {
        run.phase("MCP session by the official client", || mcp_session(&built.pyro));
        let mut built_release = None;
        run.phase("build the release", || {
            let joined = release.map(std::thread::JoinHandle::join).ok_or_else(|| Failure::new("it was not begun"))?;
            built_release = Some(joined.map_err(|_| Failure::new("its thread died"))??);
            Ok(None)
        });
        if let Some(release) = built_release {
            for case in &built.cases {
                let slice = MACHINE_SLICE.map(str::to_owned);
                run.phase("cases in machines of their own, a slice", || in_machines(case, &release, &slice));
            }
            run.phase("demo", || demo::tell(&release).map(Some));
            run.phase("tour of the README", || readme::check(&release).map(Some));
        }
    }
    run.end()
}

struct Run {
    counts: Counts,
    phases: Vec<(String, f64, Option<Counts>, bool)>,
}

impl Run {
    /// Does one phase, times it and adds up.
    fn phase(&mut self, name: &str, work: impl FnOnce() -> Result<Option<Counts>>) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = work();
        let seconds = start.elapsed().as_secs_f64();
        let (counts, well) = match outcome {
            Ok(counts) => (counts, counts.is_none_or(|counts| counts.failed == 0)),
            Err(failure) => {
                failure.report();
                (Some(Counts::step(false)), false)
            }
        };
        self.counts += counts.unwrap_or_default();
        println!("== {name}: {}, {seconds:.1} s", if well { "ok" } else { "FAILED" });
        self.phases.push((name.to_owned(), seconds, counts, well));
    }

    fn end(self) -> Result {
        println!("\n== summary");
        for (name, seconds, counts, well) in &self.phases {
            let word = if *well { "ok" } else { "FAILED" };
            let detail = match counts {
                Some(Counts { passed, failed, skipped: 0 }) => format!("{passed} passed, {failed} failed"),
                Some(Counts { passed, failed, skipped }) => format!("{passed} passed, {failed} failed, {skipped} skipped"),
                None => String::new(),
            };
            println!("{word:>6} {seconds:7.1} s  {name}  {detail}");
        }
        if self.counts.skipped > 0 {
            println!("{} skipped: each has said why above", self.counts.skipped);
        }
        println!("{} passed, {} failed", self.counts.passed, self.counts.failed);
        if self.counts.failed == 0 { Ok(()) } else { Err(Failure::reported()) }
    }
}

/// One test program.
struct TestProgram {
    package: String,
    name: String,
    file: PathBuf,
    folder: PathBuf,
}

impl TestProgram {
    fn title(&self) -> String {
        if self.package == self.name { self.name.clone() } else { format!("{}: {}", self.package, self.name) }
    }

    /// It launches sandboxes as several users, without the `pyro` program.
    fn needs_root(&self) -> bool {
        self.package == "pyro-host" && self.name == "namespaces"
    }

    /// The command that runs all of it, where Cargo would run it.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

/// What Cargo built for the tests.
struct Built {
    units: Vec<TestProgram>,
    /// The programs of conformance cases: they need `pyro`, a host that can isolate, and are run as several users.
    cases: Vec<TestProgram>,
    pyro: PathBuf,
}

impl Built {
    fn make() -> Result<Self> {
        let mut build = cargo();
        build.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]).stdout(Stdio::piped());
        println!("+ {}", project::shown(&build));
        let mut child = build.spawn().context("cargo")?;
        let mut built = Self { units: Vec::new(), cases: Vec::new(), pyro: PathBuf::new() };
        for line in BufReader::new(child.stdout.take().expect("stdout was asked for")).lines() {
            let Ok(message) = serde_json::from_str::<serde_json::Value>(&line.context("cargo's messages")?) else {
                continue;
            };
            let Some(file) = message["executable"].as_str() else {
                continue;
            };
            let name = message["target"]["name"].as_str().unwrap_or_default().to_owned();
            let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
            if message["profile"]["test"] == true {
                let folder = Path::new(message["manifest_path"].as_str().unwrap_or_default()).parent().unwrap_or(root()).to_owned();
                let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let is_case = kind == "test" && package == "pyro" && name == "it";
                let program = TestProgram { package, name, file: file.into(), folder };
                if is_case { built.cases.push(program) } else { built.units.push(program) }
            } else if name == "pyro" && kind == "bin" {
                built.pyro = file.into();
            }
        }
        let status = child.wait().context("cargo")?;
        if !status.success() {
            return Err(Failure::new(format!("cargo test --no-run: {status}")));
        }
        built.units.sort_by(|a, b| a.file.cmp(&b.file));
        if built.pyro.as_os_str().is_empty() {
            built.pyro = project::built().join("debug/pyro");
        }
        Ok(built)
    }
}

/// Runs a test program, shows what it prints as it comes, and counts what it says.
fn runner(command: &mut Command) -> Result<Option<Counts>> {
    let (text, well) = teed(command)?;
    let mut counts = Counts::of_libtest(&text).ok_or_else(|| Failure::new("the runner never came to its summary"))?;
    if !well && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(Some(counts))
}

/// Standard output, also shown; and whether it ended well.
fn teed(command: &mut Command) -> Result<(String, bool)> {
    std::io::stdout().flush().context("standard output")?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context(project::shown(command))?;
    let mut text = Vec::new();
    let mut reader = BufReader::new(child.stdout.take().expect("stdout was asked for"));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("output of a runner")? > 0 {
        std::io::stdout().write_all(&line).context("standard output")?;
        text.append(&mut line);
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), child.wait().context("a runner")?.success()))
}

/// Runs the conformance cases as every user that this user can be.
fn conformance(run: &mut Run, cases: &TestProgram, built: &Built, filter: Option<&str>, fast: bool) -> Result {
    let mut arguments: Vec<OsString> = vec!["--show-output".into()];
    arguments.extend(filter.map(OsString::from));
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        // They wait more than they compute: half as many again as there are processors keep those busy.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        arguments.push(format!("--test-threads={}", processors + processors / 2).into());
    }
    let who = if is_root() { "root" } else { "this user" };
    run.phase(&format!("cases as {who}"), || {
        let home = project::home();
        runner(cases.command().args(&arguments).env(BINARY, &built.pyro).env(HOME, &home))
    });
    if fast {
        return Ok(());
    }
    if !is_root() {
        println!("\nThe cases of root, and of users with and without a range of ids, are run when root runs the tests.");
        return Ok(());
    }
    for ids in [Ids::Range, Ids::Single] {
        run.phase(&format!("cases as {}", ids.words()), || {
            let user = users::ensure(ids)?;
            let program = user.stage(&cases.file)?;
            let pyro = user.stage(&built.pyro)?;
            let mut command = user.command(&program);
            command.args(&arguments).env(BINARY, &pyro).env(HOME, user.home());
            for name in ["PYRO_TEST_REQUIRE", "RUST_TEST_THREADS"] {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
            runner(&mut command)
        });
    }
    Ok(())
}

/// Cases that are also told of machines with a kernel of their own each time; all of them are told by `--machines`. What only machines promise
/// (`machine::`) is among the cases of every user.
const MACHINE_SLICE: [&str; 5] = ["diff::", "exec::", "files::", "run::", "workspace::"];

/// Runs cases with a kernel of its own for every sandbox. With the release: a guest begins by unpacking the program, whose code is translated.
fn in_machines(cases: &TestProgram, release: &Path, filters: &[String]) -> Result<Option<Counts>> {
    let mut command = cases.command();
    command.arg("--show-output").args(filters);
    command.env(BINARY, release).env(HOME, project::home()).env("PYRO_ISOLATION", "microvm");
    runner(&mut command)
}

/// Many more random sequences of the past than a usual run has, as whoever calls. `PYRO_TEST_PAST_SEED` says where they begin (1).
fn long_past(count: u64) -> Result<Option<Counts>> {
    let built = Built::make()?;
    let mut total = Counts::default();
    for cases in &built.cases {
        let mut command = cases.command();
        command.args(["--show-output", "the_past_is_what_its_rules_say"]).env("PYRO_TEST_PAST", count.to_string());
        total += runner(command.env(BINARY, project::build_release()?).env(HOME, project::home()))?.unwrap_or_default();
    }
    Ok(Some(total))
}

/// Drives `pyro mcp serve` with the official Python client, in an environment of its own below the target directory.
fn mcp_session(pyro: &Path) -> Result<Option<Counts>> {
    let venv = target().join("mcp-client");
    let wanted = fs::read_to_string(root().join("xtask/mcp/requirements.txt")).context("xtask/mcp/requirements.txt")?;
    let stamp = venv.join("installed.txt");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
        project::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        project::run(
            Command::new(venv.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
                .arg(root().join("xtask/mcp/requirements.txt")),
        )?;
        fs::write(&stamp, wanted).context(stamp.display())?;
    }
    let home = project::home();
    let mut session = Command::new(venv.join("bin/python"));
    session.arg(root().join("xtask/mcp/session.py")).arg(pyro).env("PYRO_HOME", &home).current_dir(target());
    let (text, well) = teed(&mut session)?;
    let mut counts = Counts::of_summary(&text).ok_or_else(|| Failure::new("the session never came to its summary"))?;
    if !well && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(Some(counts))
}
