//! How the database is read and written: what one moment is, what nobody else comes between, and what a power cut may take back.

use pyro_api::Result;
use rusqlite::{Transaction, TransactionBehavior};

use super::{Store, failed};

/// What a commit waits for ([SQLite's `synchronous`](https://sqlite.org/pragma.html#pragma_synchronous)).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushing {
    /// The disk: a power cut takes nothing back.
    Full,
    /// Nothing: a power cut may take it back; the death of any process does not.
    Normal,
}

impl Store {
    /// As long as it lives, all that is read is as it was at one moment.
    pub(super) fn moment(&self) -> Result<Transaction<'_>> {
        self.connection.unchecked_transaction().map_err(failed)
    }

    /// Runs `body` in one immediate transaction that is committed to disk before it returns.
    pub(super) fn durably<T>(
        &mut self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, rusqlite::Error> {
        self.transact(Flushing::Full, body)
    }

    /// As [`Store::durably`], but a power cut may take it back; the death of any process does not.
    pub(super) fn quickly<T>(
        &mut self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, rusqlite::Error> {
        self.transact(Flushing::Normal, body)
    }

    /// As [`Store::durably`], where what is written follows from what is read: nobody else writes in between.
    pub(super) fn alone<T>(&mut self, body: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.wait_for(Flushing::Full).map_err(failed)?;
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate).map_err(failed)?;
        let value = body(self)?;
        transaction.commit().map_err(failed)?;
        Ok(value)
    }

    fn transact<T>(
        &mut self,
        flushing: Flushing,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, rusqlite::Error> {
        self.wait_for(flushing)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = body(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    fn wait_for(&mut self, flushing: Flushing) -> Result<(), rusqlite::Error> {
        if self.flushing != flushing {
            self.connection.execute_batch(match flushing {
                Flushing::Full => "PRAGMA synchronous = FULL",
                Flushing::Normal => "PRAGMA synchronous = NORMAL",
            })?;
            self.flushing = flushing;
        }
        Ok(())
    }
}
