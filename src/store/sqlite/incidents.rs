//! Incidents in the analyzer's SQLite file, beside the journal.

use rusqlite::{Row, params, types};
use serde::de::DeserializeOwned;

use super::Db;
use crate::analysis::alerts::DeliveryState;
use crate::analysis::incident::Incident;
use crate::store::StoreError;
use crate::store::incidents::{Incidents, Query};
use crate::time::WallTime;

/// The layout's part of the journal's file. An incident is a JSON object; columns are what is asked for.
pub(super) const MIGRATION: &str = "
    CREATE TABLE incident (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        closed INTEGER,
        body   TEXT NOT NULL
    ) STRICT;
    CREATE INDEX incident_by_closed ON incident (closed);
";

/// The states of incidents that were delivered to receivers of alerts. An alert may be delivered before its incident is
/// stored, so there is no foreign key.
pub(super) const ALERTS_MIGRATION: &str = "
    CREATE TABLE alert_receiver (
        receiver TEXT    PRIMARY KEY,
        since    INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE alert (
        receiver TEXT    NOT NULL,
        incident INTEGER NOT NULL,
        told     TEXT    NOT NULL,
        closed   INTEGER NOT NULL,
        PRIMARY KEY (receiver, incident)
    ) STRICT, WITHOUT ROWID;
";

/// Incidents in an SQLite file.
#[derive(Debug, Clone)]
pub(crate) struct SqliteIncidents {
    db: Db,
}

impl SqliteIncidents {
    pub(super) const fn new(db: Db) -> Self {
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
                        let body = to_json(incident)?;
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
                    .query_map(params![before, query.open, query.limit], incident)?
                    .collect()
            })
            .await
    }

    async fn open_at(&self, time: WallTime, limit: u32) -> Result<Vec<Incident>, StoreError> {
        self.db
            .call(move |connection| {
                connection
                    .prepare(
                        "SELECT body FROM incident
                         WHERE (closed IS NULL OR closed > ?1) AND json_extract(body, '$.opened_unix_ns') <= ?1
                         ORDER BY id DESC LIMIT ?2",
                    )?
                    .query_map(params![time.nanos(), limit], incident)?
                    .collect()
            })
            .await
    }

    async fn prune(&self, closed: WallTime) -> Result<usize, StoreError> {
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                // What was delivered about an incident is deleted with it. An incident that is not stored yet has no row here.
                transaction.execute(
                    "DELETE FROM alert WHERE incident IN (SELECT id FROM incident WHERE closed < ?1)",
                    [closed.nanos()],
                )?;
                let gone = transaction
                    .execute("DELETE FROM incident WHERE closed < ?1", [closed.nanos()])?;
                transaction.commit()?;
                Ok(gone)
            })
            .await
    }

    async fn undelivered(
        &self,
        receiver: &str,
        now: WallTime,
        limit: u32,
    ) -> Result<Vec<(Incident, Option<DeliveryState>)>, StoreError> {
        let receiver = receiver.to_owned();
        self.db
            .call(move |connection| {
                connection.execute(
                    "INSERT INTO alert_receiver (receiver, since) VALUES (?1, ?2)
                     ON CONFLICT (receiver) DO NOTHING",
                    params![receiver, now.nanos()],
                )?;
                let mut undelivered = connection
                    .prepare(
                        "SELECT incident.body, alert.told FROM incident
                         JOIN alert_receiver ON alert_receiver.receiver = ?1
                         LEFT JOIN alert ON alert.receiver = ?1 AND alert.incident = incident.id
                         WHERE incident.closed IS NULL
                            OR alert.closed = 0
                            OR (alert.incident IS NULL AND incident.closed >= alert_receiver.since)
                         ORDER BY incident.id DESC LIMIT ?2",
                    )?
                    .query_map(params![receiver, limit], |row| {
                        let incident = from_json(0, &row.get::<_, String>(0)?)?;
                        let delivered = row.get::<_, Option<String>>(1)?;
                        let delivered = delivered
                            .map(|delivered| from_json(1, &delivered))
                            .transpose()?;
                        Ok((incident, delivered))
                    })?
                    .collect::<Result<Vec<_>, _>>()?;
                undelivered.reverse();
                Ok(undelivered)
            })
            .await
    }

    async fn record_delivered(
        &self,
        receiver: &str,
        delivered: Vec<(u64, DeliveryState)>,
    ) -> Result<(), StoreError> {
        let receiver = receiver.to_owned();
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                {
                    let mut upsert = transaction.prepare_cached(
                        "INSERT INTO alert (receiver, incident, told, closed) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (receiver, incident) DO UPDATE SET told = excluded.told, closed = excluded.closed",
                    )?;
                    for (id, delivered) in &delivered {
                        upsert.execute(params![
                            receiver,
                            id.cast_signed(),
                            to_json(delivered)?,
                            delivered.closed
                        ])?;
                    }
                }
                transaction.commit()
            })
            .await
    }
}

fn incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    from_json(0, &row.get::<_, String>(0)?)
}

fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json<T: DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, types::Type::Text, Box::new(error))
    })
}

#[cfg(test)]
mod tests;
