//! From what was read and tried to what a person is told: how it stands, and the setting at fault.

use pyro_api::ops::host::{Check, CheckStatus};

use super::{Attempt, Findings, HostFacts, Trials, good, poor};
use CheckStatus::{Limited, Missing};

/// Below this, system calls are missing that everything needs: overlays in user namespaces (5.11).
const KERNEL_MIN: (u32, u32) = (5, 11);
/// Below this, overlays cannot be made of mapped layers, which root needs.
const KERNEL_FOR_ROOT: (u32, u32) = (5, 19);
/// Ids that a sandbox's user namespace maps beside the user's own.
const IDS: u64 = 65_536;
/// Room for an environment with its build, a few times over.
const FREE_BYTES_WANTED: u64 = 4 << 30;
/// Room for the smallest environment with its build.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// A native guest takes below 2 ns for a round of the loop, an emulated one a thousand.
const KVM_ROUND_NS_MAX: u64 = 50;
/// File systems on which locks, overlays or attributes are not what they should be.
const NETWORK_FILE_SYSTEMS: &[&str] =
    &["nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs", "lustre", "virtiofs", "vboxsf"];

/// Judges a machine. Pure.
#[must_use]
pub fn judge(facts: &HostFacts, trials: &Trials) -> Findings {
    let is_root = facts.uid == 0;
    let mut checks = vec![
        kernel(facts, is_root),
        user_namespaces(facts, trials),
        mounts(trials, is_root),
        overlay(facts, trials),
        mapped_mounts(trials, is_root),
        id_ranges(facts, trials, is_root),
        seccomp(facts),
        landlock(facts),
        cgroups(facts, trials, is_root),
        terminals(trials),
        disk(trials),
        mmdebstrap(facts),
        kvm(facts, trials),
        microvm(facts, trials),
    ];
    // Root needs no user namespace to mount in, but makes one for the inside all the same.
    let needed = ["kernel", "user namespaces", "mount namespaces", "overlay", "mapped mounts", "seccomp"];
    let obstacle = checks.iter().find(|check| check.status == Missing && needed.contains(&check.name.as_str()));
    let best = match obstacle {
        Some(check) => match &check.fix {
            Some(fix) => format!("none: {} ({}); {fix}", check.detail, check.name),
            None => format!("none: {} ({})", check.detail, check.name),
        },
        None if is_root => format!("namespaces, with an id range of its own for each sandbox; {}", own_kernel(trials)),
        None if has_range(facts, trials) => format!("namespaces, with your range of ids inside; {}", own_kernel(trials)),
        None => format!("namespaces, with your single user id inside; {}", own_kernel(trials)),
    };
    let ok = obstacle.is_none();
    checks.shrink_to_fit();
    Findings { ok, best, checks }
}

fn kernel(facts: &HostFacts, is_root: bool) -> Check {
    const NAME: &str = "kernel";
    let upgrade = |(major, minor): (u32, u32)| Some(format!("use a kernel from {major}.{minor} on"));
    match facts.kernel_version() {
        None => poor(NAME, Limited, format!("its version cannot be read: {}", facts.kernel), None),
        Some(version) if version < KERNEL_MIN => poor(NAME, Missing, format!("{} is too old", facts.kernel), upgrade(KERNEL_MIN)),
        Some(version) if is_root && version < KERNEL_FOR_ROOT => {
            poor(NAME, Limited, format!("{} cannot map the ids of layers for root", facts.kernel), upgrade(KERNEL_FOR_ROOT))
        }
        Some(_) => good(NAME, facts.kernel.clone()),
    }
}

fn user_namespaces(facts: &HostFacts, trials: &Trials) -> Check {
    const NAME: &str = "user namespaces";
    match &trials.user_namespace {
        Attempt::Worked(_) => good(NAME, "can be made"),
        Attempt::Failed(why) => poor(NAME, Missing, format!("cannot be made: {why}"), Some(namespace_setting(facts))),
        Attempt::NotTried(why) => match setting_at_fault(facts) {
            Some(setting) => poor(NAME, Missing, format!("not tried: {why}"), Some(setting)),
            None => poor(NAME, Limited, format!("not tried: {why}"), None),
        },
    }
}

fn namespace_setting(facts: &HostFacts) -> String {
    setting_at_fault(facts).unwrap_or_else(|| {
        if facts.exists("/.dockerenv") || facts.exists("/run/.containerenv") {
            "the container's own filter or profile refuses it: start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined".to_owned()
        } else {
            "no setting is known to refuse it: a security module or a filter of system calls does; see the kernel's log".to_owned()
        }
    })
}

/// The setting of the kernel that refuses user namespaces.
fn setting_at_fault(facts: &HostFacts) -> Option<String> {
    let is_root = facts.uid == 0;
    if facts.number("/proc/sys/user/max_user_namespaces") == Some(0) {
        return Some("sudo sysctl user.max_user_namespaces=15000".to_owned());
    }
    if !is_root && facts.number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return Some("sudo sysctl kernel.unprivileged_userns_clone=1".to_owned());
    }
    if !is_root && facts.number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return Some(
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give pyro an AppArmor profile that allows userns"
                .to_owned(),
        );
    }
    (facts.exists("/proc/self") && !facts.exists("/proc/self/ns/user"))
        .then(|| "this kernel was built without CONFIG_USER_NS".to_owned())
}

fn mounts(trials: &Trials, is_root: bool) -> Check {
    const NAME: &str = "mount namespaces";
    match &trials.mount_namespace {
        Attempt::Worked(_) => good(NAME, "can be made"),
        Attempt::Failed(why) => {
            let fix = if is_root {
                "root lacks CAP_SYS_ADMIN here: run the container with --cap-add SYS_ADMIN, or run pyro as an ordinary user"
            } else {
                "make user namespaces work first"
            };
            poor(NAME, Missing, format!("cannot be made: {why}"), Some(fix.to_owned()))
        }
        Attempt::NotTried(why) => poor(NAME, Limited, format!("not tried: {why}"), None),
    }
}

fn overlay(facts: &HostFacts, trials: &Trials) -> Check {
    const NAME: &str = "overlay";
    match &trials.overlay {
        Attempt::Worked(_) => good(NAME, "mounts, and keeps what is written apart"),
        Attempt::Failed(why) => {
            let known = facts.text("/proc/filesystems");
            let fix = match known {
                Some(known) if !known.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") => {
                    "sudo modprobe overlay".to_owned()
                }
                Some(_) | None if trials.file_system.as_deref() == Some("overlay") => {
                    "an overlay cannot have its writable layer on an overlay: set PYRO_HOME to a directory on a volume".to_owned()
                }
                Some(_) | None => "set PYRO_HOME to a directory on ext4, xfs or btrfs".to_owned(),
            };
            poor(NAME, Missing, format!("cannot be mounted: {why}"), Some(fix))
        }
        Attempt::NotTried(why) => {
            poor(NAME, Limited, format!("not tried: {why}"), Some("set PYRO_HOME to a directory of your own".to_owned()))
        }
    }
}

/// Lets every sandbox have ids of its own over shared layers.
fn mapped_mounts(trials: &Trials, is_root: bool) -> Check {
    const NAME: &str = "mapped mounts";
    let kind = trials.file_system.as_deref().unwrap_or("this file system");
    match &trials.mapped_mounts {
        _ if !is_root => good(NAME, "not needed: only root's sandboxes share layers between id ranges"),
        Attempt::Worked(_) => good(NAME, format!("work on {kind}")),
        Attempt::Failed(why) => poor(
            NAME,
            Missing,
            format!("do not work on {kind}: {why}"),
            Some("set PYRO_HOME to a directory on ext4, xfs or btrfs, or use a newer kernel".to_owned()),
        ),
        Attempt::NotTried(why) => poor(NAME, Limited, format!("not tried: {why}"), None),
    }
}

fn has_range(facts: &HostFacts, trials: &Trials) -> bool {
    let given = ["/etc/subuid", "/etc/subgid"].iter().all(|file| facts.id_range(file).is_some_and(|count| count >= IDS));
    let tools =
        ["newuidmap", "newgidmap"].iter().all(|tool| facts.set_uid_program(tool).is_some_and(|place| facts.is_privileged(&place)));
    given && tools && !matches!(trials.id_range, Attempt::Failed(_))
}

fn id_ranges(facts: &HostFacts, trials: &Trials, is_root: bool) -> Check {
    const NAME: &str = "id ranges";
    if is_root {
        let mapped: u64 = facts.text("/proc/self/uid_map").map_or(u64::from(u32::MAX), |map| {
            map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum()
        });
        return if mapped > IDS {
            good(NAME, "root gives each sandbox its own")
        } else {
            poor(
                NAME,
                Limited,
                format!("only {mapped} ids are mapped here: sandboxes get a single one"),
                Some("map at least 65537 ids into this container".to_owned()),
            )
        };
    }
    let user = &facts.user;
    for tool in ["newuidmap", "newgidmap"] {
        match facts.set_uid_program(tool) {
            None => {
                return poor(
                    NAME,
                    Limited,
                    format!("{tool} is missing: everything inside has your own id"),
                    Some("sudo apt-get install uidmap".to_owned()),
                );
            }
            Some(place) if !facts.is_privileged(&place) => {
                return poor(
                    NAME,
                    Limited,
                    format!("{} is not setuid root", place.display()),
                    Some(format!("sudo chmod u+s {}", place.display())),
                );
            }
            Some(_) => {}
        }
    }
    for file in ["/etc/subuid", "/etc/subgid"] {
        let count = facts.id_range(file).unwrap_or(0);
        if count < IDS {
            let option = if file == "/etc/subuid" { "--add-subuids" } else { "--add-subgids" };
            return poor(
                NAME,
                Limited,
                format!("{file} gives {user} {count} ids; 65536 are needed"),
                Some(format!("sudo usermod {option} 100000-165535 {user} (any range that nobody else has)")),
            );
        }
    }
    match &trials.id_range {
        Attempt::Worked(_) => good(NAME, format!("{user} has a range, and newuidmap maps it")),
        Attempt::Failed(why) => poor(
            NAME,
            Limited,
            format!("newuidmap refuses: {why}"),
            Some("check the ranges of /etc/subuid and /etc/subgid".to_owned()),
        ),
        Attempt::NotTried(why) => poor(NAME, Limited, format!("not tried: {why}"), None),
    }
}

fn seccomp(facts: &HostFacts) -> Check {
    const NAME: &str = "seccomp";
    match (facts.text("/proc/self/status"), facts.text("/proc/sys/kernel/seccomp/actions_avail")) {
        (_, Some(actions)) if actions.split_whitespace().any(|action| action == "errno") => {
            good(NAME, "filters of system calls can be loaded")
        }
        (Some(status), _) if status.lines().any(|line| line.starts_with("Seccomp:")) => {
            good(NAME, "filters of system calls can be loaded")
        }
        (None, None) => poor(NAME, Limited, "cannot be told: /proc cannot be read", Some("mount /proc".to_owned())),
        (Some(_), _) | (None, Some(_)) => {
            poor(NAME, Missing, "this kernel has none", Some("use a kernel with CONFIG_SECCOMP_FILTER".to_owned()))
        }
    }
}

fn landlock(facts: &HostFacts) -> Check {
    const NAME: &str = "landlock";
    match pyro_sys::confine::landlock_version() {
        0 => {
            let modules = facts.text("/sys/kernel/security/lsm").unwrap_or_default();
            let fix =
                if modules.is_empty() { "" } else { ": it is not in the kernel's list of security modules (boot option lsm=)" };
            poor(NAME, Limited, format!("not available{fix}; sandboxes do without"), None)
        }
        version => good(NAME, format!("version {version}")),
    }
}

fn cgroups(facts: &HostFacts, trials: &Trials, is_root: bool) -> Check {
    const NAME: &str = "cgroups";
    let kind = if facts.exists("/sys/fs/cgroup/cgroup.controllers") {
        "v2"
    } else if facts.exists("/sys/fs/cgroup/unified/cgroup.controllers") {
        "v1 and v2"
    } else if facts.exists("/sys/fs/cgroup/memory") {
        "v1"
    } else {
        return poor(
            NAME,
            Limited,
            "none are mounted: limits of memory, processors and processes are not enforced",
            Some("mount cgroup2 at /sys/fs/cgroup".to_owned()),
        );
    };
    match &trials.cgroup {
        Attempt::Worked(controllers) => {
            let lacking: Vec<&str> = ["memory", "pids", "cpu"]
                .into_iter()
                .filter(|wanted| !controllers.split(", ").any(|given| given.split(' ').next() == Some(wanted)))
                .collect();
            if lacking.is_empty() {
                good(NAME, format!("{kind}: {controllers}"))
            } else {
                poor(
                    NAME,
                    Limited,
                    format!("{kind}: {controllers}; not enforced: {}", lacking.join(", ")),
                    Some(delegation(is_root, kind)),
                )
            }
        }
        Attempt::Failed(why) | Attempt::NotTried(why) => {
            poor(NAME, Limited, format!("{kind}, but limits are not enforced: {why}"), Some(delegation(is_root, kind)))
        }
    }
}

fn delegation(is_root: bool, kind: &str) -> String {
    match (is_root, kind) {
        (true, _) => "make /sys/fs/cgroup writable for this container, or run outside of it".to_owned(),
        (false, "v2") => "run it as systemd-run --user --scope -p Delegate=yes pyro …; for cpu, let the administrator set Delegate=cpu memory pids for user@.service".to_owned(),
        (false, _) => "ordinary users get cgroups only where the whole machine uses v2 (boot option systemd.unified_cgroup_hierarchy=1)".to_owned(),
    }
}

fn terminals(trials: &Trials) -> Check {
    match &trials.terminal {
        Attempt::Worked(_) => good("terminals", "can be made"),
        Attempt::Failed(why) | Attempt::NotTried(why) => poor(
            "terminals",
            Limited,
            format!("cannot be made: {why}"),
            Some("mount devpts at /dev/pts, with /dev/ptmx".to_owned()),
        ),
    }
}

fn disk(trials: &Trials) -> Check {
    const NAME: &str = "disk";
    let kind = trials.file_system.as_deref().unwrap_or("unknown file system");
    let elsewhere = || Some("set PYRO_HOME to a directory on a larger local disk".to_owned());
    if NETWORK_FILE_SYSTEMS.contains(&kind) {
        return poor(
            NAME,
            Missing,
            format!("PYRO_HOME is on {kind}, a network file system: neither overlays nor locks work there"),
            elsewhere(),
        );
    }
    match trials.free_bytes {
        None => poor(NAME, Limited, format!("free space cannot be read ({kind})"), elsewhere()),
        Some(free) if free < FREE_BYTES_MIN => {
            poor(NAME, Missing, format!("{} MiB free on {kind}: too little for an environment", free >> 20), elsewhere())
        }
        Some(free) if free < FREE_BYTES_WANTED => poor(NAME, Limited, format!("{} MiB free on {kind}", free >> 20), elsewhere()),
        Some(free) => good(NAME, format!("{} GiB free on {kind}", free >> 30)),
    }
}

fn mmdebstrap(facts: &HostFacts) -> Check {
    const NAME: &str = "mmdebstrap";
    let fix = || Some("sudo apt-get install mmdebstrap".to_owned());
    match facts.program(NAME) {
        None => poor(NAME, Limited, "missing: Debian environments cannot be built; host can", fix()),
        Some(_) if facts.program("apt-get").is_none() => {
            poor(NAME, Limited, "is there, but apt is missing", Some("sudo apt-get install apt".to_owned()))
        }
        Some(_) if !facts.exists("/usr/share/keyrings/debian-archive-keyring.gpg") && !facts.exists("/etc/apt/trusted.gpg.d") => {
            poor(
                NAME,
                Limited,
                "is there, but not the keys of Debian's archive",
                Some("sudo apt-get install debian-archive-keyring".to_owned()),
            )
        }
        Some(place) => good(NAME, place.display().to_string()),
    }
}

/// Whether a guest that takes so long for a round runs on the processor.
pub(super) fn is_full_speed(round_ns: u64) -> bool {
    round_ns <= KVM_ROUND_NS_MAX
}

/// Without it a machine of its own works too, and slowly.
fn kvm(facts: &HostFacts, trials: &Trials) -> Check {
    const NAME: &str = "kvm";
    if !facts.exists("/dev/kvm") {
        return poor(
            NAME,
            Limited,
            "there is no /dev/kvm; microvm does without, 5 to 25 times slower",
            Some("load kvm_intel or kvm_amd; in a guest, its host must offer nested virtualisation".to_owned()),
        );
    }
    match &trials.kvm {
        Attempt::Worked(answer) => match answer.parse::<u64>() {
            Ok(round_ns) if is_full_speed(round_ns) => good(NAME, format!("runs guest code at full speed ({round_ns} ns a round)")),
            Ok(round_ns) => poor(
                NAME,
                Limited,
                format!(
                    "exists but is unusable: guest code is emulated ({round_ns} ns for what takes 1); microvm does without, 5 to 25 times slower"
                ),
                Some("this machine is a guest itself: its host must offer nested virtualisation".to_owned()),
            ),
            Err(_) => poor(NAME, Limited, format!("the probe answered {answer:?}"), None),
        },
        Attempt::Failed(why) if why.contains("ermission denied") => poor(
            NAME,
            Limited,
            "exists, but you may not use it",
            Some(format!("sudo usermod -aG kvm {}, then log in again", facts.user)),
        ),
        Attempt::Failed(why) => poor(NAME, Limited, format!("exists but is unusable: {why}"), None),
        Attempt::NotTried(why) => poor(NAME, Limited, format!("not tried: {why}"), None),
    }
}

/// What a kernel of its own needs besides a processor.
fn microvm(facts: &HostFacts, trials: &Trials) -> Check {
    const NAME: &str = "microvm";
    let architecture = std::env::consts::ARCH;
    if architecture != "x86_64" {
        return poor(NAME, Limited, format!("there is none for {architecture} yet"), None);
    }
    if facts.program("mke2fs").is_none() && !["/usr/sbin/mke2fs", "/sbin/mke2fs"].into_iter().any(|place| facts.exists(place)) {
        let fix = Some("sudo apt-get install e2fsprogs".to_owned());
        return poor(NAME, Limited, "the disks of guests are made by mke2fs, which is not there", fix);
    }
    match &trials.kit {
        Attempt::Worked(what) => good(NAME, format!("{what}: --isolation microvm")),
        Attempt::NotTried(why) => poor(
            NAME,
            Limited,
            format!("QEMU and a kernel for guests: {why}; --isolation microvm builds them when they are first needed"),
            Some("pyro env build microvm".to_owned()),
        ),
        Attempt::Failed(why) => {
            let fix = Some("pyro env build microvm --rebuild".to_owned());
            poor(NAME, Limited, format!("QEMU and a kernel for guests: {why}"), fix)
        }
    }
}

/// In a few words, for the summary.
fn own_kernel(trials: &Trials) -> &'static str {
    let runs_on_processor = matches!(&trials.kvm, Attempt::Worked(answer) if answer.parse().is_ok_and(is_full_speed));
    match (&trials.kit, runs_on_processor) {
        (Attempt::Worked(_), true) => "with --isolation microvm a kernel of its own",
        (Attempt::Worked(_), false) => "with --isolation microvm a kernel of its own, emulated",
        _ => "no kernel of its own before pyro env build microvm",
    }
}
