//! Peers that speak the protocol wrongly, one script each, for tests of whoever holds the outside end of a link.
//!
//! They write bytes by hand and use nothing of `pyro-wire` but its numbers: a peer that is held to the rules could not break them. A test
//! walks [`TABLE`], gives each peer one end of a socket pair, drives the other end as it would a real agent (hello, then what
//! [`Hostile::asked`] says), and checks that it ends as [`Hostile::ends`] says, within its own deadline and memory.
//!
//! A peer never waits for ever: reads end after [`PATIENCE`], and a closed link ends its script.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use pyro_wire::limits::{FRAME_PAYLOAD_BYTES_MAX, OUTPUT_CREDIT_BYTES};
use serde_json::{Value, json};

/// How long a peer waits for something from outside.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that an endless peer sends before it gives up: enough to show in any memory limit, and it ends.
const ENDLESS_BYTES: u64 = 512 * 1024 * 1024;

/// Kind of a control frame.
const CONTROL: u8 = 0;
/// Kinds of data frames: see `pyro-wire`.
const STDOUT: u8 = 2;
const CONTENT: u8 = 4;

/// What the outside must conclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The protocol was broken, and it was seen before the sandbox counted as up.
    ViolationAtHello,
    /// The protocol was broken while a request ran: the whole workspace fails with that reason.
    Violation,
    /// Nothing came in time: the deadline of the outside clock ends it at the hello.
    SilentAtHello,
    /// The link ended while a command ran: the sandbox is gone, the command is lost.
    Gone,
    /// Nothing is wrong: hostile content in an honest frame. It must come out harmless.
    Well,
}

/// What a peer has to be asked for, before it breaks anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A command.
    Command,
    /// What changed below `/workspace`, with its patch.
    Diff,
}

/// One peer.
pub struct Hostile {
    /// What it does, as a test would be named.
    pub name: &'static str,
    /// What must come of it.
    pub ends: Ends,
    script: Script,
}

/// Every peer.
pub const TABLE: &[Hostile] = &[
    // Before the hello is answered.
    at_hello("length_of_4_gib", |peer| peer.bytes(&header(u32::MAX, CONTROL, 0))),
    at_hello("length_one_above_the_limit", |peer| peer.bytes(&header(over_the_limit(), CONTROL, 0))),
    at_hello("kind_unknown", |peer| peer.frame(9, 0, b"{}")),
    at_hello("not_json", |peer| peer.frame(CONTROL, 0, b"hello?")),
    at_hello("json_nested_60000_deep", |peer| peer.frame(CONTROL, 0, &[b'['; 60_000])),
    at_hello("not_utf8", |peer| peer.frame(CONTROL, 0, b"\"\xff\xfe\"")),
    at_hello("message_unknown", |peer| peer.control(0, &json!({ "hallo": {} }))),
    at_hello("field_unknown", |peer| {
        let mut hello = peer.hello()?;
        hello["hello"]["extra"] = json!(1);
        peer.control(0, &hello)
    }),
    at_hello("field_missing", |peer| {
        let mut hello = peer.hello()?;
        hello["hello"].as_object_mut().expect("a hello is an object").remove("probes");
        peer.control(0, &hello)
    }),
    at_hello("nonce_wrong", |peer| {
        let mut hello = peer.hello()?;
        hello["hello"]["nonce"] = json!(hello["hello"]["nonce"].as_u64().unwrap_or(0) ^ 1);
        peer.control(0, &hello)
    }),
    at_hello("build_wrong", |peer| {
        let mut hello = peer.hello()?;
        hello["hello"]["build"] = json!("another-build");
        peer.control(0, &hello)
    }),
    at_hello("hello_on_another_channel", |peer| {
        let hello = peer.hello()?;
        peer.control(7, &hello)
    }),
    at_hello("probes_endless", |peer| {
        let mut hello = peer.hello()?;
        hello["hello"]["probes"] = (0..1000).map(|_| json!({ "name": "no_network", "held": true, "detail": "" })).collect();
        peer.control(0, &hello)
    }),
    at_hello("probe_detail_with_escapes", |peer| {
        let mut hello = peer.hello()?;
        hello["hello"]["probes"] = json!([{ "name": "no_network", "held": true, "detail": "\u{1b}]0;owned\u{7}" }]);
        peer.control(0, &hello)
    }),
    at_hello("answers_before_it_is_asked", |peer| peer.control(1, &json!({ "started": { "pid": 2 } }))),
    at_hello("says_more_than_its_hello", |peer| {
        let hello = peer.hello()?.to_string().into_bytes();
        let length = u32::try_from(hello.len()).expect("a short hello");
        // In one piece, so that both are read at once.
        let more = [&header(length, CONTROL, 0)[..], &hello].concat();
        peer.bytes(&[more.as_slice(), &more].concat())
    }),
    at_hello("data_instead_of_hello", |peer| peer.frame(STDOUT, 0, b"x")),
    Hostile { name: "silent_at_hello", ends: Ends::SilentAtHello, script: Script::FromTheStart(Peer::wait_for_the_end) },
    Hostile {
        name: "half_a_frame_and_silence",
        ends: Ends::SilentAtHello,
        script: Script::FromTheStart(|peer| {
            peer.bytes(&header(100, CONTROL, 0))?;
            peer.bytes(b"{\"hello\":")?;
            peer.wait_for_the_end()
        }),
    },
    // While a command runs.
    with_command("started_twice", |peer, channel| {
        peer.started(channel)?;
        peer.started(channel)
    }),
    with_command("output_before_started", |peer, channel| peer.frame(STDOUT, channel, b"early")),
    with_command("exited_before_started", |peer, channel| peer.exited(channel, 0)),
    with_command("exited_twice", |peer, channel| {
        peer.started(channel)?;
        peer.exited(channel, 0)?;
        peer.exited(channel, 0)
    }),
    with_command("output_after_exited", |peer, channel| {
        peer.started(channel)?;
        peer.exited(channel, 0)?;
        peer.frame(STDOUT, channel, b"late")
    }),
    with_command("not_started_after_started", |peer, channel| {
        peer.started(channel)?;
        peer.control(channel, &json!({ "not_started": { "step": "find", "errno": 2, "interpreter": null } }))
    }),
    with_command("channel_never_opened", |peer, channel| {
        peer.started(channel)?;
        peer.control(channel + 1000, &json!({ "started": { "pid": 3 } }))
    }),
    with_command("data_on_a_channel_never_opened", |peer, channel| {
        peer.started(channel)?;
        peer.frame(STDOUT, channel + 1000, b"whose?")
    }),
    with_command("answer_of_another_kind", |peer, channel| {
        peer.control(channel, &json!({ "written": { "created": true, "mode": 420 } }))
    }),
    with_command("content_from_a_command", |peer, channel| {
        peer.started(channel)?;
        peer.frame(CONTENT, channel, b"x")
    }),
    with_command("stdin_from_a_command", |peer, channel| {
        peer.started(channel)?;
        peer.frame(1, channel, b"x")
    }),
    with_command("second_hello", |peer, channel| {
        peer.started(channel)?;
        peer.control(0, &json!({ "hello": { "nonce": 0, "build": "", "probes": [] } }))
    }),
    with_command("output_beyond_its_credit", |peer, channel| {
        peer.started(channel)?;
        let full = vec![b'x'; FRAME_PAYLOAD_BYTES_MAX];
        // Faster than the outside can give credit back, whatever it does.
        for _ in 0..=4 * u64::from(OUTPUT_CREDIT_BYTES) / full.len() as u64 {
            peer.frame(STDOUT, channel, &full)?;
        }
        Ok(())
    }),
    with_command("output_endless", |peer, channel| {
        peer.started(channel)?;
        let full = vec![b'x'; FRAME_PAYLOAD_BYTES_MAX];
        for _ in 0..ENDLESS_BYTES / full.len() as u64 {
            peer.frame(STDOUT, channel, &full)?;
        }
        Ok(())
    }),
    with_command("empty_data_frame", |peer, channel| {
        peer.started(channel)?;
        peer.frame(STDOUT, channel, b"")
    }),
    with_command("lies_about_how_much_it_wrote", |peer, channel| {
        peer.started(channel)?;
        peer.frame(STDOUT, channel, b"12345")?;
        peer.control(channel, &exited(0, 4))
    }),
    with_command("credit_that_overflows", |peer, channel| {
        peer.started(channel)?;
        for _ in 0..4 {
            peer.control(channel, &json!({ "credit": { "bytes": u32::MAX } }))?;
        }
        Ok(())
    }),
    with_command("text_after_a_message", |peer, channel| {
        let mut message = json!({ "started": { "pid": 2 } }).to_string().into_bytes();
        message.extend(b"{}");
        peer.frame(CONTROL, channel, &message)
    }),
    with_command("changes_from_a_command", |peer, channel| {
        peer.started(channel)?;
        peer.changes(channel, &["workspace/a"])
    }),
    // While a diff is made.
    with_diff("changes_cut_short", |peer, channel| peer.frame(CONTROL, channel, b"{\"changes\":[{\"path\":")),
    with_diff("change_that_was_not_asked_for", |peer, channel| peer.changes(channel, &["etc/passwd"])),
    with_diff("change_beside_what_was_asked_for", |peer, channel| peer.changes(channel, &["workspaces"])),
    with_diff("change_that_climbs", |peer, channel| peer.changes(channel, &["workspace/../etc/passwd"])),
    with_diff("change_twice", |peer, channel| {
        peer.changes(channel, &["workspace/a"])?;
        peer.changes(channel, &["workspace/a"])
    }),
    with_diff("changes_out_of_order", |peer, channel| peer.changes(channel, &["workspace/b", "workspace/a"])),
    with_diff("changes_endless", |peer, channel| {
        let names = ["x".repeat(250).as_str(); 15].join("/");
        for page in 0..ENDLESS_BYTES / 65_536 {
            let paths: Vec<String> = (0..16).map(|index| format!("workspace/{page:08}-{index:02}/{names}")).collect();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            peer.changes(channel, &paths)?;
        }
        Ok(())
    }),
    with_diff("lines_that_overflow_a_sum", |peer, channel| {
        let mut change = change("workspace/a");
        change["added_lines"] = json!(u64::MAX);
        peer.control(channel, &json!({ "changes": [change] }))
    }),
    with_diff("change_after_the_patch", |peer, channel| {
        peer.frame(CONTENT, channel, b"patch")?;
        peer.changes(channel, &["workspace/a"])
    }),
    with_diff("patch_endless", |peer, channel| {
        let full = vec![b'x'; FRAME_PAYLOAD_BYTES_MAX];
        for _ in 0..ENDLESS_BYTES / full.len() as u64 {
            peer.frame(CONTENT, channel, &full)?;
        }
        Ok(())
    }),
    with_diff("patch_that_is_not_text", |peer, channel| {
        peer.frame(CONTENT, channel, b"\xff\xfe")?;
        peer.diffed(channel, 0)
    }),
    with_diff("patch_with_a_nul", |peer, channel| {
        peer.frame(CONTENT, channel, b"a\0b")?;
        peer.diffed(channel, 0)
    }),
    with_diff("patch_as_output", |peer, channel| peer.frame(STDOUT, channel, b"patch")),
    with_diff("more_left_out_than_there_is", |peer, channel| {
        peer.changes(channel, &["workspace/a"])?;
        peer.diffed(channel, 2)
    }),
    with_diff("diff_ended_as_another_request", |peer, channel| peer.control(channel, &json!("done"))),
    with_diff("diff_ended_twice", |peer, channel| {
        peer.diffed(channel, 0)?;
        peer.diffed(channel, 0)
    }),
    with_diff("patch_after_the_end", |peer, channel| {
        peer.diffed(channel, 0)?;
        peer.frame(CONTENT, channel, b"late")
    }),
    Hostile {
        name: "escape_sequences_in_a_diff",
        ends: Ends::Well,
        script: Script::WithDiff(|peer, channel| {
            peer.changes(channel, &[&format!("workspace/{ESCAPES}")])?;
            peer.frame(CONTENT, channel, ESCAPES.as_bytes())?;
            peer.diffed(channel, 0)
        }),
    },
    Hostile {
        name: "link_ends_in_the_middle_of_a_frame",
        ends: Ends::Gone,
        script: Script::FromTheStart(|peer| {
            let channel = peer.up_to_spawn()?;
            peer.started(channel)?;
            peer.bytes(&header(100, STDOUT, channel))?;
            peer.bytes(b"only this")
        }),
    },
    Hostile {
        name: "link_ends_without_exited",
        ends: Ends::Gone,
        script: Script::FromTheStart(|peer| {
            let channel = peer.up_to_spawn()?;
            peer.started(channel)
        }),
    },
    Hostile {
        name: "escape_sequences_in_output",
        ends: Ends::Well,
        script: Script::FromTheStart(|peer| {
            let channel = peer.up_to_spawn()?;
            peer.started(channel)?;
            let text = ESCAPES.as_bytes();
            peer.frame(STDOUT, channel, text)?;
            peer.control(channel, &exited(0, text.len() as u64))?;
            peer.wait_for_the_end()
        }),
    },
    Hostile {
        name: "frames_of_one_byte_at_a_time",
        ends: Ends::Well,
        script: Script::FromTheStart(|peer| {
            let channel = peer.up_to_spawn()?;
            let mut bytes = Vec::new();
            for (kind, payload) in [
                (CONTROL, json!({ "started": { "pid": 2 } }).to_string()),
                (STDOUT, "slow".to_owned()),
                (CONTROL, exited(0, 4).to_string()),
            ] {
                bytes.extend(header(u32::try_from(payload.len()).expect("a short payload"), kind, channel));
                bytes.extend(payload.into_bytes());
            }
            for byte in bytes {
                peer.bytes(&[byte])?;
            }
            peer.wait_for_the_end()
        }),
    },
];

/// Output of the peer `escape_sequences_in_output`, path and patch of `escape_sequences_in_a_diff`: window title, clipboard, colour, bidirectional override, C1.
pub const ESCAPES: &str = "\u{1b}]0;title\u{7}\u{1b}]52;c;aGk=\u{7}\u{1b}[31mred\u{1b}[0m \u{202e}gpj.exe \u{9b}31m\n";

const fn at_hello(name: &'static str, script: fn(&mut Peer) -> io::Result<()>) -> Hostile {
    Hostile { name, ends: Ends::ViolationAtHello, script: Script::FromTheStart(script) }
}

const fn with_command(name: &'static str, script: fn(&mut Peer, u32) -> io::Result<()>) -> Hostile {
    Hostile { name, ends: Ends::Violation, script: Script::WithCommand(script) }
}

const fn with_diff(name: &'static str, script: fn(&mut Peer, u32) -> io::Result<()>) -> Hostile {
    Hostile { name, ends: Ends::Violation, script: Script::WithDiff(script) }
}

/// When a script begins.
enum Script {
    /// At once; the supervisor's hello has not been read.
    FromTheStart(fn(&mut Peer) -> io::Result<()>),
    /// After an honest hello, when a command has been asked for on this channel.
    WithCommand(fn(&mut Peer, u32) -> io::Result<()>),
    /// After an honest hello, when a diff has been asked for on this channel.
    WithDiff(fn(&mut Peer, u32) -> io::Result<()>),
}

impl Hostile {
    /// What it has to be asked for.
    #[must_use]
    pub fn asked(&self) -> Asked {
        match self.script {
            Script::FromTheStart(_) | Script::WithCommand(_) => Asked::Command,
            Script::WithDiff(_) => Asked::Diff,
        }
    }

    /// Runs the script on a thread, over the inside end of a link. The thread ends when the script or the link does.
    #[must_use]
    pub fn start(&'static self, stream: UnixStream) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let mut peer = Peer { stream };
            // Being cut off is what is meant to happen to it.
            let _ = peer.stream.set_read_timeout(Some(PATIENCE)).and_then(|()| match self.script {
                Script::FromTheStart(script) => script(&mut peer),
                Script::WithCommand(script) => peer.up_to_spawn().and_then(|channel| script(&mut peer, channel)),
                Script::WithDiff(script) => peer.up_to("diff").and_then(|channel| script(&mut peer, channel)),
            });
            if self.ends != Ends::Gone {
                // What it has written is to be judged, not that it went away.
                let _ = peer.wait_for_the_end();
            }
        })
    }
}

/// The inside end, and an honest beginning for scripts that need one.
struct Peer {
    stream: UnixStream,
}

impl Peer {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    fn frame(&mut self, kind: u8, channel: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).expect("payloads of scripts are short");
        self.bytes(&[&header(length, kind, channel), payload].concat())
    }

    fn control(&mut self, channel: u32, message: &Value) -> io::Result<()> {
        self.frame(CONTROL, channel, message.to_string().as_bytes())
    }

    fn started(&mut self, channel: u32) -> io::Result<()> {
        self.control(channel, &json!({ "started": { "pid": 2 } }))
    }

    fn exited(&mut self, channel: u32, code: u8) -> io::Result<()> {
        self.control(channel, &exited(code, 0))
    }

    fn changes(&mut self, channel: u32, paths: &[&str]) -> io::Result<()> {
        let changes: Vec<Value> = paths.iter().map(|path| change(path)).collect();
        self.control(channel, &json!({ "changes": changes }))
    }

    fn diffed(&mut self, channel: u32, omitted: u64) -> io::Result<()> {
        self.control(channel, &json!({ "diffed": { "omitted": omitted } }))
    }

    /// Reads frames until there is a control message with this tag: its channel and content.
    fn read_until(&mut self, tag: &str) -> io::Result<(u32, Value)> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head)?;
            let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes"));
            let channel = u32::from_le_bytes(head[5..].try_into().expect("four bytes"));
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload)?;
            if head[4] == CONTROL
                && let Ok(mut message) = serde_json::from_slice::<Value>(&payload)
                && message.get(tag).is_some()
            {
                return Ok((channel, message[tag].take()));
            }
        }
    }

    /// Reads the hello and makes the honest answer to it, not sent yet.
    fn hello(&mut self) -> io::Result<Value> {
        let (_, asked) = self.read_until("hello")?;
        let probes: Vec<Value> =
            PROBES.iter().map(|name| json!({ "name": name, "held": true, "detail": "said the peer" })).collect();
        Ok(json!({ "hello": { "nonce": asked["nonce"], "build": asked["build"], "probes": probes } }))
    }

    /// An honest hello, then waits for a command: its channel.
    fn up_to_spawn(&mut self) -> io::Result<u32> {
        self.up_to("spawn")
    }

    /// An honest hello, then waits for a request with this tag: its channel.
    fn up_to(&mut self, tag: &str) -> io::Result<u32> {
        let hello = self.hello()?;
        self.control(0, &hello)?;
        Ok(self.read_until(tag)?.0)
    }

    fn wait_for_the_end(&mut self) -> io::Result<()> {
        let mut ignored = [0; 4096];
        while self.stream.read(&mut ignored)? > 0 {}
        Ok(())
    }
}

const PROBES: &[&str] =
    &["own_processes", "own_file_system", "own_user_ids", "no_network", "no_new_privileges", "few_capabilities", "syscall_filter"];

fn over_the_limit() -> u32 {
    u32::try_from(FRAME_PAYLOAD_BYTES_MAX).expect("the limit fits a length") + 1
}

fn header(length: u32, kind: u8, channel: u32) -> [u8; 9] {
    let mut header = [kind; 9];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[5..].copy_from_slice(&channel.to_le_bytes());
    header
}

fn change(path: &str) -> Value {
    json!({
        "path": { "text": path }, "status": "added", "kind": "file", "mode_change": null, "added_lines": 1, "removed_lines": 0, "binary": false,
    })
}

fn exited(code: u8, stdout_bytes: u64) -> Value {
    json!({ "exited": {
        "status": { "code": code }, "stdout_bytes": stdout_bytes, "stderr_bytes": 0, "output_held_open": false, "cpu_ms": 0, "rss_max_kib": 0,
        "trouble": { "out_of_memory": false, "disk_full": null, "missing": null },
    } })
}
