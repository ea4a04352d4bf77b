use super::*;

const PROMPT: &[u8] = b"\x1b]133;A\x07$ \x1b]133;B\x07";

fn session() -> Session {
    let mut session = Session::new("sh1".parse().expect("a name"), "bash".to_owned(), TerminalSize { columns: 80, rows: 24 });
    session.feed(PROMPT);
    session
}

/// A line is entered, by a caller who waits for its end.
fn types(session: &mut Session, connection: u32) {
    session.wait(connection, Until::End, Duration::from_mins(1), true);
    session.for_the_next();
    session.enter();
}

fn runs_a_command(session: &mut Session) {
    session.feed(b"\r\n\x1b]133;C\x07printed\r\n\x1b]133;D;0\x07");
    session.feed(PROMPT);
}

fn are_done(session: &mut Session) -> Vec<bool> {
    (0..session.waits.len()).map(|index| session.is_done(index, session.last_output)).collect()
}

#[test]
fn who_types_ahead_waits_for_his_own_line_and_not_for_the_one_before() {
    let mut session = session();
    // Neither has been taken when the next is typed.
    types(&mut session, 1);
    types(&mut session, 2);
    types(&mut session, 3);
    for done in [[true, false, false], [true, true, false], [true, true, true]] {
        runs_a_command(&mut session);
        assert_eq!(are_done(&mut session), done);
    }
}

#[test]
fn a_line_that_was_no_command_is_counted_for_nothing() {
    let mut session = session();
    session.enter();
    session.feed(b"\r\n");
    session.feed(PROMPT);
    types(&mut session, 1);
    assert_eq!(are_done(&mut session), [false]);
    runs_a_command(&mut session);
    assert_eq!(are_done(&mut session), [true]);
}

#[test]
fn of_what_was_written_the_end_is_kept_as_it_came_and_told_once() {
    let mut session = session();
    let raw = |session: &mut Session| session.view("w", 1, Outcome::Running, Show { raw: true, screen: false }, true).text;
    assert_eq!(raw(&mut session), r"\u{1b}]133;A\u{7}$ \u{1b}]133;B\u{7}");
    assert_eq!(raw(&mut session), "");
    session.feed(&b"12345678".repeat(1000));
    let text = raw(&mut session);
    let (told, kept) = text.split_once('\n').expect("a line that says what is missing");
    assert_eq!(told, format!("[{} bytes before these are left out]", 8000 - kept.len()));
    assert!(kept.ends_with("12345678") && (1000..=TEXT_CHARS).contains(&kept.len()), "{} bytes", kept.len());
    // Visible it would be far too long.
    session.feed(&[0x1b; 3 * RAW_BYTES]);
    assert!(raw(&mut session).len() <= TEXT_CHARS + 60);
}
