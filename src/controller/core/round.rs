//! The agents that wait for a notice of a newer list.

use std::collections::{HashSet, VecDeque};

use crate::id::AgentId;

/// Agents to be told of a newer list, each once. One that fetches its list before its turn needs no notice.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// With agents that are not in `waiting` any more.
    order: VecDeque<AgentId>,
    waiting: HashSet<AgentId>,
}

impl Round {
    pub(super) fn push(&mut self, agent: AgentId, first: bool) {
        if !self.waiting.insert(agent.clone()) && !first {
            return;
        }
        if first {
            self.order.push_front(agent);
        } else {
            self.order.push_back(agent);
        }
    }

    pub(super) fn remove(&mut self, agent: &AgentId) {
        self.waiting.remove(agent);
        if self.waiting.is_empty() {
            self.order.clear();
        }
    }

    pub(super) fn pop(&mut self) -> Option<AgentId> {
        let agent = loop {
            let agent = self.order.pop_front()?;
            if self.waiting.remove(&agent) {
                break agent;
            }
        };
        if self.waiting.is_empty() {
            self.order.clear();
        }
        Some(agent)
    }
}
