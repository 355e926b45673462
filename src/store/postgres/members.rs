//! Controllers that share the database.
//!
//! Each has a row in `controller`, which it renews once a second. One of them holds the lease of the role and does what must be done
//! once. The holder gives up a controller that was silent for [`SILENCE`], while it reached the database itself all the time: a
//! server that was away for everybody costs nobody its place. What a controller that was given up still wants to write is refused, and
//! it ends. Agents that were heard by a controller that is gone have [`GRACE`] to find another one, then they count as silent.
//!
//! **Task**: one per open registry renews, takes the lease where it is free, and polls the revision. It ends when the controller is
//! given up or gives up, or the last [`Tenure`] is dropped.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_postgres::Error;
use tokio_util::sync::CancellationToken;

use super::connection::Link;
use super::fence::{Guard, Member, Role};
use super::lease;
use super::reach::Reach;
use super::watched::Watched;
use crate::store::StoreError;
use crate::store::analyzers::AnalyzerFleet;
use crate::store::shared::{POLL, Revision, View};
use crate::store::tenure::{Standing, Tenure};

/// How long a controller may be silent before it is given up, by the server's clock, in seconds; and how long the holder must have
/// reached the server without a break.
const SILENCE: f64 = 5.0;
const SURE: Duration = Duration::from_secs(6);
/// How long agents of a controller that is gone have to find another one, in seconds: the default of agents' leases.
const GRACE: f64 = 30.0;
/// How often a controller renews its row.
const RENEWAL: Duration = Duration::from_secs(1);

/// Adds this program to the controllers.
///
/// # Errors
/// Those of the server.
pub(super) async fn join(link: &Link) -> Result<Arc<Member>, StoreError> {
    let name = lease::name();
    let joining = link.write(move |transaction| {
        let name = name.clone();
        async move {
            let next = "UPDATE rpingmesh.counter SET value = value + 1 WHERE name = 'controller' RETURNING value";
            let id: i64 = transaction.query_one(next, &[]).await?.try_get(0)?;
            let join = "INSERT INTO rpingmesh.controller (id, name, started, renewed) VALUES ($1, $2, now(), now())";
            transaction.execute(join, &[&id, &name]).await?;
            Ok(id)
        }
        .boxed()
    });
    Ok(Arc::new(Member::new(joining.await?)))
}

/// Whether other controllers live; gives one's name.
///
/// # Errors
/// Those of the server.
pub(super) async fn another(link: &Link, member: &Member) -> Result<Option<String>, StoreError> {
    let sql = "SELECT name FROM rpingmesh.controller
               WHERE id <> $1 AND gone IS NULL AND renewed > now() - $2 * interval '1 second' ORDER BY id LIMIT 1";
    let rows = link.query(sql, &[&member.id, &SILENCE]).await?;
    let name = rows.first().map(|row| row.try_get(0)).transpose();
    name.map_err(|error| super::errors::classify(&link.store, error))
}

/// What the task sees of others.
pub(super) struct Views {
    pub(super) registry: watch::Receiver<View>,
    pub(super) analyzers: watch::Receiver<Arc<AnalyzerFleet>>,
}

/// Keeps the controller's place in a task of its own. Gives the right to the store and what the task sees.
pub(super) fn kept(link: Link, member: Arc<Member>) -> (Tenure, Views) {
    let giving_up = CancellationToken::new();
    let (standing, standings) = watch::channel(Standing::Held);
    let (view, registry) = watch::channel(View::default());
    let (watched, analyzers) = Watched::new();
    let tenure = Tenure::leased(
        link.store.to_string(),
        Role::Controller.name(),
        standings,
        giving_up.clone(),
    );
    tokio::spawn(async move {
        let mut place = Place {
            link,
            member,
            view,
            watched,
            reach: Reach::new(SURE),
            is_reported: false,
        };
        let lost = giving_up.run_until_cancelled(place.keep()).await;
        let end = match lost {
            Some(()) => Standing::GivenUp,
            None => {
                if let Err(error) = place.leave().await {
                    tracing::debug!(%error, "the controller's place in the database ends by itself");
                }
                Standing::Released
            }
        };
        // Nobody may wait for it any more.
        let _ = standing.send(end);
    });
    let views = Views {
        registry,
        analyzers,
    };
    (tenure, views)
}

struct Place {
    link: Link,
    member: Arc<Member>,
    view: watch::Sender<View>,
    watched: Watched,
    reach: Reach,
    is_reported: bool,
}

impl Place {
    /// Returns when the others have given this controller up. While the server is away nobody can.
    async fn keep(&mut self) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let is_due = renewed.is_none_or(|at| at.elapsed() >= RENEWAL);
            let done = async {
                if is_due && !self.renew().await? {
                    return Ok(false);
                }
                self.look().await?;
                self.watched.look(&self.link).await?;
                Ok(true)
            };
            match done.await {
                Ok(false) => return,
                Ok(true) => {
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

    fn failed(&mut self, error: &StoreError) {
        self.reach.failed();
        if !self.is_reported {
            let error = crate::error::describe(error);
            tracing::warn!(
                error,
                "the controller's place in the database cannot be renewed; it is tried again"
            );
        }
        self.is_reported = true;
    }

    /// Renews the row and the lease; false if the row is gone.
    async fn renew(&mut self) -> Result<bool, StoreError> {
        let sql = "UPDATE rpingmesh.controller SET renewed = now() WHERE id = $1 AND gone IS NULL RETURNING id";
        if self.link.query(sql, &[&self.member.id]).await?.is_empty() {
            return Ok(false);
        }
        self.reach.answered(Instant::now());
        if self.member.is_holder() {
            if lease::renew_once(&self.link, Role::Controller, self.member.epoch()).await? {
                self.reach.answered(Instant::now());
                self.tidy().await?;
            } else {
                tracing::info!("another controller holds the lease of the database");
                self.member.hold(0);
            }
        } else if let Some(fence) = lease::take_if_free(
            &self.link,
            (Role::Controller, 0),
            lease::LEASE_SECONDS,
            lease::LEASE_SECONDS,
        )
        .await?
        {
            tracing::info!("this controller holds the lease of the database");
            self.member.hold(fence.epoch);
        }
        Ok(true)
    }

    /// Sees how far the registry has changed.
    async fn look(&self) -> Result<(), StoreError> {
        let sql = "SELECT name, value FROM rpingmesh.counter WHERE name IN ('registry', 'departures', 'keys')";
        let mut revision = Revision::default();
        for row in self.link.query(sql, &[]).await? {
            let read = |error| super::errors::classify(&self.link.store, error);
            let name: String = row.try_get(0).map_err(read)?;
            let value: i64 = row.try_get(1).map_err(read)?;
            match name.as_str() {
                "registry" => revision.agents = value,
                "departures" => revision.departures = value,
                _ => revision.keys = value,
            }
        }
        let epoch = self.member.epoch();
        let view = View {
            revision,
            is_holder: epoch != 0,
            epoch,
        };
        self.view.send_if_modified(|known| {
            let is_new = *known != view;
            *known = view;
            is_new
        });
        Ok(())
    }

    /// Gives up controllers that are silent, and forgets those whose agents had time to move.
    async fn tidy(&mut self) -> Result<(), StoreError> {
        if !self.reach.is_sure(Instant::now()) {
            return Ok(());
        }
        let due = "SELECT id FROM rpingmesh.controller
                   WHERE (gone IS NULL AND renewed < now() - $1 * interval '1 second')
                      OR gone < now() - $2 * interval '1 second'";
        let due = self.link.query(due, &[&SILENCE, &GRACE]).await?;
        let due: Result<Arc<[i64]>, _> = due.iter().map(|row| row.try_get(0)).collect();
        let due = due.map_err(|error| super::errors::classify(&self.link.store, error))?;
        // This answer, too, may have come late.
        self.reach.answered(Instant::now());
        if due.is_empty() || !self.reach.is_sure(Instant::now()) {
            return Ok(());
        }
        let guard = Guard::Holder(Arc::clone(&self.member));
        let tidying = self.link.transaction(guard, move |transaction| {
            let due = Arc::clone(&due);
            async move {
                // A stall of the server from here on makes nobody silent who was not before.
                let silent = "UPDATE rpingmesh.controller SET gone = now()
                              WHERE gone IS NULL AND renewed < now() - $1 * interval '1 second' AND id = ANY($2) RETURNING name";
                let mut names = Vec::new();
                for row in transaction.query(silent, &[&SILENCE, &&due[..]]).await? {
                    names.push(row.try_get::<_, String>(0)?);
                }
                let agents = "UPDATE rpingmesh.agent SET silent = true,
                                  revision = (SELECT value FROM rpingmesh.counter WHERE name = 'registry')
                              WHERE NOT silent AND controller IN
                                  (SELECT id FROM rpingmesh.controller WHERE gone < now() - $1 * interval '1 second')";
                transaction.execute(agents, &[&GRACE]).await?;
                let forget = "DELETE FROM rpingmesh.controller WHERE gone < now() - $1 * interval '1 second'";
                transaction.execute(forget, &[&GRACE]).await?;
                Ok::<_, Error>(names)
            }
            .boxed()
        });
        for name in tidying.await? {
            tracing::warn!(controller = name, "a controller is silent and was given up");
        }
        Ok(())
    }

    /// Lets another one take the lease at once; agents have time to find it.
    async fn leave(&self) -> Result<(), StoreError> {
        let sql = "UPDATE rpingmesh.controller SET gone = now() WHERE id = $1 AND gone IS NULL";
        self.link.query(sql, &[&self.member.id]).await?;
        if self.member.is_holder() {
            lease::release(&self.link, Role::Controller, self.member.epoch()).await?;
        }
        Ok(())
    }
}
