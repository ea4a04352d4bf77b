//! Trying out what must not work inside a sandbox: a table of attempts, each with the error it must end in.
//!
//! For the agent's look at its own walls before any workload runs, and for tests. Every attempt is made in a child process, so that one
//! that succeeds changes nothing for the caller. None of them harms a machine on which it succeeds: no module is loaded, no
//! clock set, because the arguments are such that the kernel would refuse them for another reason.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::check;
use crate::spawn::{Exit, Namespaces, fork_into};

/// Something that must not work.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// What is tried.
    pub name: &'static str,
    /// Errors that are the right answer.
    pub wanted: &'static [i32],
    run: fn() -> io::Result<()>,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended in one of the errors it must end in.
    Refused,
    /// It worked.
    Succeeded,
    /// It ended in another error: perhaps the wall that should have stopped it is missing.
    OtherError(i32),
    /// The process that tried was killed.
    Killed(i32),
}

impl Attempt {
    /// Tries it, in a child process. This process must have one thread.
    ///
    /// # Errors
    /// When no child can be made.
    pub fn try_out(&self) -> io::Result<Outcome> {
        let child = fork_into(Namespaces::NONE, None, || match (self.run)() {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().and_then(|number| u8::try_from(number).ok()).unwrap_or(u8::MAX),
        })?;
        Ok(match child.wait()? {
            Exit::Code(0) => Outcome::Succeeded,
            Exit::Code(number) if self.wanted.contains(&number) => Outcome::Refused,
            Exit::Code(number) => Outcome::OtherError(number),
            Exit::Signal(signal) => Outcome::Killed(signal),
            Exit::Unknown => Outcome::OtherError(0),
        })
    }
}

fn call(number: libc::c_long, arguments: [usize; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: every pointer given by the table below is null, small (so that the kernel answers EFAULT), or a C string that lives as long
    // as the program; none is written through. The calls that would replace or stop this process are made in a child of our own.
    check(unsafe { libc::syscall(number, a, b, c, d, e, f) }).map(drop)
}

/// Address of a C string for [`call`].
fn address(of: &'static std::ffi::CStr) -> usize {
    of.as_ptr() as usize
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    call(libc::SYS_socket, [family as usize, kind as usize, protocol as usize, 0, 0, 0])
}

/// A terminal of our own, and a request to it.
fn terminal(request: usize) -> io::Result<()> {
    let terminal = File::options().read(true).write(true).open("/dev/ptmx")?;
    // The argument is never looked at where the request is refused; where it is not, it is a bad address.
    call(libc::SYS_ioctl, [terminal.as_raw_fd() as usize, request, 1, 0, 0, 0])
}

fn open_for_writing(path: &str) -> io::Result<()> {
    File::options().write(true).open(path).map(drop)
}

fn read_file(path: &str) -> io::Result<()> {
    use std::io::Read;
    File::open(path)?.read(&mut [0; 16]).map(drop)
}

#[cfg(target_arch = "x86_64")]
fn interrupt_80() -> io::Result<()> {
    let result: i32;
    // SAFETY: int 0x80 with number 20 (getpid for i386) touches no memory; the kernel may change the high registers.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("eax") 20 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            options(nostack),
        );
    }
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// Makes the device node of `/dev/null` somewhere else and opens it: where making it is only pretended, there is nothing to open.
fn device_node() -> io::Result<()> {
    let path = c"/tmp/pyro-attempt-node";
    let made = call(
        libc::SYS_mknodat,
        [libc::AT_FDCWD as usize, address(path), (libc::S_IFCHR | 0o666) as usize, libc::makedev(1, 3) as usize, 0, 0],
    );
    let opened = made.and_then(|()| read_file("/tmp/pyro-attempt-node"));
    // It is there only when it could be made.
    let _ = std::fs::remove_file("/tmp/pyro-attempt-node");
    opened
}

/// Asks for no core dumps and looks whether the limit that keeps the host's core handler away still holds.
fn core_limit_away() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    if getrlimit(Resource::Core).maximum == Some(1) { Err(io::Error::from_raw_os_error(libc::EPERM)) } else { Ok(()) }
}

fn out_of_band() -> io::Result<()> {
    let (one, _other) = crate::socket::stream_pair()?;
    call(libc::SYS_sendto, [one.as_raw_fd() as usize, address(c"x"), 1, libc::MSG_OOB as usize, 0, 0])
}

macro_rules! attempts {
    ($($(#[$cfg:meta])* $name:literal => $($wanted:ident)|+, $run:expr;)*) => {
        &[$($(#[$cfg])* Attempt { name: $name, wanted: &[$(libc::$wanted),+], run: || $run },)*]
    };
}

/// Bits above the 32 that the kernel reads of a request number.
const HIGH_BITS: usize = 1 << 32;
/// An address that is never mapped.
const NOWHERE: usize = 8;

/// The table.
pub const ATTEMPTS: &[Attempt] = attempts! {
    // Mounts.
    "mount a tmpfs" => EPERM, call(libc::SYS_mount, [address(c"none"), address(c"/tmp"), address(c"tmpfs"), 0, 0, 0]);
    "bind / over /tmp" => EPERM, call(libc::SYS_mount, [address(c"/"), address(c"/tmp"), 0, libc::MS_BIND as usize, 0, 0]);
    "make /proc/sys writable" => EPERM, call(libc::SYS_mount, [0, address(c"/proc/sys"), 0, (libc::MS_REMOUNT | libc::MS_BIND) as usize, 0, 0]);
    "unmount what covers /proc/sys" => EPERM, call(libc::SYS_umount2, [address(c"/proc/sys"), libc::MNT_DETACH as usize, 0, 0, 0, 0]);
    "fsopen" => EPERM, call(libc::SYS_fsopen, [address(c"tmpfs"), 0, 0, 0, 0, 0]);
    "open_tree" => EPERM, call(libc::SYS_open_tree, [libc::AT_FDCWD as usize, address(c"/"), 1, 0, 0, 0]);
    "open_tree_attr" => EPERM, call(467, [libc::AT_FDCWD as usize, address(c"/"), 1, 0, 0, 0]);
    "move_mount" => EPERM, call(libc::SYS_move_mount, [libc::AT_FDCWD as usize, address(c"/proc"), libc::AT_FDCWD as usize, address(c"/tmp"), 0, 0]);
    "mount_setattr" => EPERM, call(libc::SYS_mount_setattr, [libc::AT_FDCWD as usize, address(c"/"), 0, 0, 0, 0]);
    "pivot_root" => EPERM, call(libc::SYS_pivot_root, [address(c"/"), address(c"/"), 0, 0, 0, 0]);
    // Namespaces.
    "unshare the user namespace" => EPERM, call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0, 0]);
    "unshare the user namespace with other flags" => EPERM, call(libc::SYS_unshare, [(libc::CLONE_NEWUSER | libc::CLONE_FS) as usize, 0, 0, 0, 0, 0]);
    "unshare the mount namespace" => EPERM, call(libc::SYS_unshare, [libc::CLONE_NEWNS as usize, 0, 0, 0, 0, 0]);
    "unshare the network namespace" => EPERM, call(libc::SYS_unshare, [libc::CLONE_NEWNET as usize, 0, 0, 0, 0, 0]);
    "unshare the time namespace" => EPERM, call(libc::SYS_unshare, [0x80, 0, 0, 0, 0, 0]);
    "clone into a user namespace" => EPERM, call(libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::SIGCHLD) as usize, 0, 0, 0, 0, 0]);
    "clone into a process namespace" => EPERM, call(libc::SYS_clone, [(libc::CLONE_NEWPID | libc::SIGCHLD) as usize, 0, 0, 0, 0, 0]);
    "clone3" => ENOSYS, call(libc::SYS_clone3, [NOWHERE, 88, 0, 0, 0, 0]);
    "setns" => EPERM, call(libc::SYS_setns, [File::open("/proc/self/ns/net")?.as_raw_fd() as usize, 0, 0, 0, 0, 0]);
    // Sockets.
    "a socket of AF_ALG" => EAFNOSUPPORT, socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0);
    "a socket of AF_ALG with high bits" => EAFNOSUPPORT, call(libc::SYS_socket, [HIGH_BITS | libc::AF_ALG as usize, libc::SOCK_SEQPACKET as usize, 0, 0, 0, 0]);
    "a socket of AF_VSOCK" => EAFNOSUPPORT, socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0);
    "a socket of AF_PACKET" => EAFNOSUPPORT, socket(libc::AF_PACKET, libc::SOCK_RAW, 3);
    "a packet socket of AF_PACKET, not raw" => EAFNOSUPPORT, socket(libc::AF_PACKET, libc::SOCK_DGRAM, 3);
    "an old packet socket" => EPERM, socket(libc::AF_INET, 10, 3);
    "a socket of AF_KEY" => EAFNOSUPPORT, socket(libc::AF_KEY, libc::SOCK_RAW, 2);
    "a socket of AF_RXRPC" => EAFNOSUPPORT, socket(33, libc::SOCK_DGRAM, libc::AF_INET);
    "a socket of AF_TIPC" => EAFNOSUPPORT, socket(30, libc::SOCK_STREAM, 0);
    "a socket of AF_BLUETOOTH" => EAFNOSUPPORT, socket(31, libc::SOCK_RAW, 1);
    "a socket of AF_CAN" => EAFNOSUPPORT, socket(29, libc::SOCK_RAW, 1);
    "a socket of AF_XDP" => EAFNOSUPPORT, socket(44, libc::SOCK_RAW, 0);
    "a socket of AF_SMC" => EAFNOSUPPORT, socket(43, libc::SOCK_STREAM, 0);
    "netlink to XFRM" => EPROTONOSUPPORT, socket(libc::AF_NETLINK, libc::SOCK_RAW, 6);
    "netlink to netfilter" => EPROTONOSUPPORT, socket(libc::AF_NETLINK, libc::SOCK_DGRAM, 12);
    "netlink to audit" => EPROTONOSUPPORT, socket(libc::AF_NETLINK, libc::SOCK_RAW, 9);
    "netlink to the crypto layer" => EPROTONOSUPPORT, socket(libc::AF_NETLINK, libc::SOCK_DGRAM, 21);
    "a raw IPv4 socket" => EPERM, socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
    "a raw IPv6 socket" => EPERM, socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6);
    "an SCTP socket" => EAFNOSUPPORT, socket(libc::AF_INET, libc::SOCK_STREAM, 132);
    "an MPTCP socket" => EAFNOSUPPORT, socket(libc::AF_INET, libc::SOCK_STREAM, 262);
    "an L2TP socket" => EAFNOSUPPORT, socket(libc::AF_INET, libc::SOCK_DGRAM, 115);
    "a pair of AF_TIPC" => EAFNOSUPPORT, call(libc::SYS_socketpair, [30, libc::SOCK_STREAM as usize, 0, NOWHERE, 0, 0]);
    "out-of-band data" => EOPNOTSUPP, out_of_band();
    // Terminals.
    "TIOCSTI" => EPERM, terminal(libc::TIOCSTI as usize);
    "TIOCSTI with high bits" => EPERM, terminal(libc::TIOCSTI as usize | HIGH_BITS);
    "TIOCLINUX" => EPERM, terminal(libc::TIOCLINUX as usize);
    "TIOCLINUX with high bits" => EPERM, terminal(libc::TIOCLINUX as usize | HIGH_BITS);
    "TIOCCONS" => EPERM, terminal(libc::TIOCCONS as usize);
    "TIOCSETD" => EPERM, terminal(0x5423);
    // Other entrances.
    #[cfg(target_arch = "x86_64")]
    "a 32-bit call" => ENOSYS, interrupt_80();
    #[cfg(target_arch = "x86_64")]
    "an x32 call" => ENOSYS, call(0x4000_0000 | libc::SYS_getpid, [0; 6]);
    "a call that does not exist" => ENOSYS, call(1_000, [0; 6]);
    // Machinery of the kernel.
    "io_uring_setup" => ENOSYS, call(libc::SYS_io_uring_setup, [8, NOWHERE, 0, 0, 0, 0]);
    "keyctl" => ENOSYS, call(libc::SYS_keyctl, [0, 0, 0, 0, 0, 0]);
    "add_key" => ENOSYS, call(libc::SYS_add_key, [address(c"user"), address(c"x"), address(c"x"), 1, 0, 0]);
    "request_key" => ENOSYS, call(libc::SYS_request_key, [address(c"user"), address(c"x"), 0, 0, 0, 0]);
    "bpf" => EPERM, call(libc::SYS_bpf, [5, NOWHERE, 120, 0, 0, 0]);
    "userfaultfd" => EPERM, call(libc::SYS_userfaultfd, [0; 6]);
    "userfaultfd for user mode only" => EPERM, call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]);
    "perf_event_open" => EPERM, call(libc::SYS_perf_event_open, [NOWHERE, 0, 0, 0, 0, 0]);
    "memfd_secret" => ENOSYS, call(libc::SYS_memfd_secret, [0; 6]);
    "vmsplice" => ENOSYS, call(libc::SYS_vmsplice, [0, NOWHERE, 1, 0, 0, 0]);
    "move_pages" => ENOSYS, call(libc::SYS_move_pages, [1, 1, NOWHERE, 0, NOWHERE, 0]);
    "mbind" => ENOSYS, call(libc::SYS_mbind, [0; 6]);
    "kcmp" => EPERM, call(libc::SYS_kcmp, [1, 1, 0, 0, 0, 0]);
    "pidfd_getfd" => EPERM, call(libc::SYS_pidfd_getfd, [0; 6]);
    "fanotify_init" => EPERM, call(libc::SYS_fanotify_init, [0; 6]);
    "name_to_handle_at" => EPERM, call(libc::SYS_name_to_handle_at, [0, NOWHERE, NOWHERE, NOWHERE, 0, 0]);
    "open_by_handle_at" => EPERM, call(libc::SYS_open_by_handle_at, [0, NOWHERE, 0, 0, 0, 0]);
    "personality READ_IMPLIES_EXEC" => EPERM, call(libc::SYS_personality, [0x040_0000, 0, 0, 0, 0, 0]);
    "personality of 32 bits" => EPERM, call(libc::SYS_personality, [8, 0, 0, 0, 0, 0]);
    #[cfg(target_arch = "x86_64")]
    "modify_ldt" => EPERM, call(libc::SYS_modify_ldt, [1, NOWHERE, 16, 0, 0, 0]);
    #[cfg(target_arch = "x86_64")]
    "iopl" => EPERM, call(libc::SYS_iopl, [0; 6]);
    #[cfg(target_arch = "x86_64")]
    "ioperm" => EPERM, call(libc::SYS_ioperm, [0, 1, 0, 0, 0, 0]);
    // The machine.
    "init_module" => EPERM, call(libc::SYS_init_module, [NOWHERE, 0, NOWHERE, 0, 0, 0]);
    "finit_module" => EPERM, call(libc::SYS_finit_module, [usize::MAX, NOWHERE, 0, 0, 0, 0]);
    "delete_module" => EPERM, call(libc::SYS_delete_module, [NOWHERE, 0, 0, 0, 0, 0]);
    "kexec_load" => EPERM, call(libc::SYS_kexec_load, [0, usize::MAX, NOWHERE, usize::MAX, 0, 0]);
    "reboot" => EPERM, call(libc::SYS_reboot, [0; 6]);
    "swapon" => EPERM, call(libc::SYS_swapon, [NOWHERE, 0, 0, 0, 0, 0]);
    "acct" => EPERM, call(libc::SYS_acct, [NOWHERE, 0, 0, 0, 0, 0]);
    "quotactl" => EPERM, call(libc::SYS_quotactl, [0; 6]);
    "syslog" => EPERM, call(libc::SYS_syslog, [3, NOWHERE, 8, 0, 0, 0]);
    "settimeofday" => EPERM, call(libc::SYS_settimeofday, [NOWHERE, 0, 0, 0, 0, 0]);
    "clock_settime" => EPERM, call(libc::SYS_clock_settime, [0, NOWHERE, 0, 0, 0, 0]);
    "adjtimex" => EPERM, call(libc::SYS_adjtimex, [NOWHERE, 0, 0, 0, 0, 0]);
    "sethostname" => EPERM, call(libc::SYS_sethostname, [address(c"x"), 1, 0, 0, 0, 0]);
    "raise the limit of open files" => EPERM, {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let more = getrlimit(Resource::Nofile).maximum.map(|most| most + 1);
        Ok(setrlimit(Resource::Nofile, Rlimit { current: more, maximum: more })?)
    };
    "lower the limit that holds the host's core handler off" => EPERM, core_limit_away();
    "the highest priority" => EACCES | EPERM, call(libc::SYS_setpriority, [0, 0, (-20_isize) as usize, 0, 0, 0]);
    "protection from the out-of-memory killer" => EACCES | EPERM, std::fs::write("/proc/self/oom_score_adj", "-1000");
    // The first process.
    "trace the first process" => EPERM, call(libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, 1, 0, 0, 0, 0]);
    "seize the first process" => EPERM, call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, 1, 0, 0, 0, 0]);
    "read memory of the first process" => EPERM, {
        let range: &'static [usize; 2] = &[NOWHERE, 1];
        let at = range.as_ptr() as usize;
        call(libc::SYS_process_vm_readv, [1, at, 1, at, 1, 0])
    };
    "open the memory of the first process" => EACCES | EPERM, File::options().read(true).write(true).open("/proc/1/mem").map(drop);
    "read the environment of the first process" => EACCES | EPERM, read_file("/proc/1/environ");
    "read the memory map of the first process" => EACCES | EPERM, read_file("/proc/1/maps");
    "follow a descriptor of the first process" => EACCES | EPERM, std::fs::read_link("/proc/1/fd/3").map(drop);
    "open a descriptor of the first process" => EACCES | EPERM, read_file("/proc/1/fd/0");
    "follow the root of the first process" => EACCES | EPERM, std::fs::read_dir("/proc/1/root/").map(drop);
    "write the program of the first process" => EACCES | EPERM | EROFS, open_for_writing("/proc/1/exe");
    // Files of the kernel.
    "write core_pattern" => EROFS | EACCES, open_for_writing("/proc/sys/kernel/core_pattern");
    "write a network setting" => EROFS | EACCES, open_for_writing("/proc/sys/net/ipv4/ip_forward");
    "write sysrq-trigger" => EACCES | ENOENT, open_for_writing("/proc/sysrq-trigger");
    "read kcore" => EACCES | EPERM | ENOENT, read_file("/proc/kcore");
    "read kmsg" => EACCES | EPERM, read_file("/proc/kmsg");
    "write below /sys" => EROFS | EACCES, open_for_writing("/sys/kernel/mm/transparent_hugepage/enabled");
    "set the helper for new devices" => EROFS | EACCES | ENOENT, open_for_writing("/sys/kernel/uevent_helper");
    "make a file in /sys" => EROFS | EACCES | EPERM, File::create("/sys/pyro-attempt").map(drop);
    "make and open a device node" => EPERM | ENOENT, device_node();
};

/// Mounts a file system of a kind, the old and the new way, in a child process. `Refused` when both are.
///
/// # Errors
/// When no child can be made.
pub fn try_mount(kind: &std::ffi::CStr) -> io::Result<Outcome> {
    let kind: &'static std::ffi::CStr = Box::leak(kind.to_owned().into_boxed_c_str());
    let child = fork_into(Namespaces::NONE, None, || {
        let old = call(libc::SYS_mount, [address(c"none"), address(c"/tmp"), address(kind), 0, 0, 0]);
        let new = call(libc::SYS_fsopen, [address(kind), 0, 0, 0, 0, 0]);
        let refused = |result: io::Result<()>| result.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM));
        u8::from(!(refused(old) && refused(new)))
    })?;
    Ok(if child.wait()? == Exit::Code(0) { Outcome::Refused } else { Outcome::Succeeded })
}
