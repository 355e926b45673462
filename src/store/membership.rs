//! An analyzer's place among those that share a database: see [`analyzers`](super::analyzers).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::StoreError;
use super::analyzers::{AnalyzerFleet, Endpoints};
use super::open::Stores;
use super::postgres::analyzers::Member;
use super::server::Server;
use super::tenure::Tenure;
use crate::analysis::shards::MemberId;

/// A place among the analyzers of a database. It is given up when the last clone of the tenure is dropped.
#[derive(Debug)]
pub struct Membership {
    member: Arc<Member>,
    /// What is known of all; polled in a task of its own.
    pub fleet: watch::Receiver<Arc<AnalyzerFleet>>,
    /// The right to this place and to the lease, which may be lost.
    pub tenure: Tenure,
    /// When this analyzer had its place, and its lease if it judges, for sure.
    pub renewed: watch::Receiver<Instant>,
}

impl Membership {
    /// Joins the analyzers of a database, whose layout is brought up to date.
    ///
    /// # Errors
    /// [`StoreError::Taken`]: an analyzer works there that does not share it. The layout is newer, or of another fleet; a copy into the
    /// database has not come to its end; the server cannot be reached or refuses.
    pub async fn join(server: &Server, endpoints: &Endpoints) -> Result<Self, StoreError> {
        let (member, fleet, tenure) = Member::join(server, endpoints).await?;
        Ok(Self {
            renewed: member.renewed(),
            member,
            fleet,
            tenure,
        })
    }

    /// The analyzer of this place.
    pub fn id(&self) -> MemberId {
        self.member.id
    }

    /// What the judge of this epoch stores. Once the lease is another's, each change is refused.
    pub fn stores(&self, epoch: i64) -> Stores {
        Stores::on(self.member.journal(epoch, self.tenure.clone()))
    }

    /// Tells operators how far the judge is behind.
    pub fn tell_lag(&self, lag: Duration) {
        self.member.tell_lag(lag);
    }
}
