//! The list of system calls. Data: a group of calls, what happens to them, and why.
//!
//! To add a call, put it into a group whose reason is true for it, or make a group. A call that is on no list does not exist
//! inside ([`DEFAULT`]). Calls that are refused by name are here only where programs must hear something better
//! than "does not exist", or where the reason is worth keeping.
//!
//! Arguments are compared by their low 32 bits: that is what the kernel reads for every argument tested here (`int`, `unsigned
//! int`, or `lower_32_bits()` in `clone`). CVE-2019-10063 was a comparison of all 64.

use super::Filter;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel does it.
    Allow,
    /// It fails with this error number; with 0 it "succeeds" and nothing is done.
    Refuse(u16),
}

/// What a case looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The low 32 bits of an argument are this.
    Equals {
        /// Number of the argument, from 0.
        argument: u8,
        /// The value.
        value: u32,
    },
    /// Some of the low 32 bits of an argument are this.
    MaskedEquals {
        /// Number of the argument, from 0.
        argument: u8,
        /// Which bits.
        mask: u32,
        /// Their value.
        value: u32,
    },
    /// At least one of these bits of an argument is set.
    AnyBit {
        /// Number of the argument, from 0.
        argument: u8,
        /// Which bits.
        bits: u32,
    },
    /// An argument, all 64 bits of it, is not zero.
    PointerGiven {
        /// Number of the argument, from 0.
        argument: u8,
    },
}

/// A verdict under conditions: all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// All of them must hold.
    pub conditions: &'static [Condition],
    /// Then this.
    pub verdict: Verdict,
}

/// What is done with the calls of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Always the same.
    Always(Verdict),
    /// The first case that holds decides.
    When {
        /// In order.
        cases: &'static [Case],
        /// When no case holds.
        otherwise: Verdict,
    },
}

/// Calls that are treated alike for one reason.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// What these calls are for, and why the rule is right.
    pub reason: &'static str,
    /// The rule.
    pub rule: Rule,
    /// Number and name.
    pub calls: &'static [(u32, &'static str)],
}

/// For everything that is not listed: old kernels say the same about new calls, so programs have a fallback.
pub const DEFAULT: Verdict = Verdict::Refuse(libc::ENOSYS as u16);

const ALLOW: Rule = Rule::Always(Verdict::Allow);
const fn refuse(number: i32) -> Verdict {
    Verdict::Refuse(number as u16)
}
const NOT_PERMITTED: Rule = Rule::Always(refuse(libc::EPERM));
const NOT_THERE: Rule = Rule::Always(refuse(libc::ENOSYS));
/// Answers success, does nothing.
const PRETEND: Rule = Rule::Always(Verdict::Refuse(0));

/// `CLONE_NEW*` that fit the flags of clone(2) (linux/sched.h): mounts, cgroups, host name, IPC, users, processes, network.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// As above, and `CLONE_NEWTIME`, which unshare(2) takes too.
const NEW_NAMESPACES_UNSHARE: u32 = NEW_NAMESPACES | 0x80;
/// `MSG_OOB`.
const OUT_OF_BAND: u32 = 0x1;
/// `SOCK_TYPE_MASK` (linux/net.h): the rest are flags.
const SOCKET_TYPE: u32 = 0xf;
/// `SOCK_PACKET` (linux/net.h): an AF_PACKET socket under the name of any family.
const OLD_PACKET_SOCKET: u32 = 10;
/// `S_IFMT` of a mode and what it says for devices.
const FILE_TYPE: u32 = 0o170_000;

macro_rules! calls {
    ($($name:ident)*) => { &[$((calls!(@ $name) as u32, stringify!($name))),*] };
    // Newer than the libc crate; one number on every architecture (asm-generic/unistd.h), but for uretprobe and uprobe.
    (@ uretprobe) => { 335 };
    (@ uprobe) => { 336 };
    (@ cachestat) => { 451 };
    (@ map_shadow_stack) => { 453 };
    (@ futex_wake) => { 454 };
    (@ futex_wait) => { 455 };
    (@ futex_requeue) => { 456 };
    (@ setxattrat) => { 463 };
    (@ getxattrat) => { 464 };
    (@ listxattrat) => { 465 };
    (@ removexattrat) => { 466 };
    (@ open_tree_attr) => { 467 };
    (@ $name:ident) => { concat_call!($name) };
}
macro_rules! concat_call {
    ($name:ident) => {
        numbers::$name
    };
}

/// The numbers of libc under the names of the calls.
mod numbers {
    #![expect(non_upper_case_globals, reason = "the names of the calls")]
    macro_rules! from_libc {
        ($($name:ident = $libc:ident)*) => { $(pub const $name: libc::c_long = libc::$libc;)* };
    }
    include!("numbers.rs");
}

/// The list.
pub const GROUPS: &[Group] = &[
    Group {
        reason: "files by descriptor: reading and writing what is open already",
        rule: ALLOW,
        calls: calls![
            read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range fsync fdatasync
            sync_file_range ftruncate fallocate fadvise64 readahead copy_file_range sendfile splice tee dup dup3 fcntl flock
            cachestat
        ],
    },
    Group {
        reason: "files by name: the mount namespace decides what a name can mean",
        rule: ALLOW,
        calls: calls![
            openat openat2 newfstatat fstat statx statfs fstatfs faccessat faccessat2 readlinkat getcwd chdir fchdir truncate
            mkdirat unlinkat renameat renameat2 linkat symlinkat fchmod fchmodat fchmodat2 utimensat umask getdents64
            sync syncfs
        ],
    },
    Group {
        reason: "owners and fifos: the user namespace decides which ids exist; device nodes need a capability nobody has inside",
        rule: ALLOW,
        calls: calls![fchown fchownat mknodat],
    },
    Group {
        reason: "changing the root: for package tools that work on a tree; a process that has left its root is still in this mount namespace",
        rule: ALLOW,
        calls: calls![chroot],
    },
    Group {
        reason: "extended attributes: file capabilities and labels of packages; namespaced by the kernel",
        rule: ALLOW,
        calls: calls![
            setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr
            lremovexattr fremovexattr setxattrat getxattrat listxattrat removexattrat
        ],
    },
    Group {
        reason: "watching files that can be opened anyway",
        rule: ALLOW,
        calls: calls![inotify_init1 inotify_add_watch inotify_rm_watch],
    },
    Group {
        reason: "waiting for descriptors",
        rule: ALLOW,
        calls: calls![
            pselect6 ppoll epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 eventfd2 signalfd4 timerfd_create
            timerfd_settime timerfd_gettime pipe2
        ],
    },
    Group {
        reason: "asynchronous file access of databases (InnoDB, nginx); limited by fs.aio-max-nr",
        rule: ALLOW,
        calls: calls![io_setup io_destroy io_submit io_cancel io_getevents],
    },
    Group {
        reason: "own memory; the control group counts it",
        rule: ALLOW,
        calls: calls![
            mmap munmap mprotect mremap msync mincore madvise brk mlock mlock2 munlock mlockall munlockall memfd_create
            pkey_mprotect pkey_alloc pkey_free membarrier process_madvise process_mrelease mseal map_shadow_stack
            get_mempolicy
        ],
    },
    Group {
        reason: "threads: locks and registers of the own process",
        rule: ALLOW,
        calls: calls![
            futex futex_waitv futex_wake futex_wait futex_requeue set_robust_list get_robust_list set_tid_address rseq
            restart_syscall gettid
        ],
    },
    Group {
        reason: "starting and ending programs; no-new-privileges holds for every exec",
        rule: ALLOW,
        calls: calls![execve execveat exit exit_group wait4 waitid],
    },
    Group {
        reason: "new processes and threads, but no new namespaces: a nested user namespace gives capabilities over kernel code that has had hole after hole (CVE-2022-0185, CVE-2024-1086)",
        rule: Rule::When {
            cases: &[Case { conditions: &[Condition::AnyBit { argument: 0, bits: NEW_NAMESPACES }], verdict: refuse(libc::EPERM) }],
            otherwise: Verdict::Allow,
        },
        calls: calls![clone],
    },
    Group {
        reason: "the flags of clone3 are behind a pointer that a filter cannot read; libc falls back to clone",
        rule: NOT_THERE,
        calls: calls![clone3],
    },
    Group {
        reason: "as clone: own descriptor table and the like, but no namespace",
        rule: Rule::When {
            cases: &[Case {
                conditions: &[Condition::AnyBit { argument: 0, bits: NEW_NAMESPACES_UNSHARE }],
                verdict: refuse(libc::EPERM),
            }],
            otherwise: Verdict::Allow,
        },
        calls: calls![unshare],
    },
    Group {
        reason: "signals: only processes of this process namespace can be named",
        rule: ALLOW,
        calls: calls![
            rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend
            rt_tgsigqueueinfo sigaltstack kill tkill tgkill pidfd_open pidfd_send_signal
        ],
    },
    Group {
        reason: "who am I: answers only",
        rule: ALLOW,
        calls: calls![
            getpid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgid getsid uname sysinfo
            getrusage times getcpu capget getrandom
        ],
    },
    Group {
        reason: "changing ids, groups, sessions and capabilities: within the user namespace, and only ever fewer capabilities",
        rule: ALLOW,
        calls: calls![
            setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups setpgid setsid capset
        ],
    },
    Group {
        reason: "settings of the own process; what of them needs a capability outside is refused by the kernel",
        rule: ALLOW,
        calls: calls![prctl getpriority setpriority ioprio_get ioprio_set],
    },
    Group {
        reason: "scheduling of own processes; real-time classes need a capability outside",
        rule: ALLOW,
        calls: calls![
            sched_yield sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max
            sched_get_priority_min sched_rr_get_interval sched_setaffinity sched_getaffinity sched_setattr sched_getattr
        ],
    },
    Group {
        reason: "resource limits can be lowered, but not the core size: 1 is what keeps a crash inside from starting the host's core handler, and 0 would not. Programs that want no core dumps have none, so they hear success",
        rule: Rule::When {
            cases: &[Case {
                conditions: &[Condition::Equals { argument: 1, value: libc::RLIMIT_CORE }, Condition::PointerGiven { argument: 2 }],
                verdict: Verdict::Refuse(0),
            }],
            otherwise: Verdict::Allow,
        },
        calls: calls![prlimit64],
    },
    Group {
        reason: "as prlimit64: the old call",
        rule: Rule::When {
            cases: &[Case {
                conditions: &[Condition::Equals { argument: 0, value: libc::RLIMIT_CORE }],
                verdict: Verdict::Refuse(0),
            }],
            otherwise: Verdict::Allow,
        },
        calls: calls![setrlimit],
    },
    Group { reason: "as setrlimit: answers only", rule: ALLOW, calls: calls![getrlimit] },
    Group {
        reason: "clocks and timers: reading them, and waiting",
        rule: ALLOW,
        calls: calls![
            clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday getitimer setitimer timer_create
            timer_settime timer_gettime timer_getoverrun timer_delete
        ],
    },
    Group {
        reason: "sockets that are open already; the network namespace decides what they reach",
        rule: ALLOW,
        calls: calls![
            bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt shutdown recvfrom recvmsg recvmmsg
        ],
    },
    Group {
        reason: "as above; out-of-band data has no users left but had a hole in Unix sockets (CVE-2025-38236)",
        rule: Rule::When {
            cases: &[Case {
                conditions: &[Condition::AnyBit { argument: 3, bits: OUT_OF_BAND }],
                verdict: refuse(libc::EOPNOTSUPP),
            }],
            otherwise: Verdict::Allow,
        },
        calls: calls![sendto],
    },
    Group {
        reason: "as sendto: flags are the third argument",
        rule: Rule::When {
            cases: &[Case {
                conditions: &[Condition::AnyBit { argument: 2, bits: OUT_OF_BAND }],
                verdict: refuse(libc::EOPNOTSUPP),
            }],
            otherwise: Verdict::Allow,
        },
        calls: calls![sendmsg],
    },
    Group {
        reason: "as sendto: flags are the fourth argument",
        rule: Rule::When {
            cases: &[Case {
                conditions: &[Condition::AnyBit { argument: 3, bits: OUT_OF_BAND }],
                verdict: refuse(libc::EOPNOTSUPP),
            }],
            otherwise: Verdict::Allow,
        },
        calls: calls![sendmmsg],
    },
    Group {
        reason: "Unix, TCP, UDP, ping, and questions about the own network; no other family: AF_ALG and AF_RXRPC let page cache be written (CVE-2026-31431), AF_VSOCK reaches the hypervisor past every namespace, raw sockets and rare protocols (SCTP, MPTCP, L2TP) are kernel code nobody here needs",
        rule: Rule::When {
            cases: &[
                Case {
                    conditions: &[Condition::MaskedEquals { argument: 1, mask: SOCKET_TYPE, value: OLD_PACKET_SOCKET }],
                    verdict: refuse(libc::EPERM),
                },
                Case { conditions: &[Condition::Equals { argument: 0, value: libc::AF_UNIX as u32 }], verdict: Verdict::Allow },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_NETLINK as u32 },
                        Condition::Equals { argument: 2, value: libc::NETLINK_ROUTE as u32 },
                    ],
                    verdict: Verdict::Allow,
                },
                // libaudit, and with it PAM, takes this error for "no audit here", and no other.
                Case {
                    conditions: &[Condition::Equals { argument: 0, value: libc::AF_NETLINK as u32 }],
                    verdict: refuse(libc::EPROTONOSUPPORT),
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET as u32 },
                        Condition::MaskedEquals { argument: 1, mask: SOCKET_TYPE, value: libc::SOCK_RAW as u32 },
                    ],
                    verdict: refuse(libc::EPERM),
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET6 as u32 },
                        Condition::MaskedEquals { argument: 1, mask: SOCKET_TYPE, value: libc::SOCK_RAW as u32 },
                    ],
                    verdict: refuse(libc::EPERM),
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET as u32 },
                        Condition::Equals { argument: 2, value: 0 },
                    ],
                    verdict: Verdict::Allow,
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET as u32 },
                        Condition::Equals { argument: 2, value: libc::IPPROTO_TCP as u32 },
                    ],
                    verdict: Verdict::Allow,
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET as u32 },
                        Condition::Equals { argument: 2, value: libc::IPPROTO_UDP as u32 },
                    ],
                    verdict: Verdict::Allow,
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET as u32 },
                        Condition::Equals { argument: 2, value: libc::IPPROTO_ICMP as u32 },
                    ],
                    verdict: Verdict::Allow,
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET6 as u32 },
                        Condition::Equals { argument: 2, value: 0 },
                    ],
                    verdict: Verdict::Allow,
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET6 as u32 },
                        Condition::Equals { argument: 2, value: libc::IPPROTO_TCP as u32 },
                    ],
                    verdict: Verdict::Allow,
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET6 as u32 },
                        Condition::Equals { argument: 2, value: libc::IPPROTO_UDP as u32 },
                    ],
                    verdict: Verdict::Allow,
                },
                Case {
                    conditions: &[
                        Condition::Equals { argument: 0, value: libc::AF_INET6 as u32 },
                        Condition::Equals { argument: 2, value: libc::IPPROTO_ICMPV6 as u32 },
                    ],
                    verdict: Verdict::Allow,
                },
            ],
            otherwise: refuse(libc::EAFNOSUPPORT),
        },
        calls: calls![socket],
    },
    Group {
        reason: "pairs of Unix sockets; other families have pairs too (TIPC)",
        rule: Rule::When {
            cases: &[Case {
                conditions: &[Condition::Equals { argument: 0, value: libc::AF_UNIX as u32 }],
                verdict: Verdict::Allow,
            }],
            otherwise: refuse(libc::EAFNOSUPPORT),
        },
        calls: calls![socketpair],
    },
    Group {
        reason: "devices and terminals: what there is to control is what /dev holds. Not: typing into a terminal that others read (TIOCSTI, CVE-2017-5226; TIOCLINUX, CVE-2023-1523), taking the console, loading line disciplines (TIOCSETD, CVE-2023-6546)",
        rule: Rule::When {
            cases: &[
                Case {
                    conditions: &[Condition::Equals { argument: 1, value: libc::TIOCSTI as u32 }],
                    verdict: refuse(libc::EPERM),
                },
                Case {
                    conditions: &[Condition::Equals { argument: 1, value: libc::TIOCLINUX as u32 }],
                    verdict: refuse(libc::EPERM),
                },
                Case {
                    conditions: &[Condition::Equals { argument: 1, value: libc::TIOCCONS as u32 }],
                    verdict: refuse(libc::EPERM),
                },
                Case {
                    conditions: &[Condition::Equals { argument: 1, value: 0x5423 /* TIOCSETD, asm-generic/ioctls.h */ }],
                    verdict: refuse(libc::EPERM),
                },
            ],
            otherwise: Verdict::Allow,
        },
        calls: calls![ioctl],
    },
    Group {
        reason: "System V and POSIX IPC: the IPC namespace is the sandbox's own",
        rule: ALLOW,
        calls: calls![
            semget semop semctl semtimedop shmget shmat shmctl shmdt msgget msgsnd msgrcv msgctl mq_open mq_unlink
            mq_timedsend mq_timedreceive mq_notify mq_getsetattr
        ],
    },
    Group {
        reason: "debuggers: of processes inside only. The agent is not dumpable, and nobody has CAP_SYS_PTRACE",
        rule: ALLOW,
        calls: calls![ptrace process_vm_readv process_vm_writev],
    },
    Group {
        reason: "confining oneself further (browsers, OpenSSH)",
        rule: ALLOW,
        calls: calls![seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self],
    },
    Group {
        reason: "asking for the personality, the plain one, and no address randomisation for debuggers; not READ_IMPLIES_EXEC, nor other ABIs",
        rule: Rule::When {
            cases: &[
                Case { conditions: &[Condition::Equals { argument: 0, value: 0 }], verdict: Verdict::Allow },
                Case { conditions: &[Condition::Equals { argument: 0, value: u32::MAX }], verdict: Verdict::Allow },
                Case {
                    conditions: &[Condition::Equals { argument: 0, value: libc::ADDR_NO_RANDOMIZE as u32 }],
                    verdict: Verdict::Allow,
                },
            ],
            otherwise: refuse(libc::EPERM),
        },
        calls: calls![personality],
    },
    Group {
        reason: "mounts are the supervisor's: no call works inside by ownership of the namespace either, this is the second wall",
        rule: NOT_PERMITTED,
        calls: calls![
            mount umount2 pivot_root open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick mount_setattr setns swapon
            swapoff quotactl quotactl_fd
        ],
    },
    Group {
        reason: "the machine: clock, name, modules, power, log. Not namespaced, or not the sandbox's to change",
        rule: NOT_PERMITTED,
        calls: calls![
            settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname init_module finit_module
            delete_module kexec_load reboot acct syslog vhangup
        ],
    },
    Group {
        reason: "files past their names: handles reach what no path does (the Shocker escape), fanotify sees other mounts",
        rule: NOT_PERMITTED,
        calls: calls![name_to_handle_at open_by_handle_at fanotify_init fanotify_mark],
    },
    Group {
        reason: "kernel machinery that exploits are built from, and that no build or test needs",
        rule: NOT_PERMITTED,
        calls: calls![bpf perf_event_open userfaultfd kcmp pidfd_getfd],
    },
    Group {
        reason: "work queues in the kernel, past this filter (io_uring); keys that no namespace separates (keyctl); page moving (vmsplice, CVE-2022-0847 and its kind; NUMA calls). Programs have a fallback when they do not exist",
        rule: NOT_THERE,
        calls: calls![
            io_uring_setup io_uring_enter io_uring_register add_key request_key keyctl vmsplice memfd_secret
            remap_file_pages mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages lookup_dcookie
            nfsservctl
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "x86-64 only: old forms of allowed calls",
        rule: ALLOW,
        calls: calls![
            open creat stat lstat access readlink mkdir rmdir unlink rename link symlink chmod utime utimes futimesat
            getdents poll select epoll_create epoll_wait eventfd signalfd inotify_init pipe dup2 getpgrp alarm pause time
            fork vfork chown lchown mknod
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "x86-64 only: thread registers; probes that the host's tracing sets in shared libraries would kill the process otherwise",
        rule: ALLOW,
        calls: calls![arch_prctl uretprobe uprobe],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "x86-64 only: ports and segments, for machines of the past",
        rule: NOT_PERMITTED,
        calls: calls![iopl ioperm modify_ldt kexec_file_load],
    },
];

/// What a sandbox with one user id does differently: before the list above, for the same calls.
pub const FAKE_ROOT: &[Group] = &[
    Group {
        reason: "there is one id, so changing owners and ids can only fail; package tools give up then. They hear success, and nothing is recorded",
        rule: PRETEND,
        calls: calls![
            fchown fchownat setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group { reason: "x86-64 only: old forms of the above", rule: PRETEND, calls: calls![chown lchown] },
    Group {
        reason: "device nodes cannot be made; packages that bring some are happy to hear that they were",
        rule: Rule::When {
            cases: &[
                Case {
                    conditions: &[Condition::MaskedEquals { argument: 2, mask: FILE_TYPE, value: libc::S_IFCHR }],
                    verdict: Verdict::Refuse(0),
                },
                Case {
                    conditions: &[Condition::MaskedEquals { argument: 2, mask: FILE_TYPE, value: libc::S_IFBLK }],
                    verdict: Verdict::Refuse(0),
                },
            ],
            otherwise: Verdict::Allow,
        },
        calls: calls![mknodat],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "x86-64 only: the old form of mknodat",
        rule: Rule::When {
            cases: &[
                Case {
                    conditions: &[Condition::MaskedEquals { argument: 1, mask: FILE_TYPE, value: libc::S_IFCHR }],
                    verdict: Verdict::Refuse(0),
                },
                Case {
                    conditions: &[Condition::MaskedEquals { argument: 1, mask: FILE_TYPE, value: libc::S_IFBLK }],
                    verdict: Verdict::Refuse(0),
                },
            ],
            otherwise: Verdict::Allow,
        },
        calls: calls![mknod],
    },
];

/// What a call gets that the filter's rules do not name.
#[must_use]
pub fn unlisted(filter: Filter) -> Verdict {
    match filter {
        Filter::Standard | Filter::FakeRoot => DEFAULT,
        Filter::FakeRootOnly => Verdict::Allow,
    }
}

/// The rules of a filter by number, ascending, each number once.
#[must_use]
pub fn rules(filter: Filter) -> Vec<(u32, Rule)> {
    let special = match filter {
        Filter::Standard => &[][..],
        Filter::FakeRoot | Filter::FakeRootOnly => FAKE_ROOT,
    };
    let general = match filter {
        Filter::Standard | Filter::FakeRoot => GROUPS,
        Filter::FakeRootOnly => &[],
    };
    let listed =
        |groups: &'static [Group]| groups.iter().flat_map(|group| group.calls.iter().map(|(number, _)| (*number, group.rule)));
    let mut rules: Vec<(u32, Rule)> = listed(special).chain(listed(general)).collect();
    // Stable: of two with one number the special one stays first, and is kept.
    rules.sort_by_key(|(number, _)| *number);
    rules.dedup_by_key(|(number, _)| *number);
    rules
}
