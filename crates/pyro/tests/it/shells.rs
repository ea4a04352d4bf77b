//! Shells that are kept: typed into, read as a person would see them, seen live, and gone with their workspace.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;

use pyro_testkit::{DEADLINE, TestEnv, processes_with, skip};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};

use crate::packages::fetch;
use crate::{case, mark, wait_until_gone};

fn shell(env: &TestEnv, words: &[&str]) -> Value {
    env.document(&[&["workspace", "shell"], words].concat())
}

fn text(view: &Value) -> String {
    view["text"].as_str().unwrap_or_else(|| panic!("no text in {view:#}")).to_owned()
}

#[test]
fn a_shell_keeps_its_directory_and_tells_how_each_command_ended() {
    case(|env| {
        let ws = env.workspace("shell");
        let opened = shell(env, &["open", &ws]);
        assert_eq!(
            (&opened["shell"], &opened["at_prompt"], &opened["done"]),
            (&json!("sh1"), &json!(true), &json!(true)),
            "{opened:#}"
        );
        let type_in = |line: &str| shell(env, &["write", &ws, "sh1", "--text", line]);
        type_in("mkdir -p there && cd there; WORD=kept");
        let view = type_in("echo $WORD in ${PWD##*/}; (exit 3)");
        assert!(text(&view).contains("\nkept in there\n"), "{view:#}");
        assert_eq!((&view["command"]["exit"], &view["command"]["finished"]), (&json!(3), &json!(true)), "{view:#}");
        assert_eq!(view["command"]["line"], "echo $WORD in ${PWD##*/}; (exit 3)");
        // What was read is not told again; what is on the screen is there whenever it is asked for.
        assert!(!text(&shell(env, &["read", &ws, "sh1"])).contains("kept"));
        let rows = shell(env, &["read", &ws, "sh1", "--screen"])["screen"].to_string();
        assert!(rows.contains("kept in there"), "{rows}");
        // A progress bar is what stands at its end.
        let view = type_in("for n in $(seq 1 200); do printf '\\r%d of 200' $n; done; echo");
        assert!(text(&view).contains("200 of 200") && !text(&view).contains("150 of 200"), "{view:#}");
        // It is a command like any other: listed, its bytes stored, and ended with the workspace.
        let jobs = env.pyro(&["workspace", "job", "list", &ws, "--running"]).expect_ok().stdout;
        assert!(jobs.contains("bash (shell sh1)"), "{jobs}");
        let listed = shell(env, &["list", &ws]);
        assert_eq!((&listed["shells"][0]["shell"], &listed["shells"][0]["columns"]), (&json!("sh1"), &json!(120)));
        let ended = type_in("exit 5");
        assert_eq!(ended["outcome"], json!({"kind": "exited", "code": 5}), "{ended:#}");
        env.pyro(&["workspace", "shell", "read", &ws, "sh1"]).expect_error(125, "no shell sh1");
        assert!(env.pyro(&["workspace", "job", "logs", &ws, "job1"]).expect_ok().stdout.contains("kept in there"));
    });
}

#[test]
fn zsh_and_fish_tell_how_each_command_ended_too() {
    case(|env| {
        let here = env.scratch();
        if let Err(why) = fetch(here.path(), &["zsh", "zsh-common", "fish", "fish-common", "libpcre2-32-0"]) {
            return skip("packages of Debian 12", &why);
        }
        let ws = env.name("others");
        let seed = here.path().to_string_lossy();
        env.pyro(&["workspace", "create", "debian:12", "--name", &ws, "--seed-path", &seed]).expect_ok();
        // What fish would like to have for its manual pages is left out.
        let install = "DEBIAN_FRONTEND=noninteractive dpkg --force-depends -i ./*.deb > /tmp/log 2>&1 || { cat /tmp/log; exit 1; }";
        env.pyro(&["workspace", "exec", &ws, "--timeout-seconds", "300", "--", "sh", "-c", install]).expect_ok();
        // What the user has set is read, and not replaced by what marks the commands.
        let own = "mkdir -p ~/.config/fish && echo 'set -g OWN mine' > ~/.config/fish/config.fish && echo 'OWN=mine; precmd() { SEEN=$((SEEN + 1)) }' > ~/.zshrc";
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", own]).expect_ok();
        for (program, several) in [("zsh", "for n in 1 2; do\necho of-$n\ndone"), ("fish", "for n in 1 2\necho of-$n\nend")] {
            let opened = shell(env, &["open", &ws, "--name", program, "--program", program]);
            assert_eq!((&opened["at_prompt"], &opened["done"]), (&json!(true), &json!(true)), "{opened:#}");
            let type_in = |line: &str| shell(env, &["write", &ws, program, "--text", line]);
            for (line, says, exit) in [
                ("cd /tmp && pwd", "\n/tmp\n", 0),
                ("echo $OWN; false", "\nmine\n", 1),
                ("sleep 0.2; echo slept; sh -c 'exit 7'", "\nslept\n", 7),
                (several, "\nof-1\nof-2\n", 0),
                ("nosuchprogram", "nosuchprogram", 127),
            ] {
                let view = type_in(line);
                assert!(text(&view).contains(says), "{program}: {view:#}");
                assert_eq!(
                    (&view["command"]["exit"], &view["command"]["finished"], &view["done"]),
                    (&json!(exit), &json!(true), &json!(true)),
                    "{program}: {view:#}"
                );
            }
            let view = shell(env, &["write", &ws, program, "--text", "cat", "--until", "quiet"]);
            assert_eq!(view["at_prompt"], json!(false), "{program}: {view:#}");
            let view = shell(env, &["write", &ws, program, "--keys", "ctrl-c"]);
            assert_eq!((&view["at_prompt"], &view["command"]["exit"]), (&json!(true), &json!(130)), "{program}: {view:#}");
        }
    });
}

#[test]
fn what_runs_in_a_shell_is_waited_for_signalled_and_ended_with_it() {
    case(|env| {
        let ws = env.workspace("control");
        shell(env, &["open", &ws, "--name", "work"]);
        let mark = mark(51);
        // A wait that ends by time says so, and the program runs on.
        let view = shell(env, &["write", &ws, "work", "--text", &format!("sleep {mark}"), "--wait-seconds", "1"]);
        assert_eq!((&view["done"], &view["at_prompt"]), (&json!(false), &json!(false)), "{view:#}");
        let view = shell(env, &["write", &ws, "work", "--keys", "ctrl-c"]);
        assert_eq!((&view["at_prompt"], &view["command"]["exit"]), (&json!(true), &json!(130)), "{view:#}");
        shell(env, &["write", &ws, "work", "--text", "trap '' INT; cat", "--until", "quiet"]);
        let view = shell(env, &["signal", &ws, "work", "--signal", "term"]);
        assert_eq!(view["command"]["exit"], 143, "{view:#}");
        // Output is waited for by what it holds.
        let line = "for n in 1 2 3; do echo tick $n; sleep 0.1; done; echo listening on 80; cat";
        let view = shell(env, &["write", &ws, "work", "--text", line, "--pattern", "listening on \\d+\\n", "--wait-seconds", "60"]);
        assert!(view["done"] == true && text(&view).contains("tick 3"), "{view:#}");
        shell(env, &["write", &ws, "work", "--keys", "ctrl-d"]);
        let view = shell(env, &["resize", &ws, "work", "--columns", "60", "--rows", "20"]);
        assert_eq!(view["outcome"]["kind"], "running");
        assert!(text(&shell(env, &["write", &ws, "work", "--text", "stty size"])).contains("20 60"));
        // What was there before it was typed is not what a pattern waits for.
        shell(env, &["write", &ws, "work", "--text", "echo ti''ck 4", "--until", "now"]);
        env.wait_for("its output", || {
            env.pyro(&["workspace", "job", "logs", &ws, "job1"]).expect_ok().stdout.contains("tick 4").then_some(())
        });
        let view = shell(env, &["write", &ws, "work", "--text", "echo ti''ck 5", "--pattern", "tick \\d\\n"]);
        assert!(view["done"] == true && text(&view).contains("tick 5\n"), "{view:#}");
        // A program that has the whole screen is shown as one.
        shell(env, &["write", &ws, "work", "--text", "printf '\\033[?1049h\\033[2J\\033[5;10Hcentre'; cat", "--until", "quiet"]);
        let view = shell(env, &["read", &ws, "work"]);
        assert_eq!(view["screen"][4], "         centre", "{view:#}");
        env.pyro(&["workspace", "shell", "write", &ws, "work", "--keys", "entr"]).expect_error(2, "enter");
        env.pyro(&["workspace", "shell", "open", &ws, "--program", "nosuch"]).expect_error(2, "there is no program nosuch");
        env.pyro(&["workspace", "shell", "read", &ws, "work", "--pattern", "("]).expect_error(2, "is no regular expression");
        // Closing ends what runs in it.
        shell(env, &["open", &ws, "--name", "other"]);
        shell(env, &["write", &ws, "other", "--text", &format!("trap '' HUP; sleep {mark}"), "--until", "quiet"]);
        let closed = shell(env, &["close", &ws, "other"]);
        assert_eq!(closed["outcome"]["kind"], "cancelled", "{closed:#}");
        wait_until_gone(env, &mark);
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        assert_eq!(processes_with(&mark), Vec::<i32>::new());
        assert_eq!(shell(env, &["list", &ws])["shells"], json!([]));
        env.pyro(&["workspace", "shell", "read", &ws, "work"]).expect_error(125, "not running");
    });
}

#[test]
fn a_program_that_asks_something_ends_the_wait_with_its_question() {
    case(|env| {
        let ws = env.workspace("asks");
        shell(env, &["open", &ws]);
        // Nothing else would end this wait for minutes: it is the kernel that says what the program is blocked in.
        let type_in = |line: &str| shell(env, &["write", &ws, "sh1", "--text", line, "--wait-seconds", "600"]);
        let asked = type_in("read -r -p 'Go on? [y/N] ' answer && sh");
        assert_eq!((&asked["waits_for_input"], &asked["done"]), (&json!("Go on? [y/N]"), &json!(false)), "{asked:#}");
        let inner = type_in("y");
        assert!(inner["waits_for_input"].as_str().is_some_and(|line| line.ends_with('#')), "{inner:#}");
        // Who is quiet without asking is waited for.
        let quiet = type_in("sleep 1; echo slept");
        assert!(text(&quiet).contains("\nslept\n"), "{quiet:#}");
        let back = type_in("exit 3");
        assert_eq!((&back["at_prompt"], &back["command"]["exit"]), (&json!(true), &json!(3)), "{back:#}");
        assert_eq!(back["waits_for_input"], Value::Null, "{back:#}");
        // What is typed while something else runs is waited for, not what runs.
        shell(env, &["write", &ws, "sh1", "--text", "sleep 1; echo first", "--until", "now"]);
        let ahead = type_in("echo sec''ond");
        assert!(text(&ahead).contains("\nsecond\n") && ahead["command"]["line"] == "echo sec''ond", "{ahead:#}");
        type_in("read -r -s -p 'Password: '");
        assert_eq!(shell(env, &["read", &ws, "sh1"])["waits_for_input"], "Password:");
        let job = env.document(&["workspace", "job", "wait", &ws, "job1", "--wait-seconds", "1"]);
        assert!(job["waits_for_input"] == "Password:" && job["next"].as_str().is_some_and(|next| next.contains("sh1")), "{job:#}");
    });
}

#[test]
fn what_was_written_to_the_terminal_is_shown_as_it_came_when_asked_for() {
    case(|env| {
        let ws = env.workspace("raw");
        shell(env, &["open", &ws]);
        let line = r"until [ -e go ]; do :; done; printf '\033[31mr%s\033[0m\n' ed";
        shell(env, &["write", &ws, "sh1", "--text", line, "--until", "now"]);
        env.pyro(&["workspace", "file", "write", &ws, "go", "--text", ""]).expect_ok();
        let raw = shell(env, &["read", &ws, "sh1", "--raw", "--pattern", "red"]);
        assert!(text(&raw).contains(r"\u{1b}[31mred\u{1b}[0m"), "{raw:#}");
        // It was read: as little of it comes again as of what is drawn.
        assert!(!text(&shell(env, &["read", &ws, "sh1", "--raw"])).contains("red"));
    });
}

/// A terminal that a person would sit at: what is typed into it, and what is seen.
struct Seat {
    ours: OwnedFd,
    seen: String,
}

impl Seat {
    fn start(env: &TestEnv, words: &[&str]) -> (Self, std::process::Child) {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
        tcsetwinsize(&ours, Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
        let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let theirs = || Stdio::from(File::options().read(true).write(true).open(&name).expect("our terminal"));
        let mut command = env.command(words);
        let child = command.stdin(theirs()).stdout(theirs()).stderr(theirs()).spawn().expect("start pyro");
        (Self { ours, seen: String::new() }, child)
    }

    fn types(&self, text: &str) {
        File::from(self.ours.as_fd().try_clone_to_owned().expect("a copy")).write_all(text.as_bytes()).expect("typed");
    }

    /// Reads until this has been seen.
    fn sees(&mut self, word: &str) {
        let mut terminal = File::from(self.ours.as_fd().try_clone_to_owned().expect("a copy"));
        while !self.seen.contains(word) {
            let mut fds = [PollFd::from_borrowed_fd(self.ours.as_fd(), PollFlags::IN)];
            let patience = Timespec::try_from(DEADLINE).expect("a minute");
            let ready = poll(&mut fds, Some(&patience)).expect("poll");
            assert!(ready > 0, "waited {DEADLINE:?} for {word:?} after {:?}", self.seen);
            let mut piece = [0; 4096];
            let count = terminal.read(&mut piece).unwrap_or_else(|error| panic!("{error} after {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
    }
}

#[test]
fn a_person_sits_at_a_command_and_at_a_shell() {
    case(|env| {
        let ws = env.workspace("seat");
        let line = "stty size; test -t 0 && test -t 2 && echo on $TERM; read -r word; echo got $word; exit 4";
        let (mut seat, child) = Seat::start(env, &["workspace", "exec", &ws, "--tty", "--", "sh", "-c", line]);
        seat.sees("on xterm-256color");
        assert!(seat.seen.starts_with("33 77"), "{:?}", seat.seen);
        seat.types("typed\r");
        seat.sees("got typed");
        assert_eq!(env.wait("a command on a terminal", child).code, 4);
        // A shell that somebody else opened, live; left, it goes on.
        shell(env, &["open", &ws]);
        shell(env, &["write", &ws, "sh1", "--text", "echo before"]);
        let (mut seat, child) = Seat::start(env, &["workspace", "shell", "attach", &ws, "sh1"]);
        seat.sees("before");
        seat.types("echo live-$((6*7))\r");
        seat.sees("live-42");
        seat.types("\u{1d}");
        assert_eq!(env.wait("a shell that was left", child).code, 0);
        assert!(text(&shell(env, &["read", &ws, "sh1"])).is_empty() || shell(env, &["list", &ws])["shells"][0]["columns"] == 77);
        assert!(text(&shell(env, &["write", &ws, "sh1", "--text", "echo again"])).contains("again"));
        env.pyro(&["workspace", "exec", &ws, "--tty", "--", "true"]).expect_error(2, "not a terminal");
    });
}
