//! The truth table of the analysis in virtual time: `cargo xtask bench truth`, or `cargo bench --bench truth`.
//!
//! Every kind of fault on a Clos fabric, and some on rails, on two planes and with bonds: alone, beside services, beside a second fault and
//! beside a stalling host. A run is wholly right when
//! every fault has one incident with the right subject and category, and nothing else is blamed. `SEEDS` is how many runs of
//! each cell [default: 2], `SHARDS` compares each run with one in which so many analyzers share the fleet and are killed now and then,
//! `SEED` the first seed [default: 1], `DENSE=1` probes ten times as much; arguments name rows (a part
//! of the name), companies and fabrics, as in `cargo bench --bench truth -- "leaf down" "4 rails" alone` [default: all].
//! `VERBOSE=1` prints every
//! incident of the runs that are not wholly right.

use std::collections::BTreeMap;
use std::time::Duration;

use rpingmesh::lab::truth_table::{
    BEGIN, BOND_ROWS, BONDS, CLOS, Company, Ground, PLANE_ROWS, PLANES, RAIL_ROWS, RAILS, ROWS,
    Row, Run, run, run_over_shards,
};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}

/// Sums over the runs of a cell, a row or the table.
#[derive(Default)]
struct Sums {
    runs: usize,
    right: usize,
    faults: usize,
    missed: usize,
    incidents: usize,
    wrong: usize,
    delays: Vec<Duration>,
}

impl Sums {
    fn add(&mut self, run: &Run) {
        self.runs += 1;
        self.right += usize::from(run.is_wholly_right());
        self.faults += run.faults.len();
        self.incidents += run.named.len();
        self.wrong += run.wrong().count();
        let first = run.delay(0);
        self.missed += (0..run.faults.len())
            .filter(|fault| run.delay(*fault).is_none())
            .count();
        self.delays.extend(first);
    }

    fn cells(&mut self) -> String {
        self.delays.sort_unstable();
        let seconds = |delay: Option<&Duration>| {
            delay.map_or_else(
                || "never".to_owned(),
                |delay| format!("{} s", delay.as_secs()),
            )
        };
        format!(
            "{:>4} of {:<4} | {:>4} of {:<4} | {:>4} of {:<4} | {:>6} | {:>6}",
            self.right,
            self.runs,
            self.missed,
            self.faults,
            self.wrong,
            self.incidents,
            seconds(self.delays.get(self.delays.len() / 2)),
            seconds(self.delays.last()),
        )
    }
}

fn tell(run: &Run, seed: u64) {
    println!("    seed {seed}: {}", run.faults.join("; "));
    for named in &run.named {
        println!(
            "      {:>3} s {} [{}]{}",
            named.at.saturating_sub(BEGIN).as_secs(),
            named.incident.title(),
            named.incident.category.name(),
            if named.right { "" } else { " WRONG" }
        );
    }
}

/// Runs in which several analyzers share the fleet, beside those of one.
#[derive(Default)]
struct Shared {
    runs: usize,
    /// With other evidence, and those of them with other findings: incidents, when, categories, counts.
    different: usize,
    otherwise: usize,
    killed: u64,
    again: u64,
}

impl Shared {
    fn compare(&mut self, one: &Run, shards: &Run, (name, seed): (&str, u64)) {
        self.runs += 1;
        self.killed += shards.killed.0;
        self.again += shards.killed.1;
        if one.named == shards.named {
            return;
        }
        self.different += 1;
        if one.findings() != shards.findings() {
            self.otherwise += 1;
            println!("    {name}, seed {seed}: one analyzer, then several");
            tell(one, seed);
            tell(shards, seed);
        }
    }
}

/// The fabrics with their rows.
const TABLES: [(&Ground, &[Row]); 4] = [
    (&CLOS, ROWS),
    (&RAILS, RAIL_ROWS),
    (&PLANES, PLANE_ROWS),
    (&BONDS, BOND_ROWS),
];

fn is_asked_for(asked: &[String], row: &Row, company: Company) -> bool {
    // Words of one kind are alternatives; a row has to fit each kind that was given.
    let fits = |is_of: &dyn Fn(&str) -> bool, fit: &dyn Fn(&str) -> bool| {
        let mut words = asked.iter().filter(|word| is_of(word)).peekable();
        words.peek().is_none() || words.any(|word| fit(word))
    };
    let is_company = |word: &str| Company::ALL.iter().any(|company| company.name() == word);
    let is_fabric = |word: &str| TABLES.iter().any(|(ground, _)| ground.name == word);
    let is_row = |word: &str| !is_company(word) && !is_fabric(word);
    fits(&is_company, &|word| word == company.name())
        && fits(&is_fabric, &|word| word == row.ground.name)
        && fits(&is_row, &|word| row.name.contains(word))
}

/// The sums over the companies of one fabric, then over all of its runs.
fn conclude(ground: &Ground, by_company: BTreeMap<Company, Sums>, mut hard: Sums, mut all: Sums) {
    if all.runs == 0 {
        return;
    }
    println!();
    let label = format!("all, {}", ground.name);
    for (company, mut sums) in by_company {
        println!("{label:<38} {:<22} | {}", company.name(), sums.cells());
    }
    let label_hard = format!("hard faults, {}", ground.name);
    println!("{label_hard:<38} {:<22} | {}", "", hard.cells());
    println!("{label:<38} {:<22} | {}\n", "", all.cells());
}

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if asked.iter().any(|argument| argument == "--test") {
        return;
    }
    let (first, seeds) = (number("SEED", 1), number("SEEDS", 2));
    let verbose = number("VERBOSE", 0) > 0;
    let dense = number("DENSE", 0) > 0;
    let analyzers = usize::try_from(number("SHARDS", 0)).expect("a number of analyzers");
    let mut shared = Shared::default();
    println!(
        "{:<38} {:<22} | {:>12} | {:>12} | {:>12} | {:>6} | {:>6}",
        "fault", "", "wholly right", "missed", "wrong", "median", "last"
    );
    for (ground, rows) in TABLES {
        let mut by_company: BTreeMap<Company, Sums> = BTreeMap::new();
        let mut all = Sums::default();
        let mut hard = Sums::default();
        let mut probing = ground.probing;
        if dense {
            probing.inter_tor *= 10.0;
        }
        for row in rows {
            for company in Company::ALL {
                if !is_asked_for(&asked, row, company) {
                    continue;
                }
                let mut cell = Sums::default();
                let mut not_right = Vec::new();
                for seed in first..first + seeds {
                    let run = run(row, company, probing, seed).expect("the run ends");
                    if analyzers > 0 {
                        let shards = run_over_shards(row, company, probing, seed, analyzers);
                        shared.compare(&run, &shards.expect("the run ends"), (row.name, seed));
                    }
                    cell.add(&run);
                    all.add(&run);
                    if row.hard {
                        hard.add(&run);
                    }
                    by_company.entry(company).or_default().add(&run);
                    if !run.is_wholly_right() {
                        not_right.push((seed, run));
                    }
                }
                let label = if ground.name == CLOS.name {
                    row.name.to_owned()
                } else {
                    format!("{}: {}", ground.name, row.name)
                };
                println!("{label:<38} {:<22} | {}", company.name(), cell.cells());
                if verbose {
                    for (seed, run) in &not_right {
                        tell(run, *seed);
                    }
                }
            }
        }
        conclude(ground, by_company, hard, all);
    }
    if shared.runs > 0 {
        println!(
            "{analyzers} analyzers beside one: {} runs, {} with other findings, {} with other evidence for the same; {} owners killed, {} batches came again",
            shared.runs,
            shared.otherwise,
            shared.different - shared.otherwise,
            shared.killed,
            shared.again
        );
    }
}
