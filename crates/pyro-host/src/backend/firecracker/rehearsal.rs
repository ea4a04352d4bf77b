//! The conversation with a Firecracker of whatever version, in the sandbox that a launch makes, without an environment: for tests with the real program,
//! also where no guest of it could run.

use std::fs::File;

use pyro_api::{Error, Result};

use super::api::Call;
use super::settings::{self, Settings, Start};
use super::{OVERHEAD, Started, sockets};
use crate::backend::Launch;
use crate::backend::machine::{Disks, Files, wall};
use crate::backend::namespaces::Namespaces;

/// What a [`rehearsal`] works with, instead of an environment and a kernel.
#[derive(Debug)]
pub struct Props<'a> {
    /// A file system with `firecracker` in it.
    pub root: &'a std::path::Path,
    /// A kernel.
    pub kernel: &'a File,
    /// First files.
    pub archive: &'a File,
    /// Environment, writable disk, seed.
    pub disks: [File; 3],
    /// As large as the machine's memory.
    pub memory: &'a File,
    /// Empty.
    pub state: &'a File,
}

/// What a [`rehearsal`] does after everything was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It ends: the guest never begins. For this `/dev/kvm` need not even be there.
    End,
    /// The guest begins, is kept, and a copy goes on. Whether it does anything is not looked at.
    KeepAndCopy,
}

/// Starts Firecracker as a launch does, of whatever version, and tells it everything that a machine of the size of `launch` is told, with other
/// files: for tests. Gives what was said to it.
///
/// # Errors
/// The first call that it refuses.
pub fn rehearsal(namespaces: &Namespaces, launch: &Launch, props: Props<'_>, then: Then) -> Result<Vec<String>> {
    let wall = wall(launch, "firecracker", props.root, OVERHEAD)?;
    let settings =
        |start| Settings { start, vcpu_count: launch.limits.vcpu_count, mem_mib: launch.limits.mem_mib, volatile: launch.volatile };
    let [environment, writable, seed] = props.disks;
    let disks = Disks { environment, writable, seed };
    let mut said = Vec::new();
    let mut tell = |started: &mut Started, calls: &[Call]| {
        calls.iter().try_for_each(|call| {
            said.push(call.to_string());
            started.api.ask(call)
        })
    };
    let boot = Files { memory: props.memory, state: props.state, boot: Some((props.kernel, props.archive)) };
    let mut started = Started::new(namespaces, &wall, &disks, &boot, Start::Boot)?;
    let mut told = tell(&mut started, &settings(Start::Boot).configuration());
    if told.is_ok() && started.sockets.connect(sockets::VSOCK).is_err() {
        told = Err(Error::sandbox("there is no socket that leads to the guest"));
    }
    if then == Then::End {
        started.end_with(told)?;
        return Ok(said);
    }
    let told = told.and_then(|()| tell(&mut started, &[settings::begin()])).and_then(|()| tell(&mut started, &settings::keep()));
    started.end_with(told)?;
    let copy = Files { memory: props.memory, state: props.state, boot: None };
    let mut started = Started::new(namespaces, &wall, &disks, &copy, Start::Copy)?;
    let told = tell(&mut started, &settings(Start::Copy).calls());
    started.end_with(told)?;
    Ok(said)
}
