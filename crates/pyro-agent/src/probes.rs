//! What holds inside, found out by trying. Each probe is a few system calls; all together stay under 0.3 ms, because every start pays for
//! them. What is tried is harmless where it is not refused.
//!
//! A probe that cannot tell says that the guarantee does not hold.

use crate::Place;
use pyro_sys::inside::{Forbidden, sees_other_processes};
use pyro_wire::limits::{CAPABILITIES_INSIDE, PROBE_DETAIL_BYTES_MAX};
use pyro_wire::message::{Probe, ProbeName};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountPropagationFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{CapabilitySet, SecureComputingMode};

/// Says whether the guarantee held, and what was seen.
type Attempt = fn() -> (bool, String);

/// Tries everything that a place promises. In a machine the workload may do all that its own kernel lets root do; that it is the machine's
/// only is seen from outside.
pub fn probe(place: Place) -> Vec<Probe> {
    let in_machine: &[(ProbeName, Attempt)] = &[(ProbeName::OwnProcesses, own_processes), (ProbeName::NoNetwork, no_network)];
    let in_sandbox: &[(ProbeName, Attempt)] = &[
        (ProbeName::OwnProcesses, own_processes),
        (ProbeName::OwnFileSystem, own_file_system),
        (ProbeName::OwnUserIds, own_user_ids),
        (ProbeName::NoNetwork, no_network),
        (ProbeName::NoNewPrivileges, no_new_privileges),
        (ProbeName::FewCapabilities, few_capabilities),
        (ProbeName::SyscallFilter, syscall_filter),
    ];
    let probes = match place {
        Place::Machine => in_machine,
        Place::Sandbox | Place::Nowhere => in_sandbox,
    };
    probes
        .iter()
        .map(|&(name, try_it)| {
            let (held, detail) = try_it();
            let mut detail: String =
                detail.chars().map(|character| if matches!(character, ' '..='~') { character } else { '?' }).collect();
            detail.truncate(PROBE_DETAIL_BYTES_MAX);
            Probe { name, held, detail }
        })
        .collect()
}

/// `kill(-1, 0)` asks the kernel, not /proc, whether there is anybody else.
fn own_processes() -> (bool, String) {
    let pid = std::process::id();
    let others = sees_other_processes();
    (pid == 1 && !others, format!("the agent is process {pid} and sees {}", if others { "others" } else { "no other" }))
}

/// Two ways to mount, both refused. If they were not, the first would only make a descriptor, and the second asks for two kinds of
/// propagation at once, which is invalid.
fn own_file_system() -> (bool, String) {
    let root = rustix::fs::statx(CWD, "/", AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    let is_mount = root.is_ok_and(|root| root.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    let opened = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map(drop);
    let changed = rustix::mount::mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::PRIVATE);
    let refused = is_refusal(opened) && is_refusal(changed);
    let detail = format!("/ is {}a mount; fsopen {}, mount {}", if is_mount { "" } else { "not " }, said(opened), said(changed));
    (is_mount && refused, detail)
}

fn own_user_ids() -> (bool, String) {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return (false, "uid_map cannot be read".to_owned()) };
    // user_namespaces(7): the initial namespace shows all ids, from 0, as themselves.
    let lines: Vec<Vec<&str>> = map.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
    let identity = lines.iter().any(|line| line.as_slice() == ["0", "0", "4294967295"]);
    let shown = lines.iter().map(|line| line.join(" ")).collect::<Vec<_>>().join(", ");
    (!identity && !lines.is_empty(), format!("uid_map: {shown}"))
}

fn no_network() -> (bool, String) {
    let Ok(table) = std::fs::read_to_string("/proc/self/net/dev") else { return (false, "net/dev cannot be read".to_owned()) };
    // Two lines of heading, then "  name: numbers".
    let names: Vec<&str> = table.lines().skip(2).filter_map(|line| line.split_once(':').map(|(name, _)| name.trim())).collect();
    (names.iter().all(|name| *name == "lo"), format!("interfaces: {}", names.join(" ")))
}

fn no_new_privileges() -> (bool, String) {
    let set = rustix::thread::no_new_privs().unwrap_or(false);
    (set, format!("no_new_privs is {}", u8::from(set)))
}

fn few_capabilities() -> (bool, String) {
    let Ok(held) = rustix::thread::capabilities(None) else { return (false, "capabilities cannot be read".to_owned()) };
    let bounding = (0..64).map(|number| CapabilitySet::from_bits_retain(1 << number));
    // The first number that the kernel does not know ends the list.
    let bounding = bounding.map_while(|one| rustix::thread::capability_is_in_bounding_set(one).ok().map(|there| (one, there)));
    let bounding = bounding.filter(|(_, there)| *there).fold(0, |all, (one, _)| all | one.bits());
    let all = held.permitted.bits() | held.effective.bits() | held.inheritable.bits() | bounding;
    (all & !CAPABILITIES_INSIDE == 0, format!("permitted {:#x}, bounding {bounding:#x}", held.permitted.bits()))
}

fn syscall_filter() -> (bool, String) {
    let filtered = matches!(rustix::thread::secure_computing_mode(), Ok(SecureComputingMode::Filter));
    let mut open: Vec<&str> = Forbidden::ALL
        .into_iter()
        // Without a filter each of these fails on its arguments, with another number.
        .filter(|call| !is_refusal(Err(Errno::from_raw_os_error(call.try_it().max(1)))))
        .map(Forbidden::name)
        .collect();
    if rustix::net::socket_with(AF_ALG, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).is_ok() {
        open.push("AF_ALG");
    }
    let detail = match (filtered, open.as_slice()) {
        (false, _) => "no filter is loaded".to_owned(),
        (true, []) => "unshare, keyctl, io_uring, bpf and AF_ALG are refused".to_owned(),
        (true, open) => format!("not refused: {}", open.join(" ")),
    };
    (filtered && open.is_empty(), detail)
}

/// The kernel's cryptography by socket (`AF_ALG` of linux/socket.h): a large attack surface that no command needs.
const AF_ALG: AddressFamily = AddressFamily::from_raw(38);

/// What filters and missing capabilities answer.
fn is_refusal(result: Result<(), Errno>) -> bool {
    matches!(result, Err(Errno::PERM | Errno::NOSYS | Errno::ACCESS))
}

fn said(result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => "works".to_owned(),
        Err(Errno::PERM) => "EPERM".to_owned(),
        Err(Errno::NOSYS) => "ENOSYS".to_owned(),
        Err(Errno::ACCESS) => "EACCES".to_owned(),
        Err(error) => format!("errno {}", error.raw_os_error()),
    }
}
