//! What a sandbox cannot do and cannot see, tried from inside; and that what is asked for and cannot be had is refused.

use std::fs;
use std::net::TcpListener;

use pyro_testkit::TestEnv;
use serde_json::Value;

use crate::{SEEN_OUTSIDE, case, mark, namespaces_case, wait_for_line};

/// Every guarantee that there is, and whether every sandbox has to have it.
const GUARANTEES: [(&str, Option<bool>); 13] = [
    ("own_user_ids", Some(true)),
    ("own_file_system", Some(true)),
    ("own_processes", Some(true)),
    ("no_network", Some(true)),
    ("no_new_privileges", Some(true)),
    ("few_capabilities", Some(true)),
    ("syscall_filter", Some(true)),
    ("landlock", None),
    ("memory_limit", None),
    ("pids_limit", None),
    ("cpu_limit", None),
    ("disk_limit", Some(false)),
    ("own_kernel", Some(false)),
];

#[test]
fn every_guarantee_is_reported_as_measured() {
    namespaces_case("what a machine holds is told in a story of its own", |env| {
        let ws = env.workspace("report");
        for view in [env.json::<Value>(&["workspace", "status", &ws]), env.json(&["run", "debian:12", "--", "true"])] {
            let report = &view["isolation"];
            assert_eq!(report["backend"], "namespaces");
            let guarantees = report["guarantees"].as_array().expect("guarantees");
            for (name, wanted) in GUARANTEES {
                let found =
                    guarantees.iter().find(|found| found["name"] == name).unwrap_or_else(|| panic!("{name} is not in {report:#}"));
                let held = found["held"].as_bool().expect("held or not");
                assert!(wanted.is_none_or(|wanted| wanted == held), "{found}");
                assert!(found["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{found}");
            }
            assert_eq!(guarantees.len(), GUARANTEES.len());
        }
        let ran = env.pyro(&["workspace", "status", &ws]).expect_ok();
        assert!(ran.stdout.contains("own_kernel") || ran.stdout.contains("own kernel"), "{}", ran.all());
    });
}

#[test]
fn what_cannot_be_held_is_refused_and_nothing_is_made() {
    namespaces_case("what a machine holds is told in a story of its own", |env| {
        let env = env.fresh();
        for minimum in ["namespaces,disk_limit", "namespaces,own_kernel"] {
            let ran = env.pyro(&["workspace", "create", "debian:12", "--name", "strict", "--isolation", minimum]);
            assert!(ran.code == 125 && ran.stderr.contains("hint:"), "{}", ran.all());
            let ran = env.pyro(&["run", "debian:12", "--isolation", minimum, "--", "touch", "/workspace/ran"]);
            assert!(ran.code == 125 && ran.stderr.contains("hint:"), "{}", ran.all());
            let listed: Value = env.json(&["workspace", "list"]);
            assert_eq!(listed["workspaces"].as_array().map(Vec::len), Some(0));
            for folder in ["workspaces", "runs"] {
                let left = fs::read_dir(env.home().join(folder)).expect("a folder of the home").count();
                assert_eq!(left, 0, "{folder} after {minimum}");
            }
            env.assert_no_leaks();
        }
        env.pyro(&["run", "debian:12", "--isolation", "namespaces,no_network,syscall_filter,own_user_ids", "--", "true"])
            .expect_ok();
        env.pyro(&["run", "debian:12", "--isolation", "namespaces,magic", "--", "true"]).expect_error(2, "magic");
        // A workspace keeps its minimum: it is checked at each start.
        env.pyro(&["workspace", "create", "debian:12", "--name", "kept", "--isolation", "namespaces,no_network"]).expect_ok();
        env.pyro(&["workspace", "stop", "kept"]).expect_ok();
        env.pyro(&["workspace", "exec", "kept", "--", "true"]).expect_ok();
        env.pyro(&["workspace", "delete", "kept"]).expect_ok();
    });
}

#[test]
fn there_is_no_network() {
    case(|env| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let tries = format!(
            r#"use IO::Socket::INET; $| = 1;
            for my $host ("127.0.0.1", "10.0.0.1", "192.0.2.1") {{
                print "$host ", (IO::Socket::INET->new(PeerAddr => $host, PeerPort => {port}, Timeout => 3) ? "CONNECTED" : "refused"), "\n";
            }}
            my $own = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => 80) or die "own port 80: $!";
            print "own ", (IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => 80, Timeout => 3) ? "connected" : "REFUSED"), "\n";"#
        );
        let ran = env.pyro(&["run", "debian:12", "--", "perl", "-e", &tries]).expect_ok();
        assert!(!ran.stdout.contains("CONNECTED") && ran.stdout.matches("refused").count() == 3, "{}", ran.all());
        assert!(ran.stdout.contains("own connected"), "{}", ran.all());
        let ran = env
            .pyro(&["run", "debian:12", "--", "sh", "-c", "ls /sys/class/net; cat /proc/net/dev | tail -n +3 | cut -d: -f1"])
            .expect_ok();
        assert!(ran.stdout.split_whitespace().all(|name| name == "lo"), "{}", ran.all());
        // Unix sockets of the host that have no file are not there either.
        let ran = env.pyro(&["run", "debian:12", "--", "sh", "-c", "cat /proc/net/unix | grep -c @ || true"]).expect_ok();
        assert_eq!(ran.stdout.trim(), "0", "{}", ran.all());
    });
}

#[test]
fn files_of_the_host_cannot_be_reached() {
    case(|env| {
        let here = env.scratch();
        let canary = here.path().join("canary");
        fs::write(&canary, "the canary sings").expect("write");
        let path = canary.to_string_lossy().into_owned();
        let ws = env.workspace("canary");
        let root = format!("/proc/1/root{path}");
        for path in [path.as_str(), root.as_str()] {
            let ran = env.pyro(&["workspace", "exec", &ws, "--", "cat", path]);
            assert!(ran.code != 0 && !ran.stdout.contains("canary sings"), "{}", ran.all());
            let ran = env.pyro(&["workspace", "file", "read", &ws, path]);
            assert!(ran.code != 0 && !ran.stdout.contains("canary sings"), "{}", ran.all());
        }
        // By a link from inside, by a mount table, by descriptors that were left open.
        let script = format!(
            "ln -s {path} link; cat link 2>/dev/null; for fd in /proc/self/fd/* /proc/1/fd/*; do cat $fd/{path} 2>/dev/null; done; \
             grep -l 'canary' /proc/*/environ /proc/*/mountinfo 2>/dev/null; cat /proc/self/mountinfo"
        );
        let ran = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", &script]);
        assert!(!ran.stdout.contains("canary"), "{}", ran.all());
        let home = env.home().to_string_lossy().into_owned();
        let own = ran.stdout.lines().filter(|line| !line.contains(" - overlay ")).filter(|line| line.contains(&home)).count();
        assert_eq!(own, 0, "the mount table names the home: {}", ran.stdout);
        let ran = env.pyro(&["workspace", "file", "read", &ws, "link"]);
        assert!(ran.code != 0 && !ran.stdout.contains("canary sings"), "{}", ran.all());
        // What is written inside at a path of the host stays inside.
        env.pyro(&["workspace", "file", "write", &ws, &path, "--text", "another"]).expect_ok();
        assert_eq!(fs::read_to_string(&canary).expect("it is there"), "the canary sings");
    });
}

#[test]
fn processes_of_others_are_invisible() {
    case(|env| {
        let (one, two) = (env.workspace("one"), env.workspace("two"));
        let mark = mark(40);
        let mut child = env.start(&["workspace", "exec", &one, "--", "sh", "-c", &format!("sleep {mark} & echo ready; wait")]);
        let reader = wait_for_line(&mut child, "ready");
        let look = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done; ls -d /proc/[0-9]* | wc -l";
        let ran = env.pyro(&["workspace", "exec", &two, "--", "sh", "-c", look]).expect_ok();
        assert!(!ran.stdout.contains(&mark), "{}", ran.all());
        let count: u32 = ran.stdout.lines().last().and_then(|line| line.trim().parse().ok()).expect("a count");
        assert!(count < 10, "{}", ran.all());
        let ran = env.pyro(&["workspace", "exec", &one, "--", "sh", "-c", look]).expect_ok();
        assert!(ran.stdout.contains(&mark), "its own are seen: {}", ran.all());
        env.pyro(&["workspace", "stop", &one]).expect_ok();
        drop(reader);
        env.wait("an exec whose workspace was stopped", child);
    });
}

#[test]
fn what_reaches_the_kernel_is_refused() {
    namespaces_case("root of a machine may do what its own kernel lets root do", |env| {
        let refused = [
            ("mount -t tmpfs none /mnt", "mount"),
            ("mount --bind / /mnt", "bind mount"),
            ("mount -o remount,rw /proc", "remount"),
            ("umount /proc", "umount"),
            ("unshare --user --map-root-user true", "a user namespace"),
            ("unshare --mount true", "a mount namespace"),
            ("unshare --pid --fork true", "a process namespace"),
            ("unshare --net true", "a network namespace"),
            ("nsenter --target 1 --mount true", "another's namespaces"),
            ("chroot /proc/1/root true && cat /proc/1/environ", "the agent's environment"),
            ("mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk", "a disk"),
            ("echo 1 >/proc/sys/kernel/panic", "a kernel setting"),
            ("echo b >/proc/sysrq-trigger", "sysrq"),
            ("cat /proc/kcore | head -c 1 | grep -q .", "kernel memory"),
            ("cat /dev/mem | head -c 1 | grep -q .", "memory"),
            ("hostname other", "the host name"),
            ("date -s 2001-01-01", "the clock"),
            ("dmesg", "the kernel's log"),
            ("test -e /sys/fs/cgroup/memory.max && echo max >/sys/fs/cgroup/memory.max || false", "its own limit"),
            ("swapon /dev/zero", "swap"),
            ("kill -9 1; sleep 0.2; kill -0 1 && false", "killing the first process"),
            ("perl -e 'exit(syscall(101, 16, 1, 0, 0) == 0 ? 0 : 1)'", "ptrace of the first process"),
            ("perl -e 'exit(syscall(321, 0, 0, 0) >= 0 ? 0 : 1)'", "bpf"),
            ("perl -e 'exit(syscall(298, 0, 0, 0, 0, 0) >= 0 ? 0 : 1)'", "perf"),
            ("perl -e 'exit(syscall(425, 1, 0) >= 0 ? 0 : 1)'", "io_uring"),
            ("perl -e 'exit(syscall(250, 0, 0, 0) >= 0 ? 0 : 1)'", "keys"),
            ("perl -e 'use Socket; exit(socket(my $s, 16, 3, 9) ? 0 : 1)'", "the audit log"),
            ("perl -e 'use Socket; exit(socket(my $s, 17, 3, 0) ? 0 : 1)'", "packets"),
            ("perl -e 'open(T, \"<\", \"/dev/tty\") or exit 1; exit(ioctl(T, 0x5412, \"x\") ? 0 : 1)'", "typing into the terminal"),
        ];
        let ws = env.workspace("kernel");
        for (line, what) in refused {
            if line.contains("syscall(") && cfg!(not(target_arch = "x86_64")) {
                continue;
            }
            let ran = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", line]);
            assert!(ran.code != 0, "{what} is possible: {}", ran.all());
            assert!(!ran.stderr.contains("pyro:") || ran.code > 128, "{what}: {}", ran.all());
        }
        // After all that it works, and so does the machine.
        env.pyro(&["workspace", "exec", &ws, "--", "true"]).expect_ok();
        let facts = "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd):' /proc/self/status; cat /proc/self/uid_map";
        let ran = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", facts]).expect_ok();
        assert!(ran.stdout.contains("NoNewPrivs:\t1") && ran.stdout.contains("Seccomp:\t2"), "{}", ran.stdout);
        let effective = ran.stdout.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities").trim();
        let effective = u64::from_str_radix(effective, 16).expect("a number");
        // SYS_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, NET_ADMIN, NET_RAW, MKNOD, SYS_BOOT, SYS_TIME.
        for capability in [21, 16, 17, 19, 12, 13, 27, 22, 25] {
            assert_eq!(effective & (1 << capability), 0, "capability {capability}: {effective:x}");
        }
    });
}

#[test]
fn a_fork_bomb_stays_inside() {
    namespaces_case("four thousand processes take minutes where code is translated", |env| {
        if !env.holds("pids_limit") {
            return pyro_testkit::skip("pids_limit", "this user has no control group for processes");
        }
        let ws = env.workspace("bomb");
        let mark = mark(41);
        // As many as it can, all of which then wait: until fork says no.
        let bomb = format!(
            "my $n = 0; while (defined(my $p = fork)) {{ if (!$p) {{ exec 'sleep', '{mark}' }} $n++; last if $n > 20000 }} print \"$n $!\\n\""
        );
        let ran = env.pyro(&["workspace", "exec", &ws, "--timeout-seconds", "50", "--", "perl", "-e", &bomb]).expect_ok();
        let count: u32 = ran.stdout.split(' ').next().and_then(|word| word.parse().ok()).expect("a count");
        assert!((100..4096).contains(&count), "{}", ran.all());
        // Others do not feel it.
        env.pyro(&["run", "debian:12", "--", "true"]).expect_ok();
        // And it ends with its workspace.
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        assert_eq!(pyro_testkit::processes_with(&mark).len(), 0);
        env.pyro(&["workspace", "exec", &ws, "--", "true"]).expect_ok();
    });
}

fn ids(env: &TestEnv, ws: &str) -> (String, String) {
    let ran = env.pyro(&["workspace", "exec", ws, "--", "cat", "/proc/self/uid_map"]).expect_ok();
    let mut words = ran.stdout.split_whitespace().skip(1).map(str::to_owned);
    (words.next().expect("an id"), words.next().expect("a count"))
}

#[test]
fn root_inside_is_nobody_outside() {
    namespaces_case(SEEN_OUTSIDE, |env| {
        let ws = env.workspace("ids");
        let mark = mark(42);
        let mut child = env.start(&["workspace", "exec", &ws, "--", "sh", "-c", &format!("echo ready; exec sleep {mark}")]);
        let reader = wait_for_line(&mut child, "ready");
        let pid = env.wait_for("the command to run", || pyro_testkit::processes_with(&mark).first().copied());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let uid: u32 =
            status.lines().find_map(|line| line.strip_prefix("Uid:\t")?.split('\t').next()?.parse().ok()).expect("an id");
        let own = rustix::process::geteuid().as_raw();
        match pyro_testkit::Mode::ours() {
            pyro_testkit::Mode::Root => assert!(uid >= 100_000, "inside root is {uid} outside"),
            pyro_testkit::Mode::Range | pyro_testkit::Mode::Single => assert_eq!(uid, own, "inside root is the user outside"),
        }
        let (_, count) = ids(env, &ws);
        let wanted = if pyro_testkit::Mode::ours() == pyro_testkit::Mode::Single { "1" } else { "65536" };
        assert!(count == wanted || (wanted == "65536" && !count.is_empty()), "{count} ids inside");
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        drop(reader);
        env.wait("an exec whose workspace was stopped", child);
    });
}
