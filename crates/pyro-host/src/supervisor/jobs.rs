//! Commands as jobs: they go on when nobody waits for them any more, can be waited for again, and be stopped.

use std::time::{Duration, Instant};

use pyro_api::ops::exec::{ExecResponse, Outcome};
use pyro_api::ops::job::{JobStopRequest, JobWaitRequest};
use pyro_api::values::{JobName, WaitSeconds};
use pyro_api::{Error, Result};
use pyro_wire::ToAgent;
use rustix::process::Signal;

use super::exec::{Ended, Exec, Record};
use super::shells::Why;
use super::{Supervisor, Task, complain};

/// How long a job has between TERM and KILL.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What supervisors answer about a job: `None` when it does not run, and all that is known of it is in the record.
pub type Known = Option<ExecResponse>;

/// Commands of a workspace that are remembered to tell whether one fails again and again.
const FAILURES_MAX: usize = 2;

/// What is said then.
pub const AGAIN: &str = "the same command has failed in the same way three times running: change something first";

/// The last failures, oldest first: what was run, and how it ended.
#[derive(Debug, Default)]
pub struct Failures(Vec<(String, Outcome)>);

impl Failures {
    /// Notes how a command ended. True when the same command has just failed in the same way for the third time running.
    pub fn note(&mut self, command: &str, outcome: &Outcome) -> bool {
        if outcome.is_well() {
            self.0.clear();
            return false;
        }
        let this = (command.to_owned(), outcome.clone());
        let again = self.0.len() == FAILURES_MAX && self.0.iter().all(|failure| *failure == this);
        if self.0.len() == FAILURES_MAX {
            self.0.remove(0);
        }
        self.0.push(this);
        again
    }

    /// The same of a command that was typed into a shell.
    pub fn note_typed(&mut self, why: Why<'_>) {
        if self.note(why.line, why.outcome) {
            *why.next = Some(AGAIN.to_owned());
        }
    }
}

impl Supervisor<'_> {
    fn job(&mut self, job: JobName) -> Option<(u32, &mut Exec)> {
        self.tasks.iter_mut().find_map(|(channel, task)| match task {
            Task::Exec(exec) => matches!(exec.record, Record::Workspace { exec: number, .. } if number == job.number())
                .then_some((*channel, &mut **exec)),
            Task::File(_) => None,
        })
    }

    /// A caller waits for a job: it is answered when that has ended, or when it does not want to wait longer.
    pub(super) fn wait_for_job(&mut self, connection: u32, request: &JobWaitRequest) -> Result<()> {
        let wait = wait_of(request.wait_seconds);
        match self.job(request.job) {
            Some((_, exec)) => exec.add_waiter(connection, wait),
            None => self.answer(connection, crate::ops::to_value(&Known::None)),
        }
        Ok(())
    }

    /// Tells a job to end; its caller is answered when it has.
    pub(super) fn stop_job(&mut self, connection: u32, request: &JobStopRequest) -> Result<()> {
        let Some((channel, exec)) = self.job(request.job) else {
            self.answer(connection, crate::ops::to_value(&Known::None));
            return Ok(());
        };
        exec.add_waiter(connection, None);
        if exec.stop(STOP_GRACE) {
            self.link
                .send(channel, &ToAgent::Signal { signal: Signal::TERM.as_raw() })
                .map_err(|violation| Error::internal(violation.0))?;
        }
        Ok(())
    }

    /// A caller does not want to wait for a job any more.
    pub(super) fn give_up_wait(&mut self, connection: u32) {
        let waited = self.tasks.values_mut().any(|task| match task {
            Task::Exec(exec) => exec.drop_waiter(connection),
            Task::File(_) => false,
        });
        if waited {
            self.answer(connection, Err(Error::conflict("the wait was given up; the job runs on")));
        }
    }

    /// Callers who have waited as long as they wanted hear how far it is.
    pub(super) fn answer_lapsed(&mut self, now: Instant) {
        let mut answers = Vec::new();
        for task in self.tasks.values_mut() {
            let Task::Exec(exec) = task else { continue };
            for connection in exec.take_lapsed(now) {
                let Record::Workspace { exec: number, .. } = exec.record else { continue };
                let (job, prompt) = (JobName::from(number), exec.prompt(now));
                let next = match (&prompt, &exec.session) {
                    (Some(_), Some(session)) => format!("it waits for input: workspace shell write to {} types it", session.name()),
                    (Some(_), None) => {
                        format!(
                            "it waits for input and gets none: workspace job stop {job}, then give it stdin or run it in a shell"
                        )
                    }
                    (None, _) => format!("it goes on as {job}: workspace job wait, logs and stop are for it"),
                };
                let ended = Ended { outcome: Outcome::Running, duration: exec.age(), next: Some(next) };
                let answer = ExecResponse { waits_for_input: prompt, ..response(&self.subject.name, number, exec, ended) };
                answers.push((connection, crate::ops::to_value(&answer)));
            }
        }
        for (connection, answer) in answers {
            self.answer(connection, answer);
        }
    }

    /// Everybody who waited hears how it ended.
    pub(super) fn answer_ended(&mut self, exec: &Exec, number: u64, ended: Ended) -> Result<()> {
        let answer = response(&self.subject.name, number, exec, ended);
        let waited: Vec<u32> = exec.listeners();
        let value = crate::ops::to_value(&answer)?;
        for connection in waited {
            self.answer(connection, Ok(value.clone()));
        }
        Ok(())
    }

    /// Ends a command that nobody can be told of.
    pub(super) fn refuse_all(&mut self, exec: &Exec, error: &Error) {
        complain(error);
        for connection in exec.listeners() {
            self.answer(connection, Err(Error::new(error.kind, error.message.clone())));
        }
    }
}

fn response(workspace: &str, number: u64, exec: &Exec, ended: Ended) -> ExecResponse {
    let (stdout, stderr) = exec.outputs.clips();
    ExecResponse {
        workspace: workspace.to_owned(),
        exec: number,
        outcome: ended.outcome,
        stdout,
        stderr,
        duration_ms: u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX),
        waits_for_input: None,
        next: ended.next,
    }
}

/// How long a caller waits, if not until the end.
pub fn wait_of(wait: Option<WaitSeconds>) -> Option<Duration> {
    wait.map(|wait| Duration::from_secs(wait.get()))
}
