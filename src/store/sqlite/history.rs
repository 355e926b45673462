//! Pictures in the analyzer's SQLite file, beside the journal.

use rusqlite::{OptionalExtension as _, params};

use super::Db;
use crate::store::StoreError;
use crate::store::history::{History, Picture};
use crate::time::WallTime;

/// The layout's part of the journal's file.
pub(super) const MIGRATION: &str = "
    CREATE TABLE picture (
        at   INTEGER PRIMARY KEY,
        body BLOB NOT NULL
    ) STRICT;
";

/// Pictures in an SQLite file.
#[derive(Debug, Clone)]
pub(crate) struct SqliteHistory {
    db: Db,
}

impl SqliteHistory {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }
}

#[tonic::async_trait]
impl History for SqliteHistory {
    async fn put(&self, (at, body): Picture, oldest: WallTime) -> Result<(), StoreError> {
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                transaction.execute(
                    "INSERT INTO picture (at, body) VALUES (?1, ?2)
                     ON CONFLICT (at) DO UPDATE SET body = excluded.body",
                    params![at.nanos(), body],
                )?;
                transaction.execute("DELETE FROM picture WHERE at < ?1", [oldest.nanos()])?;
                transaction.commit()
            })
            .await
    }

    async fn nearest(&self, time: WallTime) -> Result<Option<Picture>, StoreError> {
        self.db
            .call(move |connection| {
                let one = |sql: &str| {
                    connection
                        .query_row(sql, [time.nanos()], |row| {
                            Ok((WallTime::from_nanos(row.get(0)?), row.get::<_, Vec<u8>>(1)?))
                        })
                        .optional()
                };
                let before =
                    one("SELECT at, body FROM picture WHERE at <= ?1 ORDER BY at DESC LIMIT 1")?;
                let after = one("SELECT at, body FROM picture WHERE at > ?1 ORDER BY at LIMIT 1")?;
                Ok(match (before, after) {
                    (Some(before), Some(after)) => {
                        let is_nearer = after.0.since(time) < time.since(before.0);
                        Some(if is_nearer { after } else { before })
                    }
                    (before, after) => before.or(after),
                })
            })
            .await
    }

    async fn bounds(&self) -> Result<Option<(WallTime, WallTime)>, StoreError> {
        self.db
            .call(|connection| {
                connection.query_row("SELECT min(at), max(at) FROM picture", [], |row| {
                    let (oldest, newest): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
                    Ok(oldest.zip(newest).map(|(oldest, newest)| {
                        (WallTime::from_nanos(oldest), WallTime::from_nanos(newest))
                    }))
                })
            })
            .await
    }
}
