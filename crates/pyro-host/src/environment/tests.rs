//! Catalogue, manifests, locks, sources, progress, the `host` environment. Building from a mirror is tested with the whole product.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use pyro_api::ErrorKind;

use super::manifest::{Manifest, ManifestMount, Stamp};
use super::*;

pub(super) const NOBODY: UsedBy<'_> = &|_| Vec::new();

fn layer(home: &Path, digest: &str) -> PathBuf {
    let relative = Path::new("layers").join(digest).join("root");
    fs::create_dir_all(home.join(&relative)).unwrap();
    relative
}

pub(super) fn written(home: &Path, name: &str, digest: &str) -> Manifest {
    let manifest = Manifest {
        name: name.to_owned(),
        kind: EnvironmentKind::Ordinary,
        digest: digest.to_owned(),
        description: "for a test".to_owned(),
        built_at: "2026-01-01T00:00:00Z".to_owned(),
        size_bytes: 7,
        contents: vec!["git".to_owned()],
        includes: Vec::new(),
        id_mode: IdMode::Root,
        mounts: vec![ManifestMount { at: "/".to_owned(), source: layer(home, digest) }],
        path: Vec::new(),
        stamps: Vec::new(),
    };
    manifest.write(home).unwrap();
    manifest
}

#[test]
fn the_catalogue_is_in_name_order_and_so_are_packages() {
    assert!(CATALOGUE.is_sorted_by_key(|entry| entry.name));
    for entry in CATALOGUE {
        if let CatalogueSource::Debian { packages, .. } = entry.source {
            assert!(packages.is_sorted(), "{}", entry.name);
        }
    }
}

#[test]
fn unknown_names_get_the_nearest_and_the_list() {
    let check = |name: &str, near: Option<&str>| {
        let error = resolve(Path::new("/nonexistent"), name).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        let hint = error.hint.unwrap();
        assert!(hint.contains("debian:12, debian:12-base, debian:12-build, host"), "{hint}");
        assert_eq!(hint.starts_with("did you mean"), near.is_some(), "{name}: {hint}");
        if let Some(near) = near {
            assert!(hint.starts_with(&format!("did you mean {near}?")), "{name}: {hint}");
        }
    };
    check("debian:21", Some("debian:12"));
    check("debian:12-bulid", Some("debian:12-build"));
    check("debian", Some("debian:12"));
    check("hots", Some("host"));
    check("alpine:3.20", None);
    check("ubuntu:24.04", None);
}

#[test]
fn an_environment_is_found_by_its_manifest_and_only_while_its_layer_is_there() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(resolve(home.path(), "debian:12").unwrap(), None);
    written(home.path(), "debian:12", "aa");
    let found = resolve(home.path(), "debian:12").unwrap().unwrap();
    assert_eq!(found.mounts, [EnvironmentMount { at: "/".to_owned(), source: home.path().join("layers/aa/root") }]);
    fs::remove_dir_all(home.path().join("layers/aa")).unwrap();
    assert_eq!(resolve(home.path(), "debian:12").unwrap(), None);
}

#[test]
fn a_damaged_manifest_is_said_and_can_be_removed() {
    let home = tempfile::tempdir().unwrap();
    written(home.path(), "debian:12", "aa");
    fs::write(home.path().join("environments/debian_12/manifest.json"), "{\"name\":").unwrap();
    let error = resolve(home.path(), "debian:12").unwrap_err();
    assert!(error.hint.unwrap().contains("env remove debian:12"));
    assert_eq!(remove(home.path(), "debian:12", NOBODY).unwrap().names, ["debian:12"]);
    assert_eq!(resolve(home.path(), "debian:12").unwrap(), None);
}

#[test]
fn a_copy_of_a_changed_file_makes_an_environment_not_current() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("ld.so.cache");
    fs::write(&file, "one").unwrap();
    let mut manifest = written(home.path(), "host", "aa");
    manifest.stamps = vec![Stamp::of(&file).unwrap()];
    manifest.write(home.path()).unwrap();
    assert!(resolve(home.path(), "host").unwrap().is_some());
    // Another file in its place, as package managers do it: another inode while the first is still there.
    fs::write(home.path().join("new"), "two").unwrap();
    fs::rename(home.path().join("new"), &file).unwrap();
    assert_eq!(resolve(home.path(), "host").unwrap(), None);
}

#[test]
fn what_a_workspace_uses_is_not_removed() {
    let home = tempfile::tempdir().unwrap();
    written(home.path(), "debian:12", "aa");
    let used = |digest: &str| if digest == "aa" { vec!["brave-otter".to_owned()] } else { Vec::new() };
    let error = remove(home.path(), "debian:12", &used).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Conflict, "debian:12 is used by brave-otter"));
    assert_eq!(prune(home.path(), &used).unwrap(), Removed::default());
    assert!(resolve(home.path(), "debian:12").unwrap().is_some());
    assert_eq!(view(&resolve(home.path(), "debian:12").unwrap().unwrap(), &used).workspace_count, 1);
}

#[test]
fn prune_takes_unused_environments_and_layers_that_a_rebuild_replaced() {
    let home = tempfile::tempdir().unwrap();
    written(home.path(), "debian:12", "old");
    written(home.path(), "debian:12", "new");
    written(home.path(), "debian:12-base", "base");
    let used = |digest: &str| if digest == "new" { vec!["w".to_owned()] } else { Vec::new() };
    let removed = prune(home.path(), &used).unwrap();
    assert_eq!(removed.names, ["debian:12-base", "layer old"]);
    let left: BTreeSet<_> = fs::read_dir(home.path().join("layers")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, BTreeSet::from(["new".into()]));
    assert_eq!(fs::read_dir(home.path().join("trash")).unwrap().count(), 2);
}

#[test]
fn removing_what_is_not_there_names_it() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(remove(home.path(), "debian:12", NOBODY).unwrap_err().message, "debian:12 is not built");
    assert_eq!(remove(home.path(), "debain:12", NOBODY).unwrap_err().message, "there is no environment debain:12");
}

#[test]
fn an_environment_that_is_being_built_is_neither_removed_nor_built_twice() {
    let home = tempfile::tempdir().unwrap();
    written(home.path(), "debian:12", "aa");
    let _lock = workdir::try_lock(&manifest::directory(home.path(), "debian:12")).unwrap().unwrap();
    assert_eq!(remove(home.path(), "debian:12", NOBODY).unwrap_err().kind, ErrorKind::Conflict);
    let said = RefCell::new(Vec::new());
    let options = BuildOptions { rebuild: false, includes: Vec::new(), id_mode: IdMode::Root };
    let error = build(home.path(), "debian:12", &options, &mut |progress| said.borrow_mut().push(progress.step), &|| {
        !said.borrow().is_empty()
    });
    assert_eq!(error.unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(*said.borrow(), ["waiting for another process that builds debian:12"]);
}

#[test]
fn only_unfinished_work_without_an_owner_is_swept() {
    let home = tempfile::tempdir().unwrap();
    let mine = workdir::WorkDirectory::new(home.path(), "build").unwrap();
    fs::create_dir(home.path().join("tmp/build-of-a-dead-one")).unwrap();
    assert_eq!(sweep(home.path()).unwrap(), 1);
    assert!(mine.path().is_dir());
    drop(mine);
    assert_eq!(fs::read_dir(home.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(home.path().join("trash")).unwrap().count(), 2);
}

#[test]
fn includes_belong_to_host_only() {
    let home = tempfile::tempdir().unwrap();
    let options = BuildOptions { rebuild: false, includes: vec!["/opt/x".to_owned()], id_mode: IdMode::Root };
    assert_eq!(build(home.path(), "debian:12", &options, &mut |_| {}, &|| false).unwrap_err().kind, ErrorKind::Invalid);
}

/// Sources of apt in a file of that name.
fn sources_in(name: &str, text: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    fs::write(&file, text).unwrap();
    let found = sources::of_suite("bookworm", &[file], true);
    sources::lines(&found, true).lines().map(str::to_owned).collect()
}

const KEYRING: &str = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";

#[test]
fn sources_are_debians_own_for_the_suite() {
    let lines = "deb http://mirror.test/debian bookworm main contrib # ours\n\
        deb-src http://mirror.test/debian bookworm main\n\
        # deb http://mirror.test/debian bookworm-updates main\n\
        deb [arch=amd64 trusted=yes] http://mirror.test/debian-security/ bookworm-security main\n\
        deb http://elsewhere.test/ bookworm main\n\
        deb http://vendor.test/debian bookworm stable\n";
    assert_eq!(sources_in("a.list", lines), [
        format!("deb {KEYRING} http://mirror.test/debian bookworm main"),
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg trusted=yes] http://mirror.test/debian-security/ bookworm-security main".to_owned(),
    ]);
    let paragraphs = "# a comment\nTypes: deb deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm\n bookworm-updates\nComponents: main\nSigned-By: /k/debian-archive.gpg\n\n\
        Types: deb\nEnabled: no\nURIs: http://off.test/debian\nSuites: bookworm-security\nComponents: main\n";
    assert_eq!(
        sources_in("a.sources", paragraphs),
        [
            "deb [signed-by=/k/debian-archive.gpg] http://mirror.test/debian bookworm main",
            "deb [signed-by=/k/debian-archive.gpg] http://mirror.test/debian bookworm-updates main",
        ]
    );
}

#[test]
fn another_release_lends_its_mirror() {
    let lines = "deb http://mirror.test/debian trixie main\ndeb http://mirror.test/debian trixie-updates main\ndeb http://s.test/debian-security trixie-security main\n";
    assert_eq!(
        sources_in("a.list", lines),
        [
            format!("deb {KEYRING} http://mirror.test/debian bookworm main"),
            format!("deb {KEYRING} http://mirror.test/debian bookworm-updates main"),
            format!("deb {KEYRING} http://s.test/debian-security bookworm-security main"),
        ]
    );
    assert_eq!(sources_in("a.list", "deb http://archive.test/ubuntu noble main\n"), [""; 0]);
    assert_eq!(sources_in("a.list", "deb cdrom:[Debian]/debian bookworm main\n"), [""; 0]);
}

#[test]
fn no_password_of_a_mirror_stays_in_the_environment() {
    let source = sources::Source {
        uri: "https://user:secret@mirror.test:8080/debian".to_owned(),
        suite: "bookworm".to_owned(),
        signed_by: Some("/etc/apt/keyrings/own.gpg".to_owned()),
        trusted: false,
    };
    assert_eq!(sources::lines(&[source], false), "deb https://mirror.test:8080/debian bookworm main\n");
}

#[test]
fn progress_follows_the_lines_of_a_build() {
    let mut lines = progress::BuildLines::new("debian:12");
    let mut at = |line: &str| lines.take(line).map(|now| (now.step, now.done, now.total));
    let step = |step: &str, done, total| Some((format!("{step} debian:12"), done, total));
    assert_eq!(at("I: running apt-get update..."), step("reading the package lists of", 0, None));
    assert_eq!(at("Get:1 http://mirror.test bookworm InRelease"), step("reading the package lists of", 1, None));
    assert_eq!(at("I: downloading packages with apt..."), step("downloading", 0, None));
    assert_eq!(at("0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded."), None);
    assert_eq!(at("Get:1 http://mirror.test bookworm/main amd64 a"), step("downloading", 1, Some(2)));
    assert_eq!(at("Get:2 http://mirror.test bookworm/main amd64 b"), step("downloading", 2, Some(2)));
    assert_eq!(at("Fetched 29.7 MB in 0s (202 MB/s)"), None);
    assert_eq!(at("I: extracting archives..."), step("extracting", 0, None));
    assert_eq!(at("I: installing essential packages..."), step("configuring", 0, Some(2)));
    assert_eq!(at("Setting up a (1) ..."), step("configuring", 1, Some(2)));
    assert_eq!(at("I: creating tarball..."), step("packing", 0, None));
    assert_eq!(at("\u{fffd} nonsense"), None);
}

#[test]
fn a_failed_build_tells_the_line_that_says_why() {
    let mut lines = progress::BuildLines::new("debian:12");
    for line in [
        "Get:1 x",
        "tar: ./usr/x: Cannot write: No space left on device",
        "E: tar --extract failed: 512",
        "I: main() received signal PIPE",
        "E: mmdebstrap failed to run",
    ] {
        lines.take(line);
    }
    assert_eq!(lines.error(), "tar: ./usr/x: Cannot write: No space left on device; E: tar --extract failed: 512");
    assert!(lines.error_says("No space left"));
}

/// A machine in a directory, with what must never be shown planted all over it.
fn machine() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = |path: &str, mode: u32, content: &str| {
        let place = root.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, content).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
    };
    for path in
        ["usr/bin/bash", "usr/bin/git", "usr/lib/libc.so.6", "opt/node/bin/node", "home/ann/.rustup/bin/rustc", "home/ann/notes"]
    {
        file(path, 0o755, "program");
    }
    for path in [
        "etc/ld.so.cache",
        "etc/profile",
        "etc/alternatives/README",
        "etc/python3.11/sitecustomize.py",
        "etc/ssl/certs/ca.pem",
        "etc/ssl/openssl.cnf",
    ] {
        file(path, 0o644, "public");
    }
    file(
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/bash\nsvc:x:105:105::/opt/svc:/bin/false\nbob:x:1001:1001::/srv/bob:/bin/sh\n",
    );
    for path in SECRETS {
        file(path, 0o644, "SECRET");
    }
    // Where copying is allowed, but not these.
    file("etc/ssl/certs/server.pem", 0o644, "-----BEGIN PRIVATE KEY-----\nSECRET\n");
    file("etc/alternatives/hidden", 0o600, "SECRET");
    fs::create_dir(root.path().join("etc/ssl/certs/closed")).unwrap();
    file("etc/ssl/certs/closed/x.pem", 0o644, "SECRET");
    fs::set_permissions(root.path().join("etc/ssl/certs/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("usr/bin", root.path().join("bin")).unwrap();
    symlink("/srv/lib", root.path().join("lib64")).unwrap();
    symlink("/etc/shadow", root.path().join("etc/localtime")).unwrap();
    fs::create_dir(root.path().join("lib32")).unwrap();
    fs::create_dir_all(root.path().join("srv/bob")).unwrap();
    root
}

const SECRETS: &[&str] = &[
    "etc/shadow",
    "etc/gshadow",
    "etc/ssl/private/key.pem",
    "etc/ssh/ssh_host_rsa_key",
    "etc/environment",
    "etc/profile.d/token.sh",
    "etc/gitconfig",
    "etc/npmrc",
    "etc/pip.conf",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/machine-id",
    "etc/sudoers",
    "etc/apt/auth.conf",
    "root/.ssh/id_rsa",
    "home/ann/.ssh/id_ed25519",
    "var/lib/data",
    "run/secret",
];

#[test]
fn the_host_layer_holds_nothing_but_the_allow_list() {
    let root = machine();
    let plan = host_environment::plan(
        root.path(),
        vec!["/opt/node".to_owned(), "/home/ann/.rustup".to_owned(), "/opt/node/bin".to_owned()],
    )
    .unwrap();
    assert_eq!(plan.mounts, ["/usr", "/lib32", "/home/ann/.rustup", "/opt/node"]);
    assert_eq!(plan.path, ["/home/ann/.rustup/bin", "/opt/node/bin"]);
    let out = tempfile::tempdir().unwrap();
    let layer = out.path().join("root");
    plan.write(&layer).unwrap();
    let mut found = BTreeSet::new();
    let mut waiting = vec![layer.clone()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                waiting.push(path);
                continue;
            }
            assert!(kind.is_file() || kind.is_symlink(), "{}", path.display());
            if kind.is_file() {
                assert!(!fs::read_to_string(&path).unwrap().contains("SECRET"), "{}", path.display());
            }
            found.insert(path.strip_prefix(&layer).unwrap().to_str().unwrap().to_owned());
        }
    }
    let expected = [
        "bin",
        "etc/alternatives/README",
        "etc/group",
        "etc/hostname",
        "etc/hosts",
        "etc/ld.so.cache",
        "etc/localtime",
        "etc/machine-id",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/profile",
        "etc/python3.11/sitecustomize.py",
        "etc/resolv.conf",
        "etc/ssl/certs/ca.pem",
        "etc/ssl/openssl.cnf",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
    assert_eq!(fs::read_link(layer.join("bin")).unwrap(), Path::new("usr/bin"));
    // Mount points are there, empty, with what is above them.
    assert_eq!(fs::read_dir(layer.join("home/ann/.rustup")).unwrap().count(), 0);
    assert_eq!(fs::metadata(layer.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
    assert!(!fs::read_to_string(layer.join("etc/passwd")).unwrap().contains("ann"));
}

#[test]
fn the_digest_of_host_follows_its_content_and_its_mounts() {
    let root = machine();
    let digest = |includes: &[&str]| {
        host_environment::plan(root.path(), includes.iter().map(|&include| include.to_owned()).collect()).unwrap().digest()
    };
    let before = digest(&[]);
    assert_eq!(before, digest(&[]));
    assert_ne!(before, digest(&["/opt/node"]));
    fs::write(root.path().join("etc/ld.so.cache"), "other").unwrap();
    assert_ne!(before, digest(&[]));
}

#[test]
fn directories_that_may_not_be_shown_are_refused_with_the_reason() {
    let root = machine();
    let at = |path: &str| root.path().join(path);
    fs::create_dir_all(at("opt/open/bin")).unwrap();
    fs::set_permissions(at("opt/open"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir_all(at("opt/keys/deep/down/here/.gnupg")).unwrap();
    fs::create_dir_all(at("opt/cargo")).unwrap();
    fs::write(at("opt/cargo/credentials.toml"), "").unwrap();
    fs::create_dir_all(at("opt/sockets")).unwrap();
    let _socket = UnixListener::bind(at("opt/sockets/s")).unwrap();
    symlink("node", at("opt/link")).unwrap();
    fs::write(at("opt/file"), "").unwrap();
    let refused = |include: &str, why: &str| {
        let error = include::check(root.path(), include).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound), "{include}: {error}");
        assert!(error.message.contains(why), "{include}: {error}");
    };
    for (include, why) in [
        ("/", "whole machine"),
        ("opt/node", "not a whole path"),
        ("/opt/../etc", "not a whole path"),
        ("/etc", "configuration"),
        ("/etc/ssl", "configuration"),
        ("/proc/self", "kernel"),
        ("/sys", "kernel"),
        ("/dev/shm", "devices"),
        ("/run/user", "sockets"),
        ("/var/lib", "services"),
        ("/tmp/x", "everybody"),
        ("/usr/lib", "already"),
        ("/lib32", "already"),
        ("/home", "home directory"),
        ("/home/ann", "home directory"),
        ("/root", "home directory"),
        ("/srv", "home directory"),
        ("/srv/bob", "home directory"),
        ("/home/ann/.ssh", "keys"),
        ("/home/ann/.config/tool", "keys"),
        ("/opt/open", "everybody can write"),
        ("/opt/open/bin", "everybody can write"),
        ("/opt/keys", "may hold keys"),
        ("/opt/cargo", "may hold keys"),
        ("/opt/sockets", "socket"),
        ("/opt/link", "is a link"),
        ("/opt/file", "not a directory"),
        ("/opt/missing", "no directory"),
        ("/opt/a:b", "character"),
    ] {
        refused(include, why);
    }
    assert_eq!(include::check(root.path(), "/opt/node/").unwrap(), "/opt/node");
    assert_eq!(include::check(root.path(), "/home/ann/.rustup").unwrap(), "/home/ann/.rustup");
}

#[test]
fn this_machine_as_environment_shows_no_home_and_no_key() {
    let home = tempfile::tempdir().unwrap();
    let options = BuildOptions { rebuild: false, includes: Vec::new(), id_mode: IdMode::Root };
    let built = build(home.path(), HOST, &options, &mut |_| {}, &|| false).unwrap();
    assert_eq!(resolve(home.path(), HOST).unwrap().as_ref(), Some(&built));
    for mount in &built.mounts[1..] {
        assert!(include::SHOWN_ALREADY.iter().any(|shown| Path::new(&mount.at).starts_with(shown)), "{}", mount.at);
    }
    let root = &built.mounts[0].source;
    for absent in [
        "etc/shadow",
        "etc/ssl/private",
        "etc/ssh",
        "etc/sudoers",
        "etc/environment",
        "etc/profile.d",
        "etc/apt",
        "var/run",
        "root/.ssh",
    ] {
        assert!(fs::symlink_metadata(root.join(absent)).is_err(), "{absent}");
    }
    for empty in ["home", "root", "run", "proc", "sys", "dev", "tmp", "usr", "var/lib"] {
        assert_eq!(fs::read_dir(root.join(empty)).unwrap().count(), 0, "{empty}");
    }
}
