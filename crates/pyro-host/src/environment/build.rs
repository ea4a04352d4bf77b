//! Building an environment: whole or not at all, once at a time, with progress.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use pyro_api::envelope::Progress;
use pyro_api::{Error, ErrorKind, Result};
use pyro_sys::confine;
use pyro_sys::seccomp::{self, Filter, Program};

use super::command::{self, BuildFiles, Packages};
use super::manifest::{self, Manifest, ManifestMount, failed, sync_directory};
use super::progress::BuildLines;
use super::unpack::{self, Unpacked};
use super::workdir::{EnvironmentLock, WorkDirectory, private_directory, try_lock};
use super::{
    CatalogueEntry, CatalogueSource, Environment, HOST, IdMode, OnProgress, entry, host_environment, kit, resolve, sources,
};

/// How to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Build again though it is built.
    pub rebuild: bool,
    /// For `host`: directories to show besides those that are shown already, or, with `rebuild`, besides none.
    pub includes: Vec<String>,
    /// Whose ids the files get: what this process is root of.
    pub id_mode: IdMode,
}

/// How often a waiting builder looks whether it was cancelled. Nobody notices a tenth of a second in a build of twenty.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Builds an environment, or waits for somebody else who does, and returns it. Returns at once what is built and current.
///
/// # Errors
/// `NotFound` for an unknown name, `Invalid` for includes that may not be shown, `Unavailable` when a tool is missing or a mirror does not
/// answer, `Limit` when the disk is full, `Cancelled`. Whatever the error, nothing half-made is to be seen.
pub fn build(
    home: &Path,
    name: &str,
    options: &BuildOptions,
    progress: OnProgress<'_>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Environment> {
    let entry = entry(name)?;
    if name != HOST && !options.includes.is_empty() {
        return Err(
            Error::invalid(format!("{name} shows no directories of this machine")).hint("--include goes with the environment host")
        );
    }
    let directory = manifest::directory(home, name);
    let before = manifest::read(home, name).unwrap_or_default();
    let _lock = lock(&directory, name, progress, cancelled)?;
    if let Some(environment) = finished_meanwhile(home, name, options, before.as_ref())? {
        return Ok(environment);
    }
    private_directory(&home.join(LAYERS)).map_err(|error| failed("cannot make the directory of layers", error))?;
    let log = directory.join("build.log");
    let manifest = match entry.source {
        CatalogueSource::Debian { suite, packages } => {
            let request = DebianBuild { home, name, suite, packages, what: Packages::Installed, options, log: &log };
            request.run(entry, progress, cancelled)?
        }
        CatalogueSource::Kit { suite, packages } => {
            kit::check_machine()?;
            let request = DebianBuild { home, name, suite, packages, what: Packages::Unpacked, options, log: &log };
            request.run(entry, progress, cancelled)?
        }
        CatalogueSource::Host => {
            let earlier = before.filter(|_| !options.rebuild).map(|manifest| manifest.includes).unwrap_or_default();
            host_environment::build(home, entry.description, options.id_mode, &options.includes, &earlier)?
        }
    };
    manifest.write(home)?;
    Ok(manifest.into_environment(home))
}

pub(super) const LAYERS: &str = "layers";

/// What is built already and good enough: unless a rebuild is asked for, and then only what somebody else built while we waited.
fn finished_meanwhile(home: &Path, name: &str, options: &BuildOptions, before: Option<&Manifest>) -> Result<Option<Environment>> {
    let now = manifest::read(home, name).unwrap_or_default();
    if options.rebuild && now.as_ref() == before {
        return Ok(None);
    }
    let Some(environment) = resolve(home, name).unwrap_or_default() else { return Ok(None) };
    let shows_all = options
        .includes
        .iter()
        .all(|wanted| environment.includes.iter().any(|shown| shown.trim_end_matches('/') == wanted.trim_end_matches('/')));
    Ok((shows_all && environment.id_mode == options.id_mode).then_some(environment))
}

fn lock(directory: &Path, name: &str, progress: OnProgress<'_>, cancelled: &dyn Fn() -> bool) -> Result<EnvironmentLock> {
    let mut said = false;
    loop {
        if let Some(lock) = try_lock(directory)? {
            return Ok(lock);
        }
        if cancelled() {
            return Err(taken_back(name));
        }
        if !said {
            progress(Progress {
                step: format!("waiting for another process that builds {name}"),
                done: 0,
                total: None,
                unit: "packages".to_owned(),
            });
            said = true;
        }
        // The kernel's lock has no wait that could be cancelled or time out without a signal.
        thread::sleep(LOOK_EVERY);
    }
}

fn taken_back(name: &str) -> Error {
    Error::new(ErrorKind::Cancelled, format!("building {name} was cancelled"))
}

/// Puts an unpacked layer in place and returns its path relative to the home directory. A layer of that digest is as good.
pub(super) fn publish(home: &Path, layer: &Path, digest: &str) -> Result<PathBuf> {
    let relative = Path::new(LAYERS).join(digest);
    let place = home.join(&relative);
    let result = match fs::rename(layer, &place) {
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(&home.join(LAYERS)),
    };
    result.map_err(|error| failed("cannot put the layer in its place", error))?;
    Ok(relative)
}

struct DebianBuild<'a> {
    home: &'a Path,
    name: &'a str,
    suite: &'a str,
    packages: &'a [&'a str],
    what: Packages,
    options: &'a BuildOptions,
    log: &'a Path,
}

/// What the threads of a build tell the one that waits for them.
enum Happened {
    Line(String),
    Unpacking { bytes: u64 },
    Unpacked(Result<Unpacked>),
}

impl DebianBuild<'_> {
    fn run(&self, entry: &CatalogueEntry, progress: OnProgress<'_>, cancelled: &dyn Fn() -> bool) -> Result<Manifest> {
        let wrapper = command::possible_wrapper()?;
        let work = WorkDirectory::new(self.home, "build")?;
        // Shown at /tmp, and world-writable like it; the directories above are not.
        let tmp = work.path().join("tmp");
        let layer = work.path().join("layer");
        let sources = sources::of_suite(self.suite, &sources::configured_files(), sources::archive_keyring_exists());
        let has_sources = !sources.is_empty();
        let files = BuildFiles { apt_configuration: sources::transport_configuration(), sources };
        fs::create_dir(&tmp)
            .and_then(|()| fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)))
            .and_then(|()| fs::create_dir(&layer))
            .and_then(|()| files.write(&tmp, self.options.id_mode))
            .map_err(|error| failed(format!("cannot build {}", self.name), error))?;
        let mut command =
            command::mmdebstrap(&tmp, self.suite, (self.packages, self.what), self.options.id_mode, has_sources, wrapper)?;
        let unpacked = match self.what {
            Packages::Installed => {
                let unpacked = self.run_command(&mut command, &layer.join("root"), progress, cancelled)?;
                finish_tree(&layer.join("root")).map_err(|error| failed(format!("cannot build {}", self.name), error))?;
                unpacked
            }
            Packages::Unpacked => {
                let tree = work.path().join("tree");
                self.run_command(&mut command, &tree, progress, cancelled)?;
                kit::pick(&tree, &layer, &mut || if cancelled() { Err(taken_back(self.name)) } else { Ok(()) })?
            }
        };
        sync_directory(&layer).map_err(|error| failed(format!("cannot build {}", self.name), error))?;
        let relative = publish(self.home, &layer, &unpacked.digest)?;
        Ok(Manifest {
            name: self.name.to_owned(),
            digest: unpacked.digest,
            kind: entry.source.kind(),
            description: entry.description.to_owned(),
            built_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            size_bytes: unpacked.size_bytes,
            contents: self.packages.iter().map(|&package| package.to_owned()).collect(),
            includes: Vec::new(),
            id_mode: self.options.id_mode,
            mounts: vec![ManifestMount { at: "/".to_owned(), source: relative.join("root") }],
            path: Vec::new(),
            stamps: Vec::new(),
        })
    }

    fn run_command(
        &self,
        command: &mut Command,
        root: &Path,
        progress: OnProgress<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Unpacked> {
        let log = File::create(self.log).map_err(|error| failed(format!("cannot write the log of {}", self.name), error))?;
        // Ctrl-C at a terminal must reach us only: we end the build in order.
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // Changing owners cannot work with one id, and must look as if it did: dpkg and tar insist on it.
        let needs_fake_root = self.options.id_mode == IdMode::Single;
        thread::scope(|scope| {
            let (finished, until_finished) = mpsc::channel::<()>();
            let child = if needs_fake_root {
                let (started, child) = mpsc::channel();
                scope.spawn(move || {
                    // The filter is this thread's and of what it starts.
                    let filtered =
                        confine::no_new_privileges().and_then(|()| seccomp::install(&Program::build(Filter::FakeRootOnly)));
                    let _ = started.send(filtered.and_then(|()| command.spawn()));
                    // The kernel ends the build when the *thread* that started it is gone, so this one must stay.
                    let _ = until_finished.recv();
                });
                child.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
            } else {
                command.spawn()
            };
            let mut running = Running(child.map_err(|error| Error::unavailable("cannot start mmdebstrap").because(error))?);
            let (tell, happened) = mpsc::channel();
            let stderr = running.0.stderr.take();
            let stdout = running.0.stdout.take();
            let lines = tell.clone();
            scope.spawn(move || stderr.map(|stderr| copy_lines(stderr, log, &lines)));
            let owners = self.options.id_mode;
            scope.spawn(move || stdout.map(|stdout| unpack_stream(stdout, root, owners, &tell)));
            let result = self.watch(&mut running, &happened, progress, cancelled);
            drop(running);
            drop(finished);
            result
        })
    }

    /// Waits for the end of the build and of the unpacking, whichever way they end.
    fn watch(
        &self,
        running: &mut Running,
        happened: &Receiver<Happened>,
        progress: OnProgress<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Unpacked> {
        let mut lines = BuildLines::new(self.name);
        let mut unpacked = None;
        let mut stopped = false;
        // By the time it has failed, mmdebstrap has cleared its tree, and there is room again.
        let mut free_bytes_lowest = u64::MAX;
        loop {
            let free_bytes = rustix::fs::statvfs(self.home).map_or(u64::MAX, |facts| facts.f_bavail.saturating_mul(facts.f_frsize));
            free_bytes_lowest = free_bytes_lowest.min(free_bytes);
            if !stopped && cancelled() {
                stopped = true;
                running.kill();
            }
            match happened.recv_timeout(LOOK_EVERY) {
                Ok(Happened::Line(line)) => {
                    if let Some(now) = lines.take(&line) {
                        progress(now);
                    }
                }
                Ok(Happened::Unpacking { bytes }) => {
                    progress(Progress {
                        step: format!("unpacking {}", self.name),
                        done: bytes,
                        total: None,
                        unit: "bytes".to_owned(),
                    });
                }
                Ok(Happened::Unpacked(result)) => {
                    if result.is_err() {
                        // Nobody reads the stream any more.
                        running.kill();
                    }
                    unpacked = Some(result);
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Both threads are done: both streams are closed.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = running.0.wait().map_err(|error| Error::internal("cannot wait for mmdebstrap").because(error))?;
        if stopped {
            return Err(taken_back(self.name));
        }
        match unpacked {
            Some(Ok(unpacked)) if status.success() => Ok(unpacked),
            // A stream that breaks off is the consequence, unless we killed it because unpacking failed.
            Some(Err(error)) if status.success() || status.signal().is_some() && lines.error().is_empty() => Err(error),
            Some(Err(error)) if error.kind == ErrorKind::Limit => Err(error),
            Some(_) | None => Err(self.explain(status, &lines, free_bytes_lowest)),
        }
    }

    fn explain(&self, status: ExitStatus, lines: &BuildLines, free_bytes_lowest: u64) -> Error {
        let why = match lines.error() {
            text if text.is_empty() => status.to_string(),
            text => text,
        };
        let message = format!("cannot build {}: {why}", self.name);
        let log = format!("the whole log is {}", self.log.display());
        // apt does not always say that this is why.
        if lines.error_says("No space left on device") || free_bytes_lowest < FULL_BELOW_BYTES {
            return Error::limit(message).hint(format!("free some space, or set PYRO_HOME to a directory on a larger disk; {log}"));
        }
        let hint = if lines.error_says("NO_PUBKEY") || lines.error_says("gpgv: ") {
            "apt does not trust the archive's key: sudo apt-get install debian-archive-keyring"
        } else if ["Could not resolve", "Could not connect", "Failed to fetch", "Err:"].iter().any(|words| lines.error_says(words))
        {
            "check that sudo apt-get update works on this machine"
        } else {
            return Error::unavailable(message).hint(log);
        };
        Error::unavailable(message).hint(format!("{hint}; {log}"))
    }
}

/// A disk with less room than any package list needs is full, whatever a program says of its failure.
const FULL_BELOW_BYTES: u64 = 32 << 20;

/// What mmdebstrap leaves out of its stream or takes away at its end.
fn finish_tree(root: &Path) -> io::Result<()> {
    // Without device nodes it leaves out the directory that a sandbox mounts its own devices on.
    match fs::create_dir(root.join("dev")) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // Installing a package inside must not start its service: nothing there could look after it. invoke-rc.d(8), 101 is "not allowed".
    let policy = root.join("usr/sbin/policy-rc.d");
    fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))
}

/// A started build: ended with everything it started when it is dropped.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}

/// Longest line of a build that is looked at; the rest of it goes to the log only.
const LINE_BYTES_MAX: u64 = 16 * 1024;

fn copy_lines(stderr: impl Read, mut log: File, tell: &Sender<Happened>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // A full disk ends the build by itself; the log is not worth an error of its own.
        let _ = log.write_all(&line);
        let _ = tell.send(Happened::Line(String::from_utf8_lossy(&line).into_owned()));
    }
}

/// How many bytes lie between two reports of unpacking.
const REPORT_EVERY_BYTES: u64 = 4 << 20;

fn unpack_stream(stdout: impl Read, root: &Path, id_mode: IdMode, tell: &Sender<Happened>) {
    let mut reported = 0;
    let result = unpack::unpack(stdout, root, id_mode, &mut |bytes| {
        if bytes >= reported + REPORT_EVERY_BYTES {
            reported = bytes;
            let _ = tell.send(Happened::Unpacking { bytes });
        }
    });
    let _ = tell.send(Happened::Unpacked(result));
}
