//! One program of each role changes the data at a time.
//!
//! `owner` says whose turn it is, by an epoch that grows with each change of owner. A transaction that writes locks that row against
//! a change of owner, so what an earlier owner has begun is committed before its successor begins, or never. `lease` says when the owner
//! was last there, by the server's clock; it is a row of its own, so that renewing it does not conflict with those who write.

use std::time::Duration;

use deadpool_postgres::Transaction;
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::connection::Link;
use super::errors::Failure;
use super::fence::{Fence, Role};
use crate::store::StoreError;
use crate::store::tenure::{Standing, Tenure};

/// How long an owner may be silent before another takes over, in seconds: several renewals may fail.
pub(super) const LEASE_SECONDS: f64 = 5.0;
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(1);
/// Between two attempts to take it, and how long it is tried: a predecessor that ended without giving it up is waited for.
const PAUSE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_millis(5_500);

/// Takes the lease.
///
/// # Errors
/// [`StoreError::Taken`]: its owner lives. Those of the server.
pub(super) async fn take(link: &Link, role: Role) -> Result<Fence, StoreError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match try_take(link, (role, 0), LEASE_SECONDS).await {
            Err(StoreError::Taken { holder, .. }) if Instant::now() < end => {
                tracing::debug!(holder, "waiting for the lease of the database");
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

/// A lease that was not renewed for so long, in seconds, was given up, or its holder is gone for good.
pub(super) const GIVEN_UP_SECONDS: f64 = 60.0;

/// Takes the lease for an analyzer with a number, or for 0, if its holder was silent for so many seconds: `patience` at the first look,
/// `silence` at the second.
///
/// # Errors
/// Those of the server.
pub(super) async fn take_if_free(
    link: &Link,
    (role, member): (Role, i64),
    patience: f64,
    silence: f64,
) -> Result<Option<Fence>, StoreError> {
    let held = "SELECT 1 FROM rpingmesh.lease WHERE role = $1 AND renewed > now() - $2 * interval '1 second'";
    let held = link.query(held, &[&role.name(), &patience]).await?;
    if !held.is_empty() {
        return Ok(None);
    }
    match try_take(link, (role, member), silence).await {
        Ok(fence) => Ok(Some(fence)),
        Err(StoreError::Taken { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renews the lease of an epoch; false if another one has begun.
///
/// # Errors
/// Those of the server.
pub(super) async fn renew_once(link: &Link, role: Role, epoch: i64) -> Result<bool, StoreError> {
    let sql =
        "UPDATE rpingmesh.lease SET renewed = now() WHERE role = $1 AND epoch = $2 RETURNING epoch";
    Ok(!link.query(sql, &[&role.name(), &epoch]).await?.is_empty())
}

/// Gives the lease of an epoch up.
///
/// # Errors
/// Those of the server.
pub(super) async fn release(link: &Link, role: Role, epoch: i64) -> Result<(), StoreError> {
    let sql = "UPDATE rpingmesh.lease SET renewed = to_timestamp(0) WHERE role = $1 AND epoch = $2";
    link.query(sql, &[&role.name(), &epoch]).await.map(drop)
}

async fn try_take(
    link: &Link,
    (role, member): (Role, i64),
    silence: f64,
) -> Result<Fence, StoreError> {
    let (store, me) = (link.store.clone(), name());
    link.write(move |transaction| {
        let (store, me) = (store.to_string(), me.clone());
        async move {
            // With a row for each role, even two that come first meet in it.
            transaction
                .execute(
                    "INSERT INTO rpingmesh.owner (role, epoch, holder) VALUES ($1, 0, '') ON CONFLICT (role) DO NOTHING",
                    &[&role.name()],
                )
                .await?;
            let owner = transaction
                .query_one(
                    "SELECT epoch, holder FROM rpingmesh.owner WHERE role = $1 FOR UPDATE",
                    &[&role.name()],
                )
                .await?;
            let lease = transaction
                .query_opt(
                    "SELECT renewed > now() - $2 * interval '1 second' FROM rpingmesh.lease WHERE role = $1",
                    &[&role.name(), &silence],
                )
                .await?;
            let (epoch, holder): (i64, String) = (owner.try_get(0)?, owner.try_get(1)?);
            let is_held = match lease {
                Some(lease) => lease.try_get(0)?,
                None => false,
            };
            if is_held {
                let role = role.name();
                return Err(Failure::Store(StoreError::Taken { store, role, holder }));
            }
            let fence = Fence {
                role,
                epoch: epoch + 1,
            };
            begin(transaction, fence, (&me, member)).await?;
            Ok(fence)
        }
        .boxed()
    })
    .await
}

async fn begin(
    transaction: &Transaction<'_>,
    Fence { role, epoch }: Fence,
    (holder, member): (&str, i64),
) -> Result<(), Failure> {
    transaction
        .execute(
            "UPDATE rpingmesh.owner SET epoch = $2, holder = $3, member = $4 WHERE role = $1",
            &[&role.name(), &epoch, &holder, &member],
        )
        .await?;
    transaction
        .execute(
            "INSERT INTO rpingmesh.lease (role, epoch, renewed) VALUES ($1, $2, now())
             ON CONFLICT (role) DO UPDATE SET epoch = excluded.epoch, renewed = excluded.renewed",
            &[&role.name(), &epoch],
        )
        .await?;
    Ok(())
}

/// Who has the lease, or had it last.
///
/// # Errors
/// Those of the server.
pub(super) async fn holder(link: &Link, role: Role) -> Result<String, StoreError> {
    let owner = "SELECT holder FROM rpingmesh.owner WHERE role = $1";
    let owner = link.query(owner, &[&role.name()]).await?;
    let holder = owner.first().and_then(|row| row.try_get(0).ok());
    Ok(holder.unwrap_or_default())
}

/// Renews the lease in a task of its own.
pub(super) fn renewed(link: Link, fence: Fence) -> Tenure {
    let Fence { role, epoch } = fence;
    let giving_up = CancellationToken::new();
    let (sender, standing) = watch::channel(Standing::Held);
    let tenure = Tenure::leased(
        link.store.to_string(),
        role.name(),
        standing,
        giving_up.clone(),
    );
    tokio::spawn(async move {
        let lost = giving_up.run_until_cancelled(renew(&link, fence)).await;
        let standing = match lost {
            Some(holder) => Standing::Lost { holder },
            None => {
                if let Err(error) = release(&link, role, epoch).await {
                    tracing::debug!(%error, "the lease of the database ends by itself");
                }
                Standing::Released
            }
        };
        // Nobody may wait for it any more.
        let _ = sender.send(standing);
    });
    tenure
}

/// Returns who has taken over. While the server is away nobody can.
async fn renew(link: &Link, Fence { role, epoch }: Fence) -> String {
    let mut ticks = interval(RENEWAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_reported = false;
    loop {
        ticks.tick().await;
        match renew_once(link, role, epoch).await {
            Ok(false) => {
                return holder(link, role).await.unwrap_or_default();
            }
            Ok(true) => is_reported = false,
            Err(error) => {
                if !is_reported {
                    let error = crate::error::describe(&error);
                    tracing::warn!(
                        error,
                        "the lease of the database cannot be renewed; it is tried again"
                    );
                }
                is_reported = true;
            }
        }
    }
}

/// This program, for the messages of others.
pub(super) fn name() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("host {host}, process {}", std::process::id())
}
