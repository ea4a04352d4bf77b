//! The next live layer, made while nothing is asked: to make one and to put an overlay over it is most of what a step costs.
//!
//! Nothing names it until a step does, and who keeps one cannot hold [`Naming`] for as long: a lease on its directory keeps it from who clears away,
//! until it is taken or its keeper is gone.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use pyro_api::Result;
use rustix::fs::FlockOperation;

use super::{LayerId, MadeFor, Naming, discard, like, likeness, make, overlay, say};
use crate::home::Home;
use crate::manifest::Mount;

/// A blank layer that waits for its use.
#[derive(Debug)]
pub struct Spare {
    id: LayerId,
    below: Vec<LayerId>,
    // Held for its lock.
    _lease: File,
}

impl Spare {
    /// Makes one over others, of which the uppermost is written to still.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left then.
    pub fn make(home: &Home, naming: &Naming, mounts: &[Mount], below: Vec<LayerId>) -> Result<Self> {
        // Of nobody: a database that is made again must not take it for the live one.
        let id = make(home, naming, mounts, "", &below)?;
        match lease(home, &id, FlockOperation::NonBlockingLockShared) {
            Ok(lease) => Ok(Self { id, below, _lease: lease }),
            Err(error) => {
                discard(home, &id);
                Err(crate::begin::no_room(&home.layer(&id), error))
            }
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &LayerId {
        &self.id
    }

    /// Whether it was made to lie over these.
    #[must_use]
    pub fn is_over(&self, below: &[LayerId]) -> bool {
        self.below == below
    }

    /// Makes it the next live layer of a workspace, whose uppermost layer does not change any more. `None`, and it is gone, when an overlay's own root is
    /// not as it was when this was made: an overlay that was put over it remembers that.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn take(self, home: &Home, _naming: &Naming, mounts: &[Mount], workspace: &str) -> Result<Option<LayerId>> {
        let take = || -> io::Result<bool> {
            for mount in mounts {
                let Some(top) = self.below.first().map(|top| overlay(home, top, mount)) else { continue };
                let own = overlay(home, &self.id, mount);
                if !likeness(&top)?.is_same_but_for_time(&likeness(&own)?) {
                    return Ok(false);
                }
                like(&own, &top)?;
            }
            say(&home.layer(&self.id), &MadeFor::now(workspace, &self.below)).map(|()| true)
        };
        match take() {
            Ok(true) => Ok(Some(self.id)),
            Ok(false) => {
                self.discard(home);
                Ok(None)
            }
            Err(error) => {
                let at = home.layer(&self.id);
                self.discard(home);
                Err(crate::begin::no_room(&at, error))
            }
        }
    }

    /// It is not needed.
    pub fn discard(self, home: &Home) {
        discard(home, &self.id);
    }
}

/// Whether somebody keeps a layer that nothing names. To be asked with [`Naming`] held alone: nobody takes one meanwhile.
#[must_use]
pub fn is_kept(home: &Home, id: &LayerId) -> bool {
    lease(home, id, FlockOperation::NonBlockingLockExclusive).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn lease(home: &Home, id: &LayerId, operation: FlockOperation) -> io::Result<File> {
    let directory = File::open(home.layer(id))?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(directory.as_fd(), operation))?;
    Ok(directory)
}
