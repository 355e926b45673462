//! Trends in PostgreSQL.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::db::Db;
use crate::analysis::trend::{Kind, Step};
use crate::store::StoreError;
use crate::store::packing::pack;
use crate::store::trends::{Block, Place, Trends, body};
use crate::time::WallTime;

/// Trends in a database that one analyzer at a time changes.
#[derive(Debug, Clone)]
pub(in crate::store) struct PostgresTrends(pub(in crate::store) Db);

/// Blocks as columns.
#[derive(Debug, Default)]
struct Columns {
    steps: Vec<i16>,
    times: Vec<i64>,
    kinds: Vec<i16>,
    buckets: Vec<i32>,
    packed: Vec<bool>,
    bodies: Vec<Vec<u8>>,
}

impl From<Vec<Block>> for Columns {
    fn from(blocks: Vec<Block>) -> Self {
        let mut columns = Self::default();
        for (place, body) in blocks {
            let (body, packed) = pack(&body);
            columns.steps.push(place.step.minutes());
            columns.times.push(place.at.nanos());
            columns.kinds.push(place.kind.number());
            columns.buckets.push(place.bucket.into());
            columns.packed.push(packed);
            columns.bodies.push(body);
        }
        columns
    }
}

fn nanos(times: &[WallTime]) -> Vec<i64> {
    times.iter().map(|at| at.nanos()).collect()
}

#[tonic::async_trait]
impl Trends for PostgresTrends {
    async fn put(
        &self,
        blocks: Vec<Block>,
        oldest: Vec<(Step, WallTime)>,
    ) -> Result<(), StoreError> {
        let (columns, oldest) = (Arc::new(Columns::from(blocks)), Arc::new(oldest));
        self.0
            .write(move |transaction| {
                let (columns, oldest) = (Arc::clone(&columns), Arc::clone(&oldest));
                async move {
                    transaction
                        .execute(
                            "INSERT INTO rpingmesh.trend (step, at, kind, bucket, packed, body)
                             SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::integer[],
                                                  $5::boolean[], $6::bytea[])
                             ON CONFLICT (step, at, kind, bucket)
                             DO UPDATE SET packed = excluded.packed, body = excluded.body",
                            &[
                                &columns.steps,
                                &columns.times,
                                &columns.kinds,
                                &columns.buckets,
                                &columns.packed,
                                &columns.bodies,
                            ],
                        )
                        .await?;
                    for (step, oldest) in oldest.iter() {
                        let delete = "DELETE FROM rpingmesh.trend WHERE step = $1 AND at < $2";
                        transaction
                            .execute(delete, &[&step.minutes(), &oldest.nanos()])
                            .await?;
                    }
                    Ok(())
                }
                .boxed()
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
        let sql = "SELECT at, packed, body FROM rpingmesh.trend
                   WHERE step = $1 AND at = ANY($2) AND kind = $3 AND bucket = $4 ORDER BY at";
        let (times, number) = (nanos(&times), i32::from(bucket));
        let rows = self
            .0
            .query(sql, &[&step.minutes(), &times, &kind.number(), &number])
            .await?;
        let store = self.0.link.store.to_string();
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let at = WallTime::from_nanos(self.0.sql(row.try_get(0))?);
            let (packed, bytes) = (self.0.sql(row.try_get(1))?, self.0.sql(row.try_get(2))?);
            let place = Place {
                step,
                at,
                kind,
                bucket,
            };
            found.extend(body(&store, place, bytes, packed).map(|body| (at, body)));
        }
        Ok(found)
    }

    async fn buckets(
        &self,
        step: Step,
        times: Vec<WallTime>,
    ) -> Result<Vec<(Kind, u16)>, StoreError> {
        let sql = "SELECT DISTINCT kind, bucket FROM rpingmesh.trend
                   WHERE step = $1 AND at = ANY($2) ORDER BY kind, bucket";
        let rows = self
            .0
            .query(sql, &[&step.minutes(), &nanos(&times)])
            .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let kind = Kind::from_number(self.0.sql(row.try_get(0))?);
            let bucket: i32 = self.0.sql(row.try_get(1))?;
            found.extend(kind.zip(u16::try_from(bucket).ok()));
        }
        Ok(found)
    }

    async fn bounds(&self, step: Step) -> Result<Option<(WallTime, WallTime)>, StoreError> {
        let sql = "SELECT min(at), max(at) FROM rpingmesh.trend WHERE step = $1";
        let rows = self.0.query(sql, &[&step.minutes()]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let oldest: Option<i64> = self.0.sql(row.try_get(0))?;
        let newest: Option<i64> = self.0.sql(row.try_get(1))?;
        let bounds = oldest.zip(newest);
        Ok(bounds
            .map(|(oldest, newest)| (WallTime::from_nanos(oldest), WallTime::from_nanos(newest))))
    }

    async fn size(&self, step: Step) -> Result<(u64, u64), StoreError> {
        let sql = "SELECT count(*), coalesce(sum(length(body)), 0)::bigint FROM rpingmesh.trend WHERE step = $1";
        let rows = self.0.query(sql, &[&step.minutes()]).await?;
        let Some(row) = rows.first() else {
            return Ok((0, 0));
        };
        let (blocks, bytes): (i64, i64) =
            (self.0.sql(row.try_get(0))?, self.0.sql(row.try_get(1))?);
        let number = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok((number(blocks), number(bytes)))
    }
}
