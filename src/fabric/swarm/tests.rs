use super::*;
use crate::fabric::engine::Profile;
use crate::fabric::topology::{Shape, Topology};
use crate::measure::{Invalid, Outcome};

fn swarm(faults: &[&str]) -> Swarm {
    let shape = Shape {
        spines: 2,
        tors: 2,
        hosts: 2,
        rnics: 2,
        ..Shape::default()
    };
    let topology = Arc::new(Topology::new(shape, 4).expect("possible shape"));
    let origin = HostTime::from_nanos(0);
    let mut engine = Engine::new(topology, Profile::default(), 4, origin);
    for fault in faults {
        engine
            .inject(&fault.parse().expect("a fault"))
            .expect("a known target");
    }
    let mut swarm = Swarm::new(engine, Config::default(), 4);
    swarm.probe(&Probing::default(), 4);
    swarm
}

fn run(swarm: &mut Swarm, seconds: u64) -> Vec<(RnicId, ProbeResult)> {
    let mut results = Vec::new();
    let until = HostTime::from_nanos(0).after(Duration::from_secs(seconds));
    swarm.run_until(until, |rnic, result| results.push((rnic, result)));
    results
}

#[test]
fn every_probe_of_a_healthy_fabric_is_measured() {
    let mut swarm = swarm(&[]);
    let results = run(&mut swarm, 10);
    // 8 RNICs, 30 probes/s each, and those that were due in the first interval.
    assert!(
        (2_380..=2_400).contains(&results.len()),
        "{}",
        results.len()
    );
    for (_, result) in &results {
        let Outcome::Complete(measured) = result.outcome else {
            panic!("{result:?}")
        };
        let same_tor = result.kind == ProbeKind::TorMesh;
        let expected = if same_tor { 2_400..2_500 } else { 6_400..6_600 };
        assert!(expected.contains(&measured.network_rtt.0), "{result:?}");
        assert!(!measured.prober_delay.is_negative());
    }
    assert_eq!(swarm.engine().totals().lost, 0);
}

#[test]
fn the_same_seed_gives_the_same_results() {
    let transcript = |faults: &[&str]| {
        let results = run(&mut swarm(faults), 3);
        let lines: Vec<_> = results
            .iter()
            .map(|(rnic, result)| format!("{rnic:?} {:?} {:?}", result.timestamps, result.outcome))
            .collect();
        lines
    };
    let faults = ["switch spine0 loss=10% load=50%"];
    assert_eq!(transcript(&faults), transcript(&faults));
    assert_ne!(transcript(&faults), transcript(&[]));
}

#[test]
fn a_restarted_host_is_found_again() {
    let mut swarm = swarm(&["host host3 restart at=2s"]);
    let results = run(&mut swarm, 10);
    let lost: Vec<_> = results
        .iter()
        .filter(|(_, result)| result.outcome == Outcome::Lost)
        .collect();
    assert!(!lost.is_empty());
    for (_, result) in lost {
        assert_eq!(result.path.target.host.as_str(), "host3");
        let at = result.sent_at().nanos();
        assert!((1_999_000_000..3_000_000_001).contains(&at), "{at}");
    }
}

#[test]
fn a_stalled_host_answers_late_and_loses_nothing() {
    let mut swarm = swarm(&["host host3 stall=300ms every=1s at=1s"]);
    let results = run(&mut swarm, 5);
    // Over a responder delay of 300 ms two clocks that are some ppm apart differ by more than the round trip takes.
    assert!(results.iter().all(|(_, result)| matches!(
        result.outcome,
        Outcome::Complete(_) | Outcome::Invalid(Invalid::NegativeNetworkRtt)
    )));
    let slow = |result: &ProbeResult| {
        result
            .outcome
            .measurement()
            .is_some_and(|measured| measured.responder_delay.0 > 10_000_000)
    };
    let slow: Vec<_> = results.iter().filter(|(_, result)| slow(result)).collect();
    assert!(!slow.is_empty());
    assert!(
        slow.iter()
            .all(|(_, result)| result.path.target.host.as_str() == "host3")
    );
}

#[test]
fn a_clock_step_makes_measurements_invalid_and_loses_none() {
    // Steps back by a second, often, so that some fall between two stamps of one probe.
    let steps: Vec<_> = (0..400)
        .map(|step| {
            format!(
                "rnic host0/0 clock-step=-1s at={}us",
                1_000_000 + step * 10_007
            )
        })
        .collect();
    let steps: Vec<_> = steps.iter().map(String::as_str).collect();
    let mut swarm = swarm(&steps);
    let results = run(&mut swarm, 8);
    assert!(
        results
            .iter()
            .all(|(_, result)| result.outcome != Outcome::Lost)
    );
    let negative = results
        .iter()
        .filter(|(_, result)| {
            matches!(
                result.outcome,
                Outcome::Invalid(Invalid::NegativeNetworkRtt | Invalid::NegativeResponderDelay)
            )
        })
        .count();
    assert!(negative < 20, "{negative}");
}

/// The 5-tuples to other ToRs that an RNIC has in its list.
fn tuples(swarm: &Swarm, rnic: RnicId) -> Vec<FlowKey> {
    let groups = &swarm.members[rnic.index()].groups;
    let across = groups
        .iter()
        .filter(|group| group.kind == ProbeKind::InterTor);
    across
        .flat_map(|group| &group.paths)
        .map(|path| (path.target.address.gid, path.flow_label.source_port()))
        .collect()
}

/// Probes of an RNIC to other ToRs, by 5-tuple.
fn counts(results: &[(RnicId, ProbeResult)], rnic: RnicId) -> HashMap<FlowKey, u32> {
    let mut counts = HashMap::new();
    for (source, result) in results {
        if *source == rnic && result.kind.of_path() == ProbeKind::InterTor {
            let path = &result.path;
            let flow = (path.target.address.gid, path.flow_label.source_port());
            *counts.entry(flow).or_default() += 1;
        }
    }
    counts
}

#[test]
fn focus_moves_probes_and_its_end_moves_them_back() {
    let (rnic, seconds) = (RnicId(0), 30);
    let plain = run(&mut swarm(&[]), seconds);
    let mut focused = swarm(&[]);
    let asked = tuples(&focused, rnic)[0];
    let refused = focused.focus(rnic, HashMap::from([(asked, 3)]), &FocusBounds::default());
    assert_eq!(refused, Refused::default());
    let more = run(&mut focused, seconds);
    let (plain, more) = (counts(&plain, rnic), counts(&more, rnic));
    let ratio = f64::from(more[&asked]) / f64::from(plain[&asked]);
    assert!((3.0..4.2).contains(&ratio), "{ratio} times as often");
    let all = |counts: &HashMap<FlowKey, u32>| counts.values().sum::<u32>();
    assert!(all(&plain).abs_diff(all(&more)) <= 5, "{plain:?} {more:?}");
    focused.focus(rnic, HashMap::new(), &FocusBounds::default());
    let after = counts(&run(&mut focused, 2 * seconds), rnic);
    let ratio = f64::from(after[&asked]) / f64::from(plain[&asked]);
    assert!((0.8..1.25).contains(&ratio), "{ratio} times as often");
}

#[test]
fn whatever_is_asked_for_each_second_every_5_tuple_has_its_turn() {
    let (rnic, seconds) = (RnicId(0), 60);
    let mut swarm = swarm(&[]);
    let tuples = tuples(&swarm, rnic);
    let mut results = Vec::new();
    for second in 1..=seconds {
        // Always others, and always as many as are granted.
        let nth = usize::try_from(second).expect("small") * 3;
        let some = (0..3).map(|more| (tuples[(nth + more) % tuples.len()], 3));
        swarm.focus(rnic, some.collect(), &FocusBounds::default());
        results.extend(run(&mut swarm, second));
    }
    let counts = counts(&results, rnic);
    let sent: u32 = counts.values().sum();
    let base = f64::from(sent) / tuples.len() as f64;
    for tuple in &tuples {
        let count = f64::from(counts.get(tuple).copied().unwrap_or(0));
        assert!(count >= 0.45 * base, "{count} probes of {base}");
    }
}
