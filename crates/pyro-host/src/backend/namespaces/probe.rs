//! What can be seen of a sandbox from outside, from files of the kernel that nothing inside can write.
//!
//! A guarantee is held when it was seen, not because it was asked for. What cannot be seen from outside (that a call is
//! refused, say) the agent tries out itself.

use std::fs;

use pyro_api::ops::workspace::{Guarantee, GuaranteeName};
use pyro_sys::confine::{self, mask};

use super::NamespaceSandbox;
use super::cgroup::Resource;
use super::first::CAPABILITIES;
use crate::privilege::Privilege;

type Seen = Result<(bool, String), String>;

pub(super) fn all(sandbox: &NamespaceSandbox) -> Vec<Guarantee> {
    use GuaranteeName as Name;
    let pid = sandbox.child.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let of = |name, seen: Seen| match seen {
        Ok((held, detail)) => Guarantee { name, held, detail },
        Err(why) => Guarantee { name, held: false, detail: format!("cannot be seen: {why}") },
    };
    vec![
        of(Name::OwnUserIds, own_user_ids(pid, &status, &sandbox.privilege)),
        of(Name::OwnFileSystem, own_file_system(pid)),
        of(Name::OwnProcesses, own_processes(pid, &status)),
        of(Name::NoNetwork, no_network(pid)),
        of(Name::NoNewPrivileges, no_new_privileges(&status)),
        of(Name::FewCapabilities, few_capabilities(&status)),
        of(Name::SyscallFilter, syscall_filter(&status)),
        of(Name::Landlock, Ok(landlock(sandbox.landlock))),
        of(Name::MemoryLimit, Ok(sandbox.groups.held(Resource::Memory, &membership))),
        of(Name::PidsLimit, Ok(sandbox.groups.held(Resource::Pids, &membership))),
        of(Name::CpuLimit, Ok(sandbox.groups.held(Resource::Cpu, &membership))),
        of(Name::DiskLimit, Ok((false, "the file system of the host sets no limit for a directory".to_owned()))),
        of(Name::OwnKernel, Ok((false, "shares the host's kernel".to_owned()))),
    ]
}

fn field<'a>(status: &'a str, name: &str) -> Result<&'a str, String> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim).ok_or_else(|| format!("/proc/<pid>/status has no {name}"))
}

/// Whether the namespace of a kind is another one than ours.
fn differs(pid: i32, kind: &str) -> Result<bool, String> {
    let of = |who: &str| {
        let path = format!("/proc/{who}/ns/{kind}");
        fs::read_link(&path).map_err(|error| format!("{path}: {error}"))
    };
    Ok(of(&pid.to_string())? != of("self")?)
}

fn own_user_ids(pid: i32, status: &str, privilege: &Privilege) -> Seen {
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).map_err(|error| error.to_string())?;
    let numbers: Vec<u64> = map.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    // One line, or two that follow each other.
    let (outside, count) = match numbers[..] {
        [0, outside, count] => (outside, count),
        [0, outside, 1, 1, next, rest] if next == outside + 1 => (outside, rest + 1),
        _ => return Ok((false, format!("the id map is {}", map.trim()))),
    };
    let outside_uid = field(status, "Uid")?.split_ascii_whitespace().next().unwrap_or_default().to_owned();
    let is_unprivileged = match privilege {
        // Our own id 0 is the host's root, and must not be inside.
        Privilege::Root { slots: Some(_) } => outside > 0,
        // Our id 0 is root of a container, or an ordinary user: that user is what root inside can be at most.
        Privilege::Root { slots: None } | Privilege::Range { .. } | Privilege::Single { .. } => outside == 0,
    };
    let held = differs(pid, "user")? && is_unprivileged && outside_uid == outside.to_string();
    let of_whom = match privilege {
        Privilege::Root { slots: Some(_) } => {
            format!("are {outside} to {} on the host", outside + count - 1)
        }
        Privilege::Root { slots: None } => "are those of the container pyro runs in".to_owned(),
        Privilege::Range { uid, .. } => format!("are user {uid} and its sub-ids on the host"),
        Privilege::Single { uid, .. } => {
            format!("are user {uid} on the host, the only one; changing owners has no effect")
        }
    };
    Ok((held, format!("{count} ids, which {of_whom}")))
}

fn own_file_system(pid: i32) -> Seen {
    let path = format!("/proc/{pid}/mountinfo");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let mut count = 0;
    let mut root_is_overlay = false;
    for line in text.lines() {
        // proc_pid_mountinfo(5): id, parent, device, root, mount point, options, optional fields, "-", type, …
        let (before, after) = line.split_once(" - ").ok_or("mountinfo has a line of another form")?;
        let place = before.split_ascii_whitespace().nth(4).unwrap_or_default();
        let kind = after.split_ascii_whitespace().next().unwrap_or_default();
        count += 1;
        if place == "/" {
            root_is_overlay = kind == "overlay";
        }
        let is_device_node = place.strip_prefix("/dev/").is_some_and(|name| !name.contains('/')) || place.starts_with("/proc/");
        let expected = match kind {
            "overlay" | "proc" | "sysfs" | "tmpfs" | "devpts" => true,
            // Single nodes of the host, where none could be made.
            "devtmpfs" => is_device_node,
            _ => false,
        };
        if !expected {
            return Ok((false, format!("a {kind} file system is mounted at {place}")));
        }
    }
    Ok((differs(pid, "mnt")? && root_is_overlay, format!("{count} mounts, none of the host; / is an overlay")))
}

fn own_processes(pid: i32, status: &str) -> Seen {
    let inside = field(status, "NSpid")?.split_ascii_whitespace().last().unwrap_or_default();
    let held = differs(pid, "pid")? && differs(pid, "ipc")? && differs(pid, "uts")? && differs(pid, "cgroup")? && inside == "1";
    Ok((held, "process, IPC, host name and control group namespaces of its own".to_owned()))
}

fn no_network(pid: i32) -> Seen {
    let path = format!("/proc/{pid}/net/dev");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let devices: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    let held = differs(pid, "net")? && devices == ["lo"];
    Ok((held, format!("a network namespace of its own with {}", devices.join(", "))))
}

fn no_new_privileges(status: &str) -> Seen {
    Ok((field(status, "NoNewPrivs")? == "1", "set-user-id and file capabilities have no effect".to_owned()))
}

fn few_capabilities(status: &str) -> Seen {
    let allowed = mask(&CAPABILITIES);
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let set = u64::from_str_radix(field(status, name)?, 16).map_err(|_| format!("{name} is no number"))?;
        if set & !allowed != 0 {
            return Ok((false, format!("{name} is {set:x}, which is more than {allowed:x}")));
        }
    }
    Ok((true, format!("at most {} of them, over its own user ids only", CAPABILITIES.len())))
}

fn syscall_filter(status: &str) -> Seen {
    // SECCOMP_MODE_FILTER
    let filtered = field(status, "Seccomp")? == "2";
    Ok((filtered, "an allow-list of system calls".to_owned()))
}

fn landlock(version: u32) -> (bool, String) {
    if version >= confine::LANDLOCK_SCOPE_VERSION {
        // The launch fails when the domain cannot be entered.
        return (true, format!("ABI {version}: no signals and no abstract sockets to anything outside"));
    }
    (false, format!("the kernel has ABI {version}; {} is needed (Linux 6.12)", confine::LANDLOCK_SCOPE_VERSION))
}
