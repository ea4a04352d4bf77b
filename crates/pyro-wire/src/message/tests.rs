//! Every message as JSON, frozen; and strategies that make valid messages for other tests.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::frame::Message;
use crate::limits::{
    ENTRIES_MAX, ERRNO_MAX, INPUT_CREDIT_BYTES, MODE_MAX, PATCH_FILE_BYTES_MAX, PROBES_MAX, SHUTDOWN_GRACE_MS_MAX,
    WAKE_ENTROPY_BYTES,
};

fn path(text: &str) -> SandboxPath {
    SandboxPath::parse(text).unwrap()
}

fn text(text: &str) -> Bytes {
    Bytes::Text(text.to_owned())
}

/// A search for `x` in all files.
pub(crate) fn search() -> Search {
    Search {
        path: path("/workspace"),
        pattern: "x".to_owned(),
        fixed: false,
        ignore_case: true,
        multiline: false,
        selection: Selection { globs: vec!["**/*.rs".to_owned()], hidden: false, ignored: true },
        tell: SearchTell::Lines,
        context: 2,
        limit: 200,
        credit_bytes: 40,
    }
}

fn every_request() -> Vec<ToAgent> {
    let spawn = |program, stdin: bool| Spawn {
        terminal: (!stdin).then_some(TerminalSize { columns: 80, rows: 24 }),
        program,
        env: vec!["PATH=/bin".to_owned(), "A=".to_owned()],
        cwd: path("/workspace"),
        stdin,
        credit_bytes: 262_144,
    };
    vec![
        ToAgent::Wake(Wake {
            unix_time_ns: 1,
            entropy: text(&"e".repeat(WAKE_ENTROPY_BYTES)),
            machine_id: "0a".repeat(16),
            seeded: true,
            pids_max: 4096,
        }),
        ToAgent::Hello(Hello { nonce: u64::MAX, build: "b1".to_owned(), hostname: "brave-otter".to_owned() }),
        ToAgent::Spawn(spawn(Program::Argv(vec!["echo".to_owned(), "a \"b\"\n".to_owned()]), false)),
        ToAgent::Spawn(spawn(Program::Shell("ls | wc -l".to_owned()), true)),
        ToAgent::StdinEnd,
        ToAgent::Credit { bytes: 65_536 },
        ToAgent::Signal { signal: 15 },
        ToAgent::Resize(TerminalSize { columns: 132, rows: 43 }),
        ToAgent::Inspect(Inspect { failed: None }),
        ToAgent::Inspect(Inspect { failed: Some(FailedLine { line: "gti status".to_owned(), code: 127 }) }),
        ToAgent::Kill,
        ToAgent::List(List { path: path("/"), depth: 2, entries_max: 1000, selection: search().selection }),
        ToAgent::Read(Read { path: path("a/é"), part: Part::From(10), bytes_max: 20, credit_bytes: 30 }),
        ToAgent::Read(Read { path: path("a"), part: Part::Lines { first: 1, last: None }, bytes_max: 20, credit_bytes: 30 }),
        ToAgent::Read(Read { path: path("a"), part: Part::LastLines(50), bytes_max: 20, credit_bytes: 30 }),
        ToAgent::Write(Write { path: path("/etc/hosts"), size_bytes: 5, mode: None }),
        ToAgent::Write(Write { path: path("x"), size_bytes: 0, mode: Some(0o755) }),
        ToAgent::Edit(Edit { size_bytes: 70, dry_run: true, credit_bytes: 40 }),
        ToAgent::Delete(Delete { path: path("a"), recursive: true }),
        ToAgent::Move(Move { from: path("a"), to: path("b/c"), overwrite: false }),
        ToAgent::MakeDirectory(MakeDirectory { path: path("b/c") }),
        ToAgent::Search(search()),
        ToAgent::Search(Search { tell: SearchTell::Files, ..search() }),
        ToAgent::Search(Search { tell: SearchTell::Counts, ..search() }),
        ToAgent::Diff(Diff { path: path("/workspace"), stat: true, binary: false, credit_bytes: 40 }),
        ToAgent::Sync,
        ToAgent::Shutdown { grace_ms: 2000 },
    ]
}

fn every_answer() -> Vec<FromAgent> {
    let probe = |name| Probe { name, held: true, detail: "tried".to_owned() };
    let entry = |name: &[u8], kind, target: Option<&str>| Entry {
        path: Bytes::from(name),
        kind,
        size_bytes: 0,
        mode: 0o644,
        modified_s: -1,
        target: target.map(text),
    };
    let change = |path: &[u8], status, kind, mode_change| Change {
        path: Bytes::from(path),
        status,
        from: (status == ChangeStatus::Renamed).then(|| text("old/name")),
        kind,
        mode_change,
        added_lines: 1,
        removed_lines: 2,
        binary: false,
    };
    let not_started = |step, interpreter: Option<Bytes>| {
        FromAgent::NotStarted(NotStarted {
            similar: interpreter.clone(),
            machine: interpreter.is_some().then_some(183),
            interpreter,
            ..NotStarted::at(step, 2)
        })
    };
    let exited = |status| {
        FromAgent::Exited(Exited {
            status,
            stdout_bytes: 1,
            stderr_bytes: 2,
            output_held_open: false,
            cpu_ms: 3,
            rss_max_kib: 4,
            trouble: trouble(),
        })
    };
    let mut all = vec![
        FromAgent::Waiting,
        FromAgent::Hello(AgentHello { nonce: 1, build: "b1".to_owned(), probes: PROBES.map(probe).to_vec() }),
        FromAgent::Started { pid: 7 },
        FromAgent::Inspected { waits_for_input: true, trouble: Box::default() },
        FromAgent::Inspected { waits_for_input: false, trouble: trouble() },
        not_started(SpawnStep::Find, None),
        not_started(SpawnStep::ChangeDirectory, None),
        not_started(SpawnStep::Pipes, None),
        not_started(SpawnStep::Fork, None),
        not_started(SpawnStep::Execute, Some(text("/usr/bin/python4"))),
        exited(ExitStatus::Code(3)),
        exited(ExitStatus::Signal(9)),
        FromAgent::Entries(vec![
            entry(b"a/b", EntryKind::File, None),
            entry(b"\xff\n", EntryKind::Directory, None),
            entry(b"link", EntryKind::Symlink, Some("../x")),
            entry(b"fifo", EntryKind::Other, None),
        ]),
        FromAgent::Changes(vec![
            change(b"workspace/a", ChangeStatus::Added, EntryKind::File, None),
            change(b"x", ChangeStatus::Modified, EntryKind::Directory, Some(ModeChange { old: 0o755, new: 0o700 })),
            change(b"y\xff", ChangeStatus::Deleted, EntryKind::Other, None),
            change(b"z", ChangeStatus::TypeChanged, EntryKind::Symlink, None),
            change(b"new/name", ChangeStatus::Renamed, EntryKind::File, None),
        ]),
        FromAgent::Diffed(Diffed { omitted: 3 }),
        FromAgent::Listed(Listed { total: 12, more: false }),
        FromAgent::LinesRead(LinesRead { offset: 5, first: Some(2), total: None }),
        FromAgent::Deleted { entries: 3 },
        FromAgent::Moved { replaced: true },
        FromAgent::DirectoryMade { created: false },
        FromAgent::Synced { alive: 2 },
        FromAgent::FileInfo(FileInfo { size_bytes: 12, mode: 0o4755 }),
        FromAgent::Written(Written { created: true, mode: 0o644 }),
        FromAgent::Credit { bytes: 65_536 },
        FromAgent::Done,
    ];
    all.extend(FILE_STEPS.map(|step| FromAgent::Failed(Failed { errno: 13, step })));
    all
}

const PROBES: [ProbeName; 7] = [
    ProbeName::OwnProcesses,
    ProbeName::OwnFileSystem,
    ProbeName::OwnUserIds,
    ProbeName::NoNetwork,
    ProbeName::NoNewPrivileges,
    ProbeName::FewCapabilities,
    ProbeName::SyscallFilter,
];

const FILE_STEPS: [FileStep; 15] = [
    FileStep::Open,
    FileStep::NotAFile,
    FileStep::NotADirectory,
    FileStep::Read,
    FileStep::MakeParents,
    FileStep::Write,
    FileStep::Replace,
    FileStep::BadGlob,
    FileStep::Fixed,
    FileStep::NotEmpty,
    FileStep::Exists,
    FileStep::IntoItself,
    FileStep::Delete,
    FileStep::Move,
    FileStep::MoveAway,
];

#[test]
fn every_message_looks_as_it_is_written_down() {
    let mut lines = String::new();
    for request in every_request() {
        request.validate().unwrap();
        lines += &format!("to_agent {}\n", serde_json::to_string(&request).unwrap());
    }
    for answer in every_answer() {
        answer.validate().unwrap();
        lines += &format!("from_agent {}\n", serde_json::to_string(&answer).unwrap());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/messages.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &lines).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == lines, "tests/snapshots/messages.txt is not current: UPDATE=1 rewrites it. Now:\n{lines}");
}

#[test]
fn every_variant_is_in_the_snapshot() {
    // Exhaustive on purpose: a new variant does not compile here until it is counted.
    let kind = |request: &ToAgent| match request {
        ToAgent::Hello(_) => 0,
        ToAgent::Spawn(_) => 1,
        ToAgent::StdinEnd => 2,
        ToAgent::Credit { .. } => 3,
        ToAgent::Signal { .. } => 4,
        ToAgent::Kill => 5,
        ToAgent::List(_) => 6,
        ToAgent::Read(_) => 7,
        ToAgent::Write(_) => 8,
        ToAgent::Shutdown { .. } => 9,
        ToAgent::Diff(_) => 10,
        ToAgent::Wake(_) => 11,
        ToAgent::Edit(_) => 12,
        ToAgent::Search(_) => 13,
        ToAgent::Delete(_) => 14,
        ToAgent::Move(_) => 15,
        ToAgent::MakeDirectory(_) => 16,
        ToAgent::Resize(_) => 17,
        ToAgent::Inspect(_) => 18,
        ToAgent::Sync => 19,
    };
    let found: std::collections::BTreeSet<_> = every_request().iter().map(kind).collect();
    assert_eq!(found.len(), 20);
    let kind = |answer: &FromAgent| match answer {
        FromAgent::Hello(_) => 0,
        FromAgent::Started { .. } => 1,
        FromAgent::NotStarted(_) => 2,
        FromAgent::Exited(_) => 3,
        FromAgent::Entries(_) => 4,
        FromAgent::FileInfo(_) => 5,
        FromAgent::Written(_) => 6,
        FromAgent::Credit { .. } => 7,
        FromAgent::Done => 8,
        FromAgent::Failed(_) => 9,
        FromAgent::Changes(_) => 10,
        FromAgent::Diffed(_) => 11,
        FromAgent::Waiting => 12,
        FromAgent::Listed(_) => 13,
        FromAgent::LinesRead(_) => 14,
        FromAgent::Deleted { .. } => 15,
        FromAgent::Moved { .. } => 16,
        FromAgent::DirectoryMade { .. } => 17,
        FromAgent::Inspected { .. } => 18,
        FromAgent::Synced { .. } => 19,
    };
    let found: std::collections::BTreeSet<_> = every_answer().iter().map(kind).collect();
    assert_eq!(found.len(), 20);
}

fn any_path() -> impl Strategy<Value = SandboxPath> {
    "/?([a-zé\n\u{1}\"]{1,9}/){0,3}[^/\u{0}]{1,20}".prop_filter_map("not a path", |text| SandboxPath::parse(&text).ok())
}

fn trouble() -> Box<Trouble> {
    let missing = Missing { name: "gti".to_owned(), similar: Some(Bytes::Text("/usr/bin/git".to_owned())) };
    Box::new(Trouble { out_of_memory: false, disk_full: Some(Bytes::Text("/workspace".to_owned())), missing: Some(missing) })
}

fn any_trouble() -> impl Strategy<Value = Box<Trouble>> {
    let missing = ("[^\u{0}]{0,20}", prop::option::of(any_name())).prop_map(|(name, similar)| Missing { name, similar });
    (any::<bool>(), prop::option::of(any_name()), prop::option::of(missing))
        .prop_map(|(out_of_memory, disk_full, missing)| Box::new(Trouble { out_of_memory, disk_full, missing }))
}

fn any_name() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>().prop_filter("not in a name", |byte| !matches!(byte, 0 | b'/' | b'.')), 1..40)
        .prop_map(Bytes::from)
}

/// Any valid request.
pub fn to_agent() -> impl Strategy<Value = ToAgent> {
    let word = || "[^\u{0}]{0,20}";
    let size = || (1..=u16::MAX, 1..=u16::MAX).prop_map(|(columns, rows)| TerminalSize { columns, rows });
    let program = prop_oneof![prop::collection::vec(word(), 1..5).prop_map(Program::Argv), word().prop_map(Program::Shell)];
    let env = prop::collection::vec("[A-Z]{1,5}=[^\u{0}]{0,9}", 0..5);
    let part = prop_oneof![
        any::<u64>().prop_map(Part::From),
        (1..1000_u64, prop::option::of(1000..u64::MAX)).prop_map(|(first, last)| Part::Lines { first, last }),
        (1..u64::MAX).prop_map(Part::LastLines),
    ];
    prop_oneof![
        (any::<u64>(), "[!-~]{1,128}", "[a-z-]{0,64}").prop_map(|(nonce, build, hostname)| ToAgent::Hello(Hello {
            nonce,
            build,
            hostname
        })),
        (program, env, any_path(), any::<bool>(), any::<u32>(), prop::option::of(size())).prop_map(
            |(program, env, cwd, stdin, credit_bytes, terminal)| ToAgent::Spawn(Spawn {
                program,
                env,
                cwd,
                stdin,
                terminal,
                credit_bytes
            })
        ),
        size().prop_map(ToAgent::Resize),
        Just(ToAgent::StdinEnd),
        prop::option::of((".{0,40}", any::<u8>()))
            .prop_map(|failed| ToAgent::Inspect(Inspect { failed: failed.map(|(line, code)| FailedLine { line, code }) })),
        Just(ToAgent::Kill),
        (1..=u32::MAX).prop_map(|bytes| ToAgent::Credit { bytes }),
        (1..=64).prop_map(|signal| ToAgent::Signal { signal }),
        (any_path(), 1..=u32::MAX, 1..=ENTRIES_MAX).prop_map(|(path, depth, entries_max)| ToAgent::List(List {
            path,
            depth,
            entries_max,
            selection: search().selection
        })),
        (any_path(), part, any::<u64>(), any::<u32>()).prop_map(|(path, part, bytes_max, credit_bytes)| ToAgent::Read(Read {
            path,
            part,
            bytes_max,
            credit_bytes
        })),
        (any_path(), any::<bool>()).prop_map(|(path, recursive)| ToAgent::Delete(Delete { path, recursive })),
        (any_path(), any_path(), any::<bool>()).prop_map(|(from, to, overwrite)| ToAgent::Move(Move { from, to, overwrite })),
        any_path().prop_map(|path| ToAgent::MakeDirectory(MakeDirectory { path })),
        Just(ToAgent::Sync),
        (any_path(), any::<u64>(), prop::option::of(0..=MODE_MAX)).prop_map(|(path, size_bytes, mode)| ToAgent::Write(Write {
            path,
            size_bytes,
            mode
        })),
        (0..=crate::limits::EDIT_ORDER_BYTES_MAX, any::<bool>(), any::<u32>())
            .prop_map(|(size_bytes, dry_run, credit_bytes)| ToAgent::Edit(Edit { size_bytes, dry_run, credit_bytes })),
        (any_path(), ".{0,100}", proptest::collection::vec(".{0,20}", 0..4), any::<bool>(), 0..=20_u32, 1..=10_000_u32).prop_map(
            |(path, pattern, globs, is, context, limit)| {
                let selection = Selection { globs, hidden: is, ignored: !is };
                ToAgent::Search(Search { path, pattern, fixed: is, selection, context, limit, ..search() })
            }
        ),
        (any_path(), any::<bool>(), any::<bool>(), any::<u32>())
            .prop_map(|(path, stat, binary, credit_bytes)| ToAgent::Diff(Diff { path, stat, binary, credit_bytes })),
        (0..=SHUTDOWN_GRACE_MS_MAX).prop_map(|grace_ms| ToAgent::Shutdown { grace_ms }),
    ]
}

/// Any valid answer.
pub fn from_agent() -> impl Strategy<Value = FromAgent> {
    let probes = prop::sample::subsequence(PROBES.to_vec(), 0..=PROBES.len().min(PROBES_MAX))
        .prop_flat_map(|names| names.into_iter().map(|name| (Just(name), any::<bool>(), "[ -~]{0,200}")).collect::<Vec<_>>())
        .prop_map(|probes| probes.into_iter().map(|(name, held, detail)| Probe { name, held, detail }).collect());
    let spawn_step = prop::sample::select(vec![
        SpawnStep::Find,
        SpawnStep::ChangeDirectory,
        SpawnStep::Pipes,
        SpawnStep::Fork,
        SpawnStep::Execute,
    ]);
    let status = prop_oneof![any::<u8>().prop_map(ExitStatus::Code), (1..=64_u8).prop_map(ExitStatus::Signal)];
    let kind = prop_oneof![
        any::<u64>().prop_map(|size| (EntryKind::File, size, None)),
        Just((EntryKind::Directory, 0, None)),
        Just((EntryKind::Other, 0, None)),
        prop::option::of(any_name()).prop_map(|target| (EntryKind::Symlink, 0, target)),
    ];
    let entry = (any_name(), kind, 0..=MODE_MAX, any::<i64>()).prop_map(|(path, (kind, size_bytes, target), mode, modified_s)| {
        Entry { path, kind, size_bytes, mode, modified_s, target }
    });
    let other =
        prop::sample::select(vec![ChangeStatus::Added, ChangeStatus::Modified, ChangeStatus::Deleted, ChangeStatus::TypeChanged]);
    let change_status =
        prop_oneof![other.prop_map(|status| (status, None)), any_name().prop_map(|from| (ChangeStatus::Renamed, Some(from)))];
    let change_kind = prop::sample::select(vec![EntryKind::File, EntryKind::Directory, EntryKind::Symlink, EntryKind::Other]);
    let mode_change = prop::option::of((0..MODE_MAX).prop_map(|old| ModeChange { old, new: MODE_MAX }));
    let lines = || 0..=u64::try_from(PATCH_FILE_BYTES_MAX).unwrap();
    let change = (any_name(), change_status, change_kind, mode_change, (lines(), lines(), any::<bool>())).prop_map(
        |(path, (status, from), kind, mode_change, (added_lines, removed_lines, binary))| Change {
            path,
            status,
            from,
            kind,
            mode_change,
            added_lines,
            removed_lines,
            binary,
        },
    );
    prop_oneof![
        (any::<u64>(), "[!-~]{1,128}", probes).prop_map(|(nonce, build, probes)| FromAgent::Hello(AgentHello {
            nonce,
            build,
            probes
        })),
        (1..=u32::MAX / 2).prop_map(|pid| FromAgent::Started { pid }),
        (any::<bool>(), any_trouble()).prop_map(|(waits_for_input, trouble)| FromAgent::Inspected { waits_for_input, trouble }),
        (spawn_step, 1..=ERRNO_MAX, prop::option::of(any_name()), prop::option::of(any_name()), any::<Option<u16>>()).prop_map(
            |(step, errno, interpreter, similar, machine)| FromAgent::NotStarted(NotStarted {
                step,
                errno,
                interpreter,
                similar,
                machine
            })
        ),
        (status, any::<(u64, u64, bool, u64, u64)>(), any_trouble()).prop_map(
            |(status, (stdout_bytes, stderr_bytes, output_held_open, cpu_ms, rss_max_kib), trouble)| {
                FromAgent::Exited(Exited { status, stdout_bytes, stderr_bytes, output_held_open, cpu_ms, rss_max_kib, trouble })
            }
        ),
        prop::collection::vec(entry, 1..=64).prop_map(FromAgent::Entries),
        prop::collection::vec(change, 1..=64).prop_map(FromAgent::Changes),
        (0..=crate::limits::ENTRIES_COUNTED_MAX, any::<bool>()).prop_map(|(total, more)| FromAgent::Listed(Listed { total, more })),
        (any::<u64>(), 1..u64::MAX, prop::option::of(any::<u64>()))
            .prop_map(|(offset, first, total)| FromAgent::LinesRead(LinesRead { offset, first: Some(first), total })),
        (1..u64::MAX).prop_map(|entries| FromAgent::Deleted { entries }),
        any::<bool>().prop_map(|replaced| FromAgent::Moved { replaced }),
        any::<bool>().prop_map(|created| FromAgent::DirectoryMade { created }),
        any::<u64>().prop_map(|alive| FromAgent::Synced { alive }),
        any::<u64>().prop_map(|omitted| FromAgent::Diffed(Diffed { omitted })),
        (any::<u64>(), 0..=MODE_MAX).prop_map(|(size_bytes, mode)| FromAgent::FileInfo(FileInfo { size_bytes, mode })),
        (any::<bool>(), 0..=MODE_MAX).prop_map(|(created, mode)| FromAgent::Written(Written { created, mode })),
        (1..=INPUT_CREDIT_BYTES).prop_map(|bytes| FromAgent::Credit { bytes }),
        Just(FromAgent::Done),
        (1..=ERRNO_MAX, prop::sample::select(FILE_STEPS.to_vec()))
            .prop_map(|(errno, step)| FromAgent::Failed(Failed { errno, step })),
    ]
}
