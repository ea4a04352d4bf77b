//! The agent as PID 1 of a PID namespace of its own, made with `unshare`: what only an init does.
//! Where namespaces cannot be made it prints why and tests nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pyro_wire::message::{Hello, ProbeName, Program, Spawn};
use pyro_wire::{Frame, FromAgent, SandboxPath, ToAgent, read_frame, write_frame};

const BUILD: &str = "test-build";

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("@agent") => {
            let link = std::io::stdin().as_fd().try_clone_to_owned().expect("a link on descriptor 0");
            let end = pyro_agent::serve(UnixStream::from(link), pyro_agent::Place::Sandbox, BUILD, None);
            std::process::exit(end.exit_code().into());
        }
        // What test runners ask for.
        Some("--list") => println!("pid_1: test"),
        Some(_) | None => {
            let possible = unshare().arg("true").output().expect("unshare is there");
            if !possible.status.success() {
                println!("SKIPPED pid_1: {}", String::from_utf8_lossy(&possible.stderr).trim());
                return;
            }
            init_sees_only_its_own_and_no_signal_from_inside_reaches_it();
            init_reaps_orphans();
            shutdown_ends_daemons_too();
            the_end_of_the_link_ends_everything();
            println!("pid_1: ok");
        }
    }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

struct Init {
    link: UnixStream,
    process: Child,
    channel: u32,
    probes: Vec<pyro_wire::message::Probe>,
}

fn start() -> Init {
    let (link, other) = UnixStream::pair().expect("a socketpair");
    link.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
    let itself = std::env::current_exe().expect("a path");
    let process = unshare().arg(itself).arg("@agent").stdin(Stdio::from(OwnedFd::from(other))).spawn().expect("it starts");
    let mut init = Init { link, process, channel: 0, probes: Vec::new() };
    init.send(ToAgent::Hello(Hello { nonce: 1, build: BUILD.to_owned(), hostname: String::new() }));
    match init.receive() {
        Frame::Control { message: FromAgent::Hello(hello), .. } => init.probes = hello.probes,
        other => panic!("{other:?}"),
    }
    init
}

impl Init {
    fn send(&mut self, message: ToAgent) {
        write_frame(&mut self.link, &Frame::Control { channel: self.channel, message }).expect("the agent takes it");
    }

    fn receive(&mut self) -> Frame<FromAgent> {
        read_frame(&mut self.link).expect("a frame before the deadline").expect("the agent lives")
    }

    fn run(&mut self, line: &str) -> String {
        self.channel += 1;
        let env = vec!["PATH=/usr/bin:/bin".to_owned()];
        let cwd = SandboxPath::parse("/").expect("a path");
        self.send(ToAgent::Spawn(Spawn {
            terminal: None,
            program: Program::Shell(line.to_owned()),
            env,
            cwd,
            stdin: false,
            credit_bytes: 100_000,
        }));
        let mut output = Vec::new();
        loop {
            match self.receive() {
                Frame::Data { bytes, .. } => output.extend(bytes),
                Frame::Control { message: FromAgent::Exited(_), .. } => return String::from_utf8(output).expect("UTF-8"),
                Frame::Control { message: FromAgent::Started { .. }, .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until the last process of the namespace is gone: unshare ends with its child.
    fn gone(mut self) -> bool {
        self.process.wait().expect("our child").success()
    }
}

fn init_sees_only_its_own_and_no_signal_from_inside_reaches_it() {
    let mut init = start();
    let held = |name| init.probes.iter().find(|probe| probe.name == name).is_some_and(|probe| probe.held);
    assert!(held(ProbeName::OwnProcesses), "{:?}", init.probes);
    assert!(held(ProbeName::OwnUserIds), "{:?}", init.probes);
    assert_eq!(init.run("echo $$; kill -9 1; kill -TERM 1; echo still").lines().count(), 2);
}

fn init_reaps_orphans() {
    let mut init = start();
    // A hundred orphans that end at once, then none may be left as a zombie: wait for it, since they end when they like.
    let line =
        "for i in $(seq 100); do (setsid true &) ; done; while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo clean";
    assert_eq!(init.run(line), "clean\n");
}

fn shutdown_ends_daemons_too() {
    let mut init = start();
    init.run("setsid sh -c 'trap \"\" TERM; while :; do sleep 0.01; done' >/dev/null 2>&1 & setsid sleep 1000 >/dev/null 2>&1 &");
    init.channel = 0;
    init.send(ToAgent::Shutdown { grace_ms: 100 });
    assert!(read_frame::<FromAgent>(&mut init.link).expect("the link closes").is_none());
    assert!(init.gone());
}

fn the_end_of_the_link_ends_everything() {
    let mut init = start();
    init.run("setsid sleep 1000 >/dev/null 2>&1 &");
    init.link.shutdown(std::net::Shutdown::Both).expect("it is open");
    assert!(init.gone());
}
