//! The fuzz targets, each for some time: `fuzz/` has them and the inputs that are kept, `pyro-fuzzing` what they check.
//!
//! It needs what no other task does, a nightly compiler and cargo-fuzz, and installs neither. What libFuzzer finds interesting is kept below `fuzz/corpus`, and inputs that
//! fail below `fuzz/artifacts`; git ignores both. An input that failed belongs into `fuzz/seeds`, and this says so.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::project::{self, Context as _, Failure, Result, root, target};

/// Seconds for each target when none are given.
const SECONDS: u64 = 60;

/// Longest input in bytes. Parsers have states that need some length, and time for each input is what there is least of.
const INPUT_BYTES_MAX: usize = 8192;

/// Seconds that one input may take: the slowest that is allowed anywhere takes some milliseconds, with the sanitizer some dozens.
const INPUT_SECONDS_MAX: u64 = 10;

/// Memory that one target may take. With the sanitizer, honest ones take a tenth.
const MEMORY_MIB_MAX: u64 = 2048;

/// `cargo xtask fuzz`.
pub fn task(options: &[&str]) -> Result {
    let known = known()?;
    let (mut wanted, mut seconds) = (Vec::new(), SECONDS);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--seconds" => {
                let number = options.next().and_then(|word| word.parse().ok()).filter(|number| *number > 0);
                seconds = number.ok_or_else(|| Failure::new("--seconds needs a number of seconds"))?;
            }
            other if other.starts_with('-') => return Err(Failure::new(format!("fuzz has no option {other:?}"))),
            other if known.contains(other) => wanted.push(other.to_owned()),
            other => {
                let names: Vec<&str> = known.iter().map(String::as_str).collect();
                return Err(Failure::new(format!("there is no fuzz target {other:?}")).hint(names.join(", ")));
            }
        }
    }
    ensure()?;
    let targets: Vec<String> = if wanted.is_empty() { known.into_iter().collect() } else { wanted };
    project::run(cargo_fuzz("build").args((targets.len() == 1).then(|| &targets[0])))?;
    let mut failed = false;
    let mut lines = Vec::new();
    for name in &targets {
        println!("\n== {name}");
        let ran = run(name, seconds)?;
        for input in &ran.inputs {
            println!("{}", what_to_do(name, input));
        }
        let word = if ran.well { "ok" } else { "FAILED" };
        lines.push(format!("{word:>6} {:7.1} s  {name}  {}", ran.seconds, ran.summary));
        failed |= !ran.well;
    }
    println!("\n== summary");
    lines.iter().for_each(|line| println!("{line}"));
    if failed { Err(Failure::reported()) } else { Ok(()) }
}

/// The names of all targets.
fn known() -> Result<BTreeSet<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).context(folder.display())?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned));
    Ok(names.collect())
}

/// Fails, with what to do, unless there is everything that it takes.
fn ensure() -> Result {
    let works = |command: &mut Command| project::output(command).is_ok_and(|output| output.status.success());
    if !works(&mut nightly(&["--version"])) {
        return Err(Failure::new("fuzzing needs Rust's nightly compiler: the sanitizer is in no other")
            .hint("install it with: rustup toolchain install nightly --profile minimal"));
    }
    if !works(&mut nightly(&["fuzz", "--version"])) {
        return Err(Failure::new("fuzzing needs cargo-fuzz").hint("install it with: cargo install cargo-fuzz --locked"));
    }
    Ok(())
}

/// Cargo of the nightly toolchain. The one that started us is another and does not know of toolchains.
fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(arguments).current_dir(root());
    for ours in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        command.env_remove(ours);
    }
    command.env("CARGO_TARGET_DIR", target().join("fuzz"));
    command
}

fn cargo_fuzz(task: &str) -> Command {
    nightly(&["fuzz", task])
}

/// What came of a target.
struct Ran {
    well: bool,
    seconds: f64,
    /// What libFuzzer says of how much it did.
    summary: String,
    /// Inputs that failed, and were not there before.
    inputs: Vec<PathBuf>,
}

fn run(name: &str, seconds: u64) -> Result<Ran> {
    let (corpus, artifacts) = (root().join("fuzz/corpus").join(name), root().join("fuzz/artifacts").join(name));
    fs::create_dir_all(&corpus).context(corpus.display())?;
    let inputs =
        || -> BTreeSet<PathBuf> { fs::read_dir(&artifacts).into_iter().flatten().flatten().map(|entry| entry.path()).collect() };
    let before = inputs();
    let mut command = cargo_fuzz("run");
    command.arg(name).args([format!("fuzz/corpus/{name}"), format!("fuzz/seeds/{name}")]).arg("--");
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
    ]);
    println!("+ {}", project::shown(&command));
    let started_at = Instant::now();
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context(project::shown(&command))?;
    let mut summary = String::new();
    for line in BufReader::new(child.stderr.take().expect("stderr was asked for")).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("output of libFuzzer")?).into_owned();
        // "Done 12345 runs in 61 second(s)"
        if let Some(done) = line.strip_prefix("Done ") {
            summary = done.to_owned();
        }
        eprintln!("{line}");
    }
    let well = child.wait().context("libFuzzer")?.success();
    let inputs = inputs().difference(&before).cloned().collect();
    Ok(Ran { well, seconds: started_at.elapsed().as_secs_f64(), summary, inputs })
}

fn what_to_do(name: &str, input: &std::path::Path) -> String {
    let input = input.strip_prefix(root()).unwrap_or(input).display();
    format!(
        "\n{name} does not hold for {input}. To make it smaller:\n  cargo +nightly fuzz tmin {name} {input}\nthen mend what it found, with a test where the mistake was, and keep it:\n  \
         cp {input} fuzz/seeds/{name}/found-WHAT\n  cargo test -p pyro-fuzzing"
    )
}
