use crate::analysis::localize::{
    Alternatives, Component, PathObservation, Posterior, Problem, Settings, localize_with_posterior,
};

fn link(from: &str, to: &str) -> Component {
    Component::Link {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// Four ToRs with two hosts each on two spines, each pair of hosts under different ToRs over both spines; `lost` of 200 probes by
/// ToR of the source, spine, ToR of the target and number of the pair.
fn problem(lost: impl Fn(u32, u32, u32, u32) -> u64) -> Problem {
    let mut problem = Problem::new();
    let mut pair = 0;
    for source in 0..8_u32 {
        for target in (0..8).filter(|target| target / 2 != source / 2) {
            for spine in 0..2 {
                let path = [
                    format!("h{source}"),
                    format!("tor{}", source / 2),
                    format!("spine{spine}"),
                    format!("tor{}", target / 2),
                    format!("h{target}"),
                ];
                let observation = PathObservation {
                    paths: vec![path.iter().map(String::as_str).collect()],
                    sent: 200,
                    lost: lost(source / 2, spine, target / 2, pair),
                };
                problem.add(&observation).expect("a valid path");
                pair += 1;
            }
        }
    }
    problem
}

fn posterior(problem: &Problem) -> (usize, Posterior) {
    let (diagnosis, posterior) = localize_with_posterior(problem, &Settings::default());
    (diagnosis.suspects.len(), posterior)
}

/// The alternatives with a component, the most probable for it first.
fn with<'a>(
    problem: &Problem,
    posterior: &'a Posterior,
    component: &Component,
) -> Option<(f64, &'a Alternatives)> {
    let id = problem.id(component)?;
    let found = posterior.suspects.iter().filter_map(|alternatives| {
        let of = alternatives.components.iter();
        let possible = of.clone().find(|possible| possible.component == id)?;
        Some((possible.probability, alternatives))
    });
    found.max_by(|a, b| a.0.total_cmp(&b.0))
}

#[test]
fn without_losses_nothing_is_possible() {
    let (_, posterior) = posterior(&problem(|_, _, _, _| 0));
    assert_eq!(posterior.suspects, []);
}

#[test]
fn a_weak_suspect_is_possible_though_it_is_not_named() {
    // Two probes on two paths that have the link alone in common: h0 to h2, and h1 to h4.
    let problem = problem(|_, _, _, pair| u64::from(pair == 1 || pair == 17));
    assert_eq!(problem.lost(), 2);
    let (named, posterior) = posterior(&problem);
    assert_eq!(named, 0);
    let suspect = link("tor0", "spine1");
    let (probability, _) = with(&problem, &posterior, &suspect).expect("possible");
    let other = with(&problem, &posterior, &link("spine1", "tor1"));
    let other = other.map_or(0.0, |(other, _)| other);
    assert!(
        probability > other && probability < 0.5,
        "{probability}, another link {other}"
    );
}

#[test]
fn a_plain_fault_is_certain_and_has_its_hazard() {
    let problem = problem(|from, spine, _, _| if from == 0 && spine == 1 { 10 } else { 0 });
    let (named, posterior) = posterior(&problem);
    assert_eq!(named, 1);
    let suspect = link("tor0", "spine1");
    let (probability, alternatives) = with(&problem, &posterior, &suspect).expect("possible");
    assert!(probability > 0.99, "{probability}");
    let hazard = alternatives.components[0].hazard;
    assert!((0.016..0.07).contains(&hazard), "{hazard}");
}

#[test]
fn what_explains_the_same_losses_shares_one_probability() {
    // All from tor0 over spine1 goes to tor1, and nothing else goes there.
    let mut problem = Problem::new();
    for host in 0..2 {
        for (spine, tor) in [("spine0", "tor2"), ("spine1", "tor1")] {
            for target in 0..4 {
                let (source, target) = (format!("h{host}"), format!("{tor}-h{target}"));
                let observation = PathObservation {
                    paths: vec![vec![&source, "tor0", spine, tor, &target]],
                    sent: 1_000,
                    lost: if spine == "spine1" { 20 } else { 0 },
                };
                problem.add(&observation).expect("a valid path");
            }
        }
    }
    let (_, posterior) = posterior(&problem);
    let (up, alternatives) = with(&problem, &posterior, &link("tor0", "spine1")).expect("possible");
    let (down, others) = with(&problem, &posterior, &link("spine1", "tor1")).expect("possible");
    assert_eq!(alternatives, others);
    assert!((up - down).abs() < 0.02 && up > 0.2, "{up} and {down}");
    let sum: f64 = alternatives
        .components
        .iter()
        .map(|possible| possible.probability)
        .sum();
    assert!((0.9..=1.0 + 1e-9).contains(&sum), "{sum}");
}
