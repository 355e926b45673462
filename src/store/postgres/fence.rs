//! What keeps a program from changing what another one owns by now.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use deadpool_postgres::Transaction;
use tokio_postgres::IsolationLevel;

use super::errors::Failure;
use crate::store::StoreError;

/// Which program uses the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Role {
    Controller,
    Analyzer,
}

impl Role {
    /// As the database and messages write it.
    pub(in crate::store) const fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Analyzer => "analyzer",
        }
    }
}

/// The right of one role to change its data, for one epoch: no transaction of an earlier one is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) role: Role,
    pub(super) epoch: i64,
}

impl Fence {
    /// Refuses what an earlier owner wants to change, and keeps the owner until the transaction ends.
    pub(super) async fn check(
        self,
        store: &str,
        transaction: &Transaction<'_>,
    ) -> Result<(), Failure> {
        let statement = transaction
            .prepare_cached("SELECT epoch, holder FROM rpingmesh.owner WHERE role = $1 FOR SHARE")
            .await?;
        let role = self.role.name();
        let row = transaction.query_one(&statement, &[&role]).await?;
        if row.try_get::<_, i64>(0)? == self.epoch {
            return Ok(());
        }
        Err(Failure::Store(StoreError::Taken {
            store: store.to_owned(),
            role,
            holder: row.try_get(1)?,
        }))
    }
}

/// A controller among several.
#[derive(Debug)]
pub(super) struct Member {
    /// Never used again.
    pub(super) id: i64,
    /// The epoch of the lease that it holds; 0 for none.
    epoch: AtomicI64,
}

impl Member {
    pub(super) const fn new(id: i64) -> Self {
        Self {
            id,
            epoch: AtomicI64::new(0),
        }
    }

    pub(super) fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn hold(&self, epoch: i64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    pub(super) fn is_holder(&self) -> bool {
        self.epoch() != 0
    }
}

/// On which condition a transaction may change the database.
#[derive(Debug, Clone)]
pub(super) enum Guard {
    /// None: the layout, and who owns what.
    Nothing,
    /// One program of the role at a time, for as long as it has its lease.
    Owner(Fence),
    /// The registry, by a controller that the others have not given up.
    Member(Arc<Member>),
    /// The same, by the one that holds the lease.
    Holder(Arc<Member>),
}

impl Guard {
    /// Changes of the registry come one after another: each begins by locking the revision. So they see what those before have
    /// committed, and nothing else conflicts.
    pub(super) const fn isolation(&self) -> IsolationLevel {
        match self {
            Self::Nothing | Self::Owner(_) => IsolationLevel::Serializable,
            Self::Member(_) | Self::Holder(_) => IsolationLevel::ReadCommitted,
        }
    }

    /// Refuses what must not be changed any more, until the transaction ends.
    pub(super) async fn check(
        &self,
        store: &str,
        transaction: &Transaction<'_>,
    ) -> Result<(), Failure> {
        match self {
            Self::Nothing => Ok(()),
            Self::Owner(fence) => fence.check(store, transaction).await,
            Self::Member(member) => check_member(member, store, transaction).await,
            Self::Holder(member) => {
                check_member(member, store, transaction).await?;
                let fence = Fence {
                    role: Role::Controller,
                    epoch: member.epoch(),
                };
                fence.check(store, transaction).await
            }
        }
    }
}

/// Begins a new revision, which is the transaction's alone until it ends, and refuses a controller that was given up.
async fn check_member(
    member: &Member,
    store: &str,
    transaction: &Transaction<'_>,
) -> Result<(), Failure> {
    let revise = transaction
        .prepare_cached("UPDATE rpingmesh.counter SET value = value + 1 WHERE name = 'registry'")
        .await?;
    transaction.execute(&revise, &[]).await?;
    // A statement of its own: it sees what was committed while the one before waited.
    let there = transaction
        .prepare_cached("SELECT 1 FROM rpingmesh.controller WHERE id = $1 AND gone IS NULL")
        .await?;
    if transaction
        .query_opt(&there, &[&member.id])
        .await?
        .is_some()
    {
        return Ok(());
    }
    Err(Failure::Store(StoreError::GivenUp {
        store: store.to_owned(),
    }))
}
