//! The truth table: every kind of fault, alone and in company, in virtual time; what the analysis makes of each.
//!
//! A [`Row`] is a kind of fault at a kind of place, a [`Company`] what goes on beside it. [`run`] draws the places from a seed,
//! runs the scenario in virtual time, and compares the incidents with what was injected. A run is wholly right when every injected
//! fault has exactly one incident, with the right subject and category at its end, and nothing else is blamed.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::virtual_time::{
    Event, VirtualTimeError, run_in_virtual_time, run_in_virtual_time_over_shards,
};
use crate::analysis::incident::{Change, Incident};
use crate::analysis::judge::Category;
use crate::config::HumanDuration;
use crate::fabric::scenario::{Probing, ServiceConnection};
use crate::fabric::{Scenario, Shape};
use crate::id::{FlowLabel, ServiceName};

/// A fabric on which rows are run, and how it is probed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ground {
    /// Its name in tables.
    pub name: &'static str,
    /// The fabric.
    pub shape: Shape,
    /// How each RNIC probes.
    pub probing: Probing,
}

/// What the controller's defaults come to on [`CLOS`]: 105 5-tuples per ToR, each probed once in about two seconds.
pub const PROBING: Probing = Probing {
    tor_mesh: 10.0,
    inter_tor: 10.0,
    targets: 18,
    across_planes: false,
};
/// Six ToRs, each with three hosts of two RNICs.
pub const CLOS: Ground = Ground {
    name: "Clos",
    shape: Shape {
        spines: 4,
        tors: 6,
        hosts: 3,
        rnics: 2,
        ..Shape::DEFAULT
    },
    probing: PROBING,
};
/// Four rails of three leaves each, twelve hosts of four RNICs.
pub const RAILS: Ground = Ground {
    name: "4 rails",
    shape: Shape {
        spines: 4,
        tors: 3,
        hosts: 4,
        rnics: 4,
        rails: 4,
        ..Shape::DEFAULT
    },
    probing: PROBING,
};
/// Two planes of six leaves and two spines each, 18 hosts of two RNICs.
pub const PLANES: Ground = Ground {
    name: "2 planes",
    shape: Shape {
        spines: 4,
        tors: 6,
        hosts: 3,
        rnics: 2,
        planes: 2,
        ..Shape::DEFAULT
    },
    probing: PROBING,
};
/// Three pairs of leaves, each with three hosts of two bonds.
pub const BONDS: Ground = Ground {
    name: "bonds",
    shape: Shape {
        spines: 4,
        tors: 3,
        hosts: 3,
        rnics: 2,
        bonds: true,
        ..Shape::DEFAULT
    },
    probing: PROBING,
};
/// When the fault begins: by then everything is known that is usual.
pub const BEGIN: Duration = Duration::from_secs(20);
/// How long a run goes on after that.
pub const WAIT: Duration = Duration::from_secs(40);

/// What goes on beside the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Company {
    /// Nothing.
    Alone,
    /// Three connections of two services, probed a hundred times a second each.
    Services,
    /// A second fault, drawn from all rows, elsewhere.
    Second,
    /// One of 18 hosts stalls for 300 ms in every second.
    Stalls,
}

impl Company {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Alone, Self::Services, Self::Second, Self::Stalls];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Services => "beside services",
            Self::Second => "beside a second fault",
            Self::Stalls => "beside a stalling host",
        }
    }
}

/// Places for one fault, no two of them on one cable or switch.
struct Places {
    fabric: Shape,
    /// An uplink's ToR and spine.
    tor: u32,
    spine: u32,
    host: u32,
    device: u32,
}

/// What has to be said of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Subjects that are right, as text.
    pub subjects: Vec<String>,
    /// Categories that are right.
    pub categories: &'static [Category],
}

/// A kind of fault at a kind of place.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Whether it must be named within seconds.
    pub hard: bool,
    /// Where it is run.
    pub ground: &'static Ground,
    draw: fn(&Places) -> (String, Expected),
}

fn expect(subjects: &[String], categories: &'static [Category]) -> Expected {
    Expected {
        subjects: subjects.to_vec(),
        categories,
    }
}

impl Places {
    fn draw(fabric: Shape, random: &mut ChaCha8Rng) -> Self {
        let mut pick = |count: u32| random.random_range(0..count);
        let places = Self {
            fabric,
            tor: pick(fabric.leaves()),
            spine: pick(fabric.spines),
            host: pick(fabric.tors * fabric.hosts),
            device: pick(fabric.rnics),
        };
        places.on_one_plane()
    }

    /// With a spine that is cabled to the ToR.
    fn on_one_plane(self) -> Self {
        let ports = self.fabric.leaf_ports();
        Self {
            spine: self.fabric.plane_of_leaf(self.tor) * ports + self.spine % ports,
            ..self
        }
    }

    fn tor(&self) -> String {
        self.fabric.leaf_name(self.tor)
    }

    /// The ToR of the RNIC.
    fn rnic_tor(&self) -> String {
        let group = self.host / self.fabric.hosts;
        let leaf = self.fabric.leaf_of(group, self.device);
        self.fabric.leaf_name(leaf)
    }

    fn up(&self) -> String {
        format!("{}->spine{}", self.tor(), self.spine)
    }

    fn down(&self) -> String {
        format!("spine{}->{}", self.spine, self.tor())
    }

    fn up_link(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let up = self.up();
        (
            format!("link {up} {effect}"),
            expect(&[format!("link {up}")], categories),
        )
    }

    fn down_link(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let down = self.down();
        (
            format!("link {down} {effect}"),
            expect(&[format!("link {down}")], categories),
        )
    }

    fn cable(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let (up, down) = (self.up(), self.down());
        (
            format!("link {}-spine{} {effect}", self.tor(), self.spine),
            expect(&[format!("link {up}"), format!("link {down}")], categories),
        )
    }

    fn spine_switch(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let name = format!("switch spine{}", self.spine);
        (format!("{name} {effect}"), expect(&[name], categories))
    }

    fn tor_switch(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let name = format!("switch {}", self.tor());
        (format!("{name} {effect}"), expect(&[name], categories))
    }

    fn rnic(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let (host, device) = (self.host, self.device);
        (
            format!("rnic host{host}/{device} {effect}"),
            expect(&[format!("RNIC host{host}/rnic{device}")], categories),
        )
    }

    /// The cable between an RNIC and its ToR, one way.
    fn rnic_link(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let (host, device, tor) = (self.host, self.device, self.rnic_tor());
        (
            format!("link {tor}->host{host}/{device} {effect}"),
            expect(&[format!("RNIC host{host}/rnic{device}")], categories),
        )
    }

    /// The same cable, the other way.
    fn rnic_uplink(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let (host, device, tor) = (self.host, self.device, self.rnic_tor());
        (
            format!("link host{host}/{device}->{tor} {effect}"),
            expect(&[format!("RNIC host{host}/rnic{device}")], categories),
        )
    }

    /// All RNICs of a host, whose agent goes on.
    fn rnics(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let host = self.host;
        (
            format!("rnic host{host}/* {effect}"),
            expect(&[format!("host host{host}")], categories),
        )
    }

    fn host(&self, effect: &str, categories: &'static [Category]) -> (String, Expected) {
        let name = format!("host host{}", self.host);
        (format!("{name} {effect}"), expect(&[name], categories))
    }
}

macro_rules! rows {
    ($(#[$doc:meta])* $rows:ident on $ground:ident:
     $($name:literal $hard:literal $place:ident($effect:literal) $($category:ident)+;)*) => {
        $(#[$doc])*
        pub const $rows: &[Row] = &[$(Row {
            name: $name,
            hard: $hard,
            ground: &$ground,
            draw: |at| at.$place($effect, &[$(Category::$category),+]),
        }),*];
    };
}

rows! {
    /// All rows on [`CLOS`].
    ROWS on CLOS:
    "link down" true up_link("down") LinkDown;
    "cable down" true cable("down") LinkDown;
    "link loses 50 %" true down_link("loss=50%") LinkLoss;
    "cable loses 10 %" false cable("loss=10%") LinkLoss;
    "link loses 5 %" false up_link("loss=5%") LinkLoss;
    "link loses 2 %" false down_link("loss=2%") LinkLoss;
    "link corrupts 5 %" false up_link("corrupt=5%") LinkLoss;
    "link swallows 30 % of the 5-tuples" true up_link("blackhole=30%") Blackhole;
    "link delays 50 us" false up_link("delay=50us") Congestion;
    "link pauses 40 of 50 ms" false down_link("pause=40ms every=50ms") PauseStorm;
    "spine down" true spine_switch("down") SwitchDown;
    "spine loses 20 %" true spine_switch("loss=20%") SwitchLoss;
    "spine loses 3 %" false spine_switch("loss=3%") SwitchLoss;
    "spine swallows 25 % of the 5-tuples" true spine_switch("blackhole=25%") Blackhole;
    "spine swallows 10 % of the 5-tuples" false spine_switch("blackhole=10%") Blackhole;
    "ToR loses 5 %" false tor_switch("loss=5%") SwitchLoss;
    "ToR swallows 20 % of the 5-tuples" true tor_switch("blackhole=20%") Blackhole;
    "RNIC down" true rnic("down") RnicDown;
    "RNIC loses 10 %" false rnic("loss=10%") RnicLoss;
    "RNIC loses 3 %" false rnic("loss=3%") RnicLoss;
    "RNIC's cable down one way" true rnic_link("down") RnicDown;
    "RNIC's cable loses 10 % one way" false rnic_link("loss=10%") RnicLoss;
    "RNIC delays 100 us" false rnic("delay=100us") RnicSlow;
    "host down" true host("down") HostDown;
    "link down, from the spine" true down_link("down") LinkDown;
    "link loses 30 %" true up_link("loss=30%") LinkLoss;
    "link loses 70 %" true down_link("loss=70%") LinkLoss;
    "link loses 85 %" true up_link("loss=85%") LinkLoss;
    "link loses 1 %" false up_link("loss=1%") LinkLoss;
    "link swallows 50 % of the 5-tuples" true down_link("blackhole=50%") Blackhole;
    "link flaps, 1 of 5 s" false up_link("flap=1s every=5s") LinkLoss Flapping;
    "link delays 200 us" false down_link("delay=200us") Congestion;
    "cable loses 50 %" true cable("loss=50%") LinkLoss;
    "cable swallows 30 % of the 5-tuples" true cable("blackhole=30%") Blackhole;
    "spine loses 10 %" false spine_switch("loss=10%") SwitchLoss;
    "spine swallows 50 % of the 5-tuples" true spine_switch("blackhole=50%") Blackhole;
    "spine corrupts 5 %" false spine_switch("corrupt=5%") SwitchLoss;
    "ToR down" true tor_switch("down") SwitchDown;
    "ToR loses 20 %" true tor_switch("loss=20%") SwitchLoss;
    "ToR swallows 10 % of the 5-tuples" false tor_switch("blackhole=10%") Blackhole;
    "RNIC loses 30 %" true rnic("loss=30%") RnicLoss;
    "RNIC corrupts 5 %" false rnic("corrupt=5%") RnicLoss;
    "RNIC flaps, 1 of 5 s" false rnic("flap=1s every=5s") RnicLoss Flapping;
    "RNIC's cable down the other way" true rnic_uplink("down") RnicDown;
    "RNIC's cable loses 3 % one way" false rnic_link("loss=3%") RnicLoss;
}

rows! {
    /// Rows on [`RAILS`].
    RAIL_ROWS on RAILS:
    "RNIC down" true rnic("down") RnicDown;
    "RNIC loses 10 %" false rnic("loss=10%") RnicLoss;
    "leaf down" true tor_switch("down") SwitchDown;
    "leaf loses 20 %" true tor_switch("loss=20%") SwitchLoss;
    "link down" true up_link("down") LinkDown;
    "link loses 30 %" true up_link("loss=30%") LinkLoss;
    "link loses 5 %" false up_link("loss=5%") LinkLoss;
    "spine down" true spine_switch("down") SwitchDown;
    "all RNICs of a host down" true rnics("down") RnicDown;
    "all RNICs of a host lose 10 %" false rnics("loss=10%") RnicLoss;
    "host down" true host("down") HostDown;
}

rows! {
    /// Rows on [`PLANES`].
    PLANE_ROWS on PLANES:
    "RNIC down" true rnic("down") RnicDown;
    "leaf down" true tor_switch("down") SwitchDown;
    "link down" true up_link("down") LinkDown;
    "link loses 30 %" true up_link("loss=30%") LinkLoss;
    "link loses 5 %" false up_link("loss=5%") LinkLoss;
    "spine down" true spine_switch("down") SwitchDown;
    "spine loses 20 %" true spine_switch("loss=20%") SwitchLoss;
    "all RNICs of a host down" true rnics("down") RnicDown;
    "host down" true host("down") HostDown;
}

rows! {
    /// Rows on [`BONDS`].
    BOND_ROWS on BONDS:
    "RNIC down" true rnic("down") RnicDown;
    "leaf down" true tor_switch("down") SwitchDown;
    "link down" true up_link("down") LinkDown;
    "link loses 30 %" true up_link("loss=30%") LinkLoss;
    "spine down" true spine_switch("down") SwitchDown;
    "host down" true host("down") HostDown;
}

/// An incident that was opened in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// When, since the start.
    pub at: Duration,
    /// As it was at the end.
    pub incident: Incident,
    /// The injected fault with this subject, by its place in [`Run::faults`].
    pub fault: Option<usize>,
    /// Whether subject and category are right, and no earlier incident has the same fault.
    pub right: bool,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The injected faults as text.
    pub faults: Vec<String>,
    /// The incidents, in the order in which they were opened; those about the host that stalls are left out.
    pub named: Vec<Named>,
    /// Where several analyzers share the fleet: how often one was killed, and batches that came again and were not counted.
    pub killed: (u64, u64),
}

impl Run {
    /// Whether every fault has its one incident and nothing else is named.
    pub fn is_wholly_right(&self) -> bool {
        self.named.iter().all(|named| named.right) && self.named.len() == self.faults.len()
    }

    /// The incidents without the paths that show them and in what order others were ruled out. Numbers that depend on the order of sums
    /// have six decimals.
    pub fn findings(&self) -> Vec<Named> {
        let rounded = |number: &mut f64| *number = (*number * 1e6).round() / 1e6;
        let mut named = self.named.clone();
        for Named { incident, .. } in &mut named {
            incident.evidence.clear();
            rounded(&mut incident.confidence);
            rounded(&mut incident.share);
            incident.interval.iter_mut().flatten().for_each(rounded);
        }
        named
    }

    /// The first incident about a fault, whatever its category, after the fault began.
    pub fn delay(&self, fault: usize) -> Option<Duration> {
        let first = self.named.iter().find(|named| named.fault == Some(fault))?;
        first.at.checked_sub(BEGIN)
    }

    /// Incidents that are not the right one of a fault.
    pub fn wrong(&self) -> impl Iterator<Item = &Named> {
        self.named.iter().filter(|named| !named.right)
    }
}

/// Runs a row in company, with places drawn from the seed.
///
/// # Errors
/// [`VirtualTimeError`].
pub fn run(
    row: &Row,
    company: Company,
    probing: Probing,
    seed: u64,
) -> Result<Run, VirtualTimeError> {
    run_over(row, company, probing, seed, None)
}

/// The same where so many analyzers share the fleet and are killed now and then. It should name the same at the same time.
///
/// # Errors
/// As [`run`].
pub fn run_over_shards(
    row: &Row,
    company: Company,
    probing: Probing,
    seed: u64,
    analyzers: usize,
) -> Result<Run, VirtualTimeError> {
    run_over(row, company, probing, seed, Some(analyzers))
}

fn run_over(
    row: &Row,
    company: Company,
    probing: Probing,
    seed: u64,
    analyzers: Option<usize>,
) -> Result<Run, VirtualTimeError> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let shape = row.ground.shape;
    let places = Places::draw(shape, &mut random);
    let mut drawn = vec![(row.draw)(&places)];
    if company == Company::Second {
        drawn.push(second(&places, &mut random));
    }
    let faults: Vec<String> = drawn
        .iter()
        .map(|(fault, _)| format!("{fault} at={}s", BEGIN.as_secs()))
        .collect();
    let stalled = (company == Company::Stalls).then(|| other_host(&places, &mut random));
    let stall = stalled
        .as_ref()
        .map(|host| format!("host {host} stall=300ms every=1s"));
    let scenario = Scenario {
        title: row.name.to_owned(),
        seed,
        duration: HumanDuration(BEGIN + WAIT),
        faults: faults
            .iter()
            .chain(&stall)
            .map(|text| {
                text.parse()
                    .unwrap_or_else(|error| unreachable!("{text}: {error}"))
            })
            .collect(),
        outages: Vec::new(),
        services: if company == Company::Services {
            services(shape, &mut random)
        } else {
            Vec::new()
        },
        fabric: shape,
        probing,
    };
    let outcome = match analyzers {
        None => run_in_virtual_time(&scenario, true)?,
        Some(analyzers) => run_in_virtual_time_over_shards(&scenario, true, (analyzers, seed))?,
    };
    let mut named = incidents(outcome.events, stalled.as_deref());
    mark(&mut named, &drawn);
    Ok(Run {
        faults,
        named,
        killed: outcome.killed,
    })
}

/// A host that the faults of a row do not hit.
fn other_host(places: &Places, random: &mut ChaCha8Rng) -> String {
    let hosts = places.fabric.hosts * places.fabric.tors;
    let host = (places.host + 1 + random.random_range(0..hosts - 1)) % hosts;
    format!("host{host}")
}

/// The newest state of each incident, without those about the host that is stalled.
fn incidents(events: Vec<Event>, stalled: Option<&str>) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    for event in events {
        let incident = event.change.incident().clone();
        if stalled.is_some_and(|host| is_of_stall(&incident, host)) {
            continue;
        }
        if matches!(event.change, Change::Opened(_)) {
            named.push(Named {
                at: event.at,
                incident,
                fault: None,
                right: false,
            });
        } else if let Some(known) = named
            .iter_mut()
            .find(|known| known.incident.id == incident.id)
        {
            known.incident = incident;
        }
    }
    named
}

/// Says which incidents are right.
fn mark(named: &mut [Named], drawn: &[(String, Expected)]) {
    let mut taken = vec![false; drawn.len()];
    for named in named {
        let subject = named.incident.subject.to_string();
        let fault = drawn
            .iter()
            .position(|(_, expected)| expected.subjects.contains(&subject));
        named.fault = fault.filter(|_| named.at >= BEGIN);
        if let Some(fault) = named.fault {
            let right_category = drawn[fault].1.categories.contains(&named.incident.category);
            named.right = right_category && !taken[fault];
            taken[fault] |= right_category;
        }
    }
}

/// What a stalling host rightly shows.
fn is_of_stall(incident: &Incident, host: &str) -> bool {
    !incident.category.is_network() && incident.subject.to_string() == format!("host {host}")
}

/// Another fault, elsewhere: on another ToR, another spine and another host.
fn second(first: &Places, random: &mut ChaCha8Rng) -> (String, Expected) {
    let row = &ROWS[random.random_range(0..ROWS.len())];
    let fabric = first.fabric;
    let mut places = Places::draw(fabric, random);
    let other = |value: u32, first: u32, count: u32| {
        if value == first {
            (value + 1) % count
        } else {
            value
        }
    };
    places.tor = other(places.tor, first.tor, fabric.leaves());
    places.spine = other(places.spine, first.spine, fabric.spines);
    places = places.on_one_plane();
    if places.spine == first.spine {
        places.spine += 1;
        places = places.on_one_plane();
    }
    // Under other ToRs than the first fault's RNIC.
    if places.host / fabric.hosts == first.host / fabric.hosts {
        places.host = (places.host + fabric.hosts) % (fabric.hosts * fabric.tors);
    }
    (row.draw)(&places)
}

fn services(fabric: Shape, random: &mut ChaCha8Rng) -> Vec<ServiceConnection> {
    let rnics = fabric.tors * fabric.hosts * fabric.rnics;
    ["train", "train", "store"]
        .into_iter()
        .map(|name| {
            let from = random.random_range(0..rnics);
            let under = fabric.hosts * fabric.rnics;
            let mut to = (from + under + random.random_range(0..rnics - 2 * under)) % rnics;
            if fabric.rails.max(fabric.planes) > 1 {
                // Services stay on their rail.
                to = to - to % fabric.rnics + from % fabric.rnics;
            }
            let place = |rnic: u32| format!("host{}/{}", rnic / fabric.rnics, rnic % fabric.rnics);
            ServiceConnection {
                name: ServiceName::new(name),
                from: place(from),
                to: place(to),
                flow_label: FlowLabel::new(random.random_range(1..=FlowLabel::MAX))
                    .unwrap_or_else(|| unreachable!("it is between 1 and the largest")),
            }
        })
        .collect()
}
