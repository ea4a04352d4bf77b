//! Sandboxes with a kernel of their own: QEMU's `microvm` machine. What they have in common with other such is in [`super::machine`].
//!
//! QEMU gets its link, its control socket and its files as descriptors, and a file system that holds itself and its libraries.
//!
//! Must never: give QEMU a path of the host, or a descriptor that it could change something shared by.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use pyro_api::{Error, Result};

use super::machine::{self, Disks, Files, Machine, Monitor, Overhead, Places, Running, Template, Words, pipe_of_words, wall};
use super::namespaces::{Devices, Program};
use super::{Backend, Launch, MakeLayers, Sandbox};
use crate::environment::Kit;

mod arguments;
mod control;

use arguments::{Arguments, Start};
use control::Control;

/// What QEMU itself may need: 128 MiB of translated code, its own heap, and the pages of its program; threads that read and write disks (64 at
/// most, util/thread-pool.c).
const OVERHEAD: Overhead = Overhead { mem_mib: 320, threads: 128 };

/// The backend.
#[derive(Debug)]
pub struct Qemu<'a> {
    /// What it works with.
    pub places: Places<'a>,
}

impl Backend for Qemu<'_> {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn launch(&self, launch: &Launch, make_layers: &mut MakeLayers<'_>) -> Result<Box<dyn Sandbox>> {
        machine::launch(self, self.places, launch, make_layers)
    }
}

impl Monitor for Qemu<'_> {
    const NAME: &'static str = "QEMU";

    fn with_version(&self, kit: &Kit) -> String {
        format!("QEMU {}", kit.qemu_version)
    }

    fn recipe(&self, machine: &Machine) -> Vec<String> {
        // How the disk is cached is the copy's own affair.
        let list = |start| Arguments { volatile: false, ..Arguments::new(machine, start) }.list();
        [Start::Boot, Start::Copy].into_iter().flat_map(list).collect()
    }

    fn make_template(&self, machine: &Machine, launch: &Launch, disks: &Disks, files: &Files<'_>) -> Result<()> {
        let arguments = Arguments { counter_khz: pyro_sys::clock::counter_khz(), ..Arguments::new(machine, Start::Boot) };
        let (running, mut control) = self.start(launch, machine, disks, &arguments, files)?;
        let saved = control.greet().and_then(|()| running.wait()).and_then(|()| control.save());
        running.end_with(saved)
    }

    fn start_copy(&self, machine: &Machine, launch: &Launch, disks: &Disks, template: &Template) -> Result<Running> {
        let files = Files { memory: &template.memory, state: &template.state, boot: None };
        let (mut running, control) = self.start(launch, machine, disks, &Arguments::new(machine, Start::Copy), &files)?;
        control.resume()?;
        running.control = Some(Box::new(control));
        Ok(running)
    }
}

impl Qemu<'_> {
    fn start(
        &self,
        launch: &Launch,
        machine: &Machine,
        disks: &Disks,
        arguments: &Arguments,
        files: &Files<'_>,
    ) -> Result<(Running, Control)> {
        let unable = |error: std::io::Error| Error::unavailable("QEMU cannot be given its descriptors").because(error);
        let null = File::options().read(true).write(true).open("/dev/null").map_err(unable)?;
        let (control, qemu_control) = UnixStream::pair().map_err(unable)?;
        let (errors, qemu_errors) = pipe_of_words().map_err(unable)?;
        let (console, qemu_console) = UnixStream::pair().map_err(unable)?;
        console.set_nonblocking(true).map_err(unable)?;
        let kvm = machine.accelerator.device().map_err(unable)?;
        let (kernel, archive) = files.boot.unwrap_or((&null, &null));
        let program = Program {
            arguments: arguments.list(),
            output: null.as_fd(),
            errors: qemu_errors.as_fd(),
            // In the order of their numbers.
            descriptors: vec![
                qemu_control.as_fd(),
                files.memory.as_fd(),
                disks.environment.as_fd(),
                disks.writable.as_fd(),
                disks.seed.as_fd(),
                files.state.as_fd(),
                kernel.as_fd(),
                archive.as_fd(),
                kvm.as_ref().unwrap_or(&null).as_fd(),
                qemu_console.as_fd(),
            ],
            devices: Devices::Few,
        };
        let mut vmm = self.places.namespaces.launch_program(&wall(launch, "qemu", &machine.kit.root, OVERHEAD)?, &program)?;
        let link = Some(vmm.link());
        let words = Words { errors, console: Some(console.into()) };
        Ok((Running { vmm, link, words, control: None }, Control::new(control)))
    }
}
