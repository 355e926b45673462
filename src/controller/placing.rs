//! Which analyzer takes an agent's results, where several share the fleet: what one registration stream knows of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::analysis::shards::ShardId;
use crate::id::TorId;
use crate::rpc::shards::{Assignment, ShardEpoch};
use crate::store::analyzers::AnalyzerFleet;

/// Who takes the results of one agent.
#[derive(Debug)]
pub(super) struct Placing {
    /// `None` where one analyzer has the fleet for itself.
    fleet: Option<watch::Receiver<Arc<AnalyzerFleet>>>,
    /// The agent's, once it has announced itself.
    shard: Option<ShardId>,
    /// What it was told.
    told: Option<Assignment>,
}

impl Placing {
    /// Of an agent that has said nothing yet.
    pub(super) const fn new(fleet: Option<watch::Receiver<Arc<AnalyzerFleet>>>) -> Self {
        Self {
            fleet,
            shard: None,
            told: None,
        }
    }

    /// The agent's RNICs are under these ToRs. One that has none now stays where it is; one that has none yet belongs nowhere, and
    /// any analyzer takes what it says.
    pub(super) fn announced(&mut self, tors: &BTreeSet<TorId>) {
        if !tors.is_empty() {
            self.shard = Some(ShardId::of_tors(tors));
        }
    }

    /// Where its results belong now, which counts as told.
    pub(super) fn now(&mut self) -> Option<Assignment> {
        let newest = self.newest();
        if newest.is_some() {
            self.told.clone_from(&newest);
        }
        newest
    }

    /// Waits until its results belong elsewhere than it was told. While nobody takes them nothing is told. Dropping the wait loses
    /// nothing.
    pub(super) async fn next(&mut self) -> Assignment {
        loop {
            let newest = self.newest();
            if newest.is_some()
                && newest != self.told
                && let Some(newest) = self.now()
            {
                return newest;
            }
            let Some(fleet) = &mut self.fleet else {
                return std::future::pending().await;
            };
            if fleet.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn newest(&mut self) -> Option<Assignment> {
        let fleet = self.fleet.as_mut()?.borrow_and_update();
        let shard = self.shard?;
        let (endpoints, epoch) = fleet.owner(shard)?;
        Some(Assignment {
            analyzer: endpoints.grpc.clone(),
            shard: ShardEpoch { shard, epoch },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::analysis::shards::{MemberId, Owned};
    use crate::net::url::Url;
    use crate::store::analyzers::Endpoints;

    fn fleet(shard: ShardId, owner: i64, epoch: i64) -> Arc<AnalyzerFleet> {
        let mut fleet = AnalyzerFleet::default();
        for id in 1..3 {
            let url = |port: i64| Url::server(&format!("http://127.0.0.1:{port}")).expect("a URL");
            let endpoints = Endpoints {
                grpc: url(7_000 + id),
                web: url(8_000 + id),
            };
            fleet.members.insert(MemberId(id), endpoints);
        }
        let owner = Some(MemberId(owner));
        fleet.table.set(shard, Owned { owner, epoch });
        Arc::new(fleet)
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_is_told_of_its_analyzer_and_of_each_change_once() {
        let (sender, receiver) = watch::channel(Arc::default());
        let mut placing = Placing::new(Some(receiver));
        let nothing = async |placing: &mut Placing| {
            let waited = tokio::time::timeout(Duration::from_secs(1), placing.next()).await;
            waited.is_err()
        };
        assert!(nothing(&mut placing).await, "it has not said who it is");
        let tors = BTreeSet::from([TorId::new("tor0")]);
        let shard = ShardId::of_tors(&tors);
        placing.announced(&tors);
        assert_eq!(placing.now(), None);
        sender.send_replace(fleet(shard, 1, 3));
        let first = placing.next().await;
        assert_eq!((first.analyzer.port(), first.shard.epoch), (7_001, 3));
        assert!(nothing(&mut placing).await);
        // It lost its only RNIC, and stays.
        placing.announced(&BTreeSet::new());
        assert!(nothing(&mut placing).await);
        // An owner that is gone, before another one has begun.
        sender.send_replace(fleet(shard, 9, 4));
        assert!(nothing(&mut placing).await);
        sender.send_replace(fleet(shard, 2, 5));
        assert_eq!(placing.next().await.analyzer.port(), 7_002);
        sender.send_replace(fleet(shard, 2, 6));
        assert_eq!(
            placing.next().await.shard.epoch,
            6,
            "it was given up and has come back"
        );
        drop(sender);
        assert!(nothing(&mut placing).await);
    }

    #[tokio::test(start_paused = true)]
    async fn where_one_analyzer_has_the_fleet_nothing_is_told() {
        let mut placing = Placing::new(None);
        placing.announced(&BTreeSet::from([TorId::new("tor0")]));
        assert_eq!(placing.now(), None);
        let waited = tokio::time::timeout(Duration::from_secs(1), placing.next()).await;
        assert!(waited.is_err());
    }
}
