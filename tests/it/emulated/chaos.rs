//! Drivers that return anything: errors without sense, completions of nothing, attributes from nowhere. From seeds.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::gids::Fabric;
use super::ping::{probe, respond};
use super::{PAIR, Rnics};

/// Two RNICs of which some answers are anything, and one that is whole to probe from.
fn table(seed: u64, permille: u32) -> String {
    let chaos = format!("clock 48 156250\nchaos {seed} {permille}");
    let whole = "dev probe0 0 0 0\nport 1 4 2 5 256 0\ngid 1 0 10.0.0.99 2 1\n";
    PAIR.replace("OWN", &chaos) + whole
}

/// Descriptors that a process has open.
fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("there")
        .count()
}

/// Ticks of the processor (100 a second) that a process has used.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("there");
    let (_, fields) = stat.rsplit_once(") ").expect("fields");
    let fields: Vec<&str> = fields.split(' ').collect();
    [11, 12]
        .iter()
        .filter_map(|at| fields[*at].parse::<u64>().ok())
        .sum()
}

/// An agent stays alive, stops when it is told to, panics nowhere, keeps no descriptor and does not spin. Time is not measured:
/// the processor's is, of which a loop without a pause takes all.
fn survives(seed: u64, permille: u32) {
    let mut fabric = Fabric::start_with(&table(seed, 0), "mlx5_0,mlx5_1");
    fabric.is_at("10.0.0.");
    fabric.rnics.become_(&table(seed, permille));
    let mut tries = fabric.tries("probe0");
    let pid = fabric.agent.id();
    thread::sleep(Duration::from_secs(2));
    let (began, used, open) = (Instant::now(), ticks(pid), descriptors(pid));
    thread::sleep(Duration::from_secs(3));
    let share = (ticks(pid) - used) as f64 / 100.0 / began.elapsed().as_secs_f64();
    assert!(share < 0.5, "seed {seed}: {share} of a processor");
    let now = descriptors(pid);
    assert!(
        now <= open + 24,
        "seed {seed}: {open} descriptors, then {now}"
    );
    tries.end();
    fabric.rnics.become_(&table(seed, 0));
    fabric.is_reached_at("10.0.0.1", "probe0");
    let log = fabric.rnics.log();
    for line in log.lines().filter(|line| line.starts_with("close ")) {
        assert!(line.ends_with(" objects 0"), "seed {seed}: {line}");
    }
    let lines = fabric.agent.stop();
    let panicked = lines.iter().find(|line| line.contains("panicked"));
    assert_eq!(panicked, None, "seed {seed}");
}

#[test]
fn an_agent_survives_drivers_that_return_anything_now_and_then() {
    thread::scope(|scope| {
        for seed in [1, 2, 3] {
            scope.spawn(move || survives(seed, 20));
        }
    });
}

#[test]
fn an_agent_survives_drivers_that_return_anything_half_of_the_time() {
    thread::scope(|scope| {
        for seed in [4, 5, 6] {
            scope.spawn(move || survives(seed, 500));
        }
    });
}

/// Commands end with a status of their own, whatever the driver does.
#[test]
fn commands_survive_drivers_that_return_anything() {
    for (seed, permille) in [(7, 5), (8, 30), (9, 150), (10, 400), (11, 1_000)] {
        let rnics = Rnics::new(&table(seed, 0));
        let (_responder, target) = respond(&rnics);
        rnics.become_(&table(seed, permille));
        let output = probe(&rnics, &target, ("40", "5ms"), &[], || ());
        let doctor = rnics
            .agent(&["doctor", "--explain-gids"])
            .output()
            .expect("runs");
        for output in [output, doctor] {
            let text = String::from_utf8_lossy(&output.stderr);
            let status = output.status.code();
            assert!(
                matches!(status, Some(0 | 1)),
                "seed {seed}: {status:?}: {text}"
            );
            assert!(!text.contains("panicked"), "seed {seed}: {text}");
        }
    }
}
