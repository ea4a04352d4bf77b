//! A running sandbox goes on over other layers: what it has written so far can be sealed, and nothing inside notices.
//!
//! Only while nothing inside but the agent is alive: another process could hold a file or a directory of the old file system, and would
//! go on writing into the layer that was sealed. That nobody can is made sure by the kernel and looked at from outside, in this order:
//!
//! 1. the old mounts refuse writes; the kernel does not let them while anything is open for writing;
//! 2. nobody but the agent is alive, and it has no file mapped;
//! 3. the caller records the new state;
//! 4. the new file system becomes the root, with the views of the old one (`/dev`, `/proc`, `/sys`, `/run`) and what is in them.
//!
//! A thread of ours does it in the sandbox's mount namespace: nothing inside has any power over mounts.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;

use pyro_api::{Error, Result};
use pyro_sys::beneath::Mounts;
use pyro_sys::mount::{self, Refuses};
use pyro_sys::visit;

use super::filesystem::{self, Kept, Made};
use super::plan::Plan;
use super::quiet::Watched;
use super::{Layers, NamespaceSandbox};
use crate::backend::{StackMount, Switched};

/// What a sandbox needs to be switched, kept from its launch.
pub(super) struct Ground {
    /// By which it was made.
    pub(super) plan: Plan,
    /// How layers reach overlays.
    pub(super) how: Layers,
    /// Its user namespace, whose ids layers are translated to.
    pub(super) users: pyro_sys::userns::UserNamespace,
    /// Its overlays as they are mounted inside, in the order of the plan; `None` when this kernel made them by name.
    pub(super) overlays: Option<Vec<OwnedFd>>,
    /// The layers that they stand on and that never change again: the next overlays stand on most of them too.
    pub(super) kept: Kept,
    /// Overlays that nobody lives on any more, with layers that nobody needs: to be let go of when there is time.
    pub(super) unused: Vec<Made>,
    /// Overlays that were put together for a switch that is still to come.
    pub(super) prepared: Option<Prepared>,
}

/// What [`Ground::prepare`] makes.
pub(super) struct Prepared {
    /// For which.
    mounts: Vec<StackMount>,
    made: Made,
}

/// So many overlays wait to be let go of: each may hold some of the kernel's memory of names.
const UNUSED_MAX: usize = 16;

/// Switches. `commit` is called when the old layers cannot change any more and before the new ones are there; when it fails, everything
/// stays as it was.
pub(super) fn switch(
    sandbox: &mut NamespaceSandbox,
    mounts: &[StackMount],
    commit: &mut dyn FnMut() -> Result<()>,
) -> Result<Switched> {
    let Some(ground) = &mut sandbox.ground else { return Err(Error::internal("a sandbox has no ground")) };
    let Some(old) = &ground.overlays else {
        return Ok(Switched::Not("this kernel cannot change the layers of a running sandbox (it needs Linux 6.15)".to_owned()));
    };
    let cannot =
        |what: &'static str| move |error: io::Error| Error::unavailable(format!("{what} of a running sandbox")).because(error);
    let watched = Watched::open(&sandbox.child).map_err(cannot("look at the processes"))?;
    // Most often this is why not, and nothing has been done yet.
    if let Some(why) = watched.who_may_write().map_err(cannot("look at the processes"))? {
        return Ok(Switched::Not(why.to_owned()));
    }
    let plan = ground.plan.with_mounts(mounts);
    let prepared = take_prepared(&mut ground.prepared, &mut ground.kept, &mut ground.unused, mounts);
    let new = match prepared {
        Some(made) => Some(made),
        None => put_together(&plan, mounts, ground.how, &ground.users, &mut ground.kept)?,
    };
    let Some((new, layers)) = new else {
        return Ok(Switched::Not("this kernel cannot change the layers of a running sandbox".to_owned()));
    };
    // What is not among them any more is let go of later, with the old overlays.
    let unused = std::mem::replace(&mut ground.kept, layers);
    let (on, to) = (&plan, new.as_slice());
    let seen = &watched;
    let (asks, asked) = mpsc::sync_channel::<()>(0);
    let (answers, answered) = mpsc::sync_channel::<bool>(0);
    let body = move || -> Result<Inside, (&'static str, io::Error)> {
        if let Err(error) = refuse_writes(old) {
            // EBUSY
            return if error.raw_os_error() == Some(16) {
                Ok(Inside::Busy("a file is open for writing"))
            } else {
                Err(("seal the layers", error))
            };
        }
        let back = |outcome| {
            // They could be written to a moment ago.
            old.iter().try_for_each(mount::allow_writes).map_err(|error| ("open the layers again", error)).and(outcome)
        };
        match seen.who_may_write() {
            Ok(None) => {}
            Ok(Some(why)) => return back(Ok(Inside::Busy(why))),
            Err(error) => return back(Err(("look at the processes", error))),
        }
        if asks.send(()).is_err() || !answered.recv().unwrap_or(false) {
            return back(Ok(Inside::NotCommitted));
        }
        re_root(on, to).map(|()| Inside::Done)
    };
    let mut committed = Ok(());
    let meanwhile = || {
        if asked.recv().is_ok() {
            committed = commit();
            // Who does not hear it has failed, and says so itself.
            let _ = answers.send(committed.is_ok());
        }
        drop(asked);
    };
    let (told, ()) = visit::mounts_of(&sandbox.child, body, meanwhile).map_err(cannot("start a thread for the layers"))?;
    let told = told.map_err(cannot("enter the mounts"))?;
    let is_done = matches!(told, Ok(Inside::Done));
    if let Some(ground) = &mut sandbox.ground {
        // Those that nobody lives on: the old ones, or the new ones that were made in vain.
        let mut idle = new;
        if is_done {
            idle = ground.overlays.replace(idle).unwrap_or_default();
            ground.plan = plan;
        }
        ground.unused.push((idle, unused));
        if ground.unused.len() >= UNUSED_MAX {
            ground.let_go();
        }
    }
    match told {
        Ok(Inside::Done) => Ok(Switched::Done),
        Ok(Inside::Busy(why)) => Ok(Switched::Not(why.to_owned())),
        Ok(Inside::NotCommitted) => committed.map(|()| Switched::Not("it was taken back".to_owned())),
        Err((what, error)) => Err(Error::sandbox(format!("the layers of the sandbox cannot be changed: {what}")).because(error)),
    }
}

fn put_together(
    plan: &Plan,
    mounts: &[StackMount],
    how: Layers,
    users: &pyro_sys::userns::UserNamespace,
    kept: &mut Kept,
) -> Result<Option<Made>> {
    filesystem::overlays(plan, mounts, how, users, kept)
        .map_err(|(what, error)| Error::unavailable(format!("put new layers together: {what}")).because(error))
}

/// What was prepared for these mounts. If it was for others, its layers are kept for what is made instead.
fn take_prepared(prepared: &mut Option<Prepared>, kept: &mut Kept, unused: &mut Vec<Made>, mounts: &[StackMount]) -> Option<Made> {
    let Prepared { mounts: of, made } = prepared.take()?;
    if of == mounts {
        return Some(made);
    }
    kept.extend(made.1);
    unused.push((made.0, Kept::default()));
    None
}

/// How it went inside.
enum Inside {
    Done,
    Busy(&'static str),
    NotCommitted,
}

/// All or none.
fn refuse_writes(overlays: &[OwnedFd]) -> io::Result<()> {
    for (index, overlay) in overlays.iter().enumerate() {
        if let Err(error) = mount::restrict(overlay, Refuses { writes: true, ..Refuses::NOTHING }) {
            overlays[..index].iter().try_for_each(mount::allow_writes)?;
            return Err(error);
        }
    }
    Ok(())
}

/// Puts the new overlays where the old ones are, in the mount namespace that the thread is in.
fn re_root(plan: &Plan, overlays: &[OwnedFd]) -> Result<(), (&'static str, io::Error)> {
    let copies = filesystem::copy_views().map_err(|error| ("copy /dev, /proc, /sys or /run", error))?;
    let (root, further) = overlays.split_first().ok_or(("/", io::Error::from(io::ErrorKind::InvalidInput)))?;
    // Over the old root, which everybody inside still has as theirs.
    mount::attach_at_host_path(root, Path::new("/")).map_err(|error| ("attach the new root", error))?;
    for (overlay, of) in further.iter().zip(&plan.overlays[1..]) {
        let place = filesystem::mount_point(plan, root, Path::new(of.at.trim_start_matches('/')), Mounts::Enter);
        place.and_then(|place| mount::attach(overlay, place)).map_err(|error| ("attach an overlay below /", error))?;
    }
    for (view, copy) in &copies {
        let place = filesystem::mount_point(plan, root, Path::new(view), Mounts::Stay);
        place.and_then(|place| mount::attach(copy, place)).map_err(|error| ("attach /dev, /proc, /sys or /run", error))?;
    }
    // Root and working directory of everybody who has the old root go with it (pivot_root(2)): the agent's.
    mount::pivot_into(root).map_err(|error| ("change the root", error))
}

impl Ground {
    /// Puts the overlays of a switch together. They lie over the layer that is written to now, which is of no harm: nobody looks into them before
    /// that one is sealed, and what an overlay has not looked up it does not remember.
    ///
    /// # Errors
    /// When the layers cannot be put together.
    pub(super) fn prepare(&mut self, mounts: &[StackMount]) -> Result<()> {
        if self.overlays.is_none() {
            return Ok(());
        }
        let made = match take_prepared(&mut self.prepared, &mut self.kept, &mut self.unused, mounts) {
            Some(made) => Some(made),
            None => put_together(&self.plan.with_mounts(mounts), mounts, self.how, &self.users, &mut self.kept)?,
        };
        self.prepared = made.map(|made| Prepared { mounts: mounts.to_vec(), made });
        Ok(())
    }

    /// Lets go of the overlays that nobody lives on any more.
    pub(super) fn let_go(&mut self) {
        if !self.unused.is_empty() {
            release(std::mem::take(&mut self.unused));
        }
    }

    /// Lets go of everything, once nobody lives on any of it.
    pub(super) fn release(mut self) {
        self.unused.extend(self.prepared.take().map(|prepared| prepared.made));
        // Nothing is written out of what need not survive.
        if let (false, Some(overlays)) = (self.plan.volatile, self.overlays) {
            self.unused.push((overlays, self.kept));
            release(self.unused);
        }
    }
}

/// Lets go of overlays that nobody uses any more. The kernel writes out the whole disk that their layers are on when the last hold on one is
/// gone (ovl_sync_fs), and waits for all processors whenever a mount ends, so a thread that nobody waits for does it.
fn release(unused: Vec<Made>) {
    let spawned = std::thread::Builder::new().name("release".into()).stack_size(32 * 1024).spawn(move || drop(unused));
    // Without a thread the closure has been dropped here, and the overlays with it.
    drop(spawned);
}
