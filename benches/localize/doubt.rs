//! What is hard beside many faults: few 5-tuples of which only candidate paths are known, paths that are out of date, few
//! probes per 5-tuple, hosts that stand still.

use std::collections::BTreeSet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rpingmesh::analysis::localize::{Component, Suspect, Symptom};
use rpingmesh::analysis::simulate::{FaultKind, FaultPlan, Score, SimulationPlan, World};

use crate::{Seeds, figures, links, ours, problem};

fn drawn(plan: &SimulationPlan, seed: u64) -> World {
    World::draw(plan, seed).expect("a valid plan")
}

fn holds(suspect: &Suspect, at: &Component) -> bool {
    suspect.component == *at || suspect.or.contains(at)
}

/// Candidate paths only, 15 5-tuples per host: groups (a suspect and what it may be instead) that hold a fault, and wrong ones
/// that are sure of themselves.
pub(crate) fn sparse(seeds: Seeds) {
    println!("\ncandidate paths only, 15 5-tuples per host, 20 s; groups");
    let (mut all, mut all_wrong) = (0, 0);
    for (faults, low, high) in [(1, 0.002, 0.02), (4, 0.002, 0.02), (4, 0.01, 0.05)] {
        let plan = SimulationPlan {
            faults: links(faults, low, high),
            known_paths: false,
            tuples_per_host: 15,
            ..SimulationPlan::default()
        };
        let (mut groups, mut right, mut sure_wrong, mut held, mut truth, mut sizes) =
            (0, 0, 0, 0, 0, 0);
        for seed in seeds.all() {
            let world = drawn(&plan, seed);
            let suspects = ours(&problem(&world)).suspects;
            truth += world.truth.len();
            held += world
                .truth
                .iter()
                .filter(|fault| suspects.iter().any(|s| holds(s, &fault.component)))
                .count();
            for suspect in &suspects {
                let is_right = world
                    .truth
                    .iter()
                    .any(|fault| holds(suspect, &fault.component));
                groups += 1;
                sizes += 1 + suspect.or.len();
                right += usize::from(is_right);
                sure_wrong += usize::from(!is_right && suspect.group_confidence >= 0.9);
            }
        }
        println!(
            "{faults} link(s), {:.1}-{:.1} %: {right} of {groups} groups right, {sure_wrong} wrong at confidence .9, {held} of {truth} \
             faults in one, {:.1} components each",
            low * 100.0,
            high * 100.0,
            sizes as f64 / f64::from(groups.max(1))
        );
        all += groups;
        all_wrong += sure_wrong;
    }
    println!("together: {all_wrong} of {all} groups wrong at confidence .9");
}

/// A tenth of the traced paths is out of date: the 5-tuple takes another one.
pub(crate) fn stale(seeds: Seeds) {
    println!("\n10 % of the paths out of date, 20 s");
    for (faults, low, high) in [(1, 0.05, 0.3), (4, 0.002, 0.02), (0, 0.0, 0.0)] {
        let plan = SimulationPlan {
            faults: if faults == 0 {
                Vec::new()
            } else {
                links(faults, low, high)
            },
            known_paths: false,
            ..SimulationPlan::default()
        };
        let mut score = Score::default();
        for seed in seeds.all() {
            let mut world = drawn(&plan, seed);
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            for seen in &mut world.observed {
                let candidates = seen.candidates.take().expect("they were asked for");
                if random.random_bool(0.1) {
                    let other = random.random_range(0..candidates.len());
                    seen.path.clone_from(&candidates[other]);
                }
            }
            let suspects = ours(&problem(&world)).suspects;
            score.add(Score::of(
                &world.truth,
                suspects.iter().map(|suspect| &suspect.component),
            ));
        }
        println!(
            "{faults} link(s), {:.1}-{:.1} %: {}",
            low * 100.0,
            high * 100.0,
            figures(score)
        );
    }
}

/// A switch or a link that swallows 10 to 30 % of the 5-tuples, with few probes on each.
pub(crate) fn few(seeds: Seeds) {
    println!("\na switch swallows 10-30 % of the 5-tuples, few probes per 5-tuple");
    for probes in [3, 5, 10, 15, 30] {
        let plan = SimulationPlan {
            faults: vec![FaultPlan::blackholes(1, 0.1..=0.3)],
            ..SimulationPlan::default()
        };
        let plan = SimulationPlan {
            window_s: f64::from(probes) * plan.tuples_per_host as f64 / plan.probes_per_second,
            ..plan
        };
        let (mut named, mut wrong, mut windows) = (0, 0, 0);
        for seed in seeds.all() {
            let world = drawn(&plan, seed);
            let suspects = ours(&problem(&world)).suspects;
            let is_it = |suspect: &&Suspect| suspect.component == world.truth[0].component;
            windows += 1;
            named += usize::from(
                suspects
                    .iter()
                    .filter(is_it)
                    .any(|suspect| suspect.symptom == Symptom::Blackhole),
            );
            wrong += suspects.iter().filter(|suspect| !is_it(suspect)).count();
        }
        println!("{probes:>2} probes: {named} of {windows} named as such, {wrong} other suspects");
    }
}

/// Hosts that answer nothing for 2 of 20 s, beside a mild link: how often the link is named, with and without them.
pub(crate) fn deaf(seeds: Seeds) {
    println!("\n3 hosts deaf for 2 of 20 s beside a link of 0.2-2 %: recall of the link");
    let mild = || links(1, 0.002, 0.02);
    let with_switch = || {
        let mut faults = mild();
        faults.push(FaultPlan::drawn(FaultKind::Switch, 1, 0.1..=0.3));
        faults
    };
    for (label, faults, hosts) in [
        ("alone", mild(), 0),
        ("deaf hosts", mild(), 3),
        ("a switch loses 10-30 %", with_switch(), 0),
        ("that and deaf hosts", with_switch(), 3),
    ] {
        let plan = SimulationPlan {
            faults,
            ..SimulationPlan::default()
        };
        let (mut found, mut other) = (0, 0);
        for seed in seeds.all() {
            let mut world = drawn(&plan, seed);
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let deaf: BTreeSet<String> = (0..hosts)
                .map(|_| format!("h{}", random.random_range(0..128)))
                .collect();
            for seen in &mut world.observed {
                if seen.path.last().is_some_and(|host| deaf.contains(host)) {
                    seen.lost += (seen.lost..seen.sent)
                        .filter(|_| random.random_bool(0.1))
                        .count() as u64;
                }
            }
            let link = world
                .truth
                .iter()
                .find(|fault| matches!(fault.component, Component::Link { .. }))
                .expect("a link was asked for");
            let is_of_deaf = |component: &Component| match component {
                Component::Link { to, .. } => deaf.contains(to),
                Component::Host { name } => deaf.contains(name),
                Component::Switch { .. } | Component::Rnic { .. } | Component::Group { .. } => {
                    false
                }
            };
            for suspect in ours(&problem(&world)).suspects {
                if suspect.component == link.component {
                    found += 1;
                } else if !world
                    .truth
                    .iter()
                    .any(|fault| fault.component == suspect.component)
                    && !is_of_deaf(&suspect.component)
                {
                    other += 1;
                }
            }
        }
        println!(
            "{label}: {found} of {}, {other} suspects that are neither faults nor deaf",
            seeds.all().count()
        );
    }
}
