//! What is begun for a caller: commands and file requests on channels of the link, and work on layers on threads of its own.

use std::time::Duration;

use pyro_api::ops::exec::ExecRequest;
use pyro_api::ops::file::DiffRequest;
use pyro_api::values::Against;
use pyro_api::{Error, Op, Result, ops};
use pyro_layer::{MountedStack, Stacks};
use pyro_wire::limits::CHANNELS_MAX;
use pyro_wire::message::TerminalSize;
use pyro_wire::{Stream, ToAgent};

use super::exec::{self, Exec, ExecPlan, Record};
use super::files::{self, FileTask};
use super::link::Broken;
use super::{Life, Supervisor, Task, Work, complain, jobs, past};
use crate::backend::{LayersAt, Pressure};
use crate::layers;

/// Diffs at one time. Each is a thread, here or inside, that reads layers; more of them would only wait for the same disk.
pub(super) const DIFFS_MAX: usize = 8;

impl Supervisor<'_> {
    pub(super) fn admit(&mut self) -> Result<u32> {
        if self.tasks.len() >= CHANNELS_MAX {
            return Err(Error::limit(format!("{CHANNELS_MAX} commands and file requests run in {} already", self.subject.name))
                .hint("wait for some to end"));
        }
        self.channel_last = self.channel_last.checked_add(1).ok_or_else(|| {
            Error::limit(format!("workspace {} has served four thousand million requests", self.subject.name))
                .hint("stop it and start it again")
        })?;
        Ok(self.channel_last)
    }

    pub(super) fn begin_workspace_exec(&mut self, id: u32, request: &ExecRequest, streams: bool) -> Result<()> {
        ops::WorkspaceExec::check(request)?;
        let env = exec::compose_env(
            self.subject.environment_vars.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            request.env.iter().map(|var| (var.name.as_str(), var.value.as_str())),
            request.tty,
        );
        let plan = ExecPlan {
            command: request.command.clone(),
            cwd: exec::working_directory(request.cwd.as_deref())?,
            env,
            stdin: request.stdin.clone(),
            stdin_streams: (streams && request.stdin.is_none()) || request.tty,
            terminal: request
                .tty
                .then(|| TerminalSize { columns: request.columns.unwrap_or(80).max(1), rows: request.rows.unwrap_or(24).max(1) }),
            shown: None,
            timeout: Duration::from_secs(request.timeout_seconds.get()),
            wait: jobs::wait_of(request.wait_seconds),
        };
        self.begin_exec(id, &plan)
    }

    /// Sends a command to the agent; its caller gets the answer when it has ended.
    ///
    /// # Errors
    /// `Limit` or `Conflict` when it is not admitted; `Invalid` when it fits no frame.
    pub fn begin_exec(&mut self, connection: u32, plan: &ExecPlan) -> Result<()> {
        let channel = self.admit()?;
        self.link
            .send(channel, &ToAgent::Spawn(Exec::spawn(plan)))
            .map_err(|violation| Error::invalid(format!("the command cannot be sent: {violation}")))?;
        // On its way before it is recorded: the agent starts it while we write.
        let flushed = self.link.flush();
        let (record, outputs) = match &mut self.life {
            Life::Run => (Record::Run, None),
            Life::Workspace { store, last_exec, .. } => {
                let number = *last_exec + 1;
                let event = match store.begin_exec(&self.subject.id, number, &plan.subject()) {
                    Ok(event) => event,
                    Err(error) => {
                        // It is not acknowledged, so it must not run on: the loop finds the channel unknown no more.
                        self.tasks.insert(
                            channel,
                            Task::Exec(Box::new(Exec::new(
                                plan,
                                connection,
                                Record::Run,
                                None,
                                Pressure::default(),
                                self.patience.kill_confirm,
                            ))),
                        );
                        self.forget_exec(channel);
                        return Err(error);
                    }
                };
                *last_exec = number;
                (Record::Workspace { exec: number, event }, Some(self.subject.place.execs().join(number.to_string())))
            }
        };
        if let Record::Workspace { event, .. } = &record {
            self.note_change(*event);
        }
        let pressure = self.pressure();
        let exec = Exec::new(plan, connection, record, outputs, pressure, self.patience.kill_confirm);
        self.tasks.insert(channel, Task::Exec(Box::new(exec)));
        match flushed {
            Ok(()) => Ok(()),
            // The loop meets the same end at its next turn and answers for every task.
            Err(Broken::Closed | Broken::Violation(_)) => Ok(()),
        }
    }

    /// What was counted of its limits so far.
    pub(super) fn pressure(&self) -> Pressure {
        self.sandbox.as_ref().map(|sandbox| sandbox.pressure()).unwrap_or_default()
    }

    /// Kills a command that nobody will be told of.
    pub(super) fn forget_exec(&mut self, channel: u32) {
        if let Some(Task::Exec(exec)) = self.tasks.get_mut(&channel) {
            exec.connection = None;
            exec.cancel();
        }
        if let Err(violation) = self.link.send(channel, &ToAgent::Kill) {
            complain(&Error::internal(violation.0));
        }
    }

    pub(super) fn begin_file(&mut self, (mut task, message): (FileTask, ToAgent)) -> Result<()> {
        let channel = self.admit()?;
        let sent =
            self.link.send(channel, &message).and_then(|()| self.link.send_data(channel, Stream::Content, &task.first_piece()));
        sent.map_err(|violation| Error::invalid(format!("the request cannot be sent: {violation}")))?;
        self.tasks.insert(channel, Task::File(Box::new(task)));
        Ok(())
    }

    /// A diff reads layers, which may take long: a thread of its own does it, or the agent where only the inside may read them.
    pub(super) fn begin_diff(&mut self, connection: u32, request: &DiffRequest) -> Result<()> {
        let inside = self.tasks.values().filter(|task| matches!(task, Task::File(file) if file.is_diff())).count();
        if self.diff_waiters.len() + inside >= DIFFS_MAX {
            return Err(Error::limit(format!("{DIFFS_MAX} diffs of {} are being made already", self.subject.name))
                .hint("wait for one to end"));
        }
        let path = files::path_of(&request.path)?;
        let detail = crate::diff::detail_of(request);
        match self.sandbox.as_ref().expect("it is taken only after the loop").layers() {
            LayersAt::Outside => {}
            LayersAt::Inside if self.is_told_inside(&request.against)? => {
                return self.begin_file(FileTask::diff(&self.subject.name, connection, path, request));
            }
            LayersAt::Inside => {
                return Err(Error::unavailable(format!(
                    "{} cannot be compared with that: {}",
                    self.subject.name,
                    past::NOT_OUTSIDE
                ))
                .hint("what it was made of can be compared with: --against seed"));
            }
        }
        let mounts = self.compared(&request.against)?;
        let name = self.subject.name.clone();
        let sender = self.work_sender.clone();
        let no_room = |error: std::io::Error| Error::unavailable("a diff cannot be begun").because(error);
        let mut ringer = self.work_ringer.try_clone().map_err(no_room)?;
        let work = move || {
            let answer = crate::diff::diff(&name, &mounts, &path, detail).and_then(|response| crate::ops::to_value(&response));
            // When the loop has ended nobody waits for either.
            let _ = sender.send(Work::Answer { connection, answer });
            let _ = std::io::Write::write_all(&mut ringer, &[1]);
        };
        std::thread::Builder::new().name("diff".into()).spawn(work).map_err(no_room)?;
        self.diff_waiters.push(connection);
        Ok(())
    }

    /// Whether the agent of a machine can tell what has changed since then: it sees what was written to its disk, and what is below that.
    fn is_told_inside(&self, against: &Against) -> Result<bool> {
        let Life::Workspace { store, .. } = &self.life else { return Err(Error::internal("a run has no past")) };
        match against {
            Against::Seed => Ok(true),
            // That of a fork is a disk too.
            Against::Baseline => Ok(store.step(&self.subject.id, &self.subject.name, 0)?.layers.is_empty()),
            Against::Step(_) | Against::Snapshot(_) | Against::Workspace(_) => Ok(false),
        }
    }

    /// The layers of both sides of a diff: this workspace now, and what it is compared with.
    fn compared(&self, against: &Against) -> Result<Vec<MountedStack>> {
        let Life::Workspace { store, past, .. } = &self.life else { return Err(Error::internal("a run has no past")) };
        let (id, name) = (&self.subject.id, &self.subject.name);
        let mut mounts = None;
        let old = match against {
            Against::Baseline => store.step(id, name, 0)?.layers,
            Against::Seed => Vec::new(),
            Against::Step(step) => store.step(id, name, *step)?.layers,
            Against::Snapshot(snapshot) => {
                let step = crate::ops::find_snapshot(store, id, name, snapshot.as_str())?;
                store.step(id, name, step)?.layers
            }
            Against::Workspace(other) => {
                let other = store.find(other)?;
                let position = store.position(&other.manifest.id)?;
                mounts = Some(other.manifest.mounts);
                position.stack()
            }
        };
        let old_mounts = mounts.as_ref().unwrap_or(&past.mounts);
        let same = |at: &str| old_mounts.iter().find(|mount| mount.at == at);
        let stacked = self.subject.mounts.iter().map(|new| {
            let below = same(&new.at).ok_or_else(|| {
                Error::invalid(format!("{against} has another file system")).hint("compare workspaces of one environment")
            })?;
            let new_side = std::iter::once(&new.upper).chain(&new.lowers).cloned().collect();
            let stacks = Stacks { old: layers::lowers(&past.home, below, &old), new: new_side, marks: past.ways.marks };
            Ok(MountedStack { at: new.at.clone(), stacks })
        });
        stacked.collect()
    }

    pub(super) fn take_work(&mut self) {
        let mut bell = [0_u8; 64];
        // Only its ring matters; what it holds beyond is heard in the next turn.
        let _ = std::io::Read::read(&mut self.work_bell, &mut bell);
        while let Ok(work) = self.work_done.try_recv() {
            let (connection, answer) = match work {
                Work::Answer { connection, answer } => (connection, answer),
                Work::Squashed(squashed) => {
                    self.take_squashed(squashed);
                    continue;
                }
            };
            if let Some(place) = self.diff_waiters.iter().position(|waiter| *waiter == connection) {
                self.diff_waiters.swap_remove(place);
            }
            self.answer(connection, answer);
        }
    }
}
