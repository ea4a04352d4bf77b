//! What the two sides must know alike of a machine with a kernel of its own, besides the protocol: names of its devices and first files.

/// Name of the port that the link goes through.
pub const PORT: &str = "agent";

/// Serial number (at most 20 bytes, virtio 1.2, 5.2.6) of the disk with the environment; it is only read.
pub const ENVIRONMENT_DISK: &str = "environment";

/// Of the disk that is written to. Its file system has the directories `upper` and `work`.
pub const WRITABLE_DISK: &str = "writable";

/// Of the disk with the seed, when there is one; it is only read.
pub const SEED_DISK: &str = "seed";

/// Directory of the first files that has the kernel's modules, in the order of their names.
pub const MODULES: &str = "modules";

/// Directories of the first files: mount points, and [`MODULES`].
pub const DIRECTORIES: [&str; 8] = ["dev", "proc", "sys", MODULES, "environment", "writable", "seed", "root"];
