//! Who is compared, how each is called so that it works on this host, and what each call does not do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::project::{Context as _, Result, which};

/// One way to run `/bin/true` in a sandbox.
pub struct Candidate {
    /// Name in the table.
    pub name: &'static str,
    /// What is special about this call.
    pub note: String,
    /// Program and arguments; `{n}` becomes a number that is new each time.
    pub argv: Vec<String>,
    /// It refuses a hybrid cgroup tree: it gets a mount namespace in which the v2 tree is not mounted.
    pub needs_one_cgroup_tree: bool,
}

/// What the calls depend on.
pub struct Setting<'a> {
    /// The binary of pyro.
    pub pyro: &'a Path,
    /// The root file system, the same for all.
    pub rootfs: &'a Path,
    /// A directory that the user of the candidates owns.
    pub scratch: &'a Path,
    /// Its user and group id.
    pub ids: (u32, u32),
    /// Its subordinate ids: first user id, first group id.
    pub range: Option<(u32, u32)>,
}

/// What is measured.
pub const TRUE: &[&str] = &["/bin/true"];

/// What proves that a candidate runs the command at all and passes its exit status on: a candidate that does nothing is quick too.
pub const PROOF: &[&str] = &["/bin/sh", "-c", "exit 7"];

/// How a worker reports the status of the proof.
pub const PROOF_STATUS: &str = "exit status: 7:";

/// Every candidate with this command, pyro first. Those that are not installed are there too: running them says so.
pub fn candidates(setting: &Setting, run: &[&str]) -> Result<Vec<Candidate>> {
    let rootfs = setting.rootfs.to_string_lossy().into_owned();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let pyro = setting.pyro.to_string_lossy();

    let (bwrap_root, bwrap_note) = if bwrap_has_overlay() {
        (
            words(&["--overlay-src", &rootfs, "--tmp-overlay", "/"]),
            "as far as bwrap goes: overlay, one user id, no system call filter, no cgroup",
        )
    } else {
        (
            words(&["--ro-bind", &rootfs, "/"]),
            "as far as this bwrap goes: root file system read-only, no overlay, one user id, no system call filter, no cgroup",
        )
    };
    let mut isolated = words(&["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]);
    isolated.extend(bwrap_root);
    isolated.extend(words(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run"]));
    isolated.extend(words(run));

    let bundle = bundle(setting, run)?;
    let state = |name: &str| setting.scratch.join(name).to_string_lossy().into_owned();
    let mut podman = words(&["podman", "--log-level", "error", "--cgroup-manager", "cgroupfs"]);
    podman.extend(words(&["--root", &state("podman"), "--runroot", &state("podman-run"), "--tmpdir", &state("podman-tmp")]));
    podman.extend(words(&["run", "--rm", "--network", "none", "--cgroups", "disabled"]));
    // Its default limits are above what a container without CAP_SYS_RESOURCE may set: ask for small ones.
    podman.extend(words(&["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]));
    podman.extend(words(&["--rootfs", &format!("{rootfs}:O")]));
    podman.extend(words(run));
    let mut minimum = words(&["bwrap", "--ro-bind", &rootfs, "/"]);
    minimum.extend(words(run));
    let mut own = words(&[&pyro, "run", "debian:12", "--"]);
    own.extend(words(run));

    Ok(vec![
        Candidate {
            name: "pyro run",
            note: "everything that pyro isolates, cgroup limits where the host gives them".to_owned(),
            argv: own,
            needs_one_cgroup_tree: false,
        },
        Candidate {
            name: "bwrap, its minimum",
            note: "a mount namespace and nothing else: no pid, network, ipc or uts namespace".to_owned(),
            argv: minimum,
            needs_one_cgroup_tree: false,
        },
        Candidate { name: "bwrap, isolated", note: bwrap_note.to_owned(), argv: isolated, needs_one_cgroup_tree: false },
        Candidate {
            name: "crun run",
            note: "root file system read-only, no overlay, no cgroup".to_owned(),
            argv: words(&[
                "crun",
                "--cgroup-manager",
                "disabled",
                "--root",
                &state("crun"),
                "run",
                "--bundle",
                &bundle.to_string_lossy(),
                "bench-{n}",
            ]),
            needs_one_cgroup_tree: true,
        },
        Candidate {
            name: "podman run",
            note: "overlay over the same root file system, no cgroup".to_owned(),
            argv: podman,
            needs_one_cgroup_tree: true,
        },
    ])
}

/// Versions, one line each, of what is installed.
pub fn versions() -> Vec<String> {
    ["bwrap", "crun", "podman"]
        .into_iter()
        .filter_map(|program| {
            let output = Command::new(program).arg("--version").output().ok()?;
            String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
        })
        .collect()
}

fn bwrap_has_overlay() -> bool {
    which("bwrap").is_some_and(|bwrap| {
        Command::new(bwrap).arg("--help").output().is_ok_and(|output| {
            [output.stdout, output.stderr].iter().any(|text| String::from_utf8_lossy(text).contains("--tmp-overlay"))
        })
    })
}

/// An OCI bundle over the root file system: namespaces, a fresh /proc and /dev, no capabilities, `no_new_privs`.
fn bundle(setting: &Setting, run: &[&str]) -> Result<PathBuf> {
    let (uid, gid) = setting.ids;
    let mut namespaces = vec![
        json!({ "type": "pid" }),
        json!({ "type": "network" }),
        json!({ "type": "ipc" }),
        json!({ "type": "uts" }),
        json!({ "type": "mount" }),
    ];
    let mut linux = serde_json::Map::new();
    if uid != 0 {
        namespaces.push(json!({ "type": "user" }));
        let map = |own: u32, first: Option<u32>| {
            let mut map = vec![json!({ "containerID": 0, "hostID": own, "size": 1 })];
            map.extend(first.map(|first| json!({ "containerID": 1, "hostID": first, "size": 65_535 })));
            map
        };
        linux.insert("uidMappings".to_owned(), map(uid, setting.range.map(|range| range.0)).into());
        linux.insert("gidMappings".to_owned(), map(gid, setting.range.map(|range| range.1)).into());
    }
    linux.insert("namespaces".to_owned(), namespaces.into());
    let capabilities = json!({ "bounding": [], "effective": [], "permitted": [] });
    let tmpfs = |at: &str| json!({ "destination": at, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] });
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": run,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": capabilities,
        },
        "root": { "path": setting.rootfs, "readonly": true },
        "hostname": "bench",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            tmpfs("/dev"),
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] },
            tmpfs("/dev/shm"),
            tmpfs("/run"),
        ],
        "linux": linux,
    });
    let folder = setting.scratch.join(if run == TRUE { "bundle" } else { "bundle-proof" });
    fs::create_dir_all(&folder).context(folder.display())?;
    fs::write(folder.join("config.json"), config.to_string()).context(folder.display())?;
    Ok(folder)
}
