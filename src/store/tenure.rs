//! Who works with a store that several programs can reach: one analyzer at a time, and any number of controllers.
//!
//! An SQLite file has its lock. On a server a program holds a *tenure*: it renews a lease or its place once a second, and every change that
//! it makes is refused once another program has taken over or the others have given it up. A program that was stopped for a while and
//! goes on finds out and ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::StoreError;

/// How long giving up may take; beyond, the lease ends by itself.
pub(crate) const RELEASE: Duration = Duration::from_millis(300);

/// How a lease stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is renewed.
    Held,
    /// Another program has it.
    Lost {
        /// A name for messages.
        holder: String,
    },
    /// The others that share the store have given this program up.
    GivenUp,
    /// It was given up.
    Released,
}

/// The right to change a store. Clones are the same right; it is given up when the last one is dropped.
#[derive(Debug, Clone, Default)]
pub struct Tenure(Option<Arc<Lease>>);

#[derive(Debug)]
struct Lease {
    store: String,
    role: &'static str,
    standing: watch::Receiver<Standing>,
    /// Asks whoever renews it to give it up.
    giving_up: CancellationToken,
    _on_drop: DropGuard,
}

impl Tenure {
    /// Of a lease that somebody renews who watches `giving_up`.
    pub(super) fn leased(
        store: String,
        role: &'static str,
        standing: watch::Receiver<Standing>,
        giving_up: CancellationToken,
    ) -> Self {
        Self(Some(Arc::new(Lease {
            store,
            role,
            standing,
            _on_drop: giving_up.clone().drop_guard(),
            giving_up,
        })))
    }

    /// Gives the store up at once, as programs do at their end, so that a successor need not wait.
    pub async fn give_up(self) {
        let now = CancellationToken::new();
        now.cancel();
        if let Err(error) = self.hold(now).await {
            tracing::debug!(%error, "the right to the store was lost before it was given up");
        }
    }

    /// Waits for `stop`, then gives the store up, so that a successor need not wait.
    ///
    /// # Errors
    /// [`StoreError::Taken`] or [`StoreError::GivenUp`]: others go on without this program, and it must end.
    pub async fn hold(self, stop: CancellationToken) -> Result<(), StoreError> {
        let Some(lease) = self.0 else {
            stop.cancelled().await;
            return Ok(());
        };
        let mut standing = lease.standing.clone();
        let lost = async {
            let is_over =
                |standing: &Standing| matches!(standing, Standing::Lost { .. } | Standing::GivenUp);
            let store = lease.store.clone();
            let holder = match standing.wait_for(is_over).await.as_deref() {
                Ok(Standing::GivenUp) => return StoreError::GivenUp { store },
                Ok(Standing::Lost { holder }) => holder.clone(),
                _ => "whose name is not known".to_owned(),
            };
            let role = lease.role;
            StoreError::Taken {
                store,
                role,
                holder,
            }
        };
        if let Some(lost) = stop.run_until_cancelled(lost).await {
            return Err(lost);
        }
        lease.giving_up.cancel();
        let released = standing.wait_for(|standing| *standing == Standing::Released);
        // Beyond, the lease ends by itself.
        let _ = tokio::time::timeout(RELEASE, released).await;
        Ok(())
    }
}
