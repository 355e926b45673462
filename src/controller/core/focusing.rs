//! What an analyzer wants to be probed more, on its way to the agents.

use tokio::time::Instant;

use super::Core;
use crate::controller::focus::{Stale, divide};
use crate::controller::metrics::Metrics;
use crate::pinglist::focus::{FocusCounts, FocusRequest};

impl Core {
    /// Tells the agents what to probe more.
    pub(super) fn focus(
        &mut self,
        request: FocusRequest,
        until: Instant,
    ) -> Result<FocusCounts, Stale> {
        self.focus.admit(request.run, request.number)?;
        let plan = self.plan();
        let (directory, listening) = (&self.directory, &self.listening);
        let (lists, counts) = divide(request, self.focus_budgets, |gid| {
            let (agent, tor) = directory.owner(gid)?;
            let rate = plan.tuple_rate(tor)?;
            // The budgets are those of all controllers together: each divides the same, and tells the agents that it serves.
            let is_served = listening.contains_key(agent) || directory.is_served_elsewhere(agent);
            is_served.then(|| (agent.clone(), rate))
        });
        for (agent, share) in self.focus.shares(lists, until) {
            if let Some(listening) = self.listening.get(&agent) {
                listening.focus.send_replace(Some(share));
            }
        }
        let Metrics {
            focus_tuples_passed_on,
            focus_tuples_unknown,
            focus_tuples_beyond,
            focus_requests,
            ..
        } = &self.metrics;
        focus_requests.inc();
        focus_tuples_passed_on.inc_by(counts.passed_on.into());
        focus_tuples_unknown.inc_by(counts.unknown.into());
        focus_tuples_beyond.inc_by(counts.beyond.into());
        Ok(counts)
    }
}
