//! What holds whatever agents do: no probe is refused between agents that a controller knows, what an agent has refused once stays
//! refused, and all come to one key. If the controller's store is lost or put back, the last two hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::ring::Ring;
use super::rotation::{Rotation, Spans, Standing, Stored};
use super::{Generation, Held, Master, Phase, Report, Secret};
use crate::id::{AgentId, FlowLabel, Gid, QKey};
use crate::time::{HostTime, Nanos, WallTime};
use crate::wire::{Body, Ends, Packet, ReversePath, Sequence, SessionId};

const SPANS: Spans = Spans {
    settle: Duration::from_mins(1),
    overlap: Duration::from_mins(10),
    interval: Duration::from_hours(1),
};
const AGENTS: usize = 5;

/// Whether a packet of one ring is accepted with another.
fn is_accepted(from: &Ring, by: &Ring) -> bool {
    let gid = |text: &str| text.parse::<Gid>().expect("a GID");
    let ends = Ends {
        source: gid("10.0.0.1"),
        destination: gid("10.0.0.2"),
    };
    let packet = Packet {
        session: SessionId(1),
        sequence: Sequence(2),
        body: Body::Probe {
            reply_label: FlowLabel::new(7).expect("a label"),
            reply_key: QKey(3),
            reverse_path: ReversePath::Unasked,
            reply_class: None,
        },
    };
    let bytes = packet.encode(ends, &from.keyring());
    Packet::decode(bytes.as_slice(), ends, &by.keyring()).is_ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Able,
    /// Of an older version.
    Old,
    /// With keys of its own configuration.
    Own,
}

#[derive(Debug, Clone)]
struct Agent {
    kind: Kind,
    ring: Ring,
    is_connected: bool,
}

/// What happens.
#[derive(Debug, Clone)]
enum Act {
    /// Seconds pass.
    Wait(u16),
    /// An agent reaches the controller.
    Connect(usize),
    /// It does not any more.
    Cut(usize),
    /// It starts again, and has its keys or has lost them.
    Restart(usize, bool),
    /// It runs another version, or has another configuration.
    Becomes(usize, Kind),
    /// The controller forgets an agent that is away.
    Forget(usize),
    Rotate,
    RestartController,
    /// The controller is put back to a copy of its store.
    Restore(usize),
    /// The controller loses its store.
    Lose,
}

/// What happens while the controller keeps its store.
fn any_act() -> impl Strategy<Value = Act> {
    let agent = || 0..AGENTS;
    let kind = prop_oneof![4 => Just(Kind::Able), 1 => Just(Kind::Old), 1 => Just(Kind::Own)];
    prop_oneof![
        8 => prop_oneof![1_u16..5, 30_u16..90, 500_u16..4_000].prop_map(Act::Wait),
        8 => agent().prop_map(Act::Connect),
        2 => agent().prop_map(Act::Cut),
        2 => (agent(), prop::bool::weighted(0.9)).prop_map(|(agent, keeps)| Act::Restart(agent, keeps)),
        1 => (agent(), kind).prop_map(|(agent, kind)| Act::Becomes(agent, kind)),
        1 => agent().prop_map(Act::Forget),
        2 => Just(Act::Rotate),
        1 => Just(Act::RestartController),
    ]
}

/// The same where its store may be lost, or replaced by an older copy.
fn any_act_or_loss() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => any_act(),
        1 => any::<usize>().prop_map(Act::Restore),
        1 => Just(Act::Lose),
    ]
}

/// A controller's store: its keys and the agents that are registered.
type Copy = (Stored, BTreeSet<usize>);

struct World {
    agents: Vec<Agent>,
    rotation: Rotation,
    /// Agents that are registered.
    registered: BTreeSet<usize>,
    copies: Vec<Copy>,
    seconds: i64,
    masters: u8,
}

impl World {
    fn new(kinds: &[Kind]) -> Self {
        let agent = |kind: &Kind| Agent {
            kind: *kind,
            ring: Ring::default(),
            is_connected: false,
        };
        let mut world = Self {
            agents: kinds.iter().map(agent).collect(),
            rotation: Rotation::new(SPANS, std::iter::empty(), HostTime::from_nanos(0)),
            registered: BTreeSet::new(),
            copies: Vec::new(),
            seconds: 1_000_000,
            masters: 0,
        };
        world.lose();
        world
    }

    fn host(&self) -> HostTime {
        HostTime::from_nanos(self.seconds * 1_000_000_000)
    }

    fn wall(&self) -> WallTime {
        WallTime::from_nanos(self.seconds * 1_000_000_000)
    }

    fn enter(&mut self, state: Stored) {
        self.copies.push((state.clone(), self.registered.clone()));
        self.rotation.enter(state, self.host());
        for agent in 0..self.agents.len() {
            self.tell(agent);
        }
    }

    /// The controller starts with this store.
    fn start(&mut self, (state, registered): Copy) {
        let ids = registered.iter().map(|agent| id(*agent));
        self.rotation = Rotation::new(SPANS, ids, self.host());
        self.registered = registered;
        for agent in &mut self.agents {
            agent.is_connected = false;
        }
        self.rotation.enter(state, self.host());
    }

    fn lose(&mut self) {
        self.masters += 1;
        let master = Master::new(&[self.masters; 32]).expect("a secret");
        let state = Stored::first(master, self.wall());
        self.start((state.clone(), BTreeSet::new()));
        self.copies.push((state, BTreeSet::new()));
    }

    /// A connected agent is told what is in force, and confirms.
    fn tell(&mut self, agent: usize) {
        let one = &mut self.agents[agent];
        if !one.is_connected || one.kind != Kind::Able {
            return;
        }
        if let Some(order) = self.rotation.order() {
            one.ring.follow(&order);
        }
        let held = one.ring.held();
        self.rotation.confirm(&id(agent), held);
    }

    fn connect(&mut self, agent: usize) {
        if self.agents[agent].is_connected {
            return;
        }
        let held = self.agents[agent].ring.held();
        let report = match self.agents[agent].kind {
            Kind::Able => Some(Report::Held(held.clone())),
            Kind::Own => Some(Report::Own),
            Kind::Old if !self.rotation.admits_unable() => return,
            Kind::Old => None,
        };
        if let Some(state) = matches!(report, Some(Report::Held(_)))
            .then(|| self.rotation.overtaken_by(&held, self.host(), self.wall()))
            .flatten()
        {
            self.enter(state);
        }
        self.registered.insert(agent);
        self.rotation.join(id(agent), report);
        self.agents[agent].is_connected = true;
        self.tell(agent);
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Wait(seconds) => {
                self.seconds += i64::from(seconds);
                if let Some(state) = self.rotation.due(self.host(), self.wall()) {
                    self.enter(state);
                }
            }
            Act::Connect(agent) => self.connect(agent),
            Act::Cut(agent) => self.agents[agent].is_connected = false,
            Act::Restart(agent, keeps) => {
                self.agents[agent].is_connected = false;
                if !keeps {
                    self.agents[agent].ring = Ring::default();
                } else if self.agents[agent].kind == Kind::Able {
                    let stored = self.agents[agent].ring.parts();
                    self.agents[agent].ring = Ring::restored(stored).expect("a ring");
                }
            }
            Act::Becomes(agent, kind) => {
                self.agents[agent].is_connected = false;
                self.agents[agent].kind = kind;
                self.registered.remove(&agent);
                self.rotation.forget(&id(agent));
            }
            Act::Forget(agent) if !self.agents[agent].is_connected => {
                self.registered.remove(&agent);
                self.rotation.forget(&id(agent));
            }
            Act::Forget(_) => {}
            Act::Rotate => self.rotation.want(),
            Act::RestartController => {
                let state = self.rotation.state().cloned().expect("a state");
                self.start((state, self.registered.clone()));
            }
            Act::Restore(number) => {
                let copy = self.copies[number % self.copies.len()].clone();
                self.start(copy);
            }
            Act::Lose => self.lose(),
        }
    }

    /// No agent takes unsigned packets again that has refused them once.
    fn act_and_check(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let before: Vec<_> = self.agents.iter().map(|agent| agent.ring.held()).collect();
        self.act(act);
        if !matches!(act, Act::Restart(..)) {
            for (before, agent) in before.iter().zip(&self.agents) {
                prop_assert!(before.takes_unsigned || !agent.ring.held().takes_unsigned);
            }
        }
        Ok(())
    }

    /// When all are there and nothing more happens, one key is left, and nobody refuses anybody.
    fn come_to_one_key(&mut self) -> Result<(), TestCaseError> {
        for agent in 0..AGENTS {
            self.act(&Act::Becomes(agent, Kind::Able));
        }
        for _ in 0..12 {
            for agent in 0..AGENTS {
                self.act(&Act::Connect(agent));
            }
            let phase = self.rotation.state().map(|state| state.phase);
            if phase == Some(Phase::Steady) && self.rotation.standing().ready == AGENTS {
                break;
            }
            self.act(&Act::Wait(700));
        }
        let state = self.rotation.state().cloned().expect("a state");
        prop_assert_eq!(state.phase, Phase::Steady);
        let key = state.master.secret(state.generation).fingerprint();
        for agent in &self.agents {
            prop_assert!(agent.is_connected);
            prop_assert_eq!(agent.ring.held().signs, Some(key));
            prop_assert!(!agent.ring.held().takes_unsigned);
        }
        prop_assert_eq!(self.refused(), None);
        Ok(())
    }

    /// The ring of an agent that others probe: registered, and told of keys or of an older version.
    fn probed(&self, agent: usize) -> Option<Ring> {
        let one = &self.agents[agent];
        let is_told = one.kind == Kind::Old || one.ring.held().followed.is_some();
        (self.registered.contains(&agent) && one.kind != Kind::Own && is_told).then(|| {
            match one.kind {
                Kind::Old => Ring::default(),
                Kind::Able | Kind::Own => one.ring.clone(),
            }
        })
    }

    /// What one says is refused by another, if there is something.
    fn refused(&self) -> Option<(usize, usize)> {
        let probed: Vec<_> = (0..AGENTS)
            .filter_map(|agent| Some((agent, self.probed(agent)?)))
            .collect();
        probed
            .iter()
            .flat_map(|from| probed.iter().map(move |by| (from, by)))
            .find(|((_, from), (_, by))| !is_accepted(from, by))
            .map(|((from, _), (by, _))| (*from, *by))
    }
}

fn id(agent: usize) -> AgentId {
    format!("h{agent}").into()
}

fn master(byte: u8) -> Master {
    Master::new(&[byte; 32]).expect("a secret")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn no_probe_is_refused_and_no_refusal_is_taken_back(acts in prop::collection::vec(any_act(), 1..120)) {
        let mut world = World::new(&[Kind::Able; AGENTS]);
        for act in &acts {
            world.act_and_check(act)?;
            prop_assert_eq!(world.refused(), None, "after {:?}", act);
        }
        world.come_to_one_key()?;
    }

    #[test]
    fn whatever_becomes_of_the_store_all_come_to_one_key(
        acts in prop::collection::vec(any_act_or_loss(), 1..120),
    ) {
        let mut world = World::new(&[Kind::Able; AGENTS]);
        for act in &acts {
            world.act_and_check(act)?;
        }
        world.come_to_one_key()?;
    }

    #[test]
    fn what_an_agent_claims_does_not_move_the_controller(
        generation in any::<u64>(),
        byte in any::<u8>(),
        phase in prop::sample::select(Phase::ALL.to_vec()),
    ) {
        let mut world = World::new(&[Kind::Able; AGENTS]);
        for agent in 0..AGENTS {
            world.connect(agent);
        }
        (0..3).for_each(|_| world.act(&Act::Wait(700)));
        let state = world.rotation.state().cloned().expect("a state");
        let lineage = state.master.lineage();
        let lie = Held {
            followed: Some(super::Followed { lineage, generation: Generation(generation), phase }),
            verifies: vec![crate::wire::Fingerprint([byte; 8])],
            signs: None,
            takes_unsigned: true,
        };
        prop_assert_eq!(world.rotation.overtaken_by(&lie, world.host(), world.wall()), None);
    }
}

#[test]
fn a_rotation_in_its_phases() {
    let mut world = World::new(&[Kind::Able, Kind::Able, Kind::Old, Kind::Own, Kind::Able]);
    let mut lines = Vec::new();
    let mut note = |world: &World, what: &str| {
        let state = world.rotation.state().expect("a state");
        let standing = world.rotation.standing();
        let waits: Vec<_> = standing.names.iter().map(AgentId::as_str).collect();
        lines.push(format!(
            "{what}: {} {}, {} ready, waits for [{}]; h0 signs {}, takes unsigned {}",
            state.generation.0,
            state.phase.name(),
            standing.ready,
            waits.join(" "),
            world.agents[0]
                .ring
                .held()
                .signs
                .map_or_else(|| "nothing".to_owned(), |key| key.to_string()),
            world.agents[0].ring.held().takes_unsigned,
        ));
    };
    for agent in [0, 2, 3] {
        world.connect(agent);
    }
    note(
        &world,
        "three are there, one of them old, one with its own keys",
    );
    world.act(&Act::Wait(120));
    note(&world, "two minutes later");
    world.act(&Act::Becomes(2, Kind::Able));
    world.connect(2);
    world.act(&Act::Wait(1));
    note(&world, "the old one is updated");
    world.act(&Act::Wait(60));
    note(&world, "a minute later");
    world.connect(1);
    world.act(&Act::Cut(1));
    world.act(&Act::Rotate);
    world.act(&Act::Wait(60));
    note(&world, "another joins and goes, the next key is wanted");
    world.act(&Act::Wait(600));
    note(&world, "it does not come back");
    world.connect(1);
    world.act(&Act::Wait(60));
    note(&world, "it is back");
    world.act(&Act::Wait(60));
    note(&world, "a minute later");
    world.act(&Act::Wait(600));
    note(&world, "ten minutes later");
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_restored_controller_goes_on_where_it_was() {
    let mut world = World::new(&[Kind::Able; AGENTS]);
    let old = world.copies[0].clone();
    for agent in 0..AGENTS {
        world.connect(agent);
    }
    for _ in 0..9 {
        world.act(&Act::Rotate);
        world.act(&Act::Wait(700));
    }
    let before = world.rotation.state().cloned().expect("a state");
    assert!(before.generation > Generation(2), "{before:?}");
    world.start(old);
    world.connect(0);
    let after = world.rotation.state().cloned().expect("a state");
    assert_eq!(
        (after.generation, after.phase),
        (before.generation, before.phase)
    );
    assert_eq!(world.refused(), None);
}

#[test]
fn nobody_is_not_everybody_and_a_clock_that_was_ahead_rotates_nothing() {
    let mut rotation = Rotation::new(SPANS, std::iter::empty(), HostTime::from_nanos(0));
    let wall = WallTime::from_nanos(0);
    rotation.enter(Stored::first(master(1), wall), HostTime::from_nanos(0));
    let later = HostTime::from_nanos(0) + Nanos(3_600_000_000_000);
    assert_eq!(rotation.due(later, wall), None);
    assert_eq!(rotation.standing(), Standing::default());
    let steady = Stored {
        phase: Phase::Steady,
        begun: wall + Nanos(1_000_000_000_000_000),
        ..Stored::first(master(1), wall)
    };
    rotation.enter(steady, HostTime::from_nanos(0));
    let mut ring = Ring::default();
    ring.follow(&rotation.order().expect("an order"));
    rotation.join(id(0), Some(Report::Held(ring.held())));
    assert_eq!(rotation.due(later, wall), None);
}

#[test]
fn secrets_are_not_shown_and_keys_of_one_secret_differ() {
    let secrets: BTreeMap<_, _> = (1..100)
        .map(|number| {
            let secret = master(7).secret(Generation(number));
            (secret.fingerprint(), secret)
        })
        .collect();
    assert_eq!(secrets.len(), 99);
    assert_ne!(
        master(1).secret(Generation(1)),
        master(2).secret(Generation(1))
    );
    assert_ne!(master(1).lineage(), master(2).lineage());
    let shown = format!("{:?} {:?}", master(7), Secret::new(&[7; 32]));
    assert!(
        !shown.contains("07070707") && !shown.contains("7, 7"),
        "{shown}"
    );
    assert_eq!(Secret::new(&[7; 31]), None);
}

#[test]
fn a_damaged_ring_is_none() {
    let mut ring = Ring::default();
    let state = Stored::first(master(1), WallTime::from_nanos(0));
    let mut rotation = Rotation::new(SPANS, std::iter::empty(), HostTime::from_nanos(0));
    rotation.enter(state, HostTime::from_nanos(0));
    ring.follow(&rotation.order().expect("an order"));
    let sound = ring.parts();
    assert_eq!(Ring::restored(sound.clone()), Some(ring));
    let mut unknown = sound.clone();
    unknown.signs = Some(crate::wire::Fingerprint([0; 8]));
    assert_eq!(Ring::restored(unknown), None);
    let mut deaf = sound;
    (deaf.takes_unsigned, deaf.signs) = (false, None);
    assert_eq!(Ring::restored(deaf), None);
}
