//! Findings about hosts and RNICs.

use std::collections::BTreeMap;

use super::counts::{Counts, Horizon};
use super::finding::{Category, Finding, HARD};
use super::path_counts::PathCounts;
use super::recent::{Newest, Recent};
use super::silent::SilentHost;
use super::snapshot::Snapshot;
use super::view::Observed;
use crate::analysis::filter::Flaps;
use crate::analysis::localize::Component;
use crate::analysis::report::End;
use crate::analysis::rnic::{self, Verdict};
use crate::analysis::windows::Slot;
use crate::id::{HostName, RnicName, ServiceName};

/// An RNIC that loses so much counts as down.
pub(super) const DOWN: f64 = 0.9;

/// What hosts themselves show: silence, starvation, queue pairs that come and go, sends that fail.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let silent = snapshot.silent.iter().filter(|silent| !silent.is_announced);
    let silent = silent.map(|host| of_silent(host, snapshot));
    let starved = snapshot.starved.iter().map(|(name, slots)| Finding {
        evidence: vec![format!(
            "in {slots} of the last 24 slots of 5 s the host took over 50 ms to handle a completion, or its agent cut \
             its intervals late; its results of those slots are set aside"
        )],
        ..blank(host(name), Category::CpuOverload, f64::from(*slots) / 24.0)
    });
    let flapping = snapshot.flapping.iter().map(|(end, flaps)| Finding {
        hard: true,
        services: services_of(|other| is_named(other, &end.rnic()), snapshot),
        evidence: of_flaps(*flaps),
        ..blank(
            rnic(end),
            Category::Flapping,
            f64::from(flaps.most()) / 24.0,
        )
    });
    let unsendable = snapshot
        .unsendable
        .iter()
        .filter_map(|end| of_unsendable(end, snapshot));
    silent
        .chain(starved)
        .chain(flapping)
        .chain(unsendable)
        .collect()
}

/// Probes to an RNIC from which on it can be said whether it answers.
const LEAST_TO: u64 = 3;

/// An RNIC that cannot send. One that answers nothing either is down, or its host is: nothing then says that a route is missing.
fn of_unsendable(end: &End, snapshot: &Snapshot) -> Option<Finding> {
    let mut to = Counts::default();
    for seen in snapshot.paths() {
        if is_named(&seen.target, &end.rnic()) {
            to.add(seen.counts(Horizon::Short));
        }
    }
    let answers = to.sent >= LEAST_TO && to.share() < DOWN;
    // Without probes to it nobody knows.
    if to.sent > 0 && !answers || snapshot.is_waited_for(&end.host) {
        return None;
    }
    let mut evidence = vec![
        "its agent could not post probes in three of the last four slots of 5 s: no route to the targets, or its GID \
         index has moved"
            .to_owned(),
    ];
    if answers {
        evidence.push(format!(
            "ruled out: an RNIC that is down, as {} of {} probes to it were answered",
            to.sent - to.lost,
            to.sent
        ));
    }
    Some(Finding {
        hard: true,
        probes: to,
        evidence,
        ..blank(rnic(end), Category::MissingRoute, 1.0)
    })
}

fn of_flaps(flaps: Flaps) -> Vec<String> {
    let mut evidence = Vec::new();
    if flaps.registered > 0 {
        evidence.push(format!(
            "it registered another queue pair in {} of the last 24 slots of 5 s: look for an agent or a driver that restarts",
            flaps.registered
        ));
    }
    if flaps.interrupted > 0 {
        evidence.push(format!(
            "in {} of the last 24 slots of 5 s its agent could post probes to all peers at one time and to none at another: look for a \
             port that goes down and comes up (cable, optics, driver)",
            flaps.interrupted
        ));
    }
    evidence
}

fn rnic(end: &End) -> Component {
    Component::rnic(end.rnic())
}

fn is_named(end: &End, rnic: &RnicName) -> bool {
    end.host == rnic.host && end.device == rnic.device
}

fn host(name: &HostName) -> Component {
    Component::Host {
        name: name.as_str().to_owned(),
    }
}

pub(super) fn blank(subject: Component, category: Category, share: f64) -> Finding {
    Finding {
        subject,
        category,
        horizon: Horizon::Short,
        confidence: 1.0,
        nats: f64::INFINITY,
        recent: None,
        both_directions: false,
        shares: Vec::new(),
        or: Vec::new(),
        share,
        loss_interval: None,
        deciding: false,
        probes: Counts::default(),
        hard: false,
        services: BTreeMap::new(),
        perhaps: BTreeMap::new(),
        evidence: Vec::new(),
    }
}

fn of_silent(silent: &SilentHost, snapshot: &Snapshot) -> Finding {
    let seconds = silent.since.as_secs_f64();
    let Counts { sent, lost } = silent.probes;
    let subject = host(&silent.host);
    if !silent.is_down() {
        let answers = match sent {
            0 => "nobody probed it since".to_owned(),
            _ => format!("{} of {sent} probes to it were answered since", sent - lost),
        };
        return Finding {
            evidence: vec![
                format!("its agent has uploaded nothing for {seconds:.1} s"),
                answers,
            ],
            ..blank(subject, Category::AgentSilent, 1.0)
        };
    }
    Finding {
        hard: true,
        probes: silent.probes,
        services: services_of(|end| end.host == silent.host, snapshot),
        evidence: vec![
            format!("its agent has uploaded nothing for {seconds:.1} s"),
            format!("{lost} of {sent} probes to its RNICs were lost since"),
            "ruled out: an RNIC or cable of its own, its agent would still upload over the management network".to_owned(),
        ],
        ..blank(subject, Category::HostDown, 1.0)
    }
}

/// Services with paths from or to an RNIC or host, and whether their probes are lost.
fn services_of(is_of: impl Fn(&End) -> bool, snapshot: &Snapshot) -> BTreeMap<ServiceName, bool> {
    let is_of =
        |seen: &&PathCounts| seen.service.is_some() && (is_of(&seen.source) || is_of(&seen.target));
    services_on(snapshot.paths().filter(is_of))
}

/// Services of these paths, and whether their probes are lost.
fn services_on<'a>(paths: impl Iterator<Item = &'a PathCounts>) -> BTreeMap<ServiceName, bool> {
    let mut services = BTreeMap::new();
    for seen in paths {
        if let Some(service) = &seen.service {
            let suffers = seen.counts(Horizon::Middle).lost > 0;
            *services.entry((**service).clone()).or_default() |= suffers;
        }
    }
    services
}

/// Losses of an RNIC's paths that the next run may see again.
fn recent(paths: &[Observed<'_>], snapshot: &Snapshot) -> Recent {
    let mut newest = Newest::default();
    for seen in paths {
        if !snapshot.is_waited_for(&seen.target.host) {
            newest.add(seen);
        }
    }
    newest.in_slot(Slot::of(snapshot.now))
}

/// A verdict over an RNIC as a finding; `paths` are those from and to it.
pub(super) fn of_rnic(verdict: Verdict, snapshot: &Snapshot, paths: &[Observed<'_>]) -> Finding {
    let rnic::Finding {
        rnic,
        loss,
        loss_interval,
        confidence,
        nats,
        probes: (sent, lost),
        directions: [from, to],
        mesh_peers,
        far_peers,
    } = verdict.finding().clone();
    let mut evidence = vec![
        format!(
            "{lost} of {sent} probes from and to {rnic} were lost: it loses {:.0} %",
            loss * 100.0
        ),
        format!(
            "probes were lost with {} of its {} peers under the same ToR and with {} of {} elsewhere",
            mesh_peers.1, mesh_peers.0, far_peers.1, far_peers.0
        ),
    ];
    for (lost, (sent, none), what) in [(to.1, from, "from"), (from.1, to, "to")] {
        if lost > 0 && none == 0 && sent > 0 {
            evidence.push(format!(
                "none of the {sent} probes {what} it was lost: rather its host than the RNIC, if it does not last"
            ));
        }
    }
    let (category, or) = match verdict {
        Verdict::Anomalous(_) => {
            evidence.push("ruled out: its peers, its ToR and what lies above, whose other probes come through".to_owned());
            let category = if loss >= DOWN {
                Category::RnicDown
            } else {
                Category::RnicLoss
            };
            (category, Vec::new())
        }
        Verdict::CannotTell { or, .. } => {
            let others: Vec<_> = or.iter().map(ToString::to_string).collect();
            evidence.push(format!(
                "the observations do not distinguish it from {}",
                others.join(", ")
            ));
            (Category::Undecided, or)
        }
    };
    Finding {
        confidence,
        nats,
        recent: Some(recent(paths, snapshot)),
        or,
        probes: Counts { sent, lost },
        loss_interval: Some(loss_interval),
        hard: loss >= HARD,
        services: services_on(paths.iter().map(|seen| seen.seen)),
        evidence,
        ..blank(Component::rnic(rnic), category, loss)
    }
}
