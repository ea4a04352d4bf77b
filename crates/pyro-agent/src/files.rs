//! File requests: list, read, write, diff and the like. Each on its own short-lived thread, so that a slow disk or a long listing holds up nobody else.
//!
//! A thread talks to the loop through two small bounded queues: the [`Outbox`] that all share, and its own [`Task`]. It opens only regular
//! files and directories, and never in a way that could wait: a FIFO or a device is refused by its kind.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use pyro_wire::frame::{encode_control, encode_data};
use pyro_wire::limits::{FRAME_PAYLOAD_BYTES_MAX, INPUT_CREDIT_BYTES};
use pyro_wire::message::{Delete, Diff, Edit, Failed, FileStep, List, MakeDirectory, Move, Read, Search, Write};
use pyro_wire::{FromAgent, Stream, Violation};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::Layers;

mod batch;
mod change;
mod delete;
mod diff;
mod edit;
mod kept;
mod lines;
mod list;
mod mkdir;
mod moving;
mod named;
mod read;
mod search;
mod sync;
mod walk;
mod write;

pub use edit::recover;

/// Stack of a file thread: it calls a few functions deep, and its buffers are on the heap.
const STACK_BYTES: usize = 128 * 1024;

/// Stack of a thread that compares texts (the search for hunks calls itself for each half of what is left), compiles a pattern, or copies a tree. What is not used
/// costs nothing.
const DIFF_STACK_BYTES: usize = 2 * 1024 * 1024;

/// Frames that wait for the link. Two: one on its way and one being made.
const OUTBOX_BYTES_MAX: usize = 2 * FRAME_PAYLOAD_BYTES_MAX;

/// What is asked.
#[derive(Debug)]
pub enum Request {
    /// Names in a directory.
    List(List),
    /// Lines of files.
    Search(Search),
    /// Part of a file.
    Read(Read),
    /// A new file.
    Write(Write),
    /// Changed texts.
    Edit(Edit),
    /// A name that goes.
    Delete(Delete),
    /// Another name.
    Move(Move),
    /// A new directory.
    MakeDirectory(MakeDirectory),
    /// What changed in the layers, where they are here.
    Diff(Diff, Option<Layers>),
    /// Everything on disk: the one that has the layers, or where they are outside that which is below them.
    Sync(Option<Layers>),
}

/// The loop's side of one request.
#[derive(Debug)]
pub struct FileRequest {
    task: Arc<Task>,
    outbox: Outbox,
    thread: JoinHandle<()>,
    /// Bytes of content that are still to come.
    content_left: u64,
}

impl FileRequest {
    /// Starts the thread.
    pub fn start(channel: u32, request: Request, outbox: &Outbox) -> Result<Self, Failed> {
        let (credit, content_left, stack_bytes) = match &request {
            Request::List(_) | Request::MakeDirectory(_) | Request::Sync(_) => (0, 0, STACK_BYTES),
            Request::Delete(_) | Request::Move(_) => (0, 0, DIFF_STACK_BYTES),
            Request::Search(search) => (u64::from(search.credit_bytes), 0, DIFF_STACK_BYTES),
            Request::Read(read) => (u64::from(read.credit_bytes), 0, STACK_BYTES),
            Request::Write(write) => (0, write.size_bytes, STACK_BYTES),
            Request::Edit(edit) => (u64::from(edit.credit_bytes), u64::from(edit.size_bytes), DIFF_STACK_BYTES),
            Request::Diff(diff, _) => (u64::from(diff.credit_bytes), 0, DIFF_STACK_BYTES),
        };
        let task = Arc::new(Task {
            state: Mutex::new(TaskState { cancelled: false, credit, content: VecDeque::new() }),
            changed: Condvar::new(),
        });
        let reply = Reply { channel, task: Arc::clone(&task), outbox: outbox.clone() };
        let thread = std::thread::Builder::new()
            .stack_size(stack_bytes)
            .spawn(move || reply.run(&request))
            .map_err(|error| Failed { errno: error.raw_os_error().unwrap_or(Errno::AGAIN.raw_os_error()), step: FileStep::Open })?;
        Ok(Self { task, outbox: outbox.clone(), thread, content_left })
    }

    /// Takes more credit for content.
    pub fn credit(&self, bytes: u32) {
        self.task.change(|state| state.credit = state.credit.saturating_add(u64::from(bytes)));
    }

    /// Takes content.
    pub fn content(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.content_left = self
            .content_left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| Violation("more content than was announced".to_owned()))?;
        let held = self.task.change(|state| {
            state.content.extend(bytes);
            state.content.len()
        });
        // The thread gives credit for what it has taken out, so a sender within its credit never gets here.
        if held > INPUT_CREDIT_BYTES as usize {
            return Err(Violation("content beyond its credit".to_owned()));
        }
        Ok(())
    }

    /// Gives the request up; the thread answers `Failed`.
    pub fn cancel(&self) {
        self.task.change(|state| state.cancelled = true);
        // It may be waiting for room; it must be woken under that lock, or it could go to sleep just after.
        drop(self.outbox.shared.queue());
        self.outbox.shared.room.notify_all();
    }

    /// Gives the request up and waits for the thread. The outbox must be closed.
    pub fn join(self) {
        self.cancel();
        // A panic in the thread is our bug and has been printed.
        let _panicked = self.thread.join();
    }
}

/// What the loop tells a thread.
#[derive(Debug)]
struct Task {
    state: Mutex<TaskState>,
    changed: Condvar,
}

#[derive(Debug)]
struct TaskState {
    cancelled: bool,
    /// Bytes of content that may be sent.
    credit: u64,
    /// Content that has come; at most `INPUT_CREDIT_BYTES`.
    content: VecDeque<u8>,
}

impl Task {
    fn change<T>(&self, change: impl FnOnce(&mut TaskState) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, TaskState> {
        // Every change is complete in itself: a panic elsewhere cannot have left one half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `take` finds what it wants.
    fn wait_for<T>(&self, mut take: impl FnMut(&mut TaskState) -> Option<T>) -> Result<T, Failure> {
        let mut state = self.lock();
        loop {
            if state.cancelled {
                return Err(Failure::Cancelled);
            }
            if let Some(found) = take(&mut state) {
                return Ok(found);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Frames of all file threads on their way to the link.
#[derive(Clone, Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    room: Condvar,
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    closed: bool,
}

/// Frames of one channel.
#[derive(Debug)]
pub struct Item {
    /// Whose.
    pub channel: u32,
    /// Encoded.
    pub frames: Vec<u8>,
    /// Nothing follows on this channel.
    pub last: bool,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { shared: Arc::new(Shared { queue: Mutex::default(), room: Condvar::new(), wake }) })
    }

    /// Has an event whenever something was added. It needs no reading: edge-triggered, each addition is an event.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }

    /// The oldest frames.
    pub fn take(&self) -> Option<Item> {
        let mut queue = self.shared.queue();
        let item = queue.items.pop_front()?;
        queue.bytes -= item.frames.len();
        if queue.items.is_empty() {
            queue.items = VecDeque::new();
        }
        self.shared.room.notify_all();
        Some(item)
    }

    /// The link is gone: nothing is taken any more, and every thread gives up.
    pub fn close(&self) {
        let mut queue = self.shared.queue();
        *queue = Queue { closed: true, ..Queue::default() };
        self.shared.room.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a thread stops before its work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// Something did not work.
    Failed(Failed),
    /// The supervisor gave it up, or is gone.
    Cancelled,
}

/// Ties an error to the step in which it happened.
fn at(step: FileStep) -> impl Fn(Errno) -> Failure {
    move |error| Failure::Failed(Failed { errno: error.raw_os_error(), step })
}

/// The thread's side of one request.
struct Reply {
    channel: u32,
    task: Arc<Task>,
    outbox: Outbox,
}

impl Reply {
    fn run(&self, request: &Request) {
        let (result, step) = match request {
            Request::List(request) => (list::list(self, request), FileStep::Read),
            Request::Search(request) => (search::search(self, request), FileStep::Read),
            Request::Read(request) => (read::read(self, request), FileStep::Read),
            Request::Write(request) => (write::write(self, request), FileStep::Write),
            Request::Edit(request) => (edit::edit(self, request), FileStep::Write),
            Request::Delete(request) => (delete::delete(self, request), FileStep::Delete),
            Request::Move(request) => (moving::rename(self, request), FileStep::Move),
            Request::MakeDirectory(request) => (mkdir::make_directory(self, request), FileStep::MakeParents),
            Request::Diff(request, layers) => (diff::diff(self, request, layers.as_ref()), FileStep::Read),
            Request::Sync(layers) => (sync::sync(layers.as_ref()), FileStep::Write),
        };
        let answer = match result {
            Ok(answer) => answer,
            Err(Failure::Failed(failed)) => FromAgent::Failed(failed),
            Err(Failure::Cancelled) => FromAgent::Failed(Failed { errno: Errno::CANCELED.raw_os_error(), step }),
        };
        let mut frames = Vec::new();
        if let Err(violation) = encode_control(self.channel, &answer, &mut frames) {
            unreachable!("the end of a file request is within bounds: {violation}");
        }
        self.put(frames, true);
    }

    /// Sends one message; waits while too much is on its way.
    fn send(&self, message: &FromAgent) -> Result<(), Failure> {
        let mut frames = Vec::new();
        // Bounds are kept by the callers; a name that the kernel allows and the protocol does not would show here.
        encode_control(self.channel, message, &mut frames).map_err(|_| at(FileStep::Read)(Errno::NAMETOOLONG))?;
        self.put_with_room(frames)
    }

    /// Sends content, within the credit.
    fn send_content(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let want = rest.len().min(FRAME_PAYLOAD_BYTES_MAX) as u64;
            let allowed = self.task.wait_for(|state| {
                let allowed = state.credit.min(want);
                state.credit -= allowed;
                (allowed > 0).then_some(allowed)
            })?;
            let (now, later) = rest.split_at(usize::try_from(allowed).expect("it is at most what was wanted"));
            let mut frames = Vec::with_capacity(now.len() + pyro_wire::limits::FRAME_HEADER_BYTES);
            encode_data(self.channel, Stream::Content, now, &mut frames).expect("it is not empty and fits a frame");
            self.put_with_room(frames)?;
            rest = later;
        }
        Ok(())
    }

    /// Content that has come: at least one byte. Gives the supervisor credit for as much, within what is still expected.
    fn receive_content(&self, into: &mut Vec<u8>) -> Result<(), Failure> {
        self.task.wait_for(|state| {
            into.extend(state.content.drain(..));
            (!into.is_empty()).then_some(())
        })
    }

    /// Takes exactly so many bytes, and gives them on as they come.
    fn receive(&self, size_bytes: u64, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut left = size_bytes;
        // Granted and not yet come: so much without a word.
        let mut granted = left.min(u64::from(INPUT_CREDIT_BYTES));
        let mut content = Vec::new();
        while left > 0 {
            // A new grant when half is used up, so that the sender never has to stop.
            let room = left.min(u64::from(INPUT_CREDIT_BYTES)) - granted;
            if room >= u64::from(INPUT_CREDIT_BYTES / 2) || (room > 0 && granted + room == left) {
                self.send(&FromAgent::Credit { bytes: u32::try_from(room).expect("it is at most INPUT_CREDIT_BYTES") })?;
                granted += room;
            }
            content.clear();
            self.receive_content(&mut content)?;
            let bytes = content.len() as u64;
            granted -= bytes;
            left -= bytes;
            take(&content)?;
        }
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        let cancelled = self.task.lock().cancelled;
        cancelled || self.outbox.shared.queue().closed
    }

    fn put_with_room(&self, frames: Vec<u8>) -> Result<(), Failure> {
        let mut queue = self.outbox.shared.queue();
        while queue.bytes > 0 && queue.bytes + frames.len() > OUTBOX_BYTES_MAX && !queue.closed {
            if self.task.lock().cancelled {
                return Err(Failure::Cancelled);
            }
            queue = self.outbox.shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        drop(queue);
        if self.put(frames, false) { Ok(()) } else { Err(Failure::Cancelled) }
    }

    /// Adds to the queue in any case; false when the link is gone. A request's last message waits for no room: it is small.
    fn put(&self, frames: Vec<u8>, last: bool) -> bool {
        let mut queue = self.outbox.shared.queue();
        if queue.closed {
            return false;
        }
        queue.bytes += frames.len();
        queue.items.push_back(Item { channel: self.channel, frames, last });
        drop(queue);
        // It can only fail when the counter is full, and then the loop has an event anyway.
        let _full = rustix::io::write(&self.outbox.shared.wake, &1_u64.to_ne_bytes());
        true
    }
}
