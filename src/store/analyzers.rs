//! Several analyzers on one database: who they are, who owns which shard, and which of them judges.
//!
//! Each has a place that it renews. One holds the analyzers' lease: it is the *judge*, decides who owns which shard, and alone changes
//! what analyzers store. The others and the controllers see changes within [`POLL`](super::shared::POLL). An analyzer that was silent for
//! too long is given up: its shards get other owners, with a larger epoch.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::analysis::shards::{MemberId, Owned, ShardId, Table};
use crate::net::url::Url;

/// Where an analyzer is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// By agents and other analyzers (gRPC).
    pub grpc: Url,
    /// By people and programs (HTTP).
    pub web: Url,
}

/// Who judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    /// The analyzer.
    pub member: MemberId,
    /// Of the lease: grows with each change of the judge.
    pub epoch: i64,
}

/// The analyzers of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnalyzerFleet {
    /// Those that live, with where they are reached.
    pub members: BTreeMap<MemberId, Endpoints>,
    /// Who owns which shard.
    pub table: Table,
    /// Who judges, as far as somebody does.
    pub judge: Option<Judge>,
}

impl AnalyzerFleet {
    /// Who owns a shard, and since which epoch; `None` while it has no owner that lives.
    pub fn owner(&self, shard: ShardId) -> Option<(&Endpoints, i64)> {
        let Owned { owner, epoch } = self.table.get(shard);
        Some((self.members.get(&owner?)?, epoch))
    }

    /// Where the judge is reached.
    pub fn judge_endpoints(&self) -> Option<&Endpoints> {
        self.members.get(&self.judge?.member)
    }
}

/// An analyzer as the database has it, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnalyzerSeen {
    /// Number of its row: never used again for another one.
    pub id: i64,
    /// Its host and process.
    pub name: String,
    /// Where agents and other analyzers reach it.
    pub address: String,
    /// Whether it judges.
    pub is_judge: bool,
    /// Whether it has stopped, or was given up.
    pub is_gone: bool,
    /// Shards that it owns.
    pub shards: i64,
    /// The largest epoch of these.
    pub newest_epoch: i64,
    /// Age of the oldest batch that it has and the judge has not, in nanoseconds.
    pub lag_ns: i64,
    /// When it was there last: nanoseconds before now, by the server's clock.
    pub seen_ago_ns: i64,
}
