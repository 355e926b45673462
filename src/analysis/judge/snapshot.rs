//! What the judge looks at: counts per path and horizon without what was set aside, copied out of the windows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::counts::{Counts, Horizon, MANY_PATHS, valid};
use super::sight::{Coverage, Ends, Tally};
use super::silent::{SilentHost, silent};
use crate::analysis::filter::{Flaps, HostFilter, Noted, Reason, UploadState};
use crate::analysis::report::End;
use crate::analysis::windows::{PathView, Slot, Windows};
use crate::id::{Gid, HostName, RnicName, ServiceName, TorId, UdpSourcePort};
use crate::probe::{PathFidelity, ProbeKind};
use crate::time::{Nanos, WallTime};

/// A path with what it counted.
#[derive(Debug, Clone)]
pub struct PathCounts {
    /// Who probes.
    pub source: Arc<End>,
    /// Who answers.
    pub target: Arc<End>,
    /// The RNIC that probes.
    pub source_name: Arc<RnicName>,
    /// The RNIC that answers.
    pub target_name: Arc<RnicName>,
    /// Why it is probed.
    pub kind: ProbeKind,
    /// UDP source port, where it is known.
    pub port: Option<UdpSourcePort>,
    /// The service that uses it.
    pub service: Option<ServiceName>,
    /// Whether it is surely the path of the service's own connections.
    pub is_own: bool,
    counts: [Counts; 4],
    /// The same, as much as it may weigh: see [`weighed`].
    weighed: [Counts; 4],
    unsent: [u64; 2],
    /// Round trips of 20 s that can be trusted, and the slow ones.
    pub slow: Counts,
    /// Those of the slow ones that took longer than any queue: something stood still.
    pub paused: u64,
}

impl PathCounts {
    /// Probes over a horizon.
    pub const fn counts(&self, horizon: Horizon) -> Counts {
        self.counts[horizon.index()]
    }

    /// Probes over a horizon as evidence of where losses come from: those of a path that is probed much more than others count
    /// as fewer, with the same share lost.
    pub(crate) const fn weighed(&self, horizon: Horizon) -> Counts {
        self.weighed[horizon.index()]
    }

    /// Probes that could not be sent, over one of the two shortest horizons; none over the others.
    pub(crate) fn unsent(&self, horizon: Horizon) -> u64 {
        self.unsent.get(horizon.index()).copied().unwrap_or(0)
    }

    /// Whether both ends are under one ToR.
    pub(crate) fn is_under_one_tor(&self) -> bool {
        self.source.tor == self.target.tor
    }

    /// Whether one of its ends is among these RNICs.
    pub fn touches(&self, rnics: &BTreeSet<RnicName>) -> bool {
        !rnics.is_empty()
            && (rnics.contains(&*self.source_name) || rnics.contains(&*self.target_name))
    }
}

#[cfg(test)]
impl PathCounts {
    /// The same path with other counts over all horizons.
    pub(super) fn with_counts(mut self, counts: Counts) -> Self {
        self.counts = [counts; 4];
        self.weighed = [counts; 4];
        self
    }
}

/// What is judged. See the module.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was taken.
    pub now: WallTime,
    /// Every path with results in the longest horizon.
    pub seen: Vec<PathCounts>,
    /// Probes of 20 s that were set aside.
    pub set_aside: BTreeMap<Reason, Counts>,
    /// Probes of 20 s that were not.
    pub judged: Counts,
    /// RNICs with judged probes of 20 s from or to them,
    pub judged_rnics: Arc<HashSet<Gid>>,
    /// how many they are, and all that reported in the last ten minutes.
    pub coverage: Coverage,
    /// ToRs under which nearly all probes of 20 s are set aside, where several hosts are under them: all probes, and those set
    /// aside.
    pub blind: Vec<(TorId, Counts)>,
    /// Agents that are silent.
    pub silent: Vec<SilentHost>,
    /// Hosts whose upload is due: until it comes or they count as silent nothing is said about them.
    pub overdue: HashSet<HostName>,
    /// Hosts that were starved of CPU, and in how many slots of the last two minutes.
    pub starved: Vec<(HostName, u32)>,
    /// RNICs that come and go, and in how many slots of the last two minutes.
    pub flapping: Vec<(End, Flaps)>,
    /// RNICs that cannot send.
    pub unsendable: Vec<End>,
    /// Median of the paths' median round trips, by the number of links that a probe and its ACK cross.
    pub usual: HashMap<u32, Nanos>,
}

/// A path weighs no more than so many times the median path,
const MOST_WEIGHT: u64 = 4;
/// or than so many probes.
const LEAST_WEIGHT: u64 = 64;
/// A path between ToRs may weigh so many times as much as others: focus probes some at four times their rate, and leaves others a
/// quarter of theirs. Their probes count in full, or the losses that it looks for would not.
const FOCUSED_WEIGHT: u64 = 4;

/// The most probes that one path counts as, where the paths have sent so many. All probes of a path take one way through the
/// fabric: the thousandth says hardly more than the hundredth about what other 5-tuples meet there.
pub(super) fn most_weight(sent: impl Iterator<Item = u64>) -> u64 {
    let mut sent: Vec<u64> = sent.filter(|sent| *sent > 0).collect();
    if sent.is_empty() {
        return LEAST_WEIGHT;
    }
    let middle = sent.len() / 2;
    let (_, median, _) = sent.select_nth_unstable(middle);
    median.saturating_mul(MOST_WEIGHT).max(LEAST_WEIGHT)
}

/// Counts of a path, scaled down to `most` probes.
pub(super) fn weighed(counts: Counts, most: u64) -> Counts {
    if counts.sent <= most {
        return counts;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and `most`"
    )]
    let lost = (counts.share() * most as f64).round() as u64;
    Counts {
        sent: most,
        lost: lost.min(most),
    }
}

/// Slots of starvation, re-registration or failed sends from which on they are reported.
const REPEATED: u32 = 3;
/// Paths per class of which the usual round trip is made.
const USUAL_PATHS: usize = 512;
/// A round trip that took longer than this was held up by pauses: the buffers of a fabric's switches drain faster,
const PAUSED: Nanos = Nanos(2_000_000);
/// or, where links are slow, longer than so many times what is slow.
const PAUSED_FACTOR: i64 = 10;

/// Links that a probe and its ACK cross; between ToRs the fabric's tiers are not known here, and all count alike.
fn class(path: PathView<'_>) -> u32 {
    match path.kind() {
        ProbeKind::TorMesh => 4,
        ProbeKind::InterTor | ProbeKind::Focus | ProbeKind::ServiceTracing => 8,
    }
}

impl Snapshot {
    /// Copies what is to be judged. `limits` are those above which a round trip is slow, by class.
    pub fn take(
        windows: &Windows,
        host_filter: &HostFilter,
        limits: &HashMap<u32, Nanos>,
        now: WallTime,
    ) -> Self {
        let mut snapshot = Self {
            now,
            seen: Vec::new(),
            set_aside: BTreeMap::new(),
            judged: Counts::default(),
            judged_rnics: Arc::default(),
            coverage: Coverage::default(),
            blind: Vec::new(),
            silent: silent(windows, host_filter, now),
            overdue: HashSet::new(),
            starved: host_filter
                .starved_hosts(now, REPEATED)
                .map(|(host, slots)| (host.clone(), slots))
                .collect(),
            flapping: host_filter
                .flapping(now, REPEATED)
                .map(|(end, flaps)| (end.clone(), flaps))
                .collect(),
            unsendable: host_filter.unsendable(now, REPEATED).cloned().collect(),
            usual: HashMap::new(),
        };
        let down: HashSet<HostName> = snapshot
            .silent
            .iter()
            .filter(|silent| silent.is_down())
            .map(|silent| silent.host.clone())
            .collect();
        let mut ends = Ends::default();
        let hosts = Hosts {
            filter: host_filter,
            noted: host_filter.noted(Horizon::Long.slots(), now),
            down,
        };
        for path in in_order(windows, &mut ends) {
            if is_between_planes(path, windows, now) {
                continue;
            }
            snapshot.add(path, &hosts, limits, &mut ends);
        }
        snapshot.usual = usual(windows, now);
        snapshot.weigh();
        let mut sight = ends.sight();
        snapshot.coverage = Coverage {
            judged: sight.rnics.len(),
            known: host_filter.sizes().1,
        };
        snapshot.judged_rnics = Arc::new(std::mem::take(&mut sight.rnics));
        snapshot.blind = sight.blind(host_filter);
        snapshot
    }

    fn add<'a>(
        &mut self,
        path: PathView<'a>,
        hosts: &Hosts<'_>,
        limits: &HashMap<u32, Nanos>,
        ends: &mut Ends<'a>,
    ) {
        let (source, target) = (path.source(), path.target());
        let is_quiet = hosts.noted.is_quiet(source, target);
        let tally = if is_quiet {
            self.tally_quiet(path)
        } else {
            self.tally(path, hosts)
        };
        let Some(tally) = tally else {
            return;
        };
        let (at_source, at_target) = (ends.place(source), ends.place(target));
        ends.show(at_source, at_target, &tally);
        if !is_quiet
            && !self.overdue.contains(&target.host)
            && hosts.filter.upload_state(&target.host, self.now) == Some(UploadState::Overdue)
        {
            self.overdue.insert(target.host.clone());
        }
        let (slow, paused) = match limits.get(&class(path)) {
            Some(limit) if tally.clocks_run => slow(path, &over(Horizon::Middle, self.now), *limit),
            _ => (Counts::default(), 0),
        };
        self.seen.push(PathCounts {
            source_name: ends.name(at_source),
            target_name: ends.name(at_target),
            source: path.source_end(),
            target: path.target_end(),
            kind: path.kind(),
            port: path.source_port(),
            service: path.service().cloned(),
            // Agents that do not tell are older than the difference.
            is_own: path
                .fidelity()
                .is_none_or(|fidelity| fidelity == PathFidelity::OwnPath),
            counts: tally.counts,
            weighed: tally.counts,
            unsent: tally.unsent,
            slow,
            paused,
        });
    }

    /// Sums a path's slots where the filter has nothing to say about its ends; `None` where there are none.
    fn tally_quiet(&mut self, path: PathView<'_>) -> Option<Tally> {
        let now = Slot::of(self.now);
        let mut tally = None;
        for slot in path.counts(&over(Horizon::Long, self.now)).rev() {
            let tally = tally.get_or_insert_with(Tally::new);
            let age = now.since(slot.slot);
            let probes = valid(&slot);
            if age <= Horizon::Middle.slots() {
                self.judged.add(probes);
                tally.judged += probes.sent;
            }
            tally.add(age, probes, slot.unsent);
        }
        tally
    }

    /// Sums a path's slots, without those that hosts disturbed; `None` where there are none.
    fn tally(&mut self, path: PathView<'_>, hosts: &Hosts<'_>) -> Option<Tally> {
        let (source, target) = (path.source(), path.target());
        let (host_filter, down) = (hosts.filter, &hosts.down);
        let now = Slot::of(self.now);
        let mut tally = None;
        for slot in path.counts(&over(Horizon::Long, self.now)).rev() {
            let tally = tally.get_or_insert_with(Tally::new);
            let age = now.since(slot.slot);
            let probes = valid(&slot);
            let is_recent = age <= Horizon::Middle.slots();
            if is_recent
                && (host_filter.has_bad_clock(source.gid, slot.slot)
                    || host_filter.has_bad_clock(target.gid, slot.slot))
            {
                tally.clocks_run = false;
                self.set_aside_for(Reason::ClockInvalid, slot.invalid, 0);
            }
            let reason = if !host_filter.is_silent(&target.host, slot.slot, self.now) {
                host_filter.reason(source, target, slot.slot)
            } else if down.contains(&target.host) {
                Some(Reason::HostDown)
            } else {
                Some(Reason::AgentSilent)
            };
            match reason {
                None => {
                    if is_recent {
                        self.judged.add(probes);
                        tally.judged += probes.sent;
                    }
                    tally.add(age, probes, slot.unsent);
                }
                Some(reason) if is_recent => {
                    self.set_aside_for(reason, probes.sent, probes.lost);
                    if reason == Reason::ProberStarved {
                        tally.by_source += probes.sent;
                    } else if reason.hides_loss() {
                        tally.by_target += probes.sent;
                    }
                }
                Some(_) => {}
            }
        }
        tally
    }

    fn weigh(&mut self) {
        for horizon in Horizon::ALL {
            let most = most_weight(self.seen.iter().map(|seen| seen.counts(horizon).sent));
            for seen in &mut self.seen {
                let most = match seen.kind {
                    ProbeKind::InterTor | ProbeKind::Focus => most.saturating_mul(FOCUSED_WEIGHT),
                    ProbeKind::TorMesh | ProbeKind::ServiceTracing => most,
                };
                seen.weighed[horizon.index()] = weighed(seen.counts(horizon), most);
            }
        }
    }

    fn set_aside_for(&mut self, reason: Reason, sent: u64, lost: u64) {
        let counts = Counts { sent, lost };
        self.set_aside.entry(reason).or_default().add(counts);
    }

    /// Probes of 20 s that are set aside because a host disturbed them.
    pub(crate) fn disturbed(&self) -> u64 {
        self.set_aside
            .iter()
            .filter(|(reason, _)| reason.hides_loss())
            .map(|(_, counts)| counts.sent)
            .sum()
    }

    /// Whether it is too early to say anything about a host's RNICs.
    pub(crate) fn is_waited_for(&self, host: &HostName) -> bool {
        self.overdue.contains(host)
    }
}

/// Median of the median round trips of some paths of each class. They are taken from all over the fabric: the paths of one ToR may all be
/// congested.
fn usual(windows: &Windows, now: WallTime) -> HashMap<u32, Nanos> {
    let slots = over(Horizon::Middle, now);
    let mut left: HashMap<u32, usize> = HashMap::new();
    for path in windows.paths() {
        *left.entry(class(path)).or_default() += 1;
    }
    let steps: HashMap<u32, usize> = left
        .iter()
        .map(|(class, paths)| (*class, paths.div_ceil(USUAL_PATHS)))
        .collect();
    let mut samples: HashMap<u32, Vec<Nanos>> = HashMap::new();
    for path in windows.paths() {
        let class = class(path);
        let (Some(left), Some(step)) = (left.get_mut(&class), steps.get(&class)) else {
            continue;
        };
        *left -= 1;
        if left.is_multiple_of(*step)
            && !is_between_planes(path, windows, now)
            && let Some(median) = path.network_rtt(&slots).quantile(0.5)
        {
            samples.entry(class).or_default().push(median);
        }
    }
    samples
        .into_iter()
        .filter_map(|(class, mut sample)| {
            sample.sort_unstable();
            Some((class, *sample.get(sample.len() / 2)?))
        })
        .collect()
}

/// The paths; those of a large fabric by the ToRs of their ends. Paths that cross the same links then follow each other, and all that
/// is counted of these links stays in the processor's caches.
fn in_order<'a>(windows: &'a Windows, ends: &mut Ends<'a>) -> Vec<PathView<'a>> {
    let mut paths: Vec<PathView<'_>> = windows.paths().collect();
    if paths.len() >= MANY_PATHS {
        paths.sort_by_cached_key(|path| (ends.tor(path.source()), ends.tor(path.target())));
    }
    paths
}

/// What is known of the hosts at the ends of paths.
struct Hosts<'a> {
    filter: &'a HostFilter,
    noted: Noted<'a>,
    down: HashSet<HostName>,
}

/// Whether a path that loses probes is between two planes: its losses say nothing.
fn is_between_planes(path: PathView<'_>, windows: &Windows, now: WallTime) -> bool {
    let Some(planes) = windows.planes().filter(|planes| planes.len() > 1) else {
        return false;
    };
    let has_lost = path
        .counts(&over(Horizon::Long, now))
        .any(|slot| slot.lost > 0);
    has_lost && planes.are_apart(&path.source().tor, &path.target().tor)
}

/// Round trips with those that took longer than `limit`, and how many of these were held up by pauses.
fn slow(path: PathView<'_>, slots: &Range<Slot>, limit: Nanos) -> (Counts, u64) {
    let (sent, lost) = path.slower_than(slots, limit);
    let paused = if lost > 0 {
        let pauses = PAUSED.max(Nanos(limit.0.saturating_mul(PAUSED_FACTOR)));
        path.slower_than(slots, pauses).1
    } else {
        0
    };
    (Counts { sent, lost }, paused)
}

/// The slots of a horizon.
fn over(horizon: Horizon, now: WallTime) -> Range<Slot> {
    let last = Slot::of(now);
    // One more: agents' clocks may be a little ahead.
    last.before(horizon.slots())..last.next().next()
}
