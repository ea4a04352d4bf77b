//! `/dev` and `/run`: what is only memory.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use pyro_sys::files;
use pyro_sys::mount::{self, Refuses, Setting};

use super::as_inside_root;
use crate::backend::namespaces::Devices;
use crate::backend::namespaces::plan::Plan;

/// Name, major and minor number.
type Device = (&'static str, u32, u32);

/// Device nodes of every sandbox: name, major and minor number. Only what cannot hurt: no disks, no consoles.
const DEVICES: [Device; 6] = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Of a sandbox whose program makes machines ([`Devices::FewAndKvm`]).
const KVM: [Device; 1] = [("kvm", 10, 232)];

/// Links of `/dev`, as every Linux has them.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Group that owns terminals (`tty` of Debian; devpts(5)).
const TTY_GROUP: u32 = 5;

/// Size of `/dev` with `/dev/shm`, as a part of the memory limit: the default of tmpfs, applied to the sandbox's memory.
const DEV_PART_OF_MEMORY: u64 = 2;
/// Size of `/run`: as systemd has it.
const RUN_PART_OF_MEMORY: u64 = 5;
/// Files in each of them: kernel memory that only a control group would count.
const TMPFS_FILES_MAX: u64 = 65_536;

/// The device nodes of a sandbox.
pub(super) fn devices(plan: &Plan) -> impl Iterator<Item = Device> {
    let further: &[Device] = match plan.devices {
        Devices::Few => &[],
        Devices::FewAndKvm => &KVM,
    };
    DEVICES.into_iter().chain(further.iter().copied())
}

fn tmpfs(plan: &Plan, part_of_memory: u64, refuses: Refuses) -> io::Result<OwnedFd> {
    let size = format!("{}m", (plan.mem_mib / part_of_memory).max(1));
    let (files, owner) = (TMPFS_FILES_MAX.to_string(), plan.first_id.to_string());
    let settings = [
        Setting::Text("source", "pyro"),
        Setting::Text("mode", "0755"),
        Setting::Text("size", &size),
        Setting::Text("nr_inodes", &files),
        Setting::Text("uid", &owner),
        Setting::Text("gid", &owner),
    ];
    mount::new_filesystem("tmpfs", &settings, refuses)
}

/// Makes `/dev`, and copies of the host's nodes when none could be made: in the order of [`devices`].
pub(super) fn make_dev(plan: &Plan) -> io::Result<(OwnedFd, Vec<OwnedFd>)> {
    let dev = tmpfs(plan, DEV_PART_OF_MEMORY, Refuses { writes: false, set_ids: true, devices: false, programs: true })?;
    let nodes = as_inside_root(plan, || fill_dev(plan, &dev))?;
    Ok((dev, nodes))
}

fn fill_dev(plan: &Plan, dev: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut nodes = Vec::new();
    for (name, major, minor) in devices(plan) {
        let made =
            if plan.nested { Err(io::ErrorKind::PermissionDenied.into()) } else { files::make_device(dev, name, major, minor) };
        match made {
            Ok(()) => {}
            // Root of a container that may make none, or no root: the host's own node is attached over a file.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                files::make_empty_file(dev, name, 0o666)?;
                let host = Path::new("/dev").join(name);
                files::check_device(&host, major, minor)?;
                nodes.push(mount::copy_of_host_path(&host)?);
            }
            Err(error) => return Err(error),
        }
    }
    for (name, target) in DEVICE_LINKS {
        files::make_link(dev, name, target)?;
    }
    files::make_directory(dev, "pts", 0o755)?;
    files::make_directory(dev, "shm", 0o1777)?;
    Ok(nodes)
}

/// Makes an instance of terminals.
pub(super) fn make_terminals(plan: &Plan) -> io::Result<OwnedFd> {
    let group = (plan.first_id + TTY_GROUP).to_string();
    let mut settings = vec![Setting::Text("source", "devpts"), Setting::Text("ptmxmode", "0666"), Setting::Text("mode", "0620")];
    if plan.id_count > TTY_GROUP {
        settings.push(Setting::Text("gid", &group));
    }
    mount::new_filesystem("devpts", &settings, Refuses { writes: false, set_ids: true, devices: false, programs: true })
}

/// Makes `/run`.
pub(super) fn make_run(plan: &Plan) -> io::Result<OwnedFd> {
    let run = tmpfs(plan, RUN_PART_OF_MEMORY, Refuses { writes: false, set_ids: true, devices: true, programs: false })?;
    as_inside_root(plan, || files::make_directory(&run, "lock", 0o1777))?;
    Ok(run)
}

/// A directory with nothing in it, to cover others with.
pub(super) fn make_nothing() -> io::Result<OwnedFd> {
    let settings = [Setting::Text("source", "pyro"), Setting::Text("mode", "0555"), Setting::Text("size", "4k")];
    mount::new_filesystem("tmpfs", &settings, Refuses::ALL)
}
