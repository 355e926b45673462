//! Everything in the analyzer's SQLite file, for a move to another store.

use rusqlite::{Row, params};

use super::Db;
use crate::store::StoreError;
use crate::store::contents::{AlertLedger, Contents, Rows};
use crate::store::history::Picture;
use crate::time::WallTime;

/// The content of an SQLite file.
#[derive(Debug, Clone)]
pub(crate) struct SqliteContents {
    db: Db,
}

impl SqliteContents {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }
}

#[tonic::async_trait]
impl Contents for SqliteContents {
    async fn rows(&self) -> Result<Rows, StoreError> {
        self.db
            .read(|connection| {
                let count = |table: &str| {
                    let sql = format!("SELECT count(*) FROM {table}");
                    connection
                        .query_row(&sql, [], |row| row.get::<_, i64>(0).map(i64::cast_unsigned))
                };
                Ok(Rows {
                    incidents: count("incident")?,
                    deliveries: count("alert")?,
                    hosts: count("host")?,
                    pictures: count("picture")?,
                    batches: count("batch")?,
                })
            })
            .await
    }

    async fn alert_ledger(&self) -> Result<AlertLedger, StoreError> {
        self.db
            .read(|connection| {
                let last_incident = connection.query_row(
                    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'incident'",
                    [],
                    |row| row.get::<_, i64>(0).map(i64::cast_unsigned),
                )?;
                let receivers = connection
                    .prepare("SELECT receiver, since FROM alert_receiver ORDER BY receiver")?
                    .query_map([], |row| {
                        Ok((row.get(0)?, WallTime::from_nanos(row.get(1)?)))
                    })?
                    .collect::<Result<_, _>>()?;
                let deliveries = connection
                    .prepare(
                        "SELECT receiver, incident, told FROM alert ORDER BY receiver, incident",
                    )?
                    .query_map([], |row| {
                        let told: String = row.get(2)?;
                        let state = serde_json::from_str(&told).ok();
                        let incident = row.get::<_, i64>(1)?.cast_unsigned();
                        Ok(state.map(|state| (row.get(0), incident, state)))
                    })?
                    .filter_map(Result::transpose)
                    .map(|row| {
                        row.and_then(|(receiver, incident, state)| Ok((receiver?, incident, state)))
                    })
                    .collect::<Result<_, _>>()?;
                Ok(AlertLedger {
                    last_incident,
                    receivers,
                    deliveries,
                })
            })
            .await
    }

    async fn add_alert_ledger(&self, ledger: AlertLedger) -> Result<(), StoreError> {
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                let last = ledger.last_incident.cast_signed();
                // The row is there once an incident was stored, and only then.
                transaction.execute(
                    "INSERT INTO sqlite_sequence (name, seq) SELECT 'incident', 0
                     WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'incident')",
                    [],
                )?;
                transaction.execute(
                    "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'incident' AND seq < ?1",
                    [last],
                )?;
                for (receiver, since) in &ledger.receivers {
                    transaction.execute(
                        "INSERT INTO alert_receiver (receiver, since) VALUES (?1, ?2)
                         ON CONFLICT (receiver) DO UPDATE SET since = excluded.since",
                        params![receiver, since.nanos()],
                    )?;
                }
                for (receiver, incident, state) in &ledger.deliveries {
                    let told = serde_json::to_string(state)
                        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                    transaction
                        .prepare_cached(
                            "INSERT INTO alert (receiver, incident, told, closed) VALUES (?1, ?2, ?3, ?4)
                             ON CONFLICT (receiver, incident) DO UPDATE SET told = excluded.told, closed = excluded.closed",
                        )?
                        .execute(params![receiver, incident.cast_signed(), told, state.closed])?;
                }
                transaction.commit()
            })
            .await
    }

    async fn pictures(&self, after: WallTime, limit: u32) -> Result<Vec<Picture>, StoreError> {
        self.db
            .read(move |connection| {
                connection
                    .prepare("SELECT at, body FROM picture WHERE at > ?1 ORDER BY at LIMIT ?2")?
                    .query_map(params![after.nanos(), limit], picture)?
                    .collect()
            })
            .await
    }
}

fn picture(row: &Row<'_>) -> rusqlite::Result<Picture> {
    Ok((WallTime::from_nanos(row.get(0)?), row.get(1)?))
}
