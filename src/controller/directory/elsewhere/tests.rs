//! Controllers that share a registry end with the same topology, and with the same agents live, whatever happens in which order.
//!
//! The registry is a model of what the database does in each transaction. Three controllers see it late, at random.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::config::controller::Lifetimes;
use crate::controller::directory::StreamId;
use crate::id::{Gid, QKey, Qpn, TorId};
use crate::time::Nanos;
use crate::topology::{Announcement, Rnic, Topology};
use crate::transport::{Address, CompletionClock, SourcePortSteering};

const LIFETIMES: Lifetimes = Lifetimes {
    lease: Duration::from_secs(30),
    retention: Duration::from_mins(5),
};
const SEEDS: u64 = 2_000;
const STEPS: usize = 120;
const CONTROLLERS: usize = 3;
const NOBODY: usize = usize::MAX;

#[derive(Debug, Clone)]
struct Row {
    announcement: Announcement,
    controller: usize,
    silent: bool,
    revision: u64,
}

#[derive(Debug, Default)]
struct Registry {
    rows: BTreeMap<AgentId, Row>,
    revision: u64,
}

impl Registry {
    fn owner(&self, gid: Gid) -> Option<&AgentId> {
        let has = |row: &Row| {
            row.announcement
                .rnics
                .iter()
                .any(|rnic| rnic.address.gid == gid)
        };
        self.rows
            .iter()
            .find(|(_, row)| has(row))
            .map(|(agent, _)| agent)
    }

    fn put(&mut self, by: usize, new: &Announcement, superseded: &[AgentId]) -> bool {
        let gids = new.rnics.iter().map(|rnic| rnic.address.gid);
        let owners: BTreeSet<_> = gids.filter_map(|gid| self.owner(gid)).cloned().collect();
        let losers: Vec<_> = owners
            .into_iter()
            .filter(|owner| *owner != new.agent)
            .collect();
        let may_lose = |row: &Row| row.silent || row.controller == by;
        if !losers
            .iter()
            .all(|loser| superseded.contains(loser) && may_lose(&self.rows[loser]))
        {
            return false;
        }
        self.revision += 1;
        for loser in losers {
            let row = self.rows.get_mut(&loser).expect("it has a GID");
            let is_taken = |rnic: &Rnic| {
                new.rnics
                    .iter()
                    .any(|taken| taken.address.gid == rnic.address.gid)
            };
            row.announcement.rnics.retain(|rnic| !is_taken(rnic));
            (row.controller, row.silent, row.revision) = (NOBODY, true, self.revision);
        }
        let row = Row {
            announcement: new.clone(),
            controller: by,
            silent: false,
            revision: self.revision,
        };
        self.rows.insert(new.agent.clone(), row);
        true
    }

    fn tell(&mut self, by: usize, agent: &AgentId, is_heard: bool) {
        self.revision += 1;
        if let Some(row) = self.rows.get_mut(agent).filter(|row| row.controller == by) {
            (row.silent, row.revision) = (!is_heard, self.revision);
        }
    }

    fn leave(&mut self, by: usize, agent: &AgentId) {
        self.revision += 1;
        if let Some(row) = self.rows.get_mut(agent).filter(|row| row.controller == by) {
            (row.controller, row.silent, row.revision) = (NOBODY, true, self.revision);
        }
    }

    fn remove(&mut self, by: usize, agents: &[AgentId]) {
        self.revision += 1;
        let stays = |row: &Row| !row.silent && row.controller != by;
        self.rows
            .retain(|agent, row| stays(row) || !agents.contains(agent));
    }

    fn topology(&self) -> Topology {
        let mut topology = Topology::default();
        for row in self.rows.values() {
            topology.insert(&row.announcement);
        }
        topology
    }
}

struct Controller {
    number: usize,
    directory: Directory,
    known: u64,
    streams: HashMap<AgentId, StreamId>,
    /// Forgotten here, and perhaps not in the registry.
    left: BTreeSet<AgentId>,
}

impl Controller {
    fn announce(
        &mut self,
        registry: &mut Registry,
        new: Announcement,
        stream: StreamId,
        now: HostTime,
    ) {
        let origin = Origin::default();
        let Ok(superseded) = self.directory.check(&new, &origin, now) else {
            return;
        };
        if self.directory.is_known(&new) || registry.put(self.number, &new, &superseded) {
            self.streams.insert(new.agent.clone(), stream);
            self.directory
                .accept(new, &superseded, (stream, origin), now);
        }
    }

    fn tell(&mut self, registry: &mut Registry) {
        for agent in self.directory.take_untold() {
            let (is_heard, _) = self.directory.own(&agent).expect("it is ours");
            registry.tell(self.number, &agent, is_heard);
        }
        for agent in std::mem::take(&mut self.left) {
            if self.directory.announcement(&agent).is_none() {
                registry.leave(self.number, &agent);
            }
        }
    }

    /// The first one holds the lease, or loses it before the registry has taken the departures.
    fn expire(&mut self, registry: &mut Registry, has_lost: bool, now: HostTime) {
        let forgotten = self.directory.expire(now).forgotten;
        if self.number > 0 || forgotten.is_empty() {
            return;
        }
        self.directory.forget(&forgotten);
        if has_lost {
            self.left.extend(forgotten);
            self.known = 0;
        } else {
            registry.remove(self.number, &forgotten);
        }
    }

    fn liveness(&self) -> BTreeMap<AgentId, bool> {
        let agents = self.directory.agents.iter();
        agents
            .map(|(agent, entry)| (agent.clone(), entry.live))
            .collect()
    }

    fn look(&mut self, registry: &Registry, now: HostTime) {
        let newer = |row: &&Row| row.revision > self.known && row.controller != self.number;
        let changed: Vec<_> = registry.rows.values().filter(newer).cloned().collect();
        for row in changed {
            self.streams.remove(&row.announcement.agent);
            let shared = SharedAgent {
                is_heard: !row.silent,
                announcement: row.announcement,
                machine: String::new(),
                keys: None,
            };
            self.directory.adopt(shared, now);
        }
        let all: Vec<_> = self.directory.agents().cloned().collect();
        let gone: Vec<_> = all
            .into_iter()
            .filter(|agent| !registry.rows.contains_key(agent))
            .collect();
        self.directory.forget(&gone);
        self.known = registry.revision;
    }
}

fn announcement(rng: &mut ChaCha8Rng) -> Announcement {
    let agent = format!("a{}", rng.random_range(0..5));
    let rnics = (1..=6_u8)
        .filter(|_| rng.random_bool(0.3))
        .collect::<Vec<_>>();
    let rnics = rnics.into_iter().map(|number| Rnic {
        address: Address {
            gid: std::net::Ipv4Addr::new(10, 0, 0, number).into(),
            qpn: Qpn::from_lower_bits(rng.random_range(2..4)),
            q_key: QKey(1),
        },
        device: format!("mlx5_{number}").into(),
        port: 1,
        tor: TorId::from(format!("t{}", rng.random_range(0..2))),
        gid_index: 1,
        clock: CompletionClock::Software,
        steering: SourcePortSteering::FlowLabel,
    });
    Announcement {
        rnics: rnics.collect(),
        incarnation: 1,
        host: agent.as_str().into(),
        agent: agent.into(),
        version: String::new(),
    }
}

/// Gives how often a GID changed its agent, and how many agents were forgotten.
fn run(seed: u64) -> (usize, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut now = HostTime::from_nanos(0);
    let mut registry = Registry::default();
    let mut controllers: Vec<_> = (0..CONTROLLERS)
        .map(|number| Controller {
            number,
            directory: Directory::new(Vec::new(), true, LIFETIMES, now),
            known: 0,
            streams: HashMap::new(),
            left: BTreeSet::new(),
        })
        .collect();
    let (mut losses, mut forgotten) = (0, 0);
    for step in 0..STEPS {
        let before: Vec<_> = registry.rows.keys().cloned().collect();
        let controller = &mut controllers[rng.random_range(0..CONTROLLERS)];
        match rng.random_range(0..10) {
            0..=2 => {
                let new = announcement(&mut rng);
                let stream = StreamId(step as u64);
                controller.announce(&mut registry, new, stream, now);
                losses += registry
                    .rows
                    .values()
                    .filter(|row| row.controller == NOBODY)
                    .count();
            }
            3..=5 => controller.look(&registry, now),
            6 => controller.tell(&mut registry),
            7 => {
                for (agent, stream) in controller.streams.clone() {
                    controller.directory.renew_lease(&agent, stream, now);
                }
            }
            8 => controller.expire(&mut registry, rng.random_bool(0.3), now),
            _ => now = now + Nanos::from(Duration::from_secs(rng.random_range(1..180))),
        }
        forgotten += before
            .iter()
            .filter(|agent| !registry.rows.contains_key(*agent))
            .count();
    }
    for controller in &mut controllers {
        controller.look(&registry, now);
        controller.tell(&mut registry);
    }
    let rows = registry.rows.iter();
    let heard: BTreeMap<_, _> = rows
        .map(|(agent, row)| (agent.clone(), !row.silent))
        .collect();
    for controller in &mut controllers {
        controller.look(&registry, now);
        assert_eq!(
            controller.liveness(),
            heard,
            "seed {seed}, controller {}",
            controller.number
        );
        let (found, expected) = (controller.directory.topology(), registry.topology());
        assert_eq!(
            *found, expected,
            "seed {seed}, controller {}",
            controller.number
        );
    }
    (losses, forgotten)
}

#[test]
fn all_controllers_end_with_what_the_registry_has() {
    let (mut losses, mut forgotten) = (0, 0);
    for seed in 0..SEEDS {
        let (lost, gone) = run(seed);
        losses += lost;
        forgotten += gone;
    }
    assert!(
        losses > 100 && forgotten > 100,
        "nothing happens: {losses} {forgotten}"
    );
}
