//! What the judge looks at: counts per path and horizon without what was set aside, copied out of the windows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::counts::{Counts, Horizon, told};
use super::following::{Due, Following};
use super::path_counts::{FOCUSED_WEIGHT, Few, PathCounts, SentCounts, class, few, weighed};
use super::sight::{Coverage, Tally};
use super::silent::{SilentHost, silent};
use crate::analysis::filter::{Flaps, HostFilter, Noted, Reason, UploadState};
use crate::analysis::report::End;
use crate::analysis::sketch::Bin;
use crate::analysis::windows::{PathView, Slot, Windows};
use crate::id::{Gid, HostName, TorId};
use crate::probe::ProbeKind;
use crate::time::{Nanos, WallTime};

/// What is judged. See the module.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was taken.
    pub now: WallTime,
    /// Every path with results in the longest horizon, in its place in the windows.
    pub seen: Vec<Option<PathCounts>>,
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
    /// What the next update goes on from.
    pub(in crate::analysis) following: Following,
}

/// Slots of starvation, re-registration or failed sends from which on they are reported.
const REPEATED: u32 = 3;
/// Paths per class of which the usual round trip is made.
const USUAL_PATHS: usize = 512;
/// A round trip that took longer than this was held up by pauses: the buffers of a fabric's switches drain faster,
const PAUSED: Nanos = Nanos(2_000_000);
/// or, where links are slow, longer than so many times what is slow.
const PAUSED_FACTOR: i64 = 10;

impl Snapshot {
    /// Copies what is to be judged. `limits` are those above which a round trip is slow, by class.
    pub fn take(
        windows: &Windows,
        host_filter: &HostFilter,
        limits: &HashMap<u32, Nanos>,
        now: WallTime,
    ) -> Self {
        let mut snapshot = Self::empty();
        snapshot.update(windows, host_filter, limits, now);
        snapshot
    }

    /// Of nothing yet.
    pub fn empty() -> Self {
        Self {
            now: WallTime::from_nanos(0),
            seen: Vec::new(),
            set_aside: BTreeMap::new(),
            judged: Counts::default(),
            judged_rnics: Arc::default(),
            coverage: Coverage::default(),
            blind: Vec::new(),
            silent: Vec::new(),
            overdue: HashSet::new(),
            starved: Vec::new(),
            flapping: Vec::new(),
            unsendable: Vec::new(),
            usual: HashMap::new(),
            following: Following::default(),
        }
    }

    /// Takes in what has changed since the last time. The result is that of [`Self::take`]: paths that have nothing new keep what they
    /// counted while the slots stay the same.
    pub fn update(
        &mut self,
        windows: &Windows,
        host_filter: &HostFilter,
        limits: &HashMap<u32, Nanos>,
        now: WallTime,
    ) {
        self.now = now;
        self.silent = silent(windows, host_filter, now);
        self.starved = host_filter
            .starved_hosts(now, REPEATED)
            .map(|(host, slots)| (host.clone(), slots))
            .collect();
        self.flapping = host_filter
            .flapping(now, REPEATED)
            .map(|(end, flaps)| (end.clone(), flaps))
            .collect();
        self.unsendable = host_filter.unsendable(now, REPEATED).cloned().collect();
        self.set_aside.clear();
        self.overdue.clear();
        let down = self.silent.iter().filter(|silent| silent.is_down());
        let down = down.map(|silent| silent.host.clone()).collect();
        let hosts = Hosts {
            filter: host_filter,
            down,
        };
        let noted = host_filter.noted(Horizon::Long.slots(), now);
        let due = self.following.due(&self.seen, windows, &noted, limits, now);
        let known = self.seen.len();
        for at in windows.places()..known {
            self.refresh(at, None, &hosts, &noted);
        }
        self.seen.resize(windows.places(), None);
        match due {
            Due::All => {
                for (at, path) in windows.by_place().enumerate() {
                    let path = path.filter(|path| !is_between_planes(*path, windows, now));
                    self.refresh(at, path, &hosts, &noted);
                }
            }
            Due::Some(places) => {
                for at in places {
                    self.refresh(at, windows.at(at), &hosts, &noted);
                }
            }
        }
        self.judged = self.following.judged();
        self.weigh();
        self.usual = usual(&self.seen, windows, now);
        let mut sight = self.following.sight();
        self.coverage = Coverage {
            judged: sight.rnics.len(),
            known: host_filter.sizes().1,
        };
        self.judged_rnics = Arc::new(std::mem::take(&mut sight.rnics));
        self.blind = sight.blind(host_filter);
    }

    /// Every path with results in the longest horizon.
    pub fn paths(&self) -> impl Iterator<Item = &PathCounts> {
        self.seen.iter().flatten()
    }

    /// Counts the path in a place anew.
    fn refresh(
        &mut self,
        at: usize,
        path: Option<PathView<'_>>,
        hosts: &Hosts<'_>,
        noted: &Noted<'_>,
    ) {
        let Some(seen) = self.seen.get_mut(at) else {
            return;
        };
        let mut known = seen.take();
        if let Some(known) = &known {
            self.following.subtract(known);
        }
        if let Some(other) = known.take_if(|known| path.is_none_or(|path| !known.is_of(path))) {
            self.following.leave(&other);
        }
        let Some(path) = path else {
            return;
        };
        let mut counted = known.unwrap_or_else(|| self.following.enter(path, noted));
        if self.count(&mut counted, path, hosts) {
            self.following.add(&counted);
            self.seen[at] = Some(counted);
        } else {
            self.following.leave(&counted);
        }
    }

    /// Counts a path; false for one without results.
    fn count(&mut self, seen: &mut PathCounts, path: PathView<'_>, hosts: &Hosts<'_>) -> bool {
        let target = path.target();
        seen.is_quiet = self.following.is_quiet(seen.ends);
        let tally = if seen.is_quiet {
            self.tally_quiet(path)
        } else {
            self.tally(path, hosts)
        };
        let Some(tally) = tally else {
            return false;
        };
        if !seen.is_quiet {
            self.following.disturb(seen.ends, &tally);
            if !self.overdue.contains(&target.host)
                && hosts.filter.upload_state(&target.host, self.now) == Some(UploadState::Overdue)
            {
                self.overdue.insert(target.host.clone());
            }
        }
        let slots = over(Horizon::Middle, self.now);
        let (trusted, longest) = path.trusted(&slots);
        let (slow, paused) = match self.following.limit(class(path.kind())) {
            Some(limit) if tally.clocks_run => {
                let all = Counts {
                    sent: trusted,
                    lost: 0,
                };
                if longest.number() > Bin::of(limit).number() {
                    slow(path, &slots, limit)
                } else {
                    (all, 0)
                }
            }
            _ => (Counts::default(), 0),
        };
        seen.counts = tally.counts.map(Few::from);
        seen.unsent = tally.unsent.map(few);
        let half_answered = tally.half_answered.map(few);
        seen.half_answered = (half_answered != [0; 4]).then(|| Box::new(half_answered));
        seen.slow = slow.into();
        seen.paused = few(paused);
        seen.longest = longest.number();
        true
    }

    /// Sums a path's slots where the filter has nothing to say about its ends; `None` where there are none.
    fn tally_quiet(&self, path: PathView<'_>) -> Option<Tally> {
        let now = Slot::of(self.now);
        let mut tally = None;
        for slot in path.counts(&over(Horizon::Long, self.now)) {
            let tally = tally.get_or_insert_with(Tally::new);
            tally.add(now.since(slot.slot), &slot);
        }
        tally
    }

    /// Sums a path's slots, without those that hosts disturbed; `None` where there are none.
    fn tally(&mut self, path: PathView<'_>, hosts: &Hosts<'_>) -> Option<Tally> {
        let (source, target) = (path.source(), path.target());
        let (host_filter, down) = (hosts.filter, &hosts.down);
        let now = Slot::of(self.now);
        let mut tally = None;
        for slot in path.counts(&over(Horizon::Long, self.now)) {
            let tally = tally.get_or_insert_with(Tally::new);
            let age = now.since(slot.slot);
            let probes = told(&slot);
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
                        tally.judged.add(probes);
                    }
                    tally.add(age, &slot);
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
        let mut sent: [SentCounts; 4] = Default::default();
        let mut was_heavy = false;
        for seen in self.seen.iter().flatten() {
            was_heavy |= seen.weighed.is_some();
            for (sent, counts) in sent.iter_mut().zip(&seen.counts) {
                sent.add(u64::from(counts.sent));
            }
        }
        let mut is_heavy = false;
        let most = sent.map(|mut sent| {
            let weight = sent.most_weight();
            is_heavy |= sent.most() > weight;
            weight
        });
        if !is_heavy && !was_heavy {
            return;
        }
        for seen in self.seen.iter_mut().flatten() {
            let most = match seen.kind {
                ProbeKind::InterTor | ProbeKind::Focus => {
                    most.map(|most| most.saturating_mul(FOCUSED_WEIGHT))
                }
                ProbeKind::TorMesh | ProbeKind::ServiceTracing => most,
            };
            let is_heavy = Horizon::ALL
                .iter()
                .any(|horizon| seen.counts(*horizon).sent > most[horizon.index()]);
            seen.weighed = is_heavy.then(|| {
                Box::new(
                    Horizon::ALL
                        .map(|horizon| weighed(seen.counts(horizon), most[horizon.index()])),
                )
            });
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
fn usual(seen: &[Option<PathCounts>], windows: &Windows, now: WallTime) -> HashMap<u32, Nanos> {
    let slots = over(Horizon::Middle, now);
    let mut left: BTreeMap<u32, usize> = BTreeMap::new();
    for seen in seen.iter().flatten() {
        *left.entry(class(seen.kind)).or_default() += 1;
    }
    let steps: BTreeMap<u32, usize> = left
        .iter()
        .map(|(class, paths)| (*class, paths.div_ceil(USUAL_PATHS)))
        .collect();
    let mut samples: HashMap<u32, Vec<Nanos>> = HashMap::new();
    for (at, seen) in seen.iter().enumerate() {
        let Some(class) = seen.as_ref().map(|seen| class(seen.kind)) else {
            continue;
        };
        let (Some(left), Some(step)) = (left.get_mut(&class), steps.get(&class)) else {
            continue;
        };
        *left -= 1;
        if left.is_multiple_of(*step)
            && let Some(path) = windows.at(at)
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

/// What is known of the hosts at the ends of paths.
struct Hosts<'a> {
    filter: &'a HostFilter,
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
