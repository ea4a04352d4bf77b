//! The project's own tasks, run as `cargo xtask TASK`. One small program instead of scripts in three languages.
//!
//! It may install packages (`setup` only) and, as root, make the two test users (`test` and `bench` only). Everything else
//! that it writes is under `target/`, for the test users under one staging directory each, and for fuzzing in folders of `fuzz/` that git ignores.

mod bench;
mod counts;
mod demo;
mod fuzz;
mod project;
mod readme;
mod setup;
mod test;
mod users;

use std::process::ExitCode;

use project::Failure;

const HELP: &str = "\
cargo xtask TASK

  setup [--test] [--bench]   install the Debian packages that are missing; prints what it does
  demo                       set up, build, make debian:12 and do the main job, narrated
  test [--fast] [FILTER]     format, lints, every test, the MCP session, the demo; ends with 'N passed, N failed'
                             --fast: format, lints, unit tests and the cases of this user only
                             --machines: all cases, with a kernel of its own for every sandbox
                             --past N: only N random sequences of the past against its model (10000 take about an hour)
                             FILTER: only the cases whose name contains it
  ci                         the same as test
  fuzz [TARGET…]             look for inputs for which a parser's properties (crates/pyro-fuzzing) do not hold, with libFuzzer;
                             --seconds N for each target (60). Needs nightly and cargo-fuzz, and says how to get them
  readme [--check]           run the commands of the README's tour and write (or compare) what they print
  bench [OPTIONS]            compare with bwrap, crun and podman; writes docs/benchmarks.md
                             --repetitions N (50), --rootfs DIR (the built environment), --no-write
  bench layers [OPTIONS]     the past of workspaces over 1,000 and 100,000 files, beside git worktree, cp and btrfs;
                             writes docs/benchmarks-layers.md
  bench files [OPTIONS]      a model's calls about files, a search of 100,000 beside ripgrep, a million lines of output;
                             writes docs/benchmarks-files.md
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["setup", options @ ..] => setup::task(options),
        ["demo"] => demo::task(),
        ["test", options @ ..] => test::task(options),
        ["ci"] => test::task(&[]),
        ["fuzz", options @ ..] => fuzz::task(options),
        ["readme", options @ ..] => readme::task(options),
        ["bench", options @ ..] => bench::task(options),
        [bench::worker::ROLE] => bench::worker::serve(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        [task, ..] => Err(Failure::new(format!("there is no task {task:?}")).hint(HELP)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
