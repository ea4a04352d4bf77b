//! The hello, the end, and what a supervisor must not do.

use pyro_agent::End;
use pyro_wire::message::{FromAgent, Hello, List, ProbeName};
use pyro_wire::{Frame, Stream, ToAgent};

use crate::client::{Client, argv, hello, path, shell};

fn refused(client: Client) -> String {
    let mut client = client;
    match client.agent.take().expect("it runs").join().expect("no panic") {
        End::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_probe_answers_and_an_unconfined_agent_does_not_claim_to_be_confined() {
    let mut client = Client::connect(None);
    client.send(0, ToAgent::Hello(hello()));
    let FromAgent::Hello(answer) = client.message(0) else { panic!("no hello") };
    let held = |name| answer.probes.iter().find(|probe| probe.name == name).map(|probe| probe.held);
    assert_eq!(answer.probes.len(), 7);
    assert_eq!(held(ProbeName::OwnProcesses), Some(false), "{:?}", answer.probes);
    assert_eq!(client.close(), End::LinkClosed);
}

#[test]
fn another_build_is_refused() {
    let mut client = Client::connect(None);
    client.send(0, ToAgent::Hello(Hello { build: "other".to_owned(), ..hello() }));
    assert_eq!(refused(client), "the supervisor is another build");
}

#[test]
fn anything_before_the_hello_is_refused() {
    let mut client = Client::connect(None);
    client.send(1, ToAgent::Kill);
    assert_eq!(refused(client), "the first frame is not a hello");
}

#[test]
fn what_breaks_the_protocol_ends_the_agent() {
    let list = || ToAgent::List(List { path: path("/tmp"), depth: 1, entries_max: 1, selection: crate::files::all_names() });
    type Break = fn(&mut Client);
    let cases: [(Break, &str); 7] = [
        (|client| client.send(0, ToAgent::Hello(hello())), "a second hello"),
        (|client| client.send(3, ToAgent::Kill), "a message for a channel that was never open"),
        (|client| client.send_data(3, Stream::Stdin, b"x"), "data for a channel that was never open"),
        (|client| client.send(0, ToAgent::Spawn(argv(&["true"]))), "a request on a channel that is not new"),
        (|client| client.send(9, ToAgent::Shutdown { grace_ms: 1 }), "a shutdown on a request's channel"),
        (
            |client| {
                let (channel, _) = client.start(argv(&["sleep", "1000"]));
                client.send_data(channel, Stream::Stdin, b"x");
            },
            "standard input beyond its credit",
        ),
        (
            |client| {
                let (channel, _) = client.start(argv(&["sleep", "1000"]));
                client.send_data(channel, Stream::Content, b"x");
            },
            "data of a stream that the channel does not take",
        ),
    ];
    for (break_it, sentence) in cases {
        let mut client = Client::new();
        break_it(&mut client);
        assert_eq!(refused(client), format!("protocol violation: {sentence}"));
    }
    let mut client = Client::new();
    let channel = client.open(list());
    client.send(channel, list());
    assert!(refused(client).contains("not new"));
}

#[test]
fn what_crosses_the_end_of_a_channel_is_ignored() {
    let mut client = Client::new();
    let channel = client.open(ToAgent::Spawn(argv(&["/nonexistent"])));
    assert!(matches!(client.message(channel), FromAgent::NotStarted(_)));
    client.send(channel, ToAgent::Kill);
    client.send(channel, ToAgent::StdinEnd);
    client.send(channel, ToAgent::Credit { bytes: 1 });
    client.send(channel, ToAgent::Signal { signal: 15 });
    client.send_data(channel, Stream::Stdin, b"late");
    assert_eq!(client.run(argv(&["echo", "still there"])).text(), "still there\n");
}

#[test]
fn a_shutdown_asks_first_and_kills_after_the_grace() {
    let mut client = Client::new();
    let (polite, _) = client.start(shell("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done"));
    client.output(polite, 6);
    let (deaf, _) = client.start(shell("trap '' TERM; echo ready; while :; do sleep 0.01; done"));
    client.output(deaf, 6);
    client.send(0, ToAgent::Shutdown { grace_ms: 200 });
    let mut ends = Vec::new();
    while ends.len() < 2 {
        if let Frame::Control { channel, message: FromAgent::Exited(exited) } = client.receive() {
            ends.push((channel, exited.status));
        }
    }
    use pyro_wire::message::ExitStatus::{Code, Signal};
    assert_eq!(ends, [(polite, Code(3)), (deaf, Signal(9))]);
    let mut client = client;
    assert_eq!(client.agent.take().expect("it runs").join().expect("no panic"), End::Shutdown);
}
