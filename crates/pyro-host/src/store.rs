//! The database: the only place with SQL, and the only place where text becomes a state.
//!
//! One file for all processes of a home, in WAL mode. Changes of state are committed with `synchronous=FULL` and so survive a power
//! cut; the record of commands is committed with `NORMAL`: it survives the death of any process, and is as durable as the files
//! those commands wrote. A database that is lost is made again from the manifests.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_api::nearest::{did_you_mean, nearest};
use pyro_api::ops::exec::Outcome;
use pyro_api::ops::workspace::IsolationReport;
use pyro_api::values::WorkspaceRef;
use pyro_api::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::clock::Instant;
use crate::home::Home;
use crate::layers::{self, LayerId};
use crate::manifest::{Manifest, Mount};
use crate::state::WorkspaceState;

mod past;
mod transactions;

pub use past::{NewStep, Position, Sealing, SnapshotRecord, StepRecord, snapshot_taken};
use transactions::Flushing;

/// How long a writer waits for another: a commit takes some 10 ms, and seconds where a disk has just been given gigabytes to write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Every migration in order; `user_version` counts those that were applied.
const MIGRATIONS: [&str; 4] = [
    include_str!("store/migrations/0001_first.sql"),
    include_str!("store/migrations/0002_disk.sql"),
    include_str!("store/migrations/0003_past.sql"),
    include_str!("store/migrations/0004_copies.sql"),
];

/// SQLite before this can lose committed writes when two connections use one file in WAL mode (fixed in 3.51.3, see sqlite.org/wal.html).
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// An open database.
pub struct Store {
    connection: Connection,
    /// What a commit waits for now.
    flushing: Flushing,
}

/// One workspace as recorded.
#[derive(Clone, Debug)]
pub struct WorkspaceRecord {
    /// What it is.
    pub manifest: Manifest,
    /// What it was doing when its supervisor last wrote.
    pub state: WorkspaceState,
    /// When it was last used.
    pub used_at: Instant,
    /// Commands begun so far.
    pub exec_count: u64,
    /// Its isolation as measured at its last start.
    pub isolation: Option<IsolationReport>,
    /// The layer that is written to.
    pub live: LayerId,
    /// When it is to be deleted, if ever.
    pub expires_at: Option<Instant>,
}

/// One command as recorded.
#[derive(Clone, Debug)]
pub struct ExecRecord {
    /// The command as a shell line.
    pub command: String,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// Bytes of standard output that were not kept.
    pub stdout_dropped: u64,
    /// Bytes of standard error that were not kept.
    pub stderr_dropped: u64,
    /// When it began.
    pub at: Instant,
    /// How long it took.
    pub duration_ms: Option<u64>,
}

/// What became of a command.
#[derive(Clone, Debug)]
pub struct ExecEnd<'a> {
    /// How it ended.
    pub outcome: &'a Outcome,
    /// The same in words.
    pub words: String,
    /// Written and dropped bytes of standard output.
    pub stdout: (u64, u64),
    /// Written and dropped bytes of standard error.
    pub stderr: (u64, u64),
    /// How long it took.
    pub duration_ms: u64,
}

/// One event as recorded.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// When it began.
    pub at: Instant,
    /// Name of the op.
    pub op: String,
    /// What it was about.
    pub subject: String,
    /// How it ended, in words.
    pub outcome: Option<String>,
    /// Number of the exec.
    pub exec: Option<u64>,
    /// The step that has what it changed.
    pub step: Option<u64>,
    /// How long it took.
    pub duration_ms: Option<u64>,
}

/// A row of the log that was begun and is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenEvent(i64);

fn failed(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => ErrorKind::Timeout,
        _ => ErrorKind::Unavailable,
    };
    // What it says when it cannot make the file larger that connections share (`unixShmMap` in its os_unix.c).
    let no_shared_file = error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
    let disk_full = no_shared_file || error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
    let error = Error::new(kind, "the record of workspaces cannot be used").because(error);
    if disk_full { error.hint(crate::begin::DISK_FULL) } else { error }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types have only text keys")
}

fn bytes(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Store {
    /// Opens the database of a home, making or migrating it when needed.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be opened, or was written by a newer version.
    pub fn open(home: &Home) -> Result<Self> {
        if rusqlite::version_number() < SQLITE_VERSION_MIN {
            return Err(Error::internal(format!("SQLite {} can lose commits", rusqlite::version())));
        }
        let path = home.database();
        let (mut store, new) = match Self::open_file(&path) {
            Ok(opened) => opened,
            Err(error) if is_damaged(&error) => {
                // Set aside, never deleted: the manifests give us all but the history.
                let aside = path.with_extension(format!("damaged-{}", Instant::now().0));
                std::fs::rename(&path, &aside).map_err(|error| {
                    Error::unavailable(format!("{} is damaged and cannot be set aside", path.display())).because(error)
                })?;
                for side in ["db-wal", "db-shm"] {
                    // They belong to the damaged file; SQLite makes its own.
                    let _ = std::fs::remove_file(path.with_extension(side));
                }
                Self::open_file(&path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        if new {
            store.adopt_manifests(home)?;
        }
        Ok(store)
    }

    /// The database, and whether it had no tables yet.
    fn open_file(path: &Path) -> Result<(Self, bool), rusqlite::Error> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // An idle supervisor keeps its connection: 64 pages of cache are enough for any of our statements.
        connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA cache_size = 64; PRAGMA synchronous = FULL;")?;
        let mut store = Self { connection, flushing: Flushing::Full };
        let version: i64 = store.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version != MIGRATIONS.len() as i64 {
            // One at a time: changing into WAL mode is refused at once, whatever the timeout, when another connection does the same.
            let _turn = lock_beside(path)?;
            store.migrate()?;
        }
        Ok((store, version == 0))
    }

    fn migrate(&mut self) -> Result<(), rusqlite::Error> {
        let mode: String = self.connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        debug_assert_eq!(mode, "wal", "a local file takes WAL mode");
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let applied = usize::try_from(version).unwrap_or(usize::MAX);
        let Some(missing) = MIGRATIONS.get(applied..) else {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISMATCH),
                Some(format!("it was written by a newer pyro (version {version}, this one knows {})", MIGRATIONS.len())),
            ));
        };
        for migration in missing {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        transaction.commit()
    }

    /// Records every workspace that has a manifest and no row.
    fn adopt_manifests(&mut self, home: &Home) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(home.workspaces()) else { return Ok(()) };
        let layers = layers::on_disk(home)?;
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().map(str::to_owned) else { continue };
            // A manifest that cannot be read is left where it is: nothing is deleted on doubt.
            let Ok(manifest) = Manifest::read(&home.workspace(&id)) else { continue };
            // A copy of another's place: a row for it would lead to the files of the other.
            if manifest.id != id {
                continue;
            }
            let used_at = Instant(manifest.created_at);
            // The record may have been lost under a supervisor that lives.
            let state = match crate::client::connect(&home.workspace(&id).control()) {
                Ok(Some(_)) => WorkspaceState::Running,
                Ok(None) | Err(_) => WorkspaceState::Stopped,
            };
            // The newest layer made for it is the one that was written to last.
            let newest = layers.iter().filter_map(|(layer, made_for)| Some((layer, made_for.as_ref()?)));
            let newest = newest.filter(|(_, made_for)| made_for.workspace == id).max_by_key(|(_, made_for)| made_for.at_ns);
            let Some((live, made_for)) = newest else { continue };
            let record = WorkspaceRecord {
                manifest,
                state,
                used_at,
                exec_count: last_exec(home, &id),
                isolation: None,
                live: live.clone(),
                expires_at: None,
            };
            match self.insert(&record) {
                Ok(()) if made_for.below == record.manifest.base => {}
                Ok(()) => {
                    let position = self.position(&id)?;
                    let below = NewStep { op: "recovered", subject: "", layers: made_for.below.clone() };
                    self.advance(&id, &position, &below, live)?;
                }
                // Somebody else adopts at the same time.
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Records a new workspace, and that it was made.
    ///
    /// # Errors
    /// `Conflict` when a live workspace has the name.
    pub fn insert(&mut self, record: &WorkspaceRecord) -> Result<()> {
        self.insert_all(std::slice::from_ref(record))
    }

    /// Records several new workspaces, all or none.
    ///
    /// # Errors
    /// `Conflict` when a live workspace has one of the names.
    pub fn insert_all(&mut self, records: &[WorkspaceRecord]) -> Result<()> {
        let mut inserting = "";
        let inserted = self.durably(|transaction| {
            for record in records {
                inserting = &record.manifest.name;
                insert(transaction, record)?;
            }
            Ok(())
        });
        inserted.map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => name_taken(inserting),
            _ => failed(error),
        })
    }

    /// Every workspace, most recently used first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn workspaces(&self) -> Result<Vec<WorkspaceRecord>> {
        let _moment = self.moment()?;
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM workspace ORDER BY used_at DESC, created_at DESC, id"))
            .map_err(failed)?;
        let rows = statement.query_map([], record).map_err(failed)?;
        let mut records = rows.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        for record in &mut records {
            record.manifest.labels = self.labels(&record.manifest.id)?;
        }
        Ok(records)
    }

    fn labels(&self, id: &str) -> Result<BTreeMap<String, String>> {
        let mut statement =
            self.connection.prepare_cached("SELECT key, value FROM label WHERE workspace_id = ?1").map_err(failed)?;
        let rows = statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// One workspace by id.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn get(&self, id: &str) -> Result<WorkspaceRecord> {
        let found = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM workspace WHERE id = ?1"))
            .and_then(|mut statement| statement.query_row([id], record).optional())
            .map_err(failed)?;
        let mut record = found.ok_or_else(|| Error::not_found(format!("there is no workspace with the id {id}")))?;
        record.manifest.labels = self.labels(id)?;
        Ok(record)
    }

    /// A workspace that was read before, as it is now.
    ///
    /// # Errors
    /// `NotFound`, by its name, when it was deleted meanwhile.
    pub fn again(&self, before: &WorkspaceRecord) -> Result<WorkspaceRecord> {
        let deleted = || Error::not_found(format!("workspace {} was deleted meanwhile", before.manifest.name));
        self.get(&before.manifest.id).map_err(|error| if error.kind == ErrorKind::NotFound { deleted() } else { error })
    }

    /// The workspace that a reference means: exact name or id, else the only one whose name or id begins so.
    ///
    /// # Errors
    /// `NotFound` with the nearest names; `Invalid` when several begin so.
    pub fn find(&self, wanted: &WorkspaceRef) -> Result<WorkspaceRecord> {
        // A workspace that is found does not go before it is read.
        let _moment = self.moment()?;
        let text = wanted.as_str();
        let exact: Option<String> = self
            .connection
            .prepare_cached("SELECT id FROM workspace WHERE name = ?1 OR id = ?1")
            .and_then(|mut statement| statement.query_row([text], |row| row.get(0)).optional())
            .map_err(failed)?;
        if let Some(id) = exact {
            return self.get(&id);
        }
        let mut statement = self.connection.prepare_cached("SELECT id, name FROM workspace ORDER BY name").map_err(failed)?;
        let all: Vec<(String, String)> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(Iterator::collect).map_err(failed)?;
        let begins: Vec<&(String, String)> =
            all.iter().filter(|(id, name)| name.starts_with(text) || id.starts_with(text)).collect();
        match begins.as_slice() {
            [(id, _)] => self.get(id),
            [] => {
                let near = nearest(text, all.iter().map(|(_, name)| name.as_str()));
                let hint = did_you_mean(&near).unwrap_or_else(|| match all.len() {
                    0 => "there are no workspaces; workspace create makes one".to_owned(),
                    _ => "workspace list shows them".to_owned(),
                });
                Err(Error::not_found(format!("there is no workspace {text}")).hint(hint))
            }
            several => {
                let names: Vec<&str> = several.iter().take(5).map(|(_, name)| name.as_str()).collect();
                Err(Error::invalid(format!("{text} is the beginning of {} workspaces", several.len()))
                    .hint(format!("write more of it: {}", names.join(", "))))
            }
        }
    }

    /// Whether a live workspace has this name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn name_is_taken(&self, name: &str) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM workspace WHERE name = ?1")
            .and_then(|mut statement| statement.exists([name]))
            .map_err(failed)
    }

    /// Records a state, and the isolation when it was measured anew; `event` is the line of the log for it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_state(
        &mut self,
        id: &str,
        state: &WorkspaceState,
        isolation: Option<&IsolationReport>,
        event: Option<&str>,
    ) -> Result<()> {
        let failure = match state {
            WorkspaceState::Failed { why } => Some(why.as_str()),
            WorkspaceState::Stopped | WorkspaceState::Starting | WorkspaceState::Running | WorkspaceState::Stopping => None,
        };
        self.durably(|transaction| {
            transaction.execute(
                "UPDATE workspace SET state = ?2, failure = ?3, isolation = coalesce(?4, isolation), used_at = ?5 WHERE id = ?1",
                params![id, state.word(), failure, isolation.map(json), Instant::now().0],
            )?;
            if let Some(op) = event {
                add_event(transaction, id, op, "", Some(failure.unwrap_or("ok")), None)?;
            }
            Ok(())
        })
        .map_err(failed)
    }

    /// Gives a workspace a name and labels, and a time to be deleted at.
    ///
    /// # Errors
    /// `Conflict` when a live workspace has the name.
    pub fn set_name_and_labels(
        &mut self,
        id: &str,
        name: &str,
        labels: &BTreeMap<String, String>,
        expires_at: Option<Instant>,
        subject: &str,
    ) -> Result<()> {
        self.durably(|transaction| {
            transaction.execute(
                "UPDATE workspace SET name = ?2, used_at = ?3, expires_at = ?4 WHERE id = ?1",
                params![id, name, Instant::now().0, expires_at.map(|at| at.0)],
            )?;
            set_labels(transaction, id, labels)?;
            add_event(transaction, id, "workspace update", subject, Some("ok"), None).map(drop)
        })
        .map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => name_taken(name),
            _ => failed(error),
        })
    }

    /// Forgets a workspace; its events stay.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn delete(&mut self, id: &str, name: &str) -> Result<()> {
        self.durably(|transaction| {
            transaction.execute("DELETE FROM workspace WHERE id = ?1", [id])?;
            add_event(transaction, id, "workspace delete", name, Some("ok"), None).map(drop)
        })
        .map_err(failed)
    }

    /// Records that a command begins.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn begin_exec(&mut self, id: &str, exec: u64, command: &str) -> Result<OpenEvent> {
        self.quickly(|transaction| {
            transaction.prepare_cached("INSERT INTO exec (workspace_id, exec, command) VALUES (?1, ?2, ?3)")?.execute(params![
                id,
                bytes(exec),
                command
            ])?;
            transaction.prepare_cached("UPDATE workspace SET exec_count = ?2, used_at = ?3 WHERE id = ?1")?.execute(params![
                id,
                bytes(exec),
                Instant::now().0
            ])?;
            add_event(transaction, id, "workspace exec", command, None, Some(exec))
        })
        .map_err(failed)
    }

    /// Records how a command ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn end_exec(&mut self, id: &str, exec: u64, event: OpenEvent, end: &ExecEnd<'_>) -> Result<()> {
        self.quickly(|transaction| {
            transaction
                .prepare_cached(
                    "UPDATE exec SET outcome = ?3, stdout_bytes = ?4, stdout_dropped = ?5, stderr_bytes = ?6, stderr_dropped = ?7
                     WHERE workspace_id = ?1 AND exec = ?2",
                )?
                .execute(params![
                    id,
                    bytes(exec),
                    json(end.outcome),
                    bytes(end.stdout.0),
                    bytes(end.stdout.1),
                    bytes(end.stderr.0),
                    bytes(end.stderr.1)
                ])?;
            close_event(transaction, event, &end.words, Some(end.duration_ms))
        })
        .map_err(failed)
    }

    /// Closes every command and event of a workspace that a dead supervisor left open.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn close_open(&mut self, id: &str, outcome: &Outcome, words: &str) -> Result<()> {
        self.durably(|transaction| {
            transaction
                .execute("UPDATE exec SET outcome = ?2 WHERE workspace_id = ?1 AND outcome IS NULL", params![id, json(outcome)])?;
            transaction.execute("UPDATE event SET outcome = ?2 WHERE workspace_id = ?1 AND outcome IS NULL", params![id, words])?;
            Ok(())
        })
        .map_err(failed)
    }

    /// Records something that was done and is over, and that the workspace was used.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_event(&mut self, id: &str, op: &str, subject: &str, outcome: &str) -> Result<OpenEvent> {
        self.quickly(|transaction| {
            let event = add_event(transaction, id, op, subject, Some(outcome), None)?;
            transaction.execute("UPDATE workspace SET used_at = ?2 WHERE id = ?1", params![id, Instant::now().0])?;
            Ok(event)
        })
        .map_err(failed)
    }

    /// The newest `limit` events of a workspace, oldest first, and how many there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn events(&self, id: &str, limit: u32) -> Result<(u64, Vec<EventRecord>)> {
        let read = || {
            let total: i64 =
                self.connection.query_row("SELECT count(*) FROM event WHERE workspace_id = ?1", [id], |row| row.get(0))?;
            let mut statement = self.connection.prepare_cached(
                "SELECT at, op, subject, outcome, exec, duration_ms, step FROM event WHERE workspace_id = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![id, limit], |row| {
                Ok(EventRecord {
                    at: Instant(row.get(0)?),
                    op: row.get(1)?,
                    subject: row.get(2)?,
                    outcome: row.get(3)?,
                    exec: row.get::<_, Option<i64>>(4)?.map(count),
                    duration_ms: row.get::<_, Option<i64>>(5)?.map(count),
                    step: row.get::<_, Option<i64>>(6)?.map(count),
                })
            })?;
            let mut events = rows.collect::<Result<Vec<_>, _>>()?;
            events.reverse();
            Ok((count(total), events))
        };
        read().map_err(failed)
    }

    /// One command of a workspace.
    ///
    /// # Errors
    /// `NotFound` when it has none with that number.
    pub fn exec(&self, id: &str, name: &str, exec: u64) -> Result<ExecRecord> {
        let found = self
            .connection
            .query_row(&format!("{EXECS} AND exec.exec = ?2"), params![id, bytes(exec)], exec_of)
            .optional()
            .map_err(failed)?;
        found
            .ok_or_else(|| {
                Error::not_found(format!("workspace {name} has no job{exec}")).hint(format!("workspace job list {name} shows them"))
            })
            .map(|(_, exec)| exec)
    }

    /// The commands of a workspace with their numbers: those that run, then those that have ended, the newest first; `limit` at most. And how many
    /// there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn execs(&self, id: &str, running: bool, limit: u32) -> Result<(u64, Vec<(u64, ExecRecord)>)> {
        let only = if running { " AND exec.outcome IS NULL" } else { "" };
        let read = || {
            let total: i64 =
                self.connection
                    .query_row(&format!("SELECT count(*) FROM exec WHERE workspace_id = ?1{only}"), [id], |row| row.get(0))?;
            let order = "ORDER BY exec.outcome IS NOT NULL, exec.exec DESC LIMIT ?2";
            let mut statement = self.connection.prepare(&format!("{EXECS}{only} {order}"))?;
            let rows = statement.query_map(params![id, limit], exec_of)?;
            Ok((count(total), rows.collect::<Result<Vec<_>, _>>()?))
        };
        read().map_err(failed)
    }
}

/// Commands of one workspace, in the order that [`exec_of`] reads them. One whose line of the log is gone began when time began.
const EXECS: &str = "SELECT exec.exec, exec.command, exec.outcome, exec.stdout_dropped, exec.stderr_dropped, \
                     coalesce(event.at, 0), event.duration_ms FROM exec \
                     LEFT JOIN event ON event.workspace_id = exec.workspace_id AND event.exec = exec.exec \
                     WHERE exec.workspace_id = ?1";

fn exec_of(row: &Row<'_>) -> rusqlite::Result<(u64, ExecRecord)> {
    let record = ExecRecord {
        command: row.get(1)?,
        outcome: row.get::<_, Option<String>>(2)?.map(|text| parse(2, &text)).transpose()?,
        stdout_dropped: count(row.get(3)?),
        stderr_dropped: count(row.get(4)?),
        at: Instant(row.get(5)?),
        duration_ms: row.get::<_, Option<i64>>(6)?.map(count),
    };
    Ok((count(row.get(0)?), record))
}

/// In the order that [`record`] reads them.
const COLUMNS: &str = "id, name, environment, environment_digest, mounts, vcpu_count, mem_mib, isolation_minimum, seed, created_at, \
                       used_at, state, failure, isolation, exec_count, disk_mib, live, origin, expires_at, \
                       (SELECT layers FROM step WHERE workspace_id = id AND step = 0)";

fn insert(transaction: &Transaction<'_>, record: &WorkspaceRecord) -> Result<(), rusqlite::Error> {
    let manifest = &record.manifest;
    let failure = match &record.state {
        WorkspaceState::Failed { why } => Some(why.as_str()),
        WorkspaceState::Stopped | WorkspaceState::Starting | WorkspaceState::Running | WorkspaceState::Stopping => None,
    };
    transaction.execute(
        "INSERT INTO workspace (id, name, environment, environment_digest, mounts, vcpu_count, mem_mib, isolation_minimum, seed,
                                created_at, used_at, state, failure, isolation, exec_count, disk_mib, live, origin, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        params![
            manifest.id,
            manifest.name,
            manifest.environment,
            manifest.environment_digest,
            json(&manifest.mounts),
            manifest.vcpu_count,
            bytes(manifest.mem_mib),
            manifest.isolation_minimum,
            manifest.seed.as_ref().map(json),
            manifest.created_at,
            record.used_at.0,
            record.state.word(),
            failure,
            record.isolation.as_ref().map(json),
            bytes(record.exec_count),
            bytes(manifest.disk_mib),
            record.live.as_str(),
            manifest.origin.as_ref().map(json),
            record.expires_at.map(|at| at.0),
        ],
    )?;
    set_labels(transaction, &manifest.id, &manifest.labels)?;
    let (op, subject) = match (&manifest.origin, &manifest.seed) {
        (Some(origin), _) => ("workspace fork", format!("{} at step {}", origin.name, origin.step)),
        (None, Some(seed)) => ("workspace create", format!("{} from {}", manifest.environment, seed.path)),
        (None, None) => ("workspace create", manifest.environment.clone()),
    };
    past::insert_first(transaction, record, op, &subject)?;
    add_event(transaction, &manifest.id, op, &subject, Some("ok"), None).map(drop)
}

fn record(row: &Row<'_>) -> Result<WorkspaceRecord, rusqlite::Error> {
    let mounts: Vec<Mount> = parse(4, &row.get::<_, String>(4)?)?;
    let seed = row.get::<_, Option<String>>(8)?.map(|text| parse(8, &text)).transpose()?;
    let mut manifest = Manifest::new(
        row.get(0)?,
        row.get(1)?,
        BTreeMap::new(),
        row.get(2)?,
        row.get(3)?,
        mounts,
        (row.get(5)?, count(row.get(6)?), count(row.get(15)?)),
        row.get(7)?,
        seed,
        row.get(9)?,
    );
    manifest.origin = row.get::<_, Option<String>>(17)?.map(|text| parse(17, &text)).transpose()?;
    manifest.base = row.get::<_, Option<String>>(19)?.map(|text| parse(19, &text)).transpose()?.unwrap_or_default();
    let word: String = row.get(11)?;
    let state = match word.as_str() {
        "starting" => WorkspaceState::Starting,
        "running" => WorkspaceState::Running,
        "stopping" => WorkspaceState::Stopping,
        "failed" => WorkspaceState::Failed { why: row.get::<_, Option<String>>(12)?.unwrap_or_default() },
        // The CHECK list of the table leaves nothing else.
        _ => WorkspaceState::Stopped,
    };
    let isolation = row.get::<_, Option<String>>(13)?.map(|text| parse(13, &text)).transpose()?;
    Ok(WorkspaceRecord {
        manifest,
        state,
        used_at: Instant(row.get(10)?),
        exec_count: count(row.get(14)?),
        isolation,
        live: LayerId::from_record(row.get(16)?),
        expires_at: row.get::<_, Option<i64>>(18)?.map(Instant),
    })
}

fn parse<T: serde::de::DeserializeOwned>(column: usize, text: &str) -> Result<T, rusqlite::Error> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error)))
}

fn set_labels(transaction: &Transaction<'_>, id: &str, labels: &BTreeMap<String, String>) -> Result<(), rusqlite::Error> {
    transaction.execute("DELETE FROM label WHERE workspace_id = ?1", [id])?;
    for (key, value) in labels {
        transaction.execute("INSERT INTO label (workspace_id, key, value) VALUES (?1, ?2, ?3)", [id, key, value])?;
    }
    Ok(())
}

fn add_event(
    transaction: &Transaction<'_>,
    id: &str,
    op: &str,
    subject: &str,
    outcome: Option<&str>,
    exec: Option<u64>,
) -> Result<OpenEvent, rusqlite::Error> {
    transaction
        .prepare_cached("INSERT INTO event (at, workspace_id, op, subject, outcome, exec) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![Instant::now().0, id, op, subject, outcome, exec.map(bytes)])?;
    Ok(OpenEvent(transaction.last_insert_rowid()))
}

fn close_event(
    transaction: &Transaction<'_>,
    event: OpenEvent,
    outcome: &str,
    duration_ms: Option<u64>,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached("UPDATE event SET outcome = ?2, duration_ms = ?3 WHERE id = ?1 AND outcome IS NULL")?
        .execute(params![event.0, outcome, duration_ms.map(bytes)])?;
    Ok(())
}

fn name_taken(name: &str) -> Error {
    Error::conflict(format!("there is a workspace {name} already"))
        .hint("use it, delete it, or take another name; reuse answers with the one that is there")
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase))
}

/// Waits for whoever else holds the directory of a database, and holds it until the descriptor is dropped.
fn lock_beside(path: &Path) -> Result<File, rusqlite::Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let locked = File::open(directory).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| {
        let text = format!("{} cannot be locked: {error}", directory.display());
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN), Some(text))
    })
}

/// Highest number among the kept outputs of a workspace: numbers are never used twice.
fn last_exec(home: &Home, id: &str) -> u64 {
    let Ok(entries) = std::fs::read_dir(home.workspace(id).execs()) else { return 0 };
    let numbers = entries.flatten().filter_map(|entry| PathBuf::from(entry.file_name()).file_stem()?.to_str()?.parse().ok());
    numbers.max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
