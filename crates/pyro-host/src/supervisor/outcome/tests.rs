use pyro_wire::message::Bytes;

use super::*;

/// What is counted: memory kills, refused processes, and whether the command was alone.
fn met(kills: u64, refused: u64, alone: bool) -> Met {
    let before = Pressure { memory_kills: 3, processes_refused: 5, memory_peak_mib: None };
    let after = Pressure { memory_kills: 3 + kills, processes_refused: 5 + refused, memory_peak_mib: Some(64) };
    Met { before, after, mem_mib: 64, processes_max: 4096, alone }
}

#[test]
fn what_was_counted_decides_and_what_went_well_went_well() {
    use ExitStatus::{Code, Signal};
    let report = |status| (status, Trouble::default());
    let full = |status| (status, Trouble { disk_full: Some(Bytes::Text("/workspace".to_owned())), ..Trouble::default() });
    for ((status, trouble), met, expected) in [
        (report(Code(0)), met(1, 1, true), "exited 0"),
        (report(Code(3)), met(0, 0, true), "exited 3"),
        (report(Signal(11)), met(0, 0, true), "killed by SIGSEGV"),
        (report(Signal(9)), met(0, 0, true), "killed by SIGKILL"),
        (report(Signal(9)), met(1, 0, false), "out of memory (limit 64 MiB, peak 64 MiB)"),
        (report(Code(137)), met(1, 0, false), "out of memory (limit 64 MiB, peak 64 MiB)"),
        // make reports its compiler's death as 2: that was its own, unless another command ran beside it.
        (report(Code(2)), met(1, 0, true), "out of memory (limit 64 MiB, peak 64 MiB)"),
        (report(Code(2)), met(1, 0, false), "exited 2"),
        (report(Code(254)), met(0, 4, true), "exited 254, refused a process (limit 4096)"),
        (full(Code(1)), met(0, 0, true), "exited 1, disk full (/workspace)"),
        (full(Signal(6)), met(0, 0, true), "exited 134, disk full (/workspace)"),
        (full(Code(0)), met(0, 0, true), "exited 0"),
    ] {
        assert_eq!(in_words(&of_exit(status, &trouble, &met)), expected, "{status:?} {trouble:?} {met:?}");
    }
    let said = Trouble { out_of_memory: true, ..Trouble::default() };
    assert!(matches!(of_exit(Signal(9), &said, &met(0, 0, false)), Outcome::OutOfMemory { limit_mib: 64, code: 137, .. }));
}

#[test]
fn a_command_that_never_ran_says_what_is_missing_and_what_is_there() {
    let cwd = SandboxPath::parse("/workspace/src").unwrap();
    let text = |text: &str| Some(Bytes::Text(text.to_owned()));
    let at = NotStarted::at;
    for (report, reason, code) in [
        (at(SpawnStep::Find, 2), "tool was not found", 127),
        (
            NotStarted { similar: text("/root/.cargo/bin/tool"), ..at(SpawnStep::Find, 2) },
            "tool was not found; there is /root/.cargo/bin/tool",
            127,
        ),
        (
            NotStarted { interpreter: text("/usr/bin/python"), similar: text("/usr/bin/python3"), ..at(SpawnStep::Execute, 2) },
            "tool needs the interpreter /usr/bin/python, which is not there; there is /usr/bin/python3",
            127,
        ),
        (NotStarted { interpreter: text("/bin/sh\r"), ..at(SpawnStep::Execute, 2) }, "/bin/sh\\u{d}", 127),
        (at(SpawnStep::Execute, 13), "tool is not executable", 126),
        (at(SpawnStep::Execute, 8), "neither a program of this machine nor a script", 126),
        (NotStarted { machine: Some(243), ..at(SpawnStep::Execute, 8) }, "tool is a program for riscv, and this machine is", 126),
        (at(SpawnStep::ChangeDirectory, 2), "there is no directory src", 126),
        (at(SpawnStep::ChangeDirectory, 13), "directory src cannot be entered: Permission denied", 126),
        (at(SpawnStep::Fork, 11), "the sandbox has no room for another process", 126),
    ] {
        let Outcome::NotStarted { reason: told, code: given } = of_no_start(&report, "tool", &cwd) else { panic!("{report:?}") };
        assert!(told.contains(reason) && given == code, "{told} is not {reason}");
    }
}

#[test]
fn what_to_do_next_is_said_when_it_is_not_obvious() {
    let not_started = |reason: &str, code| Outcome::NotStarted { reason: reason.to_owned(), code };
    for (outcome, shell, word) in [
        (Outcome::Exited { code: 1 }, true, None),
        (Outcome::Exited { code: 127 }, true, Some("the shell found no such command")),
        (Outcome::Exited { code: 126 }, true, Some("could not execute")),
        (Outcome::Exited { code: 139 }, true, Some("killed by SIGSEGV")),
        (Outcome::Exited { code: 139 }, false, None),
        (Outcome::Signaled { signal: 11, name: "SIGSEGV".to_owned() }, false, None),
        (Outcome::Signaled { signal: 31, name: "SIGSYS".to_owned() }, false, Some("sandboxes refuse")),
        (Outcome::TimedOut { after_seconds: 3 }, false, Some("timeout_seconds")),
        (Outcome::OutOfMemory { limit_mib: 1, peak_mib: None, code: 137 }, false, Some("mem_mib")),
        (Outcome::DiskFull { path: "/".to_owned(), code: 1 }, false, Some("free room")),
        (Outcome::ProcessLimit { limit: 1, code: 1 }, false, Some("parallel")),
        (not_started("x was not found", 127), false, Some("install it")),
        (not_started("x is not executable", 126), false, Some("chmod +x")),
        (not_started("there is no directory x", 126), false, None),
        (Outcome::SandboxLost { reason: "gone".to_owned() }, false, Some("run it again")),
        (Outcome::Cancelled, false, None),
    ] {
        let told = next(&outcome, shell, None);
        assert!(
            match (word, &told) {
                (None, None) => true,
                (Some(word), Some(told)) => told.contains(word),
                _ => false,
            },
            "{outcome:?}: {told:?}"
        );
    }
}

#[test]
fn a_program_that_a_shell_did_not_find_is_named_with_what_may_be_meant() {
    let missing =
        |similar: Option<&str>| Missing { name: "gti\u{1b}".to_owned(), similar: similar.map(|path| Bytes::Text(path.to_owned())) };
    let told = |code, missing: &Missing| next(&Outcome::Exited { code }, true, Some(missing));
    assert_eq!(told(127, &missing(Some("/usr/bin/git"))).as_deref(), Some("127: gti\\u{1b} was not found; there is /usr/bin/git"));
    assert_eq!(told(127, &missing(None)).as_deref(), Some("127: gti\\u{1b} was not found; install it, or name it by its path"));
    assert_eq!(told(1, &missing(None)), None);
}
