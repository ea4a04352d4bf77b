//! Files between the host and a workspace. Its supervisor reads and writes layers; a repository of the host is changed here, by the host's own git.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pyro_api::ops::transfer::{ExportFormat, ExportRequest, ExportResponse, SyncPushRequest, SyncPushResponse};
use pyro_api::ops::{SyncPush, WorkspaceExport};
use pyro_api::{Error, Result};

use super::Handle;
use super::workspace::absolute;
use crate::{Host, Session};

impl Handle for SyncPush {
    fn handle(host: &Host, mut request: SyncPushRequest, session: &mut Session<'_>) -> Result<SyncPushResponse> {
        request.source = absolute(&request.source)?;
        host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)
    }
}

impl Handle for WorkspaceExport {
    fn handle(host: &Host, mut request: ExportRequest, session: &mut Session<'_>) -> Result<ExportResponse> {
        let Some(repository) = request.to_git.take() else {
            request.output = request.output.map(|path| absolute(&path)).transpose()?;
            return host.call_supervisor::<Self>(&request.workspace.clone(), &request, session);
        };
        let name = host.store()?.find(&request.workspace)?.manifest.name;
        let branch = request.branch.take().unwrap_or_else(|| format!("pyro/{name}"));
        let repository = Repository { path: absolute(&repository)?.into() };
        repository.check(&branch)?;
        let patch = Temporary(host.home().tmp().join(format!("{}.patch", crate::name::new_id())));
        let output = patch.0.to_str().ok_or_else(|| Error::invalid("PYRO_HOME is not UTF-8"))?.to_owned();
        request.format = ExportFormat::Patch;
        request.output = Some(output);
        let mut response: ExportResponse = host.call_supervisor::<Self>(&request.workspace.clone(), &request, session)?;
        if response.bytes == 0 {
            return Err(Error::conflict(format!("nothing has changed in {name} since it was seeded")));
        }
        repository.commit(&patch.0, &branch, &format!("Changes of workspace {name}"))?;
        response.output = format!("branch {branch} of {}", repository.path.display());
        Ok(response)
    }
}

/// A file that goes when it is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A checkout of the user's own. Its working tree, index and hooks are not touched: the patch is applied to an index that nobody else sees, and
/// becomes a commit and a branch.
struct Repository {
    path: PathBuf,
}

impl Repository {
    /// Whether a branch of that name can be made.
    fn check(&self, branch: &str) -> Result<()> {
        self.git(None, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).map_err(|_| {
            Error::invalid(format!("{} is not a git repository with a commit", self.path.display()))
                .hint("give a checkout to to_git")
        })?;
        self.git(None, &["check-ref-format", "--branch", branch])
            .map_err(|_| Error::invalid(format!("{branch} is not the name of a branch")))?;
        match self.git(None, &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}")]) {
            Ok(_) => Err(Error::conflict(format!("{} has a branch {branch} already", self.path.display()))
                .hint("give another branch, or delete that one")),
            Err(_) => Ok(()),
        }
    }

    fn commit(&self, patch: &Path, branch: &str, message: &str) -> Result<()> {
        let index = Temporary(patch.with_extension("index"));
        let index = Some(index.0.as_path());
        let patch = patch.to_string_lossy();
        self.git(index, &["read-tree", "HEAD"])?;
        self.git(index, &["apply", "--cached", "--whitespace=nowarn", &patch]).map_err(|error| {
            Error::conflict(format!("the patch does not apply to the last commit of {}", self.path.display()))
                .because(error)
                .hint("check out the commit that the workspace was seeded with")
        })?;
        let tree = self.git(index, &["write-tree"])?;
        let commit = self.git(index, &["commit-tree", "-p", "HEAD", "-m", message, &tree])?;
        // Only if it is still not there.
        self.git(None, &["update-ref", &format!("refs/heads/{branch}"), &commit, ""]).map(drop)
    }

    /// Runs git without anything that a repository could have it run.
    fn git(&self, index: Option<&Path>, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.path)
            .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "commit.gpgSign=false"])
            .args(arguments)
            .stdin(Stdio::null())
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE");
        match index {
            Some(index) => command.env("GIT_INDEX_FILE", index),
            None => command.env_remove("GIT_INDEX_FILE"),
        };
        let output = command.output().map_err(|error| Error::unavailable("git cannot be started").because(error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let line = words.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
        Err(Error::unavailable(format!("git {}: {}", arguments.first().copied().unwrap_or_default(), line.trim())))
    }
}
