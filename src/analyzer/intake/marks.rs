//! The watermarks that the intake knows, bounded for each agent.
//!
//! An agent has one spool, and another after a copy was put back, its folder was lost or its numbers were refused. A mark is needed as
//! long as batches of its spool may come again, or are read back from the journal. [`MOST_SPOOLS`] of an agent are remembered;
//! older ones are forgotten when no batch of the journal needs them. An agent that begins spools faster than that is
//! refused: only its own uploads suffer.

use std::collections::HashMap;

use crate::analysis::admission::Watermark;
use crate::analysis::report::{Sender, SpoolId};
use crate::id::AgentId;
use crate::time::WallTime;

/// Spools that are remembered of one agent: as many as an agent has that restarts every four seconds on a disk that forgets, while
/// the journal needs its batches.
pub(super) const MOST_SPOOLS: usize = 64;

/// All marks.
#[derive(Debug, Default)]
pub(super) struct Marks {
    all: HashMap<Sender, Watermark>,
    spools: HashMap<AgentId, Vec<SpoolId>>,
    /// Forgotten here and not yet in the store.
    forgotten: Vec<Sender>,
}

impl Marks {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Watermark> {
        self.all.values()
    }

    pub(super) fn get(&self, sender: &Sender) -> Option<&Watermark> {
        self.all.get(sender)
    }

    /// Whether a spool finds a place: it is known, or one that ended before `needed` can go for it.
    pub(super) fn has_room(&self, sender: &Sender, needed: WallTime) -> bool {
        self.all.contains_key(sender)
            || self.count(&sender.agent) < MOST_SPOOLS
            || self.oldest(&sender.agent, needed).is_some()
    }

    /// Takes a mark over. One that moved last before `needed` goes for a new one beyond the bound.
    pub(super) fn put(&mut self, mark: Watermark, needed: WallTime) {
        let sender = mark.sender.clone();
        if self.all.insert(sender.clone(), mark).is_some() {
            return;
        }
        self.forgotten.retain(|forgotten| *forgotten != sender);
        let spools = self.spools.entry(sender.agent.clone()).or_default();
        spools.push(sender.spool);
        if spools.len() <= MOST_SPOOLS {
            return;
        }
        if let Some(oldest) = self.oldest(&sender.agent, needed) {
            self.remove(&oldest);
            self.forgotten.push(oldest);
        }
    }

    /// What was forgotten since the last time, for the store.
    pub(super) fn take_forgotten(&mut self) -> Vec<Sender> {
        std::mem::take(&mut self.forgotten)
    }

    /// The store could not forget them: they are given out again.
    pub(super) fn put_forgotten(&mut self, senders: Vec<Sender>) {
        let again = senders
            .into_iter()
            .filter(|sender| !self.all.contains_key(sender));
        self.forgotten.extend(again);
    }

    fn count(&self, agent: &AgentId) -> usize {
        self.spools.get(agent).map_or(0, Vec::len)
    }

    /// The agent's spool of which nothing came for longest, where that was before `needed`.
    fn oldest(&self, agent: &AgentId, needed: WallTime) -> Option<Sender> {
        let spools = self.spools.get(agent)?.iter();
        let marks = spools.filter_map(|spool| {
            let sender = Sender {
                agent: agent.clone(),
                spool: *spool,
            };
            self.all.get(&sender)
        });
        let oldest = marks.min_by_key(|mark| mark.updated)?;
        (oldest.updated < needed).then(|| oldest.sender.clone())
    }

    fn remove(&mut self, sender: &Sender) {
        self.all.remove(sender);
        if let Some(spools) = self.spools.get_mut(&sender.agent) {
            spools.retain(|spool| *spool != sender.spool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HostName;

    fn mark(agent: &str, spool: u64, second: i64) -> Watermark {
        let sender = Sender {
            agent: AgentId::new(agent),
            spool: SpoolId(spool),
        };
        let now = WallTime::from_nanos(second * 1_000_000_000);
        Watermark::new(sender, HostName::new("h"), now)
    }

    #[test]
    fn the_oldest_spool_of_the_agent_goes_once_nothing_needs_it() {
        let mut marks = Marks::default();
        let never = WallTime::from_nanos(0);
        marks.put(mark("other", 1, 0), never);
        for spool in 0..MOST_SPOOLS as u64 {
            marks.put(
                mark("a", spool, 10 + i64::try_from(spool).expect("small")),
                never,
            );
        }
        let new = mark("a", 1_000, 500);
        let needed = WallTime::from_nanos(10_000_000_000);
        assert!(!marks.has_room(&new.sender, needed), "all are needed");
        assert!(
            marks.has_room(&mark("a", 3, 0).sender, needed),
            "it is known"
        );
        assert!(
            marks.has_room(&mark("b", 1, 0).sender, needed),
            "another agent"
        );
        let needed = WallTime::from_nanos(11_000_000_000);
        assert!(marks.has_room(&new.sender, needed));
        marks.put(new.clone(), needed);
        assert_eq!(marks.len(), MOST_SPOOLS + 1);
        assert_eq!(marks.get(&mark("a", 0, 0).sender), None);
        assert!(marks.get(&new.sender).is_some());
        let gone = marks.take_forgotten();
        assert_eq!(gone, [mark("a", 0, 0).sender]);
        // The store was full, and the spool has come back meanwhile.
        marks.put(mark("a", 0, 600), WallTime::from_nanos(12_000_000_000));
        marks.put_forgotten(gone);
        assert_eq!(marks.take_forgotten(), [mark("a", 1, 0).sender]);
    }
}
