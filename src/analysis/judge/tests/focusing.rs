//! What the judge asks for, and what its incidents say of that.

use std::collections::BTreeSet;

use super::*;
use crate::analysis::focus::Bounds;
use crate::analysis::localize::Component;
use crate::id::Gid;

impl TestFabric {
    /// Four ToRs with two hosts each. Two spines, and each 5-tuple crosses one there and the other one back.
    fn with_focus() -> Self {
        let mut fabric = Self::new(4, 2);
        fabric.judge.focus = Some(Bounds::default());
        fabric
    }

    /// Which spine the 5-tuple from one host to another crosses.
    fn spine(source: u8, target: u8) -> String {
        format!("spine{}", (source + 2 * target + source / 2) % 2)
    }

    fn trace_all(&mut self) {
        let hosts = self.tors * self.under;
        for source in 0..hosts {
            for target in (0..hosts).filter(|target| *target / 2 != source / 2) {
                let tuple = crate::probe::trace::Tuple {
                    source: self.end(source).gid,
                    target: self.end(target).gid,
                    port: UdpSourcePort(50_000),
                };
                let nodes = [
                    self.end(source).tor.as_str().to_owned(),
                    Self::spine(source, target),
                    self.end(target).tor.as_str().to_owned(),
                ];
                self.judge.routes.learn(tuple, nodes.to_vec(), now(0));
            }
        }
    }

    fn asked(&self) -> BTreeSet<(Gid, Gid)> {
        let asked = self.judge.asked.iter();
        asked.map(|asked| (asked.source, asked.target)).collect()
    }
}

/// Packets from ToR 0 to spine 0 are lost now and then: probes of its hosts, and first and second ACKs of them.
fn lossy(source: u8, target: u8) -> Fate {
    let crosses =
        |from: u8, to: u8| from / 2 == 0 && to / 2 != 0 && TestFabric::spine(from, to) == "spine0";
    let acks = u64::from(crosses(target, source));
    Fate::Half(u64::from(crosses(source, target)) + acks, acks)
}

#[test]
fn nothing_is_asked_where_nothing_is_suspected_and_nothing_without_focus() {
    let mut healthy = TestFabric::with_focus();
    healthy.trace_all();
    healthy.run(30, |_, _| Fate::Lost(0));
    assert_eq!(healthy.asked(), BTreeSet::new());
    let mut off = TestFabric::new(4, 2);
    off.trace_all();
    off.run(30, lossy);
    assert_eq!(off.asked(), BTreeSet::new());
}

/// The lists of all agents change: host 7 is probed no more. Its paths keep their counts for two minutes, and were asked for
/// before they were recognised by their silence. Agents counted them as unknown.
#[test]
fn what_has_left_the_lists_is_not_asked_for() {
    let gone = 7;
    let mut fabric = TestFabric::with_focus();
    fabric.trace_all();
    fabric.run(20, |_, _| Fate::Lost(0));
    let mut ever = BTreeSet::new();
    for second in 0..22 {
        fabric.run(1, |source, target| match target {
            7 => Fate::Silent,
            // So seldom that the link is only suspected.
            _ if second >= 12 && second % 4 == 0 => lossy(source, target),
            _ => Fate::Lost(0),
        });
        ever.extend(fabric.asked());
    }
    let snapshot = Snapshot::take(
        &fabric.windows,
        &fabric.host_filter,
        &fabric.judge.limits(),
        now(fabric.seconds),
    );
    let gid = fabric.end(gone).gid;
    let is_of_it = |seen: &&PathCounts| seen.target.gid == gid;
    assert_eq!(
        snapshot.paths().filter(is_of_it).count(),
        7,
        "they are kept"
    );
    assert!(!ever.is_empty(), "something is asked for");
    assert!(ever.iter().all(|(_, target)| *target != gid), "{ever:?}");
}

#[test]
fn questions_name_their_suspects_and_count_what_is_asked_for() {
    let mut fabric = TestFabric::with_focus();
    fabric.trace_all();
    fabric.run(20, |_, _| Fate::Lost(0));
    let mut seen = 0;
    for _ in 0..10 {
        fabric.run(1, lossy);
        let at = now(fabric.seconds);
        let limits = fabric.judge.limits();
        let snapshot = Snapshot::take(&fabric.windows, &fabric.host_filter, &limits, at);
        let judgement = fabric.judge.judge(&snapshot).expect("possible counts");
        let tuples: usize = judgement.questions.iter().map(|one| one.tuples).sum();
        assert_eq!(tuples, judgement.asked.len());
        for question in &judgement.questions {
            assert!(
                question.rate > 0.0 && question.information > 0.0,
                "{question:?}"
            );
            let sum: f64 = question.suspects.iter().map(|(_, share)| share).sum();
            assert!(sum > 0.0 && sum <= 1.0 + 1e-9, "{question:?}");
            seen += 1;
        }
    }
    assert!(seen > 0, "something was asked about");
}

/// A finding that cannot tell two directions apart is being decided as soon as a 5-tuple is asked for that crosses one of them.
#[test]
fn what_cannot_be_told_is_being_decided_where_probes_tell_it_apart() {
    let mut fabric = TestFabric::with_focus();
    fabric.trace_all();
    fabric.run(20, |_, _| Fate::Lost(0));
    let limits = fabric.judge.limits();
    let snapshot = Snapshot::take(
        &fabric.windows,
        &fabric.host_filter,
        &limits,
        now(fabric.seconds),
    );
    let mut board = Board::default();
    board.follow(&mut fabric.judge.routes, &snapshot);
    let view = View::new(&board, &snapshot, BTreeSet::new());
    let link = |from: &str, to: &str| Component::Link {
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let undecided = |subject, other| {
        let asked = asked::tests::asked_for(&fabric.end(0), &fabric.end(2));
        let mut findings = [asked::tests::undecided(subject, vec![other])];
        flows::mark_deciding(&mut findings, &view, &[asked]);
        findings[0].deciding
    };
    let spine = TestFabric::spine(0, 2);
    let (there, elsewhere) = (link("tor0", &spine), link("tor3", "spine0"));
    let next = link(&spine, "tor1");
    assert!(undecided(there.clone(), elsewhere));
    assert!(!undecided(there, next), "it crosses both alike");
}

/// The agents of this fabric ignore what they are asked for. The judge finds what it finds without focus, and never asks for more than
/// it may: one half of the rate of an RNIC with six 5-tuples to other ToRs, so three portions.
#[test]
fn agents_that_ignore_it_change_nothing() {
    let mut lines = Vec::new();
    for mut fabric in [TestFabric::new(4, 2), TestFabric::with_focus()] {
        fabric.trace_all();
        fabric.run(20, |_, _| Fate::Lost(0));
        for _ in 0..40 {
            fabric.run(1, lossy);
            let mut portions = std::collections::BTreeMap::new();
            for asked in &fabric.judge.asked {
                *portions.entry(asked.source).or_insert(0) += asked.portions;
            }
            assert!(portions.values().all(|sum| *sum <= 3), "{portions:?}");
        }
        lines.push(fabric.lines);
    }
    assert!(!lines[0].is_empty(), "something is found");
    assert_eq!(lines[0], lines[1]);
}
