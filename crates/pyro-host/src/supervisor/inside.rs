//! What the agent says, and what comes of it: output, answers, ends of commands and file requests. Every frame of it is a claim; one that
//! does not fit what was asked ends the link.

use pyro_api::ops::exec::{Outcome, RunResponse};
use pyro_api::{Event, Result};
use pyro_wire::frame::Frame;
use pyro_wire::{FromAgent, Stream, ToAgent, Violation};
use serde_json::Value;

use super::end::STOPPED;
use super::exec::{Ended, Exec, Record};
use super::files::{FileTask, Step};
use super::jobs::AGAIN;
use super::link::Broken;
use super::outcome::{self, Met};
use super::{End, Life, Supervisor, Task, complain};
use crate::begin::PIDS_MAX;
use crate::store::ExecEnd;

/// Frames of the agent are taken from at most so many reads before all others have their turn: one that never stops sending must not
/// keep callers, deadlines and the order to stop waiting. Each read is at most one frame of the largest size.
const LINK_READS_PER_TURN: usize = 8;

impl Supervisor<'_> {
    pub(super) fn read_link(&mut self) -> Option<End> {
        for _ in 0..LINK_READS_PER_TURN {
            let mut frames = Vec::new();
            let read = self.link.read(|frame| frames.push(frame));
            for frame in frames {
                if let Err(violation) = self.take_frame(frame) {
                    return Some(self.broken(Broken::Violation(violation)));
                }
            }
            match read {
                Ok(true) => {}
                Ok(false) => return None,
                Err(broken) => return Some(self.broken(broken)),
            }
        }
        None
    }

    pub(super) fn take_frame(&mut self, frame: Frame<FromAgent>) -> Result<(), Violation> {
        let channel = match &frame {
            Frame::Control { channel, .. } | Frame::Data { channel, .. } => *channel,
        };
        let alone = self.tasks.values().filter(|task| matches!(task, Task::Exec(_))).count() == 1;
        let (sandbox, mem_mib) = (self.sandbox.as_ref(), self.subject.mem_mib);
        let met = |before| Met {
            before,
            after: sandbox.map(|sandbox| sandbox.pressure()).unwrap_or_default(),
            mem_mib,
            processes_max: PIDS_MAX,
            alone,
        };
        let Some(task) = self.tasks.get_mut(&channel) else {
            return Err(Violation(format!("a message came on channel {channel}, which is not open")));
        };
        match (task, frame) {
            (Task::Exec(exec), Frame::Data { stream, bytes, .. }) => {
                exec.output(stream, &bytes)?;
                if let Some(session) = &mut exec.session {
                    session.show(&bytes, &mut self.connections);
                    if let Some(why) = session.note_typed(met) {
                        self.failures.note_typed(why);
                    }
                }
                if let Some(connection) = exec.connection.and_then(|id| self.connections.get_mut(&id))
                    && connection.wants_events()
                {
                    connection.event(if stream == Stream::Stdout { Event::Stdout(bytes) } else { Event::Stderr(bytes) });
                }
                Ok(())
            }
            (Task::Exec(exec), Frame::Control { message, .. }) => {
                let ended = match message {
                    FromAgent::Started { .. } => return exec.started(),
                    FromAgent::Credit { bytes } => return exec.add_stdin_credit(bytes),
                    FromAgent::Inspected { waits_for_input, trouble } => {
                        if let Some(why) = exec.inspected(waits_for_input, &trouble)? {
                            self.failures.note_typed(why);
                        }
                        return Ok(());
                    }
                    FromAgent::Exited(report) => {
                        let ended = exec.exited(&report, met)?;
                        match &ended.outcome {
                            // Everything inside is being told to end, and then killed: that it was is no news, but why.
                            Outcome::Signaled { .. } if self.stop_deadline.is_some() => {
                                exec.ended(Outcome::SandboxLost { reason: STOPPED.to_owned() })
                            }
                            _ => ended,
                        }
                    }
                    FromAgent::NotStarted(report) => exec.not_started(&report)?,
                    FromAgent::Waiting
                    | FromAgent::Hello(_)
                    | FromAgent::Entries(_)
                    | FromAgent::Listed(_)
                    | FromAgent::LinesRead(_)
                    | FromAgent::Deleted { .. }
                    | FromAgent::Moved { .. }
                    | FromAgent::DirectoryMade { .. }
                    | FromAgent::Synced { .. }
                    | FromAgent::Changes(_)
                    | FromAgent::Diffed(_)
                    | FromAgent::FileInfo(_)
                    | FromAgent::Written(_)
                    | FromAgent::Done
                    | FromAgent::Failed(_) => {
                        return Err(Violation("a command was answered with a message that is not an answer to it".to_owned()));
                    }
                };
                if let Some(Task::Exec(mut exec)) = self.tasks.remove(&channel) {
                    self.end_exec(&mut exec, ended);
                }
                Ok(())
            }
            (Task::File(file), frame) => {
                let step = match frame {
                    Frame::Data { stream, bytes, .. } => file.data(stream, &bytes)?,
                    Frame::Control { message, .. } => file.message(message)?,
                };
                match step {
                    Step::More => {}
                    Step::Credit(bytes) => self.link.send(channel, &ToAgent::Credit { bytes })?,
                    Step::Content(bytes) => self.link.send_data(channel, Stream::Content, &bytes)?,
                    Step::Synced(call, alive) => {
                        if let Life::Workspace { past, .. } = &mut self.life {
                            past.alive_inside = alive;
                        }
                        // One that is gone wants it no more.
                        if let Some(Task::File(file)) = self.tasks.remove(&channel)
                            && let Some(connection) = file.connection
                        {
                            self.synced.push((connection, *call));
                        }
                    }
                    Step::Done(answer) => {
                        if let Some(Task::File(file)) = self.tasks.remove(&channel) {
                            self.end_file(*file, answer);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    pub(super) fn end_exec(&mut self, exec: &mut Exec, mut ended: Ended) {
        let duration_ms = u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX);
        match exec.record {
            Record::Workspace { exec: number, event } => {
                if self.failures.note(&exec.command, &ended.outcome) {
                    ended.next = Some(AGAIN.to_owned());
                }
                let (total, dropped) = (exec.outputs.bytes_total(), exec.outputs.bytes_dropped());
                let end = ExecEnd {
                    outcome: &ended.outcome,
                    words: outcome::in_words(&ended.outcome),
                    stdout: (total.0, dropped.0),
                    stderr: (total.1, dropped.1),
                    duration_ms,
                };
                let recorded = match &mut self.life {
                    Life::Workspace { store, .. } => store.end_exec(&self.subject.id, number, event, &end),
                    Life::Run => Ok(()),
                };
                let told = match exec.session.take() {
                    Some(mut session) => self.end_shell(&mut session, number, &ended.outcome),
                    None => Ok(()),
                };
                if let Err(error) = recorded.and(told).and_then(|()| self.answer_ended(exec, number, ended)) {
                    self.refuse_all(exec, &error);
                }
            }
            Record::Run => {
                let (stdout, stderr) = exec.outputs.clips();
                let answer = crate::ops::to_value(&RunResponse {
                    environment: self.subject.environment.clone(),
                    outcome: ended.outcome,
                    stdout,
                    stderr,
                    duration_ms,
                    next: ended.next,
                    isolation: self.isolation.clone(),
                });
                if let Some(connection) = exec.connection {
                    self.answer(connection, answer);
                }
            }
        }
        self.note_end();
    }

    pub(super) fn end_file(&mut self, file: FileTask, answer: Result<Value>) {
        if let Some(op) = file.recorded_as() {
            self.log(op, &file.subject, &answer);
        }
        if let Some(connection) = file.connection {
            self.answer(connection, answer);
        }
    }

    pub(super) fn log(&mut self, op: &str, subject: &str, answer: &Result<Value>) {
        let Life::Workspace { store, .. } = &mut self.life else { return };
        let outcome = match answer {
            Ok(_) => "ok",
            // What follows is for whoever has asked.
            Err(error) => error.message.lines().next().unwrap_or_default(),
        };
        match store.add_event(&self.subject.id, op, subject, outcome) {
            Ok(event) => self.note_change(event),
            Err(error) => complain(&error),
        }
    }
}
