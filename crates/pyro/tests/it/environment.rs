//! `pyro env`, and the `host` environment: the machine's own programs without its users' files.

use std::fs;
use std::process::Command;

use pyro_testkit::Mode;
use serde_json::{Value, json};

use crate::{HOST_DIRECTORIES, case, namespaces_case};

#[test]
fn environments_are_listed_and_described() {
    case(|env| {
        let listed: Value = env.json(&["env", "list"]);
        let all = listed["environments"].as_array().expect("a list");
        let of =
            |name: &str| all.iter().find(|one| one["environment"] == name).unwrap_or_else(|| panic!("{name} is not in {listed:#}"));
        for name in ["debian:12", "debian:12-base", "debian:12-build", "host", "microvm"] {
            assert!(of(name)["description"].as_str().is_some_and(|text| !text.is_empty()));
        }
        assert_eq!(of("debian:12")["built"], true);
        assert!(of("debian:12")["contents"].as_array().is_some_and(|packages| packages.contains(&json!("git"))));
        let one: Value = env.json(&["env", "inspect", "debian:12"]);
        assert!(one["digest"].is_string() && one["size_bytes"].as_u64().is_some_and(|size| size > 50 << 20), "{one:#}");
        let ran = env.pyro(&["env", "list"]).expect_ok();
        assert!(ran.stdout.contains("debian:12-build"), "{}", ran.all());
        env.pyro(&["env", "inspect", "debian:13"]).expect_error(125, "debian:12");
        env.pyro(&["env", "build", "alpine"]).expect_error(125, "alpine");
    });
}

#[test]
fn the_environment_is_what_it_says() {
    case(|env| {
        let ran =
            env.pyro(&["run", "--", "sh", "-c", "cat /etc/debian_version; git --version; ls /etc/ssl/certs | wc -l"]).expect_ok();
        assert!(ran.stdout.starts_with("12.") && ran.stdout.contains("git version"), "{}", ran.all());
        // Read-only under copy-on-write: changed in one, as it was in the next.
        env.pyro(&["run", "debian:12", "--", "sh", "-c", "rm -rf /usr/bin/git /etc/ssl; echo x >/usr/new"]).expect_ok();
        env.pyro(&["run", "debian:12", "--", "sh", "-c", "test -x /usr/bin/git && test -d /etc/ssl && test ! -e /usr/new"])
            .expect_ok();
    });
}

#[test]
fn an_environment_that_is_used_is_kept_and_one_that_is_not_is_pruned() {
    namespaces_case(HOST_DIRECTORIES, |env| {
        let env = env.empty();
        env.pyro(&["env", "build", "host"]).expect_ok();
        env.pyro(&["workspace", "create", "host", "--name", "user"]).expect_ok();
        let ran = env.pyro(&["env", "remove", "host"]);
        assert!(ran.code == 125 && ran.stderr.contains("user"), "{}", ran.all());
        env.pyro(&["env", "prune"]).expect_ok();
        env.pyro(&["workspace", "exec", "user", "--", "true"]).expect_ok();
        env.pyro(&["workspace", "delete", "user"]).expect_ok();
        env.pyro(&["env", "remove", "host"]).expect_ok();
        assert_eq!(env.json::<Value>(&["env", "inspect", "host"])["built"], false);
        env.pyro(&["env", "remove", "host"]);
    });
}

#[test]
fn what_microvms_are_made_of_is_built_and_nothing_runs_in_it() {
    case(|env| {
        if !cfg!(target_arch = "x86_64") {
            env.pyro(&["env", "build", "microvm"]).expect_error(125, "x86_64");
            return;
        }
        // Before it is built it is refused too, and not built for that.
        let fresh = env.empty();
        fresh.pyro(&["run", "microvm", "--", "true"]).expect_error(2, "no environment to run in");
        assert_eq!(fresh.json::<Value>(&["env", "inspect", "microvm"])["built"], false);

        env.environment("microvm");
        let one: Value = env.json(&["env", "inspect", "microvm"]);
        assert!(one["size_bytes"].as_u64().is_some_and(|size| size > 50 << 20), "{one:#}");
        assert!(one["notes"].to_string().contains("QEMU "), "{one:#}");
        for arguments in [["run", "microvm", "--", "true"].as_slice(), &["workspace", "create", "microvm"]] {
            env.pyro(arguments).expect_error(2, "no environment to run in");
        }
        let layer = env.home().join("layers").join(one["digest"].as_str().expect("a digest"));
        let names = |directory: &str| {
            let entries = fs::read_dir(layer.join(directory)).expect("a directory of the kit").flatten();
            let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort_unstable();
            names
        };
        // Nothing but the monitor, what it loads, and places for mounts.
        assert_eq!(names("root"), ["dev", "lib64", "proc", "qboot.rom", "qemu", "run", "sys", "tmp", "usr", "workspace"]);
        assert_eq!((names("root/usr"), names("root/usr/lib")), (vec!["lib".to_owned()], vec!["x86_64-linux-gnu".to_owned()]));
        assert!(names("root/usr/lib/x86_64-linux-gnu").iter().all(|name| name.contains(".so")));
        assert!(fs::read(layer.join("kernel")).expect("the kernel").starts_with(b"\x7fELF"));
        let modules = names("modules");
        assert!(modules.iter().any(|name| name.ends_with("-vmw_vsock_virtio_transport.ko")), "{modules:?}");
        assert!(fs::read(layer.join("modules").join(&modules[0])).expect("a module").starts_with(b"\x7fELF"));
        // Built again it is the same.
        let rebuilt = || {
            env.pyro(&["env", "build", "microvm", "--rebuild"]).expect_ok();
            env.json::<Value>(&["env", "inspect", "microvm"])["digest"].clone()
        };
        let again = rebuilt();
        // The first may be of an earlier day, and of packages that there are newer ones of.
        assert!(again == one["digest"] || rebuilt() == again, "{again} after {one:#}");
    });
}

#[test]
fn the_hosts_own_programs_run() {
    namespaces_case(HOST_DIRECTORIES, |env| {
        env.environment("host");
        for (program, flag) in [
            ("/usr/bin/python3", "--version"),
            ("/usr/bin/cc", "--version"),
            ("/usr/bin/node", "--version"),
            ("/usr/bin/perl", "-e1"),
        ] {
            if !fs::exists(program).unwrap_or(false) {
                continue;
            }
            let here = Command::new(program).arg(flag).output().expect("it runs here");
            let ran = env.pyro(&["run", "host", "--", program, flag]).expect_ok();
            assert_eq!(ran.stdout, String::from_utf8_lossy(&here.stdout), "{program}");
        }
        let program = "#include <stdio.h>\nint main(void) { puts(\"compiled\"); }\n";
        if fs::exists("/usr/bin/cc").unwrap_or(false) {
            let ran = env
                .pyro_with_stdin(&["run", "host", "--", "sh", "-ec", "cat >x.c; cc -o x x.c; ./x"], program.as_bytes())
                .expect_ok();
            assert_eq!(ran.stdout, "compiled\n");
        }
    });
}

#[test]
fn of_the_host_only_programs_are_seen() {
    namespaces_case(HOST_DIRECTORIES, |env| {
        env.environment("host");
        let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
        let user = fs::read_to_string("/etc/passwd").expect("accounts");
        let accounts: Vec<&str> =
            user.lines().filter_map(|line| line.split(':').next()).filter(|name| name.starts_with("pyro-test")).collect();
        let look = "ls -A /root /home /var /run /srv /opt /mnt 2>/dev/null; ls /etc/shadow /etc/gshadow /etc/ssh /etc/sudoers /var/run/docker.sock \
                    /run/docker.sock /etc/machine-id /etc/environment 2>/dev/null; cat /etc/passwd; cat /etc/shadow 2>/dev/null; cat /etc/machine-id";
        let ran = env.pyro(&["run", "host", "--", "sh", "-c", look]);
        for secret in ["shadow", "docker.sock", "sudoers", ".ssh", ".bashrc", ".cargo", "/etc/environment"] {
            assert!(!ran.stdout.contains(secret), "{secret}: {}", ran.all());
        }
        assert!(accounts.iter().all(|name| !ran.stdout.contains(name)), "{}", ran.all());
        if home != "/root" {
            env.pyro(&["run", "host", "--", "test", "!", "-e", &home]).expect_ok();
        }
        let canary = env.home().to_string_lossy().into_owned();
        env.pyro(&["run", "host", "--", "test", "!", "-e", &canary]).expect_ok();
        // And what is done to its programs is done to nobody else's.
        let change = "rm -f /usr/bin/perl; echo x >/usr/bin/new-program; test ! -e /usr/bin/perl";
        let ran = env.pyro(&["run", "host", "--", "sh", "-c", change]);
        // Files of the host's root have an owner inside only if root shows them: to others they are fixed.
        match Mode::ours() {
            Mode::Root => drop(ran.expect_ok()),
            Mode::Range | Mode::Single => drop(ran.expect_error(1, "Permission denied")),
        }
        assert!(fs::exists("/usr/bin/perl").unwrap_or(false) && !fs::exists("/usr/bin/new-program").unwrap_or(true));
    });
}
