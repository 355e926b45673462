//! Pictures of the past in PostgreSQL.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio_postgres::{Error, Row};

use super::db::Db;
use crate::store::StoreError;
use crate::store::history::{History, Picture};
use crate::time::WallTime;

/// Pictures in a database that one analyzer at a time changes.
#[derive(Debug, Clone)]
pub(in crate::store) struct PostgresHistory(pub(in crate::store) Db);

#[tonic::async_trait]
impl History for PostgresHistory {
    async fn put(&self, (at, body): Picture, oldest: WallTime) -> Result<(), StoreError> {
        let body: Arc<[u8]> = body.into();
        self.0
            .write(move |transaction| {
                let body = Arc::clone(&body);
                async move {
                    transaction
                        .execute(
                            "INSERT INTO rpingmesh.picture (at, body) VALUES ($1, $2)
                             ON CONFLICT (at) DO UPDATE SET body = excluded.body",
                            &[&at.nanos(), &&body[..]],
                        )
                        .await?;
                    transaction
                        .execute(
                            "DELETE FROM rpingmesh.picture WHERE at < $1",
                            &[&oldest.nanos()],
                        )
                        .await
                        .map(drop)
                }
                .boxed()
            })
            .await
    }

    async fn nearest(&self, time: WallTime) -> Result<Option<Picture>, StoreError> {
        let before =
            "SELECT at, body FROM rpingmesh.picture WHERE at <= $1 ORDER BY at DESC LIMIT 1";
        let after = "SELECT at, body FROM rpingmesh.picture WHERE at > $1 ORDER BY at LIMIT 1";
        let before = self.0.query(before, &[&time.nanos()]).await?;
        let after = self.0.query(after, &[&time.nanos()]).await?;
        let picture = |row: &Row| self.0.sql(picture(row));
        let before = before.first().map(picture).transpose()?;
        let after = after.first().map(picture).transpose()?;
        Ok(match (before, after) {
            (Some(before), Some(after)) => {
                let is_nearer = after.0.since(time) < time.since(before.0);
                Some(if is_nearer { after } else { before })
            }
            (before, after) => before.or(after),
        })
    }

    async fn bounds(&self) -> Result<Option<(WallTime, WallTime)>, StoreError> {
        let sql = "SELECT min(at), max(at) FROM rpingmesh.picture";
        let rows = self.0.query(sql, &[]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let oldest: Option<i64> = self.0.sql(row.try_get(0))?;
        let newest: Option<i64> = self.0.sql(row.try_get(1))?;
        let bounds = oldest.zip(newest);
        Ok(bounds
            .map(|(oldest, newest)| (WallTime::from_nanos(oldest), WallTime::from_nanos(newest))))
    }
}

fn picture(row: &Row) -> Result<Picture, Error> {
    Ok((WallTime::from_nanos(row.try_get(0)?), row.try_get(1)?))
}
