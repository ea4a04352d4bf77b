//! What Firecracker is told: its command line, and the whole list of what a machine has. Nothing is in it by default.

use serde_json::{Value, json};

use super::api::Call;
use super::sockets;
use crate::backend::machine::Machine;
use crate::backend::namespaces::LINK;
use pyro_wire::machine::{DISKS, ENVIRONMENT_DISK, WRITABLE_DISK};

/// Descriptors of Firecracker, in the order in which they are given. A kept machine remembers them.
const SOCKETS: i32 = LINK + 1;
const MEMORY: i32 = LINK + 2;
const STATE: i32 = LINK + 3;
/// The first of [`DISKS`]; the others follow.
const FIRST_DISK: i32 = LINK + 4;
const KERNEL: i32 = LINK + 7;
const ARCHIVE: i32 = LINK + 8;

/// The command line. Its own system call filter is on unless it is told otherwise, and so is the transport of devices without PCI.
pub const COMMAND: [&str; 7] = ["/firecracker", "--id", "machine", "--level", "Error", "--api-sock", "/proc/self/fd/11/api"];

/// What the guest's kernel is told, and its first process after the two dashes:
///
/// - `console=ttyS0 quiet`: what it has to say is read by the outside when a boot fails.
/// - `reboot=k panic=-1`: it ends by the keyboard controller, which Firecracker takes for the end.
/// - `pci=off`: there is none, and looking for it takes time. `i8042.…`: nor are there mice and real keyboards behind that controller.
/// - `mitigations=off`: against processes of the same guest, which are root there anyway.
/// - `tsc=reliable`: nothing to find out about clocks.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 quiet reboot=k panic=-1 pci=off i8042.noaux i8042.nomux i8042.nopnp i8042.dumbkbd \
                                   mitigations=off tsc=reliable -- @machine";

/// The guest's number on its vsock. Each machine has a vsock of its own; the least that is free (vsock(7)).
const GUEST_CID: u32 = 3;

/// How a machine begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It boots, and can be kept afterwards.
    Boot,
    /// It goes on where the kept one stands.
    Copy,
}

/// What the list depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub start: Start,
    pub vcpu_count: u32,
    pub mem_mib: u64,
    /// What is on the writable disk need not survive a crash of the host.
    pub volatile: bool,
}

impl Settings {
    pub fn new(machine: &Machine, start: Start) -> Self {
        Self { start, vcpu_count: machine.limits.vcpu_count, mem_mib: machine.limits.mem_mib, volatile: machine.volatile }
    }

    /// All calls. After the last one the guest runs.
    pub fn calls(&self) -> Vec<Call> {
        match self.start {
            Start::Boot => {
                let mut calls = self.configuration();
                calls.push(begin());
                calls
            }
            Start::Copy => {
                let memory = json!({ "backend_type": "File", "backend_path": descriptor(MEMORY) });
                let load = json!({ "snapshot_path": descriptor(STATE), "mem_backend": memory, "resume_vm": true });
                vec![Call::put("/snapshot/load", load)]
            }
        }
    }

    /// What a machine that boots has: everything but the word to begin.
    pub fn configuration(&self) -> Vec<Call> {
        let size = json!({ "vcpu_count": self.vcpu_count, "mem_size_mib": self.mem_mib, "smt": false, "track_dirty_pages": false });
        let boot = json!({
            "kernel_image_path": descriptor(KERNEL),
            "initrd_path": descriptor(ARCHIVE),
            "boot_args": KERNEL_COMMAND_LINE,
        });
        let mut calls = vec![Call::put("/machine-config", size), Call::put("/boot-source", boot)];
        // In their order: it is how a guest tells them apart.
        calls.extend(DISKS.iter().zip(FIRST_DISK..).map(|(name, number)| self.disk(name, number)));
        calls.push(Call::put(
            "/vsock",
            json!({ "guest_cid": GUEST_CID, "uds_path": format!("{}/{}", descriptor(SOCKETS), sockets::VSOCK) }),
        ));
        calls.push(Call::put("/entropy", json!({})));
        calls
    }

    fn disk(&self, name: &str, number: i32) -> Call {
        debug_assert_eq!(DISKS[0], ENVIRONMENT_DISK, "the descriptors are given in this order");
        let is_writable = name == WRITABLE_DISK;
        let disk = json!({
            "drive_id": name,
            "path_on_host": descriptor(number),
            "is_root_device": false,
            "is_read_only": !is_writable,
            "cache_type": if is_writable && !self.volatile { "Writeback" } else { "Unsafe" },
            // The other engine needs io_uring, which nothing in a sandbox has.
            "io_engine": "Sync",
        });
        Call::put(&format!("/drives/{name}"), disk)
    }
}

/// The guest's processors begin.
pub fn begin() -> Call {
    Call::put("/actions", json!({ "action_type": "InstanceStart" }))
}

/// Stops a machine and writes everything of it to files.
pub fn keep() -> [Call; 2] {
    let kept: Value = json!({ "snapshot_type": "Full", "snapshot_path": descriptor(STATE), "mem_file_path": descriptor(MEMORY) });
    [Call::patch("/vm", json!({ "state": "Paused" })), Call::put("/snapshot/create", kept)]
}

/// A descriptor by name.
fn descriptor(number: i32) -> String {
    format!("/proc/self/fd/{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_has_is_this_and_nothing_else() {
        let mut lines = format!("{}\n", COMMAND.join(" "));
        for (start, volatile) in [(Start::Boot, false), (Start::Boot, true), (Start::Copy, false)] {
            lines += &format!("\n# {start:?}{}\n", if volatile { ", volatile" } else { "" });
            let settings = Settings { start, vcpu_count: 2, mem_mib: 1024, volatile };
            settings.calls().iter().for_each(|call| lines += &format!("{call}\n"));
        }
        lines += "\n# Keep\n";
        keep().iter().for_each(|call| lines += &format!("{call}\n"));
        crate::golden::check("firecracker-settings.txt", &lines);
    }

    #[test]
    fn its_socket_is_in_the_directory_that_it_has_from_us() {
        assert_eq!(COMMAND[6], format!("{}/{}", descriptor(SOCKETS), sockets::API));
        assert_eq!(FIRST_DISK + i32::try_from(DISKS.len()).unwrap(), KERNEL);
    }
}
