//! The agent's spool as versions up to 0.1 had it: an SQLite file. It is read once, and removed.

use std::path::Path;

use rusqlite::OptionalExtension as _;

use super::opening::{Schema, classify, open};
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

/// Reads all batches in their order, with the spool's identity, and gives the identity and the largest number.
///
/// # Errors
/// Those of opening and reading; that of `found`.
pub(in crate::store) fn read(
    file: &Path,
    mut found: impl FnMut(u64, u64, Vec<u8>) -> Result<(), StoreError>,
) -> Result<(u64, u64), StoreError> {
    let store = file.display().to_string();
    let failed = |source| classify(&store, source);
    let connection = open(&Location::File(file.to_owned()), &SCHEMA)?;
    let known = connection
        .query_row("SELECT id, next_sequence FROM spool", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()
        .map_err(failed)?;
    let (id, next) = known.unwrap_or((rand::random(), 1));
    let id = id.cast_unsigned();
    let mut statement = connection
        .prepare("SELECT sequence, payload FROM batch ORDER BY sequence")
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let sequence: i64 = row.get(0).map_err(failed)?;
        found(id, sequence.cast_unsigned(), row.get(1).map_err(failed)?)?;
    }
    Ok((id, next.cast_unsigned().saturating_sub(1)))
}

#[cfg(test)]
pub(in crate::store) fn write(file: &Path, id: u64, batches: &[(u64, Vec<u8>)]) {
    let connection = open(&Location::File(file.to_owned()), &SCHEMA).expect("a database");
    let next = batches.last().map_or(1, |(sequence, _)| sequence + 1);
    connection
        .execute(
            "INSERT INTO spool (one, id, next_sequence, bytes) VALUES (1, ?1, ?2, 0)",
            [id.cast_signed(), next.cast_signed()],
        )
        .expect("stored");
    for (sequence, payload) in batches {
        connection
            .execute(
                "INSERT INTO batch (sequence, size, payload) VALUES (?1, 0, ?2)",
                rusqlite::params![sequence.cast_signed(), payload],
            )
            .expect("stored");
    }
}
