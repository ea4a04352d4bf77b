//! Jobs: commands by name, running or not. One that runs is its supervisor's; of one that has ended all is in the record and in files.

use std::io::BufRead as _;
use std::path::PathBuf;

use pyro_api::ops::exec::{Clip, ExecResponse, Outcome};
use pyro_api::ops::job::{
    JobAction, JobEntry, JobListRequest, JobListResponse, JobLogsRequest, JobLogsResponse, JobRequest, JobResponse, JobStopRequest,
    JobWaitRequest, LogStream,
};
use pyro_api::ops::{JobList, JobLogs, JobStop, JobWait, WorkspaceJob};
use pyro_api::values::{JobName, WorkspaceRef};
use pyro_api::{Call, Error, Event, Op, Result};
use pyro_wire::untrusted::escape;

use super::Handle;
use crate::lease::TRY_EVERY;
use crate::store::{ExecRecord, WorkspaceRecord};
use crate::stored;
use crate::supervisor::jobs::Known;
use crate::supervisor::output::Clipper;
use crate::{Host, Session, client};

impl Handle for JobList {
    fn handle(host: &Host, request: JobListRequest, _session: &mut Session<'_>) -> Result<JobListResponse> {
        let record = host.find_settled(&request.workspace)?;
        let (count, found) = host.store()?.execs(&record.manifest.id, request.running, request.limit)?;
        let entry = |(number, exec): (u64, ExecRecord)| JobEntry {
            job: JobName::from(number).to_string(),
            command: escape(&exec.command),
            duration_ms: exec.duration_ms.or_else(|| exec.outcome.is_none().then(|| exec.at.age_ms())),
            outcome: exec.outcome.unwrap_or(Outcome::Running),
            at: exec.at.rfc3339(),
        };
        Ok(JobListResponse { workspace: record.manifest.name, count, jobs: found.into_iter().map(entry).collect() })
    }
}

impl Handle for JobWait {
    fn handle(host: &Host, request: JobWaitRequest, session: &mut Session<'_>) -> Result<ExecResponse> {
        ended::<Self>(host, &request.workspace, request.job, &request, session)
    }
}

impl Handle for JobStop {
    fn handle(host: &Host, request: JobStopRequest, session: &mut Session<'_>) -> Result<ExecResponse> {
        ended::<Self>(host, &request.workspace, request.job, &request, session)
    }
}

/// What a job's supervisor answers while it runs, else what is stored of it.
fn ended<O: Op<Response = ExecResponse>>(
    host: &Host,
    workspace: &WorkspaceRef,
    job: JobName,
    request: &O::Request,
    session: &mut Session<'_>,
) -> Result<ExecResponse> {
    let call = Call { op: O::NAME.to_owned(), request: super::to_value(request)?, stream: false, stdin: false };
    loop {
        let (record, exec) = find(host, workspace, job)?;
        if exec.outcome.is_some() {
            return stored_response(host, &record, job, exec);
        }
        if let Some(stream) = host.connect(&record)?
            && let client::Answered::Response(answer) = client::ask(&stream, &call, session)?
            && let Some(response) = super::parse::<Known>(answer)?
        {
            return Ok(response);
        }
        // It has just ended, or its supervisor is about to: the record will say how.
        std::thread::sleep(TRY_EVERY);
    }
}

fn find(host: &Host, workspace: &WorkspaceRef, job: JobName) -> Result<(WorkspaceRecord, ExecRecord)> {
    let record = host.find_settled(workspace)?;
    let exec = host.store()?.exec(&record.manifest.id, &record.manifest.name, job.number())?;
    Ok((record, exec))
}

fn place_of(host: &Host, record: &WorkspaceRecord, job: JobName) -> PathBuf {
    host.home().workspace(&record.manifest.id).execs().join(job.number().to_string())
}

fn unreadable(job: JobName) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::unavailable(format!("the output of {job} cannot be read")).because(error)
}

fn stored_response(host: &Host, record: &WorkspaceRecord, job: JobName, exec: ExecRecord) -> Result<ExecResponse> {
    let place = place_of(host, record, job);
    let clip = |stream, bytes_dropped| {
        let mut clipper = Clipper::default();
        let mut reader = stored::open(&place, stream).map_err(unreadable(job))?;
        loop {
            let piece = reader.fill_buf().map_err(unreadable(job))?;
            if piece.is_empty() {
                let clip = clipper.finish();
                return Ok(Clip { bytes_dropped, bytes_total: clip.bytes_total + bytes_dropped, ..clip });
            }
            clipper.push(piece);
            let length = piece.len();
            reader.consume(length);
        }
    };
    Ok(ExecResponse {
        workspace: record.manifest.name.clone(),
        exec: job.number(),
        stdout: clip(LogStream::Stdout, exec.stdout_dropped)?,
        stderr: clip(LogStream::Stderr, exec.stderr_dropped)?,
        outcome: exec.outcome.unwrap_or(Outcome::Running),
        duration_ms: exec.duration_ms.unwrap_or(0),
        next: None,
    })
}

impl Handle for JobLogs {
    fn handle(host: &Host, request: JobLogsRequest, session: &mut Session<'_>) -> Result<JobLogsResponse> {
        let job = request.job;
        let (record, exec) = find(host, &request.workspace, job)?;
        let place = place_of(host, &record, job);
        let pattern = request.search.as_deref().map(pattern).transpose()?;
        let mut clipper = Clipper::default();
        let matches = |line: &[u8]| pattern.as_ref().is_none_or(|pattern| pattern.is_match(line));
        let matches = pattern.is_some().then_some(&matches as stored::Matches<'_>);
        let picked = stored::pick(
            || stored::open(&place, request.stream),
            request.lines,
            matches,
            |number, piece| {
                let mut shown = if matches.is_some() { format!("{number}:").into_bytes() } else { Vec::new() };
                shown.extend_from_slice(piece);
                clipper.push(&shown);
                // Whoever follows gets all of it.
                (session.on_event)(Event::Stdout(shown));
            },
        );
        let picked = picked.map_err(unreadable(job))?;
        let bytes_dropped = match request.stream {
            LogStream::Both => exec.stdout_dropped + exec.stderr_dropped,
            LogStream::Stdout => exec.stdout_dropped,
            LogStream::Stderr => exec.stderr_dropped,
        };
        Ok(JobLogsResponse {
            workspace: record.manifest.name,
            job: job.to_string(),
            command: escape(&exec.command),
            outcome: exec.outcome.unwrap_or(Outcome::Running),
            output: Clip { bytes_dropped, ..clipper.finish() },
            lines_total: picked.lines_total,
            first_line: picked.first_line,
            matches: pattern.is_some().then_some(picked.lines),
        })
    }
}

/// Largest compiled expression, bytes: the library's own default for text, so that no pattern takes the memory of the machine.
const PATTERN_BYTES_MAX: usize = 10 << 20;

fn pattern(text: &str) -> Result<regex::bytes::Regex> {
    regex::bytes::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
        Error::invalid("search is not a regular expression")
            .because(error)
            .hint(r"a backslash before . * + ? ( ) [ ] { } | ^ $ takes them as they are")
    })
}

impl Handle for WorkspaceJob {
    fn handle(host: &Host, request: JobRequest, session: &mut Session<'_>) -> Result<JobResponse> {
        let workspace = request.workspace;
        // The check of the request says it better.
        let job = || request.job.ok_or_else(|| Error::invalid("job is missing"));
        let mut response = JobResponse::default();
        match request.action {
            JobAction::List => {
                let request = super::parse(serde_json::json!({ "workspace": workspace }))?;
                response.list = Some(JobList::handle(host, request, session)?);
            }
            JobAction::Wait => {
                let request = JobWaitRequest { workspace, job: job()?, wait_seconds: request.wait_seconds };
                response.command = Some(JobWait::handle(host, request, session)?);
            }
            JobAction::Stop => {
                response.command = Some(JobStop::handle(host, JobStopRequest { workspace, job: job()? }, session)?);
            }
            JobAction::Logs => {
                let (job, stream, lines) = (job()?, request.stream, request.lines);
                let request = JobLogsRequest { workspace, job, stream, lines, search: request.search };
                response.logs = Some(JobLogs::handle(host, request, session)?);
            }
        }
        Ok(response)
    }
}
