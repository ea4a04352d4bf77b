//! The past of a workspace that stands still, done without starting it.

use pyro_api::Result;
use pyro_api::ops::past::{ResetRequest, RewindResponse, SnapshotCreateRequest, SnapshotCreateResponse};

use super::Stopped;
use crate::home::Home;
use crate::manifest::Manifest;
use crate::ops::target_of;
use crate::past::{self, Subject, Target};
use crate::store::OpenEvent;
use crate::supervisor::past::Point;

/// Beside the database and the position, which are changed meanwhile.
fn subject<'a>(home: &'a Home, manifest: &'a Manifest, since: Option<OpenEvent>) -> Subject<'a> {
    Subject { home, id: &manifest.id, name: &manifest.name, mounts: &manifest.mounts, since }
}

impl Stopped<'_> {
    /// Makes a step of what a supervisor that was killed has left.
    fn seal(&mut self) -> Result<()> {
        let subject = subject(self.home, &self.manifest, self.store.first_unsealed(&self.manifest.id)?);
        self.position = past::seal(&mut self.store, subject, &self.position)?;
        Ok(())
    }

    /// The files as they are, as a state that never changes again.
    pub(super) fn point(&mut self) -> Result<Point> {
        let since = self.store.first_unsealed(&self.manifest.id)?;
        if !past::is_settled(self.home, &self.manifest.mounts, &self.position, since)? {
            self.seal()?;
        }
        Ok(Point { step: self.position.head, layers: self.position.layers.clone(), copied: None })
    }

    /// Names the files as they are.
    pub(super) fn snapshot(&mut self, request: &SnapshotCreateRequest) -> Result<SnapshotCreateResponse> {
        let step = self.point()?.step;
        let (id, workspace) = (&self.manifest.id, self.manifest.name.clone());
        self.store.add_snapshot(id, &workspace, request.name.as_str(), step)?;
        Ok(SnapshotCreateResponse { workspace, name: request.name.to_string(), step, copied: None })
    }

    /// Goes to what a request names.
    pub(super) fn reset(&mut self, request: &ResetRequest) -> Result<RewindResponse> {
        let (target, words) = target_of(&self.store, (&self.manifest.id, &self.manifest.name), request)?;
        self.rewind(&target, &words)
    }

    /// Goes somewhere else. `words`: what was asked for, for the log.
    pub(super) fn rewind(&mut self, target: &Target, words: &str) -> Result<RewindResponse> {
        let since = self.store.first_unsealed(&self.manifest.id)?;
        past::check(&self.store, subject(self.home, &self.manifest, since), &self.position, target)?;
        self.seal()?;
        let subject = subject(self.home, &self.manifest, None);
        let gone = past::go(&mut self.store, subject, &self.position, target, words)?;
        Ok(RewindResponse {
            workspace: self.manifest.name.clone(),
            at: past::view(&gone.at),
            left: gone.left.as_ref().map(past::view),
            stopped: None,
        })
    }
}
