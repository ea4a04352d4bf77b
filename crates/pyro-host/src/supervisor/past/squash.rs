//! The layers of a workspace that runs are made fewer, while it goes on over the old ones: they are worked on by a thread of their own, and what came of
//! it is named when that is done, if it fits still.

use std::time::Instant;

use pyro_api::{Error, Result};

use super::PREPARE_AFTER;
use crate::fault;
use crate::layers::fewer;
use crate::layers::{self, LayerId, Naming};
use crate::supervisor::{Life, Supervisor, Work, complain};

/// What came of a look at the layers.
pub(in crate::supervisor) struct Squashed {
    /// `None` when nothing was to be made fewer.
    made: Option<Made>,
    /// With so many layers it is worth to look again.
    again_at: usize,
}

/// One layer that shows the same as more.
struct Made {
    /// The layers, as they lie upon each other somewhere in a stack.
    replaced: Vec<LayerId>,
    /// The one that shows the same.
    by: LayerId,
    /// Held until it is recorded.
    _naming: Naming,
}

impl Supervisor<'_> {
    /// Makes one layer of several when there are many, on a thread of its own. The steps that name them keep them.
    pub(super) fn begin_squash(&mut self) {
        let Life::Workspace { store, past, .. } = &mut self.life else { return };
        if past.is_squashing || past.position.copy().is_some() || past.position.layers.len() < past.squash_at {
            return;
        }
        // What runs needs its layers for as long as it runs over them, so somebody else must name them too. The uppermost has no name but that of the
        // step where we stand; the others have the next time that something is sealed.
        if !store.is_kept_below(&self.subject.id, &past.position).unwrap_or(false) {
            return;
        }
        let layers: Vec<LayerId> = past.position.layers.iter().skip(1).cloned().collect();
        let (home, mounts, id, ways) = (past.home.clone(), past.mounts.clone(), self.subject.id.clone(), past.ways);
        let weights = past.weights.clone();
        let sender = self.work_sender.clone();
        let Ok(mut ringer) = self.work_ringer.try_clone() else { return };
        let look = move || {
            let naming = Naming::shared(&home)?;
            let known = weights.of(&home, &layers)?;
            let again_at = 1 + layers.len() + fewer::again_after(&known);
            let Some(choice) = fewer::choose(&known) else { return Ok(Squashed { made: None, again_at }) };
            let replaced = layers[choice.range.clone()].to_vec();
            let by = layers::squash(&home, &naming, &mounts, &id, &replaced, &choice, ways.marks)?;
            fault::pass(&home, "squash.made");
            Ok(Squashed { made: Some(Made { replaced, by, _naming: naming }), again_at })
        };
        let work = move || {
            // When the loop has ended it is garbage.
            let _ = sender.send(Work::Squashed(look()));
            let _ = std::io::Write::write_all(&mut ringer, &[1]);
        };
        past.is_squashing = std::thread::Builder::new().name("squash".into()).spawn(work).is_ok();
    }

    /// Stands on the fewer layers from now on; what runs goes on over the old ones, which show the same.
    pub(in crate::supervisor) fn take_squashed(&mut self, squashed: Result<Squashed>) {
        let Life::Workspace { store, past, .. } = &mut self.life else { return };
        past.is_squashing = false;
        past.squash_at = past.position.below.len() + fewer::WIDTH;
        let Squashed { made, again_at } = match squashed {
            Ok(squashed) => squashed,
            Err(error) => return complain(&error),
        };
        let is_made = made.is_some();
        if let Some(made) = made {
            let is_kept = store.is_kept_below(&self.subject.id, &past.position).unwrap_or(false);
            let at = past.position.below.windows(made.replaced.len()).position(|window| window == made.replaced);
            let recorded = match at {
                Some(at) if at > 0 && is_kept => {
                    let mut after = past.position.clone();
                    let over = after.layers.len() - after.below.len();
                    after.below.splice(at..at + made.replaced.len(), [made.by.clone()]);
                    after.layers.splice(over + at..over + at + made.replaced.len(), [made.by.clone()]);
                    store.replace_layers(&self.subject.id, &after).map(|()| {
                        past.position = after;
                        past.prepare_at = Some(Instant::now() + PREPARE_AFTER);
                    })
                }
                // It has gone back meanwhile, or forward over others.
                Some(_) | None => Err(Error::conflict("the layers that were made one are not in use any more")),
            };
            if recorded.is_err() {
                layers::discard(&past.home, &made.by);
                return;
            }
            drop(made);
            fault::pass(&past.home, "squash.recorded");
        }
        // There may be enough of the next level now: after the next step, for what was made one just now is still run over.
        past.squash_at = if is_made { 0 } else { again_at };
        self.forget_old();
    }

    /// Forgets steps when there are too many, and clears away what only they had.
    pub(super) fn forget_old(&mut self) {
        let Life::Workspace { store, .. } = &mut self.life else { return };
        match store.forget_many(&self.subject.id, layers::STEPS_MAX, layers::STEPS_KEPT) {
            Ok(true) => self.clear_away(),
            Ok(false) => {}
            Err(error) => complain(&error),
        }
    }

    /// Clears away what no step names any more, on a thread of its own.
    fn clear_away(&self) {
        let Life::Workspace { past, .. } = &self.life else { return };
        let home = past.home.clone();
        let clear = move || {
            if let Err(error) =
                crate::garbage::collect(&home, crate::garbage::Measure::No).and_then(|_| crate::janitor::empty_trash(&home))
            {
                complain(&error);
            }
        };
        // Without a thread it is garbage for the next who looks.
        drop(std::thread::Builder::new().name("garbage".into()).spawn(clear));
    }
}
