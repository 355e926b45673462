//! Which announcements of a batch are taken, and who has which RNIC then: decided in memory, so that the database is asked and told once
//! per batch and not once per RNIC.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::id::{AgentId, Gid};
use crate::store::registry::{Put, RegistryError};
use crate::topology::Rnic;

/// What a batch leads to.
#[derive(Debug)]
pub(super) struct Decided<'a> {
    /// For each announcement the reason why it is refused.
    pub(super) refused: Vec<Option<RegistryError>>,
    /// Of each agent, the announcement of it that was taken last.
    pub(super) agents: BTreeMap<&'a AgentId, &'a Put>,
    /// RNICs of these agents, with their places in the announcement. Those that a later announcement took are not among them.
    pub(super) rnics: Vec<(&'a AgentId, usize, &'a Rnic)>,
    /// GIDs whose rows go: those of these agents, and those that were taken from others.
    pub(super) vacated: BTreeSet<Gid>,
}

/// Who has a GID.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) gid: Gid,
    pub(super) agent: AgentId,
    /// Whether another agent that supersedes it may take the GID: no other controller hears it.
    pub(super) may_lose: bool,
}

/// Goes through the announcements one after another, from what is stored of their agents and of their GIDs.
pub(super) fn decide(puts: &[Put], stored: Vec<Owned>) -> Decided<'_> {
    let before: BTreeSet<Gid> = stored.iter().map(|owned| owned.gid).collect();
    let heard: HashSet<AgentId> = stored
        .iter()
        .filter(|owned| !owned.may_lose)
        .map(|owned| owned.agent.clone())
        .collect();
    let mut owners: HashMap<Gid, AgentId> = stored
        .into_iter()
        .map(|owned| (owned.gid, owned.agent))
        .collect();
    let mut refused = Vec::with_capacity(puts.len());
    let mut agents = BTreeMap::new();
    let mut vacated = BTreeSet::new();
    for put in puts {
        let taken = first_taken(put, &owners, &heard);
        if taken.is_none() {
            let agent = &put.announcement.agent;
            let former = owners.extract_if(|_, owner| owner == agent);
            vacated.extend(former.map(|(gid, _)| gid));
            for rnic in &put.announcement.rnics {
                vacated.insert(rnic.address.gid);
                owners.insert(rnic.address.gid, agent.clone());
            }
            agents.insert(agent, put);
        }
        refused.push(taken);
    }
    vacated.retain(|gid| before.contains(gid));
    let mut rnics = Vec::new();
    for (&agent, put) in &agents {
        let kept = put.announcement.rnics.iter().enumerate();
        let kept = kept.filter(|(_, rnic)| owners.get(&rnic.address.gid) == Some(agent));
        rnics.extend(kept.map(|(position, rnic)| (agent, position, rnic)));
    }
    Decided {
        refused,
        agents,
        rnics,
        vacated,
    }
}

fn first_taken(
    put: &Put,
    owners: &HashMap<Gid, AgentId>,
    heard: &HashSet<AgentId>,
) -> Option<RegistryError> {
    put.announcement.rnics.iter().find_map(|rnic| {
        let gid = rnic.address.gid;
        let owner = owners.get(&gid)?;
        let may_have = owner == &put.announcement.agent
            || (put.superseded.contains(owner) && !heard.contains(owner));
        (!may_have).then(|| RegistryError::GidTaken {
            gid,
            owner: owner.clone(),
        })
    })
}
