//! The command that builds a Debian tree: mmdebstrap in a mount and a process namespace of its own.
//!
//! The namespaces are for cleanliness, not for safety: nothing that it mounts can stay behind on the host, and all
//! its processes end with the first. Its work directory is shown at `/tmp` there, because apt's download user must be able to reach it
//! and the home directory is closed to everybody else. Maintainer scripts run with the rights of the builder, as they
//! do when a package is installed on the host, and come from the archive that the host itself trusts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pyro_api::{Error, Result};

use super::IdMode;
use super::sources::{Source, lines};

/// Newest time in a tree: what is newer gets it, so that the same packages give the same digest. 2023-06-10, the release of Debian 12.
const SOURCE_DATE_EPOCH: &str = "1686355200";

/// Device nodes that maintainer scripts use; bound from the host where none can be made and mmdebstrap's own way fails.
const DEVICES: &str = "null zero full random urandom tty";

/// Writes what the build reads beside its command line into the work directory.
pub(super) struct BuildFiles {
    pub apt_configuration: String,
    pub sources: Vec<Source>,
}

impl BuildFiles {
    /// Writes them for a mode.
    pub fn write(&self, work: &Path, mode: IdMode) -> std::io::Result<()> {
        let mut configuration = self.apt_configuration.clone();
        if mode == IdMode::Single {
            // There is no second id that the download user could have.
            configuration.push_str("APT::Sandbox::User \"root\";\n");
        }
        std::fs::write(work.join("apt.conf"), configuration)?;
        std::fs::write(work.join("dpkg.cfg"), DPKG_CONFIGURATION)?;
        std::fs::write(work.join("sources.list"), lines(&self.sources, true))?;
        std::fs::write(work.join("sources.list.inside"), lines(&self.sources, false))?;
        std::fs::write(work.join("finish.sh"), finish_script(mode, !self.sources.is_empty()))
    }
}

/// Manuals, translations and documents are a third of a small tree and no model reads them there. Directories stay (one
/// level deep), because some maintainer scripts expect them. dpkg(1), `--path-exclude`. Not given to mmdebstrap, which would start a
/// Python program for each essential package to obey it: what it unpacks before dpkg is there is cleared at the end.
const DPKG_CONFIGURATION: &str = "path-exclude=/usr/share/man/*/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/doc/*/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/locale/*/LC_MESSAGES/*
force-unsafe-io
";

/// Runs in mmdebstrap's customize step with the tree as `$1`. Nothing of the host's configuration may stay in it.
fn finish_script(mode: IdMode, has_sources: bool) -> String {
    let mut script = String::from(
        r#"set -eu
root=$1
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
share=$root/usr/share
[ ! -d "$share/man" ] || find "$share/man" -mindepth 2 -delete
[ ! -d "$share/info" ] || find "$share/info" -mindepth 1 -delete
[ ! -d "$share/doc" ] || find "$share/doc" -mindepth 2 ! -type d ! -name copyright -delete
[ ! -d "$share/locale" ] || find "$share/locale" -path '*/LC_MESSAGES/*' -delete
cat >"$root/etc/apt/apt.conf.d/50pyro" <<'END'
Acquire::Languages "none";
Acquire::Retries "2";
Dpkg::Use-Pty "false";
END
rm -f "$root/etc/hosts" "$root/etc/resolv.conf" "$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
echo sandbox >"$root/etc/hostname"
mkdir -p "$root/workspace"
rm -rf "$root/var/log/apt" "$root"/var/log/*.log
"#,
    );
    if has_sources {
        script.push_str("rm -f \"$root/etc/apt/sources.list\"\ncat /tmp/sources.list.inside >\"$root/etc/apt/sources.list\"\n");
    }
    if mode == IdMode::Single {
        script.push_str("echo 'APT::Sandbox::User \"root\";' >>\"$root/etc/apt/apt.conf.d/50pyro\"\n");
        script.push_str(&format!("for device in {DEVICES}; do umount \"$root/dev/$device\"; rm \"$root/dev/$device\"; done\n"));
    }
    script
}

/// What is done with the packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packages {
    /// They are installed, with what every Debian needs: a system.
    Installed,
    /// They and what they depend on are unpacked: files. No maintainer script runs.
    Unpacked,
}

/// The whole command line. Standard input: nothing, or the sources. Standard output: the tree as a tar stream. Standard error: its lines.
pub(super) fn mmdebstrap(
    work: &Path,
    suite: &str,
    packages: (&[&str], Packages),
    mode: IdMode,
    has_sources: bool,
    wrapper: Wrapper,
) -> Result<Command> {
    let program = find("mmdebstrap").ok_or_else(|| missing("mmdebstrap", "mmdebstrap"))?;
    for (tool, package) in [("unshare", "util-linux"), ("setpriv", "util-linux"), ("apt-get", "apt"), ("dpkg", "dpkg")] {
        find(tool).ok_or_else(|| missing(tool, package))?;
    }
    // setpriv: when the builder dies, so does unshare; --kill-child: and with it the first process of the namespace, and so all.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
    match wrapper {
        Wrapper::MountsAndProcesses => command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]),
        Wrapper::Mounts => &mut command,
    };
    command.args(["sh", "-c", "mount --bind \"$1\" /tmp && cd /tmp && shift && exec \"$@\"", "sh"]).arg(work);
    command.arg(program);
    command.args(["--verbose", "--mode=root", "--format=tar", "--skip=output/dev", "--skip=check/empty"]);
    command.arg("--aptopt=/tmp/apt.conf");
    let (packages, what) = packages;
    match what {
        Packages::Installed => install(&mut command, mode),
        Packages::Unpacked => drop(command.arg("--variant=extract")),
    }
    if !packages.is_empty() {
        command.arg(format!("--include={}", packages.join(",")));
    }
    command.args([suite, "-"]);
    if has_sources {
        command.arg("-").stdin(
            std::fs::File::open(work.join("sources.list"))
                .map_err(|error| Error::internal("cannot read back the sources").because(error))?,
        );
    } else {
        command.stdin(Stdio::null());
    }
    command.env("TMPDIR", "/tmp").env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH).env("LC_ALL", "C.UTF-8");
    // There are chroot and dpkg's helpers.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{ADMINISTRATORS_PATH}"));
    for variable in ["APT_CONFIG", "MMDEBSTRAP_MODE", "DPKG_ROOT", "LD_PRELOAD"] {
        command.env_remove(variable);
    }
    Ok(command)
}

/// Options for a system: its packages are configured in it, and it is tidied up at the end.
fn install(command: &mut Command, mode: IdMode) {
    command.arg("--variant=minbase");
    command.arg("--setup-hook=mkdir -p \"$1/etc/dpkg/dpkg.cfg.d\" && cp /tmp/dpkg.cfg \"$1/etc/dpkg/dpkg.cfg.d/50pyro\"");
    if mode == IdMode::Single {
        // Its devpts needs more ids than one.
        command.arg("--skip=chroot/mount/dev");
        command.arg(format!(
            "--extract-hook=for device in {DEVICES}; do : >\"$1/dev/$device\"; mount --bind \"/dev/$device\" \"$1/dev/$device\" || exit 1; done"
        ));
    }
    command.arg("--customize-hook=sh /tmp/finish.sh \"$1\"");
}

/// What the command runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapper {
    /// Its own mounts and its own processes.
    MountsAndProcesses,
    /// Its own mounts only: in a container whose /proc is masked, no new /proc can be mounted.
    Mounts,
}

/// Which wrapper works here, by trying it.
pub(super) fn possible_wrapper() -> Result<Wrapper> {
    let attempt = |arguments: &[&str]| {
        Command::new("unshare")
            .args(arguments)
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
    };
    let full = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if attempt(&full).is_ok_and(|output| output.status.success()) {
        return Ok(Wrapper::MountsAndProcesses);
    }
    match attempt(&["--mount", "--propagation", "private"]) {
        Ok(output) if output.status.success() => Ok(Wrapper::Mounts),
        Ok(output) => Err(Error::unavailable(format!(
            "an environment cannot be built here: no mounts can be made ({})",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
        .hint("pyro doctor names the setting at fault")),
        Err(_) => Err(missing("unshare", "util-linux")),
    }
}

/// Where programs for administrators are, which an ordinary user's path often lacks.
const ADMINISTRATORS_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// A program on the path or where programs for administrators are.
pub(super) fn find_for_administrators(program: &str) -> Option<PathBuf> {
    find(program)
        .or_else(|| std::env::split_paths(ADMINISTRATORS_PATH).map(|directory| directory.join(program)).find(|file| file.is_file()))
}

/// A program on the path.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}

fn missing(program: &str, package: &str) -> Error {
    Error::unavailable(format!("building an environment needs {program}, which is not on the PATH"))
        .hint(format!("sudo apt-get install {package}"))
}
