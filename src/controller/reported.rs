//! What was logged of refused agents: an agent tries again and again, its log line comes once.

use std::collections::HashMap;
use std::time::Duration;

use crate::id::AgentId;
use crate::time::HostTime;

/// After this long the same refusal is logged again.
const AGAIN: Duration = Duration::from_mins(10);
/// Agents remembered; on overflow the table is cleared.
const MOST: usize = 4096;
/// Lines of one window at most, whoever they are about.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Refusals that were logged lately.
#[derive(Debug)]
pub(super) struct Reported {
    agents: HashMap<AgentId, (String, HostTime)>,
    lines: crate::net::limit::LogLimit,
}

impl Default for Reported {
    fn default() -> Self {
        Self {
            agents: HashMap::new(),
            lines: crate::net::limit::LogLimit::new(LINES, WINDOW),
        }
    }
}

impl Reported {
    /// Whether a refusal is to be logged; then with the number of lines that were left out since the last one.
    pub(super) fn admit(&mut self, agent: &AgentId, why: &str, now: HostTime) -> Option<u64> {
        let known = self.agents.get(agent);
        if known.is_some_and(|(told, at)| told == why && now.since(*at) < AGAIN) {
            return None;
        }
        if self.agents.len() >= MOST && known.is_none() {
            self.agents.clear();
        }
        let suppressed = self.lines.admit(now)?;
        self.agents.insert(agent.clone(), (why.to_owned(), now));
        Some(suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_logged_once_in_a_while() {
        let mut reported = Reported::default();
        let at = |secs: i64| HostTime::from_nanos(secs * 1_000_000_000);
        let (a, b) = (AgentId::new("a"), AgentId::new("b"));
        assert_eq!(reported.admit(&a, "twin", at(0)), Some(0));
        assert_eq!(reported.admit(&a, "twin", at(10)), None);
        assert_eq!(reported.admit(&b, "twin", at(10)), Some(0));
        assert_eq!(reported.admit(&a, "address", at(11)), Some(0));
        assert_eq!(reported.admit(&a, "address", at(700)), Some(0));
    }

    #[test]
    fn many_agents_do_not_fill_the_log() {
        let mut reported = Reported::default();
        let lines = (0..10_000)
            .filter(|number| {
                let agent = AgentId::new(format!("a{number}"));
                reported
                    .admit(&agent, "twin", HostTime::from_nanos(0))
                    .is_some()
            })
            .count();
        assert_eq!(lines, LINES as usize);
        let later = HostTime::from_nanos(20_000_000_000);
        let suppressed = reported.admit(&AgentId::new("z"), "twin", later);
        assert_eq!(suppressed, Some(10_000 - u64::from(LINES)));
    }
}
