//! Environments: listed and removed here, built in a role process that is root of the namespace their layers belong to.

use pyro_api::envelope::Progress;
use pyro_api::ops::environment::{
    EnvBuildRequest, EnvInspectRequest, EnvListRequest, EnvListResponse, EnvPruneRequest, EnvRemoveRequest, EnvRemoveResponse,
    EnvironmentView,
};
use pyro_api::ops::{EnvBuild, EnvInspect, EnvList, EnvPrune, EnvRemove};
use pyro_api::values::{IsolationLevel, IsolationMinimum};
use pyro_api::{Call, Result};

use super::Handle;
use crate::environment::{self, BuildOptions, IdMode, Removed};
use crate::home::Home;
use crate::privilege::Privilege;
use crate::store::WorkspaceRecord;
use crate::supervisor::control::Connection;
use crate::{Host, Session};

/// Which workspaces use which digest, read once.
struct Uses(Vec<(String, String)>);

impl Uses {
    fn read(host: &Host) -> Result<Self> {
        let records = host.store()?.workspaces()?;
        let kit = environment::kit(host.home().root())?;
        let mut uses = Vec::new();
        for WorkspaceRecord { manifest, .. } in records {
            let minimum: IsolationMinimum = manifest.isolation_minimum.parse()?;
            if let Some(kit) = kit.as_ref().filter(|_| minimum.level == IsolationLevel::Microvm) {
                uses.push((kit.digest.clone(), manifest.name.clone()));
            }
            uses.push((manifest.environment_digest, manifest.name));
        }
        Ok(Self(uses))
    }

    fn of(&self, digest: &str) -> Vec<String> {
        self.0.iter().filter(|(used, _)| used == digest).map(|(_, name)| name.clone()).collect()
    }
}

impl Handle for EnvList {
    fn handle(host: &Host, _request: EnvListRequest, _session: &mut Session<'_>) -> Result<EnvListResponse> {
        let uses = Uses::read(host)?;
        Ok(EnvListResponse { environments: environment::list(host.home().root(), &|digest| uses.of(digest))? })
    }
}

impl Handle for EnvInspect {
    fn handle(host: &Host, request: EnvInspectRequest, _session: &mut Session<'_>) -> Result<EnvironmentView> {
        let uses = Uses::read(host)?;
        environment::inspect(host.home().root(), request.environment.as_str(), &|digest| uses.of(digest))
    }
}

impl Handle for EnvBuild {
    fn handle(host: &Host, request: EnvBuildRequest, session: &mut Session<'_>) -> Result<EnvironmentView> {
        host.build_environment(&request, session)?;
        host.start_janitor();
        let inspect = EnvInspectRequest { environment: request.environment };
        EnvInspect::handle(host, inspect, session)
    }
}

impl Handle for EnvRemove {
    fn handle(host: &Host, request: EnvRemoveRequest, _session: &mut Session<'_>) -> Result<EnvRemoveResponse> {
        let uses = Uses::read(host)?;
        let removed = environment::remove(host.home().root(), request.environment.as_str(), &|digest| uses.of(digest))?;
        Ok(gone(host, removed))
    }
}

impl Handle for EnvPrune {
    fn handle(host: &Host, _request: EnvPruneRequest, _session: &mut Session<'_>) -> Result<EnvRemoveResponse> {
        let uses = Uses::read(host)?;
        let mut removed = environment::prune(host.home().root(), &|digest| uses.of(digest))?;
        removed.freed_bytes += crate::backend::machine::sweep(host.home())?;
        Ok(gone(host, removed))
    }
}

fn gone(host: &Host, removed: Removed) -> EnvRemoveResponse {
    host.start_janitor();
    EnvRemoveResponse { removed: removed.names, freed_bytes: removed.freed_bytes }
}

/// Builds an environment in this process, which is there for nothing else.
pub(crate) fn build_here(home: &Home, privilege: &Privilege, call: Call, mut connection: Connection) -> Result<()> {
    let request: EnvBuildRequest = super::parse(call.request)?;
    let options = BuildOptions {
        rebuild: request.rebuild,
        includes: request.includes,
        id_mode: match privilege {
            Privilege::Root { .. } => IdMode::Root,
            Privilege::Range { .. } => IdMode::Range,
            Privilege::Single { .. } => IdMode::Single,
        },
    };
    let connection = std::cell::RefCell::new(&mut connection);
    let mut progress = |progress: Progress| {
        let mut connection = connection.borrow_mut();
        connection.progress(progress);
        // A caller that is gone is seen by `cancelled`.
        let _ = connection.flush();
    };
    // The caller says nothing while it waits: that it is readable means that it hung up or took its call back.
    let cancelled = || connection.borrow().has_something_to_read();
    let built = environment::build(home.root(), request.environment.as_str(), &options, &mut progress, &cancelled);
    crate::begin::last_answer(connection.into_inner(), built.map(|_| serde_json::Value::Null))
}
