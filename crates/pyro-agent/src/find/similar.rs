//! A program that may be meant by a name that leads to none.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyro_wire::Bytes;
use pyro_wire::limits::PATH_BYTES_MAX;
use rustix::fs::{Access, access};

/// Where programs are that no PATH leads to: below the home directory, and below where a project keeps its own.
const HOME_DIRECTORIES: [&str; 3] = [".cargo/bin", ".local/bin", "go/bin"];
const PROJECT_DIRECTORIES: [&str; 5] = ["", "node_modules/.bin", ".venv/bin", "venv/bin", "vendor/bin"];

/// Names of a directory that are looked at: `/usr/bin` of a large machine has some thousands.
const NAMES_MAX: usize = 20_000;

/// The program of this name where `PATH` does not lead, else one on `PATH` whose name differs in its version (`python` and `python3`), else in one
/// mistake of typing.
pub fn similar(name: &str, env: &[String], cwd: &Path) -> Option<Bytes> {
    let variable = |key: &str| env.iter().find_map(|entry| entry.strip_prefix(key)?.strip_prefix('='));
    let name = name.rsplit('/').next().filter(|name| !name.is_empty())?;
    let home = variable("HOME").map(PathBuf::from);
    let elsewhere = home.iter().flat_map(|home| HOME_DIRECTORIES.iter().map(|directory| home.join(directory)));
    let elsewhere = elsewhere.chain(PROJECT_DIRECTORIES.iter().map(|directory| cwd.join(directory)));
    let on_path: Vec<PathBuf> =
        variable("PATH").unwrap_or(super::PATH_DEFAULT).split(':').map(|directory| cwd.join(directory)).collect();
    let found = on_path.iter().cloned().chain(elsewhere).map(|directory| directory.join(name)).find(|path| is_program(path));
    let found = found.or_else(|| {
        let names = on_path.iter().flat_map(|directory| {
            let entries = std::fs::read_dir(directory).into_iter().flatten().take(NAMES_MAX).flatten();
            entries.filter_map(move |entry| Some((rank(name, entry.file_name().to_str()?)?, entry.path())))
        });
        names.filter(|(_, path)| is_program(path)).min().map(|(_, path)| path)
    })?;
    let bytes = found.as_os_str().as_bytes();
    (bytes.len() <= PATH_BYTES_MAX).then(|| Bytes::from(OsStr::from_bytes(bytes)))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// How far a name is from the wanted one: smaller is nearer; `None` when it is another.
fn rank(wanted: &str, name: &str) -> Option<(u8, usize)> {
    let is_version = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    let version = name.strip_prefix(wanted).or_else(|| wanted.strip_prefix(name)).filter(|rest| is_version(rest));
    match version {
        Some(rest) => Some((0, rest.len())),
        None if wanted.len() >= 3 && is_one_mistake(wanted.as_bytes(), name.as_bytes()) => Some((1, 0)),
        None => None,
    }
}

/// One letter more, fewer or another, or two neighbours swapped.
fn is_one_mistake(one: &[u8], other: &[u8]) -> bool {
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let (one, other) = (&one[same..], &other[same..]);
    match (one, other) {
        ([a, b, one @ ..], [c, d, other @ ..]) if (a, b) == (d, c) && one == other => true,
        ([_, one @ ..], [_, other @ ..]) if one == other => true,
        ([_, one @ ..], other) | (other, [_, one @ ..]) if one == other => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn versions_come_before_mistakes_and_other_names_are_none() {
        for (wanted, name, expected) in [
            ("python", "python3", Some((0, 1))),
            ("python3", "python", Some((0, 1))),
            ("clang", "clang-16", Some((0, 3))),
            ("gti", "git", Some((1, 0))),
            ("grpe", "grep", Some((1, 0))),
            ("mak", "make", Some((1, 0))),
            ("maake", "make", Some((1, 0))),
            ("mape", "make", Some((1, 0))),
            ("ls", "lz", None),
            ("make", "cmake-gui", None),
            ("python", "pythonx", Some((1, 0))),
            ("", "x", None),
        ] {
            assert_eq!(rank(wanted, name), expected, "{wanted} {name}");
        }
    }

    #[test]
    fn a_program_that_no_path_leads_to_is_found_where_projects_keep_theirs() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |path: &str| {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below it")).expect("made");
            std::fs::write(&path, "#!/bin/sh\n").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
            path
        };
        let env = [format!("HOME={}", directory.path().display()), format!("PATH={}/bin", directory.path().display())];
        let found = |name: &str| {
            let bytes = similar(name, &env, &directory.path().join("project"))?;
            Some(PathBuf::from(OsStr::from_bytes(&bytes.to_vec().expect("valid"))))
        };
        let (tool, eslint, python) = (at(".cargo/bin/tool"), at("project/node_modules/.bin/eslint"), at("bin/python3"));
        at("project/data/nothing");
        assert_eq!(found("tool"), Some(tool));
        assert_eq!(found("/usr/bin/eslint"), Some(eslint));
        assert_eq!(found("python"), Some(python.clone()));
        assert_eq!(found("pyhton3"), Some(python));
        assert_eq!(found("nothing"), None);
        assert_eq!(found("data"), None);
    }
}
