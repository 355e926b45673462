//! The whole analysis over the emulated fabric in virtual time: `cargo xtask bench virtual-time`.
//!
//! First, faults: how many are located, how soon, and what else was named. Then days of stalls, restarts, changed queue pairs
//! and hosts that go down on a fabric whose links lose no more than healthy ones do: no incident may blame the network.
//! `FOCUS=on` lets the judge choose a part of the probes ([`focus`](rpingmesh::analysis::focus)). Words choose rows, and the part
//! `undecided`: incidents that cannot tell, and when they can. `SEEDS` is how many runs of each fault [default: 10; 0 for none], `DAYS` how many days [default: 30; 0 for none], `SEED` the
//! first seed of both [default: 1].

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rpingmesh::analysis::focus::Bounds;
use rpingmesh::analysis::incident::{Change, Incident};
use rpingmesh::config::HumanDuration;
use rpingmesh::fabric::scenario::Probing;
use rpingmesh::fabric::{Scenario, Shape};
use rpingmesh::fault::Fault;
use rpingmesh::lab::virtual_time::{Outcome, run_in_virtual_time, run_in_virtual_time_with_focus};

/// When a fault begins: by then everything is known that is usual.
const BEGIN: u64 = 30;
/// How long is waited for its incident.
const WAIT: u64 = 45;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

fn has_focus() -> bool {
    std::env::var("FOCUS").is_ok_and(|focus| focus == "on")
}

fn outcome_of(scenario: &Scenario) -> Outcome {
    let outcome = if has_focus() {
        run_in_virtual_time_with_focus(scenario, true, Bounds::default())
    } else {
        run_in_virtual_time(scenario, true)
    };
    outcome.expect("the run ends")
}

fn scenario(
    shape: Shape,
    probing: Probing,
    seconds: u64,
    seed: u64,
    faults: &[String],
) -> Scenario {
    let mut scenario = Scenario::parse(&format!(
        "duration = \"{seconds}s\"\nseed = {seed}\nfaults = {faults:?}\n"
    ))
    .expect("a scenario");
    scenario.fabric = shape;
    scenario.probing = probing;
    scenario
}

/// Two directed links between ToRs and spines, an RNIC, a host and a switch, drawn from the seed.
struct Places {
    up: String,
    down: String,
    rnic: (String, String),
    host: String,
    spine: String,
}

const FABRIC: Shape = Shape {
    spines: 4,
    tors: 4,
    hosts: 3,
    rnics: 2,
    ..Shape::DEFAULT
};
/// Below the paper's 150 probes/s and RNIC.
const PROBING: Probing = Probing {
    tor_mesh: 10.0,
    inter_tor: 120.0,
    targets: 48,
    across_planes: false,
};

impl Places {
    fn draw(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut pick = |count: u32| random.random_range(0..count);
        let host = pick(FABRIC.tors * FABRIC.hosts);
        let device = pick(FABRIC.rnics);
        Self {
            up: format!("tor{}->spine{}", pick(FABRIC.tors), pick(FABRIC.spines)),
            down: format!("spine{}->tor{}", pick(FABRIC.spines), pick(FABRIC.tors)),
            rnic: (
                format!("host{host}/{device}"),
                format!("host{host}/rnic{device}"),
            ),
            host: format!("host{}", pick(FABRIC.tors * FABRIC.hosts)),
            spine: format!("spine{}", pick(FABRIC.spines)),
        }
    }
}

/// A kind of fault: its text and what has to be named, at a place.
type FaultKind = (&'static str, fn(&Places) -> (String, String));

const KINDS: [FaultKind; 14] = [
    ("link down", |at| {
        (format!("link {} down", at.up), format!("link {}", at.up))
    }),
    ("link loses 50 %", |at| {
        (
            format!("link {} loss=50%", at.down),
            format!("link {}", at.down),
        )
    }),
    ("RNIC down", |at| {
        (
            format!("rnic {} down", at.rnic.0),
            format!("RNIC {}", at.rnic.1),
        )
    }),
    ("switch down", |at| {
        (
            format!("switch {} down", at.spine),
            format!("switch {}", at.spine),
        )
    }),
    ("host down", |at| {
        (
            format!("host {} down", at.host),
            format!("host {}", at.host),
        )
    }),
    ("blackhole of 20 %", |at| {
        (
            format!("switch {} blackhole=20%", at.spine),
            format!("switch {}", at.spine),
        )
    }),
    ("RNIC loses 10 %", |at| {
        (
            format!("rnic {} loss=10%", at.rnic.0),
            format!("RNIC {}", at.rnic.1),
        )
    }),
    ("link loses 2 %", |at| {
        (format!("link {} loss=2%", at.up), format!("link {}", at.up))
    }),
    ("link loses 1 %", |at| {
        (
            format!("link {} loss=1%", at.down),
            format!("link {}", at.down),
        )
    }),
    ("link loses 0.5 %", |at| {
        (
            format!("link {} loss=0.5%", at.up),
            format!("link {}", at.up),
        )
    }),
    ("link loses 0.2 %", |at| {
        (
            format!("link {} loss=0.2%", at.down),
            format!("link {}", at.down),
        )
    }),
    ("link loses 0.15 %", |at| {
        (
            format!("link {} loss=0.15%", at.up),
            format!("link {}", at.up),
        )
    }),
    ("link delays 50 us", |at| {
        (
            format!("link {} delay=50us", at.up),
            format!("link {}", at.up),
        )
    }),
    ("link pauses 40 of 50 ms", |at| {
        (
            format!("link {} pause=40ms every=50ms", at.down),
            format!("link {}", at.down),
        )
    }),
];

/// Whether a part or a row is asked for: one of the arguments is in its name, or there is none.
fn is_asked_for(name: &str) -> bool {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .peekable();
    words.peek().is_none() || words.any(|word| name.contains(&word))
}

fn faults(first: u64, seeds: u64) {
    println!("focus: {}", if has_focus() { "on" } else { "off" });
    println!(
        "4 spines, 4 ToRs, 12 hosts, 24 RNICs at 130 probes/s; paths and reverse paths are traced"
    );
    println!(
        "{:<24} | {:>8} | {:>12} | {:>9} | {:>9} | named besides",
        "fault", "located", "within 20 s", "median", "last"
    );
    for (name, kind) in KINDS.into_iter().filter(|(name, _)| is_asked_for(name)) {
        let mut delays = Vec::new();
        let mut others: BTreeMap<String, u32> = BTreeMap::new();
        for seed in first..first + seeds {
            let (fault, subject) = kind(&Places::draw(seed));
            let at = [format!("{fault} at={BEGIN}s")];
            let outcome = outcome_of(&scenario(FABRIC, PROBING, BEGIN + WAIT, seed, &at));
            let mut delay = None;
            for event in &outcome.events {
                let incident = event.change.incident();
                if !matches!(event.change, Change::Opened(_)) {
                    continue;
                }
                if incident.subject.to_string() == subject {
                    delay = delay.or(Some(event.at.as_secs() - BEGIN));
                } else {
                    *others.entry(incident.title()).or_default() += 1;
                }
            }
            delays.push(delay.unwrap_or(u64::MAX));
        }
        delays.sort_unstable();
        let seconds = |delay: Option<&u64>| match delay {
            Some(&u64::MAX) | None => "never".to_owned(),
            Some(delay) => format!("{delay} s"),
        };
        let within = |limit: u64| delays.iter().filter(|delay| **delay <= limit).count();
        println!(
            "{name:<24} | {:>3} of {:<2}| {:>6} of {:<2} | {:>9} | {:>9} | {}",
            within(WAIT),
            delays.len(),
            within(20),
            delays.len(),
            seconds(delays.get(delays.len() / 2)),
            seconds(delays.last()),
            others
                .iter()
                .map(|(title, count)| format!("{count} x {title}"))
                .collect::<Vec<_>>()
                .join("; ")
        );
    }
}

/// How long an incident that cannot tell may take until it can, in seconds.
const DECIDED_WITHIN: u64 = 15;

/// Incidents that could not tell what they are about when they were opened, and when they could.
#[derive(Default)]
struct Undecided {
    /// All.
    opened: usize,
    /// Decided within [`DECIDED_WITHIN`],
    soon: usize,
    /// at any time,
    ever: usize,
    /// and those of them that named the wrong component.
    wrong: usize,
    delays: Vec<u64>,
    /// 5-tuples that were asked for in all runs of the judge.
    asked: u64,
    runs: u64,
}

impl Undecided {
    fn add(&mut self, outcome: &Outcome, subject: &str) {
        self.asked += outcome.asked;
        self.runs += outcome.runs;
        let mut open: BTreeMap<u64, Duration> = BTreeMap::new();
        for event in &outcome.events {
            let incident = event.change.incident();
            let is_opened = matches!(event.change, Change::Opened(_));
            if is_opened && !incident.or.is_empty() {
                self.opened += 1;
                open.insert(incident.id, event.at);
            } else if incident.or.is_empty()
                && let Some(since) = open.remove(&incident.id)
            {
                let took = event.at.saturating_sub(since).as_secs();
                self.ever += 1;
                self.soon += usize::from(took <= DECIDED_WITHIN);
                self.wrong += usize::from(incident.subject.to_string() != subject);
                self.delays.push(took);
            }
        }
    }
}

/// Links of which round trips tell the directions, or the neighbours, apart late: with few spines many ACKs return as their probes
/// came.
fn undecided(first: u64, seeds: u64) {
    println!(
        "\nincidents that could not tell when they were opened; decided within {DECIDED_WITHIN} s; focus: {}",
        if has_focus() { "on" } else { "off" }
    );
    println!(
        "{:<30} | {:>9} | {:>12} | {:>7} | {:>5} | {:>6} | asked for per run",
        "fault", "undecided", "within 15 s", "decided", "wrong", "median"
    );
    for spines in [2, 4] {
        for loss in ["2%", "1%", "0.5%", "0.2%"] {
            let mut sum = Undecided::default();
            for seed in first..first + seeds {
                let places = Places::draw(seed);
                let link = if seed % 2 == 0 {
                    places.up
                } else {
                    places.down
                };
                // Of four spines the first two are there in each case.
                let link = link.replace("spine3", "spine1").replace("spine2", "spine0");
                let fault = [format!("link {link} loss={loss} at={BEGIN}s")];
                let shape = Shape { spines, ..FABRIC };
                let outcome = outcome_of(&scenario(shape, PROBING, BEGIN + WAIT, seed, &fault));
                sum.add(&outcome, &format!("link {link}"));
            }
            sum.delays.sort_unstable();
            println!(
                "{:<30} | {:>9} | {:>12} | {:>7} | {:>5} | {:>4} s | {:.1}",
                format!("{spines} spines, link loses {loss}"),
                sum.opened,
                sum.soon,
                sum.ever,
                sum.wrong,
                sum.delays.get(sum.delays.len() / 2).unwrap_or(&0),
                sum.asked as f64 / sum.runs.max(1) as f64,
            );
        }
    }
}

/// Hosts under each of three ToRs, with one RNIC each.
const SMALL: Shape = Shape {
    spines: 2,
    tors: 3,
    hosts: 2,
    rnics: 1,
    ..Shape::DEFAULT
};
/// Less than agents send, so that a month takes minutes.
const SPARSE: Probing = Probing {
    tor_mesh: 2.0,
    inter_tor: 4.0,
    targets: 8,
    across_planes: false,
};
/// Length of one run; hosts make noise in all of it.
const RUN: u64 = 2 * 3600;

/// What hosts do in two hours: each stalls often for some tenths of a second, now and then for seconds, restarts its agent
/// (another queue pair), and every other one goes down once.
fn noise(random: &mut ChaCha8Rng) -> Vec<String> {
    let mut faults = vec!["link *-* loss=0.005%".to_owned()];
    for host in 0..SMALL.tors * SMALL.hosts {
        let mut at = |last: u64| random.random_range(20..RUN - last);
        let (stalls, stall, restart, down) = (at(120), at(60), at(60), at(700));
        let every = match at(1) % 3 {
            0 => 400,
            1 => 1_000,
            _ => 5_000,
        };
        let length = match at(1) % 3 {
            0 => 60,
            1 => 150,
            _ => 300,
        };
        faults.push(format!(
            "host host{host} stall={length}ms every={every}ms at={stalls}s for=60s"
        ));
        let length = 1 + at(1) % 12;
        faults.push(format!("host host{host} stall={length}s at={stall}s"));
        faults.push(format!("host host{host} restart at={restart}s"));
        if at(1) % 2 == 0 {
            let length = 5 + at(1) % 600;
            faults.push(format!("host host{host} down at={down}s for={length}s"));
        }
    }
    faults
}

fn days(first: u64, days: u64) {
    let runs = days * 24 * 3600 / RUN;
    // Other seeds have other noise and other probes.
    let apart = first.saturating_sub(1) * 1_000_000;
    let mut random = ChaCha8Rng::seed_from_u64(days + apart);
    let mut opened: BTreeMap<(bool, &str), u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    let (mut judged, mut probes, mut lost_aside) = (0, 0, 0);
    let mut events = 0;
    for run in 0..runs {
        let faults = noise(&mut random);
        for fault in &faults {
            fault.parse::<Fault>().expect("a fault");
        }
        events += faults.len() - 1;
        let scenario = scenario(SMALL, SPARSE, RUN, run + apart, &faults);
        let HumanDuration(length) = scenario.duration;
        assert_eq!(length, Duration::from_secs(RUN));
        let outcome = outcome_of(&scenario);
        judged += outcome.runs;
        probes += outcome.probes;
        lost_aside += outcome
            .set_aside
            .values()
            .map(|counts| counts.lost)
            .sum::<u64>();
        for event in &outcome.events {
            if let Change::Opened(incident) = &event.change {
                let is_network = incident.category.is_network();
                *opened
                    .entry((is_network, incident.category.name()))
                    .or_default() += 1;
                if is_network {
                    wrong.push((run, event.at, incident.clone()));
                }
            }
        }
    }
    println!(
        "\n{days} days of 3 ToRs with 2 hosts each, a healthy link losing 0.005 %: {events} stalls, restarts and hosts down, {probes} probes, {judged} runs of the judge"
    );
    for ((is_network, category), count) in &opened {
        let whose = if *is_network { "NETWORK" } else { "hosts" };
        println!("{count:>6} incidents {category} ({whose})");
    }
    println!(
        "{} incidents blame the network; {lost_aside} lost probes were set aside, summed over the runs that looked at them",
        wrong.len()
    );
    for (run, at, incident) in wrong.iter().take(20) {
        tell(*run, *at, incident);
    }
}

fn tell(run: u64, at: Duration, incident: &Incident) {
    println!("run {run}, {} s: {}", at.as_secs(), incident.title());
    for line in &incident.evidence {
        println!("    {line}");
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (seeds, length) = (number("SEEDS", 10), number("DAYS", 30));
    let first = number("SEED", 1);
    if seeds > 0 {
        faults(first, seeds);
        if is_asked_for("undecided") {
            undecided(first, seeds);
        }
    }
    if length > 0 {
        days(first, length);
    }
}
