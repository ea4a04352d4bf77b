//! The machine itself.

use pyro_api::ops::host::{DoctorRequest, DoctorResponse, GcRequest, GcResponse};
use pyro_api::ops::{Doctor, Gc};
use pyro_api::{Op, Result};
use serde_json::Value;

use super::Handle;
use crate::doctor::{self, Findings};
use crate::garbage::{self, Collected};
use crate::{Host, Session, recovery};

impl Handle for Gc {
    fn handle(host: &Host, _request: GcRequest, session: &mut Session<'_>) -> Result<GcResponse> {
        recovery::sweep_runs(host.home())?;
        // First what needs nothing to be written: on a full disk nothing else can be done.
        let first: Collected = host.ask_keeper(Self::NAME, Value::Null, session)?;
        if first.count() > 0 {
            crate::janitor::make_room(host)?;
        }
        let steps = garbage::forget_left_behind(host.home())? as u64;
        let then: Collected = host.ask_keeper(Self::NAME, Value::Null, session)?;
        host.start_janitor();
        Ok(GcResponse {
            steps,
            layers: first.layers + then.layers,
            seeds: first.seeds + then.seeds,
            freed_bytes: first.bytes + then.bytes,
        })
    }
}

impl Handle for Doctor {
    fn handle(host: &Host, request: DoctorRequest, _session: &mut Session<'_>) -> Result<DoctorResponse> {
        let Findings { ok, best, checks } = doctor::examine(host.home().root(), &host.options.binary);
        let mut response = DoctorResponse { ok, best, checks, leaks: None, recovered: Vec::new() };
        if request.leaks {
            let (recovered, leaks) = recovery::find_leaks(host)?;
            response.ok = response.ok && leaks.is_empty();
            response.recovered = recovered;
            response.leaks = Some(leaks);
        }
        Ok(response)
    }
}
