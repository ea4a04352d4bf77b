//! Somebody dies, or the disk is full, at a chosen point of everything that makes, goes back in or takes out the past: afterwards it is done or not done,
//! nothing that was there is lost, nothing is left over, and the next command works.
//!
//! Points are in `pyro-host/src/fault.rs`; a program without them cannot be tested so, and that a point is never reached is a failure.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use pyro_testkit::{DEADLINE, Mode, Ran, TestEnv, skip};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::faults::{SmallDisk, wait_for_a_waiter};

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Whoever has come to the point is killed: a supervisor, a keeper or the command line.
    Owner,
    /// The first process of the sandbox is killed, and the operation goes on.
    Agent,
    /// The command line is killed, and the operation goes on.
    Caller,
    /// The disk refuses there.
    Full,
}

/// An operation, and what is seen of it.
struct Operation {
    name: &'static str,
    /// What is done before, beside what is always done.
    before: fn(&Subject<'_>),
    /// Its arguments; `W` is the workspace, `F` another name, `D` a directory of the test's own.
    arguments: &'static [&'static str],
    /// What the workspace shows when it was not done, and when it was.
    shows: [&'static str; 2],
    /// What else is there when it was done.
    done: fn(&Subject<'_>) -> bool,
    /// Where it is stopped, and what can happen there.
    points: &'static [(&'static str, &'static [Fault])],
}

/// A workspace that an operation is done to: `a` was written, then `b`, each a step.
struct Subject<'a> {
    env: &'a TestEnv,
    workspace: String,
    other: String,
    scratch: &'a std::path::Path,
}

impl Subject<'_> {
    fn pyro(&self, words: &[&str]) -> Ran {
        self.env.pyro(&self.words(words))
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let put = |word: &&str| match *word {
            "W" => self.workspace.clone(),
            "F" => self.other.clone(),
            word => word.replace("D/", &format!("{}/", self.scratch.display())),
        };
        words.iter().map(put).collect()
    }

    fn sh(&self, workspace: &str, line: &str) -> String {
        self.env.pyro(&["workspace", "exec", workspace, "--", "sh", "-c", line]).expect_ok().stdout
    }

    fn is_there(&self, name: &str) -> bool {
        let list = self.env.document(&["workspace", "list"]);
        list["workspaces"].as_array().into_iter().flatten().any(|workspace| workspace["workspace"] == name)
    }

    fn snapshots(&self) -> usize {
        self.env.document(&["workspace", "snapshot", "list", &self.workspace])["snapshots"].as_array().map_or(0, Vec::len)
    }
}

use Fault::{Agent, Caller, Full, Owner};

const ALL: &[Fault] = &[Owner, Agent, Caller, Full];
/// After this nothing can be refused.
const RECORDED: &[Fault] = &[Owner, Agent, Caller];
/// No sandbox is there.
const STILL: &[Fault] = &[Owner, Caller, Full];
const STILL_RECORDED: &[Fault] = &[Owner, Caller];

fn nothing(_: &Subject<'_>) {}

fn always(_: &Subject<'_>) -> bool {
    true
}

fn stopped(subject: &Subject<'_>) {
    subject.pyro(&["workspace", "stop", "W"]).expect_ok();
}

fn forked(subject: &Subject<'_>) {
    subject.pyro(&["workspace", "fork", "W", "--name", "F"]).expect_ok();
    subject.sh(&subject.other, "echo c > c");
    fs::create_dir(subject.scratch.join("source")).expect("a directory");
    fs::write(subject.scratch.join("source/c"), "c\n").expect("a file");
}

/// A process in the background keeps what was written from becoming a step.
fn unsealed(subject: &Subject<'_>) {
    subject.sh(&subject.workspace, "sleep 1000 > /dev/null 2>&1 & echo c > c");
}

/// One more change makes layers fewer.
fn deep(subject: &Subject<'_>) {
    for _ in 0..8 {
        subject.sh(&subject.workspace, "head -c 100000 /dev/urandom > /tmp/much");
    }
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "a command, and the step that is made of it",
        before: nothing,
        arguments: &["workspace", "exec", "W", "--", "sh", "-c", "echo c > c"],
        // Whatever happens to its step, what it wrote stays.
        shows: ["a b c", "a b c"],
        done: always,
        points: &[("copy.made", ALL), ("copy.copied", ALL), ("copy.recorded", RECORDED)],
    },
    Operation {
        name: "a command that writes much, and the step that is made of it",
        before: nothing,
        arguments: &["workspace", "exec", "W", "--", "sh", "-c", "echo c > c; head -c 100000 /dev/zero > /tmp/much"],
        shows: ["a b c", "a b c"],
        done: always,
        points: &[("switch.made", ALL), ("switch.refused", ALL), ("switch.recorded", RECORDED)],
    },
    Operation {
        name: "a command after which layers are made fewer",
        before: deep,
        arguments: &["workspace", "exec", "W", "--", "sh", "-c", "echo c > c; head -c 100000 /dev/zero > /tmp/much"],
        shows: ["a b c", "a b c"],
        done: always,
        points: &[("squash.made", RECORDED), ("squash.recorded", RECORDED)],
    },
    Operation {
        name: "a snapshot",
        before: nothing,
        arguments: &["workspace", "snapshot", "create", "W", "named"],
        shows: ["a b", "a b"],
        done: |subject| subject.snapshots() == 1,
        points: &[("snapshot.sealed", ALL)],
    },
    Operation {
        name: "a snapshot while a process runs",
        before: unsealed,
        arguments: &["workspace", "snapshot", "create", "W", "named"],
        shows: ["a b c", "a b c"],
        done: |subject| subject.snapshots() == 1,
        points: &[("copy.made", ALL), ("copy.copied", ALL), ("snapshot.sealed", ALL)],
    },
    Operation {
        name: "undo",
        before: nothing,
        arguments: &["workspace", "undo", "W"],
        shows: ["a b", "a"],
        done: always,
        points: &[
            ("rewind.ended", STILL),
            // What was copied is put away for another layer.
            ("seal.made", STILL),
            ("seal.recorded", STILL_RECORDED),
            ("go.recorded", STILL_RECORDED),
            ("rewind.gone", STILL_RECORDED),
        ],
    },
    Operation {
        name: "undo of what a process in the background wrote",
        before: unsealed,
        arguments: &["workspace", "undo", "W"],
        shows: ["a b c", "a b"],
        done: always,
        points: &[("rewind.ended", STILL), ("seal.made", STILL), ("seal.recorded", STILL_RECORDED)],
    },
    Operation {
        name: "reset of a workspace that is stopped",
        before: stopped,
        arguments: &["workspace", "reset", "W"],
        shows: ["a b", ""],
        done: always,
        points: &[("go.recorded", STILL_RECORDED)],
    },
    Operation {
        name: "a stop",
        before: unsealed,
        arguments: &["workspace", "stop", "W"],
        shows: ["a b c", "a b c"],
        done: always,
        points: &[("seal.made", STILL), ("seal.recorded", STILL_RECORDED)],
    },
    Operation {
        name: "a fork",
        before: nothing,
        arguments: &["workspace", "fork", "W", "--name", "F"],
        shows: ["a b", "a b"],
        done: |subject| subject.is_there(&subject.other) && subject.sh(&subject.other, LOOK).trim() == "a b",
        points: &[("fork.made", STILL), ("fork.recorded", STILL_RECORDED), ("fork.finished", STILL_RECORDED)],
    },
    Operation {
        name: "the first start of a fork",
        before: |subject| {
            subject.pyro(&["workspace", "fork", "W", "--name", "F"]).expect_ok();
        },
        arguments: &["workspace", "start", "F"],
        shows: ["a b", "a b"],
        done: |subject| subject.sh(&subject.other, LOOK).trim() == "a b",
        points: &[("furnish.half", STILL)],
    },
    Operation {
        name: "a merge",
        before: forked,
        arguments: &["workspace", "merge", "W", "F"],
        shows: ["a b", "a b c"],
        done: always,
        points: &[("change.made", ALL), ("change.built", ALL), ("change.refused", ALL), ("change.recorded", RECORDED)],
    },
    Operation {
        name: "a push",
        before: forked,
        arguments: &["workspace", "sync", "push", "W", "D/source"],
        shows: ["a b", "a b c"],
        done: always,
        points: &[("change.made", ALL), ("change.built", ALL), ("change.refused", ALL), ("change.recorded", RECORDED)],
    },
    Operation {
        name: "an export",
        before: nothing,
        arguments: &["workspace", "export", "W", "--format", "tar", "--output", "D/out.tar"],
        shows: ["a b", "a b"],
        done: |subject| subject.scratch.join("out.tar").exists(),
        points: &[("export.written", ALL)],
    },
    Operation {
        name: "an export of the disk",
        before: stopped,
        arguments: &["workspace", "disk", "export", "W", "--format", "tar", "--output", "D/out.tar"],
        shows: ["a b", "a b"],
        done: |subject| subject.scratch.join("out.tar").exists(),
        points: &[("export.written", STILL)],
    },
    Operation {
        name: "clearing away",
        before: |subject| {
            subject.pyro(&["workspace", "undo", "W"]).expect_ok();
            subject.sh(&subject.workspace, "echo b > b; echo x > /tmp/x");
            subject.pyro(&["workspace", "undo", "W"]).expect_ok();
            subject.sh(&subject.workspace, "echo b > b");
            stopped(subject);
        },
        arguments: &["gc"],
        shows: ["a b", "a b"],
        done: always,
        points: &[("gc.moved", STILL_RECORDED)],
    },
    Operation {
        name: "a new workspace",
        before: nothing,
        arguments: &["workspace", "create", "debian:12", "--name", "F"],
        shows: ["a b", "a b"],
        done: |subject| subject.is_there(&subject.other) && subject.sh(&subject.other, "echo lives") == "lives\n",
        points: &[("create.launched", STILL), ("create.recorded", STILL_RECORDED)],
    },
];

const LOOK: &str = "ls | tr '\\n' ' '; for file in *; do [ ! -e $file ] || [ $(cat $file) = $file ] || echo $file is spoiled; done";

#[test]
fn a_death_or_a_full_disk_at_any_point_leaves_everything_done_or_not_done() {
    crate::namespaces_case(crate::NO_PAST, |env| {
        env.environment("debian:12");
        // Each operation has a home of its own, and waits more than it computes.
        std::thread::scope(|scope| {
            for operations in OPERATIONS.chunks(OPERATIONS.len().div_ceil(3)) {
                scope.spawn(|| operations.iter().for_each(|operation| at_its_points(env, operation)));
            }
        });
    });
}

#[test]
fn a_copy_is_forgotten_by_nobody_before_it_has_its_name() {
    crate::namespaces_case(crate::NO_PAST, |env| {
        env.environment("debian:12");
        let env = env.fresh();
        let scratch = env.scratch();
        let subject = Subject { env: &env, workspace: env.workspace("copied"), other: String::new(), scratch: scratch.path() };
        unsealed(&subject);
        let trap = Trap::set(&env, "snapshot.sealed");
        let snapshot = env.start(&subject.words(&["workspace", "snapshot", "create", "W", "named"]));
        trap.wait("a snapshot");
        let gc = env.start(&["gc"]);
        wait_for_a_waiter(&env, &env.home().join("changes"));
        trap.let_go(Fault::Caller);
        for (what, child) in [("a snapshot", snapshot), ("gc", gc)] {
            env.wait(what, child).expect_ok();
        }
        subject.pyro(&["workspace", "reset", "W", "--snapshot", "named"]).expect_ok();
        assert_eq!(subject.sh(&subject.workspace, LOOK).trim(), "c");
    });
}

fn at_its_points(env: &TestEnv, operation: &Operation) {
    let env = env.fresh();
    for (point, faults) in operation.points {
        for fault in *faults {
            println!("{} at {point}: {fault:?}", operation.name);
            once(&env, operation, point, *fault);
        }
    }
}

fn once(env: &TestEnv, operation: &Operation, point: &str, fault: Fault) {
    let scratch = env.scratch();
    let subject = Subject { env, workspace: env.workspace("point"), other: env.name("other"), scratch: scratch.path() };
    subject.sh(&subject.workspace, "echo a > a");
    subject.sh(&subject.workspace, "echo b > b");
    // A step is made behind the answer: what asks for one waits until it is.
    subject.pyro(&["workspace", "diff", "W"]).expect_ok();
    (operation.before)(&subject);
    let supervisor = fs::read_to_string(env.home().join("workspaces").join(env.id(&subject.workspace)).join("lease"));
    let supervisor = supervisor.ok().and_then(|text| text.trim().parse().ok());

    let trap = Trap::set(env, point);
    let child = env.start(&subject.words(operation.arguments));
    let (caller, what) = (crate::pid_of(&child), format!("{} at {point}: {fault:?}", operation.name));
    let owner = trap.wait(&what);
    match fault {
        Owner => crate::signal(owner, Signal::KILL),
        Agent => {
            let agent = agent_of(supervisor.expect("a workspace that runs has a supervisor"));
            crate::signal(agent, Signal::KILL);
        }
        // It may have had its answer already.
        Caller => drop(kill_process(Pid::from_raw(caller).expect("a process"), Signal::KILL)),
        Full => {}
    }
    trap.let_go(fault);
    let ran = env.wait(&what, child);
    if fault == Full && ran.code != 0 {
        assert!(ran.stderr.contains("No space left"), "{what}: {}", ran.all());
    }
    // Who was killed may have had somebody who goes on: wait until nobody is at work any more.
    env.wait_for("whoever was stopped to be done", || is_quiet(fault, owner, caller).then_some(()));

    if fault == Agent {
        // Its supervisor may learn of it from the next command, which is then lost with the sandbox and says so.
        let first = subject.pyro(&["workspace", "exec", "W", "--", "true"]);
        assert!(first.code == 0 || first.stderr.contains("the sandbox was lost"), "{what}: {}", first.all());
    }
    // Who asks first may find it settled or settle it.
    let seen = subject.sh(&subject.workspace, LOOK);
    let seen = seen.trim();
    let [not_done, done] = operation.shows;
    assert!(seen == not_done || seen == done, "{what}: {seen:?} is neither {not_done:?} nor {done:?}\n{}", ran.all());
    if ran.code == 0 {
        assert!(seen == done && (operation.done)(&subject), "{what}: it said that it was done, and shows {seen:?}\n{}", ran.all());
    } else if fault == Full {
        assert!(seen == not_done, "{what}: it was refused, and shows {seen:?}\n{}", ran.all());
    }
    // What still runs in the background keeps steps from being told apart.
    stopped(&subject);
    if subject.is_there(&subject.other) {
        // Made or not made, and never half.
        subject.sh(&subject.other, "echo lives");
    }
    subject.sh(&subject.workspace, "echo works > /tmp/works");
    subject.pyro(&["workspace", "undo", "W"]).expect_ok();
    assert_eq!(subject.sh(&subject.workspace, LOOK).trim(), seen, "{what}: after one more change that was undone");
    env.assert_no_leaks();
    for name in [&subject.workspace, &subject.other] {
        // The other may never have been made.
        env.pyro(&["workspace", "delete", name]);
    }
}

/// Whether who was stopped at a point is gone when it was killed, or else waits for calls or has ended, and its caller has ended.
fn is_quiet(fault: Fault, owner: i32, caller: i32) -> bool {
    let role = fs::read(format!("/proc/{owner}/cmdline")).unwrap_or_default();
    let goes_on = fault != Owner && role.split(|byte| *byte == 0).any(|word| word == b"@supervisor");
    // A thread that lets go of a mount ends later, and keeps the socket and the lease until then.
    let lives = |pid: i32| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ") || threads > 1)
    };
    !lives(caller) && (goes_on || !lives(owner))
}

/// The first process of the sandbox of a supervisor.
fn agent_of(supervisor: i32) -> i32 {
    let children = fs::read_dir(format!("/proc/{supervisor}/task")).into_iter().flatten().flatten();
    let children = children.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let all: Vec<i32> =
        children.flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    let [agent] = all.as_slice() else { panic!("supervisor {supervisor} has the children {all:?}") };
    *agent
}

/// Stops whoever comes to a point.
struct Trap {
    says: File,
    tells: File,
    paths: [std::path::PathBuf; 2],
}

impl Trap {
    fn set(env: &TestEnv, point: &str) -> Self {
        let pipes = env.home().join("faults");
        fs::create_dir_all(&pipes).expect("a directory in the home");
        let paths = [pipes.join(point), pipes.join(format!("{point}.go"))];
        let [says, tells] = paths.each_ref().map(|path| {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from(0o600)).expect("a pipe");
            let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).expect("both ends of a pipe")
        });
        Self { says, tells, paths }
    }

    /// Waits until somebody is there, whom nobody follows, and gives its process id.
    fn wait(&self, what: &str) -> i32 {
        let mut fds = [PollFd::new(&self.says, PollFlags::IN)];
        let deadline = Timespec { tv_sec: DEADLINE.as_secs().cast_signed(), tv_nsec: 0 };
        let ready = poll(&mut fds, Some(&deadline)).expect("poll a pipe");
        assert!(ready > 0, "waited {DEADLINE:?} for {what}: nobody came to the point");
        self.paths.iter().for_each(|path| fs::remove_file(path).expect("it is there"));
        let mut text = [0; 16];
        let length = (&self.says).read(&mut text).expect("there is something to read");
        std::str::from_utf8(&text[..length]).ok().and_then(|text| text.parse().ok()).expect("a process id")
    }

    fn let_go(mut self, fault: Fault) {
        let word: &[u8] = if fault == Full { b"full" } else { b"on" };
        self.tells.write_all(word).expect("room in a pipe");
        // Both ends stay open until it has been read: whoever is told opened its own end before.
    }
}

#[test]
fn on_a_disk_without_a_free_byte_everything_is_refused_or_done_and_nothing_is_lost() {
    crate::namespaces_case(crate::NO_PAST, |env| {
        if Mode::ours() != Mode::Root {
            return skip("root", "only root can mount a small disk");
        }
        env.environment("debian:12");
        let (here, scratch) = (env.scratch(), env.scratch());
        let disk = match SmallDisk::mount(here.path(), 48) {
            Ok(disk) => disk,
            Err(why) => return skip("a loop device", why.trim()),
        };
        let small = env.fresh_at(&disk.at.join("home"));
        for operation in OPERATIONS {
            let scratch = scratch.path().join(operation.name);
            fs::create_dir(&scratch).expect("a directory");
            let subject =
                Subject { env: &small, workspace: small.workspace("full"), other: small.name("other"), scratch: &scratch };
            subject.sh(&subject.workspace, "echo a > a");
            subject.sh(&subject.workspace, "echo b > b");
            (operation.before)(&subject);
            let filler = disk.fill();
            let ran = subject.pyro(operation.arguments);
            disk.free(&filler);
            let seen = subject.sh(&subject.workspace, LOOK);
            let [not_done, done] = operation.shows;
            if ran.code == 0 {
                assert!(seen.trim() == done && (operation.done)(&subject), "{}: {seen}\n{}", operation.name, ran.all());
            } else {
                // What a command cannot write it says itself, and so does the database.
                assert!(
                    ran.all().contains("No space left") || ran.all().contains("disk is full"),
                    "{}: {}",
                    operation.name,
                    ran.all()
                );
                assert!(
                    seen.trim() == not_done || operation.arguments.contains(&"exec"),
                    "{}: {seen}\n{}",
                    operation.name,
                    ran.all()
                );
                if operation.arguments.contains(&"disk") {
                    // To look has started it.
                    stopped(&subject);
                }
                let again = subject.pyro(operation.arguments).expect_ok();
                assert!((operation.done)(&subject), "{}: with room again: {}\nafter {}", operation.name, again.all(), ran.all());
                assert_eq!(subject.sh(&subject.workspace, LOOK).trim(), done, "{}: with room again", operation.name);
            }
            for name in [&subject.workspace, &subject.other] {
                small.pyro(&["workspace", "delete", name]);
            }
            small.assert_no_leaks();
        }
    });
}
