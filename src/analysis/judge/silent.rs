//! Hosts whose agents are silent, and whether they answer probes.

use std::collections::HashMap;
use std::time::Duration;

use super::counts::{Counts, told};
use crate::analysis::filter::HostFilter;
use crate::analysis::windows::{Slot, Windows};
use crate::id::HostName;
use crate::time::{Nanos, WallTime};

/// Share of the probes to a silent host that are lost when it is down.
const DOWN: f64 = 0.9;
/// Share of the probes to a host lost while its agent uploaded, from which on their loss later says nothing of the host.
const ILL: f64 = 0.5;
/// Probes to a silent host in the current slot from which on they tell alone.
const LEAST_TO_SILENT: u64 = 3;

/// A host whose agent is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentHost {
    /// Its name.
    pub host: HostName,
    /// For how long.
    pub since: Duration,
    /// Its upload is due for too short a time to call it silent; it is here because it answers nothing.
    pub overdue: bool,
    /// Its agent has said lately that it stops.
    pub is_announced: bool,
    /// Probes to it since then, and those without an answer.
    pub probes: Counts,
}

impl SilentHost {
    /// Whether it does not answer either. A host that nobody probes is not called down.
    pub(crate) fn is_down(&self) -> bool {
        self.probes.lost >= LEAST_TO_SILENT && self.probes.share() >= DOWN
    }
}

/// Hosts whose agents are silent, and those whose upload is only late and that answer nothing either.
pub(super) fn silent(
    windows: &Windows,
    host_filter: &HostFilter,
    now: WallTime,
) -> Vec<SilentHost> {
    let mut silent: HashMap<HostName, SilentHost> = host_filter
        .quiet_hosts(now)
        .map(|(host, since, overdue)| {
            let silent = SilentHost {
                host: host.clone(),
                since,
                overdue,
                is_announced: host_filter.has_stopped(host, now),
                probes: Counts::default(),
            };
            (host.clone(), silent)
        })
        .collect();
    if silent.is_empty() {
        return Vec::new();
    }
    let current = Slot::of(now);
    let mut newest: HashMap<HostName, Counts> = HashMap::new();
    let mut before: HashMap<HostName, Counts> = HashMap::new();
    for path in windows.paths() {
        let name = &path.target().host;
        let Some(host) = silent.get_mut(name) else {
            continue;
        };
        if host.overdue {
            let fell = Slot::of(now + (Nanos::ZERO - Nanos::from(host.since)));
            for slot in path.counts(&(fell.before(1)..fell)) {
                before.entry(name.clone()).or_default().add(told(&slot));
            }
        }
        // The slot in which it fell silent holds answers from before: the later half of the silence tells, or the
        // current slot alone.
        let since = Slot::of(now + (Nanos::ZERO - Nanos::from(host.since / 2)));
        for slot in path.counts(&(since..current.next().next())) {
            let counts = told(&slot);
            host.probes.add(counts);
            if slot.slot >= current {
                newest.entry(name.clone()).or_default().add(counts);
            }
        }
    }
    for (name, counts) in newest {
        if counts.sent >= LEAST_TO_SILENT
            && let Some(host) = silent.get_mut(&name)
        {
            host.probes = counts;
        }
    }
    let mut silent: Vec<_> = silent.into_values().collect();
    // One whose upload is merely late is only down if it answers nothing either, and answered most probes while it uploaded.
    let was_ill = |host: &SilentHost| {
        before
            .get(&host.host)
            .is_some_and(|before| before.share() >= ILL)
    };
    silent.retain(|host| !host.overdue || (host.is_down() && !was_ill(host)));
    silent.sort_by(|a, b| a.host.as_str().cmp(b.host.as_str()));
    silent
}
