//! One directed link: a queue, a wire and whatever is wrong with them.

#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::VecDeque;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::topology::{Flow, mix};
use super::truth::{Cause, FaultTruth, LinkTruth};
use crate::fault::{Effect, Pulse};
use crate::time::Nanos;

/// What a link is like when nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkProfile {
    /// From the last bit sent to the packet being at the next node's queue (wire and switch).
    pub delay: Duration,
    /// Bits per second.
    pub rate: u64,
    /// Bytes that its queue holds.
    pub queue: u64,
}

/// A link slower than this is emulated packet by packet in order of time; faster ones may take packets that are on
/// their way a few microseconds early, which at their rate makes no difference.
const EXACT_BELOW: u64 = 5_000_000_000;

/// Other traffic comes in packets of this size, in bytes.
const OTHER_PACKET: f64 = 4096.0;

/// An effect that acts on a link now.
#[derive(Debug, Clone, Copy)]
struct Active {
    fault: u32,
    since: i64,
    effect: Effect,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is at the next node at this time.
    Arrives(i64),
    /// It is, with a wrong ICRC.
    Corrupted(i64),
    /// It is gone.
    Lost,
}

/// A directed link. Times are nanoseconds.
#[derive(Debug)]
pub(super) struct Link {
    delay: i64,
    picos_per_byte: u64,
    queue: u64,
    longest_wait: i64,
    /// The last period without a gap in which the wire was, or is going to be, busy.
    busy_from: i64,
    busy_until: i64,
    slow: bool,
    active: Vec<Active>,
    /// Packets in the queue while something is wrong: when they leave it and their size.
    queued: VecDeque<(i64, u64)>,
    queued_bytes: u64,
    pub(super) truth: LinkTruth,
}

/// A packet as a link sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing {
    pub(super) at: i64,
    pub(super) bytes: u64,
    pub(super) flow: Flow,
}

fn picos_per_byte(rate: u64) -> u64 {
    8_000_000_000_000 / rate.max(1)
}

fn nanos(picos: u64) -> i64 {
    i64::try_from(picos / 1_000).unwrap_or(i64::MAX)
}

/// Everything that changes a packet's way over an impaired link.
struct Conditions {
    delay: i64,
    picos_per_byte: u64,
    queue: u64,
    wait: i64,
    corrupt: Option<u32>,
}

impl Link {
    pub(super) fn new(profile: LinkProfile) -> Self {
        let picos_per_byte = picos_per_byte(profile.rate);
        Self {
            delay: Nanos::from(profile.delay).0,
            picos_per_byte,
            queue: profile.queue,
            longest_wait: nanos(profile.queue.saturating_mul(picos_per_byte)),
            busy_from: i64::MIN,
            busy_until: i64::MIN,
            slow: profile.rate < EXACT_BELOW,
            active: Vec::new(),
            queued: VecDeque::new(),
            queued_bytes: 0,
            truth: LinkTruth::default(),
        }
    }

    pub(super) fn begin(&mut self, fault: u32, effect: Effect, now: i64) {
        self.active.push(Active {
            fault,
            since: now,
            effect,
        });
    }

    pub(super) fn end(&mut self, fault: u32) {
        self.active.retain(|active| active.fault != fault);
    }

    /// Whether packets must come in the order of time.
    #[inline]
    pub(super) fn needs_order(&self) -> bool {
        self.slow || !self.active.is_empty()
    }

    /// When a packet that comes at `at` is at the next node; `None` if the queue is full. Nothing must be wrong.
    #[inline]
    pub(super) fn cross_healthy(&mut self, at: i64, bytes: u64) -> Option<i64> {
        self.truth.sent += 1;
        let sending = nanos(bytes * self.picos_per_byte);
        if at >= self.busy_until {
            self.busy_from = at;
            self.busy_until = at + sending;
            return Some(self.busy_until + self.delay);
        }
        if at + sending <= self.busy_from {
            return Some(at + sending + self.delay);
        }
        if self.busy_until - at > self.longest_wait {
            self.truth.count(Cause::Overflow);
            return None;
        }
        self.busy_until += sending;
        Some(self.busy_until + self.delay)
    }

    /// The same with whatever is wrong. Packets must come in the order of time.
    pub(super) fn cross(
        &mut self,
        packet: Passing,
        random: &mut ChaCha8Rng,
        faults: &mut [FaultTruth],
    ) -> Fate {
        self.truth.sent += 1;
        self.expose(faults);
        let conditions = match self.conditions(packet, random) {
            Ok(conditions) => conditions,
            Err((cause, fault)) => {
                self.truth.count(cause);
                blame(faults, fault);
                return Fate::Lost;
            }
        };
        let Some(sent) = self.enqueue(packet, &conditions) else {
            self.truth.count(Cause::Overflow);
            if let Some(first) = self.active.first() {
                blame(faults, first.fault);
            }
            return Fate::Lost;
        };
        let arrival = sent.saturating_add(conditions.delay);
        match conditions.corrupt {
            Some(fault) => {
                self.truth.count(Cause::Corruption);
                blame(faults, fault);
                Fate::Corrupted(arrival)
            }
            None => Fate::Arrives(arrival),
        }
    }

    fn expose(&self, faults: &mut [FaultTruth]) {
        let mut last = None;
        for active in &self.active {
            if last.replace(active.fault) != Some(active.fault)
                && let Some(truth) = faults.get_mut(active.fault as usize)
            {
                truth.exposed += 1;
            }
        }
    }

    /// What applies to a packet, or why it is lost before it is queued.
    fn conditions(
        &self,
        packet: Passing,
        random: &mut ChaCha8Rng,
    ) -> Result<Conditions, (Cause, u32)> {
        let mut it = Conditions {
            delay: self.delay,
            picos_per_byte: self.picos_per_byte,
            queue: self.queue,
            wait: 0,
            corrupt: None,
        };
        let mut busy = None;
        for active in &self.active {
            let lost = |cause| Err((cause, active.fault));
            match active.effect {
                Effect::Down => return lost(Cause::Down),
                Effect::Flap(pulse) if pulse.on_until(active.since, packet.at).is_some() => {
                    return lost(Cause::Down);
                }
                Effect::Loss(ratio) if random.random::<f64>() < ratio.get() => {
                    return lost(Cause::Loss);
                }
                Effect::Blackhole(ratio) if swallows(active.fault, ratio.get(), packet.flow) => {
                    return lost(Cause::Blackhole);
                }
                Effect::Corrupt(ratio) if random.random::<f64>() < ratio.get() => {
                    it.corrupt = it.corrupt.or(Some(active.fault));
                }
                Effect::Delay(delay) => it.delay = it.delay.saturating_add(Nanos::from(delay).0),
                Effect::Jitter(most) => {
                    let extra = random.random_range(0..=Nanos::from(most).0);
                    it.delay = it.delay.saturating_add(extra);
                }
                Effect::Rate(rate) => it.picos_per_byte = picos_per_byte(rate),
                Effect::Queue(bytes) => it.queue = bytes,
                Effect::Load(load) => busy = Some((load.get(), active.fault)),
                // Not now, or not of a link; a pause is the queue's.
                Effect::Flap(_)
                | Effect::Loss(_)
                | Effect::Blackhole(_)
                | Effect::Corrupt(_)
                | Effect::Pause(_)
                | Effect::ClockStep(_)
                | Effect::Stall(_)
                | Effect::Restart => {}
            }
        }
        // Behind the loop: it depends on the rate and the queue, whatever the order of the effects.
        if let Some((load, fault)) = busy {
            it.wait = other_traffic(load, it.picos_per_byte, random);
            if it.wait > nanos(it.queue.saturating_mul(it.picos_per_byte)) {
                return Err((Cause::Overflow, fault));
            }
        }
        Ok(it)
    }

    /// Puts a packet into the queue and says when its last bit leaves it.
    fn enqueue(&mut self, packet: Passing, conditions: &Conditions) -> Option<i64> {
        while let Some((leaves, bytes)) = self.queued.front().copied()
            && leaves <= packet.at
        {
            self.queued.pop_front();
            self.queued_bytes -= bytes;
        }
        if self.queued_bytes + packet.bytes > conditions.queue {
            return None;
        }
        let earliest = packet
            .at
            .saturating_add(conditions.wait)
            .max(self.busy_until);
        let start = self.after_pauses(earliest);
        let sending = nanos(packet.bytes.saturating_mul(conditions.picos_per_byte));
        self.busy_from = start;
        self.busy_until = start.saturating_add(sending);
        self.queued.push_back((self.busy_until, packet.bytes));
        self.queued_bytes += packet.bytes;
        Some(self.busy_until)
    }

    /// The first time from `at` on when no pause holds the queue.
    fn after_pauses(&self, at: i64) -> i64 {
        let mut start = at;
        for active in &self.active {
            if let Effect::Pause(pulse) = active.effect {
                start = end_of_pause(pulse, active.since, start);
            }
        }
        start
    }
}

fn end_of_pause(pulse: Pulse, since: i64, at: i64) -> i64 {
    pulse.on_until(since, at).unwrap_or(at)
}

fn blame(faults: &mut [FaultTruth], fault: u32) {
    if let Some(truth) = faults.get_mut(fault as usize) {
        truth.lost += 1;
    }
}

/// Whether the black hole of a fault takes a flow: always the same flows.
fn swallows(fault: u32, share: f64, flow: Flow) -> bool {
    let hash = flow.hash(mix(u64::from(fault) ^ 0xb1ac_c401)) >> 11;
    (hash as f64) < share * (1_u64 << 53) as f64
}

/// How long a packet waits behind other traffic that fills `load` of the rate (M/M/1).
fn other_traffic(load: f64, picos_per_byte: u64, random: &mut ChaCha8Rng) -> i64 {
    if random.random::<f64>() >= load {
        return 0;
    }
    let mean = OTHER_PACKET * picos_per_byte as f64 / 1e3 / (1.0 - load);
    let wait = -mean * (1.0 - random.random::<f64>()).ln();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and is far below 2^53 ns"
    )]
    let wait = wait as i64;
    wait
}
