//! The real program with a home of its own, and short ways to say what a case needs.
//!
//! Building an environment takes half a minute, so cases share one home for each test program and tell their workspaces apart by name
//! ([`TestEnv::name`]). A case about the home itself takes a [`TestEnv::fresh`] one, which uses the shared home's built environments
//! in place. Nothing waits by sleeping: what takes time is asked again until a deadline.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything that a case waits for may take on a slow, busy machine. Passing cases never come near it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two times that something is asked for.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// A home and the program.
#[derive(Debug)]
pub struct TestEnv {
    binary: PathBuf,
    home: PathBuf,
    /// Removed when it is dropped.
    own: Option<TempDir>,
    names: Mutex<Vec<String>>,
}

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What was run, for messages.
    pub command: String,
    /// Exit status; 128 + signal when a signal ended it.
    pub code: i32,
    /// Standard output; invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error; invalid UTF-8 replaced.
    pub stderr: String,
}

/// The program to test: what the runner says, else what Cargo built for this test program.
pub fn binary(built: Option<&str>) -> PathBuf {
    let named = std::env::var_os("PYRO_TEST_BINARY").map(PathBuf::from);
    named.or_else(|| built.map(PathBuf::from)).expect("PYRO_TEST_BINARY or CARGO_BIN_EXE_pyro says which program to test")
}

impl TestEnv {
    /// The home that all cases of a user share.
    #[must_use]
    pub fn shared(binary: &Path) -> Self {
        let home = std::env::var_os("PYRO_TEST_HOME").map_or_else(|| binary.with_file_name("pyro-test-home"), PathBuf::from);
        Self { binary: binary.to_owned(), home, own: None, names: Mutex::default() }
    }

    /// A new home beside the shared one, in which nothing is built.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn empty(&self) -> Self {
        let own = self.scratch();
        let home = own.path().join("home");
        let env = Self { binary: self.binary.clone(), home, own: Some(own), names: Mutex::default() };
        env.pyro(&["env", "list"]).expect_ok();
        env
    }

    /// A new home beside the shared one. Environments that are built in the shared home can be used in it: their manifests name
    /// the shared layers, which a fresh home does not own and so never removes.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn fresh(&self) -> Self {
        let env = self.empty();
        self.lend_environments(&env);
        env
    }

    /// A home of its own at this path, which must not exist, with the built environments of the shared one. It is left there.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn fresh_at(&self, home: &Path) -> Self {
        let env = Self { binary: self.binary.clone(), home: home.to_owned(), own: None, names: Mutex::default() };
        env.pyro(&["env", "list"]).expect_ok();
        self.lend_environments(&env);
        env
    }

    fn lend_environments(&self, env: &Self) {
        for manifest in fs::read_dir(self.home.join("environments")).into_iter().flatten().flatten() {
            let Ok(text) = fs::read_to_string(manifest.path().join("manifest.json")) else { continue };
            let mut value: Value = serde_json::from_str(&text).expect("a manifest is JSON");
            for mount in value["mounts"].as_array_mut().into_iter().flatten() {
                // Joining an absolute source gives the source itself.
                let source = self.home.join(mount["source"].as_str().expect("a mount has a source"));
                mount["source"] = source.to_string_lossy().into();
            }
            let folder = env.home.join("environments").join(manifest.file_name());
            fs::create_dir_all(&folder).expect("make the folder of a manifest");
            fs::write(folder.join("manifest.json"), value.to_string()).expect("write a manifest");
        }
        // Machines that have booted are lent too: a boot takes seconds.
        let machines = self.home.join("machines");
        if machines.exists() && !env.home.join("machines").exists() {
            std::os::unix::fs::symlink(machines, env.home.join("machines")).expect("link the machines");
        }
    }

    /// `PYRO_HOME` of this env.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A workspace name that no other case uses. Whatever has it is deleted when the case ends.
    ///
    /// # Panics
    /// Never: a poisoned list of names is still a list.
    pub fn name(&self, word: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("{word}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        name
    }

    /// A directory on the host that is removed when it is dropped. Only this user can enter it.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn scratch(&self) -> TempDir {
        let beside = self.home.parent().expect("a home is in a directory");
        // Beside the home and not in /tmp: on a disk, which has room and all attributes.
        tempfile::Builder::new().prefix("scratch-").tempdir_in(beside).expect("make a directory")
    }

    /// Id of a workspace.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn id(&self, workspace: &str) -> String {
        let view: Value = self.json(&["workspace", "status", workspace]);
        view["id"].as_str().expect("a workspace has an id").to_owned()
    }

    /// Process id of the supervisor of a running workspace.
    ///
    /// # Panics
    /// When its lease says nothing.
    pub fn supervisor(&self, workspace: &str) -> i32 {
        let lease = self.home.join("workspaces").join(self.id(workspace)).join("lease");
        let text = fs::read_to_string(&lease).expect("a running workspace has a lease");
        text.trim().parse().unwrap_or_else(|_| panic!("{} says {text:?}", lease.display()))
    }

    /// Whether a guarantee holds in the sandboxes of this machine and user, as measured.
    ///
    /// # Panics
    /// When it is not in the report.
    pub fn holds(&self, guarantee: &str) -> bool {
        let answer: Value = self.json(&["run", "debian:12", "--", "true"]);
        let guarantees = answer["isolation"]["guarantees"].as_array().expect("a report has guarantees");
        let found = guarantees.iter().find(|found| found["name"] == guarantee);
        found.unwrap_or_else(|| panic!("{guarantee} is not in {guarantees:?}"))["held"] == true
    }

    /// Builds an environment if it is not built. Cases of a test program wait for each other here.
    ///
    /// # Panics
    /// When the build fails.
    pub fn environment(&self, name: &str) {
        static BUILDING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        self.pyro(&["env", "build", name]).expect_ok();
    }

    /// A workspace from `debian:12`, running, with a name of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn workspace(&self, word: &str) -> String {
        let name = self.name(word);
        self.pyro(&["workspace", "create", "debian:12", "--name", &name]).expect_ok();
        name
    }

    /// The command, not started: for what the short ways do not do.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("PYRO_HOME", &self.home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn pyro<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        let mut command = self.command(arguments);
        let words = shown(&command);
        Ran::of(words, &command.output().expect("start pyro"))
    }

    /// Runs it with this as its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn pyro_with_stdin<S: AsRef<OsStr>>(&self, arguments: &[S], stdin: &[u8]) -> Ran {
        let mut command = self.command(arguments);
        let words = shown(&command);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("start pyro");
        let mut pipe = child.stdin.take().expect("stdin was asked for");
        let stdin = stdin.to_vec();
        // On a thread: the program may write much before it has read everything. It may also end without reading, which is no failure.
        let writer = std::thread::spawn(move || {
            let _ = pipe.write_all(&stdin);
        });
        let output = child.wait_with_output().expect("wait for pyro");
        writer.join().expect("the writer does not panic");
        Ran::of(words, &output)
    }

    /// Starts it and leaves it running.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Child {
        self.command(arguments).spawn().expect("start pyro")
    }

    /// Runs it with `--json`, expects that it ends well, and reads its answer.
    ///
    /// # Panics
    /// When it fails or its answer is of another shape.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let ran = self.pyro_json(arguments).expect_ok();
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error} in the answer of {}", ran.all()))
    }

    /// Runs it with `--json` and gives whatever document it printed; for failures.
    ///
    /// # Panics
    /// When standard output is not one JSON document.
    pub fn document(&self, arguments: &[&str]) -> Value {
        let ran = self.pyro_json(arguments);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error} in the answer of {}", ran.all()))
    }

    /// `--json` goes before `--`: what follows it belongs to the command inside.
    fn pyro_json(&self, arguments: &[&str]) -> Ran {
        let end = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
        let (before, after) = arguments.split_at(end);
        self.pyro(&[before, &["--json"], after].concat())
    }

    /// Asks again and again until the answer is `Some`.
    ///
    /// # Panics
    /// When it is not within [`DEADLINE`].
    pub fn wait_for<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(Instant::now() < deadline, "waited {DEADLINE:?} for {what}");
            // Not a wait for anything: what is waited for needs the processor that asking takes.
            std::thread::park_timeout(ASK_EVERY);
        }
    }

    /// Waits for a child to end, and gives what it wrote meanwhile.
    ///
    /// # Panics
    /// When it does not within [`DEADLINE`].
    pub fn wait(&self, what: &str, child: Child) -> Ran {
        let pid = child.id();
        let (sender, receiver) = mpsc::channel();
        // On a thread, which also empties both pipes: a talkative child would never end.
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let ended = receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what} (process {pid})"));
        Ran::of(what.to_owned(), &ended.expect("wait for pyro"))
    }

    /// Deletes whatever has a name that this env gave out.
    pub(crate) fn delete_workspaces(&self) {
        for name in self.names.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // Most cases delete theirs, or never made it.
            let _ = self.pyro(&["workspace", "delete", &name]);
        }
    }

    /// Clears away what an earlier run of the cases left at this home's path when it was killed.
    pub(crate) fn clear(&self) {
        let _ = self.pyro(&["doctor", "--leaks"]);
    }

    /// Nothing that has ended has left anything: process, mount, cgroup, file.
    ///
    /// # Panics
    /// When something is left.
    pub fn assert_no_leaks(&self) {
        let ran = self.pyro_json(&["doctor", "--leaks"]);
        let answer: Value =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error} in the answer of {}", ran.all()));
        let lines = |key: &str| answer[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut leaks: Vec<String> = lines("leaks");
        // Empty control groups without an owner are cleared away, but who left them here did not end in order.
        leaks.extend(lines("recovered").into_iter().filter(|line| line.starts_with("cgroup ")));
        assert!(leaks.is_empty(), "left over in {}:\n  {}", self.home.display(), leaks.join("\n  "));
    }
}

/// Processes of this machine that have this word in their command line. Sandboxed ones are seen from outside like any other.
#[must_use]
pub fn processes_with(word: &str) -> Vec<i32> {
    let is_it = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    let numbers =
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(is_it).collect()
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        if self.own.is_some() {
            self.delete_workspaces();
            if !std::thread::panicking() {
                self.assert_no_leaks();
            }
        }
    }
}

impl Ran {
    fn of(command: String, output: &std::process::Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            command,
            code: code.expect("a process exits or is killed"),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Itself, when it ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn expect_ok(self) -> Self {
        assert!(self.code == 0, "{}", self.all());
        self
    }

    /// Itself, when it ended with this status and said this on standard error.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn expect_error(self, code: i32, says: &str) -> Self {
        assert!(self.code == code && self.stderr.contains(says), "wanted {code} and {says:?} from {}", self.all());
        self
    }

    /// Everything, for messages.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}: exit {}\n-- stdout\n{}\n-- stderr\n{}", self.command, self.code, self.stdout, self.stderr)
    }
}

fn shown(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once("pyro".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
