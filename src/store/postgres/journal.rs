//! The journal in PostgreSQL: batches with their bytes, and watermarks, in tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures_util::FutureExt as _;
use tokio_postgres::{Error, Row};

use super::contents::PostgresContents;
use super::db::Db;
use super::fence::Role;
use super::history::PostgresHistory;
use super::hosts::PostgresHosts;
use super::incidents::PostgresIncidents;
use super::trends::PostgresTrends;
use crate::analysis::admission::Watermark;
use crate::analysis::report::{Sender, SpoolId};
use crate::id::{AgentId, HostName};
use crate::store::StoreError;
use crate::store::damage::Damage;
use crate::store::journal::{Journal, Record, Stored};
use crate::store::packing::{pack, unpack};
use crate::store::server::Server;
use crate::store::tenure::Tenure;
use crate::time::WallTime;

/// Batches that one transaction removes.
const PRUNED_AT_ONCE: usize = 5_000;
/// Batches of one page of [`Journal::read`] that are fetched at once.
const FETCHED: i64 = 64;

/// The journal in a database that one analyzer at a time changes.
#[derive(Debug, Clone)]
pub(in crate::store) struct PostgresJournal {
    db: Db,
}

impl PostgresJournal {
    /// Opens the database and takes its lease.
    ///
    /// # Errors
    /// Those of [`Db::open`].
    pub(in crate::store) async fn open(server: &Server) -> Result<Self, StoreError> {
        let db = Db::open(server, Role::Analyzer).await?;
        Ok(Self { db })
    }

    /// On a database whose lease is held.
    pub(super) const fn on(db: Db) -> Self {
        Self { db }
    }

    pub(in crate::store) fn damage(&self) -> Damage {
        self.db.damage.clone()
    }

    pub(in crate::store) fn tenure(&self) -> Tenure {
        self.db.tenure.clone()
    }

    pub(in crate::store) fn incidents(&self) -> PostgresIncidents {
        PostgresIncidents(self.db.clone())
    }

    pub(in crate::store) fn hosts(&self) -> PostgresHosts {
        PostgresHosts(self.db.clone())
    }

    pub(in crate::store) fn contents(&self) -> PostgresContents {
        PostgresContents(self.db.clone())
    }

    pub(in crate::store) fn history(&self) -> PostgresHistory {
        PostgresHistory(self.db.clone())
    }

    pub(in crate::store) fn trends(&self) -> PostgresTrends {
        PostgresTrends(self.db.clone())
    }

    /// Removes some batches that ended before `end`, and says how many: however many there are, each call is over in time.
    async fn prune_some(&self, end: WallTime) -> Result<usize, StoreError> {
        self.db
            .write(move |transaction| {
                async move {
                    let sql = "DELETE FROM rpingmesh.batch WHERE position IN
                               (SELECT position FROM rpingmesh.batch WHERE ended < $1 ORDER BY ended LIMIT $2)";
                    let most = i64::try_from(PRUNED_AT_ONCE).unwrap_or(i64::MAX);
                    let gone = transaction.execute(sql, &[&end.nanos(), &most]).await?;
                    Ok(usize::try_from(gone).unwrap_or(usize::MAX))
                }
                .boxed()
            })
            .await
    }

    /// A batch; `None` where it cannot be read.
    fn stored(&self, row: &Row) -> Option<Stored> {
        match stored(row) {
            Ok(stored) => Some(stored),
            Err(error) => {
                let agent: String = row.try_get("agent").unwrap_or_default();
                let sequence = unsigned(row, "sequence").unwrap_or_default();
                let line = format!(
                    "batch {sequence} of agent {agent} cannot be read and is left out: {error}"
                );
                tracing::error!("{line}");
                self.db.damage.note(line);
                None
            }
        }
    }
}

#[tonic::async_trait]
impl Journal for PostgresJournal {
    async fn watermarks(&self) -> Result<Vec<Watermark>, StoreError> {
        let sql =
            "SELECT agent, spool, host, sequence, taken, lost, updated FROM rpingmesh.watermark";
        let rows = self.db.query(sql, &[]).await?;
        let marks: Result<Vec<_>, Error> = rows.iter().map(watermark).collect();
        let mut marks = self.db.sql(marks)?;
        marks.sort_by(|a, b| a.sender.cmp(&b.sender));
        Ok(marks)
    }

    async fn append(&self, records: Vec<Record>, marks: Vec<Watermark>) -> Result<(), StoreError> {
        let packing = tokio::task::spawn_blocking(move || Batches::of(&records));
        let batches = packing.await.map_err(|source| StoreError::Failed {
            store: self.db.link.store.to_string(),
            source: source.into(),
        })?;
        // A statement cannot change a row twice: the last word about a spool counts.
        let marks: BTreeMap<_, _> = marks
            .into_iter()
            .map(|mark| (mark.sender.clone(), mark))
            .collect();
        let change = Arc::new((batches, marks.into_values().collect::<Vec<_>>()));
        self.db
            .write(move |transaction| {
                let change = Arc::clone(&change);
                async move {
                    put_batches(transaction, &change.0).await?;
                    put_marks(transaction, &change.1).await
                }
                .boxed()
            })
            .await
    }

    async fn read(
        &self,
        since: WallTime,
        mut position: i64,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        let sql =
            "SELECT position, agent, spool, sequence, ended, packed, payload FROM rpingmesh.batch
                   WHERE position > $1 AND ended >= $2 ORDER BY position LIMIT $3";
        let (mut page, mut held) = (Vec::<Stored>::new(), 0);
        loop {
            let rows = self
                .db
                .query(sql, &[&position, &since.nanos(), &FETCHED])
                .await?;
            let Some(last) = rows.last() else {
                return Ok(page);
            };
            position = self.db.sql(last.try_get("position"))?;
            for stored in rows.iter().filter_map(|row| self.stored(row)) {
                if page.len() >= limit as usize || held >= bytes {
                    return Ok(page);
                }
                held += stored.record.payload.len();
                page.push(stored);
            }
        }
    }

    async fn newest(&self) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(position), 0) FROM rpingmesh.batch";
        let rows = self.db.query(sql, &[]).await?;
        rows.first()
            .map_or(Ok(0), |row| self.db.sql(row.try_get(0)))
    }

    async fn prune(&self, batches: WallTime, marks: WallTime) -> Result<usize, StoreError> {
        let mut gone = 0;
        loop {
            let some = self.prune_some(batches).await?;
            gone += some;
            if some < PRUNED_AT_ONCE {
                break;
            }
        }
        self.db
            .write(move |transaction| {
                async move {
                    let sql = "DELETE FROM rpingmesh.watermark WHERE updated < $1";
                    transaction.execute(sql, &[&marks.nanos()]).await.map(drop)
                }
                .boxed()
            })
            .await?;
        Ok(gone)
    }

    async fn forget(&self, spools: Vec<Sender>) -> Result<(), StoreError> {
        let spools: Vec<_> = spools
            .into_iter()
            .map(|sender| {
                (
                    sender.agent.as_str().to_owned(),
                    sender.spool.0.cast_signed(),
                )
            })
            .collect();
        let spools: Arc<(Vec<_>, Vec<_>)> = Arc::new(spools.into_iter().unzip());
        self.db
            .write(move |transaction| {
                let spools = Arc::clone(&spools);
                async move {
                    let sql = "DELETE FROM rpingmesh.watermark
                               WHERE (agent, spool) IN (SELECT * FROM unnest($1::text[], $2::bigint[]))";
                    transaction.execute(sql, &[&spools.0, &spools.1]).await.map(drop)
                }
                .boxed()
            })
            .await
    }
}

/// Batches by columns.
#[derive(Debug, Default)]
struct Batches {
    agents: Vec<String>,
    spools: Vec<i64>,
    sequences: Vec<i64>,
    ends: Vec<i64>,
    packed: Vec<bool>,
    payloads: Vec<Vec<u8>>,
}

impl Batches {
    fn of(records: &[Record]) -> Self {
        let mut batches = Self::default();
        for record in records {
            let (payload, is_packed) = pack(&record.payload);
            batches.agents.push(record.sender.agent.as_str().to_owned());
            batches.spools.push(record.sender.spool.0.cast_signed());
            batches.sequences.push(record.sequence.cast_signed());
            batches.ends.push(record.end.nanos());
            batches.packed.push(is_packed);
            batches.payloads.push(payload);
        }
        batches
    }
}

/// Batches that are there already stay: the answer to an earlier attempt may have been lost.
async fn put_batches(transaction: &Transaction<'_>, batches: &Batches) -> Result<(), Error> {
    let count = i64::try_from(batches.agents.len()).unwrap_or(i64::MAX);
    if count == 0 {
        return Ok(());
    }
    let reserve = transaction
        .prepare_cached(
            "UPDATE rpingmesh.counter SET value = value + $1 WHERE name = 'batch' RETURNING value",
        )
        .await?;
    let last: i64 = transaction
        .query_one(&reserve, &[&count])
        .await?
        .try_get(0)?;
    let positions: Vec<i64> = (last - count + 1..=last).collect();
    let insert = transaction
        .prepare_cached(
            "INSERT INTO rpingmesh.batch (position, agent, spool, sequence, ended, packed, payload)
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[],
                                  $7::bytea[])
             ON CONFLICT (agent, spool, sequence) DO NOTHING",
        )
        .await?;
    transaction
        .execute(
            &insert,
            &[
                &positions,
                &batches.agents,
                &batches.spools,
                &batches.sequences,
                &batches.ends,
                &batches.packed,
                &batches.payloads,
            ],
        )
        .await
        .map(drop)
}

async fn put_marks(transaction: &Transaction<'_>, marks: &[Watermark]) -> Result<(), Error> {
    if marks.is_empty() {
        return Ok(());
    }
    let upsert = transaction
        .prepare_cached(
            "INSERT INTO rpingmesh.watermark (agent, spool, host, sequence, taken, lost, updated)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
                                  $7::bigint[])
             ON CONFLICT (agent, spool) DO UPDATE SET
                 host = excluded.host, sequence = excluded.sequence, taken = excluded.taken, lost = excluded.lost,
                 updated = excluded.updated",
        )
        .await?;
    let agents: Vec<_> = marks
        .iter()
        .map(|mark| mark.sender.agent.as_str())
        .collect();
    let hosts: Vec<_> = marks.iter().map(|mark| mark.host.as_str()).collect();
    let numbers = |number: fn(&Watermark) -> u64| -> Vec<i64> {
        marks
            .iter()
            .map(|mark| number(mark).cast_signed())
            .collect()
    };
    let (spools, sequences) = (
        numbers(|mark| mark.sender.spool.0),
        numbers(|mark| mark.sequence),
    );
    let (taken, lost) = (numbers(|mark| mark.taken), numbers(|mark| mark.lost));
    let updated: Vec<_> = marks.iter().map(|mark| mark.updated.nanos()).collect();
    transaction
        .execute(
            &upsert,
            &[
                &agents, &spools, &hosts, &sequences, &taken, &lost, &updated,
            ],
        )
        .await
        .map(drop)
}

fn unsigned(row: &Row, column: &str) -> Result<u64, Error> {
    row.try_get::<_, i64>(column).map(i64::cast_unsigned)
}

fn sender(row: &Row) -> Result<Sender, Error> {
    Ok(Sender {
        agent: AgentId::new(row.try_get::<_, String>("agent")?),
        spool: SpoolId(unsigned(row, "spool")?),
    })
}

fn stored(row: &Row) -> Result<Stored, Box<dyn std::error::Error + Send + Sync>> {
    let payload = unpack(row.try_get("payload")?, row.try_get("packed")?)?;
    Ok(Stored {
        position: row.try_get("position")?,
        record: Record {
            sender: sender(row)?,
            sequence: unsigned(row, "sequence")?,
            end: WallTime::from_nanos(row.try_get("ended")?),
            payload: payload.into(),
        },
    })
}

fn watermark(row: &Row) -> Result<Watermark, Error> {
    Ok(Watermark {
        sender: sender(row)?,
        host: HostName::new(row.try_get::<_, String>("host")?),
        sequence: unsigned(row, "sequence")?,
        taken: unsigned(row, "taken")?,
        lost: unsigned(row, "lost")?,
        updated: WallTime::from_nanos(row.try_get("updated")?),
    })
}
