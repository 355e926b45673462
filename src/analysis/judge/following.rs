//! What a snapshot needs to follow the windows: which paths have anything new, and sums that are kept while paths come and go.

use std::collections::HashMap;
use std::sync::Arc;

use super::counts::{Counts, Horizon};
use super::path_counts::{Few, PathCounts, class, is_own};
use super::sight::{Sight, Tally};
use crate::analysis::filter::Noted;
use crate::analysis::report::End;
use crate::analysis::sketch::Bin;
use crate::analysis::windows::{PathView, Slot, Windows};
use crate::id::RnicName;
use crate::time::{Nanos, WallTime};

/// The paths that are to be counted anew.
#[derive(Debug)]
pub(super) enum Due {
    /// All.
    All,
    /// Those in these places.
    Some(Vec<usize>),
}

/// An RNIC at the ends of paths.
#[derive(Debug, Clone)]
struct KnownEnd {
    end: Arc<End>,
    name: Arc<RnicName>,
    /// How many ends of paths it is.
    paths: u32,
    /// The filter has something to say about it.
    is_noted: bool,
    /// Judged probes of 20 s on paths of which the filter says nothing, and how many paths have any.
    judged: u64,
    judged_paths: u32,
    /// On the other paths: probes of 20 s, and those that a host disturbed.
    disturbed: Counts,
    /// Whether any of these are judged.
    is_judged: bool,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(in crate::analysis) struct Following {
    /// Which windows, and how much of what they have counted was seen.
    windows: u64,
    stamp: u64,
    removed: u64,
    slot: Option<Slot>,
    limits: HashMap<u32, Nanos>,
    ends: Vec<KnownEnd>,
    /// By the address of an end, which paths share.
    by_address: HashMap<usize, u32>,
    free: Vec<u32>,
    /// Judged probes of 20 s: on paths of which the filter says nothing,
    quiet: Counts,
    /// and on the others.
    noisy: Counts,
    /// Paths of which the filter had something to say.
    noisy_paths: usize,
}

impl Following {
    /// Which paths are to be counted anew, so that all are as if they were counted now.
    pub(super) fn due(
        &mut self,
        seen: &[Option<PathCounts>],
        windows: &Windows,
        noted: &Noted<'_>,
        limits: &HashMap<u32, Nanos>,
        now: WallTime,
    ) -> Due {
        let slot = Slot::of(now);
        let stays = self.windows == windows.identity() && self.slot == Some(slot);
        let had = |class: &u32| self.limits.contains_key(class);
        let has_planes = windows.planes().is_some_and(|planes| planes.len() > 1);
        let is_all = !stays || has_planes || !limits.keys().all(had) || seen.is_empty();
        let lower = self.lower_limits(limits);
        let (since, removed) = (self.stamp, self.removed);
        self.windows = windows.identity();
        self.slot = Some(slot);
        self.stamp = windows.stamp();
        self.removed = windows.removed();
        self.limits.clone_from(limits);
        for known in &mut self.ends {
            known.is_noted = !noted.is_quiet(&known.end, &known.end);
            known.disturbed = Counts::default();
            known.is_judged = false;
        }
        self.noisy = Counts::default();
        if is_all {
            return Due::All;
        }
        let mut places: Vec<usize> = windows.touched_since(since).collect();
        if windows.removed() != removed {
            let gone = seen.iter().enumerate();
            let gone = gone.filter(|(at, seen)| seen.is_some() && windows.at(*at).is_none());
            places.extend(gone.map(|(at, _)| at));
        }
        let is_noted = self.noisy_paths > 0 || self.ends.iter().any(|known| known.is_noted);
        if is_noted || !lower.is_empty() {
            for (at, seen) in seen.iter().enumerate() {
                let Some(seen) = seen else {
                    continue;
                };
                let is_slow = lower
                    .get(&class(seen.kind))
                    .is_some_and(|limit| seen.longest > *limit);
                if is_slow || !seen.is_quiet || !self.is_quiet(seen.ends) {
                    places.push(at);
                }
            }
        }
        places.sort_unstable();
        places.dedup();
        Due::Some(places)
    }

    /// Where limits have changed, the bin above which a round trip may have become slow, or be slow no more, by class.
    fn lower_limits(&self, limits: &HashMap<u32, Nanos>) -> HashMap<u32, u16> {
        let bin = |limit: &Nanos| Bin::of(*limit).number();
        let lower = self.limits.iter().filter_map(|(class, before)| {
            let after = limits.get(class);
            (after != Some(before)).then(|| {
                let after = after.map_or(0, bin);
                (*class, bin(before).min(after))
            })
        });
        lower.collect()
    }

    /// The limit above which a round trip of a class is slow.
    pub(super) fn limit(&self, class: u32) -> Option<Nanos> {
        self.limits.get(&class).copied()
    }

    /// Whether the filter says nothing about two ends.
    pub(super) fn is_quiet(&self, ends: [u32; 2]) -> bool {
        ends.iter().all(|end| !self.ends[*end as usize].is_noted)
    }

    /// A path that was not there before, without counts.
    pub(super) fn enter(&mut self, path: PathView<'_>, noted: &Noted<'_>) -> PathCounts {
        let (source, target) = (path.source_end(), path.target_end());
        let ends = [self.end(&source, noted), self.end(&target, noted)];
        let [source_name, target_name] = ends.map(|end| Arc::clone(&self.ends[end as usize].name));
        PathCounts {
            source,
            target,
            source_name,
            target_name,
            kind: path.kind(),
            port: path.source_port(),
            service: path.service().cloned().map(Arc::new),
            is_own: is_own(path),
            counts: [Few::default(); 4],
            weighed: None,
            unsent: [0; 2],
            half_answered: None,
            slow: Few::default(),
            paused: 0,
            longest: 0,
            is_quiet: true,
            ends,
        }
    }

    /// The number of an end, which one more path has.
    fn end(&mut self, end: &Arc<End>, noted: &Noted<'_>) -> u32 {
        let address = Arc::as_ptr(end).addr();
        if let Some(number) = self.by_address.get(&address) {
            self.ends[*number as usize].paths += 1;
            return *number;
        }
        let known = KnownEnd {
            end: Arc::clone(end),
            name: Arc::new(end.rnic()),
            paths: 1,
            is_noted: !noted.is_quiet(end, end),
            judged: 0,
            judged_paths: 0,
            disturbed: Counts::default(),
            is_judged: false,
        };
        let number = if let Some(number) = self.free.pop() {
            self.ends[number as usize] = known;
            number
        } else {
            self.ends.push(known);
            u32::try_from(self.ends.len() - 1).unwrap_or(u32::MAX)
        };
        self.by_address.insert(address, number);
        number
    }

    /// A path is gone.
    pub(super) fn leave(&mut self, seen: &PathCounts) {
        for number in seen.ends {
            let known = &mut self.ends[number as usize];
            known.paths -= 1;
            if known.paths == 0 {
                known.is_noted = false;
                self.by_address.remove(&Arc::as_ptr(&known.end).addr());
                self.free.push(number);
            }
        }
    }

    /// Adds what a path counts to the sums that are kept.
    pub(super) fn add(&mut self, seen: &PathCounts) {
        if !seen.is_quiet {
            self.noisy_paths += 1;
            return;
        }
        let judged = seen.counts(Horizon::Middle);
        self.quiet.add(judged);
        for end in seen.ends {
            let known = &mut self.ends[end as usize];
            known.judged += judged.sent;
            known.judged_paths += u32::from(judged.sent > 0);
        }
    }

    /// Takes out what [`Self::add`] has added.
    pub(super) fn subtract(&mut self, seen: &PathCounts) {
        if !seen.is_quiet {
            self.noisy_paths -= 1;
            return;
        }
        let judged = seen.counts(Horizon::Middle);
        self.quiet.sent -= judged.sent;
        self.quiet.lost -= judged.lost;
        for end in seen.ends {
            let known = &mut self.ends[end as usize];
            known.judged -= judged.sent;
            known.judged_paths -= u32::from(judged.sent > 0);
        }
    }

    /// Takes in how much of a path of which the filter has something to say is judged, and how much is set aside.
    pub(super) fn disturb(&mut self, ends: [u32; 2], tally: &Tally) {
        self.noisy.add(tally.judged);
        for (end, disturbed) in ends.into_iter().zip([tally.by_source, tally.by_target]) {
            let known = &mut self.ends[end as usize];
            known.is_judged |= tally.judged.sent > 0;
            known.disturbed.add(Counts {
                sent: tally.judged.sent + disturbed,
                lost: disturbed,
            });
        }
    }

    /// Judged probes of 20 s.
    pub(super) const fn judged(&self) -> Counts {
        let mut judged = self.quiet;
        judged.add(self.noisy);
        judged
    }

    /// The RNICs and ToRs, with how much of their probes is judged.
    pub(super) fn sight(&self) -> Sight {
        let mut sight = Sight::default();
        for known in self.ends.iter().filter(|known| known.paths > 0) {
            if known.judged_paths > 0 || known.is_judged {
                sight.rnics.insert(known.end.gid);
            }
            let mut counts = known.disturbed;
            counts.sent = counts.sent.saturating_add(known.judged);
            if counts.sent > 0 {
                sight.add(&known.end.tor, counts);
            }
        }
        sight
    }
}
