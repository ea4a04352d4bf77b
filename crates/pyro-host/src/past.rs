//! Going back and forth in the past of a workspace that stands still: what was written is sealed, a step is chosen, and the live layer lies over
//! it from then on. Files are not touched.
//!
//! Whoever calls this owns the workspace: its supervisor while no sandbox of it runs, or who holds the lease of one that has none. Everything is
//! decided before anything is changed, and each change is one transaction.

use pyro_api::ops::past::StepView;
use pyro_api::{Error, Result};
use pyro_wire::untrusted::escape;

use crate::fault;
use crate::home::Home;
use crate::layers::{self, Naming};
use crate::manifest::Mount;
use crate::store::{NewStep, OpenEvent, Position, Sealing, StepRecord, Store};

/// A workspace as this sees it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Where its layers are.
    pub home: &'a Home,
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its file system.
    pub mounts: &'a [Mount],
    /// The first thing done that may have changed what is in no step yet.
    pub since: Option<OpenEvent>,
}

impl Subject<'_> {
    fn is_settled(&self, position: &Position) -> Result<bool> {
        is_settled(self.home, self.mounts, position, self.since)
    }
}

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// As it was at a step, which is a new step: going there can be undone.
    Step(u64),
    /// As it was before what was done last.
    Undo,
    /// As it was before the last undo.
    Redo,
}

/// Where it has gone.
#[derive(Clone, Debug)]
pub struct Gone {
    /// Where it stands now.
    pub position: Position,
    /// The step whose files it has now.
    pub at: StepRecord,
    /// The step that it left, which can be gone back to; `None` when it had those files already.
    pub left: Option<StepRecord>,
}

/// Whether everything that was written is in a step. Of a machine's disk that is not seen, so it is asked whether anything was done.
///
/// # Errors
/// When it cannot be looked at.
pub fn is_settled(home: &Home, mounts: &[Mount], position: &Position, since: Option<OpenEvent>) -> Result<bool> {
    if layers::has_disk(home, mounts, &position.live) {
        return Ok(since.is_none());
    }
    match position.copy() {
        Some(copy) => Ok(layers::is_same(home, mounts, &position.live, copy)),
        None => layers::is_blank(home, mounts, &position.live, &position.below),
    }
}

/// Makes a step of what is in the live layer, if anything is that is in none. Nothing may be able to write to it any more. The live layer is one to which
/// nothing was written yet then.
///
/// # Errors
/// When the disk refuses; nothing has changed then.
pub fn seal(store: &mut Store, subject: Subject<'_>, position: &Position) -> Result<Position> {
    let is_settled = subject.is_settled(position)?;
    let has_disk = layers::has_disk(subject.home, subject.mounts, &position.live);
    if is_settled && position.copy().is_none() && !has_disk {
        return Ok(position.clone());
    }
    let naming = Naming::shared(subject.home)?;
    let below = match (is_settled, has_disk) {
        (true, _) => position.layers.clone(),
        (false, true) => vec![position.live.clone()],
        (false, false) => position.stack(),
    };
    let live = layers::make(subject.home, &naming, subject.mounts, subject.id, &below)?;
    let sealed = fault::point(subject.home, "seal.made").and_then(|()| {
        if is_settled {
            store.renew(subject.id, position, &live)
        } else {
            let how = if has_disk { Sealing::GoOnOverWhole(&live) } else { Sealing::GoOnOver(&live) };
            store.seal(subject.id, position, how, subject.since)
        }
    });
    match sealed {
        Ok(sealed) => {
            fault::pass(subject.home, "seal.recorded");
            if is_settled {
                crate::garbage::discard_live(subject.home, &position.live);
            } else {
                layers::tidy(subject.home, subject.mounts, &position.live);
            }
            Ok(sealed)
        }
        Err(error) => {
            layers::discard(subject.home, &live);
            Err(error)
        }
    }
}

/// Whether there is such a place to go to, looked at before anything is stopped. Going there looks again.
///
/// # Errors
/// `NotFound` or `Conflict` when there is none.
pub fn check(store: &Store, subject: Subject<'_>, position: &Position, target: &Target) -> Result<()> {
    match target {
        Target::Step(step) => store.step(subject.id, subject.name, *step).map(drop),
        Target::Undo if subject.is_settled(position)? => {
            let head = store.step(subject.id, subject.name, position.head)?;
            store.parent(subject.id, &head)?.map(drop).ok_or_else(|| nothing_to(subject, "undo"))
        }
        Target::Undo => Ok(()),
        Target::Redo if position.redo.is_empty() || !subject.is_settled(position)? => Err(nothing_to(subject, "redo")),
        Target::Redo => Ok(()),
    }
}

fn nothing_to(subject: Subject<'_>, what: &str) -> Error {
    let hint = match what {
        "redo" => "only what was undone can be redone, until something else is done".to_owned(),
        _ => format!("workspace logs {} shows what was done", subject.name),
    };
    Error::conflict(format!("there is nothing to {what} in {}", subject.name)).hint(hint)
}

/// Goes there. What is in the live layer has been sealed. `words`: what was asked for, for the log.
///
/// # Errors
/// As [`check`], and when the disk refuses; nothing has changed then.
pub fn go(store: &mut Store, subject: Subject<'_>, position: &Position, target: &Target, words: &str) -> Result<Gone> {
    let subject = Subject { since: None, ..subject };
    check(store, subject, position, target)?;
    let step = |store: &Store, step| store.step(subject.id, subject.name, step);
    let head = step(store, position.head)?;
    let gone = match target {
        Target::Step(to) => {
            let to = step(store, *to)?;
            let new = NewStep { op: "workspace reset", subject: words, layers: to.layers.clone() };
            let position = store.advance(subject.id, position, &new, &position.live)?;
            Gone { at: step(store, position.head)?, left: Some(head), position }
        }
        Target::Undo => {
            let to = store.parent(subject.id, &head)?.ok_or_else(|| nothing_to(subject, "undo"))?;
            let redo = position.redo.iter().copied().chain([head.step]).collect();
            let position = store.stand_on(subject.id, position, &to, redo, "workspace undo")?;
            Gone { at: to, left: Some(head), position }
        }
        Target::Redo => {
            let mut redo = position.redo.clone();
            let to = step(store, redo.pop().ok_or_else(|| nothing_to(subject, "redo"))?)?;
            let position = store.stand_on(subject.id, position, &to, redo, "workspace redo")?;
            Gone { at: to, left: None, position }
        }
    };
    fault::pass(subject.home, "go.recorded");
    // What it shows of its own root, and what a database that is lost is made again from. It is done all the same if this is not.
    if let Err(error) = layers::put_over(subject.home, subject.mounts, &gone.position.live, subject.id, &gone.position.layers) {
        crate::supervisor::complain(&error);
    }
    Ok(gone)
}

/// A step as answers show it.
#[must_use]
pub fn view(step: &StepRecord) -> StepView {
    StepView {
        step: step.step,
        at: step.at.rfc3339(),
        op: step.op.clone(),
        subject: escape(&step.subject),
        op_count: step.op_count,
    }
}
#[cfg(test)]
mod tests;
