//! What runs a guest's code: the processor itself (KVM) where that works, translation by QEMU (TCG) where not.
//!
//! That `/dev/kvm` is there and makes machines says little: under some hypervisors it emulates every instruction. So guest code is run and timed,
//! in a process of its own, once for each boot of the host.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::backend::namespaces::in_first_user_namespace;
use crate::doctor;
use crate::home::Home;
use crate::privilege::Privilege;

/// What runs a guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// What was found, and when the host was booted then.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    boot_id: String,
    accelerator: Accelerator,
}

/// Permission to read and to write for whoever is neither owner nor of the group.
const FOR_OTHERS: u32 = 0o006;

/// The device.
const DEVICE: &str = "/dev/kvm";

impl Accelerator {
    /// What this host has. `binary` is our own program, which tries it out.
    pub fn find(home: &Home, binary: &Path) -> Self {
        if open_device().is_err() {
            return Self::Tcg;
        }
        let file = home.root().join("machines").join("accelerator.json");
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let known = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Found>(&text).ok());
        if let Some(known) = known.filter(|known| known.boot_id == boot_id) {
            return known.accelerator;
        }
        let accelerator = if doctor::kvm_runs_at_full_speed(binary) { Self::Kvm } else { Self::Tcg };
        // What cannot be kept is found out again.
        if let Ok(text) = serde_json::to_vec(&Found { boot_id, accelerator }) {
            let _ = fs::write(&file, text);
        }
        accelerator
    }

    /// Whether a sandbox of this privilege could open a `/dev/kvm` of its own ([`Devices::FewAndKvm`]), for a monitor that takes no descriptor of it.
    ///
    /// [`Devices::FewAndKvm`]: crate::backend::namespaces::Devices::FewAndKvm
    pub fn opens_inside(privilege: &Privilege) -> bool {
        match privilege {
            // A node of its own that everybody inside may open.
            Privilege::Root { .. } if in_first_user_namespace(privilege) => true,
            // The host's node by an id that has no group of the host any more.
            Privilege::Root { .. } | Privilege::Range { .. } => {
                fs::metadata(DEVICE).is_ok_and(|device| device.permissions().mode() & FOR_OTHERS == FOR_OTHERS)
            }
            // The user itself, with its groups: they cannot be given up.
            Privilege::Single { .. } => open_device().is_ok(),
        }
    }

    /// The device, for QEMU; none is needed for translating.
    ///
    /// # Errors
    /// As open(2).
    pub fn device(self) -> std::io::Result<Option<File>> {
        match self {
            Self::Kvm => open_device().map(Some),
            Self::Tcg => Ok(None),
        }
    }

    /// How many times longer than on the host things may take: where code is translated, ten times is usual, and of many machines that start at
    /// once each waits for the others.
    pub fn slowness(self) -> u32 {
        match self {
            Self::Kvm => 2,
            Self::Tcg => 12,
        }
    }

    /// For people: what it means for speed.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Kvm => "on the processor (KVM)",
            Self::Tcg => "by translating its code (TCG): computing takes 5 to 25 times as long as on the host",
        }
    }
}

fn open_device() -> std::io::Result<File> {
    File::options().read(true).write(true).open(DEVICE)
}
