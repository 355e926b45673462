//! Incidents in the analyzer's SQLite file, beside the journal.

use rusqlite::params;

use super::{Incidents, Query};
use crate::analysis::incident::Incident;
use crate::store::sqlite::{Db, StoreError};
use crate::time::WallTime;

/// The layout's part of the journal's file. An incident is a JSON object; columns are what is asked for.
pub(in crate::store) const MIGRATION: &str = "
    CREATE TABLE incident (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        closed INTEGER,
        body   TEXT NOT NULL
    ) STRICT;
    CREATE INDEX incident_by_closed ON incident (closed);
";

/// Incidents in an SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteIncidents {
    db: Db,
}

impl SqliteIncidents {
    pub(in crate::store) const fn new(db: Db) -> Self {
        Self { db }
    }
}

#[tonic::async_trait]
impl Incidents for SqliteIncidents {
    async fn put(&self, incidents: Vec<Incident>) -> Result<(), StoreError> {
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                {
                    let mut upsert = transaction.prepare_cached(
                        "INSERT INTO incident (id, closed, body) VALUES (?1, ?2, ?3)
                         ON CONFLICT (id) DO UPDATE SET closed = excluded.closed, body = excluded.body",
                    )?;
                    for incident in &incidents {
                        let body = serde_json::to_string(incident).map_err(|error| {
                            rusqlite::Error::ToSqlConversionFailure(Box::new(error))
                        })?;
                        upsert.execute(params![
                            incident.id.cast_signed(),
                            incident.closed_unix_ns,
                            body
                        ])?;
                    }
                }
                transaction.commit()
            })
            .await
    }

    async fn last_id(&self) -> Result<u64, StoreError> {
        self.db
            .call(|connection| {
                // The sequence outlives rows that were pruned.
                connection.query_row(
                    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'incident'",
                    [],
                    |row| row.get::<_, i64>(0).map(i64::cast_unsigned),
                )
            })
            .await
    }

    async fn read(&self, query: Query) -> Result<Vec<Incident>, StoreError> {
        self.db
            .call(move |connection| {
                let before = query
                    .before
                    .map_or(i64::MAX, |id| i64::try_from(id).unwrap_or(i64::MAX));
                connection
                    .prepare(
                        "SELECT body FROM incident
                         WHERE id < ?1 AND (?2 IS NULL OR (closed IS NULL) = ?2)
                         ORDER BY id DESC LIMIT ?3",
                    )?
                    .query_map(params![before, query.open, query.limit], |row| {
                        let body: String = row.get(0)?;
                        serde_json::from_str(&body).map_err(|error| {
                            rusqlite::Error::FromSqlConversionFailure(
                                0,
                                rusqlite::types::Type::Text,
                                Box::new(error),
                            )
                        })
                    })?
                    .collect()
            })
            .await
    }

    async fn prune(&self, closed: WallTime) -> Result<usize, StoreError> {
        self.db
            .call(move |connection| {
                connection.execute("DELETE FROM incident WHERE closed < ?1", [closed.nanos()])
            })
            .await
    }
}

#[cfg(test)]
mod tests;
