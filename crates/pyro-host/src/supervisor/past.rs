//! The past of a workspace that runs: what commands have written becomes a step as soon as nothing runs any more, and going back ends the sandbox and
//! begins another over other layers.

mod squash;

pub(super) use self::squash::Squashed;

use std::time::{Duration, Instant};

use pyro_api::ops::past::{RewindResponse, SnapshotCreateRequest, SnapshotCreateResponse};
use pyro_api::{Call, Error, ErrorKind, Op, Result, ops};
use pyro_layer::{Marks, Owners};
use serde_json::Value;

use super::launch::Live;
use super::{End, Life, Supervisor, Task, complain};
use crate::backend::{LayersAt, StackMount, Switched};
use crate::fault;
use crate::home::Home;
use crate::layers::fewer::{self, Weights};
use crate::layers::{self, LayerId, Naming, Spare};
use crate::manifest::Mount;
use crate::past::{self, Target};
use crate::store::{NewStep, OpenEvent, Position, Sealing};

/// A step waits so long, for who is told that something was done: what makes it takes a processor for a while, and those who pass the answer on may be
/// waiting for the same one (the kernel lets who is woken wait for up to 3 ms then).
const ANSWER_FIRST: Duration = Duration::from_micros(300);

/// So long after a step the next layer is made: who has more to do without thinking does it sooner.
const PREPARE_AFTER: Duration = Duration::from_millis(3);

/// Brings up a sandbox over other layers.
pub type Relaunch<'a> = Box<dyn FnMut(&[StackMount]) -> Result<Live> + Send + 'a>;

/// How layers are written here.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    /// Whose ids files may get.
    pub owners: Owners,
    /// Where overlays keep their marks.
    pub marks: Marks,
}

/// What a supervisor keeps of the past of its workspace.
pub struct Past<'a> {
    pub(super) home: Home,
    /// The overlays of its file system.
    pub(super) mounts: Vec<Mount>,
    /// Where it stands.
    pub(super) position: Position,
    /// The first event that may have changed what is in no step yet.
    pub(super) since: Option<OpenEvent>,
    /// Something may have been written since it was last looked.
    pub(super) is_unsettled: bool,
    /// When that is looked at.
    pub(super) settle_at: Option<Instant>,
    /// How often the live layer was copied for a step.
    pub(super) copies: usize,
    /// The next live layer, if there was time for it.
    pub(super) spare: Option<Spare>,
    /// When that is made.
    pub(super) prepare_at: Option<Instant>,
    pub(super) ways: Ways,
    /// A thread makes layers fewer, or looks whether they can be.
    pub(super) is_squashing: bool,
    /// With so many layers it is looked again.
    pub(super) squash_at: usize,
    /// What is known of layers.
    pub(super) weights: Weights,
    pub(super) relaunch: Relaunch<'a>,
    /// Processes besides the agent that a machine of its own had when it said so last.
    pub(super) alive_inside: u64,
}

/// A state of the files that never changes again.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// Its step.
    pub step: u64,
    /// Its layers, uppermost first.
    pub layers: Vec<LayerId>,
    /// Why what was written had to be copied; `None` when it was sealed.
    pub copied: Option<String>,
}

impl<'a> Past<'a> {
    /// Of a workspace that stands somewhere.
    #[must_use]
    pub fn new(
        home: &Home,
        mounts: Vec<Mount>,
        position: Position,
        since: Option<OpenEvent>,
        ways: Ways,
        relaunch: Relaunch<'a>,
    ) -> Self {
        // What a supervisor has left that died is a step as soon as there is a moment. Nobody counted how often it was copied.
        let copies = if position.copy().is_some() { layers::COPIES_MAX } else { 0 };
        Self {
            home: home.clone(),
            mounts,
            position,
            since,
            is_unsettled: true,
            settle_at: None,
            copies,
            spare: None,
            prepare_at: None,
            ways,
            is_squashing: false,
            squash_at: fewer::WIDTH,
            weights: Weights::default(),
            relaunch,
            alive_inside: 0,
        }
    }

    fn is_settled(&self) -> Result<bool> {
        past::is_settled(&self.home, &self.mounts, &self.position, self.since)
    }

    /// The workspace as its past sees it.
    fn subject<'s>(&'s self, id: &'s str, name: &'s str) -> past::Subject<'s> {
        past::Subject { home: &self.home, id, name, mounts: &self.mounts, since: self.since }
    }

    /// Whether the live layer was copied so often that it is sealed now.
    fn is_copied_enough(&self) -> bool {
        self.position.copy().is_some() && self.copies >= layers::COPIES_MAX
    }

    /// The next live layer.
    fn next_live(&mut self, naming: &Naming, workspace: &str, below: &[LayerId]) -> Result<LayerId> {
        if let Some(spare) = self.spare.take() {
            if !spare.is_over(below) {
                spare.discard(&self.home);
            } else if let Some(live) = spare.take(&self.home, naming, &self.mounts, workspace)? {
                return Ok(live);
            }
        }
        layers::make(&self.home, naming, &self.mounts, workspace, below)
    }

    /// Takes away what was made for a next step. No sandbox may stand on it.
    fn forget_spare(&mut self) {
        self.prepare_at = None;
        if let Some(spare) = self.spare.take() {
            spare.discard(&self.home);
        }
    }
}

impl Supervisor<'_> {
    /// Something that changes files has begun, or is over, and this is its line in the log.
    pub(super) fn note_change(&mut self, event: OpenEvent) {
        if let Life::Workspace { past, .. } = &mut self.life {
            past.since.get_or_insert(event);
            past.is_unsettled = true;
            past.settle_at = None;
        }
    }

    /// A command is over: what it has written can be looked at.
    pub(super) fn note_end(&mut self) {
        if let Life::Workspace { past, .. } = &mut self.life {
            past.is_unsettled = true;
            past.settle_at = None;
        }
    }

    /// When [`Self::settle`] or [`Self::prepare`] has something to do.
    pub(super) fn past_deadline(&self) -> Option<Instant> {
        let Life::Workspace { past, .. } = &self.life else { return None };
        if !self.tasks.is_empty() || self.stop_deadline.is_some() {
            return None;
        }
        past.settle_at.into_iter().chain(past.prepare_at).min()
    }

    /// Makes a step of what was written since the last one, if there is something and nothing can write any more: soon, or at once when `is_asked` for
    /// something else. That it cannot be done is no harm: the next step then has more in it.
    pub(super) fn settle(&mut self, is_asked: bool) -> Option<End> {
        let Life::Workspace { past, .. } = &mut self.life else { return None };
        if !past.is_unsettled || !self.tasks.is_empty() || self.stop_deadline.is_some() {
            return None;
        }
        let now = Instant::now();
        if !is_asked && *past.settle_at.get_or_insert(now + ANSWER_FIRST) > now {
            return None;
        }
        past.settle_at = None;
        past.is_unsettled = false;
        let live = past.position.live.clone();
        match self.seal() {
            Ok(_) => {
                if let Life::Workspace { past, .. } = &mut self.life
                    && past.position.live != live
                {
                    past.prepare_at = Some(now + PREPARE_AFTER);
                }
                self.begin_squash();
                None
            }
            Err(error) if error.kind == ErrorKind::Sandbox => Some(End::Lost(error.to_string())),
            Err(error) => {
                complain(&error);
                None
            }
        }
    }

    /// Makes the layer that comes next and forgets old steps, when nothing is asked for a moment after a layer was sealed: who has written will write
    /// again.
    pub(super) fn prepare(&mut self) {
        let (Life::Workspace { past, .. }, Some(sandbox)) = (&mut self.life, &mut self.sandbox) else { return };
        if past.prepare_at.is_none_or(|at| at > Instant::now()) || !self.tasks.is_empty() || self.stop_deadline.is_some() {
            return;
        }
        past.prepare_at = None;
        let below = past.position.stack();
        if past.spare.as_ref().is_some_and(|spare| spare.is_over(&below)) || below.len() > layers::DEPTH_MAX {
            return;
        }
        let unfit = past.spare.take();
        let made = Naming::shared(&past.home).and_then(|naming| Spare::make(&past.home, &naming, &past.mounts, below.clone()));
        let prepared = made.and_then(|spare| {
            let mounts = layers::stack(&past.home, &past.mounts, &below, spare.id());
            match sandbox.prepare(&mounts) {
                Ok(()) => Ok(spare),
                Err(error) => {
                    spare.discard(&past.home);
                    Err(error)
                }
            }
        });
        // Whoever makes the step meets the same error and tells it.
        past.spare = prepared.ok();
        if let Some(unfit) = unfit {
            unfit.discard(&past.home);
        }
        self.forget_old();
    }

    /// Makes a step of what was written: a copy of it while it is little, as what runs need not be put on other layers for that, or it is sealed. `Some`: why
    /// neither could be.
    pub(super) fn seal(&mut self) -> Result<Option<String>> {
        let (Life::Workspace { past, .. }, Some(sandbox)) = (&mut self.life, &self.sandbox) else { return Ok(None) };
        if sandbox.layers() == LayersAt::Inside {
            return Ok(Some(NOT_OUTSIDE.to_owned()));
        }
        if past.is_settled()? {
            past.since = None;
            return Ok(None);
        }
        let is_little = layers::is_little(&past.home, &past.mounts, &past.position.live);
        if !is_little || past.is_copied_enough() {
            let why = self.seal_and_go_on()?;
            // A kernel that cannot change layers can have them copied as often as they are little.
            if why.is_none() || !is_little {
                return Ok(why);
            }
        }
        let why = self.sandbox.as_ref().map_or(Ok(None), |sandbox| sandbox.who_may_write())?;
        if why.is_none() {
            self.seal_a_copy()?;
        }
        Ok(why)
    }

    fn seal_a_copy(&mut self) -> Result<()> {
        let Life::Workspace { store, past, .. } = &mut self.life else { return Ok(()) };
        let naming = Naming::shared(&past.home)?;
        let copy = layers::make_copy(&past.home, &naming, &past.mounts, &past.position.live)?;
        match store.seal(&self.subject.id, &past.position, Sealing::Copied(&copy), past.since) {
            Ok(after) => {
                fault::pass(&past.home, "copy.recorded");
                past.copies = if past.position.copy().is_some() { past.copies + 1 } else { 1 };
                past.position = after;
                past.since = None;
                Ok(())
            }
            Err(error) => {
                layers::discard(&past.home, &copy);
                Err(error)
            }
        }
    }

    /// Seals the live layer, and what runs goes on over another.
    fn seal_and_go_on(&mut self) -> Result<Option<String>> {
        let (Life::Workspace { store, past, .. }, Some(sandbox)) = (&mut self.life, &mut self.sandbox) else { return Ok(None) };
        if past.position.below.len() >= layers::DEPTH_MAX {
            return Ok(Some(format!("there are {} layers already", past.position.below.len())));
        }
        let naming = Naming::shared(&past.home)?;
        let before = past.position.clone();
        let below = before.stack();
        let live = past.next_live(&naming, &self.subject.id, &below)?;
        let mounts = layers::stack(&past.home, &past.mounts, &below, &live);
        let mut after = None;
        let switched = fault::point(&past.home, "switch.made").and_then(|()| {
            sandbox.switch(&mounts, &mut || {
                fault::point(&past.home, "switch.refused")?;
                after = Some(store.seal(&self.subject.id, &before, Sealing::GoOnOver(&live), past.since)?);
                fault::pass(&past.home, "switch.recorded");
                Ok(())
            })
        });
        match (switched, after) {
            (Ok(Switched::Done), Some(after)) => {
                layers::tidy(&past.home, &past.mounts, &before.live);
                past.position = after;
                past.since = None;
                self.subject.mounts = mounts;
                Ok(None)
            }
            (Ok(Switched::Not(why)), _) => {
                layers::discard(&past.home, &live);
                Ok(Some(why))
            }
            // Recorded, and then it did not work: the sandbox goes, and what it has written is sealed by that.
            (Err(error), Some(after)) => {
                past.position = after;
                past.since = None;
                Err(Error::sandbox(error.to_string()))
            }
            (Err(error), None) => {
                layers::discard(&past.home, &live);
                Err(error)
            }
            (Ok(Switched::Done), None) => Err(Error::sandbox("the layers were changed and nothing was recorded")),
        }
    }

    /// The files as they are now, as a state that never changes again.
    pub(super) fn point(&mut self, op: &str, words: &str) -> Result<Point> {
        let running = self.tasks.values().any(|task| match task {
            Task::Exec(_) => true,
            Task::File(file) => file.recorded_as().is_some(),
        });
        let why_not = if running { Some("a command is running".to_owned()) } else { self.seal()? };
        let (Life::Workspace { store, past, .. }, Some(sandbox)) = (&mut self.life, &mut self.sandbox) else {
            return Err(Error::internal("a run has no past"));
        };
        let position = past.position.clone();
        let Some(why) = why_not.filter(|_| !past.is_settled().unwrap_or(false)) else {
            return Ok(Point { step: position.head, layers: position.layers, copied: None });
        };
        // Somebody may be writing: they stand still while what was written is copied.
        let naming = Naming::shared(&past.home)?;
        let frozen = sandbox.freeze()?;
        let copied = layers::make_copy(&past.home, &naming, &past.mounts, &position.live);
        drop(frozen);
        let copy = copied?;
        if sandbox.layers() == LayersAt::Inside {
            return self.point_on_disk(op, words, &why, &copy, running);
        }
        let layers: Vec<LayerId> = std::iter::once(&copy).chain(&position.below).cloned().collect();
        let new = NewStep { op, subject: words, layers: layers.clone() };
        match store.add_copy(&self.subject.id, &position, &new) {
            Ok(after) => {
                past.position = after;
                Ok(Point { step: past.position.last, layers, copied: Some(why) })
            }
            Err(error) => {
                layers::discard(&past.home, &copy);
                Err(error)
            }
        }
    }

    /// As [`Self::point`], of the copy of a machine's disk. While nothing could write the workspace stands on it from then on; else it lies beside its way.
    fn point_on_disk(&mut self, op: &str, words: &str, why: &str, copy: &LayerId, running: bool) -> Result<Point> {
        let Life::Workspace { store, past, .. } = &mut self.life else { return Err(Error::internal("a run has no past")) };
        let id = &self.subject.id;
        let layers = vec![copy.clone()];
        let stood = if running || past.alive_inside > 0 {
            let new = NewStep { op, subject: words, layers: layers.clone() };
            store.add_copy(id, &past.position, &new)
        } else {
            store.seal(id, &past.position, Sealing::CopiedWhole(copy), past.since).inspect(|_| past.since = None)
        };
        match stood {
            Ok(after) => {
                past.position = after;
                Ok(Point { step: past.position.last, layers, copied: Some(why.to_owned()) })
            }
            Err(error) => {
                layers::discard(&past.home, copy);
                Err(error)
            }
        }
    }

    /// Whether what was written is on a disk that only the inside reads.
    pub(super) fn writes_inside(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| sandbox.layers() == LayersAt::Inside)
    }

    /// Names the files as they are now.
    pub(super) fn snapshot(&mut self, request: &SnapshotCreateRequest) -> Result<Value> {
        let name = request.name.as_str();
        let Life::Workspace { store, past, .. } = &self.life else { return Err(Error::internal("a run has no past")) };
        if store.snapshots(&self.subject.id)?.iter().any(|snapshot| snapshot.name == name) {
            return Err(crate::store::snapshot_taken(&self.subject.name, name));
        }
        // A copy has no name until it has this one, and is for nobody to forget.
        let _naming = Naming::shared(&past.home)?;
        let point = self.point("workspace snapshot create", name)?;
        let Life::Workspace { store, past, .. } = &mut self.life else { return Err(Error::internal("a run has no past")) };
        fault::point(&past.home, "snapshot.sealed")?;
        store.add_snapshot(&self.subject.id, &self.subject.name, name, point.step)?;
        crate::ops::to_value(&SnapshotCreateResponse {
            workspace: self.subject.name.clone(),
            name: name.to_owned(),
            step: point.step,
            copied: point.copied,
        })
    }

    /// Where a call to reset, undo or redo goes, and the words for it.
    pub(super) fn target(&self, call: &Call) -> Result<(Target, String)> {
        let Life::Workspace { store, .. } = &self.life else { return Err(Error::internal("a run has no past")) };
        match call.op.as_str() {
            ops::WorkspaceReset::NAME => {
                crate::ops::target_of(store, (&self.subject.id, &self.subject.name), &crate::ops::parse(call.request.clone())?)
            }
            ops::WorkspaceRedo::NAME => Ok((Target::Redo, String::new())),
            _ => Ok((Target::Undo, String::new())),
        }
    }

    /// Ends everything inside and goes on with other files. `Err` when nothing was stopped; what the sandbox's end makes of it is the second.
    pub(super) fn rewind(&mut self, connection: u32, target: &Target, words: &str) -> Result<Option<End>> {
        let Life::Workspace { store, past, .. } = &mut self.life else { return Err(Error::internal("a run has no past")) };
        let Some(sandbox) = &self.sandbox else { return Err(Error::internal("there is no sandbox")) };
        let subject = past.subject(&self.subject.id, &self.subject.name);
        past::check(store, subject, &past.position, target)?;
        let is_inside = sandbox.layers() == LayersAt::Inside;
        let stopped = if is_inside { Some(past.alive_inside) } else { sandbox.alive() };
        let why = "the workspace was set back to another state of its files";
        let home = past.home.clone();
        let ended = self.sandbox.take().map_or(Ok(()), super::Sandbox::kill).and_then(|()| fault::point(&home, "rewind.ended"));
        self.end_tasks(why);
        let gone = ended.and_then(|()| self.go(target, words));
        fault::pass(&home, "rewind.gone");
        if is_inside && gone.is_ok() {
            // Nothing else makes steps there, and each is a disk.
            self.forget_old();
        }
        // Whether or not it is where it should be: there must be a sandbox again.
        match self.relaunch() {
            Ok(()) => {
                let answer = gone.and_then(|gone| {
                    crate::ops::to_value(&RewindResponse {
                        workspace: self.subject.name.clone(),
                        at: past::view(&gone.at),
                        left: gone.left.as_ref().map(past::view),
                        stopped,
                    })
                });
                self.answer(connection, answer);
                Ok(None)
            }
            Err(error) => {
                let why = format!("it could not be started again: {error}");
                self.answer(connection, Err(error));
                Ok(Some(End::Lost(why)))
            }
        }
    }

    /// Makes a step of what is left, once nothing can write any more.
    pub(super) fn seal_for_good(&mut self) -> Result<()> {
        let Life::Workspace { store, past, .. } = &mut self.life else { return Ok(()) };
        past.forget_spare();
        if layers::has_disk(&past.home, &past.mounts, &past.position.live) {
            // It is written to again by the next start: a step of it would be a copy.
            return Ok(());
        }
        past.position = past::seal(store, past.subject(&self.subject.id, &self.subject.name), &past.position)?;
        Ok(())
    }

    fn go(&mut self, target: &Target, words: &str) -> Result<past::Gone> {
        let Life::Workspace { store, past, .. } = &mut self.life else { return Err(Error::internal("a run has no past")) };
        past.forget_spare();
        past.position = past::seal(store, past.subject(&self.subject.id, &self.subject.name), &past.position)?;
        past.since = None;
        let gone = past::go(store, past.subject(&self.subject.id, &self.subject.name), &past.position, target, words)?;
        past.position = gone.position.clone();
        Ok(gone)
    }

    fn relaunch(&mut self) -> Result<()> {
        let Life::Workspace { past, .. } = &mut self.life else { return Err(Error::internal("a run has no past")) };
        let mounts = layers::stack(&past.home, &past.mounts, &past.position.below, &past.position.live);
        let live: Live = (past.relaunch)(&mounts)?;
        self.subject.mounts = mounts;
        self.sandbox = Some(live.sandbox);
        self.link = live.link;
        self.isolation = live.isolation;
        self.channel_last = 0;
        Ok(())
    }
}

/// Why nobody outside reads what a machine has changed.
pub const NOT_OUTSIDE: &str = "what a machine of its own has written is on a disk that only it reads";

/// Refuses what takes somebody outside who reads what was written.
#[must_use]
pub fn not_outside(name: &str, what: &str) -> Error {
    Error::unavailable(format!("{name} cannot be {what}: {NOT_OUTSIDE}"))
        .hint("workspaces with isolation namespaces can; of one with microvm, a fork is set beside it and both are looked into")
}
