//! Each bound: the last value within it and the first beyond.

use super::*;
use crate::message::{
    ChangeStatus, Edit, Exited, Failed, FailedLine, FileInfo, FileStep, Hello, Inspect, LinesRead, List, Listed, Missing,
    ModeChange, NotStarted, Probe, ProbeName, Read, SpawnStep, Write, Written,
};
use crate::path::SandboxPath;

fn check(message: &impl Message, sentence: &str) {
    let found = message.validate().map_err(|violation| violation.0);
    match sentence {
        "" => assert_eq!(found, Ok(())),
        sentence => assert!(found.as_ref().is_err_and(|found| found.contains(sentence)), "{found:?} instead of {sentence}"),
    }
}

#[test]
fn claims_of_the_agent_are_bounded() {
    let probe = |detail: &str| Probe { name: ProbeName::NoNetwork, held: true, detail: detail.to_owned() };
    let hello = |build: &str, probes| FromAgent::Hello(AgentHello { nonce: 1, build: build.to_owned(), probes });
    check(&hello(&"b".repeat(128), vec![probe(&"~".repeat(200))]), "");
    check(&hello(&"b".repeat(129), vec![]), "129 bytes of a build id");
    check(&hello("", vec![]), "build id");
    check(&hello("a b", vec![]), "build id");
    check(&hello("b", vec![probe(&"x".repeat(201))]), "201 bytes of a probe's detail");
    check(&hello("b", vec![probe("a\nb")]), "printable ASCII");
    check(&hello("b", vec![probe("é")]), "printable ASCII");
    check(&hello("b", vec![probe(""), probe("")]), "twice");
    check(&hello("b", vec![probe(""); 33]), "33 probes");

    check(&FromAgent::Started { pid: 1 }, "");
    check(&FromAgent::Started { pid: 0 }, "not a process id");
    check(&FromAgent::Started { pid: 1 << 31 }, "not a process id");
    check(&FromAgent::Credit { bytes: INPUT_CREDIT_BYTES }, "");
    check(&FromAgent::Credit { bytes: INPUT_CREDIT_BYTES + 1 }, "credit");
    check(&FromAgent::FileInfo(FileInfo { size_bytes: u64::MAX, mode: 0o7777 }), "");
    check(&FromAgent::FileInfo(FileInfo { size_bytes: 0, mode: 0o10000 }), "no permission");
    check(&FromAgent::Written(Written { created: true, mode: 0o10000 }), "no permission");
    for (errno, sentence) in [(1, ""), (4095, ""), (0, "error number"), (-1, "error number"), (4096, "error number")] {
        check(&FromAgent::Failed(Failed { errno, step: FileStep::Open }), sentence);
        check(&FromAgent::NotStarted(NotStarted::at(SpawnStep::Find, errno)), sentence);
    }
    let long = Some(Bytes::Text("x".repeat(4096)));
    check(
        &FromAgent::NotStarted(NotStarted { interpreter: long.clone(), ..NotStarted::at(SpawnStep::Find, 2) }),
        "an interpreter has 4096 bytes",
    );
    check(
        &FromAgent::NotStarted(NotStarted { similar: long.clone(), ..NotStarted::at(SpawnStep::Find, 2) }),
        "a similar program has 4096 bytes",
    );
    for (signal, sentence) in [(1, ""), (64, ""), (0, "not a signal"), (65, "not a signal")] {
        let status = ExitStatus::Signal(signal);
        let exited = |disk_full| {
            FromAgent::Exited(Exited {
                status,
                stdout_bytes: 0,
                stderr_bytes: 0,
                output_held_open: true,
                cpu_ms: 0,
                rss_max_kib: 0,
                trouble: Box::new(Trouble { disk_full, ..Trouble::default() }),
            })
        };
        check(&exited(None), sentence);
        check(&exited(long.clone()), "a full directory has 4096 bytes");
    }
    let inspected = |name: String, similar| {
        let trouble = Trouble { missing: Some(Missing { name, similar }), ..Trouble::default() };
        FromAgent::Inspected { waits_for_input: false, trouble: Box::new(trouble) }
    };
    check(&inspected("a".repeat(255), None), "");
    check(&inspected("a".repeat(256), None), "256 bytes of a missing program's name");
    check(&inspected("a".to_owned(), long.clone()), "a similar program has 4096 bytes");
    let inspect = |bytes| ToAgent::Inspect(Inspect { failed: Some(FailedLine { line: "a".repeat(bytes), code: 1 }) });
    check(&inspect(4096), "");
    check(&inspect(4097), "4097 bytes of a typed line");
}

#[test]
fn entries_are_plain_relative_paths() {
    let entry = |path: Bytes| Entry { path, kind: EntryKind::File, size_bytes: 1, mode: 0, modified_s: 0, target: None };
    let text = |path: &str| entry(Bytes::Text(path.to_owned()));
    let one = |entry| FromAgent::Entries(vec![entry]);
    for path in ["a", "a/b", "...", "a..b", ".hidden", "new\nline"] {
        check(&one(text(path)), "");
    }
    for path in ["/a", "a/", "a//b", ".", "..", "a/../b", "./a"] {
        check(&one(text(path)), "not relative and plain");
    }
    check(&one(text("")), "0 bytes");
    check(&one(text("a\0b")), "NUL");
    check(&one(text(&"x".repeat(255))), "");
    check(&one(text(&"x".repeat(256))), "256 bytes of a name");
    check(&one(text(&"x/".repeat(2048))), "4096 bytes");
    check(&one(entry(Bytes::Hex("2e2eff".to_owned()))), "");
    check(&one(entry(Bytes::Hex("2e2e".to_owned()))), "are UTF-8");
    check(&one(Entry { target: Some(Bytes::Text("t".to_owned())), ..text("a") }), "no symbolic link has a target");
    check(&one(Entry { kind: EntryKind::Directory, ..text("a") }), "no file has a size");
    check(&one(Entry { mode: 0o10000, ..text("a") }), "no permission");
    check(&FromAgent::Entries(vec![]), "no entry");
    check(&FromAgent::Entries(vec![text("a"); 64]), "");
    check(&FromAgent::Entries(vec![text("a"); 65]), "65 entries");
}

#[test]
fn changes_are_bounded_as_entries_are() {
    let change = |path: &str| Change {
        path: Bytes::Text(path.to_owned()),
        status: ChangeStatus::Modified,
        from: None,
        kind: EntryKind::File,
        mode_change: None,
        added_lines: 0,
        removed_lines: 0,
        binary: false,
    };
    let one = |change| FromAgent::Changes(vec![change]);
    let modes = |old, new| one(Change { mode_change: Some(ModeChange { old, new }), ..change("a") });
    check(&one(change("workspace/new\nline")), "");
    let from =
        |status, from: Option<&str>| one(Change { status, from: from.map(|name| Bytes::Text(name.to_owned())), ..change("a") });
    check(&from(ChangeStatus::Renamed, Some("b/c")), "");
    check(&from(ChangeStatus::Renamed, None), "or a move has none");
    check(&from(ChangeStatus::Modified, Some("b")), "no move has an old path");
    check(&from(ChangeStatus::Renamed, Some("../b")), "a change's old path is not relative and plain");
    for path in ["/a", "a/", "a//b", ".", "..", "a/../b"] {
        check(&one(change(path)), "a change's path is not relative and plain");
    }
    check(&one(change("")), "0 bytes");
    check(&one(change("a\0b")), "NUL");
    check(&one(change(&"x".repeat(256))), "256 bytes of a name");
    check(&one(change(&"x/".repeat(2048))), "4096 bytes");
    check(&modes(0, 0o7777), "");
    check(&modes(0, 0o10000), "no permission");
    check(&modes(0o10000, 0), "no permission");
    check(&modes(0o644, 0o644), "to what it was");
    check(&one(Change { added_lines: 1 << 20, removed_lines: 1 << 20, ..change("a") }), "");
    check(&one(Change { added_lines: u64::MAX, ..change("a") }), "18446744073709551615 lines");
    check(&one(Change { removed_lines: (1 << 20) + 1, ..change("a") }), "1048577 lines");
    check(&FromAgent::Listed(Listed { total: ENTRIES_COUNTED_MAX + 1, more: true }), "were counted");
    check(&FromAgent::LinesRead(LinesRead { offset: 0, first: Some(0), total: None }), "number 0");
    check(&FromAgent::LinesRead(LinesRead { offset: 0, first: None, total: Some(1) }), "not numbered");
    check(&FromAgent::Deleted { entries: 0 }, "nothing was deleted");
    check(&FromAgent::Changes(vec![]), "no change");
    check(&FromAgent::Changes(vec![change("a"); 64]), "");
    check(&FromAgent::Changes(vec![change("a"); 65]), "65 changes");
}

#[test]
fn requests_are_bounded_too() {
    let spawn = |program, env: &[&str]| {
        let env = env.iter().map(|variable| (*variable).to_owned()).collect();
        ToAgent::Spawn(Spawn { program, env, cwd: SandboxPath::workspace(), stdin: false, terminal: None, credit_bytes: 0 })
    };
    let line = |line: &str| Program::Shell(line.to_owned());
    check(&spawn(line(""), &["A=", "B==", "PATH=/bin"]), "");
    check(&spawn(Program::Argv(vec![]), &[]), "no program");
    check(&spawn(line("a\0"), &[]), "NUL");
    check(&spawn(line(""), &["A=\0"]), "NUL");
    check(&spawn(line(""), &["A"]), "NAME=value");
    check(&spawn(line(""), &["=A"]), "NAME=value");
    check(&spawn(line(&"x".repeat(ARGUMENT_BYTES_MAX - 1)), &[]), "");
    check(&spawn(line(&"x".repeat(ARGUMENT_BYTES_MAX)), &[]), "bytes of arguments");
    check(&spawn(Program::Argv(vec![String::new(); ARGUMENT_BYTES_MAX]), &["A="]), "bytes of arguments");
    let list = |depth, entries_max| {
        ToAgent::List(List { path: SandboxPath::workspace(), depth, entries_max, selection: Selection::default() })
    };
    check(&list(1, ENTRIES_MAX), "");
    check(&list(0, 1), "depth 0");
    check(&list(1, 0), "0 entries");
    check(&list(1, ENTRIES_MAX + 1), "entries");
    let read = |part| ToAgent::Read(Read { path: SandboxPath::workspace(), part, bytes_max: 1, credit_bytes: 1 });
    check(&read(Part::Lines { first: 3, last: Some(3) }), "");
    check(&read(Part::Lines { first: 0, last: None }), "lines from 0");
    check(&read(Part::Lines { first: 3, last: Some(2) }), "lines from 3");
    check(&read(Part::LastLines(0)), "last 0 lines");
    let write = |mode| ToAgent::Write(Write { path: SandboxPath::workspace(), size_bytes: u64::MAX, mode });
    check(&write(Some(0o7777)), "");
    check(&write(Some(0o10000)), "no permission");
    let edit = |size_bytes| ToAgent::Edit(Edit { size_bytes, dry_run: false, credit_bytes: 1 });
    check(&edit(EDIT_ORDER_BYTES_MAX), "");
    check(&edit(EDIT_ORDER_BYTES_MAX + 1), "an edit of");
    let search = |pattern: usize, globs: Vec<String>, context, limit| {
        let selection = Selection { globs, ..Selection::default() };
        ToAgent::Search(Search { pattern: "x".repeat(pattern), selection, context, limit, ..crate::message::tests::search() })
    };
    check(&search(PATTERN_BYTES_MAX, vec!["g".repeat(GLOB_BYTES_MAX); GLOBS_MAX], CONTEXT_LINES_MAX, FOUND_MAX), "");
    check(&search(PATTERN_BYTES_MAX + 1, vec![], 0, 1), "bytes of a pattern");
    check(&search(1, vec!["g".repeat(GLOB_BYTES_MAX + 1)], 0, 1), "bytes of a glob");
    check(&search(1, vec![String::new(); GLOBS_MAX + 1], 0, 1), "33 globs");
    check(&search(1, vec![], CONTEXT_LINES_MAX + 1, 1), "lines around");
    check(&search(1, vec![], 0, 0), "tells 0");
    check(&search(1, vec![], 0, FOUND_MAX + 1), "tells 10001");
    check(&ToAgent::Credit { bytes: 0 }, "credit");
    check(&ToAgent::Signal { signal: -9 }, "not a signal");
    check(&ToAgent::Shutdown { grace_ms: SHUTDOWN_GRACE_MS_MAX + 1 }, "grace");
    check(&ToAgent::Hello(Hello { nonce: 0, build: "b".to_owned(), hostname: "h".repeat(65) }), "host name");
}
