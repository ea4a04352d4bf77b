//! The namespaces backend against the real kernel, in every mode of privilege: root, an ordinary user with sub-ids, an ordinary user
//! without.
//!
//! A case enters its user's place, which takes a process with one thread: each runs in one of its own, which the runner here starts. It must run as root, because
//! it changes to the users `pyro-test-range` and `pyro-test-single`; where they are missing the suite fails and says how to make them.
//!
//! The program inside is this one too, as `@agent`: it answers questions over the link, one line each, so that nothing is needed in the
//! sandbox's file system. Where a launch is of a program, it is this one once more, as `@program`, and there is a case with the real Firecracker:
//! `PYRO_TEST_FIRECRACKER` says where it is.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use pyro_api::ErrorKind;
use pyro_api::ops::workspace::GuaranteeName;
use pyro_api::values::IsolationLevel;
use pyro_host::backend::firecracker::{self, Props, Then};
use pyro_host::backend::machine::open_to_read;
use pyro_host::backend::namespaces::{Devices, LINK, Layers, Namespaces, Program, become_inside, cgroup};
use pyro_host::backend::{Backend, Launch, Limits, Sandbox, StackMount};
use pyro_host::privilege::{self, Privilege};
use pyro_sys::attempt::{ATTEMPTS, Outcome, try_mount};
use pyro_sys::{confine, socket, spawn};

/// How long anything may take that should take milliseconds: for a machine that is busy with something else.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Root,
    Range,
    Single,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Root, Self::Range, Self::Single];

    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Range => "range",
            Self::Single => "single",
        }
    }

    fn user(self) -> Option<&'static str> {
        match self {
            Self::Root => None,
            Self::Range => Some("pyro-test-range"),
            Self::Single => Some("pyro-test-single"),
        }
    }

    /// How to make the user of this mode.
    fn recipe(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Range => {
                "apt-get install uidmap; useradd pyro-test-range; usermod --add-subuids 231072-296607 --add-subgids 231072-296607 pyro-test-range"
            }
            Self::Single => "useradd -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 pyro-test-single",
        }
    }
}

/// Puts something where a directory belongs.
type Shape<'a> = Box<dyn Fn(&Path) + 'a>;

type Case = (&'static str, &'static [Mode], fn(&Bench));

const CASES: &[Case] = &[
    ("nothing_that_must_not_work_works", &Mode::ALL, nothing_that_must_not_work_works),
    ("no_file_system_can_be_mounted", &Mode::ALL, no_file_system_can_be_mounted),
    ("the_first_process_sees_its_own_world_only", &Mode::ALL, the_first_process_sees_its_own_world_only),
    ("dev_is_exactly_the_list", &Mode::ALL, dev_is_exactly_the_list),
    ("a_file_of_the_host_is_not_there", &Mode::ALL, a_file_of_the_host_is_not_there),
    ("descriptors_of_the_supervisor_do_not_get_in", &Mode::ALL, descriptors_of_the_supervisor_do_not_get_in),
    ("guarantees_of_the_level_are_seen_from_outside", &Mode::ALL, guarantees_of_the_level_are_seen_from_outside),
    ("files_made_inside_have_their_ids_on_disk", &Mode::ALL, files_made_inside_have_their_ids_on_disk),
    ("further_overlays_and_missing_mount_points", &Mode::ALL, further_overlays_and_missing_mount_points),
    ("layers_by_name_give_the_same", &Mode::ALL, layers_by_name_give_the_same),
    ("a_hostile_root_is_refused_and_nothing_is_mounted_outside", &Mode::ALL, a_hostile_root_is_refused),
    ("killing_ends_every_process_and_leaves_nothing", &Mode::ALL, killing_ends_every_process_and_leaves_nothing),
    ("a_sandbox_dies_with_its_supervisor", &Mode::ALL, a_sandbox_dies_with_its_supervisor),
    ("a_process_with_threads_launches_too", &Mode::ALL, a_process_with_threads_launches_too),
    ("what_was_begun_ahead_is_used_or_ended", &Mode::ALL, what_was_begun_ahead_is_used_or_ended),
    ("an_agent_that_cannot_be_run_is_an_error_with_a_hint", &[Mode::Root], an_agent_that_cannot_be_run_is_an_error),
    ("the_memory_limit_kills_and_is_counted", &[Mode::Root], the_memory_limit_kills_and_is_counted),
    ("the_pids_limit_stops_forks", &[Mode::Root], the_pids_limit_stops_forks),
    ("a_process_starts_in_a_v2_group", &[Mode::Root], a_process_starts_in_a_v2_group),
    ("a_sandbox_id_is_used_once_at_a_time", &[Mode::Root], a_sandbox_id_is_used_once_at_a_time),
    ("leftover_groups_are_found_and_swept", &[Mode::Root], leftover_groups_are_found_and_swept),
    ("kvm_is_there_for_a_program_that_asks_and_for_nobody_else", &Mode::ALL, kvm_is_there_for_a_program_that_asks),
    ("what_a_monitor_may_only_read_it_cannot_open_again_to_write", &Mode::ALL, what_a_monitor_may_only_read),
    ("firecracker_takes_every_setting_in_its_sandbox", &Mode::ALL, firecracker_takes_every_setting),
    ("firecracker_says_what_is_wrong_with_a_setting", &Mode::ALL, firecracker_says_what_is_wrong),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "@agent"] => agent(),
        [_, "@program"] => {
            confine::not_dumpable().expect("hide");
            serve(socket::take_inherited_stream(LINK).expect("the link"))
        }
        [_, "@case", name, mode, home] => {
            let case = CASES.iter().find(|(case, _, _)| *case == name).expect("the runner names a case that exists");
            case.2(&Bench::new(mode, Path::new(home)));
            ExitCode::SUCCESS
        }
        _ => runner(&arguments[1..]),
    }
}

// ---------------------------------------------------------------------------------------------------------------- runner

fn runner(arguments: &[String]) -> ExitCode {
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, modes, _) in CASES {
            for mode in *modes {
                println!("{name}::{}: test", mode.name());
            }
        }
        return ExitCode::SUCCESS;
    }
    if confine::effective_ids().0 != 0 {
        println!("FAILED: this suite changes to other users, so it must run as root");
        return ExitCode::FAILURE;
    }
    // A place that every user can read, with a copy of this program: a build directory often is not one.
    let place = std::env::temp_dir().join(format!("pyro-namespaces-{}", std::process::id()));
    fs::create_dir(&place).expect("make a directory for the tests");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("open it");
    let program = place.join("program");
    fs::copy(std::env::current_exe().expect("own path"), &program).expect("copy the test program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("make it executable");

    // Likewise.
    let monitor = std::env::var_os(FIRECRACKER).filter(|program| !program.is_empty()).map(|program| {
        let copy = place.join("firecracker");
        fs::copy(program, &copy).expect("copy the program of PYRO_TEST_FIRECRACKER");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("make it executable");
        copy
    });

    let (mut passed, mut failed) = (0, Vec::new());
    for (number, (name, modes, _)) in CASES.iter().enumerate() {
        for mode in *modes {
            let full = format!("{name}::{}", mode.name());
            if filter.is_some_and(|filter| !full.contains(filter.as_str())) {
                continue;
            }
            let home = place.join(format!("{}-{number}", mode.name()));
            match run_case(&program, monitor.as_deref(), name, *mode, &home) {
                Ok(said) => {
                    said.lines().filter(|line| line.starts_with("SKIPPED ")).for_each(|line| println!("{line}"));
                    println!("test {full} ... ok");
                    passed += 1;
                }
                Err(why) => {
                    println!("test {full} ... FAILED\n{why}");
                    failed.push(full);
                }
            }
        }
    }
    let removed = fs::remove_dir_all(&place);
    println!("\ntest result: {}. {passed} passed; {} failed", if failed.is_empty() { "ok" } else { "FAILED" }, failed.len());
    removed.expect("a sandbox has left something that cannot be removed");
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_case(program: &Path, monitor: Option<&Path>, name: &str, mode: Mode, home: &Path) -> Result<String, String> {
    fs::create_dir(home).map_err(|error| error.to_string())?;
    let mut command = match mode.user() {
        None => Command::new(program),
        Some(user) => {
            let (uid, gid) = ids_of(user).ok_or_else(|| format!("there is no user {user}: {}", mode.recipe()))?;
            chown(home, Some(uid), Some(gid)).map_err(|error| error.to_string())?;
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--init-groups".to_owned()]);
            command.arg("--inh-caps=-all").arg(program);
            command
        }
    };
    if let Some(monitor) = monitor {
        command.env(FIRECRACKER, monitor);
    }
    let output = command
        .args(["@case", name, mode.name()])
        .arg(home)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

fn ids_of(user: &str) -> Option<(u32, u32)> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

// ------------------------------------------------------------------------------------------------------------- one case

/// What a case works with: a home of its own, in the mode it was started in.
struct Bench {
    mode: Mode,
    home: PathBuf,
    privilege: Privilege,
}

impl Bench {
    fn new(mode: &str, home: &Path) -> Self {
        let mode = Mode::ALL.into_iter().find(|one| one.name() == mode).expect("a mode");
        // What no sandbox may ever see. Written before anything else, as the user of the host.
        fs::write(home.join("canary"), "the host's").expect("write the canary");
        let privilege = privilege::detect().expect("this machine can make sandboxes");
        assert_eq!(privilege.name(), mode.name(), "{privilege:?}: {}", mode.recipe());
        privilege::enter_self(&privilege).expect("enter");
        Self { mode, home: home.to_owned(), privilege }
    }

    fn backend(&self) -> Namespaces {
        Namespaces::new(std::env::current_exe().expect("own path"), self.privilege.clone())
    }

    /// A root file system with nothing but the directories that every environment has.
    fn layer(&self, name: &str) -> PathBuf {
        let root = self.home.join(name);
        for directory in ["dev", "proc", "sys", "run", "tmp", "etc", "workspace"] {
            fs::create_dir_all(root.join(directory)).expect("make a layer");
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("open /tmp");
        root
    }

    fn stack(&self, at: &str, lowers: Vec<PathBuf>, name: &str) -> StackMount {
        let (upper, work) = (self.home.join(name).join("upper/root"), self.home.join(name).join("work"));
        for directory in [&upper, &work] {
            fs::create_dir_all(directory).expect("make a writable layer");
        }
        StackMount { at: at.to_owned(), lowers, sealed: 0, upper, work }
    }

    /// Different for every process, so that two runs of the suite do not share control groups.
    fn id_of(&self, pid: i32) -> String {
        format!("{pid:08x}{:04x}", self.mode as u32)
    }

    fn launch(&self, lower: PathBuf) -> Launch {
        let staging = self.home.join("staging");
        fs::create_dir_all(&staging).expect("make the staging directory");
        Launch {
            id: self.id_of(spawn::own_pid()),
            hostname: "brave-otter".to_owned(),
            mounts: vec![self.stack("/", vec![lower], "disk")],
            staging,
            volatile: false,
            limits: Limits { mem_mib: 64, disk_mib: 1_024, vcpu_count: 1, pids_max: 64 },
        }
    }

    /// Mounts of this process that have to do with this case: other things happen on the machine too.
    fn mounts(&self) -> Vec<String> {
        let home = self.home.to_str().expect("a plain path");
        let all = fs::read_to_string("/proc/self/mountinfo").expect("own mounts");
        all.lines().filter(|line| line.contains(home) || line.contains(" pyro ")).map(str::to_owned).collect()
    }

    fn start(&self) -> Running {
        let launch = self.launch(self.layer("base"));
        self.start_with(&launch)
    }

    fn start_with(&self, launch: &Launch) -> Running {
        match self.backend().launch(launch, &mut || Ok(())) {
            Ok(sandbox) => Running::new(sandbox),
            Err(error) => panic!("launch: {error} ({:?})", error.hint),
        }
    }
}

struct Running {
    sandbox: Box<dyn Sandbox>,
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Running {
    fn new(mut sandbox: Box<dyn Sandbox>) -> Self {
        let to = sandbox.link();
        to.set_read_timeout(Some(DEADLINE)).expect("set a deadline");
        let from = BufReader::new(to.try_clone().expect("copy the link"));
        Self { sandbox, to, from }
    }

    /// Asks the agent, and gives the lines of its answer.
    fn ask(&mut self, question: &str) -> Vec<String> {
        writeln!(self.to, "{question}").expect("ask");
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.from.read_line(&mut line).expect("answer") > 0, "the agent is gone, asked: {question}");
            match line.trim_end_matches('\n') {
                "." => return lines,
                line => lines.push(line.to_owned()),
            }
        }
    }

    fn end(self) {
        self.sandbox.kill().expect("end the sandbox");
    }
}

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

// ---------------------------------------------------------------------------------------------------------------- inside

/// The program inside: a question a line, answers in lines, a dot at the end.
fn agent() -> ExitCode {
    confine::not_dumpable().expect("hide");
    let Ok(control) = socket::take_inherited_messages(3) else { return ExitCode::FAILURE };
    let Ok(link) = become_inside(control) else { return ExitCode::FAILURE };
    serve(link)
}

fn serve(link: UnixStream) -> ExitCode {
    let mut to = link.try_clone().expect("copy the link");
    for question in BufReader::new(link).lines() {
        let Ok(question) = question else { break };
        let (what, rest) = question.split_once(' ').unwrap_or((&question, ""));
        let mut answer = answer(what, rest).join("\n");
        if !answer.is_empty() {
            answer.push('\n');
        }
        answer.push_str(".\n");
        if to.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn answer(what: &str, rest: &str) -> Vec<String> {
    let shown = |result: std::io::Result<String>| vec![result.unwrap_or_else(|error| format!("error {error}"))];
    match what {
        "attempts" => ATTEMPTS
            .iter()
            .filter_map(|attempt| match attempt.try_out() {
                Ok(Outcome::Refused) => None,
                other => Some(format!("{}: {other:?}", attempt.name)),
            })
            .collect(),
        "mounts" => rest
            .split(' ')
            .filter(|kind| {
                let kind = CString::new(*kind).expect("names of file systems have no NUL");
                !matches!(try_mount(&kind), Ok(Outcome::Refused))
            })
            .map(str::to_owned)
            .collect(),
        "pid" => vec![std::process::id().to_string()],
        "read" => shown(fs::read_to_string(rest)),
        "list" => match fs::read_dir(rest) {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
            Err(error) => vec![format!("error {error}")],
        },
        "link" => shown(fs::read_link(rest).map(|target| target.to_string_lossy().into_owned())),
        "stat" => shown(fs::metadata(rest).map(|data| {
            let kind = if data.file_type().is_char_device() {
                "device"
            } else if data.is_dir() {
                "directory"
            } else {
                "other"
            };
            format!("{kind} {} {:o} {}:{}", data.rdev(), data.mode() & 0o7777, data.uid(), data.gid())
        })),
        "write" => shown(fs::write(rest, rest).map(|()| "done".to_owned())),
        "own" => {
            let (id, path) = rest.split_once(' ').expect("an id and a path");
            let id = id.parse().expect("an id");
            shown(chown(path, Some(id), Some(id)).map(|()| "done".to_owned()))
        }
        // Processes that outlive everything but the end of the sandbox.
        "stay" => {
            let count: u32 = rest.parse().expect("a number");
            let pids = (0..count).map_while(|_| spawn::fork_into(spawn::Namespaces::NONE, None, wait_for_ever).ok());
            pids.map(|child| child.pid().to_string()).collect()
        }
        // A child that fills memory, and how it ended.
        "fill" => {
            let mib: usize = rest.parse().expect("a number");
            let child = spawn::fork_into(spawn::Namespaces::NONE, None, || {
                let bytes = vec![1_u8; mib << 20];
                u8::from(bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() == 0)
            });
            vec![format!("{:?}", child.and_then(|child| child.wait()).map_err(|error| error.to_string()))]
        }
        other => vec![format!("error: no question {other}")],
    }
}

fn wait_for_ever() -> u8 {
    loop {
        std::thread::park();
    }
}

// ----------------------------------------------------------------------------------------------------------------- cases

fn nothing_that_must_not_work_works(bench: &Bench) {
    let mut running = bench.start();
    assert_eq!(running.ask("attempts"), Vec::<String>::new());
    running.end();
}

fn no_file_system_can_be_mounted(bench: &Bench) {
    let kinds = fs::read_to_string("/proc/filesystems").expect("file systems of the host");
    let kinds: Vec<&str> = kinds.lines().filter_map(|line| line.split_ascii_whitespace().last()).collect();
    assert!(kinds.contains(&"overlay") && kinds.contains(&"proc") && kinds.len() > 5, "{kinds:?}");
    let mut running = bench.start();
    assert_eq!(running.ask(&format!("mounts {}", kinds.join(" "))), Vec::<String>::new());
    running.end();
}

fn the_first_process_sees_its_own_world_only(bench: &Bench) {
    let mut running = bench.start();
    assert_eq!(running.ask("pid"), ["1"]);
    let numbers = running.ask("list /proc");
    let pids: Vec<&String> = numbers.iter().filter(|name| name.parse::<u32>().is_ok()).collect();
    assert_eq!(pids, ["1"]);
    assert_eq!(running.ask("read /proc/sys/kernel/hostname")[0], "brave-otter");
    assert_eq!(running.ask("read /proc/self/cgroup").iter().filter(|line| !line.is_empty() && !line.ends_with(":/")).count(), 0);
    let status = running.ask("read /proc/self/status").join("\n");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a field").trim().to_owned();
    assert_eq!(field("Uid:").split_ascii_whitespace().collect::<Vec<_>>(), ["0"; 4]);
    assert_eq!(field("Gid:").split_ascii_whitespace().collect::<Vec<_>>(), ["0"; 4]);
    if bench.mode != Mode::Single {
        assert_eq!(field("Groups:"), "");
    }
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("CapBnd:"), "00000000800401fb");
    assert_eq!(field("CapAmb:"), "0000000000000000");
    assert_eq!(field("SigBlk:"), "0000000000000000");
    assert_eq!(field("Umask:"), "0022");
    let masked = running.ask("read /proc/keys").concat() + &running.ask("read /proc/interrupts").concat();
    assert_eq!(masked, "", "masked files are empty");
    let devices = running.ask("read /proc/net/dev");
    assert_eq!(devices.iter().filter(|line| line.contains(':')).count(), 1, "{devices:?}");
    assert_eq!(running.ask("read /proc/sys/net/ipv4/ip_unprivileged_port_start")[0], "0");
    running.end();
}

fn dev_is_exactly_the_list(bench: &Bench) {
    let mut running = bench.start();
    let golden = ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"];
    assert_eq!(running.ask("list /dev").into_iter().collect::<BTreeSet<_>>(), set(&golden));
    assert_eq!(running.ask("list /dev/pts"), ["ptmx"]);
    // The numbers of Documentation/admin-guide/devices.txt; dev_t of glibc is major << 8 | minor for small ones.
    for (name, major, minor) in [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        let seen = running.ask(&format!("stat /dev/{name}")).concat();
        assert!(seen.starts_with(&format!("device {} 666 ", major << 8 | minor)), "{name}: {seen}");
    }
    assert!(running.ask("stat /dev/shm").concat().starts_with("directory 0 1777 0:0"));
    assert!(running.ask("read /dev/null").concat().is_empty());
    assert_eq!(running.ask("write /dev/shm/x"), ["done"]);
    assert_eq!(running.ask("write /run/x"), ["done"]);
    running.end();
}

fn a_file_of_the_host_is_not_there(bench: &Bench) {
    let mut running = bench.start();
    let canary = bench.home.join("canary");
    assert!(canary.exists());
    for prefix in [
        "",
        "/..",
        "/../../../..",
        "/proc/self/root",
        "/proc/self/cwd",
        "/proc/1/root",
        "/proc/1/cwd",
        "/dev/fd/3",
        "/proc/thread-self/root/..",
    ] {
        let seen = running.ask(&format!("read {prefix}{}", canary.display())).concat();
        assert!(seen.starts_with("error"), "{prefix}: {seen}");
    }
    // Nothing that is mounted has its root in the host's file system.
    let mounts = running.ask("read /proc/self/mountinfo").join("\n");
    let home = bench.home.to_str().expect("a plain path");
    for line in mounts.lines() {
        let root = line.split_ascii_whitespace().nth(3).expect("a root");
        assert!(!root.contains(home), "{line}");
    }
    running.end();
}

fn descriptors_of_the_supervisor_do_not_get_in(bench: &Bench) {
    // Files that are not close-on-exec, as a careless caller would leave them: those of the standard streams.
    let _open: Vec<fs::File> = (0..20).map(|_| fs::File::open(bench.home.join("canary")).expect("open")).collect();
    let mut running = bench.start();
    // The fourth is the listing itself, and the link was copied once.
    let mut seen = Vec::new();
    for number in running.ask("list /proc/self/fd") {
        seen.push((number.clone(), running.ask(&format!("link /proc/self/fd/{number}")).concat()));
    }
    let others: Vec<_> = seen
        .iter()
        .filter(|(number, target)| match number.as_str() {
            "0" | "1" | "2" => target != "/dev/null",
            "3" => !target.starts_with("socket:"),
            // The copy of the link that this agent made, and the listing, which is gone again.
            _ => !(target.starts_with("socket:") || target.starts_with("error")),
        })
        .collect();
    assert!(others.is_empty() && seen.len() >= 4, "{seen:?}");
    running.end();
}

fn guarantees_of_the_level_are_seen_from_outside(bench: &Bench) {
    let mut running = bench.start();
    running.ask("pid");
    let guarantees = running.sandbox.probe();
    let held = |name| guarantees.iter().find(|guarantee| guarantee.name == name).expect("every guarantee is probed").held;
    for name in IsolationLevel::Namespaces.guarantees() {
        assert!(held(*name), "{guarantees:?}");
    }
    assert!(!held(GuaranteeName::OwnKernel) && !held(GuaranteeName::DiskLimit));
    for name in [GuaranteeName::MemoryLimit, GuaranteeName::PidsLimit, GuaranteeName::CpuLimit] {
        // Ordinary users have them only where a service manager delegates a group; then the sentence names it.
        if bench.mode == Mode::Root {
            assert!(held(name), "{guarantees:?}");
        }
    }
    assert!(guarantees.iter().all(|guarantee| !guarantee.detail.is_empty()));
    running.end();
}

fn files_made_inside_have_their_ids_on_disk(bench: &Bench) {
    let mut running = bench.start();
    let own = confine::effective_ids().0;
    assert_eq!(running.ask("write /workspace/of-root"), ["done"]);
    assert_eq!(running.ask("write /workspace/of-daemon"), ["done"]);
    assert_eq!(running.ask("own 33 /workspace/of-daemon"), ["done"]);
    let disk = bench.home.join("disk/upper/root/workspace");
    let owner =
        |name: &str| fs::metadata(disk.join(name)).map(|data| (data.uid(), data.gid())).expect("it is in the writable layer");
    // The case runs in the user namespace that layers are read in: what is inside is on disk, in every mode.
    assert_eq!(owner("of-root"), (own, own));
    let daemon = if bench.mode == Mode::Single { own } else { 33 };
    assert_eq!(owner("of-daemon"), (daemon, daemon));
    running.end();
}

fn further_overlays_and_missing_mount_points(bench: &Bench) {
    let launch = further_overlays(bench);
    let mut running = bench.start_with(&launch);
    check_further_overlays(&mut running);
    running.end();
}

fn further_overlays(bench: &Bench) -> Launch {
    let (low, high, usr) = (bench.home.join("low"), bench.home.join("high"), bench.home.join("usr"));
    for directory in [low.join("etc"), high.join("etc"), usr.join("share/doc")] {
        fs::create_dir_all(directory).expect("make layers");
    }
    fs::write(low.join("etc/both"), "low").expect("write");
    fs::write(low.join("etc/low"), "low").expect("write");
    fs::write(high.join("etc/both"), "high").expect("write");
    fs::write(usr.join("share/file"), "usr").expect("write");
    let mut launch = bench.launch(low.clone());
    // There is no /usr in the layers below it, nor /dev, /proc, /sys, /run: they are made.
    launch.mounts = vec![
        bench.stack("/", vec![high, low], "disk"),
        bench.stack("/usr", vec![usr.clone()], "disk-usr"),
        bench.stack("/usr/share/doc", vec![usr.join("share")], "disk-doc"),
    ];
    launch
}

fn check_further_overlays(running: &mut Running) {
    assert_eq!(running.ask("read /etc/both"), ["high"]);
    assert_eq!(running.ask("read /etc/low"), ["low"]);
    assert_eq!(running.ask("read /usr/share/file"), ["usr"]);
    assert_eq!(running.ask("read /usr/share/doc/file"), ["usr"]);
    assert_eq!(running.ask("write /usr/share/new"), ["done"]);
    assert_eq!(running.ask("write /usr/share/doc/new"), ["done"]);
    assert!(running.ask("stat /proc").concat().starts_with("directory"));
}

fn layers_by_name_give_the_same(bench: &Bench) {
    let launch = further_overlays(bench);
    let backend = bench.backend().with_layers(Layers::ByName);
    let mut running = match backend.launch(&launch, &mut || Ok(())) {
        Ok(sandbox) => Running::new(sandbox),
        Err(error) => panic!("launch: {error} ({:?})", error.hint),
    };
    check_further_overlays(&mut running);
    assert_eq!(running.ask("attempts"), Vec::<String>::new());
    let mounts = running.ask("read /proc/self/mountinfo");
    let home = bench.home.to_str().expect("a plain path");
    assert!(mounts.iter().all(|line| !line.split_ascii_whitespace().nth(3).is_some_and(|root| root.contains(home))), "{mounts:?}");
    assert!(running.sandbox.probe().iter().any(|guarantee| guarantee.name == GuaranteeName::OwnFileSystem && guarantee.held));
    running.end();
    assert_eq!(fs::read_dir(bench.home.join("staging")).expect("the staging directory").count(), 0);
}

fn a_hostile_root_is_refused(bench: &Bench) {
    let outside = bench.home.join("outside");
    fs::create_dir_all(outside.join("sub")).expect("make a directory outside");
    fs::write(outside.join("file"), "untouched").expect("write");
    let mounts_before = bench.mounts();
    let targets = [outside.to_str().expect("a plain path"), "../../../../outside", "/", "/nowhere", "tmp", "self/fd"];
    let mut number = 0;
    for place in ["dev", "proc", "sys", "run"] {
        let shapes: Vec<Shape<'_>> = targets
            .iter()
            .map(|target| Box::new(move |path: &Path| symlink(target, path).expect("make a link")) as Shape)
            .chain([
                Box::new(|path: &Path| fs::write(path, "").expect("make a file")) as Shape<'_>,
                Box::new(|path: &Path| {
                    drop(std::os::unix::net::UnixListener::bind(path).expect("make a socket"));
                }),
            ])
            .collect();
        for shape in shapes {
            number += 1;
            let lower = bench.layer(&format!("hostile-{number}"));
            fs::remove_dir(lower.join(place)).expect("make room");
            shape(&lower.join(place));
            let mut launch = bench.launch(lower);
            launch.mounts[0] = bench.stack("/", launch.mounts[0].lowers.clone(), &format!("disk-{number}"));
            let error = bench
                .backend()
                .launch(&launch, &mut || Ok(()))
                .err()
                .unwrap_or_else(|| panic!("shape {number} of {place} was launched"));
            assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
            assert!(error.message.contains(place) && error.hint.is_some(), "{error} {:?}", error.hint);
        }
        // What lies below such a place in a layer is of no interest: it is mounted over.
        let lower = bench.layer(&format!("hostile-below-{place}"));
        symlink(&outside, lower.join(place).join("null")).expect("make a link");
        symlink(&outside, lower.join(place).join("pts")).expect("make a link");
        symlink(&outside, lower.join(place).join("sys")).expect("make a link");
        let mut launch = bench.launch(lower);
        launch.mounts[0] = bench.stack("/", launch.mounts[0].lowers.clone(), &format!("disk-below-{place}"));
        let mut running = bench.start_with(&launch);
        assert_eq!(running.ask("pid"), ["1"]);
        running.end();
    }
    // A further overlay on a link.
    let lower = bench.layer("hostile-usr");
    symlink(&outside, lower.join("usr")).expect("make a link");
    let mut launch = bench.launch(lower);
    launch.mounts[0] = bench.stack("/", launch.mounts[0].lowers.clone(), "disk-usr-root");
    launch.mounts.push(bench.stack("/usr/sub", vec![bench.layer("usr-layer")], "disk-usr"));
    assert!(bench.backend().launch(&launch, &mut || Ok(())).is_err());

    assert_eq!(bench.mounts(), mounts_before, "something was mounted outside");
    assert_eq!(fs::read_to_string(outside.join("file")).expect("read"), "untouched");
    assert_eq!(fs::read_dir(&outside).expect("list").count(), 2);
}

fn killing_ends_every_process_and_leaves_nothing(bench: &Bench) {
    let launch = bench.launch(bench.layer("base"));
    let mounts_before = bench.mounts();
    let mut running = bench.start_with(&launch);
    assert_eq!(running.ask("stay 20").len(), 20);
    let groups: Vec<_> = cgroup::list(&|_| true).into_iter().filter(|leftover| leftover.id == launch.id).collect();
    if bench.mode == Mode::Root {
        assert_eq!(groups[0].processes.len(), 21, "{groups:?}");
    }
    let watched = running.sandbox.watch().try_clone_to_owned().expect("copy the watch");
    assert!(!spawn::wait_readable(&watched, Duration::ZERO).expect("poll"), "it lives");
    running.end();
    assert!(spawn::wait_readable(&watched, Duration::ZERO).expect("poll"), "it is gone when kill returns");
    assert!(!cgroup::list(&|_| true).iter().any(|leftover| leftover.id == launch.id));
    assert_eq!(bench.mounts(), mounts_before);
    assert_eq!(fs::read_dir(&launch.staging).expect("staging").count(), 0);
    // Dropping is as good.
    let mut running = bench.start_with(&launch);
    assert_eq!(running.ask("stay 3").len(), 3);
    let watched = running.sandbox.watch().try_clone_to_owned().expect("copy the watch");
    drop(running);
    assert!(spawn::wait_readable(&watched, Duration::ZERO).expect("poll"));
    assert!(!cgroup::list(&|_| true).iter().any(|leftover| leftover.id == launch.id));
}

fn a_sandbox_dies_with_its_supervisor(bench: &Bench) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let child = spawn::fork_into(spawn::Namespaces::NONE, None, || {
        let running = bench.start();
        let mut writer = writer;
        let children = fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).expect("own children");
        writer.write_all(format!("{}\n", children.trim()).as_bytes()).expect("say it");
        // No destructor may run: it is killed.
        std::mem::forget(running);
        wait_for_ever()
    })
    .expect("start a supervisor");
    let supervised = bench.id_of(child.pid());
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).expect("who the first process is");
    let first: i32 = line.trim().parse().expect("one child");
    let watched = spawn::watch(first).expect("watch").expect("the sandbox runs");
    assert!(!spawn::wait_readable(&watched, Duration::ZERO).expect("poll"), "it lives");
    child.kill().expect("kill the supervisor");
    child.wait().expect("wait for it");
    assert!(spawn::wait_readable(&watched, DEADLINE).expect("poll"), "the sandbox outlives its supervisor");
    // What a killed supervisor leaves is found by its id, and can be taken away.
    let left = cgroup::sweep(&|id| id != supervised).expect("sweep");
    assert_eq!(left.iter().filter(|leftover| !leftover.processes.is_empty()).count(), 0);
    assert_eq!(left.len(), usize::from(bench.mode == Mode::Root));
}

fn a_process_with_threads_launches_too(bench: &Bench) {
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv().is_err());
    let mut running = bench.start();
    assert_eq!(running.ask("attempts"), Vec::<String>::new());
    running.end();
    drop(end);
    assert!(thread.join().expect("the thread ends"));
}

fn what_was_begun_ahead_is_used_or_ended(bench: &Bench) {
    let children = || {
        let path = format!("/proc/self/task/{}/children", std::process::id());
        fs::read_to_string(path).expect("proc").split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let backend = bench.backend();
    assert_eq!(children(), Vec::<String>::new());
    backend.begin().expect("it begins");
    let begun = children();
    let sandbox = backend.launch(&bench.launch(bench.layer("base")), &mut || Ok(())).expect("launch");
    let mut running = Running::new(sandbox);
    if !begun.is_empty() {
        assert_eq!(children(), begun, "no other process was started");
    }
    assert_eq!(running.ask("attempts"), Vec::<String>::new());
    running.end();
    backend.begin().expect("it begins");
    drop(backend);
    assert_eq!(children(), Vec::<String>::new(), "what is not used is ended");
}

fn an_agent_that_cannot_be_run_is_an_error(bench: &Bench) {
    let launch = bench.launch(bench.layer("base"));
    let program = bench.home.join("private");
    fs::copy(std::env::current_exe().expect("own path"), &program).expect("copy");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o600)).expect("close it");
    let error = Namespaces::new(program, bench.privilege.clone()).launch(&launch, &mut || Ok(())).err().expect("nobody may run it");
    assert!(
        error.message.contains("start the agent") && error.hint.as_deref().is_some_and(|hint| hint.contains("chmod")),
        "{error}"
    );
    let error = Namespaces::new(bench.home.join("none"), bench.privilege.clone())
        .launch(&launch, &mut || Ok(()))
        .err()
        .expect("it is not there");
    assert!(error.message.contains("none"), "{error}");
    assert!(!cgroup::list(&|_| true).iter().any(|leftover| leftover.id == launch.id), "a failed launch leaves nothing");
}

fn the_memory_limit_kills_and_is_counted(bench: &Bench) {
    let mut running = bench.start();
    assert_eq!(running.sandbox.pressure().memory_kills, 0);
    assert_eq!(running.ask("fill 16"), [r"Ok(Code(0))"]);
    assert_eq!(running.ask("fill 200"), [r"Ok(Signal(9))"]);
    let pressure = running.sandbox.pressure();
    assert!(pressure.memory_kills >= 1 && pressure.memory_peak_mib.is_some_and(|peak| peak >= 16), "{pressure:?}");
    running.end();
}

fn the_pids_limit_stops_forks(bench: &Bench) {
    let mut running = bench.start();
    // 64 in all: the agent and 63 more.
    let stayed = running.ask("stay 200").len();
    let refused = running.sandbox.pressure().processes_refused;
    // Where there is no control group, the limit of the user is one higher and nobody counts.
    assert!((stayed == 63 && refused > 0) || (stayed == 64 && refused == 0), "{stayed} stayed, {refused} refused");
    running.end();
}

fn a_process_starts_in_a_v2_group(bench: &Bench) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("own mounts");
    let line = mounts
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .expect("mount cgroup2: mount -t cgroup2 none /sys/fs/cgroup/unified");
    let place = Path::new(line.split_ascii_whitespace().nth(4).expect("a mount point"));
    let group = place.join(bench.id_of(spawn::own_pid()));
    fs::create_dir(&group).expect("make a group");
    let directory = fs::File::open(&group).expect("open it");
    let child = spawn::fork_into(spawn::Namespaces::PID, Some(directory.as_fd()), wait_for_ever).expect("start");
    let members = fs::read_to_string(group.join("cgroup.procs")).expect("members");
    assert_eq!(members.trim(), child.pid().to_string());
    child.kill().expect("kill");
    child.wait().expect("wait");
    fs::remove_dir(&group).expect("it is empty again");
}

fn a_sandbox_id_is_used_once_at_a_time(bench: &Bench) {
    let mut running = bench.start();
    assert_eq!(running.ask("pid"), ["1"]);
    let mut launch = bench.launch(bench.layer("base"));
    launch.mounts[0] = bench.stack("/", launch.mounts[0].lowers.clone(), "other-disk");
    let error = bench.backend().launch(&launch, &mut || Ok(())).err().expect("its groups are in use");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    // The one that runs is not touched by that.
    assert_eq!(running.ask("pid"), ["1"]);
    assert!(running.sandbox.probe().iter().any(|guarantee| guarantee.name == GuaranteeName::MemoryLimit && guarantee.held));
    running.end();
}

fn leftover_groups_are_found_and_swept(bench: &Bench) {
    let launch = bench.launch(bench.layer("base"));
    let hierarchies = cgroup::Hierarchies::find();
    let groups = cgroup::Groups::create(&hierarchies, &launch.id, &launch.limits).expect("make groups");
    // As a supervisor would leave them that was killed.
    std::mem::forget(groups);
    let found = cgroup::list(&|_| true).into_iter().find(|leftover| leftover.id == launch.id).expect("they are found");
    assert!(found.processes.is_empty() && !found.directories.is_empty(), "{found:?}");
    let own = launch.id.clone();
    let swept = cgroup::sweep(&|id| id != own).expect("sweep");
    assert_eq!(swept, [found]);
    assert!(!cgroup::list(&|_| true).iter().any(|leftover| leftover.id == launch.id));
}

// ------------------------------------------------------------------------------------------------------------- programs

impl Bench {
    /// This program in a sandbox of its own, instead of the agent.
    fn start_program(&self, devices: Devices, descriptors: Vec<BorrowedFd<'_>>) -> Running {
        let root = self.layer("base");
        fs::copy(std::env::current_exe().expect("own path"), root.join("program")).expect("copy this program");
        let null = fs::File::options().read(true).write(true).open("/dev/null").expect("open /dev/null");
        let arguments = ["/program", "@program"].map(str::to_owned).to_vec();
        let program = Program { arguments, output: null.as_fd(), errors: null.as_fd(), descriptors, devices };
        match self.backend().launch_program(&self.launch(root), &program) {
            Ok(sandbox) => Running::new(sandbox),
            Err(error) => panic!("launch: {error} ({:?})", error.hint),
        }
    }

    fn file(&self, name: &str, content: &[u8], bytes: u64) -> PathBuf {
        let path = self.home.join(name);
        fs::write(&path, content).expect("write a file");
        let file = fs::File::options().write(true).open(&path).expect("open it");
        file.set_len(bytes).expect("make it so large");
        path
    }
}

fn kvm_is_there_for_a_program_that_asks(bench: &Bench) {
    const NUMBER: u32 = 10 << 8 | 232;
    let mut few = bench.start_program(Devices::Few, Vec::new());
    assert!(!few.ask("list /dev").contains(&"kvm".to_owned()));
    few.end();
    if !Path::new("/dev/kvm").exists() {
        return pyro_testkit::skip("kvm", "this host has no /dev/kvm");
    }
    let mut kvm = bench.start_program(Devices::FewAndKvm, Vec::new());
    assert_eq!(kvm.ask("list /dev").iter().filter(|name| *name == "kvm").count(), 1);
    let seen = kvm.ask("stat /dev/kvm").concat();
    assert!(seen.starts_with(&format!("device {NUMBER} ")), "{seen}");
    if bench.mode == Mode::Root {
        assert!(seen.contains(" 666 "), "{seen}");
    }
    kvm.end();
}

fn what_a_monitor_may_only_read(bench: &Bench) {
    let shared = bench.file("shared", b"as it was", 9);
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o600)).expect("hide it");
    let plain = bench.file("own", b"own", 3);
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o666)).expect("open it");
    let (read, own) = (open_to_read(&shared).expect("open"), fs::File::open(&plain).expect("open"));
    let mut program = bench.start_program(Devices::Few, vec![read.as_fd(), own.as_fd()]);
    let (read, own) = (format!("/proc/self/fd/{}", LINK + 1), format!("/proc/self/fd/{}", LINK + 2));
    assert_eq!(program.ask(&format!("read {read}")), ["as it was"]);
    // That a descriptor is for reading only does not hinder it: this is what the mount is for.
    assert_eq!(program.ask(&format!("write {own}")), ["done"]);
    let refused = program.ask(&format!("write {read}")).concat();
    assert!(refused.contains("os error 30"), "{refused}");
    program.end();
    assert_eq!(fs::read(&shared).expect("read"), b"as it was");
}

/// A kernel that halts at once, and again whenever it is woken: a 64-bit executable (elf(5)) of one segment at 16 MiB.
fn halting_kernel() -> Vec<u8> {
    const AT: u64 = 16 << 20;
    const CODE: [u8; 3] = [0xf4, 0xeb, 0xfd];
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2_u16, 62].iter().flat_map(|field| field.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend([AT, 64, 0].iter().flat_map(|field| field.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 0, 0, 0].iter().flat_map(|field| field.to_le_bytes()));
    file.extend([1_u32, 5].iter().flat_map(|field| field.to_le_bytes()));
    file.extend([120, AT, AT, CODE.len() as u64, CODE.len() as u64, 1].iter().flat_map(|field: &u64| field.to_le_bytes()));
    file.extend(CODE);
    file
}

const FIRECRACKER: &str = "PYRO_TEST_FIRECRACKER";

/// Puts something wrong into what it is told.
type Change = fn(&mut Launch, &mut Props<'_>);

/// Tells the real program everything, as a launch would; `change` puts something wrong into it.
fn rehearse(
    bench: &Bench,
    then: Then,
    change: impl FnOnce(&mut Launch, &mut Props<'_>),
) -> Option<Result<Vec<String>, pyro_api::Error>> {
    let Some(program) = std::env::var_os(FIRECRACKER).filter(|program| !program.is_empty()) else {
        pyro_testkit::skip("firecracker", &format!("{FIRECRACKER} names none"));
        return None;
    };
    let root = bench.home.join("firecracker");
    fs::create_dir_all(&root).expect("make a file system for it");
    fs::copy(program, root.join("firecracker")).expect("copy it there");
    let mut launch = bench.launch(bench.layer("base"));
    let shared = |name: &str, content: &[u8], bytes| open_to_read(&bench.file(name, content, bytes)).expect("open it");
    let own = |name: &str, bytes| {
        let path = bench.file(name, b"", bytes);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("open it to its id");
        fs::File::options().read(true).write(true).open(path).expect("open it")
    };
    let code = halting_kernel();
    let (kernel, archive) = (shared("kernel", &code, code.len() as u64), shared("archive", b"", 4096));
    let (memory, state) = (own("memory", launch.limits.mem_mib << 20), own("state", 0));
    let disks = [shared("environment", b"", 1 << 20), own("writable", 1 << 20), shared("seed", b"", 1 << 20)];
    let mut props = Props { root: &root, kernel: &kernel, archive: &archive, disks, memory: &memory, state: &state };
    change(&mut launch, &mut props);
    Some(firecracker::rehearsal(&bench.backend(), &launch, props, then))
}

fn firecracker_takes_every_setting(bench: &Bench) {
    // The node inside is made for root, and is the host's for others: it opens for them as it does here.
    let has_kvm = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let then = if has_kvm { Then::KeepAndCopy } else { Then::End };
    let Some(said) = rehearse(bench, then, |_, _| {}) else { return };
    let said = said.unwrap_or_else(|error| panic!("{error} ({:?})", error.hint));
    assert_eq!(said.len(), if has_kvm { 11 } else { 7 }, "{said:#?}");
    if has_kvm {
        let state = fs::read(bench.home.join("state")).expect("read the state");
        assert!(
            state.windows(17).any(|part| part == b"/proc/self/fd/15\0" || part.starts_with(b"/proc/self/fd/15")),
            "{}",
            state.len()
        );
        let memory = fs::read(bench.home.join("memory")).expect("read the memory");
        assert_eq!(memory[16 << 20..][..3], [0xf4, 0xeb, 0xfd], "the kernel is where it was to be");
    }
}

fn firecracker_says_what_is_wrong(bench: &Bench) {
    let cases: [(&str, Change); 3] = [
        ("refuses PUT /machine-config", |launch, _| launch.limits.vcpu_count = 99),
        ("refuses PUT /drives/environment: ", |_, props| {
            let (socket, _) = UnixStream::pair().expect("make sockets");
            props.disks[0] = std::os::fd::OwnedFd::from(socket).into();
        }),
        // It is opened again by its name. Where Firecracker has an id of its own it may not write to that; where not, the mount refuses it.
        (if bench.mode == Mode::Root { "(os error 13)" } else { "(os error 30)" }, |_, props| props.disks.swap(1, 2)),
    ];
    for (expected, change) in cases {
        let Some(said) = rehearse(bench, Then::End, change) else { return };
        let error = said.expect_err(expected);
        assert!(error.kind == ErrorKind::Unavailable && error.message.contains(expected), "{error} ({:?})", error.hint);
    }
}
