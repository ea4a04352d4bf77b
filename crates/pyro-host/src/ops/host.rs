//! The machine itself.

use pyro_api::Result;
use pyro_api::ops::Doctor;
use pyro_api::ops::host::{DoctorRequest, DoctorResponse};

use super::Handle;
use crate::doctor::{self, Findings};
use crate::{Host, Session, recovery};

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
