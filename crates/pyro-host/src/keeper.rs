//! The keeper: a role process for work on layers that no sandbox is needed for. It is root of the namespace that layers belong to; whoever asks may be
//! nobody there, to whom a directory that somebody inside has closed stays closed.
//!
//! It answers one call and ends. What it is asked about a workspace needs one that stands still: the lease is held meanwhile, so that nobody starts it
//! or deletes it. Calls for a workspace that was started in between are declined, and its supervisor is there to be asked.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use pyro_api::envelope::Progress;
use pyro_api::ops;
use pyro_api::values::WorkspaceRef;
use pyro_api::{Call, Error, Op, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::begin::{before_layers, try_lease};
use crate::garbage::{self, Measure};
use crate::home::Home;
use crate::layers::{self, LayerId};
use crate::lease::Lease;
use crate::manifest::Manifest;
use crate::ops::{POINT, parse, to_value};
use crate::past::Target;
use crate::privilege::Privilege;
use crate::store::{Position, Store};
use crate::supervisor::control::Connection;
mod disk;
mod past;

/// What layers hold: asked for by us, and by nobody else. The request is their ids, the answer as many pairs of [`layers::size`].
pub const SIZES: &str = "layer sizes";

/// How often the caller is looked after, and told how far an export is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Does one call, and gives its caller the answer.
///
/// # Errors
/// When the caller cannot be waited for.
pub fn answer(home: &Home, privilege: &Privilege, signals: OwnedFd, call: Call, mut connection: Connection) -> Result<()> {
    let caller = Caller { connection: RefCell::new(&mut connection), signals, looked_at: RefCell::new(Instant::now()) };
    let answer = answered(home, privilege, call, &caller);
    match answer.transpose() {
        Some(answer) => connection.answer(answer),
        None => connection.put_off(),
    }
    connection.send_all()
}

/// `None`: it is nothing for us any more.
fn answered(home: &Home, privilege: &Privilege, call: Call, caller: &Caller<'_>) -> Result<Option<Value>> {
    match call.op.as_str() {
        ops::Gc::NAME => return to_value(&garbage::collect(home, Measure::Yes)?).map(Some),
        SIZES => {
            let ids: Vec<LayerId> = parse(call.request)?;
            let sizes = ids.iter().map(|id| layers::size(home, id)).collect::<Result<Vec<_>>>()?;
            return to_value(&sizes).map(Some);
        }
        _ => {}
    }
    let of: Of = parse(call.request.clone())?;
    let Some(mut stopped) = Stopped::hold(home, privilege, &of.workspace)? else { return Ok(None) };
    let answer = match call.op.as_str() {
        ops::DiskList::NAME => to_value(&stopped.list(&parse(call.request)?, caller)?),
        ops::DiskRead::NAME => to_value(&stopped.read(&parse(call.request)?)?),
        ops::DiskExport::NAME => to_value(&stopped.export(&parse(call.request)?, caller)?),
        POINT => to_value(&stopped.point()?),
        ops::SnapshotCreate::NAME => to_value(&stopped.snapshot(&parse(call.request)?)?),
        ops::WorkspaceReset::NAME => to_value(&stopped.reset(&parse(call.request)?)?),
        ops::WorkspaceUndo::NAME => to_value(&stopped.rewind(&Target::Undo, "")?),
        ops::WorkspaceRedo::NAME => to_value(&stopped.rewind(&Target::Redo, "")?),
        other => Err(Error::internal(format!("{other} needs a sandbox"))),
    };
    answer.map(Some)
}

/// The part of a request that says what it is about: the id of a workspace.
#[derive(serde::Deserialize)]
struct Of {
    workspace: WorkspaceRef,
}

/// Who waits for the answer.
struct Caller<'a> {
    connection: RefCell<&'a mut Connection>,
    /// Readable when this process is asked to end.
    signals: OwnedFd,
    looked_at: RefCell<Instant>,
}

impl Caller<'_> {
    /// It has hung up or takes its call back, or somebody wants us to end.
    fn is_gone(&self) -> bool {
        // The caller says nothing while it waits.
        self.connection.borrow().has_something_to_read() || {
            let mut fds = [PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
        }
    }

    /// Tells how far we are, when it is time again; whether to go on.
    fn watch(&self, progress: impl FnOnce() -> Progress) -> ControlFlow<()> {
        let mut looked_at = self.looked_at.borrow_mut();
        if looked_at.elapsed() < LOOK_EVERY {
            return ControlFlow::Continue(());
        }
        *looked_at = Instant::now();
        if self.is_gone() {
            return ControlFlow::Break(());
        }
        let mut connection = self.connection.borrow_mut();
        connection.progress(progress());
        // One that is gone is seen at the next look.
        let _ = connection.flush();
        ControlFlow::Continue(())
    }
}

/// A workspace that nobody can start.
struct Stopped<'a> {
    home: &'a Home,
    privilege: &'a Privilege,
    manifest: Manifest,
    position: Position,
    store: Store,
    _lease: Lease,
}

impl<'a> Stopped<'a> {
    /// `None` when somebody has started it, or is about to.
    fn hold(home: &'a Home, privilege: &'a Privilege, workspace: &WorkspaceRef) -> Result<Option<Self>> {
        let id = workspace.to_string();
        let place = home.workspace(&id);
        let Some(lease) = try_lease(&place)? else { return Ok(None) };
        let store = Store::open(home)?;
        let record = store.get(&id)?;
        if record.state.needs_supervisor() {
            // Between the caller's look and ours it was started, and its supervisor has died.
            return Ok(None);
        }
        let position = store.position(&id)?;
        before_layers(&position, &record.manifest.name, &place)?;
        Ok(Some(Self { home, privilege, manifest: record.manifest, position, store, _lease: lease }))
    }
}
