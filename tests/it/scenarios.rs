//! The scenarios of `tests/scenarios`, run on the emulated fabric in virtual time with a real prober and responder on
//! every RNIC. What was observed, beside the ground truth, is a snapshot each: a change of behaviour is a diff.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpingmesh::fabric::swarm::Swarm;
use rpingmesh::fabric::topology::Flow;
use rpingmesh::fabric::{Engine, Profile, Scenario};
use rpingmesh::lab::check::Check;
use rpingmesh::lab::observed::{Counts, Observed, PathSample, Stats};
use rpingmesh::lab::verdict::{Overall, Verdict, overall, verdicts};
use rpingmesh::measure::Outcome;
use rpingmesh::probe::{Config, ProbeResult};
use rpingmesh::time::{HostTime, Nanos};

/// The most pairs of ToRs that a table lists one by one.
const MOST_PAIRS: usize = 16;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn add(observed: &mut Observed, flow: Flow, result: &ProbeResult) {
    let rtt = result
        .outcome
        .measurement()
        .map(|measured| measured.network_rtt);
    let counts = Counts {
        sent: 1,
        lost: u64::from(result.outcome == Outcome::Lost),
        invalid: u64::from(matches!(result.outcome, Outcome::Invalid(_))),
    };
    observed.add(PathSample {
        flow,
        counts,
        rtts: rtt.as_slice(),
    });
}

/// Runs a scenario to its end, and beyond until every probe is concluded.
fn run(scenario: &Scenario) -> (Swarm, Observed) {
    let topology = Arc::new(scenario.topology().expect("a scenario that was checked"));
    let origin = HostTime::from_nanos(0);
    let mut engine = Engine::new(
        Arc::clone(&topology),
        Profile::default(),
        scenario.seed,
        origin,
    );
    for fault in &scenario.faults {
        engine.inject(fault).expect("a fault that was checked");
    }
    let faults: Vec<_> = engine
        .fault_truth()
        .map(|(fault, _)| fault.clone())
        .collect();
    let mut observed = Observed::new(Arc::clone(&topology), &faults);
    let mut swarm = Swarm::new(engine, Config::default(), scenario.seed);
    swarm.probe(&scenario.probing, scenario.seed);
    swarm.run_until(origin.after(scenario.duration.0), |source, result| {
        let target = topology
            .rnic_by_gid(result.path.target.address.gid)
            .expect("an RNIC of the fabric");
        let flow = Flow {
            source,
            target,
            port: result.source_port.expect("the fabric steers the port"),
        };
        add(&mut observed, flow, &result);
    });
    (swarm, observed)
}

fn row(table: &mut String, name: &str, stats: &Stats) {
    let time = |q| {
        stats
            .rtts
            .quantile(q)
            .map_or_else(|| "-".to_owned(), |rtt: Nanos| rtt.to_string())
    };
    let _ = writeln!(
        table,
        "{name:<14} {:>6} {:>5} {:>7}  {:>9} {:>9}",
        stats.counts.sent,
        stats.counts.lost,
        stats.counts.invalid,
        time(0.5),
        time(0.99),
    );
}

fn verdict_rows(table: &mut String, verdict: &Verdict) {
    let _ = writeln!(table, "\n{}", verdict.fault);
    let _ = writeln!(
        table,
        "  truth: took {} of {} packets",
        verdict.truth.lost, verdict.truth.exposed
    );
    for link in verdict.links.iter().filter(|link| link.truth.lost() > 0) {
        let truth = link.truth;
        let _ = writeln!(
            table,
            "    {:<18} sent {:>5}  down {} loss {} corruption {} blackhole {} overflow {}",
            link.link,
            truth.sent,
            truth.down,
            truth.loss,
            truth.corruption,
            truth.blackhole,
            truth.overflow
        );
    }
    let _ = writeln!(
        table,
        "  observed on the {} paths that cross it: {} of {} probes lost, {} invalid; comparable {} of {}, {:.1} ± {:.1} \
         expected: {}",
        verdict.observed.paths,
        verdict.observed.lost,
        verdict.observed.sent,
        verdict.observed.invalid,
        verdict.compared.lost,
        verdict.compared.sent,
        verdict.expected_lost,
        verdict.tolerance,
        match verdict.agrees {
            Check::Right => "agrees",
            Check::Wrong => "DISAGREES",
            Check::NotComparable => "not comparable",
        }
    );
}

fn report(scenario: &Scenario, swarm: &Swarm, observed: &mut Observed) -> (String, Overall) {
    let mut table = format!("{}\n\n", scenario.title);
    let _ = writeln!(
        table,
        "{:<14} {:>6} {:>5} {:>7}  {:>9} {:>9}",
        "", "sent", "lost", "invalid", "RTT p50", "RTT p99"
    );
    let pairs = observed.take_interval();
    let lists_all = pairs.len() <= MOST_PAIRS;
    for ((from, to), stats) in &pairs {
        if lists_all || stats.counts.loss().get() > 0.05 {
            row(&mut table, &format!("tor{from}→tor{to}"), stats);
        }
    }
    row(&mut table, "off the faults", observed.elsewhere());
    for verdict in verdicts(swarm.engine(), observed) {
        verdict_rows(&mut table, &verdict);
    }
    let overall = overall(swarm.engine(), observed);
    let totals = swarm.engine().totals();
    let _ = writeln!(
        table,
        "\nall probes: {} of {} lost, {} invalid; comparable {} of {}, {:.1} ± {:.1} expected\nall packets: {} sent, {} delivered, {} \
         lost, {} ICRC errors, {} without a queue pair",
        overall.lost,
        overall.sent,
        overall.invalid,
        overall.compared.lost,
        overall.compared.sent,
        overall.expected_lost,
        overall.tolerance,
        totals.sent,
        totals.delivered,
        totals.lost,
        totals.icrc_errors,
        totals.no_queue_pair,
    );
    (table, overall)
}

fn check(name: &str) {
    let scenario = Scenario::load(&folder().join(format!("{name}.toml"))).expect("a scenario");
    let (swarm, mut observed) = run(&scenario);
    let (table, overall) = report(&scenario, &swarm, &mut observed);
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!(name, table);
    });
    assert!(overall.agrees, "{overall:?}");
    for verdict in verdicts(swarm.engine(), &observed) {
        assert_ne!(verdict.agrees, Check::Wrong, "{verdict:?}");
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios! {
    clock_steps
    concurrent
    healthy
    host_down
    host_stall
    host_stall_long
    link_congested
    link_corrupt
    link_down
    link_flap
    link_loss
    link_narrow
    link_slow
    pause_storm
    pods
    responder_restart
    rnic_down
    rnic_drops
    rnic_flap
    rnic_slow
    switch_blackhole
    switch_down
    thousand_rnics
}

#[test]
fn every_file_is_run() {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .expect("the scenarios' folder")
        .map(|entry| entry.expect("readable entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    files.sort();
    let mut run = [NAMES, crate::outages::NAMES].concat();
    run.sort_unstable();
    assert_eq!(files, run);
}
