//! Signals to this very process. One test, because handlers belong to the process.

use rustix::io::read;
use rustix::pipe::pipe;
use rustix::process::{Signal, getpid, kill_process};

use super::to_pipe;

#[test]
fn the_first_interrupt_is_passed_on_and_what_follows_takes_back() {
    let (reader, writer) = pipe().expect("a pipe");
    to_pipe(writer, 2).expect("handlers");
    for (signal, wanted) in [(Signal::INT, 2), (Signal::INT, 0), (Signal::TERM, 0), (Signal::HUP, 0)] {
        kill_process(getpid(), signal).expect("a signal to ourselves");
        let mut byte = [9];
        assert_eq!(read(&reader, &mut byte), Ok(1));
        assert_eq!(byte[0], wanted, "{signal:?}");
    }
}
