//! What analyzers and controllers read of the analyzers that share the database.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_postgres::Row;

use super::connection::Link;
use super::errors::classify;
use crate::analysis::shards::{MemberId, Owned, ShardId};
use crate::net::url::Url;
use crate::store::StoreError;
use crate::store::analyzers::{AnalyzerFleet, Endpoints, Judge};

/// How long an analyzer may be silent before it is given up, and the judge before another one takes over, by the server's clock in
/// seconds: several renewals may fail. Shorter than a controller's, because nothing is judged meanwhile.
pub(super) const SILENCE: f64 = 3.0;

/// The analyzers as they were seen last.
pub(super) struct Watched {
    fleet: watch::Sender<Arc<AnalyzerFleet>>,
    /// Up to which change of the counter `fleet` is complete.
    revision: Option<i64>,
}

impl Watched {
    /// Nothing was seen yet. Gives what sees it.
    pub(super) fn new() -> (Self, watch::Receiver<Arc<AnalyzerFleet>>) {
        let (fleet, fleets) = watch::channel(Arc::default());
        let revision = None;
        (Self { fleet, revision }, fleets)
    }

    /// Sees what has changed.
    ///
    /// # Errors
    /// Those of the server.
    pub(super) async fn look(&mut self, link: &Link) -> Result<(), StoreError> {
        let revision = revision(link).await?;
        if self.revision == Some(revision) {
            return Ok(());
        }
        // The revision was read first: what is committed meanwhile is read twice, and nothing is missed.
        let fleet = Arc::new(read(link).await?);
        self.revision = Some(revision);
        self.fleet.send_if_modified(|known| {
            let is_new = *known != fleet;
            *known = fleet;
            is_new
        });
        Ok(())
    }
}

/// How far analyzers and shards have changed.
async fn revision(link: &Link) -> Result<i64, StoreError> {
    let sql = "SELECT value FROM rpingmesh.counter WHERE name = 'shards'";
    let rows = link.query(sql, &[]).await?;
    let value = rows.first().map(|row| row.try_get(0)).transpose();
    let value = value.map_err(|error| classify(&link.store, error))?;
    Ok(value.unwrap_or_default())
}

/// The analyzers and their shards.
///
/// # Errors
/// Those of the server.
pub(super) async fn read(link: &Link) -> Result<AnalyzerFleet, StoreError> {
    let failed = |error| classify(&link.store, error);
    let mut fleet = AnalyzerFleet::default();
    let sql = "SELECT id, grpc, web FROM rpingmesh.analyzer WHERE gone IS NULL";
    for row in link.query(sql, &[]).await? {
        let id = MemberId(row.try_get(0).map_err(failed)?);
        if let Some(endpoints) = endpoints(&row).map_err(failed)? {
            fleet.members.insert(id, endpoints);
        } else {
            tracing::error!(analyzer = id.0, "an analyzer's address cannot be read");
        }
    }
    let sql = "SELECT number, owner, epoch FROM rpingmesh.shard";
    for row in link.query(sql, &[]).await? {
        let (number, owner, epoch) = shard(&row).map_err(failed)?;
        // Of a version with more shards, which has another layout.
        if let Some(shard) = u16::try_from(number).ok().and_then(ShardId::new) {
            let owner = Some(MemberId(owner));
            fleet.table.set(shard, Owned { owner, epoch });
        }
    }
    let sql = "SELECT member, epoch FROM rpingmesh.owner WHERE role = 'analyzer' AND member > 0";
    if let Some(row) = link.query(sql, &[]).await?.first() {
        fleet.judge = Some(Judge {
            member: MemberId(row.try_get(0).map_err(failed)?),
            epoch: row.try_get(1).map_err(failed)?,
        });
    }
    Ok(fleet)
}

fn shard(row: &Row) -> Result<(i32, i64, i64), tokio_postgres::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}

fn endpoints(row: &Row) -> Result<Option<Endpoints>, tokio_postgres::Error> {
    let (grpc, web): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
    let both = Url::server(grpc).ok().zip(Url::parse(web).ok());
    Ok(both.map(|(grpc, web)| Endpoints { grpc, web }))
}

/// An analyzer that shares the database, if one lives.
///
/// # Errors
/// Those of the server.
pub(super) async fn sharing(link: &Link) -> Result<Option<String>, StoreError> {
    let sql = "SELECT name FROM rpingmesh.analyzer
               WHERE gone IS NULL AND renewed > now() - $1 * interval '1 second' ORDER BY id LIMIT 1";
    let rows = link.query(sql, &[&SILENCE]).await?;
    let name = rows.first().map(|row| row.try_get(0)).transpose();
    name.map_err(|error| classify(&link.store, error))
}
