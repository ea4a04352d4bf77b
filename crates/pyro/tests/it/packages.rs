//! Package managers at work, without a network: apt with maintainer scripts, pip, npm and git, in every mode of user ids.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_testkit::{Mode, TestEnv, skip};
use serde_json::json;

use crate::{HOST_DIRECTORIES, case, namespaces_case};

/// What a package may take on a busy machine.
const SECONDS: &str = "300";

fn write(path: &Path, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("make a folder");
    fs::write(path, content).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn workspace(env: &TestEnv, environment: &str, word: &str, seed: &Path) -> String {
    env.environment(environment);
    let name = env.name(word);
    env.pyro(&["workspace", "create", environment, "--name", &name, "--mem-mib", "2048", "--seed-path", &seed.to_string_lossy()])
        .expect_ok();
    name
}

fn sh(env: &TestEnv, ws: &str, line: &str) -> String {
    env.pyro(&["workspace", "exec", ws, "--timeout-seconds", SECONDS, "--", "sh", "-ec", line]).expect_ok().stdout
}

/// Packages of the environment's own distribution, where this machine has apt and its archive can be reached; or why not.
pub fn fetch(into: &Path, names: &[&str]) -> Result<(), String> {
    if !fs::read_to_string("/etc/os-release").is_ok_and(|text| text.contains("VERSION_ID=\"12\"")) {
        return Err("packages of this machine are not of the environment".to_owned());
    }
    let fetched = Command::new("apt-get").arg("download").args(names).current_dir(into).output();
    if fs::read_dir(into).expect("list").count() == names.len() {
        return Ok(());
    }
    let why = fetched.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).into_owned());
    Err(why.lines().last().unwrap_or("they cannot be downloaded").to_owned())
}

/// A package whose scripts do what packages do: accounts, owners, set-ids, alternatives, a configuration file.
fn package(below: &Path) -> PathBuf {
    let tree = below.join("tree");
    write(&tree.join("usr/bin/story"), "#!/bin/sh\ncat /etc/story.conf\n", 0o755);
    write(&tree.join("etc/story.conf"), "told\n", 0o644);
    write(&tree.join("usr/lib/story/helper"), "#!/bin/sh\n", 0o755);
    write(
        &tree.join("DEBIAN/control"),
        "Package: story\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: tells one\n",
        0o644,
    );
    write(&tree.join("DEBIAN/conffiles"), "/etc/story.conf\n", 0o644);
    write(&tree.join("DEBIAN/preinst"), "#!/bin/sh\nset -e\necho \"preinst $1\" >>/var/log/story.log\n", 0o755);
    write(
        &tree.join("DEBIAN/postinst"),
        "#!/bin/sh\nset -e\necho \"postinst $1\" >>/var/log/story.log\n\
         getent passwd story >/dev/null || useradd --system --no-create-home story\n\
         mkdir -p /var/lib/story\nchown story:story /var/lib/story\nchown root:mail /usr/lib/story/helper\nchmod 2755 /usr/lib/story/helper\n\
         update-alternatives --install /usr/bin/tell tell /usr/bin/story 10\n",
        0o755,
    );
    write(
        &tree.join("DEBIAN/prerm"),
        "#!/bin/sh\nset -e\nupdate-alternatives --remove tell /usr/bin/story\necho \"prerm $1\" >>/var/log/story.log\n",
        0o755,
    );
    write(&tree.join("DEBIAN/postrm"), "#!/bin/sh\nset -e\necho \"postrm $1\" >>/var/log/story.log\n", 0o755);
    let seed = below.join("seed");
    fs::create_dir(&seed).expect("make a folder");
    let built = Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(seed.join("story.deb")).output();
    let built = built.expect("dpkg-deb is needed to build environments too");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    seed
}

#[test]
fn apt_installs_a_package_with_its_scripts_and_takes_it_away_again() {
    case(|env| {
        let here = env.scratch();
        let ws = workspace(env, "debian:12", "apt", &package(here.path()));
        let out = sh(env, &ws, "apt-get install -y ./story.deb 2>&1");
        assert!(out.contains("Setting up story"), "{out}");
        assert_eq!(sh(env, &ws, "story; tell; cat /var/log/story.log"), "told\ntold\npreinst install\npostinst configure\n");
        assert_eq!(
            sh(env, &ws, "dpkg -s story | grep ^Status; dpkg --verify story; getent passwd story | cut -d: -f1"),
            "Status: install ok installed\nstory\n"
        );
        if Mode::ours() != Mode::Single {
            assert_eq!(
                sh(env, &ws, "stat -c %U:%G /var/lib/story; stat -c '%a %G' /usr/lib/story/helper"),
                "story:story\n2755 mail\n"
            );
        }
        // It outlives a stop.
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        assert_eq!(sh(env, &ws, "tell"), "told\n");
        sh(env, &ws, "apt-get purge -y story 2>&1");
        assert_eq!(
            sh(env, &ws, "tail -n 3 /var/log/story.log; test ! -e /usr/bin/story; test ! -e /etc/story.conf"),
            "prerm remove\npostrm remove\npostrm purge\n"
        );
    });
}

#[test]
fn apt_installs_packages_of_the_distribution() {
    case(|env| {
        let here = env.scratch();
        // A package with a daemon's account and scripts among them.
        if let Err(why) = fetch(here.path(), &["hello", "cron", "cron-daemon-common", "sensible-utils"]) {
            return skip("packages of Debian 12", &why);
        }
        let ws = workspace(env, "debian:12", "distribution", here.path());
        let out = sh(env, &ws, "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ./*.deb 2>&1");
        assert!(out.contains("Setting up hello") && out.contains("Setting up cron"), "{out}");
        assert_eq!(sh(env, &ws, "hello; dpkg -l cron | tail -n 1 | cut -c1-2; dpkg --audit"), "Hello, world!\nii\n");
    });
}

#[test]
fn pip_installs_without_an_index() {
    case(|env| {
        let here = env.scratch();
        let project = here.path().join("project");
        write(&project.join("story/__init__.py"), "def tell():\n    return 'told by python'\n", 0o644);
        write(
            &project.join("setup.py"),
            "from setuptools import setup\nsetup(name='story', version='1.0', packages=['story'], entry_points={'console_scripts': ['tell=story:main']})\n",
            0o644,
        );
        write(&project.join("wheel.py"), WHEEL, 0o644);
        let ws = workspace(env, "debian:12-build", "pip", &project);
        sh(
            env,
            &ws,
            "python3 wheel.py && python3 -m venv venv && venv/bin/pip install --no-index ./story_wheel-1.0-py3-none-any.whl 2>&1",
        );
        assert_eq!(sh(env, &ws, "venv/bin/python -c 'import story_wheel; print(story_wheel.tell())'"), "told by a wheel\n");
        // From source, with what the environment has to build it with.
        let out = sh(
            env,
            &ws,
            "python3 -m venv --system-site-packages source && source/bin/pip install --no-index --no-build-isolation . 2>&1",
        );
        assert!(out.contains("Successfully installed story-1.0"), "{out}");
        assert_eq!(sh(env, &ws, "cd / && /workspace/source/bin/python -c 'import story; print(story.tell())'"), "told by python\n");
    });
}

/// Writes a wheel, which is a zip file with a table of its contents.
const WHEEL: &str = r#"import zipfile
with zipfile.ZipFile("story_wheel-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("story_wheel.py", "def tell():\n    return 'told by a wheel'\n")
    info = "story_wheel-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: story-wheel\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "story_wheel.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n")
"#;

#[test]
fn compilers_and_make_build_and_test_a_project() {
    case(|env| {
        let here = env.scratch();
        let project = here.path().join("project");
        write(
            &project.join("CMakeLists.txt"),
            "cmake_minimum_required(VERSION 3.20)\nproject(story CXX)\nadd_executable(story main.cpp)\nenable_testing()\nadd_test(NAME tells COMMAND story)\n",
            0o644,
        );
        write(
            &project.join("main.cpp"),
            "#include <iostream>\n#include <thread>\nint main() { std::thread([] { std::cout << \"told\\n\"; }).join(); }\n",
            0o644,
        );
        let ws = workspace(env, "debian:12-build", "cmake", &project);
        let out = sh(
            env,
            &ws,
            "cmake -S . -B build >/dev/null && make -C build -j2 >/dev/null && ./build/story && cd build && ctest 2>&1",
        );
        assert!(out.starts_with("told\n") && out.contains("100% tests passed"), "{out}");
    });
}

#[test]
fn git_works_on_a_seeded_repository() {
    case(|env| {
        let here = env.scratch();
        let project = here.path().join("project");
        write(&project.join("file.txt"), "one\n", 0o644);
        let ws = workspace(env, "debian:12", "git", &project);
        let script = "git config --global user.name t; git config --global user.email t@example.org; git init -q -b main; git add .; git commit -qm first; \
                      echo two >>file.txt; git commit -qam second; git clone -q . /tmp/clone; cd /tmp/clone; git log --format=%s; git fsck 2>&1; \
                      git gc -q; git checkout -q -b side HEAD~1; echo side >side; git add side; git commit -qm side; git merge -q main -m merged; cat file.txt side; \
                      git worktree add -q /tmp/tree main; ls /tmp/tree";
        assert_eq!(sh(env, &ws, script), "second\nfirst\none\ntwo\nside\nfile.txt\n");
        // One that was made on the host, and is owned by somebody else there.
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.current_dir(&project).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
            let output =
                git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(arguments).output().expect("git runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        git(&["init", "-q", "-b", "main"]);
        git(&["add", "."]);
        git(&["commit", "-qm", "of the host"]);
        let ws = workspace(env, "debian:12", "githost", &project);
        assert_eq!(
            sh(env, &ws, "git status --short; git log --format=%s; echo more >>file.txt; git diff --stat | tail -n 1"),
            "of the host\n 1 file changed, 1 insertion(+)\n"
        );
    });
}

#[test]
fn npm_installs_a_package_file() {
    namespaces_case(HOST_DIRECTORIES, |env| {
        if !fs::exists("/usr/bin/npm").unwrap_or(false) {
            return skip("npm", "this machine has none in /usr/bin for the host environment to show");
        }
        let here = env.scratch();
        let package = here.path().join("package");
        let scripts = json!({ "postinstall": "node -e \"require('fs').writeFileSync('ran', process.version)\"" });
        let manifest =
            json!({ "name": "story", "version": "1.0.0", "main": "index.js", "bin": { "tell": "tell.js" }, "scripts": scripts });
        write(&package.join("package.json"), &manifest.to_string(), 0o644);
        write(&package.join("index.js"), "module.exports = () => 'told by node'\n", 0o644);
        write(&package.join("tell.js"), "#!/usr/bin/env node\nconsole.log(require('./index.js')())\n", 0o755);
        let project = here.path().join("project");
        write(&project.join("package.json"), "{ \"name\": \"project\", \"version\": \"1.0.0\", \"private\": true }", 0o644);
        let packed =
            Command::new("tar").arg("-czf").arg(project.join("story.tgz")).arg("-C").arg(here.path()).arg("package").status();
        assert!(packed.expect("tar runs").success());
        let ws = workspace(env, "host", "npm", &project);
        sh(env, &ws, "npm install --offline --no-audit --no-fund ./story.tgz 2>&1");
        assert_eq!(sh(env, &ws, "npx --offline tell; node -e \"console.log(require('story')())\""), "told by node\ntold by node\n");
        // Into the machine's own folders only where they belong to somebody inside.
        let prefix = if Mode::ours() == Mode::Root { "" } else { "--prefix /opt/tools" };
        let line = format!(
            "npm install --global {prefix} --offline --no-audit --no-fund ./story.tgz 2>&1; PATH=/opt/tools/bin:$PATH tell"
        );
        let out = sh(env, &ws, &line);
        assert!(out.ends_with("told by node\n"), "{out}");
    });
}

/// Names, kinds, modes, owners, sizes, times, links and contents of everything but the kernel's views.
const DIGEST: &str = "cd / && find . \\( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run \\) -prune -o \
    \\( -type d -printf '%p d %m %U %G %T@\\n' -o -printf '%p %y %m %U %G %s %T@ %n %l\\n' \\) | sort -T /run >/run/listing; \
    find . \\( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run \\) -prune -o -type f -print0 | sort -z -T /run | xargs -0 sha256sum >>/run/listing; \
    sha256sum </run/listing";

#[test]
fn what_was_pushed_and_installed_is_there_again_after_everything_was_destroyed() {
    crate::namespaces_case("what a machine has written is on a disk that only it reads", |env| {
        let here = env.scratch();
        let seed = here.path().join("repository");
        // Large enough for more than one listing of a directory, and for paths that a walk meets in another order.
        for number in 0..3000 {
            write(&seed.join(format!("src/{}/file-{number}.txt", number % 60)), &format!("{number}\n"), 0o644);
        }
        let ws = workspace(env, "debian:12-build", "destroyed", &seed);
        let packages = here.path().join("packages");
        fs::create_dir(&packages).expect("make a folder");
        fs::copy(package(&here.path().join("work")).join("story.deb"), packages.join("story.deb")).expect("copy");
        write(&packages.join("wheel.py"), WHEEL, 0o644);
        env.pyro(&["workspace", "sync", "push", &ws, &packages.to_string_lossy(), "/opt/packages"]).expect_ok();
        sh(env, &ws, "cd /opt/packages; apt-get install -y ./story.deb 2>&1; python3 wheel.py");
        sh(env, &ws, "python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-index /opt/packages/*.whl 2>&1");
        env.pyro(&["workspace", "snapshot", "create", &ws, "ready"]).expect_ok();
        let before = sh(env, &ws, DIGEST);
        // As far as it can be destroyed: what is mounted stays, and the shell that does it.
        env.pyro(&[
            "workspace",
            "exec",
            &ws,
            "--",
            "sh",
            "-c",
            "rm -rf --no-preserve-root /workspace/src /opt /usr/lib/python3* /etc /var /usr 2>&1",
        ]);
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "true"]).expect_error(127, "");
        env.pyro(&["workspace", "reset", &ws, "--snapshot", "ready"]).expect_ok();
        assert_eq!(sh(env, &ws, DIGEST), before);
        assert_eq!(
            sh(env, &ws, "tell; /opt/venv/bin/python -c 'import story_wheel; print(story_wheel.tell())'"),
            "told\ntold by a wheel\n"
        );
    });
}
