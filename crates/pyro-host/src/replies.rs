//! What a supervisor says to its caller, on its way over the control socket: a JSON line for each [`Reply`], and output of commands as it is, after a line
//! `stdout 1234` or `stderr 1234` that says how many bytes it is. As base64 within JSON it cost both ends a third of their time.

use std::io;

use pyro_api::{Event, Reply};

use crate::buffer::Lines;
use crate::supervisor::control::LINE_BYTES_MAX;

/// Appends a reply to what is to be sent.
pub fn push(reply: &Reply, to: &mut Vec<u8>) {
    match reply {
        Reply::Event(Event::Stdout(bytes)) => push_output(Output::Stdout, bytes, to),
        Reply::Event(Event::Stderr(bytes)) => push_output(Output::Stderr, bytes, to),
        reply => {
            serde_json::to_writer(&mut *to, reply).expect("replies have only text keys");
            to.push(b'\n');
        }
    }
}

fn push_output(output: Output, bytes: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(format!("{} {}\n", output.word(), bytes.len()).as_bytes());
    to.extend_from_slice(bytes);
}

#[derive(Clone, Copy, Debug)]
enum Output {
    Stdout,
    Stderr,
}

impl Output {
    fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The line that begins it, if this is one, and how many bytes follow.
    fn begun_by(line: &[u8]) -> Option<(Self, usize)> {
        let (word, bytes) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        let output = [Self::Stdout, Self::Stderr].into_iter().find(|output| output.word() == word)?;
        bytes.parse().ok().map(|bytes| (output, bytes))
    }

    fn event(self, bytes: &[u8]) -> Event {
        match self {
            Self::Stdout => Event::Stdout(bytes.to_vec()),
            Self::Stderr => Event::Stderr(bytes.to_vec()),
        }
    }
}

/// Bytes of the socket that become replies again. Output is given out as it comes, in other pieces than those that were sent.
#[derive(Debug, Default)]
pub struct Replies {
    input: Lines,
    /// What follows before the next line.
    output: Option<(Output, usize)>,
}

impl Replies {
    /// Adds what came. Take all replies out with [`Replies::next`] before the next call.
    pub fn add(&mut self, bytes: &[u8]) {
        self.input.add(bytes);
    }

    /// The next that has come.
    ///
    /// # Errors
    /// `InvalidData` when it is none.
    pub fn next(&mut self) -> io::Result<Option<Reply>> {
        loop {
            if let Some((output, left)) = self.output.take_if(|(_, left)| *left > 0) {
                let Some(bytes) = self.input.next_bytes(left) else {
                    self.output = Some((output, left));
                    return Ok(None);
                };
                self.output = Some((output, left - bytes.len()));
                return Ok(Some(Reply::Event(output.event(bytes))));
            }
            let Some(line) = self.input.next_line() else {
                let is_endless = self.input.unfinished_bytes() > LINE_BYTES_MAX;
                return if is_endless { Err(io::Error::new(io::ErrorKind::InvalidData, "it has no end")) } else { Ok(None) };
            };
            self.output = Output::begun_by(line);
            if self.output.is_none() {
                return serde_json::from_slice(line).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pyro_api::envelope::Progress;
    use serde_json::json;

    use super::*;

    /// What is in them, whatever their pieces.
    fn told(replies: impl IntoIterator<Item = Reply>) -> (Vec<u8>, Vec<u8>, Vec<String>) {
        let (mut stdout, mut stderr, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for reply in replies {
            match reply {
                Reply::Event(Event::Stdout(bytes)) => stdout.extend(bytes),
                Reply::Event(Event::Stderr(bytes)) => stderr.extend(bytes),
                other => others.push(serde_json::to_string(&other).expect("JSON")),
            }
        }
        (stdout, stderr, others)
    }

    fn said() -> Vec<Reply> {
        let progress = Progress { step: "unpacking".into(), done: 1, total: None, unit: String::new() };
        vec![
            // Output that looks like what is around it.
            Reply::Event(Event::Stdout(b"stderr 7\n{\"response\":1}\n\0\xff".to_vec())),
            Reply::Event(Event::Stderr(Vec::new())),
            Reply::Event(Event::Progress(progress)),
            Reply::Event(Event::Stderr(b"no end of a line".to_vec())),
            Reply::Event(Event::Stdout(b"\n".to_vec())),
            Reply::Response(json!({ "exit": 0 })),
            Reply::Declined,
        ]
    }

    #[test]
    fn what_was_said_is_heard_however_it_is_cut() {
        let mut sent = Vec::new();
        said().iter().for_each(|reply| push(reply, &mut sent));
        for size in 1..=sent.len() {
            let (mut replies, mut heard) = (Replies::default(), Vec::new());
            for piece in sent.chunks(size) {
                replies.add(piece);
                while let Some(reply) = replies.next().expect("it was said so") {
                    heard.push(reply);
                }
            }
            assert_eq!(told(heard), told(said()), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for line in ["stdout -1\n", "stdout\n", "stdin 3\nabc", "{}\n", "\n", "\u{fffd} 3\n"] {
            let mut replies = Replies::default();
            replies.add(line.as_bytes());
            assert_eq!(replies.next().expect_err(line).kind(), io::ErrorKind::InvalidData, "{line:?}");
        }
        let mut replies = Replies::default();
        replies.add(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert_eq!(replies.next().expect_err("it has no end").kind(), io::ErrorKind::InvalidData);
    }
}
