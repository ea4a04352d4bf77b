//! Each step's failure is named exactly, and nothing of ours leaks into a command.

use super::*;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

fn text(text: &str) -> CString {
    CString::new(text).expect("no NUL in a test")
}

fn run(programs: &[&str], argv: &[&str], cwd: &str) -> Result<(Ended, String), SpawnError> {
    let list = |texts: &[&str]| texts.iter().map(|item| text(item)).collect::<Vec<_>>();
    let (programs, argv, cwd) = (list(programs), list(argv), text(cwd));
    let null = File::options().read(true).write(true).open("/dev/null").expect("there is a /dev/null");
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let spawned = Spawner::new().expect("a stack").spawn(&Command {
        programs: &programs,
        argv: &argv,
        env: &[text("A=b")],
        cwd: &cwd,
        stdin: null.as_fd(),
        stdout: writer.as_fd(),
        stderr: null.as_fd(),
        is_terminal: false,
    });
    drop(writer);
    let spawned = spawned?;
    let mut output = String::new();
    reader.read_to_string(&mut output).expect("the pipe is readable");
    let ended = wait(spawned.pid, Wait::UntilEnded).expect("it is our child").expect("it has ended");
    Ok((ended, output))
}

fn shell(line: &str) -> (Ended, String) {
    run(&["/bin/sh"], &["sh", "-c", line], "/tmp").expect("there is a /bin/sh")
}

#[test]
fn a_failure_names_its_step_and_error() {
    let failed = |step, errno| Err(SpawnError { step, errno });
    let outcome = |programs: &[&str], cwd| run(programs, &["x"], cwd).map(|_| ());
    assert_eq!(outcome(&["/nonexistent"], "/"), failed(Step::Execute, libc::ENOENT));
    assert_eq!(outcome(&["/etc/passwd"], "/"), failed(Step::Execute, libc::EACCES));
    assert_eq!(outcome(&["/etc"], "/"), failed(Step::Execute, libc::EACCES));
    assert_eq!(outcome(&["/etc/passwd", "/nonexistent"], "/"), failed(Step::Execute, libc::EACCES));
    assert_eq!(outcome(&["/bin/true"], "/nonexistent"), failed(Step::ChangeDirectory, libc::ENOENT));
    assert_eq!(outcome(&["/bin/true"], "/etc/passwd"), failed(Step::ChangeDirectory, libc::ENOTDIR));
    assert_eq!(outcome(&[], "/"), failed(Step::Execute, libc::ENOENT));
}

#[test]
fn the_first_program_that_is_there_is_executed() {
    let (ended, output) = run(&["/nonexistent/echo", "/etc/passwd", "/bin/echo"], &["echo", "hello"], "/").expect("it starts");
    assert_eq!((ended.status, output.as_str()), (Status::Code(0), "hello\n"));
}

#[test]
fn a_command_gets_its_own_session_its_directory_and_nothing_else_of_ours() {
    let leaked = File::open("/etc/passwd").expect("readable");
    let inheritable = leaked.as_raw_fd();
    // SAFETY: a plain number; makes the descriptor one that an exec would pass on.
    assert_eq!(unsafe { libc::fcntl(inheritable, libc::F_SETFD, 0) }, 0);
    let (_, output) = shell(
        "pwd; echo $A; ls /proc/self/fd | tr '\\n' ' '; cut -d' ' -f6 /proc/$$/stat; echo $$; grep -E '^Sig(Blk|Ign)' /proc/self/status",
    );
    let lines: Vec<&str> = output.lines().collect();
    let [cwd, variable, descriptors, pid, blocked, ignored] = lines.as_slice() else { panic!("{output}") };
    assert_eq!((*cwd, *variable), ("/tmp", "b"));
    // 3 is the directory that ls reads.
    let (open, session) = descriptors.rsplit_once(' ').expect("two parts");
    assert_eq!(open.trim(), "0 1 2 3");
    assert_eq!(session, *pid);
    assert_eq!((*blocked, *ignored), ("SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"));
}

#[test]
fn an_end_is_a_code_or_a_signal() {
    assert_eq!(shell("exit 7").0.status, Status::Code(7));
    assert_eq!(shell("kill -9 $$").0.status, Status::Signal(9));
    assert_eq!(shell("kill -34 $$").0.status, Status::Signal(34));
}

#[test]
fn our_own_signal_mask_survives_a_spawn() {
    let blocked = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("readable");
        status.lines().find(|line| line.starts_with("SigBlk")).map(str::to_owned)
    };
    let before = blocked();
    shell("true");
    assert_eq!(run(&["/nonexistent"], &["x"], "/").map(|_| ()), Err(SpawnError { step: Step::Execute, errno: libc::ENOENT }));
    assert_eq!(blocked(), before);
}
