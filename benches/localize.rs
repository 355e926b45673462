//! Accuracy and cost of localisation on simulated fabrics: `cargo bench --bench localize`.
//!
//! One set of parameters for all cases. Prints precision, recall and F1 over the seeds, and the median time of one
//! answer, for ours and for two voting methods; then false suspects on healthy fabrics, and time on large fabrics.

use std::time::{Duration, Instant};

use rpingmesh::analysis::localize::{
    Component, PathObservation, Problem, Settings, localize, vote,
};
use rpingmesh::analysis::simulate::{Plan, Score, Shape, World};

const SEEDS: u64 = 20;

fn problem(world: &World) -> Problem {
    let mut problem = Problem::new();
    for seen in &world.observed {
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

type Method = (&'static str, fn(&Problem) -> Vec<Component>);

const METHODS: [Method; 3] = [
    ("ours", |problem| {
        let answer = localize(problem, &Settings::default());
        answer
            .suspects
            .into_iter()
            .map(|suspect| suspect.component)
            .collect()
    }),
    ("max-vote", |problem| {
        vote::max_vote(problem).into_iter().collect()
    }),
    ("007-style", |problem| vote::vote_007(problem, 0.01)),
];

fn case(plan: &Plan, first_seed: u64) {
    let label = format!(
        "{} fault(s), {:.2}-{:.2} %, {:>3} s{}",
        plan.faults,
        plan.loss.start() * 100.0,
        plan.loss.end() * 100.0,
        plan.window_s,
        if plan.known_paths {
            ""
        } else {
            ", candidate paths"
        }
    );
    print!("{label:<44}");
    let mut scores = [Score::default(); METHODS.len()];
    let mut times: [Vec<Duration>; METHODS.len()] = Default::default();
    for seed in first_seed..first_seed + SEEDS {
        let world = World::draw(plan, seed).expect("a valid plan");
        let problem = problem(&world);
        for (index, (_, method)) in METHODS.iter().enumerate() {
            let start = Instant::now();
            let named = method(&problem);
            times[index].push(start.elapsed());
            scores[index].add(Score::of(&world.truth, &named));
        }
    }
    for (score, times) in scores.iter().zip(&mut times) {
        times.sort_unstable();
        print!(
            " | {:.3}/{:.3} ({:.3}) {:>6.1} ms",
            score.precision(),
            score.recall(),
            score.f1(),
            times[times.len() / 2].as_secs_f64() * 1e3
        );
    }
    println!();
}

fn healthy(first_seed: u64) {
    let plan = Plan {
        faults: 0,
        ..Plan::default()
    };
    let windows = 1000;
    let named: usize = (first_seed..first_seed + windows)
        .map(|seed| {
            let world = World::draw(&plan, seed).expect("a valid plan");
            localize(&problem(&world), &Settings::default())
                .suspects
                .len()
        })
        .sum();
    println!("no fault: {named} suspects in {windows} windows of 20 s");
}

fn large(name: &str, shape: Shape, tuples_per_host: usize) {
    let plan = Plan {
        shape,
        tuples_per_host,
        ..Plan::default()
    };
    let world = World::draw(&plan, 1).expect("a valid plan");
    let start = Instant::now();
    let problem = problem(&world);
    let built = start.elapsed();
    let start = Instant::now();
    let answer = localize(&problem, &Settings::default());
    let score = Score::of(
        &world.truth,
        answer.suspects.iter().map(|suspect| &suspect.component),
    );
    println!(
        "{name}: {} paths, compressed in {:.2} s, answered in {:.2} s, {score:?}",
        problem.observations(),
        built.as_secs_f64(),
        start.elapsed().as_secs_f64()
    );
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let first_seed = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    println!(
        "k = 8 fat tree, 150 probes/s and host, background U(0, 1e-4), {SEEDS} seeds from {first_seed}"
    );
    println!(
        "{:<44} | {}",
        "precision/recall (F1), median time",
        METHODS.map(|(name, _)| name).join(", ")
    );
    for (low, high, windows) in [(0.002, 0.02, [20.0, 120.0]), (0.0005, 0.003, [20.0, 120.0])] {
        for window_s in windows {
            for faults in [1, 2, 4, 8] {
                case(
                    &Plan {
                        faults,
                        loss: low..=high,
                        window_s,
                        ..Plan::default()
                    },
                    first_seed,
                );
            }
        }
    }
    case(
        &Plan {
            known_paths: false,
            ..Plan::default()
        },
        first_seed,
    );
    healthy(first_seed);
    large(
        "k = 16 fat tree (1 024 hosts)",
        Shape::FatTree { k: 16 },
        100,
    );
    large(
        "leaf-spine of 100 000 hosts",
        Shape::LeafSpine {
            spines: 64,
            tors: 3125,
            hosts: 32,
        },
        8,
    );
}
