//! A pseudo-terminal for one command: pty(7). We hold the end that a person would sit at.

use std::os::fd::OwnedFd;

use pyro_wire::message::TerminalSize;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};

/// Our end.
#[derive(Debug)]
pub struct Terminal {
    ours: OwnedFd,
}

impl Terminal {
    /// Makes one; gives the command's end too.
    pub fn open(size: TerminalSize) -> Result<(Self, OwnedFd), Errno> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(&*name, flags, Mode::empty())?;
        let terminal = Self { ours };
        terminal.resize(size)?;
        Ok((terminal, theirs))
    }

    /// Another descriptor of our end.
    pub fn descriptor(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.ours, 3)
    }

    /// Gives it another size; its foreground processes hear of it (SIGWINCH).
    pub fn resize(&self, size: TerminalSize) -> Result<(), Errno> {
        tcsetwinsize(&self.ours, Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 })
    }

    /// Signals the process group that has the foreground. False when there is none.
    pub fn signal(&self, signal: Signal) -> bool {
        let group: Option<Pid> = tcgetpgrp(&self.ours).ok();
        group.is_some_and(|group| kill_process_group(group, signal).is_ok())
    }
}
