//! Changes that are made outside and appear inside at once: a merge, a push. They are a layer of their own, made whole first and then put on top of
//! what the workspace has.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use pyro_api::ops::past::{MergeRequest, MergeResponse};
use pyro_api::{Error, Result};
use pyro_layer::{Favour, MergeOptions, MergeStacks, Merged, NewLayer};

use super::past::{Past, Point, not_outside};
use super::{Life, Supervisor, Task};
use crate::backend::{LayersAt, Switched};
use crate::fault;
use crate::layers::{self, LayerId, Naming};
use crate::manifest::Mount;
use crate::store::NewStep;

/// What a supervisor is told of the other side of a merge.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct MergeOrder {
    /// As it was asked for.
    pub request: MergeRequest,
    /// Name of the other workspace.
    pub from: String,
    /// Its file system.
    pub mounts: Vec<Mount>,
    /// Its files as they are, sealed.
    pub theirs: Point,
    /// What both have in common, uppermost first.
    pub base: Vec<LayerId>,
}

impl Supervisor<'_> {
    /// Seals what there is and makes sure that nothing inside could be surprised.
    pub(super) fn quieted(&mut self, what: &str) -> Result<()> {
        let running = self.tasks.values().any(|task| match task {
            Task::Exec(_) => true,
            Task::File(file) => file.recorded_as().is_some(),
        });
        if self.sandbox.as_ref().is_some_and(|sandbox| sandbox.layers() == LayersAt::Inside) {
            return Err(not_outside(&self.subject.name, what));
        }
        let why = if running { Some("a command is running".to_owned()) } else { self.seal()? };
        // A blank live layer under somebody who lives is just as much in use.
        let why = why.or_else(|| {
            let alive = self.sandbox.as_ref().and_then(|sandbox| sandbox.alive()).unwrap_or(0);
            (alive > 0).then(|| "a process is running in the background".to_owned())
        });
        match why {
            None => Ok(()),
            Some(why) => Err(Error::conflict(format!("{} cannot be {what} now: {why}", self.subject.name))
                .hint(format!("end it, or stop the workspace: workspace stop {}", self.subject.name))),
        }
    }

    /// Puts a layer on top that `build` writes; it is given the directory of each overlay in the order of mounts. `None` from it: there is nothing
    /// to put. Everything must be quiet. Gives what was built, and its step.
    pub(super) fn put_on_top<T>(
        &mut self,
        op: &str,
        words: &str,
        build: impl FnOnce(&Past<'_>, &[PathBuf]) -> Result<(T, bool)>,
    ) -> Result<(T, Option<u64>)> {
        let (Life::Workspace { store, past, .. }, Some(sandbox)) = (&mut self.life, &mut self.sandbox) else {
            return Err(Error::internal("a run has no past"));
        };
        let naming = Naming::shared(&past.home)?;
        let before = past.position.clone();
        let id = &self.subject.id;
        let layer = layers::make(&past.home, &naming, &past.mounts, id, &before.layers)?;
        let directories: Vec<PathBuf> = past.mounts.iter().map(|mount| layers::overlay(&past.home, &layer, mount)).collect();
        let discard = |error: Error| {
            layers::discard(&past.home, &layer);
            error
        };
        fault::point(&past.home, "change.made").map_err(discard)?;
        let (built, has_something) = build(past, &directories).map_err(discard)?;
        fault::point(&past.home, "change.built").map_err(discard)?;
        if !has_something {
            layers::discard(&past.home, &layer);
            return Ok((built, None));
        }
        layers::tidy(&past.home, &past.mounts, &layer);
        let sealed: Vec<LayerId> = std::iter::once(&layer).chain(&before.layers).cloned().collect();
        let live = layers::make(&past.home, &naming, &past.mounts, id, &sealed).map_err(discard)?;
        let mounts = layers::stack(&past.home, &past.mounts, &sealed, &live);
        let new = NewStep { op, subject: words, layers: sealed };
        let mut after = None;
        let switched = sandbox.switch(&mounts, &mut || {
            fault::point(&past.home, "change.refused")?;
            after = Some(store.advance(id, &before, &new, &live)?);
            fault::pass(&past.home, "change.recorded");
            Ok(())
        });
        let undo = |error: Error| {
            layers::discard(&past.home, &live);
            layers::discard(&past.home, &layer);
            error
        };
        match (switched, after) {
            (Ok(Switched::Done), Some(after)) => {
                crate::garbage::discard_live(&past.home, &before.live);
                let step = after.head;
                past.position = after;
                past.since = None;
                self.subject.mounts = mounts;
                Ok((built, Some(step)))
            }
            (Err(error), Some(after)) => {
                past.position = after;
                Err(Error::sandbox(error.to_string()))
            }
            (Ok(Switched::Not(why)), _) => {
                Err(undo(Error::conflict(format!("{} cannot be changed now: {why}", self.subject.name))))
            }
            (Err(error), None) => Err(undo(error)),
            (Ok(Switched::Done), None) => Err(Error::sandbox("the layers were changed and nothing was recorded")),
        }
    }

    /// Merges what another workspace has changed.
    pub(super) fn merge(&mut self, order: &MergeOrder) -> Result<MergeResponse> {
        self.quieted("merged into")?;
        let request = &order.request;
        let favour = match request.favour {
            pyro_api::ops::past::Favour::Neither => None,
            pyro_api::ops::past::Favour::Ours => Some(Favour::Ours),
            pyro_api::ops::past::Favour::Theirs => Some(Favour::Theirs),
        };
        let options = MergeOptions { favour, binary: favour };
        let dry_run = request.dry_run;
        let build = |past: &Past<'_>, directories: &[PathBuf]| {
            let merge = |directory: Option<&Path>, mount: &Mount, theirs: &Mount| {
                let stacks = MergeStacks {
                    base: layers::lowers(&past.home, mount, &order.base),
                    ours: layers::lowers(&past.home, mount, &past.position.layers),
                    theirs: layers::lowers(&past.home, theirs, &order.theirs.layers),
                    marks: past.ways.marks,
                };
                let into = directory.map(|directory| NewLayer { directory, owners: past.ways.owners });
                pyro_layer::merge(&stacks, &options, into, &mut |_| ControlFlow::Continue(())).map_err(refused)
            };
            let pairs = || past.mounts.iter().zip(&order.mounts).zip(directories);
            // Looked at first in all mounts: a conflict in one leaves the others as they are too.
            let mut merged: Vec<Merged> = Vec::new();
            for ((ours, theirs), _) in pairs() {
                merged.push(merge(None, ours, theirs)?);
            }
            let conflicts = merged.iter().any(|merged| merged.conflict_count > 0);
            let has_something = merged.iter().any(|merged| !merged.taken.is_empty() || !merged.merged.is_empty());
            let writes = has_something && !conflicts && !dry_run;
            if writes {
                for ((ours, theirs), directory) in pairs() {
                    merge(Some(directory), ours, theirs)?;
                }
            }
            Ok((merged, writes))
        };
        let (merged, step) = self.put_on_top("workspace merge", &order.from, build)?;
        let Life::Workspace { past, .. } = &self.life else { return Err(Error::internal("a run has no past")) };
        Ok(crate::merge_view::response(&self.subject.name, &order.from, &past.mounts, &merged, step))
    }
}

/// Why a tree could not be read or written, as the caller's error.
pub(super) fn refused(error: pyro_layer::Error) -> Error {
    use pyro_layer::ErrorKind as Kind;
    let sentence = "the files cannot be brought together";
    match error.kind() {
        Kind::Refused | Kind::Damaged => Error::invalid(sentence).because(error),
        Kind::Limit => Error::limit(sentence).because(error),
        Kind::Full => Error::unavailable(sentence).because(error).hint(crate::begin::DISK_FULL),
        Kind::Changed => Error::conflict(sentence).because(error).hint("try again when nothing writes to it"),
        Kind::Cancelled | Kind::System => Error::unavailable(sentence).because(error),
    }
}
