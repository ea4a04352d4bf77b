//! The main job, narrated: set up, build, make an environment, run a command in it, then a workspace from this very project.
//!
//! Every line that begins with `$ ` is a command as a person would type it, and what follows is what it printed. It works in a `PYRO_HOME`
//! of its own below the target directory.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::counts::Counts;
use crate::project::{self, Context as _, Failure, Result, quoted, root, target};
use crate::setup;

const WORKSPACE: &str = "pyro-demo";

/// `cargo xtask demo`.
pub fn task() -> Result {
    setup::ensure(&[setup::For::Use])?;
    let binary = project::build_release()?;
    let counts = tell(&binary)?;
    println!("\nThe demo did {} steps. Everything it made is in {}.", counts.passed, project::home().display());
    println!("Next: the two-minute tour in README.md.");
    Ok(())
}

/// Tells the story with this binary; stops at the first step that goes wrong.
pub fn tell(binary: &Path) -> Result<Counts> {
    let mut story = Story { binary: binary.to_owned(), home: project::home(), steps: 0 };
    println!("\n# In a home of its own: PYRO_HOME={}", story.home.display());

    println!("\n# What can this machine isolate?");
    story.pyro(&["doctor"])?;

    println!("\n# An environment: Debian 12 with git, made from Debian's packages. Kept, so that the next time costs nothing.");
    story.pyro(&["env", "build", "debian:12"])?;

    println!("\n# One command in a fresh sandbox, deleted afterwards.");
    story.pyro_says(&["run", "debian:12", "--", "git", "--version"], "git version")?;

    println!("\n# The same with a kernel of its own: a virtual machine, copied from one that has booted. The first time boots it.");
    story.pyro_says(&["run", "--isolation", "microvm", "debian:12", "--", "uname", "-sr"], "Linux")?;

    // A demo that was interrupted may have left its workspace.
    let leftover = story.command(&["workspace", "delete", WORKSPACE]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if leftover.is_ok_and(|status| status.success()) {
        println!("\n# (The workspace of an earlier, interrupted demo was deleted.)");
    }

    println!("\n# A workspace seeded with this project: the files that git knows, not what was built.");
    let seed = seed()?;
    let seed = seed.to_string_lossy();
    story.pyro(&["workspace", "create", "debian:12", "--name", WORKSPACE, "--seed-path", &seed])?;

    println!("\n# A real command in it: which are the longest source files?");
    let longest = "find crates -name '*.rs' | xargs wc -l | sort -rn | head -5";
    story.pyro_says(&["workspace", "exec", WORKSPACE, "--", "sh", "-c", longest], "total")?;

    println!("\n# Edit a file, as a model would: whole new content, no shell quoting.");
    let mut changelog = fs::read_to_string(root().join("CHANGELOG.md")).context("CHANGELOG.md")?;
    changelog.push_str("- This line was written by the demo.\n");
    story.pyro_with_stdin(
        &["workspace", "file", "write", WORKSPACE, "CHANGELOG.md"],
        "(cat CHANGELOG.md; echo '- This line was written by the demo.')",
        &changelog,
    )?;

    println!("\n# What changed since the workspace was created?");
    story.pyro_says(&["workspace", "diff", WORKSPACE], "+- This line was written by the demo.")?;

    println!("\n# What is known of it, and how strongly it is isolated, as measured.");
    story.pyro_says(&["workspace", "status", WORKSPACE], WORKSPACE)?;

    println!("\n# Delete it, and check that nothing is left: no process, mount, cgroup or file.");
    story.pyro(&["workspace", "delete", WORKSPACE])?;
    story.pyro(&["doctor", "--leaks"])?;
    Ok(Counts { passed: story.steps, ..Counts::default() })
}

struct Story {
    binary: PathBuf,
    home: PathBuf,
    steps: u64,
}

impl Story {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("PYRO_HOME", &self.home).current_dir(root()).stdin(Stdio::null());
        command
    }

    fn narrate(&self, before: &str, arguments: &[&str]) -> Result {
        let words: Vec<String> = arguments.iter().map(|word| quoted(word.as_ref())).collect();
        println!("$ {before}pyro {}", words.join(" "));
        std::io::stdout().flush().context("standard output")
    }

    /// Runs it on our own terminal, so that progress is seen as it is.
    fn pyro(&mut self, arguments: &[&str]) -> Result {
        self.narrate("", arguments)?;
        let status = self.command(arguments).status().context("pyro")?;
        self.ended(arguments, status.success())
    }

    /// Runs it, shows what it printed, and checks that this is in it.
    fn pyro_says(&mut self, arguments: &[&str], wanted: &str) -> Result {
        self.narrate("", arguments)?;
        let output = self.command(arguments).stderr(Stdio::inherit()).output().context("pyro")?;
        std::io::stdout().write_all(&output.stdout).context("standard output")?;
        if output.status.success() && !String::from_utf8_lossy(&output.stdout).contains(wanted) {
            return Err(Failure::new(format!("the output should have {wanted:?} in it")));
        }
        self.ended(arguments, output.status.success())
    }

    fn pyro_with_stdin(&mut self, arguments: &[&str], source: &str, text: &str) -> Result {
        self.narrate(&format!("{source} | "), arguments)?;
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().context("pyro")?;
        let mut stdin = child.stdin.take().expect("stdin was asked for");
        let written = stdin.write_all(text.as_bytes());
        drop(stdin);
        let status = child.wait().context("pyro")?;
        written.context("its standard input")?;
        self.ended(arguments, status.success())
    }

    fn ended(&mut self, arguments: &[&str], well: bool) -> Result {
        if !well {
            return Err(
                Failure::new(format!("pyro {} went wrong", arguments.join(" "))).hint("`pyro doctor` says what stands in the way")
            );
        }
        self.steps += 1;
        Ok(())
    }
}

/// A tar of the project: the files that git tracks, as they are on disk; without git's record, everything but what was built.
fn seed() -> Result<PathBuf> {
    let file = target().join("demo-seed.tar");
    let mut tar = Command::new("tar");
    tar.current_dir(root()).arg("--create").arg("--file").arg(&file);
    if root().join(".git").exists() {
        let tracked = project::output(Command::new("git").current_dir(root()).args(["ls-files", "-z"]))?;
        if !tracked.status.success() {
            return Err(Failure::new(format!("git ls-files: {}", String::from_utf8_lossy(&tracked.stderr).trim())));
        }
        // A file that git tracks may have been deleted and not committed yet.
        let there: Vec<&[u8]> = tracked.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty() && is_there(name)).collect();
        let list = target().join("demo-seed.list");
        File::create(&list).and_then(|mut out| out.write_all(&there.join(&0))).context(list.display())?;
        tar.arg("--null").arg("--verbatim-files-from").arg("--files-from").arg(&list);
    } else {
        tar.args(["--exclude=./target", "."]);
    }
    project::run_quietly(&mut tar)?;
    Ok(file)
}

fn is_there(name: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    root().join(std::ffi::OsStr::from_bytes(name)).symlink_metadata().is_ok()
}
