//! The supervisor against agents of every kind: the real one on a thread (`loopback`), the hostile ones of the test kit, and one that is
//! honest until it falls silent. None of them isolates anything, so they stand behind backends that exist only here.
//!
//! Nothing sleeps. Whatever is waited for is an event, and every test as a whole ends within [`TEST_TIME_MAX`] or fails.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pyro_api::envelope::Input;
use pyro_api::ops::exec::{ExecResponse, Outcome, RunResponse};
use pyro_api::ops::file::{DiffRequest, DiffResponse, FileReadResponse, FileWriteResponse};
use pyro_api::ops::workspace::{Guarantee, IsolationReport};
use pyro_api::values::{IsolationLevel, IsolationMinimum};
use pyro_api::{Call, Error, ErrorKind, Event, Reply, Result};
use pyro_layer::{Detail, Marks, MountedStack, Owners, Stack};
use pyro_testkit::hostile::{Asked, ESCAPES, Ends, Hostile, TABLE};
use pyro_testkit::loopback;
use pyro_wire::frame::{Frame, encode_control, read_frame};
use pyro_wire::limits::OUTPUT_CREDIT_BYTES;
use pyro_wire::message::AgentHello;
use pyro_wire::{FromAgent, ToAgent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::control::{Connection, LINE_BYTES_MAX, OUTPUT_HIGH_WATER_BYTES};
use super::exec::ExecPlan;
use super::launch::{Live, Welcomed, bring_up, bring_up_within, welcome};
use super::output::KEPT_BYTES_MAX;
use super::past::{Past, Ways};
use super::tasks::DIFFS_MAX;
use super::{Life, Patience, Subject, Supervisor};
use crate::backend::{Backend, Launch, LayersAt, Limits, MakeLayers, Pressure, Sandbox, StackMount};
use crate::clock;
use crate::home::{Home, Place};
use crate::layers::{self, Naming};
use crate::manifest::{Manifest, Mount};
use crate::replies::Replies;
use crate::state::WorkspaceState;
use crate::store::{Store, WorkspaceRecord};
use crate::{BUILD, Session, begin, client};

/// Far above what any test takes on a slow, busy machine.
const TEST_TIME_MAX: Duration = Duration::from_secs(120);

/// An id that no real workspace has: the test's home has no other.
const ID: &str = "0123456789ab";

// --- the insides -----------------------------------------------------------------------------------------------------

/// Something that happens once.
#[derive(Default)]
struct Flag(Mutex<bool>, Condvar);

impl Flag {
    fn raise(&self) {
        *self.0.lock().expect("nobody panics with it") = true;
        self.1.notify_all();
    }
    fn is_up(&self) -> bool {
        *self.0.lock().expect("nobody panics with it")
    }
    fn wait(&self) {
        let up = self.0.lock().expect("nobody panics with it");
        let (_up, waited) = self.1.wait_timeout_while(up, TEST_TIME_MAX, |up| !*up).expect("nobody panics with it");
        assert!(!waited.timed_out(), "it did not happen");
    }
}

/// A sandbox that is a peer at the other end of a socket, and nothing else.
struct Pretended {
    link: Option<UnixStream>,
    /// The same socket: closing it is all the killing there is.
    cord: UnixStream,
    /// Ends when the peer has.
    gone: UnixStream,
    /// Held so that `gone` does not end, where nobody tells the end of the peer.
    _alive: Option<UnixStream>,
    layers: LayersAt,
    killed: Arc<Flag>,
}

impl Sandbox for Pretended {
    fn link(&mut self) -> UnixStream {
        self.link.take().expect("it is taken once")
    }
    fn watch(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }
    fn probe(&self) -> Vec<Guarantee> {
        let all = IsolationLevel::Namespaces.guarantees().iter();
        all.map(|name| Guarantee { name: *name, held: true, detail: "said the test".into() }).collect()
    }
    fn pressure(&self) -> Pressure {
        Pressure::default()
    }
    fn layers(&self) -> LayersAt {
        self.layers
    }
    fn slowness(&self) -> u32 {
        1
    }
    fn settles_within(&self) -> Duration {
        Duration::ZERO
    }
    fn condemn(&self) {}

    fn kill(self: Box<Self>) -> Result<()> {
        // A peer that is gone already is as dead as it can be.
        let _ = self.cord.shutdown(Shutdown::Both);
        self.killed.raise();
        Ok(())
    }
}

/// What plays the inside.
enum Inside {
    Real,
    /// The same, with layers that only it reads.
    Layered(Stack),
    Hostile(&'static Hostile),
    /// Says hello, starts what it is told to start, and then hears nothing any more.
    FallsSilent,
}

/// A backend for one launch of one inside.
struct PretendedBackend {
    inside: Inside,
    killed: Arc<Flag>,
}

impl Backend for PretendedBackend {
    fn name(&self) -> &'static str {
        "pretended"
    }
    fn launch(&self, _launch: &Launch, _make_layers: &mut MakeLayers<'_>) -> Result<Box<dyn Sandbox>> {
        let pair = || UnixStream::pair().expect("a socket pair");
        let (link, gone, alive, layers) = match &self.inside {
            Inside::Real => {
                let agent = loopback::start(BUILD, None);
                (agent.link, agent.gone, None, LayersAt::Outside)
            }
            Inside::Layered(layers) => {
                let agent = loopback::start(BUILD, Some(layers.clone()));
                (agent.link, agent.gone, None, LayersAt::Inside)
            }
            Inside::Hostile(hostile) => {
                let ((link, inside), (gone, alive)) = (pair(), pair());
                drop(hostile.start(inside));
                (link, gone, Some(alive), LayersAt::Inside)
            }
            Inside::FallsSilent => {
                let ((link, inside), (gone, alive)) = (pair(), pair());
                std::thread::spawn(move || fall_silent(inside));
                (link, gone, Some(alive), LayersAt::Inside)
            }
        };
        let cord = link.try_clone().expect("a second descriptor");
        Ok(Box::new(Pretended { link: Some(link), cord, gone, _alive: alive, layers, killed: Arc::clone(&self.killed) }))
    }
}

fn fall_silent(mut link: UnixStream) {
    let say = |link: &mut UnixStream, channel, message: FromAgent| {
        let mut bytes = Vec::new();
        encode_control(channel, &message, &mut bytes).expect("it keeps the bounds");
        // The other end may be gone.
        let _ = link.write_all(&bytes);
    };
    while let Ok(Some(frame)) = read_frame::<ToAgent>(&mut link) {
        match frame {
            Frame::Control { channel, message: ToAgent::Hello(hello) } => {
                say(
                    &mut link,
                    channel,
                    FromAgent::Hello(AgentHello { nonce: hello.nonce, build: hello.build, probes: Vec::new() }),
                );
            }
            Frame::Control { channel, message: ToAgent::Spawn(_) } => say(&mut link, channel, FromAgent::Started { pid: 2 }),
            Frame::Control { .. } | Frame::Data { .. } => {}
        }
    }
}

fn launch() -> Launch {
    Launch {
        id: ID.into(),
        hostname: "test".into(),
        mounts: Vec::new(),
        staging: "/nowhere".into(),
        volatile: false,
        limits: Limits { mem_mib: 64, disk_mib: 1_024, vcpu_count: 1, pids_max: 64 },
    }
}

// --- a running workspace ---------------------------------------------------------------------------------------------

/// A home with one workspace, and its supervisor on a thread.
struct Running {
    _directory: tempfile::TempDir,
    home: Home,
    place: Place,
    serving: JoinHandle<Result<()>>,
    killed: Arc<Flag>,
    /// Closing it or writing to it asks the supervisor to end.
    _signals: UnixStream,
}

fn quick() -> Patience {
    Patience {
        kill_confirm: Duration::from_millis(300),
        grace: Duration::from_millis(300),
        settle: Some(Duration::ZERO),
        last_words: Duration::from_secs(60),
        idle: Duration::from_secs(3600),
    }
}

fn live(inside: Inside) -> Result<(Live, Arc<Flag>)> {
    let killed = Arc::<Flag>::default();
    let backend = PretendedBackend { inside, killed: Arc::clone(&killed) };
    let sandbox = backend.launch(&launch(), &mut || Ok(()))?;
    let Welcomed { sandbox, link, .. } = welcome(sandbox, &launch(), BUILD, TEST_TIME_MAX)?;
    let isolation = IsolationReport { backend: "pretended".into(), summary: "none".into(), guarantees: Vec::new() };
    Ok((Live { sandbox, link, isolation }, killed))
}

fn subject(place: Place) -> Subject {
    Subject {
        id: ID.into(),
        name: "tested".into(),
        environment: "none".into(),
        place,
        environment_vars: Vec::new(),
        mounts: Vec::new(),
        mem_mib: 64,
    }
}

fn run(inside: Inside, patience: Patience) -> Running {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(&directory.path().join("home")).expect("a new home");
    let place = home.workspace(ID);
    std::fs::create_dir_all(place.execs()).expect("a place");
    let mut store = Store::open(&home).expect("a database");
    let manifest = Manifest::new(
        ID.into(),
        "tested".into(),
        Default::default(),
        "none".into(),
        "none".into(),
        Vec::<Mount>::new(),
        (1, 64, 1024),
        "namespaces".into(),
        None,
        1,
    );
    let naming = Naming::shared(&home).expect("a home");
    let live_layer = layers::make(&home, &naming, &[], ID, &[]).expect("a layer");
    let record = WorkspaceRecord {
        manifest,
        state: WorkspaceState::Running,
        used_at: clock::Instant(1),
        exec_count: 0,
        isolation: None,
        live: live_layer,
        expires_at: None,
    };
    store.insert(&record).expect("a new row");
    let listener = begin::listen(&place).expect("a control socket");
    let (live, killed) = live(inside).expect("an agent that says hello");
    let (asked, signals) = UnixStream::pair().expect("a socket pair");
    let position = store.position(ID).expect("where it stands");
    let ways = Ways { owners: Owners::CallerOnly, marks: Marks::User };
    let never = Box::new(|_: &[StackMount]| Err(Error::internal("nothing is launched again here")));
    let past = Past::new(&home, Vec::new(), position, None, ways, never);
    let life = Life::Workspace { store, listener: Some(listener), last_exec: 0, past: Box::new(past) };
    let mut supervisor = Supervisor::new(subject(place.clone()), life, live, OwnedFd::from(asked)).expect("a supervisor");
    supervisor.patience = patience;
    let serving = std::thread::spawn(move || supervisor.serve());
    Running { _directory: directory, home, place, serving, killed, _signals: signals }
}

impl Running {
    fn caller(&self) -> Caller {
        let stream = client::connect(&self.place.control()).expect("a socket").expect("a supervisor that listens");
        Caller::new(stream)
    }

    /// Makes one call and gives its answer.
    fn ask(&self, op: &str, request: Value) -> Result<Value> {
        let mut caller = self.caller();
        caller.call(op, request);
        caller.answer().1
    }

    fn exec(&self, command: &[&str]) -> ExecResponse {
        response(self.ask("workspace exec", exec_request(command)))
    }

    fn stop(&self) {
        self.ask("workspace stop", Value::Null).expect("it can be stopped");
    }

    /// Waits for the end of the supervisor: what is recorded then.
    fn end(self) -> WorkspaceState {
        self.serving.join().expect("it does not panic").expect("everything was taken away and recorded");
        assert!(self.killed.is_up(), "the sandbox was not killed");
        Store::open(&self.home).expect("a database").get(ID).expect("the row").state
    }
}

fn exec_request(command: &[&str]) -> Value {
    json!({ "workspace": "tested", "command": command, "cwd": "/", "timeout_seconds": 600 })
}

fn response<T: serde::de::DeserializeOwned>(answer: Result<Value>) -> T {
    serde_json::from_value(answer.expect("no error")).expect("a response of this type")
}

/// Somebody at the control socket who says exactly what a test wants to be said.
struct Caller {
    stream: UnixStream,
    replies: Replies,
}

impl Caller {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(TEST_TIME_MAX)).expect("a timeout");
        Self { stream, replies: Replies::default() }
    }

    fn say<T: serde::Serialize>(&mut self, line: &T) {
        let mut bytes = serde_json::to_vec(line).expect("JSON");
        bytes.push(b'\n');
        self.stream.write_all(&bytes).expect("the supervisor reads");
    }

    /// Says a line that nobody may read any more.
    fn say_or_miss<T: serde::Serialize>(&mut self, line: &T) {
        let mut bytes = serde_json::to_vec(line).expect("JSON");
        bytes.push(b'\n');
        let _ = self.stream.write_all(&bytes);
    }

    fn call(&mut self, op: &str, request: Value) {
        self.say(&Call { op: op.into(), request, stream: true, stdin: false });
    }

    /// The next reply, if there is one more.
    fn reply(&mut self) -> Option<Reply> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(reply) = self.replies.next().expect("a reply") {
                return Some(reply);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.replies.add(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}"),
            }
        }
    }

    /// The next output, as text.
    fn output(&mut self) -> String {
        match self.reply() {
            Some(Reply::Event(Event::Stdout(bytes))) => String::from_utf8(bytes).expect("text"),
            other => panic!("no output but {other:?}"),
        }
    }

    /// Reads to the answer: how many bytes of output came before it, and what it is.
    fn answer(&mut self) -> (u64, Result<Value>) {
        let mut bytes = 0;
        loop {
            match self.reply().expect("an answer before the end") {
                Reply::Event(Event::Stdout(piece) | Event::Stderr(piece)) => bytes += piece.len() as u64,
                Reply::Event(Event::Progress(_)) => {}
                Reply::Response(value) => return (bytes, Ok(value)),
                Reply::Error(error) => return (bytes, Err(error)),
                Reply::Declined => panic!("declined"),
            }
        }
    }

    fn exec_answer(&mut self) -> ExecResponse {
        response(self.answer().1)
    }
}

/// Fails when `body` is not done in time: what hangs is named and does not hold up the rest.
fn within(name: &str, body: impl FnOnce() + Send + 'static) {
    let (done, end) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        body();
        // The test waits, or has failed already.
        let _ = done.send(());
    });
    match end.recv_timeout(TEST_TIME_MAX) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name} hangs"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Waits until a process of this machine is gone.
fn wait_until_gone(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    let timeout = Timespec::try_from(TEST_TIME_MAX).expect("a time");
    assert_eq!(poll(&mut fds, Some(&timeout)), Ok(1), "process {pid:?} lives on");
}

fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") / 1024
}

// --- hostile agents --------------------------------------------------------------------------------------------------

/// Short, so that the silent ones are through soon; the others answer at once.
const HELLO: Duration = Duration::from_secs(2);

#[test]
fn every_hostile_agent_ends_as_it_must() {
    within("a hostile agent", || {
        std::thread::scope(|scope| {
            for hostile in TABLE {
                scope.spawn(move || match hostile.ends {
                    Ends::ViolationAtHello | Ends::SilentAtHello => refused_at_hello(hostile),
                    Ends::Violation | Ends::Gone | Ends::Well => refused_while_it_runs(hostile),
                });
            }
        });
        // One of them sends 512 MiB.
        assert!(peak_memory_mib() < 400, "{} MiB were held", peak_memory_mib());
    });
}

fn refused_at_hello(hostile: &'static Hostile) {
    let killed = Arc::<Flag>::default();
    let backend = PretendedBackend { inside: Inside::Hostile(hostile), killed: Arc::clone(&killed) };
    let deadline = if hostile.ends == Ends::SilentAtHello { HELLO } else { TEST_TIME_MAX };
    let Err(error) = bring_up_within(&backend, &launch(), &mut || Ok(()), &IsolationMinimum::default(), BUILD, deadline) else {
        panic!("{}: it counts as up", hostile.name);
    };
    let (kind, begins) = match hostile.ends {
        Ends::SilentAtHello => (ErrorKind::Timeout, "the agent did not answer within 2 s"),
        _ if matches!(hostile.name, "nonce_wrong" | "build_wrong") => (ErrorKind::Sandbox, "the agent is not of the same build"),
        _ => (ErrorKind::Sandbox, "the agent broke the protocol: "),
    };
    assert_eq!(error.kind, kind, "{}: {error}", hostile.name);
    assert!(error.message.starts_with(begins), "{}: {error}", hostile.name);
    assert!(!error.message.contains(|c: char| c.is_control()), "{}: {error:?}", hostile.name);
    assert!(killed.is_up(), "{}: its sandbox lives on", hostile.name);
}

fn refused_while_it_runs(hostile: &'static Hostile) {
    let running = run(Inside::Hostile(hostile), quick());
    // It does not read before the end, so no credit is given back: what comes beyond the first credit is too much.
    let mut caller = running.caller();
    match hostile.asked() {
        Asked::Command => caller.call("workspace exec", exec_request(&["true"])),
        Asked::Diff => caller.call("workspace diff", json!({ "workspace": "tested" })),
    }
    let name = hostile.name;
    if hostile.ends == Ends::Well {
        if hostile.asked() == Asked::Diff {
            let answer: DiffResponse = response(caller.answer().1);
            assert_eq!((answer.changes.len(), answer.changes[0].path.as_str(), answer.patch.as_str()), (1, ESCAPES, ESCAPES));
            running.stop();
            assert_eq!(running.end(), WorkspaceState::Stopped, "{name}");
            return;
        }
        let answer = caller.exec_answer();
        assert_eq!(answer.outcome, Outcome::Exited { code: 0 }, "{name}");
        // Drawn and escaped: nothing of it acts on whoever reads it.
        let text = if name == "escape_sequences_in_output" { "red \\u{202e}gpj.exe \\u{9b}31m\n" } else { "slow" };
        assert_eq!(answer.stdout.text, text, "{name}");
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped, "{name}");
        return;
    }
    let killed = Arc::clone(&running.killed);
    let answers = std::thread::spawn(move || {
        killed.wait();
        caller.answer().1
    });
    let state = running.end();
    let WorkspaceState::Failed { why } = &state else { panic!("{name}: it is {state:?}") };
    let begins = if hostile.ends == Ends::Gone { "the agent closed the link" } else { "the agent broke the protocol: " };
    assert!(why.starts_with(begins), "{name}: {why}");
    let answer = answers.join().expect("an answer");
    if hostile.asked() == Asked::Diff {
        match answer {
            Err(error) => assert_eq!((error.kind, &error.message), (ErrorKind::Sandbox, why), "{name}"),
            Ok(_) => assert!(matches!(name, "diff_ended_twice" | "patch_after_the_end"), "{name}: there is a diff"),
        }
        return;
    }
    match response::<ExecResponse>(answer).outcome {
        Outcome::SandboxLost { reason } => assert_eq!(&reason, why, "{name}"),
        // These tell the truth once before they lie.
        outcome => assert!(
            matches!(name, "exited_twice" | "output_after_exited") && outcome == Outcome::Exited { code: 0 },
            "{name}: its command ended with {outcome:?}"
        ),
    }
}

#[test]
fn an_agent_that_never_stops_sending_keeps_nobody_waiting() {
    within("an endless agent", || {
        let endless = TABLE.iter().find(|hostile| hostile.name == "output_endless").expect("it is in the table");
        let running = run(Inside::Hostile(endless), quick());
        let mut victim = running.caller();
        // Wants no events, so credit is given back as fast as it is used.
        let mut request = exec_request(&["true"]);
        request["timeout_seconds"] = json!(1);
        victim.say(&Call { op: "workspace exec".into(), request, stream: false, stdin: false });
        for _ in 0..20 {
            // Until the time of the command is up, and its end is not confirmed.
            let Ok(Some(stream)) = client::connect(&running.place.control()) else { break };
            let mut caller = Caller::new(stream);
            caller.call("workspace start", Value::Null);
            match caller.reply() {
                Some(Reply::Response(Value::Null)) | None => {}
                other => panic!("not answered but {other:?}"),
            }
        }
        let outcome = victim.exec_answer().outcome;
        let Outcome::SandboxLost { reason } = outcome else { panic!("its command ended with {outcome:?}") };
        assert!(reason.starts_with("the agent "), "{reason}");
        assert_eq!(running.end(), WorkspaceState::Failed { why: reason });
    });
}

#[test]
fn an_agent_that_does_not_confirm_a_kill_is_not_believed_any_more() {
    within("an agent that falls silent", || {
        for hang_up in [false, true] {
            let running = run(Inside::FallsSilent, quick());
            let mut caller = running.caller();
            caller.call("workspace exec", exec_request(&["true"]));
            let mut other = running.caller();
            other.call("workspace exec", exec_request(&["true"]));
            if hang_up {
                drop(caller);
            } else {
                caller.say(&Input::Signal(0));
            }
            let reason = "the agent did not confirm that a killed command is gone".to_owned();
            // Whoever else is there hears the same: the whole sandbox is lost.
            assert_eq!(other.exec_answer().outcome, Outcome::SandboxLost { reason: reason.clone() });
            assert_eq!(running.end(), WorkspaceState::Failed { why: reason });
        }
    });
}

#[test]
fn a_file_request_that_is_not_answered_ends_too() {
    within("an agent that falls silent", || {
        let running = run(Inside::FallsSilent, quick());
        let mut caller = running.caller();
        caller.call("workspace file list", json!({ "workspace": "tested" }));
        caller.say(&Input::Signal(0));
        let error = caller.answer().1.expect_err("it was not answered");
        let reason = "the agent did not confirm that a file request was given up";
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Sandbox, reason));
        assert!(error.hint.is_some());
        assert_eq!(running.end(), WorkspaceState::Failed { why: reason.into() });
    });
}

#[test]
fn a_stop_does_not_wait_for_an_agent_that_does_not_stop() {
    within("a stop", || {
        let running = run(Inside::FallsSilent, quick());
        let mut caller = running.caller();
        caller.call("workspace exec", exec_request(&["true"]));
        running.stop();
        assert_eq!(caller.exec_answer().outcome, Outcome::SandboxLost { reason: "the workspace was stopped".into() });
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn a_place_that_isolates_nothing_is_refused_and_killed() {
    within("the real agent", || {
        let killed = Arc::<Flag>::default();
        let backend = PretendedBackend { inside: Inside::Real, killed: Arc::clone(&killed) };
        let Err(error) = bring_up(&backend, &launch(), &mut || Ok(()), &IsolationMinimum::default(), BUILD) else {
            panic!("it counts as a sandbox")
        };
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(
            error.message.starts_with("isolation namespaces cannot be met: ") && error.message.contains("own_processes"),
            "{error}"
        );
        assert!(killed.is_up());
    });
}

// --- callers and the real agent --------------------------------------------------------------------------------------

#[test]
fn a_caller_that_does_not_read_stops_its_command_and_nothing_else() {
    within("a slow caller", || {
        const TOTAL: u64 = 16 << 20;
        /// What may be taken from the command: one credit, and what the caller's queue and socket hold.
        const TAKEN_MAX: u64 = OUTPUT_CREDIT_BYTES as u64 + 4 * OUTPUT_HIGH_WATER_BYTES as u64;
        let running = run(Inside::Real, quick());
        let mut slow = running.caller();
        slow.call("workspace exec", exec_request(&["head", "-c", &TOTAL.to_string(), "/dev/zero"]));
        let kept = running.place.execs().join("1.out");
        let taken = || std::fs::metadata(&kept).map_or(0, |found| found.len());
        // Others are served meanwhile. When nothing was taken over so many of their turns, it has stopped.
        let (mut seen, mut same) = (0, 0);
        while seen == 0 || same < 20 {
            assert_eq!(running.exec(&["true"]).outcome, Outcome::Exited { code: 0 });
            let now = taken();
            same = if now == seen { same + 1 } else { 0 };
            seen = now;
            assert!(now <= TAKEN_MAX, "{now} bytes were taken for a caller that does not read");
        }
        // It reads, and gets everything.
        let (bytes, answer) = slow.answer();
        let answer: ExecResponse = response(answer);
        assert_eq!((bytes, answer.stdout.bytes_total, taken()), (TOTAL, TOTAL, TOTAL));
        assert_eq!(answer.outcome, Outcome::Exited { code: 0 });
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn a_caller_that_goes_away_takes_its_command_with_it() {
    within("a caller that goes away", || {
        let running = run(Inside::Real, quick());
        for garbage in [false, true] {
            let mut caller = running.caller();
            caller.call("workspace exec", exec_request(&["sh", "-c", "trap '' TERM HUP; echo $$; exec sleep 1000"]));
            let pid = caller.output().trim().parse().expect("a process id");
            if garbage {
                // Not a line of any protocol: there is an answer, and it is the last.
                caller.stream.write_all(b"stop that\n").expect("it reads");
                assert_eq!(caller.answer().1.expect_err("that was no line").kind, ErrorKind::Invalid);
                assert!(caller.reply().is_none());
            }
            drop(caller);
            wait_until_gone(pid);
        }
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn two_callers_are_served_at_once() {
    within("two callers", || {
        let running = run(Inside::Real, quick());
        let mut first = running.caller();
        let request = exec_request(&["sh", "-c", "echo ready; read -r line; echo \"got $line\""]);
        first.say(&Call { op: "workspace exec".into(), request, stream: true, stdin: true });
        assert_eq!(first.output(), "ready\n");
        assert_eq!(running.exec(&["echo", "second"]).stdout.text, "second\n");
        first.say(&Input::Stdin(b"this\n".to_vec()));
        assert_eq!(first.exec_answer().stdout.text, "ready\ngot this\n");
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn one_connection_serves_call_after_call_whatever_came_too_late() {
    within("a connection", || {
        let running = run(Inside::Real, quick());
        let mut caller = running.caller();
        caller.call("workspace fly", Value::Null);
        let error = caller.answer().1.expect_err("it cannot");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("does not know the operation workspace fly") && error.hint.is_some(), "{error}");
        for _ in 0..2 {
            let request = exec_request(&["true"]);
            caller.say(&Call { op: "workspace exec".into(), request, stream: true, stdin: true });
            assert_eq!(caller.exec_answer().outcome, Outcome::Exited { code: 0 });
            // For a command that has ended.
            caller.say(&Input::Stdin(b"late".to_vec()));
            caller.say(&Input::Signal(15));
            caller.say(&Input::StdinEnd);
        }
        caller.call("workspace exec", json!({ "workspace": "tested" }));
        assert_eq!(caller.answer().1.expect_err("no command").kind, ErrorKind::Invalid);
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn a_line_without_end_is_refused_and_keeps_nobody_waiting() {
    within("a long line", || {
        let running = run(Inside::Real, quick());
        let mut caller = running.caller();
        let mut stream = caller.stream.try_clone().expect("a second descriptor");
        let (half, at_half) = mpsc::channel();
        let writer = std::thread::spawn(move || {
            let piece = vec![b'x'; 1 << 20];
            for number in 0..2 * LINE_BYTES_MAX / piece.len() {
                if number == 16 {
                    half.send(()).expect("somebody waits for it");
                }
                // Cut off, as is meant to happen.
                if stream.write_all(&piece).is_err() {
                    return;
                }
            }
        });
        at_half.recv().expect("it gets there");
        assert_eq!(running.exec(&["echo", "me too"]).stdout.text, "me too\n");
        let error = caller.answer().1.expect_err("it is too long");
        assert_eq!(error.kind, ErrorKind::Limit);
        assert!(caller.reply().is_none());
        writer.join().expect("it ends");
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn the_largest_file_goes_in_and_comes_out_again() {
    within("a large file", || {
        let running = run(Inside::Real, quick());
        let path = running.home.root().join("large");
        let path = path.to_str().expect("text");
        let content: Vec<u8> = (0..16_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let write = json!({ "workspace": "tested", "path": path, "base64": STANDARD.encode(&content) });
        let written: FileWriteResponse = response(running.ask("workspace file write", write));
        assert_eq!(written.size_bytes, 16 << 20);
        assert!(std::fs::read(path).expect("the file") == content, "it was changed on its way in");
        // Through the client that front ends use.
        let request = json!({ "workspace": "tested", "path": path, "max_bytes": 16 << 20 });
        let call = Call { op: "workspace file read".into(), request, stream: false, stdin: false };
        let stream = client::connect(&running.place.control()).expect("a socket").expect("a supervisor");
        let read: FileReadResponse = response(client::converse(&stream, &call, &mut Session::new(&mut |_| {})));
        assert!(STANDARD.decode(read.content).expect("base64") == content, "it was changed on its way out");
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn an_answer_that_no_caller_would_read_becomes_an_error() {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let mut connection = Connection::new(theirs).expect("a connection");
    // Each of these characters takes six bytes of JSON.
    connection.answer(Ok(Value::String("\u{1}".repeat(LINE_BYTES_MAX / 6 + 1))));
    connection.flush().expect("there is room for an error");
    drop(connection);
    let error = Caller::new(ours).answer().1.expect_err("it is too long");
    assert_eq!(error.kind, ErrorKind::Limit);
    assert!(error.hint.is_some());
}

#[test]
fn a_diff_is_the_same_whoever_reads_the_layers() {
    within("a diff", || {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layers =
            Stack { upper: directory.path().join("upper"), lowers: vec![directory.path().join("lower")], marks: Marks::User };
        let write = |layer: &std::path::Path, name: &str, content: &str| {
            let path = layer.join(name);
            std::fs::create_dir_all(path.parent().expect("it is in the layer")).expect("a directory");
            std::fs::write(path, content).expect("a file");
        };
        for (name, content) in [("workspace/edited", "one\ntwo\n"), ("workspace/same", "same\n"), ("etc/hosts", "localhost\n")] {
            write(&layers.lowers[0], name, content);
        }
        for (name, content) in
            [("workspace/edited", "one\n2\n"), ("workspace/same", "same\n"), ("etc/hosts", ""), ("workspace/\u{1b}[31m", "")]
        {
            write(&layers.upper, name, content);
        }
        // More of a patch than one credit.
        write(&layers.upper, "workspace/long", &"line\n".repeat(OUTPUT_CREDIT_BYTES as usize / 3));
        let mount = MountedStack { at: "/".into(), stacks: layers.clone().changes_of_upper() };
        let running = run(Inside::Layered(layers), quick());
        for (path, stat, count) in
            [("/workspace", false, 3), ("/", false, 4), ("/", true, 4), ("edited", false, 1), ("/none", false, 0)]
        {
            let request = json!({ "workspace": "tested", "path": path, "stat": stat });
            let inside: DiffResponse = response(running.ask("workspace diff", request));
            assert_eq!((inside.changes.len(), inside.patch.is_empty()), (count, stat || count == 0), "{path}");
            let detail = Detail { stat, renames: true, ..Detail::default() };
            let read = crate::diff::diff("tested", std::slice::from_ref(&mount), &path.parse().expect("a path"), detail);
            let outside = read.expect("readable layers");
            assert_eq!(serde_json::to_string(&inside).expect("JSON"), serde_json::to_string(&outside).expect("JSON"), "{path}");
        }
        let error = running.ask("workspace diff", json!({ "workspace": "tested", "path": "../.." })).expect_err("no path");
        assert_eq!(error.kind, ErrorKind::Invalid);
        // It was read and not there any more.
        std::fs::remove_dir_all(directory.path().join("lower")).expect("it can be removed");
        let error = running.ask("workspace diff", json!({ "workspace": "tested" })).expect_err("a layer is gone");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.starts_with("the changes cannot be read: No such file") && error.hint.is_some(), "{error}");
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn diffs_that_are_made_inside_are_counted_and_can_be_taken_back() {
    within("diffs", || {
        let running = run(Inside::FallsSilent, quick());
        // They are heard in the order in which they came.
        let ask = |_| {
            let mut caller = running.caller();
            caller.call("workspace diff", json!({ "workspace": "tested" }));
            caller
        };
        let mut callers: Vec<Caller> = (0..=DIFFS_MAX).map(ask).collect();
        let error = callers[DIFFS_MAX].answer().1.expect_err("one too many");
        assert_eq!(error.kind, ErrorKind::Limit);
        let caller = &mut callers[0];
        caller.say(&Input::Signal(0));
        let reason = "the agent did not confirm that a file request was given up";
        assert_eq!(caller.answer().1.expect_err("it was not answered").message, reason);
        assert_eq!(running.end(), WorkspaceState::Failed { why: reason.into() });
    });
}

#[test]
fn a_stop_ends_commands_that_do_not_want_to_end() {
    within("a stop", || {
        let running = run(Inside::Real, quick());
        let mut caller = running.caller();
        caller.call("workspace exec", exec_request(&["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1000; done"]));
        let pid = caller.output().trim().parse().expect("a process id");
        running.stop();
        let outcome = caller.exec_answer().outcome;
        assert!(matches!(outcome, Outcome::SandboxLost { .. } | Outcome::Signaled { .. }), "{outcome:?}");
        wait_until_gone(pid);
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn a_request_to_end_is_heard_once_and_is_a_stop() {
    within("a signal", || {
        let mut running = run(Inside::FallsSilent, quick());
        running._signals.write_all(&[0]).expect("it listens");
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn a_command_that_takes_too_long_is_killed() {
    within("a deadline", || {
        let running = run(Inside::Real, quick());
        let mut caller = running.caller();
        let mut request = exec_request(&["sh", "-c", "trap '' TERM; echo $$; exec sleep 1000"]);
        request["timeout_seconds"] = json!(1);
        caller.call("workspace exec", request);
        let pid = caller.output().trim().parse().expect("a process id");
        let answer = caller.exec_answer();
        assert_eq!(answer.outcome, Outcome::TimedOut { after_seconds: 1 });
        wait_until_gone(pid);
        // It is the command that is at an end, not the workspace.
        assert_eq!(running.exec(&["true"]).outcome, Outcome::Exited { code: 0 });
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn output_beyond_the_cap_is_counted_and_not_kept() {
    within("a long output", || {
        const EXTRA: u64 = 12_345;
        let running = run(Inside::Real, quick());
        let answer = running.exec(&["head", "-c", &(KEPT_BYTES_MAX + EXTRA).to_string(), "/dev/zero"]);
        assert_eq!((answer.stdout.bytes_total, answer.stdout.bytes_dropped), (KEPT_BYTES_MAX + EXTRA, EXTRA));
        assert!(answer.stdout.text.len() < 128 * 1024, "{} bytes are shown", answer.stdout.text.len());
        let kept = std::fs::metadata(running.place.execs().join("1.out")).expect("it was kept");
        assert_eq!(kept.len(), KEPT_BYTES_MAX);
        running.stop();
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}

#[test]
fn a_slow_reader_of_a_run_gets_all_of_it() {
    within("a run", || {
        /// Less than the first credit, so that the command can end before anybody reads; more than a socket holds, in base64.
        const TOTAL: u64 = 240 * 1024;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = Home::open(&directory.path().join("home")).expect("a new home");
        let (live, _) = live(Inside::Real).expect("an agent that says hello");
        let mut gone = live.sandbox.watch().try_clone_to_owned().map(UnixStream::from).expect("a second descriptor");
        let (asked, _signals) = UnixStream::pair().expect("a socket pair");
        let mut supervisor =
            Supervisor::new(subject(home.unfinished(ID)), Life::Run, live, OwnedFd::from(asked)).expect("a supervisor");
        // It would lose everything that is not read at once, if a run had no more patience than a stop.
        supervisor.patience = Patience { last_words: Duration::ZERO, ..quick() };
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let mut connection = Connection::new(theirs).expect("a connection");
        let mut reader = Caller::new(ours);
        reader.call("run", Value::Null);
        assert_eq!(connection.read().expect("the caller is there").len(), 1);
        let caller = supervisor.add_connection(connection);
        let plan = ExecPlan {
            command: serde_json::from_value(json!(["sh", "-c", format!("head -c {TOTAL} /dev/zero")])).expect("a command"),
            cwd: "/".parse().expect("a path"),
            env: vec!["PATH=/usr/bin:/bin".into()],
            stdin: None,
            stdin_streams: false,
            timeout: TEST_TIME_MAX,
            wait: None,
            terminal: None,
            shown: None,
        };
        supervisor.begin_exec(caller, &plan).expect("it is sent");
        let serving = std::thread::spawn(move || supervisor.serve());
        // From here on it is read what the sandbox has left.
        gone.read_to_end(&mut Vec::new()).expect("the end of the agent");
        let (mut bytes, mut answer) = (0, None);
        while answer.is_none() {
            match reader.reply().expect("all of it, and the answer") {
                Reply::Event(Event::Stdout(piece)) => bytes += piece.len() as u64,
                Reply::Response(value) => answer = Some(response::<RunResponse>(Ok(value))),
                other => panic!("not expected: {other:?}"),
            }
        }
        assert_eq!((bytes, answer.expect("an answer").stdout.bytes_total), (TOTAL, TOTAL));
        serving.join().expect("it does not panic").expect("nothing is left");
    });
}

// --- the caller's side -----------------------------------------------------------------------------------------------

#[test]
fn an_answer_is_heard_though_nobody_hears_us_any_more() {
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    theirs.write_all(b"{\"response\":7}\n").expect("there is room");
    drop(theirs);
    let (input, mut writer) = UnixStream::pair().expect("a socket pair");
    writer.write_all(&[b'x'; 1000]).expect("there is room");
    let call = Call { op: "run".into(), request: Value::Null, stream: false, stdin: true };
    let mut on_event = |_| {};
    let mut session = Session { stdin: Some(input.as_fd()), ..Session::new(&mut on_event) };
    let answer = client::converse(&ours, &call, &mut session).expect("it was said before the end");
    assert_eq!(answer, json!(7));
}

#[test]
fn a_supervisor_that_goes_without_an_answer_or_talks_nonsense_is_an_error() {
    for (said, kind) in [("", ErrorKind::Sandbox), ("{\"event\":\n", ErrorKind::Unavailable), ("hello?\n", ErrorKind::Unavailable)]
    {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        theirs.write_all(said.as_bytes()).expect("there is room");
        drop(theirs);
        let call = Call { op: "workspace start".into(), request: Value::Null, stream: false, stdin: false };
        let error: Error = client::converse(&ours, &call, &mut Session::new(&mut |_| {})).expect_err("no answer");
        assert_eq!(error.kind, kind, "{said:?}: {error}");
        assert!(error.hint.is_some(), "{said:?}");
    }
}

#[test]
fn a_file_request_has_its_time() {
    let (mut task, _) = super::files::FileTask::list(
        "tested",
        1,
        &serde_json::from_value(json!({ "workspace": "tested", "path": "/etc" })).unwrap(),
    )
    .unwrap();
    let confirm = Duration::from_secs(5);
    let now = Instant::now();
    assert_eq!(task.due(now, confirm), super::Due::Nothing);
    let late = now + Duration::from_secs(3600);
    assert_eq!(task.due(late, confirm), super::Due::Kill);
    assert_eq!(task.due(late + confirm / 2, confirm), super::Due::Nothing);
    assert_eq!(task.due(late + confirm, confirm), super::Due::Distrust);
    let failed = pyro_wire::message::Failed { errno: 125, step: pyro_wire::message::FileStep::Open };
    let Ok(super::files::Step::Done(Err(error))) = task.message(FromAgent::Failed(failed)) else { panic!("it goes on") };
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Timeout, "the request about /etc took longer than 120 s"));

    // It may compare everything that was ever written.
    let (mut diff, _) = super::files::FileTask::diff("tested", 1, "/workspace".parse().unwrap(), &counted());
    assert_eq!(diff.due(now + Duration::from_secs(599), confirm), super::Due::Nothing);
    assert_eq!(diff.due(late, confirm), super::Due::Kill);
}

#[test]
fn whoever_comes_while_it_ends_is_declined_and_never_left_alone() {
    within("callers of a supervisor that ends", || {
        let running = run(Inside::FallsSilent, quick());
        // One said nothing yet, one asks while it ends, one more is never accepted by the loop.
        let mut silent = running.caller();
        let mut stopper = running.caller();
        stopper.call("workspace stop", Value::Null);
        let mut asking = Vec::new();
        while let Ok(Some(stream)) = client::connect(&running.place.control()) {
            let mut caller = Caller::new(stream);
            caller.say_or_miss(&Call { op: "workspace exec".into(), request: exec_request(&["true"]), stream: true, stdin: false });
            asking.push(caller);
            std::thread::yield_now();
            if asking.len() == 64 {
                break;
            }
        }
        for mut caller in asking {
            match caller.reply() {
                Some(Reply::Declined) => {}
                // Before the stop was heard: it ended with it.
                Some(Reply::Response(response)) => {
                    let outcome = serde_json::from_value::<ExecResponse>(response).expect("a response").outcome;
                    assert!(matches!(outcome, Outcome::SandboxLost { .. }), "{outcome:?}");
                }
                other => panic!("neither declined nor answered but {other:?}"),
            }
        }
        assert!(matches!(silent.reply(), Some(Reply::Declined)));
        assert!(matches!(stopper.reply(), Some(Reply::Response(Value::Null))));
    });
}

#[test]
fn a_diff_that_only_counts_takes_no_text() {
    let diff = || super::files::FileTask::diff("tested", 1, "/workspace".parse().unwrap(), &counted()).0;
    let violation = |step: std::result::Result<super::files::Step, pyro_wire::Violation>| step.expect_err("it is one").0;
    let content = violation(diff().data(pyro_wire::Stream::Content, b"patch"));
    assert_eq!(content, "content came for a request that reads nothing");
    let left_out = violation(diff().message(FromAgent::Diffed(pyro_wire::message::Diffed { omitted: 1 })));
    assert_eq!(left_out, "more changes were left out of the patch than there are");
    let ended = diff().message(FromAgent::Diffed(pyro_wire::message::Diffed { omitted: 0 }));
    assert!(matches!(ended, Ok(super::files::Step::Done(Ok(_)))), "{ended:?}");
}

/// A request that wants lines counted.
fn counted() -> DiffRequest {
    serde_json::from_value(json!({ "workspace": "tested", "stat": true })).expect("a request")
}

#[test]
fn a_workspace_that_nobody_wants_stops_by_itself() {
    within("an idle end", || {
        let running = run(Inside::Real, Patience { idle: Duration::from_millis(200), ..quick() });
        // Somebody who is there keeps it, whether or not they want something.
        let caller = running.caller();
        assert!(matches!(running.exec(&["true"]).outcome, Outcome::Exited { code: 0 }));
        drop(caller);
        assert_eq!(running.end(), WorkspaceState::Stopped);
    });
}
