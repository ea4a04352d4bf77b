//! Commands: how they start, talk, end and are ended.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyro_wire::limits::{INPUT_CREDIT_BYTES, OUTPUT_CREDIT_BYTES};
use pyro_wire::message::{ExitStatus, FailedLine, Inspect, NotStarted, Spawn, SpawnStep, TerminalSize};
use pyro_wire::{Bytes, Frame, FromAgent, Stream, ToAgent};
use rustix::io::Errno;

use crate::client::{Client, argv, path, shell};

#[test]
fn a_command_runs_with_exactly_its_environment_and_directory() {
    let mut client = Client::new();
    let mut request = argv(&["/usr/bin/env"]);
    request.env = vec!["A=b c".to_owned(), "PWD=x".to_owned()];
    assert_eq!(client.run(request).text(), "A=b c\nPWD=x\n");
    let mut request = argv(&["pwd"]);
    request.cwd = path("/usr/bin");
    assert_eq!(client.run(request).text(), "/usr/bin\n");
    let ran = client.run(shell("echo out; echo err >&2; exit 3"));
    assert_eq!((ran.code(), ran.text().as_str(), ran.stderr.as_slice()), (3, "out\n", b"err\n".as_slice()));
    assert!(!ran.exited.output_held_open);
    assert!(ran.exited.rss_max_kib > 0);
}

#[test]
fn an_end_is_told_as_it_was() {
    let mut client = Client::new();
    for code in [0, 1, 126, 127, 255] {
        assert_eq!(client.run(shell(&format!("exit {code}"))).code(), code);
    }
    for signal in [1, 9, 11, 15] {
        assert_eq!(client.run(shell(&format!("kill -{signal} $$"))).exited.status, ExitStatus::Signal(signal));
    }
}

#[test]
fn processor_time_is_counted_with_that_of_children() {
    let ran = Client::new().run(shell("(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done)"));
    assert!(ran.exited.cpu_ms > 0, "{:?}", ran.exited);
}

fn script(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, text).expect("writable");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
    file
}

#[test]
fn why_a_command_did_not_start_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    script(directory.path(), "plain", "echo", 0o644);
    script(directory.path(), "lost", "#!/no/such/interpreter -x\n", 0o755);
    script(directory.path(), "windows", "#!/bin/sh\r\necho\r\n", 0o755);
    script(directory.path(), "second", &format!("#!{}\n", at("lost")), 0o755);
    script(directory.path(), "nothing", "echo", 0o755);
    // The head of a program whose loader is missing: one PT_INTERP.
    let mut elf = std::fs::read("/bin/true").expect("readable");
    let from = elf.windows(4).position(|bytes| bytes == b"/lib").expect("a dynamic program");
    elf[from..from + 4].copy_from_slice(b"/LIB");
    std::fs::write(at("elf"), &elf).expect("writable");
    std::fs::set_permissions(at("elf"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let loader = String::from_utf8(elf[from..].split(|byte| *byte == 0).next().expect("ends").to_vec()).expect("a path");

    let text = |text: &str| Some(Bytes::Text(text.to_owned()));
    let cases: [(&str, SpawnStep, Errno, Option<Bytes>); 10] = [
        ("no-such-program", SpawnStep::Find, Errno::NOENT, None),
        ("/no/such/program", SpawnStep::Find, Errno::NOENT, None),
        ("", SpawnStep::Find, Errno::NOENT, None),
        (&at("plain"), SpawnStep::Execute, Errno::ACCESS, None),
        ("/tmp", SpawnStep::Execute, Errno::ACCESS, None),
        (&at("lost"), SpawnStep::Execute, Errno::NOENT, text("/no/such/interpreter")),
        (&at("windows"), SpawnStep::Execute, Errno::NOENT, text("/bin/sh\r")),
        (&at("second"), SpawnStep::Execute, Errno::NOENT, text("/no/such/interpreter")),
        (&at("elf"), SpawnStep::Execute, Errno::NOENT, text(&loader)),
        (&at("nothing"), SpawnStep::Execute, Errno::NOEXEC, None),
    ];
    let mut client = Client::new();
    for (program, step, errno, interpreter) in cases {
        let channel = client.open(ToAgent::Spawn(argv(&[program])));
        let FromAgent::NotStarted(told) = client.message(channel) else { panic!("{program} was started") };
        assert_eq!((told.step, told.errno, told.interpreter), (step, errno.raw_os_error(), interpreter), "{program}");
    }
    for (cwd, errno) in [("/no/such/directory", Errno::NOENT), ("/etc/passwd", Errno::NOTDIR)] {
        let channel = client.open(ToAgent::Spawn(Spawn { cwd: path(cwd), ..argv(&["true"]) }));
        let expected = NotStarted::at(SpawnStep::ChangeDirectory, errno.raw_os_error());
        assert_eq!(client.message(channel), FromAgent::NotStarted(expected), "{cwd}");
    }
}

#[test]
fn a_program_is_looked_for_on_the_path_of_its_own_environment() {
    let directory = tempfile::tempdir().expect("a directory");
    script(directory.path(), "mine", "#!/bin/sh\necho found\n", 0o755);
    let mut client = Client::new();
    let mut request = argv(&["mine"]);
    request.env = vec![format!("PATH=/nonexistent:{}:/bin", directory.path().display())];
    assert_eq!(client.run(request).text(), "found\n");
    // An empty element is the working directory of the command.
    let mut request = argv(&["mine"]);
    request.env = vec!["PATH=/bin:".to_owned()];
    request.cwd = path(directory.path().to_str().expect("UTF-8"));
    assert_eq!(client.run(request).text(), "found\n");
    let mut request = argv(&["echo", "x"]);
    request.env = Vec::new();
    assert_eq!(client.run(request).text(), "x\n");
}

#[test]
fn stdin_echoes_whole_through_cat() {
    let mut client = Client::new();
    let (channel, _) = client.start(Spawn { stdin: true, ..argv(&["cat"]) });
    let total = 10 * 1024 * 1024;
    let input: Vec<u8> = (0..total).map(|index: usize| (index * 31 % 251) as u8).collect();
    let (mut sent, mut credit, mut output) = (0, 0, Vec::new());
    while output.len() < total {
        while credit > 0 && sent < total {
            let now = credit.min(total - sent).min(64 * 1024);
            client.send_data(channel, Stream::Stdin, &input[sent..sent + now]);
            (sent, credit) = (sent + now, credit - now);
            if sent == total {
                client.send(channel, ToAgent::StdinEnd);
            }
        }
        match client.receive() {
            Frame::Control { message: FromAgent::Credit { bytes }, .. } => credit += bytes as usize,
            Frame::Data { bytes, .. } => {
                output.extend(&bytes);
                client.send(channel, ToAgent::Credit { bytes: bytes.len() as u32 });
            }
            other => panic!("{other:?}"),
        }
    }
    let ran = client.finish(channel, output, Vec::new());
    assert_eq!(ran.code(), 0);
    assert!(ran.stdout == input);
}

#[test]
fn a_command_that_does_not_read_its_input_is_no_error() {
    let mut client = Client::new();
    let (channel, _) = client.start(Spawn { stdin: true, ..shell("exec <&-; echo closed; sleep 1000") });
    let mut credit = 0_usize;
    while credit < INPUT_CREDIT_BYTES as usize {
        if let FromAgent::Credit { bytes } = client.message(channel) {
            credit += bytes as usize;
        }
    }
    client.output(channel, 7);
    // Ten times the credit: it must come back although nobody reads.
    let mut left = 10 * INPUT_CREDIT_BYTES as usize;
    while left > 0 {
        while credit > 0 && left > 0 {
            let now = credit.min(left).min(64 * 1024);
            client.send_data(channel, Stream::Stdin, &vec![0; now]);
            (credit, left) = (credit - now, left - now);
        }
        if left > 0 {
            let FromAgent::Credit { bytes } = client.message(channel) else { panic!("only credit comes") };
            credit += bytes as usize;
        }
    }
    client.send(channel, ToAgent::StdinEnd);
    client.send(channel, ToAgent::Kill);
    let ran = client.finish(channel, b"closed\n".to_vec(), Vec::new());
    assert_eq!(ran.exited.status, ExitStatus::Signal(9));
}

#[test]
fn output_stays_within_its_credit_and_the_command_waits() {
    let mut client = Client::new();
    let (channel, pid) = client.start(Spawn { credit_bytes: 1000, ..shell("head -c 1000000 /dev/zero") });
    assert_eq!(client.output(channel, 1000).len(), 1000);
    // The pipe is full and it still runs: nothing comes, whatever else the agent does.
    assert_eq!(client.run(argv(&["echo", "meanwhile"])).text(), "meanwhile\n");
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    client.send(channel, ToAgent::Credit { bytes: 500 });
    assert_eq!(client.output(channel, 500).len(), 500);
    client.send(channel, ToAgent::Credit { bytes: OUTPUT_CREDIT_BYTES });
    assert_eq!(client.finish(channel, vec![0; 1500], Vec::new()).exited.stdout_bytes, 1_000_000);
}

#[test]
fn what_was_written_before_the_end_comes_however_late_the_credit() {
    let mut client = Client::new();
    let (channel, pid) = client.start(Spawn { credit_bytes: 10, ..shell("head -c 50000 /dev/zero") });
    assert_eq!(client.output(channel, 10).len(), 10);
    // It fits the pipe, so the command ends without a reader; the drain time passes too.
    let gone = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() || gone.elapsed() < Duration::from_millis(400) {
        client.run(argv(&["true"]));
        assert!(gone.elapsed() < Duration::from_secs(20));
    }
    client.send(channel, ToAgent::Credit { bytes: OUTPUT_CREDIT_BYTES });
    let ran = client.finish(channel, vec![0; 10], Vec::new());
    assert_eq!((ran.exited.stdout_bytes, ran.exited.output_held_open), (50_000, false));
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_line_of_100_mb_needs_no_memory() {
    let mut client = Client::new();
    let before = peak_memory_kib();
    let (channel, _) = client.start(Spawn { credit_bytes: 64 * 1024, ..shell("head -c 100000000 /dev/zero | tr '\\0' x") });
    let mut total = 0_u64;
    let exited = loop {
        match client.receive() {
            Frame::Data { bytes, .. } => {
                total += bytes.len() as u64;
                client.send(channel, ToAgent::Credit { bytes: bytes.len() as u32 });
            }
            Frame::Control { message: FromAgent::Exited(exited), .. } => break exited,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((total, exited.stdout_bytes), (100_000_000, 100_000_000));
    // Other tests run in this process too; all of the output would be 97,656 KiB.
    assert!(peak_memory_kib() < before + 60_000, "{before} KiB before, {} after", peak_memory_kib());
}

#[test]
fn a_daemon_that_keeps_the_output_does_not_hold_the_call_open() {
    let mut client = Client::new();
    let ran = client.run(shell("echo kept; (setsid sleep 1000 & echo $! ) "));
    assert!(ran.exited.output_held_open);
    let pid = ran.text().lines().nth(1).expect("a pid").to_owned();
    assert!(ran.text().starts_with("kept\n"));
    // It was left alone: whoever starts a daemon wants it. Only now it goes, and by a command of its own.
    assert_eq!(client.run(argv(&["/bin/kill", "-9", &pid])).code(), 0);
}

#[test]
fn fifty_commands_at_once_do_not_mix() {
    let mut client = Client::new();
    let count = 50;
    let channels: Vec<u32> = (0..count)
        .map(|index| client.open(ToAgent::Spawn(shell(&format!("for i in 1 2 3; do echo {index}; done; exit {index}")))))
        .collect();
    let mut outputs = vec![String::new(); count];
    let mut ends = 0;
    while ends < count {
        let index = |channel: u32| channels.iter().position(|open| *open == channel).expect("a channel of ours");
        match client.receive() {
            Frame::Data { channel, bytes, .. } => outputs[index(channel)].push_str(&String::from_utf8_lossy(&bytes)),
            Frame::Control { channel, message: FromAgent::Exited(exited) } => {
                assert_eq!(exited.status, ExitStatus::Code(index(channel) as u8));
                ends += 1;
            }
            Frame::Control { message: FromAgent::Started { .. }, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    for (index, output) in outputs.iter().enumerate() {
        assert_eq!(*output, format!("{index}\n{index}\n{index}\n"));
    }
}

#[test]
fn a_signal_reaches_the_group_and_a_stop_is_no_end() {
    let mut client = Client::new();
    let (channel, _) = client.start(shell("trap 'echo got; exit 9' USR1; echo ready; while :; do sleep 0.01; done"));
    client.output(channel, 6);
    client.send(channel, ToAgent::Signal { signal: 19 });
    client.run(argv(&["true"]));
    client.send(channel, ToAgent::Signal { signal: 18 });
    client.send(channel, ToAgent::Signal { signal: 10 });
    // The group's other member, sleep, is ended by the signal too.
    let ran = client.finish(channel, b"ready\n".to_vec(), Vec::new());
    assert_eq!((ran.code(), ran.text().as_str()), (9, "ready\ngot\n"));
}

#[test]
fn a_kill_takes_the_whole_tree() {
    let mut client = Client::new();
    // A child in the group, one in a group of its own, one in a session of its own with a child there, and a stopped one.
    let tree = "sleep 1000 & echo $!; \
                setsid sh -c 'sleep 1000 & echo $!; echo $$; wait' & echo $!; \
                (set -m; sleep 1000 & echo $!); \
                sh -c 'echo $$; kill -STOP $$' & echo $$; wait";
    let (channel, _) = client.start(shell(tree));
    let mut text = String::new();
    while text.lines().count() < 7 {
        text.push_str(&String::from_utf8_lossy(&client.output(channel, 1)));
    }
    let pids: Vec<i32> = text.lines().map(|line| line.parse().expect("a pid")).collect();
    client.send(channel, ToAgent::Kill);
    let ran = client.finish(channel, text.into_bytes(), Vec::new());
    assert_eq!(ran.exited.status, ExitStatus::Signal(9));
    assert!(!ran.exited.output_held_open);
    for pid in pids {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie that its new parent, outside this test, has not waited for yet is dead enough.
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
}

#[test]
fn a_kill_outruns_a_fork_bomb_of_small_depth() {
    let mut client = Client::new();
    // Children that fork and end all the time: each must be stopped before its parent disappears.
    let (channel, _) =
        client.start(shell("f() { while :; do sh -c 'sleep 0.001' & sh -c :; done; }; f & f & f & echo ready; wait"));
    let ready = client.output(channel, 6);
    client.send(channel, ToAgent::Kill);
    let ran = client.finish(channel, ready, Vec::new());
    assert_eq!(ran.exited.status, ExitStatus::Signal(9));
    assert!(!ran.exited.output_held_open);
}

#[test]
fn the_end_of_the_link_ends_the_commands() {
    let mut client = Client::new();
    let (channel, pid) = client.start(shell("echo ready; sleep 1000"));
    client.output(channel, 6);
    client.close();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_terminal_is_read_typed_into_resized_and_signalled() {
    let mut client = Client::new();
    let size = |columns, rows| TerminalSize { columns, rows };
    let line =
        "tty >/dev/null; trap 'echo caught' INT; echo ready; while read -r word; do echo \"[$word]\"; stty size; done; exit 7";
    let (channel, _) = client.start(Spawn { terminal: Some(size(80, 24)), ..shell(line) });
    let (mut seen, mut all) = (String::new(), Vec::new());
    let mut until = |client: &mut Client, word: &str| {
        while !seen.contains(word) {
            match client.receive() {
                Frame::Data { stream: Stream::Stdout, bytes, .. } => {
                    seen.push_str(&String::from_utf8_lossy(&bytes));
                    all.extend(bytes);
                }
                Frame::Control { message: FromAgent::Credit { .. }, .. } => {}
                frame => panic!("{frame:?} after {seen:?}"),
            }
        }
        std::mem::take(&mut seen)
    };
    assert_eq!(until(&mut client, "ready\r\n"), "ready\r\n");
    client.send(channel, ToAgent::Resize(size(132, 43)));
    client.send_data(channel, Stream::Stdin, b"typed\n");
    assert_eq!(until(&mut client, "132\r\n"), "typed\r\n[typed]\r\n43 132\r\n");
    client.send(channel, ToAgent::Signal { signal: 2 });
    client.send_data(channel, Stream::Stdin, b"on\n");
    until(&mut client, "caught");
    // What is typed for the end of input is its end.
    client.send_data(channel, Stream::Stdin, b"\x04");
    let sent = client.finish(channel, all, Vec::new());
    assert_eq!((sent.exited.status, sent.exited.stderr_bytes), (ExitStatus::Code(7), 0));
}

#[test]
fn whether_it_waits_for_somebody_to_type_is_told_from_what_it_is_blocked_in() {
    let mut client = Client::new();
    let look = |client: &mut Client, channel: u32| {
        client.send(channel, ToAgent::Inspect(Inspect::default()));
        loop {
            match client.receive() {
                Frame::Control { message: FromAgent::Inspected { waits_for_input, .. }, .. } => return waits_for_input,
                Frame::Control { message: FromAgent::Credit { .. }, .. } | Frame::Data { .. } => {}
                frame => panic!("{frame:?}"),
            }
        }
    };
    let terminal = Some(TerminalSize { columns: 80, rows: 24 });
    // On a terminal, by a child; through a pipe; and on a terminal that something inside has made.
    let asks = "sh -c 'printf \"name? \"; read -r name; exit 4'";
    let inner = shell("sleep 60 | script -qec 'sh -c \"read -r x\"' /dev/null; exit 4");
    let on_terminal = Spawn { terminal, ..shell(asks) };
    for (request, typed) in [(on_terminal, "me\n"), (Spawn { stdin: true, ..shell("head -n 1; exit 4") }, "me\n"), (inner, "")] {
        let (channel, _) = client.start(request);
        let until = Instant::now() + Duration::from_secs(60);
        while !look(&mut client, channel) {
            assert!(Instant::now() < until, "it was never seen to wait");
        }
        match typed {
            "" => client.send(channel, ToAgent::Kill),
            typed => client.send_data(channel, Stream::Stdin, typed.as_bytes()),
        }
        loop {
            match client.receive() {
                Frame::Control { message: FromAgent::Exited(_), .. } => break,
                Frame::Control { message: FromAgent::Credit { .. }, .. } | Frame::Data { .. } => {}
                frame => panic!("{frame:?}"),
            }
        }
    }
    // Who does something else does not, though a terminal or an open pipe is its input.
    for request in
        [Spawn { terminal, ..shell("echo ready; sleep 60") }, Spawn { stdin: true, ..shell("echo ready; sleep 60 | cat") }]
    {
        let (channel, _) = client.start(request);
        while !matches!(client.receive(), Frame::Data { .. }) {}
        assert!(!look(&mut client, channel));
        client.send(channel, ToAgent::Kill);
        while !matches!(client.receive(), Frame::Control { message: FromAgent::Exited(_), .. }) {}
    }
}

#[test]
fn what_a_line_names_and_is_not_there_is_told_with_what_may_be_meant() {
    let mut client = Client::new();
    let path = "PATH=/usr/bin".to_owned();
    let missing = |client: &mut Client, request: Spawn| {
        let ran = client.run(Spawn { env: vec![path.clone()], ..request });
        ran.exited.trouble.missing.map(|missing| (missing.name, missing.similar.map(|path| path.to_vec().expect("valid"))))
    };
    let similar = Some(b"/usr/bin/sort".to_vec());
    assert_eq!(missing(&mut client, shell("true && sotr x")), Some(("sotr".to_owned(), similar.clone())));
    assert_eq!(missing(&mut client, argv(&["sh", "-c", "sotr x"])), Some(("sotr".to_owned(), similar.clone())));
    assert_eq!(missing(&mut client, shell("frobnicate")), Some(("frobnicate".to_owned(), None)));
    assert_eq!(missing(&mut client, shell("exit 127")), None);
    // Of a line that was typed into something that runs on.
    let (channel, _) = client.start(Spawn { stdin: true, env: vec![path.clone()], ..shell("cat") });
    let failed = FailedLine { line: "sotr x".to_owned(), code: 127 };
    client.send(channel, ToAgent::Inspect(Inspect { failed: Some(failed) }));
    let trouble = loop {
        match client.message(channel) {
            FromAgent::Inspected { trouble, .. } => break trouble,
            FromAgent::Credit { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(trouble.missing.map(|missing| missing.name).as_deref(), Some("sotr"));
}
