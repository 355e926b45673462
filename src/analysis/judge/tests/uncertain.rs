//! Paths that change in the middle of a window, a topology file that names half of the switches: what is right is named, what is
//! uncertain is said, and nothing is named at random.

use super::*;
use crate::probe::trace::Tuple;
use crate::topology::wiring::Wiring;

const TORS: u8 = 4;
const UNDER: u8 = 2;

/// The spine of a path; a reboot of the spines (`turned`) makes ECMP choose anew.
fn spine(source: u8, target: u8, turned: bool) -> u8 {
    let hash = u32::from(source) * 31 + u32::from(target) * 17 + u32::from(turned) * 7;
    u8::from(hash.wrapping_mul(2_654_435_761) >> 30 & 1 == 1)
}

fn tor(host: u8) -> u8 {
    host / UNDER
}

impl TestFabric {
    /// Traces the paths of the hosts that `of` names.
    fn trace(&mut self, turned: bool, of: impl Fn(u8) -> bool) {
        let at = now(self.seconds);
        let hosts = TORS * UNDER;
        for source in (0..hosts).filter(|source| of(*source)) {
            for target in (0..hosts).filter(|target| tor(*target) != tor(source)) {
                let tuple = Tuple {
                    source: self.end(source).gid,
                    target: self.end(target).gid,
                    port: UdpSourcePort(50_000),
                };
                let path = [
                    format!("tor{}", tor(source)),
                    format!("s{}", spine(source, target, turned)),
                    format!("tor{}", tor(target)),
                ];
                self.judge.routes.learn(tuple, path.to_vec(), at);
            }
        }
    }

    /// Runs while the link from ToR 0 to spine 0 loses `lost` packets of each path, probes and ACKs alike.
    fn lossy_uplink(&mut self, seconds: i64, lost: u64, turned: bool) {
        let crosses = |from, to| tor(from) == 0 && tor(to) != 0 && spine(from, to, turned) == 0;
        self.run(seconds, |source, target| {
            let acks = u64::from(crosses(target, source));
            let times = u64::from(crosses(source, target)) + acks;
            Fate::Half(lost * times, lost * acks)
        });
    }
}

#[test]
fn paths_that_change_in_the_middle_of_a_window_blame_no_other_link() {
    let mut fabric = TestFabric::new(TORS, UNDER);
    fabric.trace(false, |_| true);
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.lossy_uplink(5, 4, false);
    // All paths change; half of the hosts have not traced again after 15 s.
    fabric.lossy_uplink(5, 4, true);
    fabric.trace(true, |source| source % 2 == 0);
    fabric.lossy_uplink(15, 4, true);
    fabric.trace(true, |_| true);
    fabric.lossy_uplink(20, 4, true);
    insta::assert_snapshot!(fabric.lines.join("\n"));
}

#[test]
fn paths_that_change_without_a_fault_open_nothing() {
    let mut fabric = TestFabric::new(TORS, UNDER);
    for turn in 0..10 {
        fabric.trace(turn % 2 == 0, |_| true);
        fabric.run(5, |_, _| Fate::Lost(0));
    }
    assert_eq!(fabric.lines, [""; 0]);
}

#[test]
fn a_topology_that_names_half_of_the_switches_blames_none_of_them_at_random() {
    // The file lacks spine 1 and ToR 3.
    let wiring = r#"{"links":[{"a":"tor0","b":"s0"},{"a":"tor1","b":"s0"},{"a":"tor2","b":"s0"}],
        "hosts":[{"name":"h0","tor":"tor0"},{"name":"h2","tor":"tor1"},{"name":"h4","tor":"tor2"}]}"#;
    let wiring = Wiring::parse(wiring).expect("a topology");
    for traced in [true, false] {
        let mut fabric = TestFabric::new(TORS, UNDER);
        fabric.judge = Judge::new(Routes::new(Some(&wiring)), 0.0);
        if traced {
            fabric.trace(false, |_| true);
        }
        fabric.run(20, |_, _| Fate::Lost(0));
        fabric.lossy_uplink(40, 4, false);
        insta::assert_snapshot!(
            format!("half_named_traced_{traced}"),
            fabric.lines.join("\n")
        );
    }
}
