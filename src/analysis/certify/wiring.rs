//! Cables: the file beside what traces, ToR reports and siblings say.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Evidence, LinkName};
use super::report::{Fault, FaultKind};
use crate::id::RnicName;

/// A cable that no path crosses is called unused where chance alone would leave it out with at most this probability, over all
/// cables of the fabric together.
const CHANCE: f64 = 1e-3;
/// Hosts that are cabled alike, from which on one of them is compared with the others.
const LEAST_ALIKE: usize = 3;

/// Swapped, unused and unknown cables; RNICs under other ToRs; what is missing.
pub(super) fn faults(evidence: &Evidence) -> Vec<Fault> {
    let mut faults = between_switches(evidence);
    let mut elsewhere = by_file(evidence);
    elsewhere.extend(by_first_switch(evidence));
    faults.extend(of_rnics(elsewhere));
    faults.extend(rails(evidence));
    for name in &evidence.missing {
        let text = format!("the topology file has `{name}`, which reports nothing");
        faults.push(Fault::new(FaultKind::Missing, vec![name.clone()], text));
    }
    faults
}

fn cable(a: &str, b: &str) -> String {
    format!("{a}-{b}")
}

/// Cables between switches, where there is a file.
fn between_switches(evidence: &Evidence) -> Vec<Fault> {
    let unused = unused(evidence);
    let mut unknown = unknown(evidence);
    let mut faults = Vec::new();
    let mut explained: BTreeSet<LinkName> = BTreeSet::new();
    while let Some(first) = unknown.pop_first() {
        let second = unknown
            .iter()
            .find(|second| are_swapped(evidence, &unused, &first, second))
            .cloned();
        let Some(second) = second else {
            let name = cable(&first.from, &first.to);
            let text = format!(
                "paths cross a link between {} and {}, which the topology file does not have",
                first.from, first.to
            );
            faults.push(Fault::new(FaultKind::CableUnknown, vec![name], text));
            continue;
        };
        unknown.remove(&second);
        explained.insert(LinkName::new(&*first.from, &*second.to));
        explained.insert(LinkName::new(&*second.from, &*first.to));
        let planned = [
            cable(&first.from, &second.to),
            cable(&second.from, &first.to),
        ];
        let text = format!(
            "the cables {} and {} of the topology file are swapped: paths go {} and {}",
            planned[0],
            planned[1],
            cable(&first.from, &first.to),
            cable(&second.from, &second.to)
        );
        faults.push(Fault::new(FaultKind::Swapped, planned.to_vec(), text));
    }
    for link in unused.iter().filter(|link| !explained.contains(link)) {
        let name = cable(&link.from, &link.to);
        let text = format!(
            "the topology file has a cable between {} and {}; no path crosses it, though many could",
            link.from, link.to
        );
        faults.push(Fault::new(FaultKind::CableUnused, vec![name], text));
    }
    faults
}

/// Whether two links that the file does not have are two of its cables with ends exchanged. The file's cables are then unused, or
/// there are several between the same switches.
fn are_swapped(
    evidence: &Evidence,
    unused: &BTreeSet<LinkName>,
    first: &LinkName,
    second: &LinkName,
) -> bool {
    let is_planned = |from: &str, to: &str| {
        let name = LinkName::new(from, to);
        let cables = evidence.links.get(&name).map_or(0, |link| link.cables);
        cables > 1 || cables == 1 && (unused.contains(&name) || !is_crossed(evidence, &name))
    };
    is_planned(&first.from, &second.to) && is_planned(&second.from, &first.to)
}

fn is_crossed(evidence: &Evidence, name: &LinkName) -> bool {
    let crossed = |name: &LinkName| evidence.links.get(name).is_some_and(|link| link.paths > 0);
    crossed(name) || crossed(&name.reverse())
}

/// The ToRs of the RNICs.
fn tors(evidence: &Evidence) -> BTreeSet<&str> {
    evidence.rnics.values().map(|rnic| &*rnic.tor).collect()
}

/// Cables from ToRs upwards that no path crosses, though the switch's other cables are crossed so often that chance alone would not
/// leave them out: with `n` paths over `k` cables of which `c` are these it does with probability `(1 − c/k)^n`.
fn unused(evidence: &Evidence) -> BTreeSet<LinkName> {
    let tors = tors(evidence);
    let mut above: BTreeMap<&str, (u32, u64)> = BTreeMap::new();
    let is_up = |name: &LinkName| tors.contains(&*name.from) && !evidence.is_rnic(&name.to);
    for (name, link) in evidence.links.iter().filter(|(name, _)| is_up(name)) {
        let sums = above.entry(&name.from).or_default();
        sums.0 = sums.0.saturating_add(link.cables);
        sums.1 = sums.1.saturating_add(link.paths);
    }
    let all: u32 = above.values().map(|(cables, _)| *cables).sum();
    let is_unused = |(name, cables): (&LinkName, u32)| {
        let (of_switch, paths) = above.get(&*name.from).copied().unwrap_or_default();
        let share = f64::from(cables) / f64::from(of_switch.max(1));
        let chance = (1.0 - share).powf(paths as f64);
        cables > 0 && !is_crossed(evidence, name) && chance * f64::from(all) < CHANCE
    };
    let ups = evidence.links.iter().filter(|(name, _)| is_up(name));
    ups.map(|(name, link)| (name, link.cables))
        .filter(|one| is_unused(*one))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Links between switches that paths cross and the file does not have, each once, with the ToR as the first end.
fn unknown(evidence: &Evidence) -> BTreeSet<LinkName> {
    if !evidence.has_file || evidence.links.values().all(|link| link.cables == 0) {
        return BTreeSet::new();
    }
    let tors = tors(evidence);
    let links = evidence.links.iter();
    links
        .filter(|(name, link)| {
            link.cables == 0
                && link.paths > 0
                && !evidence.is_rnic(&name.from)
                && !evidence.is_rnic(&name.to)
        })
        .map(|(name, _)| {
            let turned =
                (!tors.contains(&*name.from), &name.from) > (!tors.contains(&*name.to), &name.to);
            if turned { name.reverse() } else { name.clone() }
        })
        .collect()
}

/// An RNIC that is elsewhere: where it should be, and where it is.
struct Elsewhere {
    planned: String,
    found: String,
    text: String,
}

/// RNICs that report another ToR than the file has.
fn by_file(evidence: &Evidence) -> BTreeMap<RnicName, Elsewhere> {
    let rnics = evidence.rnics.iter();
    rnics
        .filter(|(_, rnic)| !rnic.file_tors.is_empty() && !rnic.file_tors.contains(&rnic.tor))
        .map(|(name, rnic)| {
            let planned = rnic.file_tors.join(" and ");
            let text = format!(
                "RNIC {name} reports the ToR {}, the topology file has {planned}",
                rnic.tor
            );
            let found = rnic.tor.clone();
            (
                name.clone(),
                Elsewhere {
                    planned,
                    found,
                    text,
                },
            )
        })
        .collect()
}

/// RNICs on whose paths another switch answers first than the ToR that they report, where that switch is the ToR of others.
fn by_first_switch(evidence: &Evidence) -> BTreeMap<RnicName, Elsewhere> {
    let tors = tors(evidence);
    let mut owners: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for rnic in evidence.rnics.values() {
        for (first, paths) in &rnic.first_switches {
            *owners
                .entry(first)
                .or_default()
                .entry(&rnic.tor)
                .or_default() += paths;
        }
    }
    // The ToR that an answer stands for: that of this name, or that of most paths which begin with it.
    let tor_of = |first: &str| -> Option<String> {
        if tors.contains(first) {
            return Some(first.to_owned());
        }
        let most = owners.get(first)?.iter().max_by_key(|(_, paths)| **paths);
        most.map(|(tor, _)| (*tor).to_owned())
    };
    let rnics = evidence
        .rnics
        .iter()
        .filter(|(_, rnic)| rnic.file_tors.len() < 2);
    rnics
        .filter_map(|(name, rnic)| {
            let (first, _) = rnic
                .first_switches
                .iter()
                .max_by_key(|(_, paths)| **paths)?;
            let found = tor_of(first).filter(|found| *found != rnic.tor)?;
            let text = format!(
                "RNIC {name} reports the ToR {}, the first switch on its paths is {found}",
                rnic.tor
            );
            let planned = rnic.tor.clone();
            Some((
                name.clone(),
                Elsewhere {
                    planned,
                    found,
                    text,
                },
            ))
        })
        .collect()
}

/// Pairs of RNICs that are in each other's place, first those of one host; the others alone.
fn of_rnics(mut elsewhere: BTreeMap<RnicName, Elsewhere>) -> Vec<Fault> {
    let mut faults = Vec::new();
    while let Some((name, first)) = elsewhere.pop_first() {
        let fits = |other: &Elsewhere| other.planned == first.found && other.found == first.planned;
        let partners = elsewhere.iter().filter(|(_, other)| fits(other));
        let partner = partners
            .map(|(partner, _)| partner.clone())
            .min_by_key(|partner| (partner.host != name.host, partner.device != name.device));
        let Some(partner) = partner else {
            let subjects = vec![name.to_string()];
            faults.push(Fault::new(FaultKind::WrongTor, subjects, first.text));
            continue;
        };
        elsewhere.remove(&partner);
        let text = format!(
            "the cables of RNIC {name} and RNIC {partner} are swapped: {name} is under {}, {partner} under {}",
            first.found, first.planned
        );
        let subjects = vec![name.to_string(), partner.to_string()];
        faults.push(Fault::new(FaultKind::Swapped, subjects, text));
    }
    faults
}

/// The ToRs of a host's RNICs, by the names of their devices.
type Devices<'a> = BTreeMap<&'a str, &'a str>;

/// RNICs that are under another ToR than most of their namesakes on hosts that are cabled to the same ToRs.
fn rails(evidence: &Evidence) -> Vec<Fault> {
    let mut hosts: BTreeMap<&str, Devices<'_>> = BTreeMap::new();
    for (name, rnic) in &evidence.rnics {
        let devices = hosts.entry(name.host.as_str()).or_default();
        devices.insert(name.device.as_str(), &rnic.tor);
    }
    let mut alike: BTreeMap<BTreeSet<&str>, Vec<(&str, &Devices<'_>)>> = BTreeMap::new();
    for (host, devices) in &hosts {
        let tors: BTreeSet<&str> = devices.values().copied().collect();
        if tors.len() > 1 {
            alike.entry(tors).or_default().push((host, devices));
        }
    }
    let mut elsewhere = BTreeMap::new();
    for hosts in alike.values().filter(|hosts| hosts.len() >= LEAST_ALIKE) {
        let mut usual: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for (_, devices) in hosts {
            for (device, tor) in *devices {
                *usual.entry(device).or_default().entry(tor).or_default() += 1;
            }
        }
        for (host, devices) in hosts {
            for (device, tor) in *devices {
                let Some((planned, count)) = usual[device].iter().max_by_key(|(_, count)| **count)
                else {
                    continue;
                };
                if planned == tor || count * 3 < hosts.len() * 2 {
                    continue;
                }
                let name = RnicName::new(*host, *device);
                let text = format!(
                    "RNIC {name} is under {tor}, {count} of {} RNICs {device} of hosts that are cabled to the same ToRs are under {planned}",
                    hosts.len()
                );
                let one = Elsewhere {
                    planned: (*planned).to_owned(),
                    found: (*tor).to_owned(),
                    text,
                };
                elsewhere.insert(name, one);
            }
        }
    }
    let mut faults = of_rnics(elsewhere);
    for fault in &mut faults {
        if fault.kind == FaultKind::WrongTor {
            fault.kind = FaultKind::OtherRail;
        }
    }
    faults
}
