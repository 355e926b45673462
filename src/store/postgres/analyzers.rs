//! Analyzers that share the database.
//!
//! Each has a row in `analyzer`, which it renews twice a second. One holds the lease of the role and judges. It gives up those that were
//! silent for [`SILENCE`], while it reached the database itself all the time, and divides the shards among those that live, in one
//! transaction that checks the lease. The counter `shards` rises with each change that others must see.
//!
//! **Task**: one per place renews it, takes the lease where it is free, polls the counter. It ends when the analyzer is given up, has lost
//! the lease, or gives up, or the last [`Tenure`] is dropped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use super::connection::Link;
use super::db::{Db, prepared};
use super::errors::{Failure, classify};
use super::fence::{Fence, Guard, Role};
use super::journal::PostgresJournal;
use super::lease;
use super::notes;
use super::reach::Reach;
use super::watched::{SILENCE, Watched, read};
use crate::analysis::shards::{MemberId, Move, moves};
use crate::store::StoreError;
use crate::store::analyzers::{AnalyzerFleet, AnalyzerSeen, Endpoints};
use crate::store::server::Server;
use crate::store::shared::POLL;
use crate::store::tenure::{Standing, Tenure};

/// For so long the one who gives others up must have reached the server without a break.
const SURE: Duration = Duration::from_secs(3);
/// How often an analyzer renews its row.
const RENEWAL: Duration = Duration::from_millis(500);
/// How long rows of analyzers that are gone are kept, in seconds.
const KEPT: f64 = 60.0;

/// An analyzer among several.
#[derive(Debug)]
pub(in crate::store) struct Member {
    pub(in crate::store) id: MemberId,
    link: Link,
    /// How far the judge is behind, nanoseconds.
    lag: AtomicI64,
    /// When it had its place, and its lease if it judges, for sure.
    renewed: watch::Sender<Instant>,
}

impl Member {
    /// See [`Membership::join`](crate::store::membership::Membership::join).
    ///
    /// # Errors
    /// As there.
    pub(in crate::store) async fn join(
        server: &Server,
        endpoints: &Endpoints,
    ) -> Result<(Arc<Self>, watch::Receiver<Arc<AnalyzerFleet>>, Tenure), StoreError> {
        let link = prepared(server).await?;
        if let Some(source_store) = notes::copied_from(server, Role::Analyzer).await? {
            return Err(StoreError::Unfinished {
                store: link.store.to_string(),
                source_store,
            });
        }
        refuse_lonely(&link).await?;
        let id = add(&link, endpoints).await?;
        let member = Arc::new(Self {
            id: MemberId(id),
            link,
            lag: AtomicI64::new(0),
            renewed: watch::Sender::new(Instant::now()),
        });
        // With a connection of its own: readers that wait for a slow server must not hold up the renewal.
        let (tenure, fleet) = kept(Link::new(server).await?, Arc::clone(&member));
        Ok((member, fleet, tenure))
    }

    /// What the judge of this epoch stores.
    pub(in crate::store) fn journal(&self, epoch: i64, tenure: Tenure) -> PostgresJournal {
        let role = Role::Analyzer;
        let fence = Fence { role, epoch };
        PostgresJournal::on(Db::held(self.link.clone(), fence, tenure))
    }

    /// When this analyzer had its place for sure. Others may have taken over when that is [`SILENCE`] ago.
    pub(in crate::store) fn renewed(&self) -> watch::Receiver<Instant> {
        self.renewed.subscribe()
    }

    pub(in crate::store) fn tell_lag(&self, lag: Duration) {
        let lag = i64::try_from(lag.as_nanos()).unwrap_or(i64::MAX);
        self.lag.store(lag, Ordering::Relaxed);
    }
}

/// Refuses a database that one analyzer has for itself.
async fn refuse_lonely(link: &Link) -> Result<(), StoreError> {
    let sql = "SELECT owner.holder FROM rpingmesh.owner JOIN rpingmesh.lease ON lease.role = owner.role
               WHERE owner.role = 'analyzer' AND owner.member = 0 AND lease.renewed > now() - $1 * interval '1 second'";
    let rows = link.query(sql, &[&lease::LEASE_SECONDS]).await?;
    match rows.first() {
        Some(row) => Err(StoreError::Taken {
            store: link.store.to_string(),
            role: Role::Analyzer.name(),
            holder: row
                .try_get(0)
                .map_err(|error| classify(&link.store, error))?,
        }),
        None => Ok(()),
    }
}

async fn add(link: &Link, endpoints: &Endpoints) -> Result<i64, StoreError> {
    let (name, grpc, web) = (
        lease::name(),
        endpoints.grpc.to_string(),
        endpoints.web.to_string(),
    );
    let adding = link.write(move |transaction| {
        let (name, grpc, web) = (name.clone(), grpc.clone(), web.clone());
        async move {
            let next = "UPDATE rpingmesh.counter SET value = value + 1 WHERE name = 'analyzer' RETURNING value";
            let id: i64 = transaction.query_one(next, &[]).await?.try_get(0)?;
            let add = "INSERT INTO rpingmesh.analyzer (id, name, grpc, web, started, renewed)
                       VALUES ($1, $2, $3, $4, now(), now())";
            transaction.execute(add, &[&id, &name, &grpc, &web]).await?;
            transaction.execute(REVISE, &[]).await?;
            Ok(id)
        }
        .boxed()
    });
    adding.await
}

/// Others must see what this transaction changes.
const REVISE: &str = "UPDATE rpingmesh.counter SET value = value + 1 WHERE name = 'shards'";

/// Keeps the place in a task of its own. Gives the right to it and what the task sees.
fn kept(link: Link, member: Arc<Member>) -> (Tenure, watch::Receiver<Arc<AnalyzerFleet>>) {
    let giving_up = CancellationToken::new();
    let (standing, standings) = watch::channel(Standing::Held);
    let (watched, fleet) = Watched::new();
    let tenure = Tenure::leased(
        link.store.to_string(),
        Role::Analyzer.name(),
        standings,
        giving_up.clone(),
    );
    tokio::spawn(async move {
        let mut place = Place {
            link,
            member,
            watched,
            epoch: None,
            reach: Reach::new(SURE),
            is_reported: false,
        };
        let lost = giving_up.run_until_cancelled(place.keep()).await;
        let end = match lost {
            Some(end) => end,
            None => {
                if let Err(error) = place.leave().await {
                    tracing::debug!(%error, "the analyzer's place in the database ends by itself");
                }
                Standing::Released
            }
        };
        // Nobody may wait for it any more.
        let _ = standing.send(end);
    });
    (tenure, fleet)
}

struct Place {
    link: Link,
    member: Arc<Member>,
    watched: Watched,
    /// Of the lease that it holds.
    epoch: Option<i64>,
    reach: Reach,
    is_reported: bool,
}

impl Place {
    /// Returns how the place was lost. While the server is away nobody loses it.
    async fn keep(&mut self) -> Standing {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let is_due = renewed.is_none_or(|at| at.elapsed() >= RENEWAL);
            match self.visit(is_due).await {
                Ok(Some(lost)) => return lost,
                Ok(None) => {
                    self.reach.answered(Instant::now());
                    self.is_reported = false;
                }
                Err(error) => self.failed(&error),
            }
            if is_due {
                renewed = Some(Instant::now());
            }
        }
    }

    /// Renews the place where that `is_due`, and sees what has changed; how it was lost, if it was.
    async fn visit(&mut self, is_due: bool) -> Result<Option<Standing>, StoreError> {
        let begun = Instant::now();
        if is_due {
            if !self.renew().await? {
                return Ok(Some(Standing::GivenUp));
            }
            self.reach.answered(Instant::now());
        }
        match self.epoch {
            Some(epoch) if is_due => {
                if !lease::renew_once(&self.link, Role::Analyzer, epoch).await? {
                    let holder = lease::holder(&self.link, Role::Analyzer).await?;
                    return Ok(Some(Standing::Lost { holder }));
                }
                self.reach.answered(Instant::now());
                self.member.renewed.send_replace(begun);
                self.divide(epoch).await?;
            }
            Some(_) => {}
            None => {
                self.try_to_judge().await?;
                self.member.renewed.send_replace(begun);
            }
        }
        self.watched.look(&self.link).await?;
        Ok(None)
    }

    fn failed(&mut self, error: &StoreError) {
        self.reach.failed();
        if !self.is_reported {
            let error = crate::error::describe(error);
            tracing::warn!(
                error,
                "the analyzer's place in the database cannot be renewed; it is tried again"
            );
        }
        self.is_reported = true;
    }

    /// False if the row is gone.
    async fn renew(&self) -> Result<bool, StoreError> {
        let sql = "UPDATE rpingmesh.analyzer SET renewed = now(), lag = $2 WHERE id = $1 AND gone IS NULL RETURNING id";
        let lag = self.member.lag.load(Ordering::Relaxed);
        let rows = self.link.query(sql, &[&self.member.id.0, &lag]).await?;
        Ok(!rows.is_empty())
    }

    /// Takes the lease if nobody has it: at once if it was given up, else when the server was reached for long enough that its holder
    /// could have renewed it.
    async fn try_to_judge(&mut self) -> Result<(), StoreError> {
        let silence = if self.reach.is_sure(Instant::now()) {
            SILENCE
        } else {
            lease::GIVEN_UP_SECONDS
        };
        let id = self.member.id.0;
        if let Some(fence) =
            lease::take_if_free(&self.link, (Role::Analyzer, id), silence, SILENCE).await?
        {
            tracing::info!(
                analyzer = id,
                epoch = fence.epoch,
                "this analyzer judges from now on"
            );
            self.epoch = Some(fence.epoch);
            self.link.query(REVISE, &[]).await?;
            self.divide(fence.epoch).await?;
        }
        Ok(())
    }

    /// Gives up analyzers that are silent, and divides the shards among those that live.
    async fn divide(&self, epoch: i64) -> Result<(), StoreError> {
        let is_sure = self.reach.is_sure(Instant::now());
        let silent = if is_sure {
            SILENCE
        } else {
            f64::from(u32::MAX)
        };
        let found = read(&self.link).await?;
        let due = "SELECT id FROM rpingmesh.analyzer WHERE gone IS NULL AND renewed < now() - $1 * interval '1 second'";
        let due = self.link.query(due, &[&silent]).await?;
        let due: BTreeSet<MemberId> = self.rows(&due, |row| Ok(MemberId(row.try_get(0)?)))?;
        let live = found.members.keys().filter(|id| !due.contains(id));
        let live: BTreeSet<_> = live.copied().collect();
        let changes = moves(&found.table, &live);
        if due.is_empty() && changes.is_empty() {
            return Ok(());
        }
        let due: Vec<_> = due.into_iter().map(|member| member.0).collect();
        self.change(epoch, due, changes).await
    }

    async fn change(
        &self,
        epoch: i64,
        due: Vec<i64>,
        changes: Vec<Move>,
    ) -> Result<(), StoreError> {
        let role = Role::Analyzer;
        let guard = Guard::Owner(Fence { role, epoch });
        let (due, changes) = (Arc::new(due), Arc::new(changes));
        let count = changes.len();
        let changing = self.link.transaction(guard, move |transaction| {
            let (due, changes) = (Arc::clone(&due), Arc::clone(&changes));
            async move {
                // A stall of the server from here on makes nobody silent who was not before.
                let silent = "UPDATE rpingmesh.analyzer SET gone = now()
                              WHERE gone IS NULL AND renewed < now() - $1 * interval '1 second' AND id = ANY($2) RETURNING name";
                let mut names = Vec::new();
                for row in transaction.query(silent, &[&SILENCE, &*due]).await? {
                    names.push(row.try_get::<_, String>(0)?);
                }
                transaction.execute(REVISE, &[]).await?;
                // Who was silent a moment ago and has come back keeps its shards until the next look.
                if names.len() != due.len() {
                    return Ok::<_, Failure>(names);
                }
                for Move { shard, to, epoch } in &*changes {
                    let number = i32::from(shard.number());
                    let sql = "INSERT INTO rpingmesh.shard (number, owner, epoch) VALUES ($1, $2, $3)
                               ON CONFLICT (number) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch
                               WHERE shard.epoch < excluded.epoch";
                    transaction.execute(sql, &[&number, &to.0, epoch]).await?;
                }
                let forget = "DELETE FROM rpingmesh.analyzer WHERE gone < now() - $1 * interval '1 second'";
                transaction.execute(forget, &[&KEPT]).await?;
                Ok(names)
            }
            .boxed()
        });
        for name in changing.await? {
            tracing::warn!(analyzer = name, "an analyzer is silent and was given up");
        }
        tracing::info!(shards = count, "shards have other owners");
        Ok(())
    }

    fn rows<T, C: FromIterator<T>>(
        &self,
        rows: &[Row],
        read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<C, StoreError> {
        let read = rows.iter().map(read).collect::<Result<C, _>>();
        read.map_err(|error| classify(&self.link.store, error))
    }

    /// Lets others take over at once.
    async fn leave(&self) -> Result<(), StoreError> {
        let sql = "UPDATE rpingmesh.analyzer SET gone = now() WHERE id = $1 AND gone IS NULL";
        self.link.query(sql, &[&self.member.id.0]).await?;
        self.link.query(REVISE, &[]).await?;
        if let Some(epoch) = self.epoch {
            lease::release(&self.link, Role::Analyzer, epoch).await?;
        }
        Ok(())
    }
}

/// See [`open::analyzers`](crate::store::open::analyzers).
///
/// # Errors
/// The layout is of another version, or of another fleet; those of the server.
pub(in crate::store) async fn seen(server: &Server) -> Result<Vec<AnalyzerSeen>, StoreError> {
    let link = Link::new(server).await?;
    super::layout::check_present(&link, server.fleet()).await?;
    let sql = "SELECT analyzer.id, name, grpc, gone IS NOT NULL,
                      gone IS NULL AND EXISTS
                          (SELECT 1 FROM rpingmesh.owner JOIN rpingmesh.lease ON lease.role = owner.role
                           WHERE owner.role = 'analyzer' AND owner.member = analyzer.id
                             AND lease.renewed > now() - $1 * interval '1 second'),
                      (SELECT count(*) FROM rpingmesh.shard WHERE shard.owner = analyzer.id),
                      (SELECT coalesce(max(epoch), 0) FROM rpingmesh.shard WHERE shard.owner = analyzer.id),
                      lag, (extract(epoch FROM now() - analyzer.renewed) * 1e9)::bigint
               FROM rpingmesh.analyzer ORDER BY analyzer.id";
    let rows = link.query(sql, &[&SILENCE]).await?;
    let seen = rows.iter().map(|row| {
        Ok(AnalyzerSeen {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            address: row.try_get(2)?,
            is_gone: row.try_get(3)?,
            is_judge: row.try_get(4)?,
            shards: row.try_get(5)?,
            newest_epoch: row.try_get(6)?,
            lag_ns: row.try_get(7)?,
            seen_ago_ns: row.try_get(8)?,
        })
    });
    seen.collect::<Result<_, _>>()
        .map_err(|error| classify(&link.store, error))
}
