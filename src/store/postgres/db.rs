//! An open database of one role.

use std::fmt;
use std::sync::Arc;

use deadpool_postgres::Transaction;
use futures_util::future::BoxFuture;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::connection::Link;
use super::fence::{Fence, Guard, Member, Role};
use super::{layout, lease, members, watched};
use crate::store::StoreError;
use crate::store::damage::Damage;
use crate::store::server::Server;
use crate::store::tenure::Tenure;

/// An open database: cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct Db {
    pub(super) link: Link,
    guard: Guard,
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
        let link = prepared(server).await?;
        if role == Role::Analyzer
            && let Some(holder) = watched::sharing(&link).await?
        {
            return Err(StoreError::Taken {
                store: link.store.to_string(),
                role: role.name(),
                holder,
            });
        }
        let fence = lease::take(&link, role).await?;
        // With a connection of its own: readers that wait for a slow server must not hold up the renewal.
        let tenure = lease::renewed(Link::new(server).await?, fence);
        Ok(Self {
            link,
            guard: Guard::Owner(fence),
            damage: Damage::default(),
            tenure,
        })
    }

    /// Of an analyzer that has taken the lease and renews it.
    pub(super) fn held(link: Link, fence: Fence, tenure: Tenure) -> Self {
        Self {
            link,
            guard: Guard::Owner(fence),
            damage: Damage::default(),
            tenure,
        }
    }

    /// Connects, brings the layout up to date, and joins the controllers that work with the database.
    ///
    /// # Errors
    /// As of [`Db::open`], but others may work with it, too.
    pub(super) async fn join(
        server: &Server,
    ) -> Result<(Self, Arc<Member>, members::Views), StoreError> {
        let link = prepared(server).await?;
        let member = members::join(&link).await?;
        let (tenure, views) = members::kept(Link::new(server).await?, Arc::clone(&member));
        let db = Self {
            link,
            guard: Guard::Member(Arc::clone(&member)),
            damage: Damage::default(),
            tenure,
        };
        Ok((db, member, views))
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
        self.link.transaction(self.guard.clone(), work).await
    }
}

pub(super) async fn prepared(server: &Server) -> Result<Link, StoreError> {
    let link = Link::new(server).await?;
    layout::prepare(&link, server.fleet()).await?;
    Ok(link)
}
