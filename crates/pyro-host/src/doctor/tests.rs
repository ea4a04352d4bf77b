//! Broken machines as a table: what is wrong with each, and what a person is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pyro_api::ops::host::{Check, CheckStatus};

use super::*;

/// A machine on which everything is right for an ordinary user.
struct Machine {
    root: tempfile::TempDir,
    trials: Trials,
    uid: u32,
    kernel: &'static str,
}

fn worked() -> Attempt {
    Attempt::Worked(String::new())
}

fn refused(why: &str) -> Attempt {
    Attempt::Failed(why.to_owned())
}

impl Machine {
    fn sound() -> Self {
        let machine = Self {
            root: tempfile::tempdir().unwrap(),
            trials: Trials {
                user_namespace: worked(),
                mount_namespace: worked(),
                overlay: worked(),
                mapped_mounts: Attempt::NotTried("only root can".to_owned()),
                id_range: worked(),
                terminal: worked(),
                kvm: Attempt::Worked("1".to_owned()),
                kit: Attempt::Worked("QEMU 10 and Linux 6.12".to_owned()),
                cgroup: Attempt::Worked("cpu (v2), memory (v2), pids (v2)".to_owned()),
                free_bytes: Some(50 << 30),
                file_system: Some("ext4".to_owned()),
            },
            uid: 1000,
            kernel: "6.1.0-13-amd64",
        };
        for (path, text) in [
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"),
            ("etc/subuid", "bob:100000:65536\nann:165536:65536\n"),
            ("etc/subgid", "1000:165536:65536\n"),
            ("proc/self/status", "Name:\tx\nSeccomp:\t0\n"),
            ("proc/self/ns/user", ""),
            ("proc/sys/kernel/seccomp/actions_avail", "kill_process errno allow\n"),
            ("proc/filesystems", "nodev\toverlay\n\text4\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
            ("dev/kvm", ""),
            ("usr/sbin/mke2fs", ""),
            ("usr/bin/newuidmap", ""),
            ("usr/bin/newgidmap", ""),
            ("usr/bin/mmdebstrap", ""),
            ("usr/bin/apt-get", ""),
            ("usr/share/keyrings/debian-archive-keyring.gpg", "k"),
        ] {
            machine.has(path, text);
        }
        for tool in ["usr/bin/newuidmap", "usr/bin/newgidmap"] {
            fs::set_permissions(machine.root.path().join(tool), fs::Permissions::from_mode(0o4755)).unwrap();
        }
        machine
    }

    fn has(&self, path: &str, text: &str) {
        let place = self.root.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
    }

    fn lacks(&self, path: &str) {
        let place = self.root.path().join(path);
        if place.is_dir() { fs::remove_dir_all(place).unwrap() } else { fs::remove_file(place).unwrap() }
    }

    fn judged(&self) -> Findings {
        judge(&HostFacts::beneath(self.root.path(), self.uid, self.kernel), &self.trials)
    }
}

fn named<'a>(findings: &'a Findings, name: &str) -> &'a Check {
    findings.checks.iter().find(|check| check.name == name).unwrap()
}

#[test]
fn a_sound_machine_passes_as_user_and_as_root() {
    let mut machine = Machine::sound();
    let findings = machine.judged();
    assert!(findings.ok);
    assert_eq!(findings.best, "namespaces, with your range of ids inside; with --isolation microvm a kernel of its own");
    for check in findings.checks.iter().filter(|check| !["landlock"].contains(&check.name.as_str())) {
        assert_eq!((check.status, &check.fix), (CheckStatus::Ok, &None), "{}: {}", check.name, check.detail);
    }
    machine.uid = 0;
    machine.trials.mapped_mounts = worked();
    let findings = machine.judged();
    assert!(findings.ok, "{findings:?}");
    assert!(findings.best.contains("id range of its own"));
}

#[test]
fn each_fault_is_named_with_its_setting() {
    type Fault = fn(&mut Machine);
    let table: &[(&str, Fault, CheckStatus, bool, &str)] = &[
        ("kernel", |machine| machine.kernel = "4.19.0", CheckStatus::Missing, false, "5.11"),
        ("kernel", |machine| machine.kernel = "custom", CheckStatus::Limited, true, ""),
        (
            "user namespaces",
            |machine| {
                machine.has("proc/sys/kernel/unprivileged_userns_clone", "0\n");
                machine.trials.user_namespace = refused("Operation not permitted");
            },
            CheckStatus::Missing,
            false,
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            "user namespaces",
            |machine| {
                machine.has("proc/sys/user/max_user_namespaces", "0\n");
                machine.trials.user_namespace = refused("No space left on device");
            },
            CheckStatus::Missing,
            false,
            "user.max_user_namespaces=15000",
        ),
        (
            "user namespaces",
            |machine| {
                machine.has("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
                machine.trials.user_namespace = refused("Permission denied");
            },
            CheckStatus::Missing,
            false,
            "apparmor_restrict_unprivileged_userns=0",
        ),
        (
            "user namespaces",
            |machine| {
                machine.has(".dockerenv", "");
                machine.trials.user_namespace = refused("Operation not permitted");
            },
            CheckStatus::Missing,
            false,
            "seccomp=unconfined",
        ),
        (
            "user namespaces",
            |machine| {
                machine.lacks("proc/self/ns/user");
                machine.trials.user_namespace = refused("Invalid argument");
            },
            CheckStatus::Missing,
            false,
            "CONFIG_USER_NS",
        ),
        (
            "mount namespaces",
            |machine| {
                machine.uid = 0;
                machine.trials.mount_namespace = refused("Operation not permitted");
            },
            CheckStatus::Missing,
            false,
            "SYS_ADMIN",
        ),
        (
            "overlay",
            |machine| {
                machine.has("proc/filesystems", "\text4\n");
                machine.trials.overlay = refused("unknown filesystem type");
            },
            CheckStatus::Missing,
            false,
            "modprobe overlay",
        ),
        (
            "overlay",
            |machine| {
                machine.trials.file_system = Some("overlay".to_owned());
                machine.trials.overlay = refused("Invalid argument");
            },
            CheckStatus::Missing,
            false,
            "PYRO_HOME",
        ),
        (
            "mapped mounts",
            |machine| {
                machine.uid = 0;
                machine.trials.mapped_mounts = refused("Invalid argument");
            },
            CheckStatus::Missing,
            false,
            "ext4",
        ),
        ("id ranges", |machine| machine.lacks("usr/bin/newuidmap"), CheckStatus::Limited, true, "install uidmap"),
        (
            "id ranges",
            |machine| machine.has("etc/subuid", "bob:100000:65536\n"),
            CheckStatus::Limited,
            true,
            "usermod --add-subuids",
        ),
        (
            "id ranges",
            |machine| machine.has("etc/subgid", "ann:100000:1000\n"),
            CheckStatus::Limited,
            true,
            "usermod --add-subgids",
        ),
        (
            "id ranges",
            |machine| {
                let tool = machine.root.path().join("usr/bin/newgidmap");
                fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).unwrap();
            },
            CheckStatus::Limited,
            true,
            "chmod u+s",
        ),
        ("id ranges", |machine| machine.trials.id_range = refused("write failed"), CheckStatus::Limited, true, "subuid"),
        (
            "seccomp",
            |machine| {
                machine.lacks("proc/sys/kernel/seccomp");
                machine.has("proc/self/status", "Name:\tx\n");
            },
            CheckStatus::Missing,
            false,
            "CONFIG_SECCOMP_FILTER",
        ),
        ("cgroups", |machine| machine.lacks("sys/fs/cgroup"), CheckStatus::Limited, true, "mount cgroup2"),
        (
            "cgroups",
            |machine| machine.trials.cgroup = refused("Permission denied"),
            CheckStatus::Limited,
            true,
            "systemd-run --user",
        ),
        (
            "cgroups",
            |machine| machine.trials.cgroup = Attempt::Worked("memory (v2), pids (v2)".to_owned()),
            CheckStatus::Limited,
            true,
            "Delegate",
        ),
        ("disk", |machine| machine.trials.free_bytes = Some(2 << 30), CheckStatus::Limited, true, "PYRO_HOME"),
        ("disk", |machine| machine.trials.free_bytes = Some(1 << 20), CheckStatus::Missing, true, "PYRO_HOME"),
        ("disk", |machine| machine.trials.file_system = Some("nfs4".to_owned()), CheckStatus::Missing, true, "PYRO_HOME"),
        ("mmdebstrap", |machine| machine.lacks("usr/bin/mmdebstrap"), CheckStatus::Limited, true, "install mmdebstrap"),
        ("mmdebstrap", |machine| machine.lacks("usr/share/keyrings"), CheckStatus::Limited, true, "debian-archive-keyring"),
        (
            "kvm",
            |machine| machine.trials.kvm = refused("Permission denied (os error 13)"),
            CheckStatus::Limited,
            true,
            "usermod -aG kvm ann",
        ),
        ("kvm", |machine| machine.trials.kvm = Attempt::Worked("1200".to_owned()), CheckStatus::Limited, true, "nested"),
        ("kvm", |machine| machine.trials.kvm = refused("no answer within 5 s"), CheckStatus::Limited, true, ""),
        ("kvm", |machine| machine.lacks("dev/kvm"), CheckStatus::Limited, true, "kvm_intel"),
        ("microvm", |machine| machine.lacks("usr/sbin/mke2fs"), CheckStatus::Limited, true, "e2fsprogs"),
        (
            "microvm",
            |machine| machine.trials.kit = Attempt::NotTried("not built".to_owned()),
            CheckStatus::Limited,
            true,
            "env build microvm",
        ),
        ("microvm", |machine| machine.trials.kit = refused("damaged"), CheckStatus::Limited, true, "--rebuild"),
        (
            "terminals",
            |machine| machine.trials.terminal = refused("No such file or directory"),
            CheckStatus::Limited,
            true,
            "devpts",
        ),
    ];
    for (name, fault, status, ok, fix) in table {
        let mut machine = Machine::sound();
        fault(&mut machine);
        let findings = machine.judged();
        let check = named(&findings, name);
        assert_eq!((check.status, findings.ok), (*status, *ok), "{name} {fix}: {}", check.detail);
        assert!(check.fix.as_deref().unwrap_or_default().contains(fix), "{name}: {:?} lacks {fix}", check.fix);
        assert_eq!(findings.best.starts_with("none"), !ok, "{}", findings.best);
    }
}

#[test]
fn an_empty_machine_is_judged_all_the_same() {
    let root = tempfile::tempdir().unwrap();
    let mut machine = Machine::sound();
    let nothing = Attempt::NotTried("cannot start it".to_owned());
    machine.trials = Trials {
        user_namespace: nothing.clone(),
        mount_namespace: nothing.clone(),
        overlay: nothing.clone(),
        mapped_mounts: nothing.clone(),
        id_range: nothing.clone(),
        terminal: nothing.clone(),
        kvm: nothing.clone(),
        kit: nothing.clone(),
        cgroup: nothing,
        free_bytes: None,
        file_system: None,
    };
    let findings = judge(&HostFacts::beneath(root.path(), 1000, ""), &machine.trials);
    assert!(
        findings
            .checks
            .iter()
            .all(|check| check.status != CheckStatus::Ok || ["landlock", "mapped mounts"].contains(&check.name.as_str())),
        "{findings:?}"
    );
}

#[test]
fn this_machine_is_examined_without_our_own_program() {
    let home = tempfile::tempdir().unwrap();
    let findings = examine(&home.path().join("not/there/yet"), Path::new("/nonexistent/pyro"));
    assert_eq!(named(&findings, "user namespaces").status, CheckStatus::Limited);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "an attempt left something behind");
}

#[test]
fn an_unknown_probe_is_refused_by_name() {
    assert!(probe("moon", None).unwrap_err().contains("user-namespaces"));
    assert!(probe("overlay", None).unwrap_err().contains("directory"));
}
