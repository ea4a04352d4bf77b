//! A small supervisor: blocking, one thread, panics at the first frame that it did not expect.

use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use pyro_agent::{End, Layers, serve};
use pyro_wire::limits::OUTPUT_CREDIT_BYTES;
use pyro_wire::message::{AgentHello, ExitStatus, Exited, Hello, Program, Spawn};
use pyro_wire::{Frame, FromAgent, SandboxPath, Stream, ToAgent, read_frame, write_frame};

pub const BUILD: &str = "test-build";

/// No frame takes this long; a test that waits for one fails instead of hanging.
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Client {
    pub link: UnixStream,
    pub agent: Option<JoinHandle<End>>,
    next_channel: u32,
}

/// What a command did, from start to end.
#[derive(Debug)]
pub struct Ran {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exited: Exited,
}

impl Ran {
    pub fn code(&self) -> u8 {
        match self.exited.status {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => panic!("signal {signal}, stderr: {}", String::from_utf8_lossy(&self.stderr)),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

pub fn argv(arguments: &[&str]) -> Spawn {
    spawn(Program::Argv(arguments.iter().map(|argument| (*argument).to_owned()).collect()))
}

pub fn shell(line: &str) -> Spawn {
    spawn(Program::Shell(line.to_owned()))
}

fn spawn(program: Program) -> Spawn {
    Spawn {
        terminal: None,
        program,
        env: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned(), "LC_ALL=C".to_owned()],
        cwd: path("/tmp"),
        stdin: false,
        credit_bytes: OUTPUT_CREDIT_BYTES,
    }
}

pub fn path(text: &str) -> SandboxPath {
    SandboxPath::parse(text).expect("a valid path")
}

impl Client {
    /// An agent that has said hello.
    pub fn new() -> Self {
        Self::connect(None).greeted()
    }

    /// The same, for a sandbox whose layers lie inside.
    pub fn with_layers(layers: Layers) -> Self {
        Self::connect(Some(layers)).greeted()
    }

    fn greeted(self) -> Self {
        let mut client = self;
        client.send(0, ToAgent::Hello(hello()));
        match client.receive() {
            Frame::Control { channel: 0, message: FromAgent::Hello(AgentHello { nonce: 7, build, .. }) } if build == BUILD => {
                client
            }
            other => panic!("{other:?}"),
        }
    }

    /// An agent that waits for a hello.
    pub fn connect(layers: Option<Layers>) -> Self {
        let (link, other) = UnixStream::pair().expect("a socketpair");
        link.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        let agent = std::thread::spawn(move || serve(other, pyro_agent::Place::Nowhere, BUILD, layers));
        Self { link, agent: Some(agent), next_channel: 1 }
    }

    pub fn send(&mut self, channel: u32, message: ToAgent) {
        write_frame(&mut self.link, &Frame::Control { channel, message }).expect("the agent takes it");
    }

    pub fn send_data(&mut self, channel: u32, stream: Stream, bytes: &[u8]) {
        let frame: Frame<ToAgent> = Frame::Data { channel, stream, bytes: bytes.to_vec() };
        write_frame(&mut self.link, &frame).expect("the agent takes it");
    }

    /// Opens a channel.
    pub fn open(&mut self, message: ToAgent) -> u32 {
        let channel = self.next_channel;
        self.next_channel += 1;
        self.send(channel, message);
        channel
    }

    pub fn receive(&mut self) -> Frame<FromAgent> {
        read_frame(&mut self.link).expect("a frame before the deadline").expect("the agent lives")
    }

    /// The next message of a channel; nothing else may come.
    pub fn message(&mut self, channel: u32) -> FromAgent {
        match self.receive() {
            Frame::Control { channel: of, message } if of == channel => message,
            other => panic!("channel {channel}: {other:?}"),
        }
    }

    /// Opens a channel for a command that starts. Returns the channel and the process id.
    pub fn start(&mut self, request: Spawn) -> (u32, u32) {
        let channel = self.open(ToAgent::Spawn(request));
        match self.message(channel) {
            FromAgent::Started { pid } => (channel, pid),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a command to its end.
    pub fn run(&mut self, request: Spawn) -> Ran {
        let (channel, _) = self.start(request);
        self.finish(channel, Vec::new(), Vec::new())
    }

    /// Takes output until the end, giving back all credit.
    pub fn finish(&mut self, channel: u32, mut stdout: Vec<u8>, mut stderr: Vec<u8>) -> Ran {
        loop {
            match self.receive() {
                Frame::Data { channel: of, stream, bytes } if of == channel => {
                    match stream {
                        Stream::Stdout => stdout.extend(&bytes),
                        Stream::Stderr => stderr.extend(&bytes),
                        Stream::Stdin | Stream::Content => panic!("{stream:?} from a command"),
                    }
                    self.send(channel, ToAgent::Credit { bytes: u32::try_from(bytes.len()).expect("a frame") });
                }
                Frame::Control { channel: of, message: FromAgent::Credit { .. } } if of == channel => {}
                Frame::Control { channel: of, message: FromAgent::Exited(exited) } if of == channel => {
                    assert_eq!((exited.stdout_bytes, exited.stderr_bytes), (stdout.len() as u64, stderr.len() as u64));
                    return Ran { stdout, stderr, exited };
                }
                other => panic!("channel {channel}: {other:?}"),
            }
        }
    }

    /// Waits until a command has written this much to standard output.
    pub fn output(&mut self, channel: u32, bytes: usize) -> Vec<u8> {
        let mut output = Vec::new();
        while output.len() < bytes {
            match self.receive() {
                Frame::Data { channel: of, stream: Stream::Stdout, bytes } if of == channel => output.extend(bytes),
                other => panic!("channel {channel}: {other:?}"),
            }
        }
        output
    }

    /// Waits for the agent's end after the link's.
    pub fn close(mut self) -> End {
        self.link.shutdown(std::net::Shutdown::Both).expect("the link is open");
        self.agent.take().expect("not closed before").join().expect("the agent does not panic")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _closed = self.link.shutdown(std::net::Shutdown::Both);
        if let Some(agent) = self.agent.take()
            && !std::thread::panicking()
        {
            agent.join().expect("the agent does not panic");
        }
    }
}

pub fn hello() -> Hello {
    Hello { nonce: 7, build: BUILD.to_owned(), hostname: "test".to_owned() }
}
