use super::*;

fn later(look: &Look, by: Duration) -> Instant {
    look.active + by
}

#[test]
fn it_is_asked_once_and_believed_until_something_happens() {
    let mut look = Look::new();
    let soon = later(&look, BUSY / 2);
    assert_eq!((look.waits(soon), look.take_wanted()), (Some(false), false), "it has just begun");
    let silent = later(&look, SILENT);
    assert_eq!((look.next(), look.waits(silent)), (Some(silent), None));
    assert!(look.take_wanted() && !look.take_wanted());
    assert_eq!((look.waits(silent), look.next(), look.take_wanted()), (None, None, false), "it was asked already");
    look.answered(true).expect("it was asked");
    assert!(look.waits(silent) == Some(true) && look.is_stuck(silent) && look.next().is_none());
    look.note_activity();
    assert!(!look.is_stuck(look.active + BUSY) && look.waits(look.active + SILENT).is_none());
}

#[test]
fn what_happens_before_the_answer_makes_it_worth_nothing() {
    let mut look = Look::new();
    let _unknown = look.waits(later(&look, SILENT));
    assert!(look.take_wanted());
    look.note_activity();
    look.answered(true).expect("it was asked");
    assert_eq!(look.waits(look.active + SILENT), Some(false));
    assert_eq!(look.waits(look.active + SILENT + AGAIN), None, "it is looked again");
}

#[test]
fn an_agent_that_does_not_answer_holds_nobody_up_and_one_that_was_not_asked_is_not_believed() {
    let mut look = Look::new();
    assert!(look.answered(true).is_err());
    let due = later(&look, SILENT);
    assert_eq!((look.waits(due), look.hold(due)), (None, due));
    assert!(look.take_wanted());
    let end = look.hold(due);
    assert!(end > due);
    assert_eq!((look.waits(end), look.hold(end)), (Some(false), end));
}
