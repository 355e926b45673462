//! What the analyzer wants to be probed more, divided among the agents.
//!
//! Nothing here lasts: an agent goes back to its list when its share expires, whatever becomes of this controller. Of two runs of the
//! analyzer the newer one is followed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use crate::id::{AgentId, Gid};
use crate::pinglist::focus::{Budgeting, FocusBudgets, FocusCounts, FocusList, FocusRequest};

/// What one agent is to probe more.
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) list: FocusList,
    /// Until then; later it is not passed on any more.
    pub(super) until: Instant,
}

/// Why a request is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stale {
    #[error("a newer run of the analyzer has asked since: are there two?")]
    Run,
    #[error("a newer request of this run was followed already")]
    Number,
}

/// Which request was followed last, and who was told of it.
#[derive(Debug, Default)]
pub(super) struct Focus {
    newest: (u64, u64),
    told: BTreeSet<AgentId>,
}

impl Focus {
    /// Takes a request, if it is newer than the last one.
    pub(super) fn admit(&mut self, run: u64, number: u64) -> Result<(), Stale> {
        let (newest, last) = self.newest;
        if run < newest {
            return Err(Stale::Run);
        }
        if run == newest && number <= last {
            return Err(Stale::Number);
        }
        self.newest = (run, number);
        Ok(())
    }

    /// The shares of the agents: of those that get some, and of those that had some, whose share is empty now.
    pub(super) fn shares(
        &mut self,
        mut lists: BTreeMap<AgentId, FocusList>,
        until: Instant,
    ) -> Vec<(AgentId, Arc<Share>)> {
        let now_told: BTreeSet<AgentId> = lists.keys().cloned().collect();
        for agent in std::mem::replace(&mut self.told, now_told) {
            lists.entry(agent).or_default();
        }
        lists
            .into_iter()
            .map(|(agent, list)| (agent, Arc::new(Share { list, until })))
            .collect()
    }
}

/// Divides a request by agent. `owner` gives the agent of an RNIC with the rate of each of its 5-tuples, where the RNIC is registered
/// and its agent connected.
pub(super) fn divide(
    request: FocusRequest,
    budgets: FocusBudgets,
    owner: impl Fn(Gid) -> Option<(AgentId, f64)>,
) -> (BTreeMap<AgentId, FocusList>, FocusCounts) {
    let mut lists: BTreeMap<AgentId, FocusList> = BTreeMap::new();
    let mut counts = FocusCounts::default();
    let mut budgeting = Budgeting::new(budgets);
    for (source, tuples) in request.list {
        let prober = owner(source);
        for tuple in tuples {
            let (Some((agent, rate)), Some(_)) = (&prober, owner(tuple.target)) else {
                counts.unknown += 1;
                continue;
            };
            if !budgeting.take(&tuple, *rate) {
                counts.beyond += 1;
                continue;
            }
            counts.passed_on += 1;
            let list = lists.entry(agent.clone()).or_default();
            list.entry(source).or_default().push(tuple);
        }
    }
    (lists, counts)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;
    use crate::id::UdpSourcePort;
    use crate::pinglist::focus::FocusedTuple;

    fn gid(last: u8) -> Gid {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn tuple(target: u8, portions: u32) -> FocusedTuple {
        FocusedTuple {
            target: gid(target),
            port: UdpSourcePort(50_000),
            portions,
        }
    }

    /// RNICs 1 to 9 are those of agents of the same number, with 2 probes/s for each 5-tuple.
    fn owner(of: Gid) -> Option<(AgentId, f64)> {
        let last = of.bytes()[15];
        (1..10)
            .contains(&last)
            .then(|| (format!("agent{last}").into(), 2.0))
    }

    #[test]
    fn a_request_is_divided_among_the_agents_within_the_budgets() {
        let request = FocusRequest {
            list: FocusList::from([
                (
                    gid(1),
                    vec![tuple(2, 1), tuple(2, 3), tuple(3, 2), tuple(77, 1)],
                ),
                (gid(4), vec![tuple(2, 1)]),
                (gid(66), vec![tuple(1, 1)]),
            ]),
            ..FocusRequest::default()
        };
        let budgets = FocusBudgets {
            per_target: 6.0,
            of_all: 8.0,
        };
        let (lists, counts) = divide(request, budgets, owner);
        let agents: Vec<_> = lists.keys().map(AgentId::as_str).collect();
        assert_eq!(agents, ["agent1", "agent4"]);
        assert_eq!(
            lists[&AgentId::from("agent1")][&gid(1)],
            [tuple(2, 1), tuple(3, 2)]
        );
        let expected = FocusCounts {
            passed_on: 3,
            unknown: 2,
            beyond: 1,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn older_runs_and_repeated_requests_are_refused() {
        let mut focus = Focus::default();
        assert_eq!(focus.admit(10, 1), Ok(()));
        assert_eq!(focus.admit(10, 2), Ok(()));
        assert_eq!(focus.admit(10, 2), Err(Stale::Number));
        assert_eq!(focus.admit(9, 3), Err(Stale::Run));
        assert_eq!(focus.admit(11, 1), Ok(()));
        assert_eq!(focus.admit(10, 3), Err(Stale::Run));
    }

    #[test]
    fn who_is_asked_for_nothing_any_more_is_told_once() {
        let mut focus = Focus::default();
        let until = Instant::now() + Duration::from_secs(5);
        let some = |agent: &str| {
            BTreeMap::from([(
                AgentId::from(agent),
                FocusList::from([(gid(1), vec![tuple(2, 1)])]),
            )])
        };
        let told = |shares: Vec<(AgentId, Arc<Share>)>| -> Vec<(String, usize)> {
            let shares = shares.into_iter();
            shares
                .map(|(agent, share)| (agent.as_str().to_owned(), share.list.len()))
                .collect()
        };
        assert_eq!(told(focus.shares(some("a"), until)), [("a".to_owned(), 1)]);
        assert_eq!(
            told(focus.shares(some("b"), until)),
            [("a".to_owned(), 0), ("b".to_owned(), 1)]
        );
        assert_eq!(
            told(focus.shares(BTreeMap::new(), until)),
            [("b".to_owned(), 0)]
        );
        assert_eq!(told(focus.shares(BTreeMap::new(), until)), []);
    }
}
