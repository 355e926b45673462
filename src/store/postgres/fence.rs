//! What keeps a program from changing what another one owns by now.

use deadpool_postgres::Transaction;

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
    pub(super) const fn name(self) -> &'static str {
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
