//! What a controller keeps: registered agents with their RNICs, and the cluster's key.

use super::kept::{Copied, Kept, Progress, Reporter, TransferError, compare, count, in_words};
use crate::id::AgentId;
use crate::store::registry::{Put, Registry};
use crate::time::{Clock as _, SystemClock};

/// Announcements of one transaction.
const AT_ONCE: usize = 256;

pub(super) struct Copying<'a> {
    pub(super) source: &'a dyn Registry,
    pub(super) target: &'a dyn Registry,
}

#[tonic::async_trait]
impl Kept for Copying<'_> {
    async fn present(&self) -> Result<Option<String>, TransferError> {
        let agents = count(self.target.load().await?.len());
        let keys = self.target.load_keys().await?;
        Ok(in_words(&[
            (agents, "agents"),
            (keys.is_some().into(), "key of the cluster"),
        ]))
    }

    async fn clear(&self) -> Result<(), TransferError> {
        let agents = self.target.load().await?;
        let agents: Vec<AgentId> = agents.into_iter().map(|one| one.agent).collect();
        Ok(self.target.remove(&agents).await?)
    }

    async fn run(&self, store: &str, report: Reporter<'_>) -> Result<Vec<Copied>, TransferError> {
        let agents = self.source.load().await?;
        let (mut done, all) = (0, count(agents.len()));
        for portion in agents.chunks(AT_ONCE) {
            let puts: Vec<_> = portion
                .iter()
                .map(|announcement| Put {
                    announcement: announcement.clone(),
                    superseded: Vec::new(),
                })
                .collect();
            let refused = self.target.put_all(&puts, SystemClock.wall()).await?;
            if let Some(refused) = refused.into_iter().flatten().next() {
                return Err(refused.into());
            }
            done += count(portion.len());
            let what = "agents";
            report(Progress { what, done, all });
        }
        let keys = self.source.load_keys().await?;
        if let Some(keys) = &keys {
            self.target.put_keys(keys).await?;
        }
        let found = self.target.load().await?;
        let is_same = found == agents;
        compare(("agents", store), is_same, (count(found.len()), all))?;
        let found = self.target.load_keys().await?;
        let counts = (found.is_some().into(), keys.is_some().into());
        compare(("keys of the cluster", store), found == keys, counts)?;
        let rnics = agents.iter().map(|one| count(one.rnics.len())).sum();
        let copied = |what, count| Copied {
            what,
            count,
            left_out: 0,
        };
        Ok(vec![
            copied("agents", all),
            copied("RNICs", rnics),
            copied("keys of the cluster", keys.is_some().into()),
        ])
    }
}
