//! Reasons why a result says nothing about the network: the host, not the fabric, may have caused it.
//!
//! The [`HostFilter`] takes every batch that is counted. Per host and RNIC, and for each of the last slots, it keeps what
//! the host's own agent and its peers say: whether the agent uploaded, whether the RNIC registered another queue pair, whether
//! host delays show that it was starved of CPU, whether its clock runs backwards. [`HostFilter::reason`] then says for a
//! path and a slot why its results must be set aside. All results of a path in that slot are set aside, successes too:
//! without its losses alone a path would look better than it is.
//!
//! Memory is bounded by [`MOST_HOSTS`] and [`MOST_RNICS`]. Results of hosts and RNICs beyond these limits are never set
//! aside; [`HostFilter::unlisted`] counts them.

mod host;
mod noted;
mod sending;
mod slots;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use host::{Host, MAX_INTERVAL, MIN_INTERVAL};
use sending::Sending;
use slots::SlotSet;

use super::report::{Batch, End, PathReport};
use super::windows::Slot;
use crate::id::{Gid, HostName, Qpn, TorId};
use crate::measure::Invalid;
use crate::time::{Nanos, WallTime};

pub use host::{SILENT, UploadState};
pub(crate) use noted::Noted;

/// Hosts of which something is kept.
pub(crate) const MOST_HOSTS: usize = 100_000;
/// RNICs of which something is kept.
pub(crate) const MOST_RNICS: usize = 200_000;
/// A host that takes longer than this to handle a completion is starved of CPU: a thousand times what is usual.
pub(crate) const STARVED: Nanos = Nanos(50_000_000);
/// For so long nothing is said about a host whose agent has said that it stops: updates and restarts of machines need less.
pub const ANNOUNCED: Duration = Duration::from_mins(3);
/// Batches that come so soon after the word of an agent that it stops are its last ones.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Queue pairs of one RNIC that are told apart.
const MOST_QUEUE_PAIRS: usize = 32;

/// Why results are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The responder's agent uploads nothing and its RNICs do not answer.
    HostDown,
    /// The responder's agent uploads nothing, though its RNICs answer.
    AgentSilent,
    /// The responder has registered another queue pair than the prober used.
    QpnChanged,
    /// The responder's host was starved of CPU.
    ResponderStarved,
    /// The prober's host was starved of CPU.
    ProberStarved,
    /// A clock of either side ran backwards: round-trip times are not used, losses are.
    ClockInvalid,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::HostDown,
        Self::AgentSilent,
        Self::QpnChanged,
        Self::ResponderStarved,
        Self::ProberStarved,
        Self::ClockInvalid,
    ];

    /// Whether losses of what is set aside are not judged because the monitoring was disturbed: not where a host is known to be
    /// down, and not where round trips alone are set aside.
    pub(crate) const fn hides_loss(self) -> bool {
        match self {
            Self::HostDown | Self::ClockInvalid => false,
            Self::AgentSilent | Self::QpnChanged | Self::ResponderStarved | Self::ProberStarved => {
                true
            }
        }
    }

    /// Its name in labels and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HostDown => "host_down",
            Self::AgentSilent => "agent_silent",
            Self::QpnChanged => "qpn_changed",
            Self::ResponderStarved => "responder_starved",
            Self::ProberStarved => "prober_starved",
            Self::ClockInvalid => "clock_invalid",
        }
    }
}

/// How often an RNIC came and went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaps {
    /// Slots in which it registered another queue pair.
    pub registered: u32,
    /// Slots in which it could send to all peers at one time and to none at another.
    pub interrupted: u32,
}

impl Flaps {
    /// The larger of both.
    pub fn most(self) -> u32 {
        self.registered.max(self.interrupted)
    }
}

#[derive(Debug)]
struct Rnic {
    end: Arc<End>,
    first: Slot,
    /// Queue pairs that it has probed from, with the last slot of each.
    queue_pairs: Vec<(Qpn, Slot)>,
    changed: SlotSet,
    /// Slots in which somebody probed a queue pair that it no longer has.
    outdated: SlotSet,
    bad_clock: SlotSet,
    /// Slots in which it could not send.
    unsendable: SlotSet,
    /// Slots with an upload in which it could send to all peers,
    all_sendable: SlotSet,
    /// and slots with one in which it could send to none.
    none_sendable: SlotSet,
    /// Slots in which others said something else about where it is.
    contradicted: SlotSet,
}

/// What hosts and their peers said lately. See the module.
#[derive(Debug, Default)]
pub struct HostFilter {
    hosts: HashMap<HostName, Host>,
    rnics: HashMap<Gid, Rnic>,
    unlisted: u64,
    contradictions: u64,
}

impl HostFilter {
    /// Hears a batch that was counted, which came at `at` from the agent of `host`.
    pub fn ingest(&mut self, host: &HostName, batch: &Batch, at: WallTime) {
        let slot = Slot::of_interval(&batch.interval);
        self.ingest_host(host, batch, at);
        let mut sending = Sending::default();
        for report in &batch.paths {
            self.ingest_source(report, slot);
            self.ingest_target(report, slot);
            self.ingest_delays(report, slot);
            sending.add(report);
        }
        for (gid, could, could_not) in sending.0 {
            if let Some(rnic) = self.rnics.get_mut(&gid) {
                rnic.ingest_sending(slot, could, could_not);
            }
        }
    }

    fn ingest_host(&mut self, name: &HostName, batch: &Batch, at: WallTime) {
        let length = batch.interval.end.since(batch.interval.start);
        if !self.hosts.contains_key(name) && self.hosts.len() >= MOST_HOSTS {
            self.unlisted += 1;
            return;
        }
        let host = self.hosts.entry(name.clone()).or_insert_with(|| Host {
            last_end: batch.interval.end,
            received: at,
            stopped: None,
            interval: length.clamp(MIN_INTERVAL, MAX_INTERVAL),
            silent: SlotSet::default(),
            slow_to_answer: SlotSet::default(),
            accuser: None,
            slow_to_probe: SlotSet::default(),
        });
        let usual = host.interval;
        // A process that gets no CPU cuts its intervals late.
        if length > usual * 2 && length > usual + STRETCHED {
            for slot in Slot::of(batch.interval.start).up_to(Slot::of(batch.interval.end)) {
                host.slow_to_answer.insert(slot);
                host.slow_to_probe.insert(slot);
            }
        }
        // The last batches may come after the word that it stops.
        let is_back = host
            .stopped
            .is_some_and(|stopped| at.since(stopped) >= LAST_WORDS);
        if is_back {
            host.stopped = None;
        }
        if is_back || batch.interval.start.since(host.last_end) > host.silent_after() {
            let settled = batch.interval.end + Nanos::from(SETTLING);
            for slot in Slot::of(host.last_end).up_to(Slot::of(settled)) {
                host.silent.insert(slot);
            }
        }
        host.interval = (usual * 7 + length.clamp(MIN_INTERVAL, MAX_INTERVAL)) / 8;
        // After a restart an agent may send old batches again. They do not show that it is alive now. A batch that is only a little
        // old does, also where the agent's clock was set back.
        let is_new = batch.interval.end > host.last_end
            || at.since(batch.interval.end) <= host.silent_after();
        if is_new {
            host.received = host.received.max(at);
        }
        host.last_end = host.last_end.max(batch.interval.end);
    }

    /// The agent of a host has said at `at` that it stops, because it was told to. Nothing is said about a host that is not known.
    pub(crate) fn stops(&mut self, host: &HostName, at: WallTime) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.stopped = Some(at);
        }
    }

    /// Whether the agent of a host has announced its stop within [`ANNOUNCED`]. Its silence is then expected.
    pub(crate) fn has_stopped(&self, host: &HostName, now: WallTime) -> bool {
        let stopped = self.hosts.get(host).and_then(|host| host.stopped);
        stopped.is_some_and(|stopped| now.since(stopped) < ANNOUNCED)
    }

    fn rnic(&mut self, end: &Arc<End>, slot: Slot) -> Option<&mut Rnic> {
        let is_full = self.rnics.len() >= MOST_RNICS;
        match self.rnics.entry(end.gid) {
            Entry::Occupied(rnic) => Some(rnic.into_mut()),
            Entry::Vacant(_) if is_full => {
                self.unlisted += 1;
                None
            }
            Entry::Vacant(place) => Some(place.insert(Rnic {
                end: Arc::clone(end),
                first: slot,
                queue_pairs: Vec::new(),
                changed: SlotSet::default(),
                outdated: SlotSet::default(),
                bad_clock: SlotSet::default(),
                unsendable: SlotSet::default(),
                all_sendable: SlotSet::default(),
                none_sendable: SlotSet::default(),
                contradicted: SlotSet::default(),
            })),
        }
    }

    fn ingest_source(&mut self, report: &PathReport, slot: Slot) {
        let end = &report.path.source;
        let Some(rnic) = self.rnic(end, slot) else {
            return;
        };
        if rnic.end != *end {
            rnic.end = Arc::clone(end);
        }
        match rnic.queue_pairs.iter_mut().find(|(qpn, _)| *qpn == end.qpn) {
            Some((_, last)) => *last = slot.max(*last),
            None => {
                if !rnic.queue_pairs.is_empty() && slot > rnic.first {
                    rnic.changed.insert(slot);
                }
                if rnic.queue_pairs.len() >= MOST_QUEUE_PAIRS {
                    rnic.queue_pairs.remove(0);
                }
                rnic.queue_pairs.push((end.qpn, slot));
            }
        }
        if report
            .invalid
            .iter()
            .any(|(why, _)| *why == Invalid::SendFailed)
        {
            rnic.unsendable.insert(slot);
        }
    }

    fn ingest_target(&mut self, report: &PathReport, slot: Slot) {
        let end = &report.path.target;
        let Some(rnic) = self.rnics.get_mut(&end.gid) else {
            return;
        };
        if rnic.queue_pairs.is_empty() {
            return;
        }
        if rnic.end.host != end.host || rnic.end.tor != end.tor {
            rnic.contradicted.insert(slot);
            self.contradictions += 1;
        }
        if rnic.is_outdated(end.qpn) {
            rnic.outdated.insert(slot);
        }
    }

    fn ingest_delays(&mut self, report: &PathReport, slot: Slot) {
        let slow = |delay: fn(&crate::measure::Measurement) -> Nanos| {
            report.samples.iter().any(|sample| delay(sample) > STARVED)
        };
        let (answering, probing) = (
            slow(|sample| sample.responder_delay),
            slow(|sample| sample.prober_delay),
        );
        let path = &report.path;
        // With two hosts nobody else can see it.
        let is_pair = self.hosts.len() <= 2;
        if answering && let Some(host) = self.hosts.get_mut(&path.target.host) {
            if is_pair || path.source.host == path.target.host {
                host.slow_to_answer.insert(slot);
            } else {
                host.accuse(&path.source.host, slot);
            }
        }
        if probing && let Some(host) = self.hosts.get_mut(&path.source.host) {
            host.slow_to_probe.insert(slot);
        }
        let backwards = report.invalid.iter().any(|(why, _)| {
            matches!(
                why,
                Invalid::NegativeNetworkRtt
                    | Invalid::NegativeProberDelay
                    | Invalid::NegativeResponderDelay
            )
        });
        if backwards {
            for gid in [path.source.gid, path.target.gid] {
                if let Some(rnic) = self.rnics.get_mut(&gid) {
                    rnic.bad_clock.insert(slot);
                }
            }
        }
    }

    /// Forgets hosts and RNICs that were not heard of for so long.
    pub(crate) fn expire(&mut self, now: WallTime, after: Duration) {
        self.hosts
            .retain(|_, host| now.since(host.received) < after);
        let oldest = Slot::of(now).before(u32::try_from(after.as_secs() / 5).unwrap_or(u32::MAX));
        self.rnics.retain(|_, rnic| {
            rnic.first >= oldest || rnic.queue_pairs.iter().any(|(_, last)| *last >= oldest)
        });
    }

    /// Why the results of a path in a slot must be set aside for good; silence is [`Self::is_silent`]'s.
    pub fn reason(&self, source: &End, target: &End, slot: Slot) -> Option<Reason> {
        if let Some(rnic) = self.rnics.get(&target.gid)
            && (rnic.changed.near(slot) || rnic.outdated.contains(slot))
        {
            return Some(Reason::QpnChanged);
        }
        if let Some(host) = self.hosts.get(&target.host)
            && host.slow_to_answer.near(slot)
        {
            return Some(Reason::ResponderStarved);
        }
        let host = self.hosts.get(&source.host)?;
        host.slow_to_probe
            .near(slot)
            .then_some(Reason::ProberStarved)
    }

    /// Hosts and RNICs of which anything was noted in the last `slots` slots.
    pub(crate) fn noted(&self, slots: u32, now: WallTime) -> Noted<'_> {
        // What is noted of a slot also holds for the slots beside it.
        let since = Slot::of(now).before(slots.saturating_add(2));
        let is_noted = |sets: &[&SlotSet]| sets.iter().any(|set| set.count_since(since) > 0);
        let hosts = self.hosts.iter().filter(|(_, host)| {
            is_noted(&[&host.silent, &host.slow_to_answer, &host.slow_to_probe])
                || host.upload_state(now) != UploadState::Current
        });
        let rnics = self
            .rnics
            .iter()
            .filter(|(_, rnic)| is_noted(&[&rnic.changed, &rnic.outdated, &rnic.bad_clock]));
        Noted {
            hosts: hosts.map(|(name, _)| name).collect(),
            rnics: rnics.map(|(gid, _)| *gid).collect(),
        }
    }

    /// The other host whose agent has reported from an RNIC in the last two minutes before a slot: then a report from there by the
    /// agent of `host` is about somebody else's RNIC.
    pub fn reported_by_another(&self, gid: Gid, host: &HostName, slot: Slot) -> Option<&HostName> {
        let rnic = self.rnics.get(&gid)?;
        let since = slot.before(24);
        let is_held = rnic.queue_pairs.iter().any(|(_, last)| *last >= since);
        (rnic.end.host != *host && is_held).then_some(&rnic.end.host)
    }

    /// Whether a clock of an RNIC ran backwards in or next to a slot.
    pub(crate) fn has_bad_clock(&self, gid: Gid, slot: Slot) -> bool {
        self.rnics
            .get(&gid)
            .is_some_and(|rnic| rnic.bad_clock.near(slot))
    }

    /// Whether the agent of a host uploaded nothing in a slot, or came back so lately that others may still report there what it
    /// missed.
    pub(crate) fn is_silent(&self, host: &HostName, slot: Slot, now: WallTime) -> bool {
        self.hosts.get(host).is_some_and(|known| {
            known.silent.contains(slot)
                || matches!(known.upload_state(now), UploadState::Silent(_))
                    && slot >= Slot::of(known.last_end)
        })
    }

    /// Uploads of the host could not arrive from `since` on: they are due, and not missing. A host that was silent before stays silent.
    pub(crate) fn wait_for(&mut self, host: &HostName, since: WallTime, now: WallTime) {
        if let Some(host) = self.hosts.get_mut(host)
            && !host.was_silent(since)
        {
            host.wait_for(now);
        }
    }

    /// The agent of a host was silent from `since` on, before anything was known here. Says nothing of a host that is known.
    pub(crate) fn found_silent(&mut self, host: &HostName, since: WallTime, now: WallTime) {
        if self.hosts.len() < MOST_HOSTS {
            let fresh = || Host::silent_since(since, now);
            self.hosts.entry(host.clone()).or_insert_with(fresh);
        }
    }

    /// Whether the agent of a host uploads on time; `None` for one that never uploaded.
    pub(crate) fn upload_state(&self, host: &HostName, now: WallTime) -> Option<UploadState> {
        self.hosts.get(host).map(|host| host.upload_state(now))
    }

    /// Hosts whose agents are silent, or only overdue (`true`), and for how long they have uploaded nothing.
    pub(crate) fn quiet_hosts(
        &self,
        now: WallTime,
    ) -> impl Iterator<Item = (&HostName, Duration, bool)> {
        self.hosts
            .iter()
            .filter_map(move |(name, host)| match host.upload_state(now) {
                UploadState::Silent(since) => Some((name, since, false)),
                UploadState::Overdue => Some((name, now.since(host.received), true)),
                UploadState::Current => None,
            })
    }

    /// Hosts that were starved of CPU in at least `least` of the last 24 slots, and in how many.
    pub(crate) fn starved_hosts(
        &self,
        now: WallTime,
        least: u32,
    ) -> impl Iterator<Item = (&HostName, u32)> {
        let since = Slot::of(now).before(24);
        self.hosts.iter().filter_map(move |(name, host)| {
            let slots = host
                .slow_to_answer
                .count_since(since)
                .max(host.slow_to_probe.count_since(since));
            (slots >= least).then_some((name, slots))
        })
    }

    /// RNICs that registered another queue pair, or could send to all peers at one time and to none at another, in at least
    /// `least` of the last 24 slots.
    pub fn flapping(&self, now: WallTime, least: u32) -> impl Iterator<Item = (&End, Flaps)> {
        let since = Slot::of(now).before(24);
        self.rnics.values().filter_map(move |rnic| {
            let flaps = Flaps {
                registered: rnic.changed.count_since(since),
                interrupted: rnic.all_sendable.count_both(&rnic.none_sendable, since),
            };
            (flaps.most() >= least).then_some((&*rnic.end, flaps))
        })
    }

    /// RNICs that could not send in at least `least` of the last 4 slots.
    pub(crate) fn unsendable(&self, now: WallTime, least: u32) -> impl Iterator<Item = &End> {
        let since = Slot::of(now).before(3);
        self.rnics
            .values()
            .filter(move |rnic| rnic.unsendable.count_since(since) >= least)
            .map(|rnic| &*rnic.end)
    }

    /// RNICs of which others have said lately that they are elsewhere, as their own agents describe them.
    pub fn contradicted(&self, now: WallTime) -> impl Iterator<Item = &End> {
        let since = Slot::of(now).before(24);
        self.rnics
            .values()
            .filter(move |rnic| rnic.contradicted.count_since(since) > 0)
            .map(|rnic| &*rnic.end)
    }

    /// The RNICs as their own agents describe them.
    pub fn rnics(&self) -> impl Iterator<Item = &End> {
        self.rnics.values().map(|rnic| &*rnic.end)
    }

    /// The ToRs that RNICs are cabled to.
    pub fn tors(&self) -> BTreeSet<TorId> {
        self.rnics().map(|end| end.tor.clone()).collect()
    }

    /// An RNIC as its own agent describes it.
    pub fn end(&self, gid: Gid) -> Option<&End> {
        self.rnics.get(&gid).map(|rnic| &*rnic.end)
    }

    /// Records that the agent of a host lives although its batch was not counted: its clock is too far off.
    pub(crate) fn note_alive(&mut self, name: &HostName, at: WallTime) {
        if let Some(host) = self.hosts.get_mut(name) {
            host.received = host.received.max(at);
        }
    }

    /// Hosts of which something is kept, and RNICs.
    pub fn sizes(&self) -> (usize, usize) {
        (self.hosts.len(), self.rnics.len())
    }

    /// Hosts and RNICs that found no place, counted at each report.
    pub(crate) const fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Reports that named another host or ToR for an RNIC than its own agent does.
    pub const fn contradictions(&self) -> u64 {
        self.contradictions
    }
}

/// How long after a host's return others may still report probes that it lost before: they wait for an answer, then for
/// their upload.
const SETTLING: Duration = Duration::from_secs(2);
/// How much longer than usual an interval must be to show a starved process.
const STRETCHED: Duration = Duration::from_millis(500);

impl Rnic {
    /// What a batch says; one in which it could send to some peers only is no sign of a port that comes and goes.
    fn ingest_sending(&mut self, slot: Slot, could: bool, could_not: bool) {
        match (could, could_not) {
            (true, false) => self.all_sendable.insert(slot),
            (false, true) => self.none_sendable.insert(slot),
            _ => {}
        }
    }

    fn is_outdated(&self, qpn: Qpn) -> bool {
        let newest = self.queue_pairs.iter().map(|(_, last)| *last).max();
        let last = self.queue_pairs.iter().find(|(known, _)| *known == qpn);
        match (last, newest) {
            (Some((_, last)), Some(newest)) => last.next() < newest,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
