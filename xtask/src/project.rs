//! What every task needs: where the project is, how a program is run and narrated, and how a task fails.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Why a task stopped: a sentence and, where it helps, what to do.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    silent: bool,
}

/// Result of a task.
pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with its sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, silent: false }
    }

    /// A failure that has been reported already: only the exit status is left to give.
    pub fn reported() -> Self {
        Self { message: String::new(), hint: None, silent: true }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints it and gives the exit status.
    pub fn report(&self) -> ExitCode {
        if !self.silent {
            eprintln!("xtask: {}", self.message);
            if let Some(hint) = &self.hint {
                eprintln!("{hint}");
            }
        }
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Adds what was being done to an I/O error.
pub trait Context<T> {
    /// `open the thing: permission denied`.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::new(format!("{what}: {error}")))
    }
}

/// Root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the project")
}

/// Cargo's target directory, wherever it was set to be.
pub fn target() -> PathBuf {
    built().parent().expect("the triple's folder is in the target directory").to_owned()
}

/// Where Cargo puts what it built for the triple that the project's Cargo configuration names.
pub fn built() -> PathBuf {
    // This binary is TARGET/TRIPLE/PROFILE/xtask.
    let exe = std::env::current_exe().expect("a running program has a path on Linux");
    exe.ancestors().nth(2).expect("cargo puts binaries three levels down").to_owned()
}

/// `PYRO_HOME` of the demo, the README's tour and the cases of the invoking user: nothing that belongs to the user is touched,
/// and a built environment serves all of them.
pub fn home() -> PathBuf {
    target().join("pyro-home")
}

/// Are we root?
pub fn is_root() -> bool {
    // The owner of /proc/self is the effective user.
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Looks a program up on `PATH`.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps useradd and its kind where an ordinary user's PATH does not lead.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|file| std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0))
}

/// Cargo, as the one that started us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A command as a person would type it.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect::<Vec<_>>().join(" ")
}

/// One word as a shell needs it.
pub fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+@,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Says what is run, runs it with our own terminal, and fails when it fails.
pub fn run(command: &mut Command) -> Result {
    println!("+ {}", shown(command));
    run_quietly(command)
}

/// Runs it with our own terminal, and fails when it fails.
pub fn run_quietly(command: &mut Command) -> Result {
    std::io::stdout().flush().context("standard output")?;
    let status = command.status().context(shown(command))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("{}: {status}", shown(command)))) }
}

/// Builds the release binary and gives its path.
pub fn build_release() -> Result<PathBuf> {
    run(cargo().args(["build", "--release", "--package", "pyro"])).and_then(|()| release())
}

/// As [`build_release`], while something else is done that shall have the other processors.
pub fn build_release_behind() -> Result<PathBuf> {
    run(cargo().args(["build", "--release", "--package", "pyro", "--jobs", "1", "--quiet"])).and_then(|()| release())
}

fn release() -> Result<PathBuf> {
    let binary = built().join("release/pyro");
    if binary.is_file() { Ok(binary) } else { Err(Failure::new(format!("cargo built, and there is no {}", binary.display()))) }
}

/// Runs a command with nothing shown and gives its output, whatever its status.
pub fn output(command: &mut Command) -> Result<std::process::Output> {
    command.stdin(Stdio::null()).output().context(shown(command))
}
