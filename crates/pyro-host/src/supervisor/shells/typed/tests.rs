use super::*;

fn counted(memory_kills: u64) -> Pressure {
    Pressure { memory_kills, ..Pressure::default() }
}

fn met(kills: u64) -> impl FnOnce(Pressure) -> Met {
    move |before| Met { before, after: counted(kills), mem_mib: 64, processes_max: 9, alone: true }
}

fn command(number: u64, exit: Option<i32>) -> Command {
    Command { number, line: Some(format!("line {number}")), finished: exit.is_some(), exit, ..Command::default() }
}

#[test]
fn a_failure_is_told_once_the_agent_has_said_what_it_sees_of_it() {
    let mut typed = Typed::default();
    assert!(typed.note(&command(1, None), met(0)).is_none());
    assert!(typed.told().0.is_none() && typed.take_failed().is_none());
    assert!(typed.note(&command(1, Some(3)), met(0)).is_none());
    assert!(typed.is_unexplained(Instant::now()) && typed.wants_explanation());
    assert!(typed.explain(&Trouble::default()).is_none(), "it was not asked");
    assert_eq!(typed.take_failed(), Some(FailedLine { line: "line 1".to_owned(), code: 3 }));
    assert!(typed.take_failed().is_none() && !typed.wants_explanation(), "it is asked once");
    let why = typed.explain(&Trouble::default()).expect("it was asked");
    assert_eq!((why.line, why.outcome), ("line 1", &Outcome::Exited { code: 3 }));
    assert!(!typed.is_unexplained(Instant::now()));
    // Marks of the same command again change nothing.
    assert!(typed.note(&command(1, Some(3)), met(9)).is_none() && typed.told().0 == Some(Outcome::Exited { code: 3 }));
    // One that is well needs nobody's word.
    assert_eq!(typed.note(&command(2, Some(0)), met(9)).map(|why| why.outcome.clone()), Some(Outcome::Exited { code: 0 }));
}

#[test]
fn what_was_counted_before_a_command_is_not_its_own() {
    let mut typed = Typed::default();
    assert!(typed.note(&command(1, None), met(4)).is_none());
    assert!(typed.note(&command(1, Some(1)), met(4)).is_none());
    assert_eq!(typed.told().0, Some(Outcome::Exited { code: 1 }), "it is told without the agent too");
    // Begun and ended between two looks: what has risen since the last is its own.
    assert!(typed.note(&command(2, Some(137)), met(5)).is_none());
    assert_eq!(typed.told().0, Some(Outcome::OutOfMemory { limit_mib: 64, peak_mib: None, code: 137 }));
    assert!(typed.note(&command(3, None), met(6)).is_none());
    assert!(typed.note(&command(3, Some(137)), met(6)).is_none());
    assert_eq!(typed.told().0, Some(Outcome::Exited { code: 137 }));
}
