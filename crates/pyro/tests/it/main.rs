//! The product, used as people use it: every case is a story through the real program, in a home that the cases share.
//!
//! A case runs as whoever runs it: `cargo xtask test` does so as root, as a user with a range of ids, and as one without. What a user cannot have is said
//! by [`pyro_testkit::skip`], never passed over. After each case nothing may be left over: no process, mount, cgroup or file.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use pyro_testkit::{DEADLINE, TestEnv};
use rustix::process::{Pid, Signal, kill_process};

mod diff;
mod disk;
mod edits;
mod environment;
mod exec;
mod faults;
mod files;
mod isolation;
mod jobs;
mod leaks;
mod machine;
mod mcp;
mod model;
mod outcomes;
mod packages;
mod parallel;
mod past;
mod points;
mod run;
mod search;
mod seed;
mod shells;
mod surface;
mod workspace;

/// A case that needs a sandbox.
fn case(story: impl FnOnce(&TestEnv)) {
    pyro_testkit::case(option_env!("CARGO_BIN_EXE_pyro"), story);
}

/// A case about sandboxes of the host's own kernel only, and why.
fn namespaces_case(why: &str, story: impl FnOnce(&TestEnv)) {
    pyro_testkit::namespaces_case(option_env!("CARGO_BIN_EXE_pyro"), why, story);
}

/// What a machine does not let the host see.
const SEEN_OUTSIDE: &str = "processes of a machine cannot be seen from outside";
/// Why machines are not asked about their past like others.
const NO_PAST: &str = "the past of a machine is copies of its disk, which has stories of its own: nobody outside reads it, and commands make no steps";
/// What a machine cannot show.
const HOST_DIRECTORIES: &str = "a machine sees disks, and no directories of the host";

/// A case that needs none.
fn surface_case(story: impl FnOnce(&TestEnv)) {
    pyro_testkit::surface_case(option_env!("CARGO_BIN_EXE_pyro"), story);
}

/// Reads the standard output of a child up to a line that is this. The rest stays to be read.
fn wait_for_line(child: &mut Child, wanted: &str) -> BufReader<std::process::ChildStdout> {
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, receiver) = std::sync::mpsc::channel();
    let word = wanted.to_owned();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut seen = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(count) if count > 0 && line.trim_end() == word => return sender.send(Ok(reader)),
                Ok(count) if count > 0 => seen.push(line),
                ended => return sender.send(Err(format!("{ended:?} after {seen:?}"))),
            }
        }
    });
    let heard = receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("waited {DEADLINE:?} for the line {wanted:?}"));
    heard.unwrap_or_else(|error| panic!("the line {wanted:?} never came: {error}"))
}

/// Sends a signal to one process.
fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a process has a positive id"), signal).expect("the process is there and ours");
}

/// Kills the supervisor of a running workspace, and waits until it is gone.
fn kill_supervisor(env: &TestEnv, workspace: &str) {
    let pid = env.supervisor(workspace);
    signal(pid, Signal::KILL);
    env.wait_for("a killed supervisor to be gone", || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        // A thread that lets go of a mount ends later, and keeps the socket and the lease until then.
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        state.is_none_or(|state| state.contains(") Z ") && threads <= 1).then_some(())
    });
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("process ids are small")
}

/// A word that is in the command line of one case's processes only.
fn mark(number: u32) -> String {
    // As seconds for sleep(1): far beyond any case, and told apart by process and number.
    format!("9{:07}{number:03}", std::process::id())
}

/// Waits until no process has this word in its command line.
fn wait_until_gone(env: &TestEnv, mark: &str) {
    env.wait_for("processes to be gone", || pyro_testkit::processes_with(mark).is_empty().then_some(()));
}

/// Bytes that repeat only after a long while.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}
