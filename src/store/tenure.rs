//! Who works with a store that several programs can reach: one of each role at a time.
//!
//! An SQLite file has its lock. On a server a program holds a *tenure*: it renews a lease once a second, and every change that it makes is
//! refused once another program has taken over. A program that was stopped for a while and goes on finds out and ends.

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

    /// Waits for `stop`, then gives the store up, so that a successor need not wait.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: another program has taken over, and this one must end.
    pub async fn hold(self, stop: CancellationToken) -> Result<(), StoreError> {
        let Some(lease) = self.0 else {
            stop.cancelled().await;
            return Ok(());
        };
        let mut standing = lease.standing.clone();
        let lost = async {
            let lost = standing.wait_for(|standing| matches!(standing, Standing::Lost { .. }));
            match lost.await.as_deref() {
                Ok(Standing::Lost { holder }) => holder.clone(),
                _ => "whose name is not known".to_owned(),
            }
        };
        if let Some(holder) = stop.run_until_cancelled(lost).await {
            return Err(StoreError::Taken {
                store: lease.store.clone(),
                role: lease.role,
                holder,
            });
        }
        lease.giving_up.cancel();
        let released = standing.wait_for(|standing| *standing == Standing::Released);
        // Beyond, the lease ends by itself.
        let _ = tokio::time::timeout(RELEASE, released).await;
        Ok(())
    }
}
