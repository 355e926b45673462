//! The 5-tuples that may be asked for, and the findings that they decide.

use std::collections::{HashMap, HashSet};

use super::counts::Horizon;
use super::finding::{Asked, Category, Finding};
use super::view::{Observed, View};
use crate::analysis::focus::FLOOR;
use crate::analysis::localize::Component;
use crate::id::{Gid, UdpSourcePort};
use crate::probe::ProbeKind;

/// The horizon whose losses decide what is asked for: long enough for gray loss, short enough to see that it is over.
pub(super) const ASKED_OVER: Horizon = Horizon::Middle;
/// Probes of a 5-tuple that are expected in [`Horizon::Short`], on average over its RNIC's, from which on none means that it is not in
/// the list any more: each keeps at least a quarter of its rate.
const EXPECTED: f64 = 2.0 / FLOOR;
/// A 5-tuple tells two components apart whose shares of its packets differ by more.
const SPLITS: f64 = 0.1;

/// What makes a 5-tuple the same one: RNIC that probes, RNIC that answers, UDP source port.
pub(super) type Flow = (Gid, Gid, UdpSourcePort);

/// The 5-tuples that may be asked for, with their paths: those between ToRs of which the port is known, and that
/// are still probed. When a pinglist changes, the 5-tuples that are not in it any more keep their counts for two minutes: to ask for
/// them would bring nothing. Such a 5-tuple is recognised by its silence, while its RNIC goes on with others.
pub(super) fn flows<'a>(view: &View<'a>) -> Vec<(Observed<'a>, Flow)> {
    let flow = |seen: &Observed<'_>| {
        let port = seen.port.filter(|_| seen.kind == ProbeKind::InterTor)?;
        let is_probed = seen.counts(ASKED_OVER).sent > 0;
        is_probed.then_some((seen.source.gid, seen.target.gid, port))
    };
    let lately = |seen: &Observed<'_>| seen.counts(Horizon::Short).sent;
    let mut flows: Vec<(Observed<'a>, Flow)> = view
        .iter()
        .filter_map(|seen| Some((seen, flow(&seen)?)))
        .collect();
    let mut sums: HashMap<Gid, (u64, u64)> = HashMap::new();
    for (seen, (source, ..)) in &flows {
        let sum = sums.entry(*source).or_default();
        *sum = (sum.0.saturating_add(lately(seen)), sum.1 + 1);
    }
    flows.retain(|(seen, (source, ..))| {
        let (sent, tuples) = sums[source];
        lately(seen) > 0 || (sent as f64) < EXPECTED * tuples as f64
    });
    flows
}

/// Says of each finding that cannot tell whether probes are asked for that will: some cross one of its alternatives and not another.
pub(super) fn mark_deciding(findings: &mut [Finding], view: &View<'_>, asked: &[Asked]) {
    let is_open =
        |finding: &&mut Finding| finding.category == Category::Undecided && !finding.or.is_empty();
    let mut open: Vec<&mut Finding> = findings.iter_mut().filter(is_open).collect();
    if open.is_empty() || asked.is_empty() {
        return;
    }
    let asked: HashSet<Flow> = asked
        .iter()
        .map(|asked| (asked.source, asked.target, asked.port))
        .collect();
    let flows = flows(view);
    let of_focus = flows.iter().filter(|(_, flow)| asked.contains(flow));
    for (seen, _) in of_focus {
        for finding in &mut open {
            let share = seen.share(&finding.subject);
            let differs = |other: &Component| (seen.share(other) - share).abs() > SPLITS;
            finding.deciding = finding.deciding || finding.or.iter().any(differs);
        }
    }
}
