//! Our side of Firecracker's control socket: HTTP/1.1 with JSON (`src/firecracker/swagger/firecracker.yaml` of Firecracker), as much of it as it uses.
//!
//! One question at a time, on one connection. Firecracker is not trusted once its guest runs. Until then it is as good as where it is
//! from; what it says is bounded all the same.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pyro_api::{Error, Result};
use serde_json::Value;

/// Longest head of an answer, bytes. Its heads have five lines.
const HEAD_BYTES_MAX: usize = 4096;

/// Longest body of an answer. The longest that is asked for is a sentence about what went wrong.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long one answer may take. All are work of milliseconds but one: to keep a machine is to write all its memory to a disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// Something that it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    method: &'static str,
    path: String,
    body: Value,
}

impl Call {
    pub fn put(path: &str, body: Value) -> Self {
        Self { method: "PUT", path: path.to_owned(), body }
    }

    pub fn patch(path: &str, body: Value) -> Self {
        Self { method: "PATCH", path: path.to_owned(), body }
    }
}

/// As in the list of what a machine has: method, path, body.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.path, self.body)
    }
}

pub struct Api {
    stream: UnixStream,
    within: Duration,
}

impl Api {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, within: ANSWER_WITHIN }
    }

    /// Tells it something, and waits until it has done so.
    ///
    /// # Errors
    /// `Unavailable` with its reason when it refuses; `Sandbox` when it is gone, or says something that is no answer.
    pub fn ask(&mut self, call: &Call) -> Result<()> {
        let body = call.body.to_string();
        let request = format!(
            "{} {} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            call.method,
            call.path,
            body.len()
        );
        let deadline = Instant::now() + self.within;
        let answer = self.stream.write_all(request.as_bytes()).and_then(|()| self.answer(deadline));
        let (status, body) = answer.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Error::timeout(format!("Firecracker does not answer {}", call.path))
            }
            _ => Error::sandbox(format!("Firecracker does not answer {}", call.path)).because(error),
        })?;
        match status {
            200..=299 => Ok(()),
            _ => Err(refused(call, status, &body)),
        }
    }

    /// The status of an answer, and its body.
    fn answer(&mut self, deadline: Instant) -> io::Result<(u16, Vec<u8>)> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(not_http("the head of its answer does not end"));
            }
            self.more(&mut bytes, deadline)?;
        };
        let head = Head::parse(&bytes[..head_end])?;
        let mut body = bytes.split_off(head_end + 4);
        while body.len() < head.body_bytes {
            self.more(&mut body, deadline)?;
        }
        if body.len() > head.body_bytes {
            return Err(not_http("it says more than it was asked"));
        }
        Ok((head.status, body))
    }

    fn more(&mut self, bytes: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                bytes.extend_from_slice(&chunk[..length]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What is to be known of the lines before a body.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    body_bytes: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| not_http("the head of its answer is no text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|rest| rest.get(..3)?.parse().ok());
        let mut head = Self { status: status.ok_or_else(|| not_http("its answer has no status"))?, body_bytes: 0 };
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| not_http("a line of its answer has no name"))?;
            if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(not_http("its answer comes in pieces"));
            }
            if name.eq_ignore_ascii_case("content-length") {
                let length = value.trim().parse().ok().filter(|length| *length <= BODY_BYTES_MAX);
                head.body_bytes = length.ok_or_else(|| not_http("its answer is too long"))?;
            }
        }
        Ok(head)
    }
}

fn not_http(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn refused(call: &Call, status: u16, body: &[u8]) -> Error {
    let why = serde_json::from_slice::<Value>(body).ok().and_then(|body| body["fault_message"].as_str().map(str::to_owned));
    let why = why.unwrap_or_else(|| format!("status {status}"));
    let why = pyro_wire::Untrusted::new(why.trim().as_bytes()).escaped();
    Error::unavailable(format!("Firecracker refuses {} {}: {why}", call.method, call.path))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use pyro_api::ErrorKind;
    use serde_json::json;

    use super::*;

    fn call() -> Call {
        Call::put("/vsock", json!({ "guest_cid": 3 }))
    }

    /// Asks a peer that says these things, one after the other, once it was asked. It hangs up then if it is to.
    fn asked(said: &[&[u8]], hangs_up: bool) -> (Result<()>, String) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let said: Vec<Vec<u8>> = said.iter().map(|part| part.to_vec()).collect();
        let peer = thread::spawn(move || {
            let mut heard = Vec::new();
            while !heard.ends_with(b"{\"guest_cid\":3}") {
                let mut byte = [0];
                if theirs.read(&mut byte).unwrap() == 0 {
                    break;
                }
                heard.push(byte[0]);
            }
            for part in said {
                if theirs.write_all(&part).is_err() {
                    break;
                }
                // The next part is read by itself, or with this one: both must do.
                thread::yield_now();
            }
            (String::from_utf8(heard).unwrap(), (!hangs_up).then_some(theirs))
        });
        let mut api = Api { stream: ours, within: Duration::from_millis(if hangs_up { 20_000 } else { 200 }) };
        let answer = api.ask(&call());
        let (heard, _open) = peer.join().unwrap();
        (answer, heard)
    }

    #[test]
    fn a_question_says_how_long_it_is() {
        let (answer, heard) = asked(&[b"HTTP/1.1 204 \r\n\r\n"], true);
        answer.unwrap();
        assert_eq!(
            heard,
            "PUT /vsock HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"guest_cid\":3}"
        );
    }

    #[test]
    fn an_answer_may_come_in_any_pieces() {
        let whole = b"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\ncontent-length:  2\r\n\r\n{}";
        asked(&[whole], true).0.unwrap();
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        asked(&bytes, true).0.unwrap();
        for at in 1..whole.len() {
            asked(&[&whole[..at], &whole[at..]], true).0.unwrap();
        }
    }

    #[test]
    fn what_is_refused_is_said_in_its_words_and_made_harmless() {
        for (body, expected) in [
            (r#"{"fault_message":"No such file"}"#, "Firecracker refuses PUT /vsock: No such file"),
            ("{\"fault_message\":\"a\\u001b[2Jb\"}", "Firecracker refuses PUT /vsock: a\\u{1b}[2Jb"),
            (r#"{"fault_message":7}"#, "Firecracker refuses PUT /vsock: status 400"),
            ("no JSON", "Firecracker refuses PUT /vsock: status 400"),
            ("", "Firecracker refuses PUT /vsock: status 400"),
        ] {
            let answer = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let error = asked(&[answer.as_bytes()], true).0.unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Unavailable, expected));
        }
    }

    #[test]
    fn what_is_no_answer_is_the_end_of_it() {
        let endless = vec![b'a'; 3 * HEAD_BYTES_MAX];
        let long_head = [b"HTTP/1.1 200 \r\nX: ".as_slice(), &endless].concat();
        let too_long = format!("HTTP/1.1 200 \r\nContent-Length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
        for said in [
            b"".as_slice(),
            b"HTTP/1.1 2",
            b"HTTP/1.1 204 \r\nServer",
            b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n{}",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/1.1 \r\n\r\n",
            b"HTTP/1.1 \xc3\xa9\xc3\xa9 \r\n\r\n",
            b"\xff\xff\r\n\r\n",
            b"HTTP/1.1 200 \r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 \r\nContent-Length: 99999999999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 204 \r\n\r\nHTTP/1.1 204 \r\n\r\n",
            too_long.as_bytes(),
            &long_head,
            &endless,
        ] {
            let error = asked(&[said], true).0.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Sandbox, "{:?}: {error}", String::from_utf8_lossy(&said[..said.len().min(60)]));
        }
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for_for_ever() {
        for said in [b"".as_slice(), b"HTTP/1.1 204", b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n{}"] {
            assert_eq!(asked(&[said], false).0.unwrap_err().kind, ErrorKind::Timeout);
        }
    }
}
