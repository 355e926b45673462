//! The journal in an SQLite file.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::Db;
use super::blobs::{BlobPlace, Blobs};
use super::contents::SqliteContents;
use super::fleet::SqliteHosts;
use super::history::SqliteHistory;
use super::incidents::SqliteIncidents;
use super::opening::Schema;
use super::trends::SqliteTrends;
use crate::analysis::admission::Watermark;
use crate::analysis::report::{Sender, SpoolId};
use crate::id::{AgentId, HostName};
use crate::store::damage::Damage;
use crate::store::journal::{Journal, Record, Stored};
use crate::store::packing::{pack, unpack};
use crate::store::{Location, StoreError};
use crate::time::WallTime;

/// "rpmA"
pub(in crate::store) const APPLICATION_ID: i32 = 0x7270_6d41;

/// Layout of the file. Numbers of 64 bits without sign are stored as the signed number of the same bits.
const SCHEMA: Schema = Schema {
    application_id: APPLICATION_ID,
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
        super::damaged::MIGRATION,
        // A batch names its bytes instead of holding them, and is the newest word about its spool's watermark where the columns
        // `taken` and others are there. Batches of before hold their bytes as they came.
        // No index by `ended`: the rows are short, and each commit would write a page of the index.
        "
        CREATE TABLE batch_of_now (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            agent    TEXT    NOT NULL,
            spool    INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            ended    INTEGER NOT NULL,
            packed   INTEGER NOT NULL,
            file     INTEGER,
            offset   INTEGER,
            length   INTEGER,
            checksum INTEGER,
            payload  BLOB,
            host     TEXT,
            taken    INTEGER,
            lost     INTEGER,
            updated  INTEGER
        ) STRICT;
        INSERT INTO batch_of_now (position, agent, spool, sequence, ended, packed, payload)
            SELECT position, agent, spool, sequence, ended, 0, payload FROM batch;
        DROP TABLE batch;
        ALTER TABLE batch_of_now RENAME TO batch;
    ",
        super::fleet::MIGRATION,
        super::trends::MIGRATION,
    ],
};

/// A batch as it is kept.
#[derive(Debug)]
struct Body {
    /// By zstd.
    is_packed: bool,
    /// In the row,
    bytes: Option<Vec<u8>>,
    /// or in a file.
    place: Option<BlobPlace>,
}

fn lock(blobs: &Mutex<Blobs>) -> MutexGuard<'_, Blobs> {
    blobs.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of_file_system(store: String, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { store },
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { store },
        _ => StoreError::Unavailable {
            store,
            source: error.into(),
        },
    }
}

/// The journal in an SQLite file.
#[derive(Debug, Clone)]
pub(crate) struct SqliteJournal {
    db: Db,
    /// `None` for a database in memory, which holds the bytes itself.
    blobs: Option<Arc<Mutex<Blobs>>>,
}

impl SqliteJournal {
    /// Opens the file, made if missing.
    ///
    /// # Errors
    /// Those of [`Db::open`].
    pub(crate) async fn open(location: &Location) -> Result<Self, StoreError> {
        let db = Db::open(location, &SCHEMA).await?;
        let blobs = match location {
            Location::Memory | Location::Postgres(_) => None,
            Location::File(file) => Some(Blobs::open(file).map_err(|error| {
                let store = format!("{}.batches", file.display());
                of_file_system(store, error)
            })?),
        };
        let blobs = blobs.map(|blobs| Arc::new(Mutex::new(blobs)));
        Ok(Self { db, blobs })
    }

    /// Compresses the batches, and appends them to the files where there are some.
    async fn write(&self, records: Vec<Record>) -> Result<Vec<(Record, Body)>, StoreError> {
        let (blobs, store) = (self.blobs.clone(), self.db.store.clone());
        let writing = tokio::task::spawn_blocking(move || {
            let packed: Vec<_> = records.iter().map(|record| pack(&record.payload)).collect();
            let Some(blobs) = blobs else {
                let bodies = packed.into_iter().map(|(bytes, is_packed)| Body {
                    is_packed,
                    bytes: Some(bytes),
                    place: None,
                });
                return Ok(records.into_iter().zip(bodies).collect());
            };
            let (bytes, flags): (Vec<_>, Vec<_>) = packed.into_iter().unzip();
            let places = lock(&blobs).append(&bytes)?;
            let bodies = places
                .into_iter()
                .zip(flags)
                .map(|(place, is_packed)| Body {
                    is_packed,
                    bytes: None,
                    place: Some(place),
                });
            Ok(records.into_iter().zip(bodies).collect())
        });
        let closed = |_| StoreError::Closed {
            store: self.db.store.clone(),
        };
        writing
            .await
            .map_err(closed)?
            .map_err(|error| of_file_system(store, error))
    }

    /// What was damaged in the file.
    pub(crate) fn damage(&self) -> Damage {
        self.db.damage.clone()
    }

    /// The incidents, which are kept in the same file.
    pub(crate) fn incidents(&self) -> SqliteIncidents {
        SqliteIncidents::new(self.db.clone())
    }

    /// The hosts that were there, which are kept in the same file.
    pub(crate) fn hosts(&self) -> SqliteHosts {
        SqliteHosts::new(self.db.clone())
    }

    /// All of the file, for a move to another store.
    pub(crate) fn contents(&self) -> SqliteContents {
        SqliteContents::new(self.db.clone())
    }

    /// The pictures of the past, which are kept in the same file.
    pub(crate) fn history(&self) -> SqliteHistory {
        SqliteHistory::new(self.db.clone())
    }

    /// The trends, which are kept in the same file.
    pub(crate) fn trends(&self) -> SqliteTrends {
        SqliteTrends::new(self.db.clone())
    }
}

#[tonic::async_trait]
impl Journal for SqliteJournal {
    async fn watermarks(&self) -> Result<Vec<Watermark>, StoreError> {
        self.db
            .read(|connection| {
                let mut marks: BTreeMap<(String, u64), Watermark> = BTreeMap::new();
                for sql in [
                    "SELECT agent, spool, host, sequence, taken, lost, updated FROM watermark",
                    // Of the row with the largest number.
                    "SELECT agent, spool, host, max(sequence) AS sequence, taken, lost, updated FROM batch
                     WHERE taken IS NOT NULL GROUP BY agent, spool",
                ] {
                    let mut select = connection.prepare(sql)?;
                    for mark in select.query_map([], watermark)? {
                        let mark = mark?;
                        let name = (mark.sender.agent.as_str().to_owned(), mark.sender.spool.0);
                        match marks.entry(name) {
                            Entry::Occupied(known) if known.get().sequence >= mark.sequence => {}
                            Entry::Occupied(mut known) => {
                                known.insert(mark);
                            }
                            Entry::Vacant(new) => {
                                new.insert(mark);
                            }
                        }
                    }
                }
                Ok(marks.into_values().collect())
            })
            .await
    }

    async fn append(&self, records: Vec<Record>, marks: Vec<Watermark>) -> Result<(), StoreError> {
        let records = self.write(records).await?;
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                let marks = put_batches(&transaction, &records, marks)?;
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
        bytes: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let (blobs, damage) = (self.blobs.clone(), self.damage());
        self.db
            .read(move |connection| {
                let mut select = connection.prepare_cached(
                    "SELECT * FROM batch WHERE position > ?1 AND ended >= ?2 ORDER BY position",
                )?;
                let mut rows = select.query(params![position, since.nanos()])?;
                let (mut page, mut held) = (Vec::<Stored>::new(), 0);
                while page.len() < limit as usize
                    && held < bytes
                    && let Some(row) = rows.next()?
                {
                    if let Some(stored) = stored(row, blobs.as_deref(), &damage)? {
                        held += stored.record.payload.len();
                        page.push(stored);
                    }
                }
                Ok(page)
            })
            .await
    }

    async fn newest(&self) -> Result<i64, StoreError> {
        self.db
            .read(|connection| {
                connection.query_row("SELECT coalesce(max(position), 0) FROM batch", [], |row| {
                    row.get(0)
                })
            })
            .await
    }

    async fn prune(&self, batches: WallTime, marks: WallTime) -> Result<usize, StoreError> {
        let blobs = self.blobs.clone();
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                // The watermarks of what is forgotten stay.
                transaction.execute(
                    "INSERT INTO watermark (agent, spool, host, sequence, taken, lost, updated)
                     SELECT agent, spool, host, max(sequence), taken, lost, updated FROM batch
                     WHERE taken IS NOT NULL AND ended < ?1 GROUP BY agent, spool
                     ON CONFLICT (agent, spool) DO UPDATE SET
                         host = excluded.host, sequence = excluded.sequence, taken = excluded.taken,
                         lost = excluded.lost, updated = excluded.updated
                     WHERE excluded.sequence > watermark.sequence",
                    [batches.nanos()],
                )?;
                let gone =
                    transaction.execute("DELETE FROM batch WHERE ended < ?1", [batches.nanos()])?;
                transaction.execute("DELETE FROM watermark WHERE updated < ?1", [marks.nanos()])?;
                transaction.execute(
                    "UPDATE batch SET taken = NULL WHERE taken IS NOT NULL AND updated < ?1",
                    [marks.nanos()],
                )?;
                let oldest = transaction
                    .query_row(
                        "SELECT file FROM batch WHERE file IS NOT NULL ORDER BY position LIMIT 1",
                        [],
                        |row| row.get(0),
                    )
                    .optional()?;
                transaction.commit()?;
                if let Some(blobs) = blobs {
                    lock(&blobs).prune(oldest);
                }
                Ok(gone)
            })
            .await
    }

    async fn forget(&self, spools: Vec<Sender>) -> Result<(), StoreError> {
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                {
                    let mut delete = transaction
                        .prepare_cached("DELETE FROM watermark WHERE agent = ?1 AND spool = ?2")?;
                    for sender in &spools {
                        let spool = sender.spool.0.cast_signed();
                        delete.execute(params![sender.agent.as_str(), spool])?;
                    }
                }
                transaction.commit()
            })
            .await
    }
}

/// Stores batches; the last one of a spool takes its watermark along. Gives the watermarks that none took.
fn put_batches(
    transaction: &Transaction<'_>,
    records: &[(Record, Body)],
    marks: Vec<Watermark>,
) -> rusqlite::Result<Vec<Watermark>> {
    let mut marks: HashMap<_, _> = marks
        .into_iter()
        .map(|mark| ((mark.sender.clone(), mark.sequence), mark))
        .collect();
    let mut insert = transaction.prepare_cached(
        "INSERT INTO batch (agent, spool, sequence, ended, packed, file, offset, length, checksum, payload,
                            host, taken, lost, updated)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    for (record, body) in records {
        let mark = marks.remove(&(record.sender.clone(), record.sequence));
        let mark = mark.as_ref();
        insert.execute(params![
            record.sender.agent.as_str(),
            record.sender.spool.0.cast_signed(),
            record.sequence.cast_signed(),
            record.end.nanos(),
            body.is_packed,
            body.place.map(|place| place.file),
            body.place.map(|place| place.offset),
            body.place.map(|place| place.length),
            body.place.map(|place| place.checksum),
            body.bytes,
            mark.map(|mark| mark.host.as_str()),
            mark.map(|mark| mark.taken.cast_signed()),
            mark.map(|mark| mark.lost.cast_signed()),
            mark.map(|mark| mark.updated.nanos()),
        ])?;
    }
    Ok(marks.into_values().collect())
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

/// A batch with its bytes; `None` where they cannot be read.
fn stored(
    row: &Row<'_>,
    blobs: Option<&Mutex<Blobs>>,
    damage: &Damage,
) -> rusqlite::Result<Option<Stored>> {
    let kept = row.get::<_, Option<Vec<u8>>>("payload")?;
    let bytes = match (kept, blobs) {
        (Some(bytes), _) => Ok(bytes),
        (None, Some(blobs)) => lock(blobs).read(BlobPlace {
            file: row.get("file")?,
            offset: row.get("offset")?,
            length: row.get("length")?,
            checksum: row.get("checksum")?,
        }),
        (None, None) => Err(io::ErrorKind::NotFound.into()),
    };
    let (sender, sequence) = (sender(row)?, unsigned(row, "sequence")?);
    let is_packed = row.get("packed")?;
    match bytes.and_then(|bytes| unpack(bytes, is_packed)) {
        Ok(payload) => Ok(Some(Stored {
            position: row.get("position")?,
            record: Record {
                sender,
                sequence,
                end: WallTime::from_nanos(row.get("ended")?),
                payload: payload.into(),
            },
        })),
        Err(error) => {
            let line = format!(
                "batch {sequence} of agent {} cannot be read and is left out: {error}",
                sender.agent
            );
            tracing::error!("{line}");
            damage.note(line);
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
