//! The past of a workspace as recorded: its steps, its snapshots, and where it stands among them.
//!
//! Steps are never changed and never numbered twice. Each names the layers that were its files and the step that it was made from, so going back is
//! choosing another step; what was gone back from stays until garbage is collected.

use pyro_api::{Error, Result};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{OpenEvent, Store, WorkspaceRecord, add_event, bytes, count, failed, json, parse};
use crate::clock::Instant;
use crate::layers::LayerId;

/// Ops whose events a step may be made of.
const CHANGING: &str =
    "('workspace exec', 'workspace file write', 'workspace file edit', 'workspace file delete', 'workspace file move',
    'workspace file mkdir', 'workspace sync push', 'workspace merge')";

/// Ops whose events have a step that may be a copy: what is copied is in no step of its own by that.
const COPYING: &str = "('workspace snapshot create', 'workspace fork')";

/// Where a workspace stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The layer that is written to.
    pub live: LayerId,
    /// The sealed layers that it lies over, uppermost first.
    pub below: Vec<LayerId>,
    /// The step whose files the workspace had last.
    pub head: u64,
    /// The sealed layers of that step, uppermost first: those below the live one, or a copy of the live one over them.
    pub layers: Vec<LayerId>,
    /// The highest number of a step.
    pub last: u64,
    /// Steps that were undone, the next to redo last.
    pub redo: Vec<u64>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// Its number; 0 is how the workspace was made.
    pub step: u64,
    /// The step that it was made from.
    pub parent: Option<u64>,
    /// When it was recorded.
    pub at: Instant,
    /// What made it: the last op that is in it.
    pub op: String,
    /// What that was about: the command, the path.
    pub subject: String,
    /// How many ops are in it that could not be told apart; 0 when only processes in the background were at work.
    pub op_count: u64,
    /// Its layers, uppermost first.
    pub layers: Vec<LayerId>,
}

/// One snapshot: a step with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub at: Instant,
    /// What it names.
    pub step: StepRecord,
}

/// A new step.
#[derive(Clone, Debug)]
pub struct NewStep<'a> {
    /// The op that makes it.
    pub op: &'a str,
    /// What that is about.
    pub subject: &'a str,
    /// Its layers, uppermost first.
    pub layers: Vec<LayerId>,
}

impl Position {
    fn next(&self) -> u64 {
        self.last + 1
    }

    /// The copy of the live layer that was made for the head, if it was made for that: what is in the live layer is in a step unless it has changed since.
    #[must_use]
    pub fn copy(&self) -> Option<&LayerId> {
        self.layers.first().filter(|_| self.layers != self.below)
    }

    /// The layers of what will be sealed next, uppermost first.
    #[must_use]
    pub fn stack(&self) -> Vec<LayerId> {
        on_top(&self.live, &self.below)
    }
}

/// What becomes of the live layer when what is in it becomes a step.
#[derive(Clone, Copy, Debug)]
pub enum Sealing<'a> {
    /// It never changes again, and this is written to from now on.
    GoOnOver(&'a LayerId),
    /// It is written to as before, and this is a copy of it.
    Copied(&'a LayerId),
    /// As `GoOnOver`, of one that has all that was ever written: it needs nothing below it.
    GoOnOverWhole(&'a LayerId),
    /// As `Copied`, of one that has all that was ever written.
    CopiedWhole(&'a LayerId),
}

fn on_top(layer: &LayerId, below: &[LayerId]) -> Vec<LayerId> {
    std::iter::once(layer).chain(below).cloned().collect()
}

impl Store {
    /// Where a workspace stands.
    ///
    /// # Errors
    /// `NotFound` when there is no such workspace.
    pub fn position(&self, id: &str) -> Result<Position> {
        let found = self
            .connection
            .prepare_cached(
                // The log remembers numbers of steps that were forgotten.
                "SELECT live, head, redo, layers, coalesce(below, layers),
                        max((SELECT max(step) FROM step WHERE workspace_id = workspace.id),
                            (SELECT coalesce(max(step), 0) FROM event WHERE workspace_id = workspace.id))
                 FROM workspace JOIN step ON workspace_id = id AND step = head WHERE id = ?1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([id], |row| {
                        Ok(Position {
                            live: LayerId::from_record(row.get(0)?),
                            head: count(row.get(1)?),
                            redo: parse(2, &row.get::<_, String>(2)?)?,
                            layers: parse(3, &row.get::<_, String>(3)?)?,
                            below: parse(4, &row.get::<_, String>(4)?)?,
                            last: count(row.get(5)?),
                        })
                    })
                    .optional()
            })
            .map_err(failed)?;
        found.ok_or_else(|| Error::not_found(format!("there is no workspace with the id {id}")))
    }

    /// One step.
    ///
    /// # Errors
    /// `NotFound` when it has none with that number.
    pub fn step(&self, id: &str, name: &str, step: u64) -> Result<StepRecord> {
        let found = self
            .connection
            .prepare_cached(&format!("SELECT {STEP_COLUMNS} FROM step WHERE workspace_id = ?1 AND step = ?2"))
            .and_then(|mut statement| statement.query_row(params![id, bytes(step)], step_record).optional())
            .map_err(failed)?;
        found.ok_or_else(|| {
            Error::not_found(format!("workspace {name} has no step {step}")).hint(format!("workspace logs {name} shows its steps"))
        })
    }

    /// The step that a step was made from; `None` for the first, and when it was forgotten.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn parent(&self, id: &str, step: &StepRecord) -> Result<Option<StepRecord>> {
        let Some(parent) = step.parent else { return Ok(None) };
        self.connection
            .prepare_cached(&format!("SELECT {STEP_COLUMNS} FROM step WHERE workspace_id = ?1 AND step = ?2"))
            .and_then(|mut statement| statement.query_row(params![id, bytes(parent)], step_record).optional())
            .map_err(failed)
    }

    /// Every step, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn steps(&self, id: &str) -> Result<Vec<StepRecord>> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {STEP_COLUMNS} FROM step WHERE workspace_id = ?1 ORDER BY step"))
            .map_err(failed)?;
        statement.query_map([id], step_record).and_then(Iterator::collect).map_err(failed)
    }

    /// What was written to the live layer becomes a step. `since` is the first event that may be in it; `None` when only processes in the background
    /// were at work.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn seal(&mut self, id: &str, position: &Position, how: Sealing<'_>, since: Option<OpenEvent>) -> Result<Position> {
        let step = position.next();
        let (live, layers) = match how {
            Sealing::GoOnOver(live) => (Some(live), position.stack()),
            Sealing::GoOnOverWhole(live) => (Some(live), vec![position.live.clone()]),
            Sealing::Copied(copy) => (None, on_top(copy, &position.below)),
            Sealing::CopiedWhole(copy) => (None, vec![copy.clone()]),
        };
        let below = if live.is_some() { layers.clone() } else { position.below.clone() };
        let live = live.unwrap_or(&position.live).clone();
        let after = Position { live, below, head: step, layers, last: step, redo: Vec::new() };
        self.quickly(|transaction| {
            let mut made_by = ("background".to_owned(), String::new(), 0);
            if let Some(OpenEvent(since)) = since {
                let changed = transaction
                    .prepare_cached(&format!(
                        "UPDATE event SET step = ?3 WHERE workspace_id = ?1 AND id >= ?2 AND step IS NULL AND op IN {CHANGING}"
                    ))?
                    .execute(params![id, since, bytes(step)])?;
                let last = transaction
                    .prepare_cached("SELECT op, subject FROM event WHERE workspace_id = ?1 AND step = ?2 ORDER BY id DESC LIMIT 1")?
                    .query_row(params![id, bytes(step)], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                if let Some((op, subject)) = last {
                    made_by = (op, subject, changed);
                }
            }
            let (op, subject, op_count) = made_by;
            insert_step(
                transaction,
                id,
                step,
                Some(position.head),
                &NewStep { op: &op, subject: &subject, layers: after.layers.clone() },
                op_count,
            )?;
            stand(transaction, id, &after)
        })
        .map_err(failed)?;
        Ok(after)
    }

    /// Goes on over the files of the head, of which the live layer was a copy, with another that nothing was written to yet.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn renew(&mut self, id: &str, position: &Position, live: &LayerId) -> Result<Position> {
        let after = Position { live: live.clone(), below: position.layers.clone(), ..position.clone() };
        self.quickly(|transaction| stand(transaction, id, &after)).map_err(failed)?;
        Ok(after)
    }

    /// Adds a step that is made of given layers, and goes on from there with a live layer that nothing was written to yet.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn advance(&mut self, id: &str, position: &Position, new: &NewStep<'_>, live: &LayerId) -> Result<Position> {
        let step = position.next();
        let (live, layers) = (live.clone(), new.layers.clone());
        let after = Position { live, below: layers.clone(), head: step, layers, last: step, redo: Vec::new() };
        self.durably(|transaction| {
            insert_step(transaction, id, step, Some(position.head), new, 1)?;
            add_event_at(transaction, id, new.op, new.subject, step)?;
            stand(transaction, id, &after)
        })
        .map_err(failed)?;
        Ok(after)
    }

    /// Adds a step that is a copy of how the workspace is, beside its way: it stays where it is. What the copy is for is logged when that is done.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn add_copy(&mut self, id: &str, position: &Position, new: &NewStep<'_>) -> Result<Position> {
        let step = position.next();
        self.durably(|transaction| insert_step(transaction, id, step, Some(position.head), new, 1)).map_err(failed)?;
        Ok(Position { last: step, ..position.clone() })
    }

    /// Names other layers for the head and below the live layer, which show the same.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn replace_layers(&mut self, id: &str, after: &Position) -> Result<()> {
        // A power cut may take it back: the others are there until a step is forgotten, which is recorded later and for good.
        self.quickly(|transaction| {
            let changed = "UPDATE step SET layers = ?3 WHERE workspace_id = ?1 AND step = ?2";
            transaction.execute(changed, params![id, bytes(after.head), json(&after.layers)])?;
            stand(transaction, id, after)
        })
        .map_err(failed)
    }

    /// Whether all layers but the uppermost of where a workspace stands are named by the step before as well, as they lie there. That step is on the
    /// way to the head and so is never forgotten before it: what runs over these layers keeps them when the head names others. When the head is a copy of
    /// what is written still, the layers below that are those of a step before it anyway.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_kept_below(&self, id: &str, position: &Position) -> Result<bool> {
        let before = self
            .connection
            .prepare_cached(
                "SELECT before.layers FROM step JOIN step before ON before.workspace_id = step.workspace_id AND before.step = step.parent
                 WHERE step.workspace_id = ?1 AND step.step = ?2",
            )
            .and_then(|mut statement| {
                let layers = |row: &Row<'_>| parse::<Vec<LayerId>>(0, &row.get::<_, String>(0)?);
                statement.query_row(params![id, bytes(position.head)], layers).optional()
            })
            .map_err(failed)?;
        Ok(position.copy().is_some()
            || before.is_some_and(|before| position.layers.get(1..).is_some_and(|below| before.ends_with(below))))
    }

    /// Stands on a step that there is, with nothing written over it yet. `redo` are the steps that can be redone from there.
    ///
    /// # Errors
    /// When the database cannot be written; nothing has changed then.
    pub fn stand_on(&mut self, id: &str, position: &Position, step: &StepRecord, redo: Vec<u64>, op: &str) -> Result<Position> {
        let (live, layers) = (position.live.clone(), step.layers.clone());
        let after = Position { live, below: layers.clone(), head: step.step, layers, last: position.last, redo };
        self.durably(|transaction| {
            stand(transaction, id, &after)?;
            add_event_at(transaction, id, op, &format!("to step {}", step.step), step.step)
        })
        .map_err(failed)?;
        Ok(after)
    }

    /// The first event that may have changed what is in no step yet: after the death of a supervisor, which knew better.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn first_unsealed(&self, id: &str) -> Result<Option<OpenEvent>> {
        self.connection
            .query_row(
                &format!(
                    "SELECT min(id) FROM event WHERE workspace_id = ?1 AND op IN {CHANGING}
                     AND id > (SELECT coalesce(max(id), 0) FROM event WHERE workspace_id = ?1 AND step IS NOT NULL
                               AND op NOT IN {COPYING})"
                ),
                [id],
                |row| row.get::<_, Option<i64>>(0),
            )
            .map(|found| found.map(OpenEvent))
            .map_err(failed)
    }

    /// Gives a step a name.
    ///
    /// # Errors
    /// `Conflict` when the workspace has a snapshot of that name.
    pub fn add_snapshot(&mut self, id: &str, workspace: &str, name: &str, step: u64) -> Result<()> {
        self.durably(|transaction| {
            transaction.execute(
                "INSERT INTO snapshot (workspace_id, name, step, at) VALUES (?1, ?2, ?3, ?4)",
                params![id, name, bytes(step), Instant::now().0],
            )?;
            add_event_at(transaction, id, "workspace snapshot create", name, step)
        })
        .map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => snapshot_taken(workspace, name),
            _ => failed(error),
        })
    }

    /// Records that forks were made of a workspace.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add_forks(&mut self, id: &str, names: &str, step: u64) -> Result<()> {
        self.quickly(|transaction| add_event_at(transaction, id, "workspace fork", names, step)).map_err(failed)
    }

    /// Every snapshot of a workspace, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn snapshots(&self, id: &str) -> Result<Vec<SnapshotRecord>> {
        let columns = STEP_COLUMNS.replace("step.at", "step.at AS step_at");
        let mut statement = self
            .connection
            .prepare_cached(&format!(
                "SELECT {columns}, snapshot.name, snapshot.at FROM snapshot JOIN step USING (workspace_id, step)
                 WHERE workspace_id = ?1 ORDER BY snapshot.at, snapshot.name"
            ))
            .map_err(failed)?;
        let rows = statement
            .query_map([id], |row| Ok(SnapshotRecord { step: step_record(row)?, name: row.get(7)?, at: Instant(row.get(8)?) }));
        rows.and_then(Iterator::collect).map_err(failed)
    }

    /// Takes the name of a step away; the step stays until garbage is collected.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_snapshot(&mut self, id: &str, name: &str) -> Result<()> {
        self.durably(|transaction| {
            transaction.execute("DELETE FROM snapshot WHERE workspace_id = ?1 AND name = ?2", params![id, name])?;
            add_event(transaction, id, "workspace snapshot delete", name, Some("ok"), None).map(drop)
        })
        .map_err(failed)
    }

    /// Forgets steps of any workspace that no way leads back to: what was gone back from by reset or undone and left behind. Says how many.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_left_behind(&mut self) -> Result<usize> {
        self.alone(|store| {
            let mut statement = store.connection.prepare_cached("SELECT id FROM workspace").map_err(failed)?;
            let ids: Vec<String> = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(failed)?;
            ids.iter().map(|id| store.forget_left_behind_of(id)).sum()
        })
    }

    fn forget_left_behind_of(&self, id: &str) -> Result<usize> {
        let position = self.position(id)?;
        let steps = self.steps(id)?;
        let parent = |step: u64| steps.iter().find(|record| record.step == step).and_then(|record| record.parent);
        let mut kept: std::collections::BTreeSet<u64> = self.snapshots(id)?.iter().map(|snapshot| snapshot.step.step).collect();
        kept.extend(&position.redo);
        kept.insert(0);
        kept.extend(std::iter::successors(Some(position.head), |step| parent(*step)));
        let left: Vec<u64> = steps.iter().map(|record| record.step).filter(|step| !kept.contains(step)).collect();
        self.forget(id, &left)?;
        Ok(left.len())
    }

    /// Of more than `steps_max` steps, forgets as [`Store::forget_before`] does. Whether any was.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_many(&mut self, id: &str, steps_max: usize, kept: usize) -> Result<bool> {
        if self.step_count(id)? <= steps_max {
            return Ok(false);
        }
        Ok(self.forget_before(id, kept)? > 0)
    }

    fn step_count(&self, id: &str) -> Result<usize> {
        let mut statement = self.connection.prepare_cached("SELECT count(*) FROM step WHERE workspace_id = ?1").map_err(failed)?;
        statement.query_row([id], |row| row.get::<_, i64>(0)).map(|count| usize::try_from(count).unwrap_or(0)).map_err(failed)
    }

    /// Forgets steps before the last `kept` that led to where the workspace stands. Those with a name, the first, and what can be redone stay.
    /// Says how many were forgotten.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_before(&mut self, id: &str, kept: usize) -> Result<usize> {
        self.alone(|store| store.forget_before_of(id, kept))
    }

    fn forget_before_of(&self, id: &str, kept: usize) -> Result<usize> {
        let position = self.position(id)?;
        let steps = self.steps(id)?;
        let parent = |step: u64| steps.iter().find(|record| record.step == step).and_then(|record| record.parent);
        let oldest = std::iter::successors(Some(position.head), |step| parent(*step)).take(kept + 1).min().unwrap_or(0);
        let named: Vec<u64> = self.snapshots(id)?.iter().map(|snapshot| snapshot.step.step).collect();
        let forgotten = steps
            .iter()
            .map(|record| record.step)
            .filter(|step| *step < oldest && *step != 0 && !named.contains(step) && !position.redo.contains(step));
        let forgotten: Vec<u64> = forgotten.collect();
        self.forget(id, &forgotten)?;
        Ok(forgotten.len())
    }

    fn forget(&self, id: &str, steps: &[u64]) -> Result<()> {
        let mut statement =
            self.connection.prepare_cached("DELETE FROM step WHERE workspace_id = ?1 AND step = ?2").map_err(failed)?;
        for step in steps {
            statement.execute(params![id, bytes(*step)]).map_err(failed)?;
        }
        Ok(())
    }

    /// Whether a layer is the live one of any workspace.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_written_to(&self, layer: &LayerId) -> Result<bool> {
        let found = "SELECT 1 FROM workspace WHERE live = ?1";
        self.connection.prepare_cached(found).and_then(|mut statement| statement.exists([layer.as_str()])).map_err(failed)
    }

    /// Every layer that any workspace names, but for one that is being deleted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn named_layers(&self, without: Option<&str>) -> Result<std::collections::HashSet<LayerId>> {
        let _moment = self.moment()?;
        let read = || {
            let mut named = std::collections::HashSet::new();
            let mut statement = self.connection.prepare("SELECT layers FROM step WHERE workspace_id IS NOT ?1")?;
            for layers in statement.query_map([without], |row| parse::<Vec<LayerId>>(0, &row.get::<_, String>(0)?))? {
                named.extend(layers?);
            }
            let mut statement = self.connection.prepare("SELECT live, coalesce(below, '[]') FROM workspace WHERE id IS NOT ?1")?;
            let live =
                |row: &Row<'_>| Ok((LayerId::from_record(row.get(0)?), parse::<Vec<LayerId>>(1, &row.get::<_, String>(1)?)?));
            for found in statement.query_map([without], live)? {
                let (live, below) = found?;
                named.insert(live);
                named.extend(below);
            }
            Ok(named)
        };
        read().map_err(failed)
    }
}

/// Records the first step of a new workspace.
pub(super) fn insert_first(
    transaction: &Transaction<'_>,
    record: &WorkspaceRecord,
    op: &str,
    subject: &str,
) -> Result<(), rusqlite::Error> {
    let first = NewStep { op, subject, layers: record.manifest.base.clone() };
    insert_step(transaction, &record.manifest.id, 0, None, &first, 1)
}

fn insert_step(
    transaction: &Transaction<'_>,
    id: &str,
    step: u64,
    parent: Option<u64>,
    new: &NewStep<'_>,
    op_count: usize,
) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT INTO step (workspace_id, step, parent, at, op, subject, op_count, layers) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            id,
            bytes(step),
            parent.map(bytes),
            Instant::now().0,
            new.op,
            new.subject,
            bytes(op_count as u64),
            json(&new.layers)
        ])
        .map(drop)
}

fn add_event_at(transaction: &Transaction<'_>, id: &str, op: &str, subject: &str, step: u64) -> Result<(), rusqlite::Error> {
    let event = add_event(transaction, id, op, subject, Some("ok"), None)?;
    transaction.execute("UPDATE event SET step = ?2 WHERE id = ?1", params![event.0, bytes(step)]).map(drop)
}

fn stand(transaction: &Transaction<'_>, id: &str, at: &Position) -> Result<(), rusqlite::Error> {
    let below = at.copy().map(|_| json(&at.below));
    transaction
        .prepare_cached("UPDATE workspace SET live = ?2, head = ?3, redo = ?4, below = ?5, used_at = ?6 WHERE id = ?1")?
        .execute(params![id, at.live.as_str(), bytes(at.head), json(&at.redo), below, Instant::now().0])
        .map(drop)
}

/// In the order that [`step_record`] reads them.
const STEP_COLUMNS: &str = "step, parent, step.at, op, subject, op_count, layers";

fn step_record(row: &Row<'_>) -> Result<StepRecord, rusqlite::Error> {
    Ok(StepRecord {
        step: count(row.get(0)?),
        parent: row.get::<_, Option<i64>>(1)?.map(count),
        at: Instant(row.get(2)?),
        op: row.get(3)?,
        subject: row.get(4)?,
        op_count: count(row.get(5)?),
        layers: parse(6, &row.get::<_, String>(6)?)?,
    })
}

/// A name that a snapshot has already.
pub fn snapshot_taken(workspace: &str, name: &str) -> Error {
    Error::conflict(format!("workspace {workspace} has a snapshot {name} already")).hint("take another name, or delete that one")
}
