//! Whose lists differ between two plans.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::AgentId;
use crate::time::WallTime;
use crate::topology::Topology;

use super::Policy;
use super::plan::PinglistPlan;
use super::site::Site;

/// Whose lists a newer plan changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Those of all agents, as far as the plans tell.
    All,
    /// Those of these agents.
    Agents(BTreeSet<AgentId>),
}

impl PinglistPlan {
    /// As [`PinglistPlan::new`], after an older plan: what the RNICs of a ToR probe is shared with it where that is the same.
    pub fn succeeding(
        older: Option<&Self>,
        topology: &Topology,
        policy: &Arc<Policy>,
        now: WallTime,
    ) -> Self {
        let plan = Self::new(topology, policy.clone(), now);
        if let Some(older) = older
            && plan.partners.is_some()
            && older.partners.is_some()
            && plan.policy == older.policy
        {
            plan.share(older);
        }
        plan
    }

    fn share(&self, older: &Self) {
        for (site, own) in self.tors.iter().enumerate() {
            let Some(&before) = older.index.get(&own.name) else {
                continue;
            };
            if let Some(sparse) = older.tors[before].sparse.get()
                && self.probes_the_same(site, older, before)
            {
                own.sparse.get_or_init(|| Arc::clone(sparse));
            }
        }
    }

    /// Whose lists this plan changes, compared with an older one. Between sparse matrices of one rotation these are the
    /// agents of the changed ToRs and of those that probe them; in a complete matrix everybody probes everybody.
    pub fn changed_since(&self, older: &Self) -> Changed {
        let is_comparable = self.partners.is_some()
            && older.partners.is_some()
            && self.period == older.period
            && self.policy == older.policy;
        if !is_comparable {
            return Changed::All;
        }
        let mut agents = BTreeSet::new();
        for site in 0..self.tors.len() {
            let before = older.index.get(&self.tors[site].name).copied();
            if before.is_some_and(|before| self.probes_the_same(site, older, before)) {
                continue;
            }
            for member in &self.tors[site].tor.members {
                let is_same = before.is_some_and(|before| {
                    let gid = member.gid();
                    older.tors[before].tor.position(gid).is_some()
                        && self.groups(site, gid) == older.groups(before, gid)
                });
                if !is_same {
                    agents.insert(member.agent.clone());
                }
            }
        }
        Changed::Agents(agents)
    }

    /// Whether a ToR and its partners are the very same in both plans.
    fn probes_the_same(&self, site: usize, older: &Self, before: usize) -> bool {
        let same = |a: &Site, b: &Site| Arc::ptr_eq(&a.tor, &b.tor) && a.name == b.name;
        let (new, old) = (&self.tors[site], &older.tors[before]);
        same(new, old)
            && new.slot_rate.to_bits() == old.slot_rate.to_bits()
            && self.others(site).count() == older.others(before).count()
            && self
                .others(site)
                .zip(older.others(before))
                .all(|(a, b)| same(&self.tors[a], &older.tors[b]))
    }
}
