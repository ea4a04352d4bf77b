//! How a supervisor begins: a new workspace, a stopped one, or a one-shot run. Each ends with a sandbox that is up and a
//! [`Supervisor`] that owns it, or with nothing left behind.

use std::fs::{self, DirBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyro_api::envelope::Progress;
use pyro_api::ops::exec::{Outcome, RunRequest};
use pyro_api::ops::workspace::{CreateRequest, CreateResponse};
use pyro_api::values::{IsolationLevel, IsolationMinimum};
use pyro_api::{Error, ErrorKind, Result};
use pyro_layer::{Marks, Owners};

use crate::backend::firecracker::{self, Choice, Firecracker, Found};
use crate::backend::machine::{Accelerator, Places, Tell, machines};
use crate::backend::namespaces::{Namespaces, in_first_user_namespace};
use crate::backend::qemu::Qemu;
use crate::backend::{Backend, Launch, Limits, MakeLayers, StackMount};
use crate::clock::Instant;
use crate::environment::{self, Environment};
use crate::fault;
use crate::home::{Home, Place};
use crate::janitor;
use crate::layers::{self, Naming};
use crate::lease::{Lease, TRY_EVERY, TRY_FOR};
use crate::manifest::{Manifest, Mount};
use crate::name::{new_id, new_name};
use crate::privilege::Privilege;
use crate::seed;
use crate::state::{StateEvent, WorkspaceState};
use crate::store::{Position, Store, WorkspaceRecord};
use crate::supervisor::control::Connection;
use crate::supervisor::exec::{ExecPlan, compose_env, working_directory};
use crate::supervisor::launch::{Live, bring_up};
use crate::supervisor::past::{Past, Relaunch, Ways};
use crate::supervisor::{Life, Subject, Supervisor};

/// Processes and threads of one sandbox. Enough for a parallel build of any size, far from what hurts a host (its own default is 32,768).
pub const PIDS_MAX: u64 = 4096;

/// What every beginning needs, and every new beginning after the first.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The home.
    pub home: &'a Home,
    /// What we may do on this machine.
    pub privilege: &'a Privilege,
    /// Our own program.
    pub binary: &'a Path,
    /// What sandboxes are made by, or what confines that which makes them.
    pub namespaces: &'a Namespaces,
}

/// Held while a workspace is unfinished or a run is going on. Dropped, it takes everything of it away.
pub(crate) struct Unfinished<'a> {
    home: &'a Home,
    place: Place,
    lease: Option<Lease>,
    /// It holds little: deleted where it is, which is quicker than a way through the trash. Dying half-way leaves a place without a
    /// held lease, which is cleared away like any other.
    is_small: bool,
    /// What was made for it elsewhere in the home.
    made: Vec<PathBuf>,
}

impl<'a> Unfinished<'a> {
    /// With a new id.
    pub(crate) fn new(home: &'a Home) -> Result<(Self, String)> {
        /// Whoever clears up after the dead may take a new lease in the moment between its making and its locking; that it does so
        /// again and again is not to be expected.
        const ATTEMPTS_MAX: u32 = 16;
        for _ in 0..ATTEMPTS_MAX {
            let id = new_id();
            let place = home.unfinished(&id);
            let cannot = |error: std::io::Error| no_room(place.root(), error);
            let Some(lease) = Lease::take(&home.run_lease(&id)).map_err(cannot)? else { continue };
            // From here on dropping clears up.
            let unfinished = Self { home, place: place.clone(), lease: Some(lease), is_small: false, made: Vec::new() };
            DirBuilder::new().mode(0o700).create(place.root()).map_err(cannot)?;
            return Ok((unfinished, id));
        }
        Err(Error::unavailable(format!("{} is being cleared all the time", home.runs().display())).hint("try again"))
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// This was made for it, and goes with it if it is never finished.
    pub(crate) fn made(&mut self, path: PathBuf) {
        self.made.push(path);
    }

    /// It is a workspace now.
    fn finish(self, id: &str) -> Result<Place> {
        let home = self.home;
        Self::finish_all(home, std::iter::once((self, id)))?;
        Ok(home.workspace(id))
    }

    /// They are workspaces now, with these ids.
    pub(crate) fn finish_all<'b>(home: &Home, all: impl Iterator<Item = (Self, &'b str)>) -> Result<()> {
        for (mut unfinished, id) in all {
            let place = home.workspace(id);
            fs::rename(unfinished.place.root(), place.root()).map_err(|error| no_room(place.root(), error))?;
            if let Some(lease) = unfinished.lease.take() {
                lease.remove();
            }
            unfinished.made.clear();
        }
        let workspaces = home.workspaces();
        fs::File::open(&workspaces).and_then(|directory| directory.sync_all()).map_err(|error| no_room(&workspaces, error))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        for made in std::mem::take(&mut self.made) {
            if let Err(error) = janitor::discard(self.home, &made) {
                crate::supervisor::complain(&error);
            }
        }
        if let Some(lease) = self.lease.take() {
            let gone = match self.is_small.then(|| pyro_layer::remove_tree(self.place.root())) {
                Some(Ok(_)) => Ok(()),
                // What cannot be deleted here is looked at by the janitor.
                Some(Err(_)) | None => janitor::discard(self.home, self.place.root()),
            };
            if let Err(error) = gone {
                crate::supervisor::complain(&error);
            }
            lease.remove();
        }
    }
}

/// What to do when nothing more can be written.
pub(crate) const DISK_FULL: &str = "the disk is full: free some space, or delete workspaces";

pub(crate) fn no_room(path: &Path, error: std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let error = Error::unavailable(format!("{} cannot be made", path.display())).because(error);
    if full { error.hint(DISK_FULL) } else { error }
}

fn built(home: &Home, name: &str) -> Result<Environment> {
    environment::refuse_kit(name)?;
    environment::resolve(home.root(), name)?
        .ok_or_else(|| Error::conflict(format!("environment {name} is not built")).hint(format!("pyro env build {name}")))
}

fn mounts_of(environment: &Environment) -> Vec<Mount> {
    environment.mounts.iter().map(|mount| Mount { at: mount.at.clone(), lowers: vec![mount.source.clone()] }).collect()
}

/// The overlays of a one-shot run: what it writes is in its own place, over the read-only trees.
fn stack_of_run(place: &Place, mounts: &[Mount]) -> Vec<StackMount> {
    let stacked = |mount: &Mount| {
        let name = layers::overlay_name(&mount.at);
        StackMount {
            at: mount.at.clone(),
            lowers: mount.lowers.clone(),
            sealed: 0,
            upper: place.upper(&name),
            work: place.work(&name),
        }
    };
    mounts.iter().map(stacked).collect()
}

/// Makes the writable layers.
fn make_layers(stack: &[StackMount]) -> Result<()> {
    for mount in stack {
        for layer in [&mount.upper, &mount.work] {
            // What the overlay shows is the mode of its upper root.
            DirBuilder::new().mode(0o755).create(layer).map_err(|error| no_room(layer, error))?;
        }
    }
    Ok(())
}

fn launch_of(
    home: &Home,
    id: &str,
    hostname: &str,
    stack: &[StackMount],
    (vcpu_count, mem_mib, disk_mib): (u32, u64, u64),
    volatile: bool,
) -> Launch {
    Launch {
        id: home.mark(id),
        hostname: hostname.to_owned(),
        mounts: stack.to_vec(),
        staging: home.staging(),
        volatile,
        limits: Limits { mem_mib, disk_mib, vcpu_count, pids_max: PIDS_MAX },
    }
}

fn bring_up_here(
    setting: Setting<'_>,
    launch: &Launch,
    make_layers: &mut MakeLayers<'_>,
    minimum: &IsolationMinimum,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Live> {
    let (found, firecracker, qemu);
    let backend: &dyn Backend = match minimum.level {
        IsolationLevel::Namespaces => setting.namespaces,
        IsolationLevel::Microvm => {
            let places = Places { home: setting.home, binary: setting.binary, namespaces: setting.namespaces, tell: Tell(tell) };
            let accelerator = Accelerator::find(setting.home, setting.binary);
            found = match accelerator {
                Accelerator::Kvm => firecracker::find(&machines(setting.home)?),
                // It could not run anything.
                Accelerator::Tcg => Found::Nowhere,
            };
            match firecracker::choose(accelerator, Accelerator::opens_inside(setting.privilege), &found)? {
                Choice::Firecracker(program) => {
                    firecracker = Firecracker { places, program };
                    &firecracker
                }
                Choice::Qemu => {
                    qemu = Qemu { places };
                    &qemu
                }
            }
        }
    };
    bring_up(backend, launch, make_layers, minimum, crate::BUILD)
}

/// As it was launched, over other layers.
fn relaunch<'a>(setting: Setting<'a>, launch: Launch, minimum: IsolationMinimum) -> Relaunch<'a> {
    Box::new(move |mounts| {
        crate::recovery::remove_groups(&launch.id)?;
        let launch = Launch { mounts: mounts.to_vec(), ..launch.clone() };
        bring_up_here(setting, &launch, &mut || Ok(()), &minimum, &|_| ())
    })
}

/// Shows a caller what takes a while.
struct Shown<'a>(Mutex<&'a mut Connection>);

impl<'a> Shown<'a> {
    fn to(connection: &'a mut Connection) -> Self {
        Self(Mutex::new(connection))
    }

    fn tell(&self, step: &str) {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.progress(Progress { step: step.to_owned(), done: 0, total: None, unit: String::new() });
        // One that is gone is seen when it is answered.
        let _ = connection.flush();
    }
}

fn environment_vars(environment: &Environment) -> Vec<(String, String)> {
    if environment.path.is_empty() {
        return Vec::new();
    }
    let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", environment.path.join(":"));
    vec![("PATH".to_owned(), path)]
}

/// Whose ids the files of a layer may get.
fn owners(privilege: &Privilege) -> Owners {
    match privilege {
        Privilege::Root { .. } | Privilege::Range { .. } => Owners::Canonical,
        Privilege::Single { .. } => Owners::CallerOnly,
    }
}

/// How layers are written in this place.
pub fn ways(privilege: &Privilege) -> Ways {
    let marks = if in_first_user_namespace(privilege) { Marks::Trusted } else { Marks::User };
    Ways { owners: owners(privilege), marks }
}

/// Makes a workspace and its sandbox. Nothing of it exists before all of it does.
///
/// # Errors
/// `Conflict` when the name is taken; those of the seed, the launch and the disk.
pub fn create(setting: Setting<'_>, signals: OwnedFd, request: &CreateRequest, mut connection: Connection) -> Result<()> {
    let answer = make(setting, signals, request, &mut connection);
    match answer {
        Ok((supervisor, _lease)) => serve_with(supervisor, connection),
        Err(error) => refuse(connection, error),
    }
}

fn serve_with(mut supervisor: Supervisor<'_>, connection: Connection) -> Result<()> {
    supervisor.add_connection(connection);
    supervisor.serve()
}

fn make<'a>(
    setting: Setting<'a>,
    signals: OwnedFd,
    request: &CreateRequest,
    connection: &mut Connection,
) -> Result<(Supervisor<'a>, Lease)> {
    let home = setting.home;
    let environment = built(home, request.environment.as_str())?;
    let (mut unfinished, id) = Unfinished::new(home)?;
    let place = unfinished.place.clone();
    let lease = take_lease(&place, request.environment.as_str())?;
    let mut mounts = mounts_of(&environment);
    // Until the record names them, nobody else may take what we make for garbage.
    let (naming, seed) = match &request.seed_path {
        None => (Naming::shared(home)?, None),
        Some(path) => {
            let kept = seed::keep(home, &place, owners(setting.privilege), path, connection)?;
            mounts[0].lowers.insert(0, kept.tree);
            (kept.naming, Some(kept.view))
        }
    };
    let limits = (request.vcpu_count.get(), request.mem_mib.get(), request.disk_mib.get());
    let made_layer = layers::make(home, &naming, &mounts, &id, &[])?;
    unfinished.made.push(home.layer(&made_layer));
    let layers = layers::stack(home, &mounts, &[], &made_layer);
    let mut make = || fs::create_dir(place.execs()).map_err(|error| no_room(&place.execs(), error));
    let named = request.name.as_ref().map(|name| name.as_str().to_owned());
    let hostname = named.clone().unwrap_or_else(|| "workspace".to_owned());
    let launch = launch_of(home, &id, &hostname, &layers, limits, false);
    let shown = Shown::to(connection);
    let live = bring_up_here(setting, &launch, &mut make, &request.isolation, &|step| shown.tell(step))?;
    keep_log(&place)?;
    fault::point(home, "create.launched")?;

    let mut store = Store::open(home)?;
    let name = match &named {
        Some(name) => name.clone(),
        None => free_name(&store, &|_| false)?,
    };
    let labels = request.labels.iter().map(|label| (label.key.as_str().to_owned(), label.value.clone())).collect();
    let now = Instant::now();
    let manifest = Manifest::new(
        id.clone(),
        name,
        labels,
        environment.name.clone(),
        environment.digest.clone(),
        mounts.clone(),
        limits,
        request.isolation.to_string(),
        seed.clone(),
        now.0,
    );
    let listener = listen(&place)?;
    let mut record = WorkspaceRecord {
        manifest,
        state: WorkspaceState::Running,
        used_at: now,
        exec_count: 0,
        isolation: Some(live.isolation.clone()),
        live: made_layer.clone(),
        expires_at: request.ttl_seconds.map(|seconds| now.later(seconds)),
    };
    // The row first: its unique name decides. Dying before the rename leaves a row without files, which its next use clears away.
    loop {
        record.manifest.write(&place)?;
        match store.insert(&record) {
            Ok(()) => break,
            // A made-up name that was free a moment ago: somebody else made up the same.
            Err(error) if error.kind == ErrorKind::Conflict && named.is_none() => {
                record.manifest.name = free_name(&store, &|_| false)?
            }
            Err(error) => return Err(error),
        }
    }
    fault::pass(home, "create.recorded");
    let place = match unfinished.finish(&id) {
        Ok(place) => place,
        Err(error) => {
            // It may have got as far as its new place.
            janitor::discard(home, home.workspace(&id).root())?;
            store.delete(&id, &record.manifest.name)?;
            return Err(error);
        }
    };
    let response = CreateResponse { workspace: crate::ops::workspace_view(&record), reused: false };
    connection.answer(crate::ops::to_value(&response));
    drop(naming);
    let position = store.position(&id)?;
    let subject = Subject {
        id,
        name: record.manifest.name,
        environment: environment.name.clone(),
        mounts: layers,
        place,
        environment_vars: environment_vars(&environment),
        mem_mib: limits.1,
    };
    let past =
        Past::new(home, mounts, position, None, ways(setting.privilege), relaunch(setting, launch, request.isolation.clone()));
    let life = Life::Workspace { store, listener: Some(listener), last_exec: 0, past: Box::new(past) };
    let supervisor = Supervisor::new(subject, life, live, signals)?.until(record.expires_at);
    Ok((supervisor, lease))
}

/// A made-up name that no live workspace has, and that is not taken otherwise.
pub(crate) fn free_name(store: &Store, is_taken: &dyn Fn(&str) -> bool) -> Result<String> {
    /// With numbers from the fifth try on, a million names are free before this is ever reached.
    const ATTEMPTS_MAX: u32 = 64;
    for attempt in 0..ATTEMPTS_MAX {
        let name = new_name(attempt);
        if !is_taken(&name) && !store.name_is_taken(&name)? {
            return Ok(name);
        }
    }
    Err(Error::limit("no free name was found").hint("give one with name"))
}

/// Takes the lease of a workspace. Who clears up after a dead supervisor holds it for some milliseconds, so it is tried for a
/// while unless somebody listens already.
fn take_lease(place: &Place, name: &str) -> Result<Lease> {
    if let Some(lease) = try_lease(place)? {
        return Ok(lease);
    }
    if matches!(crate::client::connect(&place.control()), Ok(Some(_))) {
        return Err(Error::conflict(format!("workspace {name} has a supervisor already")));
    }
    Err(Error::conflict(format!("somebody else has workspace {name} and needs it stopped")).hint("try again"))
}

/// The lease of a workspace, for which somebody who is just ending is waited for; `None` when somebody has it for longer.
///
/// # Errors
/// When the disk refuses.
pub fn try_lease(place: &Place) -> Result<Option<Lease>> {
    let begun = std::time::Instant::now();
    loop {
        match Lease::take(&place.lease()) {
            Ok(Some(lease)) => return Ok(Some(lease)),
            Ok(None) if begun.elapsed() < TRY_FOR && !matches!(crate::client::connect(&place.control()), Ok(Some(_))) => {
                std::thread::sleep(TRY_EVERY);
            }
            Ok(None) => return Ok(None),
            Err(error) => return Err(no_room(&place.lease(), error)),
        }
    }
}

/// Where callers of a workspace come in.
pub(crate) fn listen(place: &Place) -> Result<UnixListener> {
    let cannot = |error: std::io::Error| Error::unavailable("the control socket cannot be made").because(error);
    match fs::remove_file(place.control()) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(error)),
    }
    let address = crate::client::SocketPath::new(&place.control()).map_err(cannot)?;
    let listener = UnixListener::bind(address.as_str()).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    Ok(listener)
}

/// From here on what we have to say goes to the workspace's log.
fn keep_log(place: &Place) -> Result<()> {
    let log = fs::OpenOptions::new().create(true).append(true).open(place.log()).map_err(|error| no_room(&place.log(), error))?;
    rustix::stdio::dup2_stderr(&log).map_err(|error| Error::internal("standard error").because(error))
}

/// Starts the sandbox of a workspace that has none.
///
/// # Errors
/// `Conflict` when somebody else starts it; those of the launch, after which its state says why it failed.
pub fn start(setting: Setting<'_>, signals: OwnedFd, id: &str, mut connection: Connection) -> Result<()> {
    let place = setting.home.workspace(id);
    // The lease first: whoever has it may write the workspace's state.
    let lease = match take_lease(&place, id) {
        Ok(lease) => lease,
        Err(error) => return refuse(connection, error),
    };
    let started = restart(setting, signals, id, &place, &mut connection);
    match started {
        Ok(supervisor) => {
            connection.answer(Ok(serde_json::Value::Null));
            let served = serve_with(supervisor, connection);
            drop(lease);
            served
        }
        Err(error) => refuse(connection, error),
    }
}

fn restart<'a>(
    setting: Setting<'a>,
    signals: OwnedFd,
    id: &str,
    place: &Place,
    connection: &mut Connection,
) -> Result<Supervisor<'a>> {
    // Callers that come from now on wait in its queue.
    let listener = listen(place)?;
    let manifest = Manifest::read(place)?;
    let minimum: IsolationMinimum = manifest.isolation_minimum.parse()?;
    let mut store = Store::open(setting.home)?;
    // Whoever has recorded that it does not run has removed them.
    if store.get(id)?.state.needs_supervisor() {
        crate::recovery::remove_groups(&setting.home.mark(id))?;
    }
    let position = store.position(id)?;
    before_layers(&position, &manifest.name, place)?;
    let since = store.first_unsealed(id)?;
    let layers = layers::stack(setting.home, &manifest.mounts, &position.below, &position.live);
    let limits = (manifest.vcpu_count, manifest.mem_mib, manifest.disk_mib);
    let launch = launch_of(setting.home, id, &manifest.name, &layers, limits, false);
    let mut furnish = || layers::furnish(setting.home, &manifest.mounts, &position.live, &position.below);
    let shown = Shown::to(connection);
    let live = bring_up_here(setting, &launch, &mut furnish, &minimum, &|step| shown.tell(step));
    keep_log(place)?;
    let record = store.get(id)?;
    store.close_open(id, &Outcome::SandboxLost { reason: "its supervisor died".into() }, "sandbox lost: its supervisor died")?;
    let starting = record.settled().apply(StateEvent::Start).map_err(|denied| Error::conflict(denied.0))?;
    let live = match live {
        Ok(live) => live,
        Err(error) => {
            let failed =
                starting.apply(StateEvent::LaunchFailed(error.message.clone())).map_err(|denied| Error::internal(denied.0))?;
            store.set_state(id, &failed, None, Some("workspace start"))?;
            return Err(error);
        }
    };
    let running = starting.apply(StateEvent::Ready).map_err(|denied| Error::internal(denied.0))?;
    store.set_state(id, &running, Some(&live.isolation), Some("workspace start"))?;
    let environment_vars =
        environment::resolve(setting.home.root(), &manifest.environment)?.map(|found| environment_vars(&found)).unwrap_or_default();
    let subject = Subject {
        id: id.to_owned(),
        name: manifest.name,
        environment: manifest.environment,
        mounts: layers,
        place: place.clone(),
        environment_vars,
        mem_mib: manifest.mem_mib,
    };
    let past =
        Past::new(setting.home, manifest.mounts, position, since, ways(setting.privilege), relaunch(setting, launch, minimum));
    let life = Life::Workspace { store, listener: Some(listener), last_exec: record.exec_count, past: Box::new(past) };
    Supervisor::new(subject, life, live, signals).map(|supervisor| supervisor.until(record.expires_at))
}

/// Refuses a workspace whose files are not layers.
/// Refuses for a workspace that no layers are recorded of.
///
/// # Errors
/// `Unavailable` with where its files are.
pub fn before_layers(position: &Position, name: &str, place: &Place) -> Result<()> {
    if !position.live.as_str().is_empty() {
        return Ok(());
    }
    Err(Error::unavailable(format!("workspace {name} was made before there were layers"))
        .hint(format!("its files are in {}", place.root().display())))
}

/// Tells the caller why, and ends.
fn refuse(mut connection: Connection, error: Error) -> Result<()> {
    last_answer(&mut connection, Err(error))
}

/// Gives a caller its answer when there is no loop that would.
///
/// # Errors
/// When the caller cannot be waited for. That it is gone is none.
pub fn last_answer(connection: &mut Connection, answer: Result<serde_json::Value>) -> Result<()> {
    connection.answer(answer);
    connection.send_all()
}

/// A one-shot run from its request to its end: brings up a sandbox, runs the command, and takes everything away when its caller has
/// the answer.
///
/// # Errors
/// When something could not be taken away. Those of the seed, the launch and the disk are the caller's answer.
pub fn run(
    setting: Setting<'_>,
    signals: OwnedFd,
    request: &RunRequest,
    mut connection: Connection,
    stdin: bool,
    inputs: Vec<pyro_api::envelope::Input>,
) -> Result<()> {
    let home = setting.home;
    let (mut supervisor, plan, unfinished) = match begin_run(setting, signals, request, &mut connection, stdin) {
        Ok(begun) => begun,
        Err(error) => return refuse(connection, error),
    };
    let caller = supervisor.add_connection(connection);
    match supervisor.begin_exec(caller, &plan) {
        Ok(()) => {}
        Err(error) => supervisor.answer(caller, Err(error)),
    }
    for input in inputs {
        supervisor.take_input(caller, input);
    }
    let served = supervisor.serve();
    let trashed = !unfinished.is_small;
    drop(unfinished);
    if trashed { served.and(janitor::empty_trash(home)) } else { served }
}

fn begin_run<'a>(
    setting: Setting<'a>,
    signals: OwnedFd,
    request: &RunRequest,
    connection: &mut Connection,
    stdin_streams: bool,
) -> Result<(Supervisor<'a>, ExecPlan, Unfinished<'a>)> {
    let home = setting.home;
    let environment = built(home, request.environment.as_str())?;
    let vars = environment_vars(&environment);
    let plan = ExecPlan {
        command: request.command.clone(),
        cwd: working_directory(request.cwd.as_deref())?,
        env: compose_env(
            vars.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            request.env.iter().map(|var| (var.name.as_str(), var.value.as_str())),
            false,
        ),
        stdin: request.stdin.clone(),
        stdin_streams: stdin_streams && request.stdin.is_none(),
        terminal: None,
        shown: None,
        timeout: Duration::from_secs(request.timeout_seconds.get()),
        wait: None,
    };
    let (mut unfinished, id) = Unfinished::new(home)?;
    unfinished.is_small = request.seed_path.is_none();
    let place = unfinished.place.clone();
    let seed =
        request.seed_path.as_ref().map(|path| seed::import(&place, owners(setting.privilege), path, connection)).transpose()?;
    let limits = (request.vcpu_count.get(), request.mem_mib.get(), request.disk_mib.get());
    let mut mounts = mounts_of(&environment);
    if seed.is_some() {
        mounts[0].lowers.insert(0, place.seed().join("root"));
    }
    let layers = stack_of_run(&place, &mounts);
    let launch = launch_of(home, &id, "run", &layers, limits, true);
    let shown = Shown::to(connection);
    let live = bring_up_here(setting, &launch, &mut || make_layers(&layers), &request.isolation, &|step| shown.tell(step))?;
    let subject = Subject {
        id,
        name: "run".into(),
        environment: environment.name.clone(),
        place,
        environment_vars: vars,
        mounts: layers,
        mem_mib: limits.1,
    };
    let supervisor = Supervisor::new(subject, Life::Run, live, signals)?;
    Ok((supervisor, plan, unfinished))
}

/// Begins something and gives it up at once.
#[cfg(test)]
pub(crate) fn begin_and_drop(home: &Home) -> Result<()> {
    let (unfinished, id) = Unfinished::new(home)?;
    assert!(home.unfinished(&id).root().exists(), "it was cleared away though it lives");
    drop(unfinished);
    Ok(())
}
