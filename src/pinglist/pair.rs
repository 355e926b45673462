//! The 5-tuples of one ordered pair of ToRs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::id::{FlowLabel, UdpSourcePort};
use crate::topology::Member;
use crate::transport::SourcePortSteering;

use super::mix::{hash, join, mix, permute_14_bits};
use super::{MAX_SLOTS, ROTATION_COHORTS, steerable_ports};

const PORTS: u32 = UdpSourcePort::COUNT as u32;

/// One ordered pair with the RNICs that take part and the number of slots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) sources: &'a [Arc<Member>],
    pub(super) targets: &'a [Arc<Member>],
    pub(super) slots: u32,
    pub(super) key: u64,
    /// Rotations since the epoch.
    pub(super) period: u64,
}

/// The RNICs of a slot in a sparse matrix, by their places in [`Pair::sources`] and [`Pair::targets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) source: usize,
    pub(super) target: usize,
}

/// A slot that one source RNIC fills.
pub(super) struct Slot {
    pub(super) target: usize,
    pub(super) flow_label: FlowLabel,
    /// Scatters the slots of many pairs over a prober's round.
    pub(super) order: u64,
}

impl<'a> Pair<'a> {
    /// With a key that is the pair's own.
    pub(super) fn new(
        (source_key, sources): (u64, &'a [Arc<Member>]),
        (target_key, targets): (u64, &'a [Arc<Member>]),
        slots: u32,
        (seed, period): (u64, u64),
    ) -> Self {
        Self {
            sources,
            targets,
            slots: slots.min(MAX_SLOTS),
            key: join(seed, join(source_key, target_key)),
            period,
        }
    }

    fn sources_len(&self) -> u32 {
        u32::try_from(self.sources.len()).unwrap_or(u32::MAX)
    }

    fn targets_len(&self) -> u32 {
        u32::try_from(self.targets.len()).unwrap_or(u32::MAX)
    }

    fn source_shift(&self) -> u32 {
        remainder(mix(self.key ^ 1), self.sources_len())
    }

    fn target_of(&self, column: u32, row: u32) -> u32 {
        let shift = u64::from(remainder(mix(self.key ^ 2), self.targets_len()));
        remainder(
            shift + u64::from(column) + u64::from(row),
            self.targets_len(),
        )
    }

    /// The column of slots that a source fills: slot `row * S + column`.
    fn column(&self, source: usize) -> u32 {
        let source = u32::try_from(source).unwrap_or(0);
        let len = self.sources_len();
        (source + len - self.source_shift()) % len
    }

    fn rows(&self, column: u32) -> u32 {
        self.slots
            .saturating_sub(column)
            .div_ceil(self.sources_len())
    }

    /// How many slots a source fills, whether it can give each an own port or not: its share of the rate.
    pub(super) fn share(&self, source: usize) -> u32 {
        if self.is_empty() {
            return 0;
        }
        self.rows(self.column(source))
    }

    fn is_empty(&self) -> bool {
        self.sources.is_empty() || self.targets.is_empty()
    }

    /// The slots that a source fills, without those that it could only repeat.
    pub(super) fn slots_of(&self, source: usize) -> Vec<Slot> {
        if self.is_empty() {
            return Vec::new();
        }
        let column = self.column(source);
        let steering = &self.sources[source].steering;
        let ports = steerable_ports(steering);
        (0..self.rows(column))
            .filter(|row| row / self.targets_len() < ports)
            .map(|row| {
                let slot = row * self.sources_len() + column;
                Slot {
                    target: self.target_of(column, row) as usize,
                    flow_label: self.label(steering, slot, (column, row)),
                    order: mix(self.key ^ (u64::from(slot) << 20)),
                }
            })
            .collect()
    }

    /// Source and target RNIC of each slot in a sparse matrix, by rendezvous hashing: an RNIC that joins takes over one
    /// slot in so many, and the others keep theirs.
    pub(super) fn assign(&self) -> Vec<Ends> {
        if self.is_empty() {
            return Vec::new();
        }
        let keys = |members: &[Arc<Member>]| -> Vec<u64> {
            members
                .iter()
                .map(|member| hash(&member.gid().bytes()))
                .collect()
        };
        let (sources, targets) = (keys(self.sources), keys(self.targets));
        (0..u64::from(self.slots))
            .map(|slot| Ends {
                source: highest(join(self.key, 2 * slot), &sources),
                target: highest(join(self.key, 2 * slot + 1), &targets),
            })
            .collect()
    }

    /// The slots of `ends` that a source fills, without those that it could only repeat.
    pub(super) fn slots_among(&self, ends: &[Ends], source: usize) -> Vec<Slot> {
        let steering = &self.sources[source].steering;
        let ports = steerable_ports(steering);
        let mut repeats: HashMap<usize, u32> = HashMap::new();
        let own = (0_u32..)
            .zip(ends)
            .filter(|(_, ends)| ends.source == source);
        own.filter_map(|(slot, ends)| {
            let repeat = repeats.entry(ends.target).or_default();
            let nth = std::mem::replace(repeat, *repeat + 1);
            (nth < ports).then(|| Slot {
                target: ends.target,
                flow_label: self.label_of_repeat(steering, slot, *ends, nth),
                order: mix(self.key ^ (u64::from(slot) << 20)),
            })
        })
        .collect()
    }

    fn label_of_repeat(
        &self,
        steering: &SourcePortSteering,
        slot: u32,
        ends: Ends,
        repeat: u32,
    ) -> FlowLabel {
        let port = match steering {
            SourcePortSteering::QueuePair(ports) if !ports.is_empty() => {
                let (source, target) = (&self.sources[ends.source], &self.targets[ends.target]);
                let both = join(hash(&source.gid().bytes()), hash(&target.gid().bytes()));
                let count = u32::try_from(ports.len()).unwrap_or(u32::MAX);
                let shift = remainder(mix(self.key ^ 3 ^ both), count);
                ports[((shift + repeat) % count) as usize]
            }
            _ => self.port(slot, slot),
        };
        label_of(port)
    }

    /// How many distinct 5-tuples all sources together make of the slots with these ends.
    pub(super) fn distinct_among(&self, ends: &[Ends]) -> u32 {
        let mut repeats: HashMap<(usize, usize), u32> = HashMap::new();
        for ends in ends {
            *repeats.entry((ends.source, ends.target)).or_default() += 1;
        }
        repeats
            .iter()
            .map(|((source, _), count)| {
                (*count).min(steerable_ports(&self.sources[*source].steering))
            })
            .sum()
    }

    fn label(
        &self,
        steering: &SourcePortSteering,
        slot: u32,
        (column, row): (u32, u32),
    ) -> FlowLabel {
        let port = match steering {
            SourcePortSteering::QueuePair(ports) if !ports.is_empty() => {
                let count = u32::try_from(ports.len()).unwrap_or(u32::MAX);
                let ends = (u64::from(column) << 32) | u64::from(self.target_of(column, row));
                let shift = remainder(mix(self.key ^ 3 ^ mix(ends)), count);
                let repeat = row / self.targets_len();
                ports[((shift + repeat) % count) as usize]
            }
            _ => self.port(slot, column + row),
        };
        label_of(port)
    }

    /// Slot `i` owns the ports π(i + k·g): no two slots ever meet, and each generation `g` is another port.
    fn port(&self, slot: u32, diagonal: u32) -> UdpSourcePort {
        let generations = u64::from((PORTS / self.slots.max(1)).max(1));
        let generation = remainder64(self.generation(diagonal), generations);
        let value = u64::from(slot) + u64::from(self.slots) * generation;
        let value = u16::try_from(value % u64::from(PORTS)).unwrap_or(0);
        UdpSourcePort(UdpSourcePort::FIRST | permute_14_bits(self.key, value))
    }

    /// Grows by one each [`ROTATION_COHORTS`] periods, for each diagonal in another period.
    fn generation(&self, diagonal: u32) -> u64 {
        let cohort =
            (mix(self.key ^ 4) % ROTATION_COHORTS + u64::from(diagonal)) % ROTATION_COHORTS;
        (self.period + cohort) / ROTATION_COHORTS
    }

    /// How many distinct 5-tuples all sources together make of the slots.
    pub(super) fn distinct(&self) -> u32 {
        if self.is_empty() {
            return 0;
        }
        let targets = self.targets_len();
        (0..self.sources.len())
            .map(|source| {
                let ports = steerable_ports(&self.sources[source].steering);
                let rows = self.rows(self.column(source));
                let (full, rest) = (rows / targets, rows % targets);
                rest * ports.min(full + 1) + (targets - rest) * ports.min(full)
            })
            .sum()
    }

    /// The sources that fill a slot towards a target.
    pub(super) fn sources_towards(&self, target: usize) -> impl Iterator<Item = &'a Arc<Member>> {
        let (pair, sources) = (*self, self.sources);
        let slots = if self.is_empty() { 0 } else { self.slots };
        (0..slots).filter_map(move |slot| {
            let len = pair.sources_len();
            let (row, column) = (slot / len, slot % len);
            (pair.target_of(column, row) as usize == target)
                .then(|| &sources[((column + pair.source_shift()) % len) as usize])
        })
    }
}

/// The label that folds to a port. Ports outside the labels' range come from drivers that have their own; any label
/// then selects by its number.
pub(super) fn label_of(port: UdpSourcePort) -> FlowLabel {
    port.flow_label()
        .or_else(|| FlowLabel::new(u32::from(port.0)))
        .unwrap_or(FALLBACK)
}

const FALLBACK: FlowLabel = match FlowLabel::new(1) {
    Some(label) => label,
    None => panic!("1 is a flow label"),
};

/// The member with the highest score for `key` (rendezvous hashing, Thaler and Ravishankar 1998).
fn highest(key: u64, members: &[u64]) -> usize {
    let scored = members.iter().enumerate();
    scored
        .max_by_key(|(_, member)| mix(key ^ **member))
        .map_or(0, |(at, _)| at)
}

fn remainder64(value: u64, by: u64) -> u64 {
    value.checked_rem(by).unwrap_or(0)
}

fn remainder(value: u64, by: u32) -> u32 {
    u32::try_from(remainder64(value, u64::from(by))).unwrap_or(0)
}
