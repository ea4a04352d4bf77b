//! Everything that happens outside: workspaces, their supervisors, backends, environments, the store. It is also the Rust
//! SDK: [`Host::open`], then [`Host::ask`] or [`Host::request`] with the type of an operation.
//!
//! Front ends know nothing of state or disk; they build a request, give a [`Session`] and get a response.
//!
//! # Who runs where
//!
//! A host is no process: it is a directory, and whoever opens it. A running workspace is one supervisor process (see
//! [`supervisor`]) that the first caller starts and that outlives it. A one-shot run is the same supervisor without a record.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyro_api::values::{EnvironmentName, IsolationLevel, IsolationMinimum, WorkspaceRef};
use pyro_api::{Call, Error, ErrorKind, Event, Op, Result, ops as api};
use serde_json::Value;

mod ahead;
pub mod backend;
mod begin;
mod buffer;
mod client;
mod clock;
mod diff;
pub mod doctor;
mod durable;
pub mod environment;
mod fault;
mod garbage;
#[cfg(test)]
mod golden;
mod home;
mod janitor;
mod keeper;
mod layers;
mod lease;
mod manifest;
mod merge_view;
mod name;
mod ops;
mod past;
pub mod privilege;
mod recovery;
mod replies;
mod role;
mod seed;
mod state;
mod store;
mod stored;
mod supervisor;
mod view;
mod whole;

pub use ahead::RunAhead;
pub use ops::Handle;
pub use role::Role;

use home::Home;
use lease::{Lease, TRY_EVERY, TRY_FOR};
use store::{Store, WorkspaceRecord};

/// What tells one build of this program from another: a supervisor and its agent must be of the same.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("PYRO_BUILD"));

/// Where a host keeps everything, and how it starts its role processes.
///
/// ```no_run
/// use pyro_host::HostOptions;
///
/// # fn main() -> pyro_api::Result<()> {
/// let binary = "/usr/local/bin/pyro".into();
/// let options = HostOptions { home: HostOptions::default_home()?, binary, isolation: HostOptions::default_isolation()? };
/// # let _ = options;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// `$PYRO_HOME`: the only directory that is written to.
    pub home: PathBuf,
    /// The `pyro` binary that supervisors, agents and janitors are started from.
    pub binary: PathBuf,
    /// What must hold for everything that is made, whatever a request is content with.
    pub isolation: IsolationMinimum,
}

impl HostOptions {
    /// The usual place: `$PYRO_HOME`, else `/var/lib/pyro` for root and `$XDG_DATA_HOME/pyro` (`~/.local/share/pyro`) for others.
    ///
    /// # Errors
    /// `Unavailable` when there is no home directory to put it in.
    pub fn default_home() -> Result<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(home) = variable("PYRO_HOME") {
            return std::path::absolute(&home).map_err(|error| Error::invalid("PYRO_HOME").because(error));
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/pyro"));
        }
        variable("XDG_DATA_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
            .map(|data| data.join("pyro"))
            .ok_or_else(|| Error::unavailable("there is no home directory to keep workspaces in").hint("set PYRO_HOME"))
    }

    /// What `$PYRO_ISOLATION` demands; nothing more than usual when it is not set.
    ///
    /// # Errors
    /// `Invalid` when it is no isolation: nothing is made then.
    pub fn default_isolation() -> Result<IsolationMinimum> {
        match std::env::var("PYRO_ISOLATION") {
            Ok(text) if !text.is_empty() => text.parse().map_err(|error: Error| Error::invalid("PYRO_ISOLATION").because(error)),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(IsolationMinimum::default()),
            Err(error) => Err(Error::invalid("PYRO_ISOLATION").because(error)),
        }
    }
}

/// What a caller gives to a call besides the request: where events go, and what can reach a running command. Who needs none
/// of it calls [`Host::ask`].
///
/// ```no_run
/// use pyro_api::{Event, ops::Run};
/// use pyro_host::{Host, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let host: Host = nowhere()?;
/// let mut on_event = |event: Event| {
///     if let Event::Stdout(bytes) = event {
///         print!("{}", String::from_utf8_lossy(&bytes));
///     }
/// };
/// let run = serde_json::from_value(serde_json::json!({ "environment": "debian:12", "command": "uname -a" }))?;
/// let done = host.request::<Run>(run, &mut Session::new(&mut on_event))?;
/// println!("{:?}", done.outcome);
/// # Ok(())
/// # }
/// # fn nowhere() -> Result<Host, Box<dyn std::error::Error>> { Err("only compiled".into()) }
/// ```
pub struct Session<'a> {
    /// Is called with each event as it comes: output of a command, progress of long work.
    pub on_event: &'a mut dyn FnMut(Event),
    /// Read as standard input of the command while it runs. `None`: the request's `stdin`, or nothing.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Each byte read from it is a signal number to pass to the command; 0 takes the call back: the command is killed.
    pub signals: Option<BorrowedFd<'a>>,
    /// `stdin` is a terminal that is handed to the command: its size is told at once and when `signals` gives 28 (SIGWINCH).
    pub terminal: bool,
}

impl<'a> Session<'a> {
    /// A session of a caller that only looks on: no standard input, no signals.
    pub fn new(on_event: &'a mut dyn FnMut(Event)) -> Self {
        Self { on_event, stdin: None, signals: None, terminal: false }
    }
}

/// How long a call is made again that meets the end of a supervisor: a stop takes four seconds at most, and the next may be ended too.
const ASKED_FOR: std::time::Duration = std::time::Duration::from_secs(15);

/// A host: one directory of workspaces and environments. Several may be open for one directory, in one process or in many; one may
/// be used by several threads at once.
///
/// ```no_run
/// use pyro_api::ops::{WorkspaceCreate, WorkspaceDelete, WorkspaceExec};
/// use pyro_host::{Host, HostOptions};
/// use serde_json::{from_value, json};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let binary = "/usr/local/bin/pyro".into();
/// let isolation = HostOptions::default_isolation()?;
/// let host = Host::open(HostOptions { home: HostOptions::default_home()?, binary, isolation })?;
/// let made = host.ask::<WorkspaceCreate>(from_value(json!({ "environment": "debian:12" }))?)?;
/// let workspace = made.workspace.workspace;
/// let done = host.ask::<WorkspaceExec>(from_value(json!({ "workspace": workspace, "command": ["uname", "-a"] }))?)?;
/// println!("{}", done.stdout.text);
/// host.ask::<WorkspaceDelete>(from_value(json!({ "workspace": workspace }))?)?;
/// # Ok(())
/// # }
/// ```
pub struct Host {
    options: HostOptions,
    home: Home,
    store: Mutex<Option<Store>>,
    ahead: Mutex<Option<RunAhead>>,
}

/// The open store of a host, for as long as it is held.
struct OpenStore<'a>(MutexGuard<'a, Option<Store>>);

impl std::ops::Deref for OpenStore<'_> {
    type Target = Store;
    fn deref(&self) -> &Store {
        self.0.as_ref().expect("opened before it is handed out")
    }
}

impl std::ops::DerefMut for OpenStore<'_> {
    fn deref_mut(&mut self) -> &mut Store {
        self.0.as_mut().expect("opened before it is handed out")
    }
}

impl Host {
    /// Opens a host. Makes its directory when it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made or is not ours alone.
    pub fn open(options: HostOptions) -> Result<Self> {
        let home = Home::open(&options.home)?;
        Ok(Self { options, home, store: Mutex::new(None), ahead: Mutex::new(None) })
    }

    /// With a supervisor for the first one-shot run, which was begun while it was not known yet what is to be run.
    #[must_use]
    pub fn with_ahead(self, ahead: RunAhead) -> Self {
        Self { ahead: Mutex::new(Some(ahead)), ..self }
    }

    fn take_ahead(&self) -> Option<RunAhead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Does one operation.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub fn request<O: Handle>(&self, request: O::Request, session: &mut Session<'_>) -> Result<O::Response> {
        O::check(&request)?;
        O::handle(self, request, session)
    }

    /// Does one operation for a caller that waits for the response and wants nothing else.
    ///
    /// # Errors
    /// As [`Host::request`].
    pub fn ask<O: Handle>(&self, request: O::Request) -> Result<O::Response> {
        self.request::<O>(request, &mut Session::new(&mut |_| {}))
    }

    /// Does one operation by name, with its request as JSON.
    ///
    /// # Errors
    /// As [`Host::request`]; `Invalid` when there is no such operation or the request does not fit it.
    pub fn call(&self, op: &str, request: Value, session: &mut Session<'_>) -> Result<Value> {
        ops::call(self, op, request, session)
    }

    fn home(&self) -> &Home {
        &self.home
    }

    /// The database; opened when it is first needed.
    fn store(&self) -> Result<OpenStore<'_>> {
        let mut guard = self.store.lock().map_err(|_| Error::internal("a thread died while it used the database"))?;
        if guard.is_none() {
            *guard = Some(Store::open(&self.home)?);
        }
        Ok(OpenStore(guard))
    }

    /// The workspace that a reference means, with the state that it is really in.
    fn find_settled(&self, wanted: &WorkspaceRef) -> Result<WorkspaceRecord> {
        let record = self.store()?.find(wanted)?;
        self.settle(record)
    }

    /// What the record says was written by a supervisor. If that supervisor is dead, what it left is cleared up and recorded.
    fn settle(&self, record: WorkspaceRecord) -> Result<WorkspaceRecord> {
        if record.expires_at.is_some_and(|at| at <= clock::Instant::now()) {
            let name = record.manifest.name.clone();
            ops::delete_workspace(self, record, &mut Session::new(&mut |_| {}))?;
            return Err(Error::not_found(format!("workspace {name} was deleted: its time was over")));
        }
        let place = self.home.workspace(&record.manifest.id);
        if !place.root().exists() {
            return recovery::settle_missing(self, record);
        }
        if !record.state.needs_supervisor() || self.connect(&record)?.is_some() {
            return Ok(record);
        }
        recovery::settle_dead(self, record)
    }

    fn connect(&self, record: &WorkspaceRecord) -> Result<Option<std::os::unix::net::UnixStream>> {
        client::connect(&self.home.workspace(&record.manifest.id).control()).map_err(|error| {
            Error::unavailable(format!("the supervisor of {} cannot be reached", record.manifest.name)).because(error)
        })
    }

    /// Takes the lease of a workspace that does not run: as long as it is held, nobody starts it.
    fn hold(&self, id: &str, name: &str) -> Result<Option<Lease>> {
        let place = self.home.workspace(id);
        if !place.root().exists() {
            return Ok(None);
        }
        let begun = Instant::now();
        loop {
            match Lease::take(&place.lease()) {
                Ok(Some(lease)) => return Ok(Some(lease)),
                // A supervisor that is just ending, or somebody who looks whether one does: both are gone in a moment.
                Ok(None) if begun.elapsed() < TRY_FOR && !matches!(client::connect(&place.control()), Ok(Some(_))) => {
                    std::thread::sleep(TRY_EVERY);
                }
                Ok(None) => {
                    return Err(Error::conflict(format!("workspace {name} is being started by somebody else")).hint("try again"));
                }
                // Somebody else has deleted it meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => {
                    return Err(Error::unavailable(format!("the lease of workspace {name} cannot be taken")).because(error));
                }
            }
        }
    }

    /// Makes a call to the supervisor of a workspace, starting it when it does not run.
    fn call_supervisor<O: Handle>(
        &self,
        workspace: &WorkspaceRef,
        request: &O::Request,
        session: &mut Session<'_>,
    ) -> Result<O::Response> {
        let stdin = O::NAME == api::WorkspaceExec::NAME && session.stdin.is_some();
        let call = Call { op: O::NAME.to_owned(), request: ops::to_value(request)?, stream: true, stdin };
        self.tell_supervisor(workspace, &call, session).and_then(ops::parse)
    }

    /// As [`Host::call_supervisor`], with what is to be said.
    fn tell_supervisor(&self, workspace: &WorkspaceRef, call: &Call, session: &mut Session<'_>) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let record = self.store()?.find(workspace)?;
            let record = if record.expires_at.is_some() { self.settle(record)? } else { record };
            match self.connect(&record)? {
                Some(stream) => match client::ask(&stream, call, session)? {
                    client::Answered::Response(response) => return Ok(response),
                    client::Answered::Left => return Ok(Value::Null),
                    // It is ending: the next one is started as soon as it has.
                    client::Answered::Declined => std::thread::sleep(TRY_EVERY),
                },
                None => self.start(&self.settle(record)?, session)?,
            }
            if begun.elapsed() > ASKED_FOR {
                return Err(Error::conflict(format!("workspace {workspace} is being stopped again and again")).hint("try again"));
            }
        }
    }

    /// Starts a workspace, if it is not running. On return somebody listens, or has ended again already.
    fn start(&self, record: &WorkspaceRecord, session: &mut Session<'_>) -> Result<()> {
        let begun = Instant::now();
        let id = &record.manifest.id;
        let call =
            Call { op: api::WorkspaceStart::NAME.to_owned(), request: Value::String(id.clone()), stream: true, stdin: false };
        self.ensure_isolation(&record.manifest.isolation_minimum.parse()?, session)?;
        while self.connect(record)?.is_none() {
            let stream = role::start(&self.options.binary, &self.home, Role::Supervisor)?;
            match client::converse(&stream, &call, &mut Session::new(session.on_event)) {
                Ok(_) => break,
                // Somebody else was quicker, and listens, or is about to, or has ended again.
                Err(error) if error.kind == ErrorKind::Conflict && begun.elapsed() < ASKED_FOR => std::thread::sleep(TRY_EVERY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks whoever can be asked about a workspace now, without starting it: its supervisor while it runs, else a keeper, who gets its id.
    ///
    /// `may`: refuses, knowing whether it runs.
    fn ask_without_starting(
        &self,
        workspace: &WorkspaceRef,
        mut call: Call,
        session: &mut Session<'_>,
        may: &dyn Fn(&WorkspaceRecord, bool) -> Result<()>,
    ) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let record = self.find_settled(workspace)?;
            let supervisor = self.connect(&record)?;
            may(&record, supervisor.is_some())?;
            let answered = match supervisor {
                Some(stream) => client::ask(&stream, &call, session)?,
                None => {
                    call.request["workspace"] = Value::String(record.manifest.id.clone());
                    let stream = role::start(&self.options.binary, &self.home, Role::Keeper)?;
                    client::ask(&stream, &call, session)?
                }
            };
            match answered {
                client::Answered::Response(answer) => return Ok(answer),
                client::Answered::Left => return Ok(Value::Null),
                client::Answered::Declined if begun.elapsed() > ASKED_FOR => {
                    return Err(Error::conflict(format!("workspace {workspace} is being started and stopped")).hint("try again"));
                }
                // It is beginning or ending.
                client::Answered::Declined => std::thread::sleep(TRY_EVERY),
            }
        }
    }

    /// Has a keeper do what is about no workspace.
    fn ask_keeper<T: serde::de::DeserializeOwned>(&self, op: &str, request: Value, session: &mut Session<'_>) -> Result<T> {
        let call = Call { op: op.to_owned(), request, stream: true, stdin: false };
        ops::parse(client::converse(&role::start(&self.options.binary, &self.home, Role::Keeper)?, &call, session)?)
    }

    /// Stops a running workspace and waits until it is.
    fn stop(&self, record: &WorkspaceRecord, session: &mut Session<'_>) -> Result<()> {
        let Some(stream) = self.connect(record)? else { return Ok(()) };
        let call = Call { op: api::WorkspaceStop::NAME.to_owned(), request: Value::Null, stream: false, stdin: false };
        let mut quiet = Session::new(session.on_event);
        match client::ask(&stream, &call, &mut quiet) {
            // Who declines is ending already.
            Ok(client::Answered::Response(_) | client::Answered::Declined | client::Answered::Left) => {}
            // It ended while we asked: somebody else stopped it, or it died. What it left is found by whoever looks next.
            Err(error) if error.kind == ErrorKind::Sandbox => {}
            Err(error) => return Err(error),
        }
        // The answer comes when all is recorded, and nobody listens then; the lease is free when the process is gone. Or somebody has started
        // the workspace again meanwhile, and holds it for as long as that one runs.
        let lease = self.home.workspace(&record.manifest.id).lease();
        let is_held = || Lease::is_held(&lease).map_err(|error| Error::unavailable("the lease cannot be read").because(error));
        while is_held()? && self.connect(record)?.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    }

    /// Makes a call to a new supervisor, which then belongs to what the call makes, or ends when it has answered.
    fn run_in_supervisor<O: Handle>(&self, request: &O::Request, session: &mut Session<'_>) -> Result<O::Response> {
        recovery::sweep_runs(&self.home)?;
        let call = Call {
            op: O::NAME.to_owned(),
            request: ops::to_value(request)?,
            stream: true,
            stdin: O::NAME == api::Run::NAME && session.stdin.is_some(),
        };
        let ahead = if O::NAME == api::Run::NAME { self.take_ahead() } else { None };
        let stream = match ahead {
            Some(ahead) => ahead.hand_over(&self.home)?,
            None => role::start(&self.options.binary, &self.home, Role::Supervisor)?,
        };
        ops::parse(client::converse(&stream, &call, session)?)
    }

    /// Builds what a new sandbox is made of, where that is not there. Gives its isolation: what was asked for and what this host demands.
    fn prepare(
        &self,
        environment: &EnvironmentName,
        asked: IsolationMinimum,
        mem_mib: u64,
        session: &mut Session<'_>,
    ) -> Result<IsolationMinimum> {
        let minimum = asked.and(&self.options.isolation);
        if minimum.level == IsolationLevel::Microvm {
            backend::machine::check(environment.as_str(), mem_mib)?;
        }
        self.ensure_environment(environment, session)?;
        self.ensure_isolation(&minimum, session)?;
        Ok(minimum)
    }

    /// Builds what an isolation is made of, where that is not there.
    fn ensure_isolation(&self, minimum: &IsolationMinimum, session: &mut Session<'_>) -> Result<()> {
        match minimum.level {
            IsolationLevel::Namespaces => Ok(()),
            IsolationLevel::Microvm if environment::kit(self.home.root())?.is_some() => Ok(()),
            IsolationLevel::Microvm => self.build_missing(&environment::MICROVM.parse()?, session),
        }
    }

    /// Builds an environment that is needed and not there.
    fn ensure_environment(&self, name: &EnvironmentName, session: &mut Session<'_>) -> Result<()> {
        environment::refuse_kit(name.as_str())?;
        if environment::resolve(self.home.root(), name.as_str())?.is_some() {
            return Ok(());
        }
        self.build_missing(name, session)
    }

    fn build_missing(&self, name: &EnvironmentName, session: &mut Session<'_>) -> Result<()> {
        let request = api::environment::EnvBuildRequest { environment: name.clone(), rebuild: false, includes: Vec::new() };
        self.build_environment(&request, session)
    }

    fn build_environment(&self, request: &api::environment::EnvBuildRequest, session: &mut Session<'_>) -> Result<()> {
        let stream = role::start(&self.options.binary, &self.home, Role::Builder)?;
        let call = Call { op: api::EnvBuild::NAME.to_owned(), request: ops::to_value(request)?, stream: true, stdin: false };
        client::converse(&stream, &call, session).map(drop)
    }

    /// Has the trash emptied by a process that nobody waits for. When it cannot be started, the next one does its work.
    fn start_janitor(&self) {
        if let Err(error) = role::start(&self.options.binary, &self.home, Role::Janitor) {
            supervisor::complain(&error);
        }
    }
}

/// What a role process does: the whole of it. `arguments` are those after the role's word. Gives its exit status.
#[must_use]
pub fn role_main(role: Role, arguments: &[std::ffi::OsString], binary: &Path, signals: OwnedFd) -> u8 {
    match role_body(role, arguments, binary, signals) {
        Ok(()) => 0,
        Err(error) => {
            supervisor::complain(&error);
            125
        }
    }
}

fn role_body(role: Role, arguments: &[std::ffi::OsString], binary: &Path, signals: OwnedFd) -> Result<()> {
    let [root] = arguments else { return Err(Error::invalid("a role process gets one argument, its home")) };
    // So that what a terminal sends to its foreground processes does not reach us.
    rustix::process::setsid().map_err(|error| Error::internal("setsid").because(error))?;
    let privilege = privilege::detect()?;
    privilege::enter_self(&privilege)?;
    let home = Home::open(Path::new(root))?;
    match role {
        Role::Janitor => janitor::empty_trash(&home),
        Role::Builder => {
            let (connection, call, _) = role::take_call()?;
            ops::build_here(&home, &privilege, call, connection)
        }
        Role::Keeper => {
            let (connection, call, _) = role::take_call()?;
            keeper::answer(&home, &privilege, signals, call, connection)
        }
        Role::Supervisor => {
            let (connection, call, inputs) = role::take_call()?;
            let backend = backend::namespaces::Namespaces::new(binary.to_owned(), privilege.clone());
            let setting = begin::Setting { home: &home, privilege: &privilege, binary, namespaces: &backend };
            match call.op.as_str() {
                api::WorkspaceCreate::NAME => begin::create(setting, signals, &ops::parse(call.request)?, connection),
                api::WorkspaceStart::NAME => begin::start(setting, signals, &ops::parse::<String>(call.request)?, connection),
                api::Run::NAME => begin::run(setting, signals, &ops::parse(call.request)?, connection, call.stdin, inputs),
                other => Err(Error::internal(format!("a supervisor cannot begin with {other}"))),
            }
        }
    }
}
