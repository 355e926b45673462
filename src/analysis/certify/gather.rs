//! Counts what each link carried, from the windows: all at once ([`gather`]), or in portions ([`Gathering`]), between which whoever owns
//! the windows goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::evidence::{Evidence, Level, LinkName, MOST_FIRST, RnicEvidence, Tally};
use crate::analysis::filter::HostFilter;
use crate::analysis::report::End;
use crate::analysis::routes::Routes;
use crate::analysis::sketch::Sketch;
use crate::analysis::windows::{PathView, SLOT, Slot, Sums, Windows};
use crate::id::{Gid, RnicName, TorId};
use crate::probe::ProbeKind;
use crate::probe::trace::Tuple;
use crate::time::{Nanos, WallTime};
use crate::topology::wiring::Wiring;

/// What is known beside the windows.
pub struct Known<'a> {
    /// Reasons why results say nothing about the network.
    pub host_filter: &'a HostFilter,
    /// The topology file.
    pub wiring: Option<&'a Wiring>,
    /// The ToRs of bonds.
    pub routes: &'a Routes,
    /// The switches that a 5-tuple crosses, from ToR to ToR, where a trace of now shows all of them.
    pub traced: &'a dyn Fn(&Tuple) -> Option<Vec<String>>,
    /// The switch that answers first on the path of a 5-tuple, by its own name.
    pub first: &'a dyn Fn(&Tuple) -> Option<String>,
}

/// What is measured of an RNIC, by what it is compared by.
#[derive(Debug, Default)]
struct Sketches {
    rtt: Sketch,
    prober_delay: Sketch,
    responder_delay: Sketch,
}

/// Evidence that is being counted.
#[derive(Debug)]
pub struct Gathering {
    slots: Range<Slot>,
    now: WallTime,
    without: BTreeSet<String>,
    /// The first place among the windows' paths that was not looked at.
    next: usize,
    evidence: Evidence,
    sketches: HashMap<Gid, Sketches>,
    /// 5-tuples whose links were counted as paths.
    tuples: HashSet<Tuple>,
    /// Slots with results.
    with_results: HashSet<Slot>,
}

/// Counts what the probes of some slots crossed, all at once. See [`Gathering::new`].
pub fn gather(
    windows: &Windows,
    known: &Known<'_>,
    slots: Range<Slot>,
    without: BTreeSet<String>,
    now: WallTime,
) -> Evidence {
    let mut gathering = Gathering::new(slots, without, now);
    gathering.take(windows, known, windows.places());
    gathering.finish()
}

impl Gathering {
    /// Of what the probes of some slots crossed. `now` decides which hosts are silent. Probes that crossed one of `without` do not count:
    /// links (`A->B`), RNICs (`HOST/DEVICE`), hosts and switches.
    pub fn new(slots: Range<Slot>, without: BTreeSet<String>, now: WallTime) -> Self {
        Self {
            evidence: Evidence::new(slots.start.start()..slots.end.start()),
            slots,
            now,
            without,
            next: 0,
            sketches: HashMap::new(),
            tuples: HashSet::new(),
            with_results: HashSet::new(),
        }
    }

    /// The slots that are counted.
    pub(crate) const fn slots(&self) -> &Range<Slot> {
        &self.slots
    }

    /// Counts the paths in the next so many places; whether there are more.
    pub fn take(&mut self, windows: &Windows, known: &Known<'_>, places: usize) -> bool {
        if self.next == 0 {
            self.evidence.has_file = known.wiring.is_some();
            self.file(known.wiring);
            for end in known.host_filter.rnics() {
                self.rnic(known, end);
            }
        }
        let end = self.next.saturating_add(places);
        let planes = windows.planes().filter(|planes| planes.len() > 1);
        for path in windows.paths_in(self.next..end) {
            let (source, target) = (&path.source().tor, &path.target().tor);
            if !planes.is_some_and(|planes| planes.are_apart(source, target)) {
                self.path(known, path);
            }
        }
        self.next = end;
        end < windows.places()
    }

    /// The cables of the file, between switches.
    fn file(&mut self, wiring: Option<&Wiring>) {
        let links = wiring.map(Wiring::links).unwrap_or_default();
        for cable in links {
            for name in [
                LinkName::new(&*cable.a, &*cable.b),
                LinkName::new(&*cable.b, &*cable.a),
            ] {
                self.evidence.links.entry(name).or_default().cables += 1;
            }
        }
    }

    fn rnic(&mut self, known: &Known<'_>, end: &End) -> &mut RnicEvidence {
        let wiring = known.wiring;
        self.evidence.rnics.entry(end.rnic()).or_insert_with(|| {
            let host = wiring.and_then(|wiring| wiring.host(&end.host));
            let tors = host.map(|host| host.tors_of(&end.device));
            RnicEvidence {
                gid: Some(end.gid),
                tor: end.tor.as_str().to_owned(),
                file_tors: tors
                    .unwrap_or_default()
                    .iter()
                    .map(|tor| tor.as_str().to_owned())
                    .collect(),
                ..RnicEvidence::default()
            }
        })
    }

    /// Probes that count, and those that are set aside.
    fn tally(&mut self, filter: &HostFilter, path: PathView<'_>) -> (Tally, Tally) {
        let (source, target) = (path.source(), path.target());
        let (mut counted, mut set_aside) = (Tally::default(), Tally::default());
        for slot in path.counts(&self.slots) {
            self.with_results.insert(slot.slot);
            let probes = Tally {
                sent: slot.told(),
                lost: slot.lost,
            };
            let disturbed = filter.is_silent(&target.host, slot.slot, self.now)
                || filter.reason(source, target, slot.slot).is_some();
            if disturbed {
                set_aside.add(probes);
            } else {
                counted.add(probes);
            }
        }
        (counted, set_aside)
    }

    fn path(&mut self, known: &Known<'_>, path: PathView<'_>) {
        let (counted, set_aside) = self.tally(known.host_filter, path);
        self.evidence.set_aside.add(set_aside);
        if counted.sent == 0 {
            return;
        }
        let Some(links) = links(known, path) else {
            self.evidence.untraced.add(counted);
            return;
        };
        if links.iter().any(|link| self.is_left_out(link)) {
            self.evidence.left_out.add(counted);
            return;
        }
        self.measure(known, path, counted);
        self.evidence.counted.add(counted);
        let tuple = path.source_port().map(|port| Tuple {
            source: path.source().gid,
            target: path.target().gid,
            port,
        });
        let is_new = tuple.is_some_and(|tuple| self.tuples.insert(tuple));
        for link in &links {
            let link = self.evidence.links.entry(link.clone()).or_default();
            link.tally.add(counted);
            link.paths += u64::from(is_new);
        }
        if counted.lost > 0 {
            let mut links = links;
            links.sort();
            self.evidence.lossy.entry(links).or_default().add(counted);
        }
    }

    fn is_left_out(&self, link: &LinkName) -> bool {
        let without = &self.without;
        if without.is_empty() {
            return false;
        }
        let is_node = |node: &str| {
            let host = || node.parse::<RnicName>().ok();
            without.contains(node)
                || host().is_some_and(|name| without.contains(name.host.as_str()))
        };
        without.contains(&link.to_string()) || is_node(&link.from) || is_node(&link.to)
    }

    /// What the ends of a path are compared by.
    fn measure(&mut self, known: &Known<'_>, path: PathView<'_>, counted: Tally) {
        let (source, target) = (path.source(), path.target());
        for end in [source, target] {
            self.rnic(known, end).tally.add(counted);
        }
        let first = path.source_port().and_then(|port| {
            let tuple = Tuple {
                source: source.gid,
                target: target.gid,
                port,
            };
            (known.first)(&tuple)
        });
        if let Some(first) = first {
            let switches = &mut self.rnic(known, source).first_switches;
            if switches.len() < MOST_FIRST || switches.contains_key(&first) {
                *switches.entry(first).or_default() += 1;
            }
        }
        let mut sums = Sums::default();
        path.add_to(&self.slots, &mut sums);
        if path.kind() == ProbeKind::TorMesh {
            for gid in [source.gid, target.gid] {
                let sketches = self.sketches.entry(gid).or_default();
                sketches.rtt.merge(&sums.network_rtt);
            }
        }
        let of_source = self.sketches.entry(source.gid).or_default();
        of_source.prober_delay.merge(&sums.prober_delay);
        let of_target = self.sketches.entry(target.gid).or_default();
        of_target.responder_delay.merge(&sums.responder_delay);
    }

    /// All that was counted.
    pub fn finish(mut self) -> Evidence {
        for rnic in self.evidence.rnics.values_mut() {
            let Some(sketches) = rnic.gid.and_then(|gid| self.sketches.get(&gid)) else {
                continue;
            };
            rnic.rtt = level(&sketches.rtt);
            rnic.prober_delay = level(&sketches.prober_delay);
            rnic.responder_delay = level(&sketches.responder_delay);
        }
        // Of an RNIC without a probe its two links are known nevertheless.
        let ends: BTreeMap<String, TorId> = self
            .evidence
            .rnics
            .iter()
            .map(|(name, rnic)| (name.to_string(), TorId::new(&*rnic.tor)))
            .collect();
        for (rnic, tor) in ends {
            let up = LinkName::new(rnic, tor.as_str());
            self.evidence.links.entry(up.reverse()).or_default();
            self.evidence.links.entry(up).or_default();
        }
        let slots = i64::try_from(self.with_results.len()).unwrap_or(i64::MAX);
        self.evidence.covered = Nanos(Nanos::from(SLOT).0.saturating_mul(slots));
        self.evidence.shorten();
        self.evidence
    }
}

fn level(sketch: &Sketch) -> Level {
    Level {
        count: sketch.count(),
        median: sketch.quantile(0.5).unwrap_or_default(),
    }
}

/// The links that a probe and its ACK cross, each once; `None` where one of them is not known.
fn links(known: &Known<'_>, path: PathView<'_>) -> Option<Vec<LinkName>> {
    let (source, target) = (path.source(), path.target());
    let [there, back] = if source.tor == target.tor {
        let is_bond = |end: &End| known.routes.tors_of(end).len() > 1;
        if is_bond(source) || is_bond(target) {
            return None;
        }
        let tor = || vec![source.tor.as_str().to_owned()];
        [tor(), tor()]
    } else {
        let port = path.source_port()?;
        let tuple = |source: Gid, target: Gid| Tuple {
            source,
            target,
            port,
        };
        [
            (known.traced)(&tuple(source.gid, target.gid))?,
            // Responders answer with the probe's own source port.
            (known.traced)(&tuple(target.gid, source.gid))?,
        ]
    };
    let (source, target) = (source.rnic().to_string(), target.rnic().to_string());
    let mut links = Vec::with_capacity(there.len() + back.len() + 2);
    for (from, switches, to) in [(&source, &there, &target), (&target, &back, &source)] {
        let nodes: Vec<&String> = [from].into_iter().chain(switches).chain([to]).collect();
        for pair in nodes.windows(2) {
            let link = LinkName::new(pair[0], pair[1]);
            if !links.contains(&link) {
                links.push(link);
            }
        }
    }
    Some(links)
}

#[cfg(test)]
mod tests;
