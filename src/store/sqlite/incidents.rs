//! Incidents in the analyzer's SQLite file, beside the journal.

use rusqlite::{Connection, Params, Row, params};

use super::Db;
use super::damaged::set_row_aside;
use crate::analysis::alerts::DeliveryState;
use crate::analysis::incident::Incident;
use crate::store::StoreError;
use crate::store::damage::Damage;
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
            .read(|connection| {
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
        let damage = self.db.damage.clone();
        self.db
            .read(move |connection| {
                let before = query
                    .before
                    .map_or(i64::MAX, |id| i64::try_from(id).unwrap_or(i64::MAX));
                let sql = "SELECT id, body FROM incident
                         WHERE id < ?1 AND (?2 IS NULL OR (closed IS NULL) = ?2)
                         ORDER BY id DESC LIMIT ?3";
                readable(
                    connection,
                    &damage,
                    sql,
                    params![before, query.open, query.limit],
                )
            })
            .await
    }

    async fn open_at(&self, time: WallTime, limit: u32) -> Result<Vec<Incident>, StoreError> {
        let damage = self.db.damage.clone();
        self.db
            .read(move |connection| {
                let sql = "SELECT id, body FROM incident
                         WHERE (closed IS NULL OR closed > ?1)
                           AND CASE WHEN json_valid(body) THEN json_extract(body, '$.opened_unix_ns') END <= ?1
                         ORDER BY id DESC LIMIT ?2";
                readable(connection, &damage, sql, params![time.nanos(), limit])
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
        let (receiver, damage) = (receiver.to_owned(), self.db.damage.clone());
        self.db
            .read(move |connection| {
                connection.execute(
                    "INSERT INTO alert_receiver (receiver, since) VALUES (?1, ?2)
                     ON CONFLICT (receiver) DO NOTHING",
                    params![receiver, now.nanos()],
                )?;
                let sql = "SELECT incident.id, incident.body, alert.told FROM incident
                         JOIN alert_receiver ON alert_receiver.receiver = ?1
                         LEFT JOIN alert ON alert.receiver = ?1 AND alert.incident = incident.id
                         WHERE incident.closed IS NULL
                            OR alert.closed = 0
                            OR (alert.incident IS NULL AND incident.closed >= alert_receiver.since)
                         ORDER BY incident.id DESC LIMIT ?2";
                let mut undelivered =
                    rows(connection, &damage, sql, params![receiver, limit], |row| {
                        // What was delivered and cannot be read is delivered again.
                        let delivered = row.get::<_, Option<String>>(2)?;
                        Ok(delivered.and_then(|delivered| serde_json::from_str(&delivered).ok()))
                    })?;
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

/// Incidents that a query gives by their ids and bodies; those that cannot be read are set aside.
fn readable(
    connection: &Connection,
    damage: &Damage,
    sql: &str,
    parameters: impl Params,
) -> rusqlite::Result<Vec<Incident>> {
    let found = rows(connection, damage, sql, parameters, |_| Ok(()))?;
    Ok(found.into_iter().map(|(incident, ())| incident).collect())
}

/// The same with what else is in the rows.
fn rows<T>(
    connection: &Connection,
    damage: &Damage,
    sql: &str,
    parameters: impl Params,
    more: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<(Incident, T)>> {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(parameters)?;
        while let Some(row) = rows.next()? {
            // Text may have bytes that are none.
            let body = row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?;
            match serde_json::from_slice(body) {
                Ok(incident) => found.push((incident, more(row)?)),
                Err(_) => unreadable.push((
                    row.get::<_, i64>(0)?.to_string(),
                    String::from_utf8_lossy(body).into_owned(),
                )),
            }
        }
    }
    for (id, body) in &unreadable {
        let delete = "DELETE FROM incident WHERE id = CAST(?1 AS INTEGER)";
        set_row_aside(connection, damage, "incident", (id, body), delete)?;
    }
    Ok(found)
}

fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
