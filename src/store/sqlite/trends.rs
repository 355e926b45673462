//! Trends in the analyzer's SQLite file, beside the journal.

use rusqlite::{OptionalExtension as _, params};

use super::Db;
use crate::analysis::trend::{Kind, Step};
use crate::store::StoreError;
use crate::store::packing::pack;
use crate::store::trends::{Block, Place, Trends, body};
use crate::time::WallTime;

/// The layout's part of the journal's file. Steps in minutes; kinds by their numbers.
pub(super) const MIGRATION: &str = "
    CREATE TABLE trend (
        step   INTEGER NOT NULL,
        at     INTEGER NOT NULL,
        kind   INTEGER NOT NULL,
        bucket INTEGER NOT NULL,
        packed INTEGER NOT NULL,
        body   BLOB    NOT NULL,
        PRIMARY KEY (step, at, kind, bucket)
    ) STRICT;
";

/// Trends in an SQLite file.
#[derive(Debug, Clone)]
pub(crate) struct SqliteTrends {
    db: Db,
}

impl SqliteTrends {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }
}

#[tonic::async_trait]
impl Trends for SqliteTrends {
    async fn put(
        &self,
        blocks: Vec<Block>,
        oldest: Vec<(Step, WallTime)>,
    ) -> Result<(), StoreError> {
        let packed: Vec<_> = blocks
            .into_iter()
            .map(|(place, body)| (place, pack(&body)))
            .collect();
        self.db
            .call(move |connection| {
                let transaction = connection.transaction()?;
                let insert = "INSERT INTO trend (step, at, kind, bucket, packed, body)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (step, at, kind, bucket)
                     DO UPDATE SET packed = excluded.packed, body = excluded.body";
                for (place, (body, packed)) in &packed {
                    transaction.prepare_cached(insert)?.execute(params![
                        place.step.minutes(),
                        place.at.nanos(),
                        place.kind.number(),
                        place.bucket,
                        packed,
                        body
                    ])?;
                }
                for (step, oldest) in &oldest {
                    transaction.execute(
                        "DELETE FROM trend WHERE step = ?1 AND at < ?2",
                        params![step.minutes(), oldest.nanos()],
                    )?;
                }
                transaction.commit()
            })
            .await
    }

    async fn read(
        &self,
        step: Step,
        kind: Kind,
        bucket: u16,
        times: Vec<WallTime>,
    ) -> Result<Vec<(WallTime, Vec<u8>)>, StoreError> {
        let store = self.db.store.clone();
        self.db
            .call(move |connection| {
                let mut select = connection.prepare_cached(
                    "SELECT packed, body FROM trend
                     WHERE step = ?1 AND at = ?2 AND kind = ?3 AND bucket = ?4",
                )?;
                let mut found = Vec::with_capacity(times.len());
                for at in times {
                    let key = params![step.minutes(), at.nanos(), kind.number(), bucket];
                    let bytes = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                    let Some((packed, bytes)) = select.query_row(key, bytes).optional()? else {
                        continue;
                    };
                    let place = Place {
                        step,
                        at,
                        kind,
                        bucket,
                    };
                    found.extend(body(&store, place, bytes, packed).map(|body| (at, body)));
                }
                Ok(found)
            })
            .await
    }

    async fn buckets(
        &self,
        step: Step,
        times: Vec<WallTime>,
    ) -> Result<Vec<(Kind, u16)>, StoreError> {
        self.db
            .call(move |connection| {
                let mut select = connection
                    .prepare_cached("SELECT kind, bucket FROM trend WHERE step = ?1 AND at = ?2")?;
                let mut found = std::collections::BTreeSet::new();
                for at in times {
                    let mut rows = select.query(params![step.minutes(), at.nanos()])?;
                    while let Some(row) = rows.next()? {
                        let kind = Kind::from_number(row.get(0)?);
                        let bucket = row.get(1)?;
                        found.extend(kind.map(|kind| (kind, bucket)));
                    }
                }
                Ok(found.into_iter().collect())
            })
            .await
    }

    async fn bounds(&self, step: Step) -> Result<Option<(WallTime, WallTime)>, StoreError> {
        self.db
            .call(move |connection| {
                let one = |sql: &str| {
                    let at: Option<i64> =
                        connection.query_row(sql, [step.minutes()], |row| row.get(0))?;
                    Ok::<_, rusqlite::Error>(at.map(WallTime::from_nanos))
                };
                // One at a time: each is the end of the index.
                let oldest = one("SELECT min(at) FROM trend WHERE step = ?1")?;
                Ok(oldest.zip(one("SELECT max(at) FROM trend WHERE step = ?1")?))
            })
            .await
    }

    async fn size(&self, step: Step) -> Result<(u64, u64), StoreError> {
        self.db
            .call(move |connection| {
                let sql =
                    "SELECT count(*), coalesce(sum(length(body)), 0) FROM trend WHERE step = ?1";
                let (blocks, bytes): (i64, i64) =
                    connection
                        .query_row(sql, [step.minutes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let number = |number: i64| u64::try_from(number).unwrap_or_default();
                Ok((number(blocks), number(bytes)))
            })
            .await
    }
}
