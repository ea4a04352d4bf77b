//! Our own user: who comes in by the control socket, what they ask for, and what goes with them when they hang up.

use std::time::{Duration, Instant};

use pyro_api::envelope::Input;
use pyro_api::{Call, Error, Op, ops};
use pyro_wire::ToAgent;
use pyro_wire::message::TerminalSize;
use serde_json::Value;

use super::control::{Connection, Said};
use super::files::FileTask;
use super::{End, Life, Supervisor, Task, complain};

/// After the system could not give us a caller (no descriptor is free, say), how long we leave the queue alone.
const ACCEPT_REST: Duration = Duration::from_millis(100);

impl Supervisor<'_> {
    pub(super) fn accept(&mut self) {
        let Life::Workspace { listener: Some(listener), .. } = &self.life else { return };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => return,
            Err(error) => {
                // It waits in the queue and is seen at every turn until we have room for it.
                self.accept_after = Some(Instant::now() + ACCEPT_REST);
                return complain(&Error::unavailable("a caller has to wait").because(error));
            }
        };
        match Connection::new(stream) {
            Ok(connection) => drop(self.add_connection(connection)),
            Err(error) => complain(&Error::internal("a caller was turned away").because(error)),
        }
    }

    pub(super) fn read_connection(&mut self, id: u32) -> Option<End> {
        let connection = self.connections.get_mut(&id)?;
        match connection.read() {
            Ok(said) => {
                for said in said {
                    match said {
                        Said::Call(call) => {
                            if let Some(end) = self.begin_call(id, call) {
                                return Some(end);
                            }
                        }
                        Said::Input(input) => self.take_input(id, input),
                    }
                }
            }
            Err(_) => self.drop_connection(id),
        }
        None
    }

    /// A caller is gone: what it waited for is taken back.
    pub(super) fn drop_connection(&mut self, id: u32) {
        self.connections.remove(&id);
        self.stop_waiters.retain(|waiter| *waiter != id);
        self.take_back(id);
        for task in self.tasks.values_mut() {
            let connection = match task {
                Task::Exec(exec) => {
                    exec.drop_waiter(id);
                    if let Some(session) = &mut exec.session {
                        session.forget(id);
                    }
                    &mut exec.connection
                }
                Task::File(file) => &mut file.connection,
            };
            if *connection == Some(id) {
                *connection = None;
            }
        }
    }

    /// Ends what a caller waits for.
    pub(super) fn take_back(&mut self, id: u32) {
        let mut kill = Vec::new();
        for (channel, task) in &mut self.tasks {
            let cancelled = match task {
                Task::Exec(exec) => exec.connection == Some(id) && exec.cancel(),
                Task::File(file) => file.connection == Some(id) && file.cancel(self.patience.kill_confirm),
            };
            if cancelled {
                kill.push(*channel);
            }
        }
        for channel in kill {
            if let Err(violation) = self.link.send(channel, &ToAgent::Kill) {
                complain(&Error::internal(violation.0));
            }
        }
    }

    /// Input or a signal for the command of a caller.
    pub fn take_input(&mut self, id: u32, input: Input) {
        if input == Input::Signal(0) {
            self.take_back(id);
            return self.give_up_wait(id);
        }
        let found = self.tasks.iter_mut().find_map(|(channel, task)| match task {
            Task::Exec(exec) if exec.connection == Some(id) => Some((*channel, exec)),
            Task::Exec(_) | Task::File(_) => None,
        });
        // Input for a command that has just ended is nobody's.
        let Some((channel, exec)) = found else {
            self.type_into_shell(id, &input);
            return;
        };
        let message = match input {
            Input::Stdin(bytes) => return exec.add_stdin(&bytes),
            Input::StdinEnd => return exec.end_stdin(),
            Input::Signal(signal) => ToAgent::Signal { signal },
            Input::Resize { columns, rows } => ToAgent::Resize(TerminalSize { columns: columns.max(1), rows: rows.max(1) }),
        };
        if let Err(violation) = self.link.send(channel, &message) {
            complain(&Error::invalid(violation.0));
        }
    }

    pub(super) fn begin_call(&mut self, id: u32, call: Call) -> Option<End> {
        if self.stop_deadline.is_some() && call.op != ops::WorkspaceStop::NAME {
            // It can be done by the next supervisor, which its caller starts.
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.put_off();
            }
            return None;
        }
        if self.writes_inside() && copies_files(&call.op) {
            let begun = self.begin_file(FileTask::sync(&self.subject.name, id, call));
            if let Err(error) = begun {
                self.answer(id, Err(error));
            }
            return None;
        }
        self.do_call(id, call)
    }

    pub(super) fn do_call(&mut self, id: u32, call: Call) -> Option<End> {
        let mut end = None;
        let begun = match call.op.as_str() {
            ops::WorkspaceExec::NAME => {
                crate::ops::parse(call.request).and_then(|request| self.begin_workspace_exec(id, &request, call.stream))
            }
            ops::JobWait::NAME => crate::ops::parse(call.request).and_then(|request| self.wait_for_job(id, &request)),
            ops::JobStop::NAME => crate::ops::parse(call.request).and_then(|request| self.stop_job(id, &request)),
            ops::ShellOpen::NAME => crate::ops::parse(call.request).and_then(|request| self.open_shell(id, &request)),
            ops::ShellWrite::NAME => crate::ops::parse(call.request).and_then(|request| self.write_shell(id, &request)),
            ops::ShellRead::NAME => crate::ops::parse(call.request).and_then(|request| self.read_shell(id, &request)),
            ops::ShellSignal::NAME => crate::ops::parse(call.request).and_then(|request| self.signal_shell(id, &request)),
            ops::ShellResize::NAME => crate::ops::parse(call.request).and_then(|request| self.resize_shell(id, &request)),
            ops::ShellClose::NAME => crate::ops::parse(call.request).and_then(|request| self.close_shell(id, &request)),
            ops::ShellAttach::NAME => crate::ops::parse(call.request).and_then(|request| self.attach_shell(id, &request)),
            ops::ShellList::NAME => self.list_shells(id),
            ops::FileList::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::list(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::FileRead::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::read(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::FileWrite::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::write(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::FileEdit::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::edit(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::FileSearch::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::search(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::FileDelete::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::delete(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::FileMove::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::rename(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::FileMkdir::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::mkdir(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::WorkspaceDiff::NAME => crate::ops::parse(call.request).and_then(|request| self.begin_diff(id, &request)),
            crate::ops::POINT => {
                let point = self.point("workspace fork", "").and_then(|point| crate::ops::to_value(&point));
                self.answer(id, point);
                Ok(())
            }
            ops::SnapshotCreate::NAME => {
                crate::ops::parse(call.request).and_then(|request| self.snapshot(&request)).map(|answer| {
                    self.answer(id, Ok(answer));
                })
            }
            ops::WorkspaceReset::NAME | ops::WorkspaceUndo::NAME | ops::WorkspaceRedo::NAME => {
                self.target(&call).and_then(|(target, words)| self.rewind(id, &target, &words)).map(|ended| end = ended)
            }
            ops::WorkspaceMerge::NAME => crate::ops::parse(call.request).and_then(|order| self.merge(&order)).map(|merged| {
                self.answer(id, crate::ops::to_value(&merged));
            }),
            ops::SyncPush::NAME => crate::ops::parse(call.request).and_then(|request| self.push(&request)).map(|pushed| {
                self.answer(id, crate::ops::to_value(&pushed));
            }),
            ops::WorkspaceExport::NAME => crate::ops::parse(call.request).and_then(|request| self.begin_export(id, request)),
            ops::WorkspaceStop::NAME => {
                self.stop_waiters.push(id);
                self.begin_stop();
                Ok(())
            }
            ops::WorkspaceStart::NAME => {
                self.answer(id, Ok(Value::Null));
                Ok(())
            }
            other => Err(Error::unavailable(format!("the workspace's supervisor does not know the operation {other}"))
                .hint("it runs under another version of pyro: stop the workspace and start it again")),
        };
        if let Err(error) = begun {
            self.answer(id, Err(error));
        }
        end
    }
}

/// Whether a call needs the files as they are now, for as long as there is somebody who wants them.
fn copies_files(op: &str) -> bool {
    [crate::ops::POINT, ops::SnapshotCreate::NAME, ops::WorkspaceReset::NAME, ops::WorkspaceUndo::NAME, ops::WorkspaceRedo::NAME]
        .contains(&op)
}
