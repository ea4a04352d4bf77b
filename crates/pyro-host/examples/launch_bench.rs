//! What a launch costs, step by step: medians over many runs, for the mode of privilege it is started in.
//!
//! `launch_bench ROOT DIRECTORY [RUNS]`: ROOT is an unpacked root file system, DIRECTORY an empty place for layers. The agent here says
//! hello and waits for the end of its link. `launch_bench one ROOT DIRECTORY` makes one, for timing the process from outside.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use pyro_host::backend::namespaces::{Namespaces, become_inside};
use pyro_host::backend::{Backend, Launch, Limits, StackMount};
use pyro_host::privilege;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "@agent"] => agent(),
        [_, "one", root, directory] => {
            one(Path::new(root), Path::new(directory));
            ExitCode::SUCCESS
        }
        [_, root, directory, ref rest @ ..] => {
            let runs = rest.first().map_or(Ok(200), |runs| runs.parse()).expect("RUNS is a number");
            many(Path::new(root), Path::new(directory), runs);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("launch_bench [one] ROOT DIRECTORY [RUNS]");
            ExitCode::from(2)
        }
    }
}

fn agent() -> ExitCode {
    let Ok(control) = pyro_sys::socket::take_inherited_messages(3) else { return ExitCode::FAILURE };
    let Ok(mut link) = become_inside(control) else { return ExitCode::FAILURE };
    let said = link.write_all(b"!").is_ok();
    let _ = link.read(&mut [0]);
    ExitCode::from(u8::from(!said))
}

fn launch(root: &Path, directory: &Path, number: usize) -> Launch {
    let place = directory.join(number.to_string());
    let (upper, work, staging) = (place.join("upper/root"), place.join("work"), place.join("staging"));
    for directory in [&upper, &work, &staging] {
        fs::create_dir_all(directory).expect("make a layer");
    }
    Launch {
        id: format!("{:08x}{:04x}", std::process::id(), number % 0x10000),
        hostname: "bench".to_owned(),
        mounts: vec![StackMount { at: "/".to_owned(), lowers: vec![root.to_owned()], sealed: 0, upper, work }],
        staging,
        volatile: true,
        limits: Limits { mem_mib: 2_048, disk_mib: 1_024, vcpu_count: 2, pids_max: 1_024 },
    }
}

fn one(root: &Path, directory: &Path) {
    let privilege = privilege::detect().expect("privilege");
    privilege::enter_self(&privilege).expect("enter");
    let backend = Namespaces::new(std::env::current_exe().expect("own path"), privilege);
    let launch = launch(root, directory, std::process::id() as usize);
    let mut sandbox = backend.launch(&launch, &mut || Ok(())).unwrap_or_else(|error| panic!("{error} {:?}", error.hint));
    let mut link = sandbox.link();
    link.read_exact(&mut [0]).expect("hello");
    sandbox.kill().expect("end");
}

fn many(root: &Path, directory: &Path, runs: usize) {
    let started = Instant::now();
    let privilege = privilege::detect().expect("privilege");
    let detected = started.elapsed();
    privilege::enter_self(&privilege).expect("enter");
    let entered = started.elapsed() - detected;
    println!("mode {}: detect {} us, enter {} us (once)", privilege.name(), detected.as_micros(), entered.as_micros());
    let binary: PathBuf = std::env::current_exe().expect("own path");
    let backend = Namespaces::new(binary, privilege);
    let mut steps: Vec<(&'static str, Vec<Duration>)> = Vec::new();
    let mut add = |name: &'static str, took: Duration| match steps.iter_mut().find(|(step, _)| *step == name) {
        Some((_, all)) => all.push(took),
        None => steps.push((name, vec![took])),
    };
    for number in 0..runs {
        let launch = launch(root, directory, number);
        let begin = Instant::now();
        let (mut sandbox, marks) = backend.launch_timed(&launch).unwrap_or_else(|error| panic!("{error} {:?}", error.hint));
        let launched = begin.elapsed();
        let mut link = sandbox.link();
        link.read_exact(&mut [0]).expect("hello");
        let said = begin.elapsed();
        sandbox.kill().expect("end");
        for (name, took) in marks {
            add(name, took);
        }
        add("launch until exec", launched);
        add("agent has said hello", said);
        add("whole, cleaned up", begin.elapsed());
    }
    for (name, mut all) in steps {
        all.sort_unstable();
        let micros = |part: usize| all[(all.len() * part / 100).min(all.len() - 1)].as_micros();
        println!("{name:<44} p50 {:>6} us   p95 {:>6} us   min {:>6} us", micros(50), micros(95), micros(0));
    }
}
