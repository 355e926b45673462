//! An open database of one role.

use std::fmt;

use deadpool_postgres::Transaction;
use futures_util::future::BoxFuture;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::connection::Link;
use super::fence::{Fence, Role};
use super::{layout, lease};
use crate::store::StoreError;
use crate::store::damage::Damage;
use crate::store::server::Server;
use crate::store::tenure::Tenure;

/// An open database: cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct Db {
    pub(super) link: Link,
    fence: Fence,
    pub(in crate::store) damage: Damage,
    pub(in crate::store) tenure: Tenure,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db({})", self.link.store)
    }
}

impl Db {
    /// Connects, brings the layout up to date, and takes the lease of this role: waits for as long as that of a predecessor lasts that
    /// has ended without giving it up.
    ///
    /// # Errors
    /// The server cannot be reached or refuses; the layout is newer, or of another fleet; another program has the lease.
    pub(in crate::store) async fn open(server: &Server, role: Role) -> Result<Self, StoreError> {
        let link = Link::new(server).await?;
        layout::prepare(&link, server.fleet()).await?;
        let fence = lease::take(&link, role).await?;
        // With a connection of its own: readers that wait for a slow server must not hold up the renewal.
        let tenure = lease::renewed(Link::new(server).await?, fence);
        Ok(Self {
            link,
            fence,
            damage: Damage::default(),
            tenure,
        })
    }

    /// Rows of one statement.
    ///
    /// # Errors
    /// The server or the connection fails.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.link.query(sql, parameters).await
    }

    /// Makes changes in one transaction, as long as this program has the lease. `work` may run several times.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: another program has taken over. The server or the connection fails.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Transaction<'t>) -> BoxFuture<'t, Result<T, Error>> + Send + Sync,
    {
        self.link.transaction(Some(self.fence), work).await
    }
}
