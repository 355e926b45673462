//! The journal in an SQLite file.

use rusqlite::{Row, Transaction, params};

use super::history::SqliteHistory;
use super::incidents::SqliteIncidents;
use super::{Db, Schema};
use crate::analysis::admission::Watermark;
use crate::analysis::report::{Sender, SpoolId};
use crate::id::{AgentId, HostName};
use crate::store::journal::{Journal, Record, Stored};
use crate::store::{Location, StoreError};
use crate::time::WallTime;

/// Layout of the file. Numbers of 64 bits without sign are stored as the signed number of the same bits.
const SCHEMA: Schema = Schema {
    // "rpmA"
    application_id: 0x7270_6d41,
    migrations: &[
        "
        CREATE TABLE watermark (
            agent    TEXT    NOT NULL,
            spool    INTEGER NOT NULL,
            host     TEXT    NOT NULL,
            sequence INTEGER NOT NULL,
            taken    INTEGER NOT NULL,
            lost     INTEGER NOT NULL,
            updated  INTEGER NOT NULL,
            PRIMARY KEY (agent, spool)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE batch (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            agent    TEXT    NOT NULL,
            spool    INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            ended    INTEGER NOT NULL,
            payload  BLOB    NOT NULL,
            UNIQUE (agent, spool, sequence)
        ) STRICT;
        CREATE INDEX batch_by_end ON batch (ended);
    ",
        super::incidents::MIGRATION,
        super::incidents::ALERTS_MIGRATION,
        super::history::MIGRATION,
    ],
};

/// The journal in an SQLite file.
#[derive(Debug, Clone)]
pub(crate) struct SqliteJournal {
    db: Db,
}

impl SqliteJournal {
    /// Opens the file, made if missing.
    ///
    /// # Errors
    /// Those of [`Db::open`].
    pub(crate) async fn open(location: &Location) -> Result<Self, StoreError> {
        Ok(Self {
            db: Db::open(location, &SCHEMA).await?,
        })
    }

    /// The incidents, which are kept in the same file.
    pub(crate) fn incidents(&self) -> SqliteIncidents {
        SqliteIncidents::new(self.db.clone())
    }

    /// The pictures of the past, which are kept in the same file.
    pub(crate) fn history(&self) -> SqliteHistory {
        SqliteHistory::new(self.db.clone())
    }
}

#[tonic::async_trait]
impl Journal for SqliteJournal {
    async fn watermarks(&self) -> Result<Vec<Watermark>, StoreError> {
        self.db
            .call(|connection| {
                connection
                    .prepare(
                        "SELECT agent, spool, host, sequence, taken, lost, updated FROM watermark",
                    )?
                    .query_map([], watermark)?
                    .collect()
            })
            .await
    }

    async fn append(&self, records: Vec<Record>, marks: Vec<Watermark>) -> Result<(), StoreError> {
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                put_batches(&transaction, &records)?;
                put_marks(&transaction, &marks)?;
                transaction.commit()
            })
            .await
    }

    async fn read(
        &self,
        since: WallTime,
        position: i64,
        limit: u32,
    ) -> Result<Vec<Stored>, StoreError> {
        self.db
            .call(move |connection| {
                connection
                    .prepare(
                        "SELECT position, agent, spool, sequence, ended, payload FROM batch
                         WHERE position > ?1 AND ended >= ?2 ORDER BY position LIMIT ?3",
                    )?
                    .query_map(params![position, since.nanos(), limit], stored)?
                    .collect()
            })
            .await
    }

    async fn prune(&self, batches: WallTime, marks: WallTime) -> Result<usize, StoreError> {
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                let gone =
                    transaction.execute("DELETE FROM batch WHERE ended < ?1", [batches.nanos()])?;
                transaction.execute("DELETE FROM watermark WHERE updated < ?1", [marks.nanos()])?;
                transaction.commit()?;
                Ok(gone)
            })
            .await
    }
}

fn put_batches(transaction: &Transaction<'_>, records: &[Record]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO batch (agent, spool, sequence, ended, payload) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for record in records {
        insert.execute(params![
            record.sender.agent.as_str(),
            record.sender.spool.0.cast_signed(),
            record.sequence.cast_signed(),
            record.end.nanos(),
            &*record.payload,
        ])?;
    }
    Ok(())
}

fn put_marks(transaction: &Transaction<'_>, marks: &[Watermark]) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO watermark (agent, spool, host, sequence, taken, lost, updated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (agent, spool) DO UPDATE SET
             host = excluded.host, sequence = excluded.sequence, taken = excluded.taken, lost = excluded.lost,
             updated = excluded.updated",
    )?;
    for mark in marks {
        upsert.execute(params![
            mark.sender.agent.as_str(),
            mark.sender.spool.0.cast_signed(),
            mark.host.as_str(),
            mark.sequence.cast_signed(),
            mark.taken.cast_signed(),
            mark.lost.cast_signed(),
            mark.updated.nanos(),
        ])?;
    }
    Ok(())
}

fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn sender(row: &Row<'_>) -> rusqlite::Result<Sender> {
    Ok(Sender {
        agent: AgentId::new(row.get::<_, String>("agent")?),
        spool: SpoolId(unsigned(row, "spool")?),
    })
}

fn watermark(row: &Row<'_>) -> rusqlite::Result<Watermark> {
    Ok(Watermark {
        sender: sender(row)?,
        host: HostName::new(row.get::<_, String>("host")?),
        sequence: unsigned(row, "sequence")?,
        taken: unsigned(row, "taken")?,
        lost: unsigned(row, "lost")?,
        updated: WallTime::from_nanos(row.get("updated")?),
    })
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        position: row.get("position")?,
        record: Record {
            sender: sender(row)?,
            sequence: unsigned(row, "sequence")?,
            end: WallTime::from_nanos(row.get("ended")?),
            payload: row.get::<_, Vec<u8>>("payload")?.into(),
        },
    })
}

#[cfg(test)]
mod tests;
