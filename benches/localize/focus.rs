//! Focus beside the fixed schedule: the same fabrics, faults, 5-tuples and probes in all, second by second, with round trips and
//! the time that it takes to rank and to tell the probers.

use std::time::Duration;

use rpingmesh::analysis::focus::{Bounds, VALID};
use rpingmesh::analysis::localize::{Settings, localize_with_posterior};
use rpingmesh::analysis::simulate::{Score, SimulationPlan, WatchPlan, Watched};

use crate::{Seeds, Stopwatch, figures, links, median, number, ours};

/// How the probes are chosen.
const COLUMNS: [&str; 3] = ["uniform", "focus", "focus, up to 2x"];

fn schedule(column: usize) -> Option<Bounds> {
    match column {
        0 => None,
        1 => Some(Bounds::default()),
        _ => Some(Bounds {
            extra: 1.0,
            most_per_target: 600.0,
            ..Bounds::default()
        }),
    }
}

/// What one column of a row has added up.
#[derive(Default)]
struct Sum {
    score: Score,
    sent: u64,
    undecided: usize,
    localized: Vec<Duration>,
    weighed: Vec<Duration>,
    ranked: Vec<Duration>,
}

impl Sum {
    fn add(&mut self, watched: &Watched) {
        let start = Stopwatch::start();
        let suspects = ours(&watched.problem).suspects;
        self.localized.push(start.elapsed());
        let start = Stopwatch::start();
        let (_, posterior) = localize_with_posterior(&watched.problem, &Settings::default());
        self.weighed.push(start.elapsed());
        let start = Stopwatch::start();
        watched.focus(&posterior, &[], &Bounds::default());
        self.ranked.push(start.elapsed());
        let named = suspects.iter().map(|suspect| &suspect.component);
        self.score.add(Score::of(&watched.truth, named));
        self.undecided += suspects
            .iter()
            .filter(|suspect| suspect.confidence < 0.5)
            .count();
        self.sent += watched.sent;
    }
}

fn watch(plan: &WatchPlan, seed: u64) -> Watched {
    Watched::new(plan, seed).expect("a valid plan")
}

fn row(label: &str, simulation: &SimulationPlan, healthy_s: u32, seeds: Seeds) -> [Sum; 3] {
    let mut sums: [Sum; 3] = Default::default();
    for (column, sum) in sums.iter_mut().enumerate() {
        let plan = WatchPlan {
            simulation: simulation.clone(),
            healthy_s,
            focus: schedule(column),
        };
        for seed in seeds.all() {
            sum.add(&watch(&plan, seed));
        }
    }
    print!("{label:<37}");
    let uniform = sums[0].sent as f64;
    for sum in &sums {
        let probes = sum.sent as f64 / uniform;
        print!(" | {} {probes:>4.2}", figures(sum.score));
    }
    println!(
        " | {} {} {}",
        sums[0].undecided, sums[1].undecided, sums[2].undecided
    );
    sums
}

fn heading() {
    println!(
        "\nfocus: round trips, all paths traced; ranked each second, 1.5 s later in force, for {} s",
        VALID.as_secs()
    );
    println!(
        "{:<37} | {:^24} | {:^24} | {:^24} | undecided",
        "precision/recall (F1), probes", COLUMNS[0], COLUMNS[1], COLUMNS[2]
    );
}

/// What a run of the judge takes: without focus, with all that is possible, and to rank 5-tuples.
#[derive(Default)]
struct Cost {
    localized: Vec<Duration>,
    weighed: Vec<Duration>,
    ranked: Vec<Duration>,
}

impl Cost {
    fn add(&mut self, sum: &mut Sum) {
        self.localized.append(&mut sum.localized);
        self.weighed.append(&mut sum.weighed);
        self.ranked.append(&mut sum.ranked);
    }

    fn print(&mut self) {
        println!(
            "median CPU time: {:.1} ms to localize, {:.1} ms with all that is possible, {:.1} ms to rank",
            median(&mut self.localized),
            median(&mut self.weighed),
            median(&mut self.ranked)
        );
    }
}

const GRAY: (f64, f64) = (0.0005, 0.003);
const MILD: (f64, f64) = (0.002, 0.02);

/// Number of faults, their loss, length of the window and the healthy time before it in seconds.
type Row = (usize, (f64, f64), u32, u32);

fn table(rows: &[Row], seeds: Seeds) {
    heading();
    let mut cost = Cost::default();
    for &(faults, (low, high), window, healthy) in rows {
        let simulation = SimulationPlan {
            faults: links(faults, low, high),
            window_s: f64::from(window),
            ..SimulationPlan::default()
        };
        let since = if healthy > 0 {
            format!(" after {healthy} s")
        } else {
            String::new()
        };
        let (low, high) = (low * 100.0, high * 100.0);
        let label = format!("{faults} link(s), {low:.2}-{high:.2} %, {window:>2} s{since}");
        for mut sum in row(&label, &simulation, healthy, seeds) {
            cost.add(&mut sum);
        }
    }
    cost.print();
}

/// Uniform, focus with the same number of probes, and focus with up to twice as many.
pub(crate) fn focus(seeds: Seeds) {
    table(
        &[
            (1, GRAY, 20, 0),
            (2, GRAY, 20, 0),
            (4, GRAY, 20, 0),
            (8, GRAY, 20, 0),
            (1, MILD, 5, 0),
            (2, MILD, 5, 0),
            (4, MILD, 5, 0),
            (8, MILD, 5, 0),
            (4, MILD, 20, 0),
            (4, GRAY, 20, 20),
        ],
        seeds,
    );
}

/// The same over a minute.
pub(crate) fn minute(seeds: Seeds) {
    table(
        &[
            (1, GRAY, 60, 0),
            (2, GRAY, 60, 0),
            (4, GRAY, 60, 0),
            (8, GRAY, 60, 0),
        ],
        seeds,
    );
}

/// Healthy windows: whom a judge suspects who looks for it. `HEALTHY` says how many windows (200).
pub(crate) fn healthy(seeds: Seeds) {
    heading();
    let windows = number("HEALTHY", 200);
    let plan = SimulationPlan {
        faults: Vec::new(),
        ..SimulationPlan::default()
    };
    let seeds = Seeds {
        count: windows,
        ..seeds
    };
    let label = format!("no fault, {windows} windows of 20 s");
    let mut cost = Cost::default();
    let sums = row(&label, &plan, 0, seeds);
    let wrong = sums.each_ref().map(|sum| sum.score.wrong.to_string());
    for mut sum in sums {
        cost.add(&mut sum);
    }
    println!("no fault: {} suspects", wrong.join(", "));
    cost.print();
}
