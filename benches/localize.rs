//! Accuracy and cost of localisation on simulated fabrics: `cargo xtask bench localize`, or `cargo bench --bench localize`.
//!
//! One set of parameters for all cases. Prints precision/recall (F1) over the seeds, and the median CPU time of one answer,
//! for ours and for two voting methods, beside an oracle that knows all other faults and their rates: with the one threshold
//! for all rows that keeps it to two suspects in 100 healthy windows, as ours must, and with the best threshold of each row
//! in hindsight; then focus beside the fixed schedule, kinds of faults, rails and planes, candidate paths, paths out of date, few probes per 5-tuple, hosts that stand still,
//! calibration, false alarms on healthy fabrics, and time on large fabrics. `HEALTHY` is how many healthy windows
//! [default: 1000], `SEED` is the first seed [default: 1], `SEEDS` how many [default: 20]; arguments name the parts to run,
//! as in `cargo bench --bench localize -- table large` [default: all].

#[path = "localize/doubt.rs"]
mod doubt;
#[path = "localize/focus.rs"]
mod focus;

use std::collections::BTreeSet;
use std::time::Duration;

use rpingmesh::analysis::localize::persistence::{Persistence, Standing};
use rpingmesh::analysis::localize::{
    Component, Diagnosis, PathObservation, Problem, Settings, Suspect, localize, vote,
};
use rpingmesh::analysis::simulate::{
    FaultKind, FaultPlan, Rails, Score, Shape, SimulationPlan, World, oracle,
};
use rpingmesh::id::{HostName, RnicName};
use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread: what else the machine does is left out.
struct Stopwatch(Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Self::now())
    }

    fn now() -> Duration {
        clock_gettime(ClockId::ThreadCPUTime)
            .try_into()
            .expect("CPU time is never negative")
    }

    fn elapsed(&self) -> Duration {
        Self::now().saturating_sub(self.0)
    }
}

/// Healthy windows on which the oracle's threshold is found, and the suspects that it may have in them: two in 100.
const HEALTHY_FOR_ORACLE: u64 = 400;
const ALLOWED: usize = 8;

#[derive(Clone, Copy)]
struct Seeds {
    first: u64,
    count: u64,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

impl Seeds {
    fn from_environment() -> Self {
        Self {
            first: number("SEED", 1),
            count: number("SEEDS", 20),
        }
    }

    fn all(self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }
}

/// As `rpingmesh localize` does it: hosts on rails are suspects beside their RNICs as long as they are some.
fn problem(world: &World) -> Problem {
    let first = world.observed.iter().filter_map(|seen| seen.path.first());
    let hosts: BTreeSet<HostName> = first
        .filter_map(|end| end.parse::<RnicName>().ok())
        .map(|rnic| rnic.host)
        .collect();
    if hosts.is_empty() {
        return problem_with(world, hosts);
    }
    let suspects = ours(&problem_with(world, hosts)).suspects.into_iter();
    let named = suspects.filter_map(|suspect| match suspect.component {
        Component::Host { name } => Some(HostName::new(name)),
        _ => None,
    });
    problem_with(world, named.collect())
}

fn problem_with(world: &World, hosts: BTreeSet<HostName>) -> Problem {
    let mut problem = Problem::new();
    problem.add_hosts(hosts);
    for seen in &world.observed {
        let ends = [seen.path.first(), seen.path.last()];
        for rnic in ends
            .into_iter()
            .flatten()
            .filter_map(|end| end.parse::<RnicName>().ok())
        {
            problem.add_rnic(&rnic).expect("few RNICs");
        }
        let paths = match &seen.candidates {
            Some(candidates) => candidates.iter().map(|path| names(path)).collect(),
            None => vec![names(&seen.path)],
        };
        let observation = PathObservation {
            paths,
            sent: seen.sent,
            lost: seen.lost,
        };
        problem
            .add(&observation)
            .expect("simulated observations are valid");
    }
    problem
}

fn names(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

fn ours(problem: &Problem) -> Diagnosis {
    localize(problem, &Settings::default())
}

type Method = (&'static str, fn(&Problem) -> Vec<Component>);

const METHODS: [Method; 3] = [
    ("ours", |problem| {
        let suspects = ours(problem).suspects.into_iter();
        suspects.map(|suspect| suspect.component).collect()
    }),
    ("max-vote", |problem| {
        vote::max_vote(problem).into_iter().collect()
    }),
    ("007-style", |problem| vote::vote_007(problem, 0.01)),
];

fn figures(score: Score) -> String {
    format!(
        "{:.3}/{:.3} ({:.3})",
        score.precision(),
        score.recall(),
        score.f1()
    )
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// A row: the methods on one plan, and the oracle where its threshold is given.
fn case(label: &str, plan: &SimulationPlan, seeds: Seeds, threshold: Option<f64>) {
    let mut scores = [Score::default(); METHODS.len()];
    let mut times: [Vec<Duration>; METHODS.len()] = Default::default();
    let mut rated = Vec::new();
    let mut faults = 0;
    for seed in seeds.all() {
        let world = World::draw(plan, seed).expect("a valid plan");
        let problem = problem(&world);
        for (index, (_, method)) in METHODS.iter().enumerate() {
            let start = Stopwatch::start();
            let named = method(&problem);
            times[index].push(start.elapsed());
            scores[index].add(Score::of(&world.truth, &named));
        }
        if threshold.is_some() {
            faults += world.truth.len() as u64;
            let bad = |link: &Component| world.truth.iter().any(|fault| fault.component == *link);
            let links = oracle(&world, plan.background / 2.0).into_iter();
            rated.extend(links.map(|(link, nats)| (nats, bad(&link))));
        }
    }
    print!("{label:<37}");
    for (score, times) in scores.iter().zip(&mut times) {
        print!(" | {} {:>5.1} ms", figures(*score), median(times));
    }
    if let Some(threshold) = threshold {
        print!(" | {}", figures(at_threshold(&rated, faults, threshold)));
        print!(" | {}", figures(best_threshold(rated, faults)));
    }
    println!();
}

/// The threshold above which the oracle has [`ALLOWED`] suspects.
fn oracle_threshold(seeds: Seeds) -> f64 {
    let plan = SimulationPlan {
        faults: Vec::new(),
        ..SimulationPlan::default()
    };
    let mut nats = Vec::new();
    for seed in seeds.first..seeds.first + HEALTHY_FOR_ORACLE {
        let world = World::draw(&plan, seed).expect("a valid plan");
        let links = oracle(&world, plan.background / 2.0).into_iter();
        nats.extend(links.map(|(_, nats)| nats));
    }
    nats.sort_by(|a, b| b.total_cmp(a));
    nats[ALLOWED]
}

/// What lies above one threshold.
fn at_threshold(rated: &[(f64, bool)], faults: u64, threshold: f64) -> Score {
    let named = rated.iter().filter(|(nats, _)| *nats > threshold);
    let right = named.clone().filter(|(_, bad)| *bad).count() as u64;
    Score {
        right,
        wrong: named.count() as u64 - right,
        missed: faults - right,
    }
}

/// The best F1 that any one threshold reaches.
fn best_threshold(mut rated: Vec<(f64, bool)>, faults: u64) -> Score {
    rated.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut best = Score::default();
    let mut score = Score {
        missed: faults,
        ..Score::default()
    };
    let mut best_f1 = -1.0;
    for (_, bad) in rated {
        if bad {
            score.right += 1;
            score.missed -= 1;
        } else {
            score.wrong += 1;
        }
        if score.f1() > best_f1 {
            (best, best_f1) = (score, score.f1());
        }
    }
    best
}

fn links(count: usize, low: f64, high: f64) -> Vec<FaultPlan> {
    vec![FaultPlan::drawn(FaultKind::Link, count, low..=high)]
}

fn main_table(seeds: Seeds) {
    let threshold = oracle_threshold(seeds);
    println!(
        "{:<37} | {:^29} | {:^29} | {:^29} | {:^19} | {:^19}",
        "precision/recall (F1), median CPU time",
        "ours",
        "max-vote",
        "007-style",
        format!("oracle, {threshold:.1} nats"),
        "oracle, hindsight"
    );
    for (low, high) in [(0.002, 0.02), (0.0005, 0.003)] {
        for window_s in [20.0, 120.0] {
            for faults in [1, 2, 4, 8] {
                let label = format!(
                    "{faults} link(s), {:.2}-{:.2} %, {window_s:>3} s",
                    low * 100.0,
                    high * 100.0
                );
                let plan = SimulationPlan {
                    faults: links(faults, low, high),
                    window_s,
                    ..SimulationPlan::default()
                };
                case(&label, &plan, seeds, Some(threshold));
            }
        }
    }
}

fn kinds(seeds: Seeds) {
    let drawn = FaultPlan::drawn;
    let rows: [(&str, Vec<FaultPlan>); 7] = [
        (
            "2 switches, 0.2-2 %",
            vec![drawn(FaultKind::Switch, 2, 0.002..=0.02)],
        ),
        (
            "2 hosts, 0.5-5 %",
            vec![drawn(FaultKind::Host, 2, 0.005..=0.05)],
        ),
        ("2 links down", links(2, 1.0, 1.0)),
        (
            "1 switch down",
            vec![drawn(FaultKind::Switch, 1, 1.0..=1.0)],
        ),
        ("2 hosts down", vec![drawn(FaultKind::Host, 2, 1.0..=1.0)]),
        (
            "2 blackholes of 5-30 %",
            vec![FaultPlan::blackholes(2, 0.05..=0.3)],
        ),
        (
            "2 links, 1 switch, 1 host, 1 blackhole",
            vec![
                drawn(FaultKind::Link, 2, 0.005..=0.02),
                drawn(FaultKind::Switch, 1, 0.005..=0.02),
                drawn(FaultKind::Host, 1, 0.01..=0.05),
                FaultPlan::blackholes(1, 0.1..=0.3),
            ],
        ),
    ];
    println!("\nother kinds, 20 s; right is only the very component");
    for (label, faults) in rows {
        let plan = SimulationPlan {
            faults,
            ..SimulationPlan::default()
        };
        case(label, &plan, seeds, None);
    }
}

/// The fabrics of [`rails`], 512 RNICs each.
const FABRICS: [(&str, Rails); 3] = [
    (
        "8 rails of 4 spines each",
        Rails {
            rails: 8,
            planes: 8,
            spines: 32,
            tors: 8,
            hosts: 8,
        },
    ),
    (
        "8 rails on 4 spines",
        Rails {
            rails: 8,
            planes: 1,
            spines: 4,
            tors: 8,
            hosts: 8,
        },
    ),
    (
        "2 planes of 4 spines each",
        Rails {
            rails: 2,
            planes: 2,
            spines: 8,
            tors: 16,
            hosts: 16,
        },
    ),
];

/// The main table's rows and other kinds, on rails and planes.
fn rails(seeds: Seeds) {
    let mut rows: Vec<(String, Vec<FaultPlan>)> = Vec::new();
    for (low, high) in [(0.002, 0.02), (0.0005, 0.003)] {
        for count in [1, 2, 4, 8] {
            let label = format!("{count} link(s), {:.2}-{:.2} %", low * 100.0, high * 100.0);
            rows.push((label, links(count, low, high)));
        }
    }
    for (label, fault) in [
        ("2 switches, 0.2-2 %", "switch count=2 loss=0.2%..2%"),
        ("2 hosts, 0.5-5 %", "host count=2 loss=0.5%..5%"),
        ("2 RNICs, 0.5-5 %", "rnic count=2 loss=0.5%..5%"),
        ("2 links down", "link count=2 down"),
        ("1 switch down", "switch down"),
        ("2 hosts down", "host count=2 down"),
        ("2 RNICs down", "rnic count=2 down"),
        ("2 blackholes of 5-30 %", "switch count=2 blackhole=5%..30%"),
    ] {
        rows.push((label.to_owned(), vec![fault.parse().expect("a fault")]));
    }
    for (name, shape) in FABRICS {
        println!("\n{name}, 512 RNICs at 150 probes/s and RNIC, 20 s");
        for (label, faults) in &rows {
            let plan = SimulationPlan {
                shape: Shape::Rails(shape),
                faults: faults.clone(),
                ..SimulationPlan::default()
            };
            case(label, &plan, seeds, None);
        }
    }
}

/// Without traces links that no observation tells apart stand together: the share of the faults that are among those
/// named, alternatives included, and how many are named for each.
fn candidates(seeds: Seeds) {
    println!("\ncandidate paths only, 20 s");
    for (faults, low, high) in [(1, 0.002, 0.02), (4, 0.002, 0.02), (4, 0.01, 0.05)] {
        let plan = SimulationPlan {
            faults: links(faults, low, high),
            known_paths: false,
            ..SimulationPlan::default()
        };
        let label = format!("{faults} link(s), {:.1}-{:.1} %", low * 100.0, high * 100.0);
        case(&label, &plan, seeds, None);
        let (mut held, mut all, mut groups, mut right, mut named) = (0, 0, 0, 0, 0);
        for seed in seeds.all() {
            let world = World::draw(&plan, seed).expect("a valid plan");
            let suspects = ours(&problem(&world)).suspects;
            let holds = |suspect: &Suspect, at: &Component| {
                suspect.component == *at || suspect.or.contains(at)
            };
            all += world.truth.len();
            held += world
                .truth
                .iter()
                .filter(|fault| suspects.iter().any(|s| holds(s, &fault.component)))
                .count();
            groups += suspects.len();
            right += suspects
                .iter()
                .filter(|s| world.truth.iter().any(|fault| holds(s, &fault.component)))
                .count();
            named += suspects.iter().map(|s| 1 + s.or.len()).sum::<usize>();
        }
        println!(
            "{:<37} | as groups (a suspect and those that look alike): {right} of {groups} right, {held} of {all} faults \
             in one, {:.1} components each",
            "",
            named as f64 / groups.max(1) as f64
        );
    }
}

/// Of the suspects with a confidence in each range, the share that is right.
fn calibration(seeds: Seeds) {
    const FROM: [f64; 5] = [0.5, 0.7, 0.9, 0.99, 1.01];
    let mut counts = [(0_u32, 0_u32); FROM.len() - 1];
    for (low, high) in [(0.002, 0.02), (0.0005, 0.003)] {
        for (faults, window_s) in [(1, 20.0), (4, 20.0), (8, 20.0), (4, 120.0)] {
            let plan = SimulationPlan {
                faults: links(faults, low, high),
                window_s,
                ..SimulationPlan::default()
            };
            for seed in seeds.all() {
                let world = World::draw(&plan, seed).expect("a valid plan");
                for suspect in ours(&problem(&world)).suspects {
                    let right = Score::of(&world.truth, [&suspect.component]).wrong == 0;
                    let range = FROM.iter().filter(|from| suspect.confidence >= **from);
                    if let Some(place) = range.count().checked_sub(1) {
                        counts[place].0 += u32::from(right);
                        counts[place].1 += 1;
                    }
                }
            }
        }
    }
    println!("\nconfidence, over the single and concurrent cases of both loss ranges");
    for ((right, all), from) in counts.iter().zip(FROM) {
        println!("from {from:.2}: {right} of {all} right");
    }
}

fn healthy(seeds: Seeds) {
    let plan = SimulationPlan {
        faults: Vec::new(),
        ..SimulationPlan::default()
    };
    let windows = number("HEALTHY", 1000);
    let mut suspects = 0;
    for seed in seeds.first..seeds.first + windows {
        let world = World::draw(&plan, seed).expect("a valid plan");
        suspects += ours(&problem(&world)).suspects.len();
    }
    println!("\nno fault: {suspects} suspects in {windows} windows of 20 s on as many fabrics");
    // The same fabric again and again: its worst healthy links stay the same.
    let (mut suspects, mut incidents) = (0, 0);
    let rule = Persistence::default();
    let mut seen: Vec<Vec<Component>> = Vec::new();
    for window in 0..windows {
        let world = World::draw_window(&plan, seeds.first, window).expect("a valid plan");
        let named = ours(&problem(&world)).suspects;
        suspects += named.len();
        for suspect in &named {
            let before = seen.iter().rev().take(rule.windows - 1).rev();
            let mut history: Vec<Option<f64>> = before
                .map(|window| window.contains(&suspect.component).then_some(0.0))
                .collect();
            history.push(Some(suspect.evidence_nats));
            incidents += u32::from(rule.standing(&history, false) == Standing::Confirmed);
        }
        seen.push(named.into_iter().map(|suspect| suspect.component).collect());
    }
    println!(
        "no fault: {suspects} suspects, {incidents} incidents in {windows} windows of 20 s on one fabric"
    );
}

fn large(name: &str, shape: Shape, tuples_per_host: usize) {
    let plan = SimulationPlan {
        shape,
        tuples_per_host,
        ..SimulationPlan::default()
    };
    let world = World::draw(&plan, 1).expect("a valid plan");
    let start = Stopwatch::start();
    let problem = problem(&world);
    let built = start.elapsed();
    let start = Stopwatch::start();
    let answer = ours(&problem);
    let score = Score::of(
        &world.truth,
        answer.suspects.iter().map(|suspect| &suspect.component),
    );
    println!(
        "{name}: {} probes on {} paths, taken in {:.2} s and answered in {:.2} s of CPU time, {} right, {} wrong, {} missed",
        problem.sent(),
        problem.observations(),
        built.as_secs_f64(),
        start.elapsed().as_secs_f64(),
        score.right,
        score.wrong,
        score.missed
    );
}

/// Prints one part.
type Part = fn(Seeds);

/// Names of the parts, in their order.
const PARTS: [&str; 14] = [
    "table",
    "focus",
    "focus-minute",
    "focus-healthy",
    "kinds",
    "rails",
    "candidates",
    "sparse",
    "stale",
    "few",
    "deaf",
    "calibration",
    "healthy",
    "large",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let wanted: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    for part in &wanted {
        assert!(
            PARTS.contains(&part.as_str()),
            "no part {part}; there are {PARTS:?}"
        );
    }
    let has = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| *wanted == part);
    let seeds = Seeds::from_environment();
    println!(
        "k = 8 fat tree, 150 probes/s and host, background U(0, 1e-4), {} seeds from {}",
        seeds.count, seeds.first
    );
    let parts: [(&str, Part); 13] = [
        ("table", main_table),
        ("focus", focus::focus),
        ("focus-minute", focus::minute),
        ("focus-healthy", focus::healthy),
        ("kinds", kinds),
        ("rails", rails),
        ("candidates", candidates),
        ("sparse", doubt::sparse),
        ("stale", doubt::stale),
        ("few", doubt::few),
        ("deaf", doubt::deaf),
        ("calibration", calibration),
        ("healthy", healthy),
    ];
    for (name, part) in parts {
        if has(name) {
            part(seeds);
        }
    }
    if has("large") {
        println!();
        large(
            "k = 16 fat tree of 1 024 hosts",
            Shape::FatTree { k: 16 },
            100,
        );
        large(
            "leaf-spine of 100 000 RNICs",
            Shape::LeafSpine {
                spines: 64,
                tors: 3125,
                hosts: 32,
            },
            8,
        );
    }
}
