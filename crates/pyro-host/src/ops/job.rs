//! Jobs: commands by name, running or not. One that runs is its supervisor's; of one that has ended all is in the record and in files.

use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};

use pyro_api::ops::exec::{ExecResponse, Outcome};
use pyro_api::ops::job::{
    JobAction, JobEntry, JobListRequest, JobListResponse, JobLogsRequest, JobLogsResponse, JobRequest, JobResponse, JobStopRequest,
    JobWaitRequest, LogStream,
};
use pyro_api::ops::{JobList, JobLogs, JobStop, JobWait, WorkspaceJob};
use pyro_api::values::{JobName, WorkspaceRef};
use pyro_api::{Call, Error, Event, Op, Result};
use pyro_term::{Digest, stored as read_stored};
use pyro_wire::untrusted::escape;
use regex::{Regex, RegexBuilder};

use super::Handle;
use crate::lease::TRY_EVERY;
use crate::store::{ExecRecord, WorkspaceRecord};
use crate::stored;
use crate::supervisor::jobs::Known;
use crate::supervisor::output::{self, SHOWN_CHARS};
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
    let digest = |stream| digest(&place, stream).map_err(unreadable(job));
    let (stdout, stderr) = (digest(LogStream::Stdout)?, digest(LogStream::Stderr)?);
    let (mut stdout, mut stderr) = output::clips((&stdout, exec.stdout_dropped), (&stderr, exec.stderr_dropped));
    // What was dropped was written too.
    stdout.bytes_total += exec.stdout_dropped;
    stderr.bytes_total += exec.stderr_dropped;
    Ok(ExecResponse {
        workspace: record.manifest.name.clone(),
        exec: job.number(),
        stdout,
        stderr,
        outcome: exec.outcome.unwrap_or(Outcome::Running),
        duration_ms: exec.duration_ms.unwrap_or(0),
        waits_for_input: None,
        next: None,
    })
}

/// A stored stream as it is shown.
fn digest(place: &Path, stream: LogStream) -> io::Result<Digest> {
    let mut digest = Digest::new();
    let mut reader = stored::open(place, stream)?;
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(digest);
        }
        digest.push(piece);
        let length = piece.len();
        reader.consume(length);
    }
}

impl Handle for JobLogs {
    fn handle(host: &Host, request: JobLogsRequest, session: &mut Session<'_>) -> Result<JobLogsResponse> {
        let job = request.job;
        let (record, exec) = find(host, &request.workspace, job)?;
        let place = place_of(host, &record, job);
        let pattern = request.search.as_deref().map(|text| pattern(text, "search")).transpose()?;
        let open = || stored::open(&place, request.stream);
        let read = |error| unreadable(job)(error);
        let mut response = JobLogsResponse {
            workspace: record.manifest.name,
            job: job.to_string(),
            command: escape(&exec.command),
            outcome: exec.outcome.unwrap_or(Outcome::Running),
            text: String::new(),
            lines_total: 0,
            lines: None,
            next_line: None,
            matches: None,
            bytes_dropped: match request.stream {
                LogStream::Both => exec.stdout_dropped + exec.stderr_dropped,
                LogStream::Stdout => exec.stdout_dropped,
                LogStream::Stderr => exec.stderr_dropped,
            },
            binary: false,
        };
        // Whoever follows gets all of what was asked for, as it is; the response is what can be shown of it.
        let mut follow = |piece: &[u8]| (session.on_event)(Event::Stdout(piece.to_vec()));
        if let Some(pattern) = pattern {
            let found = read_stored::search(open().map_err(read)?, 1, HITS_MAX, |line| pattern.is_match(line)).map_err(read)?;
            (response.lines_total, response.matches) = (found.lines_total, Some(found.hits_total));
            for hit in found.hits {
                let line = format!("{}:{}\n", hit.line, hit.text);
                follow(line.as_bytes());
                if response.text.len() + line.len() <= SHOWN_CHARS {
                    response.text.push_str(&line);
                }
            }
            return Ok(response);
        }
        let extent = read_stored::extent(open().map_err(read)?).map_err(read)?;
        response.lines_total = extent.lines;
        let Some(range) = request.lines else {
            stored::copy(open().map_err(read)?, &(1..=u64::MAX), &mut follow).map_err(read)?;
            let shown = digest(&place, request.stream).map_err(read)?.show(SHOWN_CHARS);
            (response.text, response.binary) = (shown.text, shown.binary);
            return Ok(response);
        };
        let lines = stored::lines(range, extent);
        stored::copy(open().map_err(read)?, &lines, &mut follow).map_err(read)?;
        let window = read_stored::window(open().map_err(read)?, lines, SHOWN_CHARS).map_err(read)?;
        response.lines = window.lines.map(|lines| format!("{}-{}", lines.start(), lines.end()));
        (response.text, response.next_line, response.binary) = (window.text, window.next_line, window.binary);
        Ok(response)
    }
}

/// Lines that one search gives at most; all are counted.
const HITS_MAX: usize = 10_000;

/// Largest compiled expression, bytes: the library's own default for text, so that no pattern takes the memory of the machine.
const PATTERN_BYTES_MAX: usize = 10 << 20;

/// A pattern of a caller; `field` is what it is called.
pub(crate) fn pattern(text: &str, field: &str) -> Result<Regex> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
        // The library draws the place over several lines and says what is wrong in the last.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Error::invalid(format!("{field} {text:?} is no regular expression: {why}"))
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
