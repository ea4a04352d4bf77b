//! A started program has what it was given and nothing else, and a failure leaves no process.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use super::*;
use crate::spawn::Exit;

fn run(arguments: &[&CStr]) -> (Exit, String) {
    let shell = File::open("/bin/sh").expect("there is a /bin/sh");
    let null = File::options().read(true).write(true).open("/dev/null").expect("there is a /dev/null");
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let program = Program { file: shell.as_fd(), arguments, descriptors: &[null.as_fd(), writer.as_fd(), writer.as_fd()] };
    let child = start_in(Namespaces::NONE, None, &program).expect("it starts");
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("the pipe is readable");
    (child.wait().expect("it is our child"), said)
}

#[test]
fn a_program_has_its_descriptors_an_empty_environment_and_a_session() {
    let (exit, said) = run(&[c"sh", c"-c", c"ls /proc/$$/fd; tr '\\0' '\\n' </proc/$$/environ; ps -o sid= -p $$; echo $$; exit 3"]);
    assert_eq!(exit, Exit::Code(3));
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..3], ["0", "1", "2"], "{said}");
    assert!(words.len() == 5 && words[3] == words[4], "its own session, and no variable: {said}");
}

#[test]
fn signals_are_as_at_the_start_of_the_world() {
    // Rust's runtime ignores SIGPIPE.
    let (_, said) = run(&[c"sh", c"-c", c"exec grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status"]);
    for line in said.lines() {
        let (_, mask) = line.split_once(':').expect("a mask");
        // A program may catch what it wants, but ignores and blocks nothing.
        assert!(line.starts_with("SigCgt") || mask.trim() == "0000000000000000", "{said}");
    }
}

#[test]
fn what_cannot_be_executed_is_said_and_leaves_nothing() {
    let file = File::open("/etc/passwd").expect("there is a /etc/passwd");
    let program = Program { file: file.as_fd(), arguments: &[c"x"], descriptors: &[] };
    let failure = start_in(Namespaces::NONE, None, &program).expect_err("no program");
    assert!(matches!(&failure, Failure::Execute(error) if error.raw_os_error() == Some(libc::EACCES)), "{failure:?}");
}

#[test]
fn other_threads_are_no_hindrance() {
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv().is_err());
    assert_eq!(run(&[c"sh", c"-c", c"exit 5"]).0, Exit::Code(5));
    drop(end);
    assert!(thread.join().expect("the thread ends"));
}
