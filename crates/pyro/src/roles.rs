//! Roles that pyro starts itself in, never typed by a person: the process beside each running workspace, the one inside each sandbox, the
//! one that builds environments, the one that empties the trash, the one that tries what `doctor` asks. This file holds only the names and where each begins.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use pyro_agent::Place;
use pyro_host::Role;
use rustix::pipe::{PipeFlags, pipe_with};

/// The descriptor on which the first process of a sandbox finds its supervisor.
const CONTROL: i32 = 3;

/// Plays a role. Does not return before the role has ended.
pub(crate) fn play(role: &str, arguments: &[OsString]) -> ExitCode {
    match role {
        "@agent" => agent(),
        "@machine" => ExitCode::from(pyro_agent::machine::boot(pyro_host::BUILD)),
        "@probe" => probe(arguments),
        _ => match [Role::Supervisor, Role::Keeper, Role::Builder, Role::Janitor].into_iter().find(|known| known.word() == role) {
            Some(role) => outside(role, arguments),
            // A name that is not listed must not fall through to the command line.
            None => refused(&format!("{role} is not a role of this build")),
        },
    }
}

fn refused(why: &str) -> ExitCode {
    eprintln!("pyro: {why}");
    ExitCode::from(125)
}

fn agent() -> ExitCode {
    let inside = pyro_sys::socket::take_inherited_messages(CONTROL)
        .map_err(|error| format!("no supervisor is at descriptor {CONTROL}: {error}"))
        .and_then(pyro_host::backend::namespaces::become_inside);
    match inside {
        Ok(link) => ExitCode::from(pyro_agent::serve(link, Place::Sandbox, pyro_host::BUILD, None).exit_code()),
        Err(why) => refused(&format!("the first process of a sandbox {why}")),
    }
}

fn probe(arguments: &[OsString]) -> ExitCode {
    let name = arguments.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    match pyro_host::doctor::probe(&name, arguments.get(1).map(std::path::Path::new)) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(why) => refused(&why),
    }
}

fn outside(role: Role, arguments: &[OsString]) -> ExitCode {
    // A request to end (SIGTERM) becomes a byte that the role waits on among other things: a supervisor stops its workspace in good order.
    let prepared = pipe_with(PipeFlags::CLOEXEC)
        .map_err(std::io::Error::from)
        .and_then(|(signals, handler): (OwnedFd, OwnedFd)| pyro_sys::interrupt::to_pipe(handler, 0).map(|()| signals));
    match (prepared, std::env::current_exe()) {
        (Ok(signals), Ok(binary)) => ExitCode::from(pyro_host::role_main(role, arguments, &binary, signals)),
        (Err(error), _) | (_, Err(error)) => refused(&error.to_string()),
    }
}
