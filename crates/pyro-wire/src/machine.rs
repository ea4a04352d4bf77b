//! What the two sides must know alike of a machine with a kernel of its own, besides the protocol: names of its devices and first files.

/// Name of the virtio port that the link goes through, where there is one.
pub const PORT: &str = "agent";

/// Where there is none: the vsock port on which the agent waits for the link. Any number above 1023 would do; nothing else listens when it does.
pub const VSOCK_PORT: u32 = 1024;

/// Serial number (at most 20 bytes, virtio 1.2, 5.2.6) of the disk with the environment; it is only read.
pub const ENVIRONMENT_DISK: &str = "environment";

/// Of the disk that is written to. Its file system has the directories `upper` and `work`.
pub const WRITABLE_DISK: &str = "writable";

/// Of the disk with the seed, when there is one; it is only read.
pub const SEED_DISK: &str = "seed";

/// The disks in the order in which a machine has them. A machine whose disks bear other serial numbers, or none, is known by this order:
/// the guest's kernel names them `vda`, `vdb`, `vdc`.
pub const DISKS: [&str; 3] = [ENVIRONMENT_DISK, WRITABLE_DISK, SEED_DISK];

/// Directory of the first files that has the kernel's modules, in the order of their names.
pub const MODULES: &str = "modules";

/// Directories of the first files: mount points, and [`MODULES`].
pub const DIRECTORIES: [&str; 9] = ["dev", "proc", "sys", MODULES, "environment", "identity", "writable", "seed", "root"];
