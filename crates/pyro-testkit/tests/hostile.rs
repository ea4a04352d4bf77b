//! The hostile peers themselves: their honest beginnings are what a real agent would say, and each one ends when its link does.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use pyro_testkit::hostile::{Asked, Ends, TABLE};
use pyro_wire::frame::{Frame, LinkError, encode_control, read_frame};
use pyro_wire::message::{Diff, Hello, Program, Spawn};
use pyro_wire::{FromAgent, SandboxPath, ToAgent};

fn send(stream: &mut UnixStream, channel: u32, message: &ToAgent) {
    let mut bytes = Vec::new();
    encode_control(channel, message, &mut bytes).expect("our own messages keep the bounds");
    // A peer that has said its piece may have gone.
    let _ = std::io::Write::write_all(stream, &bytes);
}

fn hello() -> ToAgent {
    ToAgent::Hello(Hello { nonce: 7, build: "test".to_owned(), hostname: "test".to_owned() })
}

fn spawn() -> ToAgent {
    ToAgent::Spawn(Spawn {
        terminal: None,
        program: Program::Argv(vec!["true".to_owned()]),
        env: Vec::new(),
        cwd: "/".parse::<SandboxPath>().expect("a path"),
        stdin: false,
        credit_bytes: 1024,
    })
}

fn diff() -> ToAgent {
    ToAgent::Diff(Diff { path: SandboxPath::workspace(), stat: false, binary: false, credit_bytes: 1024 })
}

/// Long enough for a thread that is running to write a line, short enough for the silent ones to be told by it.
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn every_peer_ends_with_its_link_and_begins_honestly_when_it_says_so() {
    for hostile in TABLE {
        let (mut outside, inside) = UnixStream::pair().expect("a socket pair");
        outside.set_read_timeout(Some(QUIET)).expect("a timeout");
        let peer = hostile.start(inside);
        send(&mut outside, 0, &hello());
        let first = read_frame::<FromAgent>(&mut outside);
        match hostile.ends {
            Ends::Violation | Ends::Gone | Ends::Well => {
                let Ok(Some(Frame::Control { channel: 0, message: FromAgent::Hello(answer) })) = first else {
                    panic!("{}: its hello is {first:?}", hostile.name);
                };
                assert_eq!((answer.nonce, answer.build.as_str()), (7, "test"), "{}", hostile.name);
                let request = match hostile.asked() {
                    Asked::Command => spawn(),
                    Asked::Diff => diff(),
                };
                send(&mut outside, 1, &request);
                assert!(!matches!(read_frame::<FromAgent>(&mut outside), Ok(None)), "{} said nothing", hostile.name);
            }
            Ends::SilentAtHello => assert!(matches!(first, Err(LinkError::Link(_))), "{} was not silent: {first:?}", hostile.name),
            Ends::ViolationAtHello => {}
        }
        drop(outside);
        peer.join().expect("a peer never panics");
    }
}

#[test]
fn peer_names_are_unique() {
    let mut names: Vec<&str> = TABLE.iter().map(|hostile| hostile.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}
