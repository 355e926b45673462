//! The agent's spool in an SQLite file.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{Db, Schema};
use crate::store::spool::{Appended, Stored};
use crate::store::{Location, StoreError};

/// Marks the file as an agent's spool: "rpsp".
const SCHEMA: Schema = Schema {
    application_id: 0x7270_7370,
    migrations: &["
        CREATE TABLE spool (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            id INTEGER NOT NULL,
            next_sequence INTEGER NOT NULL,
            bytes INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE batch (
            sequence INTEGER PRIMARY KEY,
            size INTEGER NOT NULL,
            payload BLOB NOT NULL
        ) STRICT;
    "],
};

/// What a batch takes beside its payload: row and page overhead, rounded up.
const OVERHEAD: usize = 64;

/// Batches that wait for acknowledgement. Cheap to clone; clones are the same spool.
#[derive(Debug, Clone)]
pub struct Spool {
    db: Db,
    id: u64,
    limit: u64,
}

impl Spool {
    /// Opens the spool, made if missing.
    ///
    /// `limit` bounds the payloads in bytes; the file is a little larger. The newest batch is always kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(location: &Location, limit: u64) -> Result<Self, StoreError> {
        let db = Db::open(location, &SCHEMA).await?;
        let fresh: u64 = rand::random();
        let id = db
            .call(move |connection| identity(connection, fresh))
            .await?;
        Ok(Self { db, id, limit })
    }

    /// The spool's random identity.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Appends the batch that `encode` makes of its sequence number, durably, and drops the oldest ones beyond the
    /// limit.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed.
    pub async fn append<F>(&self, encode: F) -> Result<Appended, StoreError>
    where
        F: FnOnce(u64) -> Vec<u8> + Send + 'static,
    {
        let limit = self.limit;
        self.db
            .call(move |connection| append(connection, limit, encode))
            .await
    }

    /// Batches behind `after`, the oldest first: at least one if there is any, and then as many as fit `bytes`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(&self, after: u64, bytes: usize) -> Result<Vec<Stored>, StoreError> {
        self.db
            .call(move |connection| read(connection, after, bytes))
            .await
    }

    /// Forgets the batches up to and including `sequence`; returns how many still wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn acknowledge(&self, sequence: u64) -> Result<u64, StoreError> {
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                remove(&transaction, "sequence <= ?1", signed(sequence))?;
                let waiting = waiting(&transaction)?;
                transaction.commit()?;
                Ok(waiting)
            })
            .await
    }

    /// How many batches wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting(&self) -> Result<u64, StoreError> {
        self.db.call(|connection| waiting(connection)).await
    }
}

/// SQLite's integers are signed. Identities keep their bits; sequence numbers stay far below the bound.
const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

fn identity(connection: &mut Connection, fresh: u64) -> rusqlite::Result<u64> {
    let transaction = connection.transaction()?;
    let known: Option<i64> = transaction
        .query_row("SELECT id FROM spool", [], |row| row.get(0))
        .optional()?;
    let id = if let Some(id) = known {
        id.cast_unsigned()
    } else {
        transaction.execute(
            "INSERT INTO spool (one, id, next_sequence, bytes) VALUES (1, ?1, 1, 0)",
            [signed(fresh)],
        )?;
        fresh
    };
    transaction.commit()?;
    Ok(id)
}

fn append(
    connection: &mut Connection,
    limit: u64,
    encode: impl FnOnce(u64) -> Vec<u8>,
) -> rusqlite::Result<Appended> {
    let transaction = connection.transaction()?;
    let next: i64 =
        transaction.query_row("SELECT next_sequence FROM spool", [], |row| row.get(0))?;
    let sequence = next.cast_unsigned();
    let payload = encode(sequence);
    let size = i64::try_from(payload.len() + OVERHEAD).unwrap_or(i64::MAX);
    transaction
        .prepare_cached("INSERT INTO batch (sequence, size, payload) VALUES (?1, ?2, ?3)")?
        .execute(params![next, size, payload])?;
    let bytes: i64 = transaction.query_row(
        "UPDATE spool SET next_sequence = next_sequence + 1, bytes = bytes + ?1 RETURNING bytes",
        [size],
        |row| row.get(0),
    )?;
    let dropped = drop_beyond(&transaction, bytes, signed(limit), next)?;
    let waiting = waiting(&transaction)?;
    transaction.commit()?;
    Ok(Appended {
        sequence,
        dropped,
        waiting,
    })
}

fn drop_beyond(
    transaction: &Transaction<'_>,
    bytes: i64,
    limit: i64,
    newest: i64,
) -> rusqlite::Result<u64> {
    let mut excess = bytes - limit;
    if excess <= 0 {
        return Ok(0);
    }
    let mut last = 0;
    {
        let mut statement = transaction.prepare_cached(
            "SELECT sequence, size FROM batch WHERE sequence < ?1 ORDER BY sequence",
        )?;
        let mut rows = statement.query([newest])?;
        while excess > 0 {
            let Some(row) = rows.next()? else { break };
            last = row.get(0)?;
            excess -= row.get::<_, i64>(1)?;
        }
    }
    remove(transaction, "sequence <= ?1", last)
}

fn remove(transaction: &Transaction<'_>, which: &str, bound: i64) -> rusqlite::Result<u64> {
    let freed: i64 = transaction.query_row(
        &format!("SELECT coalesce(sum(size), 0) FROM batch WHERE {which}"),
        [bound],
        |row| row.get(0),
    )?;
    let removed = transaction.execute(&format!("DELETE FROM batch WHERE {which}"), [bound])?;
    transaction.execute("UPDATE spool SET bytes = bytes - ?1", [freed])?;
    Ok(removed as u64)
}

/// Numbers have no gaps between the oldest and the newest.
fn waiting(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(
        "SELECT coalesce(max(sequence) - min(sequence) + 1, 0) FROM batch",
        [],
        |row| row.get::<_, i64>(0).map(i64::cast_unsigned),
    )
}

fn read(connection: &Connection, after: u64, bytes: usize) -> rusqlite::Result<Vec<Stored>> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, payload FROM batch WHERE sequence > ?1 ORDER BY sequence",
    )?;
    let mut rows = statement.query([signed(after)])?;
    let mut batches = Vec::new();
    let mut total = 0;
    while let Some(row) = rows.next()? {
        let payload: Vec<u8> = row.get(1)?;
        total += payload.len();
        if total > bytes && !batches.is_empty() {
            break;
        }
        batches.push(Stored {
            sequence: row.get::<_, i64>(0)?.cast_unsigned(),
            payload,
        });
    }
    Ok(batches)
}

#[cfg(test)]
mod tests;
