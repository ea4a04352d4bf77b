//! Why a command may have failed, as far as it can be seen from inside when it has.

use std::path::Path;

use pyro_wire::limits::NAME_BYTES_MAX;
use pyro_wire::message::{Missing, NotStarted, SpawnStep, Trouble};
use rustix::io::Errno;

use crate::find;

mod line;
mod room;

/// Of an environment what says where programs are.
pub const VARIABLES: [&str; 2] = ["PATH=", "HOME="];

/// What shells answer when they find no program (POSIX, Shell Command Language 2.8.2).
const NOT_FOUND: u8 = 127;

const ENOENT: i32 = Errno::NOENT.raw_os_error();

/// What was wrong when a command ended with this status in this directory. `line`: what a shell was told to do.
pub fn of(cwd: &Path, env: &[String], line: Option<&str>, code: u8) -> Trouble {
    let missing = line.filter(|_| code == NOT_FOUND).and_then(|line| missing_of(&line::programs(line), env, cwd));
    Trouble { out_of_memory: false, disk_full: room::full_directory(cwd), missing }
}

/// The first of some programs that is not there, else the first interpreter or loader of one of them that is not.
fn missing_of(programs: &[String], env: &[String], cwd: &Path) -> Option<Missing> {
    let seek = |name: &String| find::explain(name, &find::candidates(name, env), env, cwd, ENOENT);
    let sought: Vec<(&String, NotStarted)> = programs.iter().map(|name| (name, seek(name))).collect();
    let absent = sought.iter().find(|(_, found)| found.step == SpawnStep::Find);
    let absent = absent.map(|(name, found)| Missing { name: (*name).clone(), similar: found.similar.clone() });
    absent.or_else(|| {
        let (_, found) = sought.into_iter().find(|(_, found)| found.interpreter.is_some())?;
        let interpreter = String::from_utf8(found.interpreter?.to_vec().ok()?).ok()?;
        (interpreter.len() <= NAME_BYTES_MAX).then_some(Missing { name: interpreter, similar: found.similar })
    })
}

/// The line that a command gives to a shell: `sh -c LINE`.
pub fn shell_line(argv: &[String]) -> Option<&str> {
    let [program, flags, line, ..] = argv else { return None };
    let is_shell = ["sh", "bash", "dash", "zsh", "ksh"].contains(&program.rsplit('/').next()?);
    (is_shell && flags.starts_with('-') && flags.ends_with('c')).then_some(line)
}
