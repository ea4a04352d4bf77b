//! Prints what an exec through the agent costs beside a bare `posix_spawn` and wait of the same program, taken alternately in one run, and
//! what the agent holds when idle. Nothing is asserted. Run it with `--release`; the agent is a process of its own.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pyro_wire::message::{Hello, Program, Spawn};
use pyro_wire::{Frame, FromAgent, SandboxPath, ToAgent, read_frame, write_frame};

const BUILD: &str = "bench";
const ROUNDS: usize = 1000;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("agent") {
        let link = std::io::stdin().as_fd().try_clone_to_owned().expect("a link on descriptor 0");
        let end = pyro_agent::serve(UnixStream::from(link), pyro_agent::Place::Nowhere, BUILD, None);
        std::process::exit(end.exit_code().into());
    }
    let (mut link, other) = UnixStream::pair().expect("a socketpair");
    let itself = std::env::current_exe().expect("a path");
    let mut agent = Command::new(itself).arg("agent").stdin(Stdio::from(OwnedFd::from(other))).spawn().expect("it starts");
    let begun = Instant::now();
    send(&mut link, 0, ToAgent::Hello(Hello { nonce: 1, build: BUILD.to_owned(), hostname: String::new() }));
    let Frame::Control { message: FromAgent::Hello(hello), .. } = receive(&mut link) else { panic!("no hello") };
    println!("start to hello            {:>8.1} us", micros(begun.elapsed()));
    for probe in &hello.probes {
        println!("  {:?}: {} ({})", probe.name, probe.held, probe.detail);
    }
    idle("idle at start", agent.id());

    let mut channel = 0;
    for program in ["/bin/true", "/bin/no-such-program"] {
        let (mut bare, mut through) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            bare.push(timed(|| spawn_bare(program)));
            channel += 1;
            through.push(timed(|| exec(&mut link, channel, program)));
        }
        let (bare, through) = (median(bare), median(through));
        println!("{program}: bare {bare:.1} us, through the agent {through:.1} us, ratio {:.2}", through / bare);
    }
    idle("idle after execs", agent.id());
    channel += 1;
    let begun = Instant::now();
    let bytes = bulk(&mut link, channel);
    println!("output: {:.0} MB/s", bytes as f64 / micros(begun.elapsed()));
    idle("idle after bulk output", agent.id());
    drop(link);
    agent.wait().expect("it ends with its link");
}

/// std uses posix_spawn here: nothing about the child needs fork.
fn spawn_bare(program: &str) {
    let child = Command::new(program).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    if let Ok(mut child) = child {
        let mut output = Vec::new();
        child.stdout.take().expect("piped").read_to_end(&mut output).expect("readable");
        child.stderr.take().expect("piped").read_to_end(&mut output).expect("readable");
        child.wait().expect("it ends");
    }
}

fn exec(link: &mut UnixStream, channel: u32, program: &str) {
    send(link, channel, ToAgent::Spawn(spawn(Program::Argv(vec![program.to_owned()]))));
    loop {
        if let Frame::Control { message: FromAgent::Exited(_) | FromAgent::NotStarted(_), .. } = receive(link) {
            return;
        }
    }
}

fn bulk(link: &mut UnixStream, channel: u32) -> u64 {
    send(link, channel, ToAgent::Spawn(spawn(Program::Shell("head -c 1000000000 /dev/zero".to_owned()))));
    let mut total = 0;
    loop {
        match receive(link) {
            Frame::Data { bytes, .. } => {
                total += bytes.len() as u64;
                send(link, channel, ToAgent::Credit { bytes: u32::try_from(bytes.len()).expect("a frame") });
            }
            Frame::Control { message: FromAgent::Exited(_), .. } => return total,
            Frame::Control { .. } => {}
        }
    }
}

fn spawn(program: Program) -> Spawn {
    let env = vec!["PATH=/usr/bin:/bin".to_owned()];
    Spawn { program, env, cwd: SandboxPath::parse("/").expect("a path"), stdin: false, terminal: None, credit_bytes: 256 * 1024 }
}

fn idle(when: &str, pid: u32) {
    // An answer may come a moment before the agent has given back its memory.
    std::thread::sleep(Duration::from_millis(50));
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("our child");
    let line = |name: &str| {
        rollup.lines().find(|line| line.starts_with(name)).unwrap_or("").split_whitespace().nth(1).unwrap_or("?").to_owned()
    };
    println!("{when}: PSS {} KiB, of it not backed by the binary {} KiB", line("Pss:"), line("Pss_Anon:"));
}

fn timed(act: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    act();
    micros(begun.elapsed())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn send(link: &mut UnixStream, channel: u32, message: ToAgent) {
    write_frame(link, &Frame::Control { channel, message }).expect("the agent takes it");
}

fn receive(link: &mut UnixStream) -> Frame<FromAgent> {
    read_frame(link).expect("a frame").expect("the agent lives")
}
