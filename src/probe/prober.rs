//! The prober: outstanding probes and their ACKs.

use std::collections::HashSet;
use std::sync::Arc;

use crate::id::{FlowLabel, Gid, Qpn, UdpSourcePort};
use crate::measure::{Invalid, Outcome, Timestamps};
use crate::time::{HostTime, Nanos, NicTime};
use crate::transport::{Address, Class, CompletionClock, SendStatus};
use crate::wire::{Body, Packet, ReversePath, Sequence, SessionId};

use super::window::Window;
use super::{Counters, ProbeKind, ProbePath, ProbeResult};

/// The most flows that are remembered as failing. On overflow the set is cleared, and the next loss of a flow adds it
/// again. So flows that are no longer probed do not stay for ever.
const MOST_FAILING: usize = 65_536;

/// A probe that was sent and is not concluded.
struct Outstanding {
    kind: ProbeKind,
    source: Address,
    path: Arc<ProbePath>,
    source_port: Option<UdpSourcePort>,
    seen_port: Option<UdpSourcePort>,
    timestamps: Timestamps,
    clock: CompletionClock,
    class: Class,
}

/// Which of the latest probes were measured. With this a duplicate ACK is distinguished from a late one.
struct History([bool; Self::LENGTH]);

impl History {
    const LENGTH: usize = 1024;

    fn slot(index: u64) -> usize {
        usize::try_from(index % Self::LENGTH as u64).unwrap_or_default()
    }

    fn note(&mut self, index: u64, completed: bool) {
        self.0[Self::slot(index)] = completed;
    }

    fn completed(&self, index: u64, newest: u64) -> bool {
        newest - index <= Self::LENGTH as u64 && self.0[Self::slot(index)]
    }
}

/// A probe that is about to be sent.
pub(super) struct NewProbe {
    pub(super) kind: ProbeKind,
    pub(super) source: Address,
    pub(super) path: Arc<ProbePath>,
    pub(super) source_port: Option<UdpSourcePort>,
    pub(super) clock: CompletionClock,
    pub(super) class: Class,
    pub(super) deadline: HostTime,
}

/// An ACK as it arrived.
pub(super) struct Ack {
    pub(super) from: Gid,
    pub(super) responder: Qpn,
    pub(super) at: NicTime,
    /// Of a second ACK.
    pub(super) delay: Option<Nanos>,
    /// Of a first ACK: the UDP source port that the responder saw.
    pub(super) seen: Option<UdpSourcePort>,
}

pub(super) struct Prober {
    session: SessionId,
    /// Sequence number of the probe with index 0.
    epoch: u64,
    window: Window<Outstanding>,
    history: History,
    results: Vec<ProbeResult>,
    /// Flows whose newest probe was lost.
    failing: HashSet<(Gid, FlowLabel)>,
}

impl Prober {
    pub(super) fn new(session: SessionId, epoch: Sequence) -> Self {
        Self {
            session,
            epoch: epoch.0,
            window: Window::new(),
            history: History([false; History::LENGTH]),
            results: Vec::new(),
            failing: HashSet::new(),
        }
    }

    /// What a probe of this flow says about its reverse path. Under one ToR there is no path to trace.
    pub(super) fn reverse_path(&self, kind: ProbeKind, flow: (Gid, FlowLabel)) -> ReversePath {
        match kind {
            ProbeKind::TorMesh => ReversePath::Unasked,
            ProbeKind::InterTor | ProbeKind::Focus | ProbeKind::ServiceTracing
                if self.failing.contains(&flow) =>
            {
                ReversePath::Failing
            }
            ProbeKind::InterTor | ProbeKind::Focus | ProbeKind::ServiceTracing => {
                ReversePath::Healthy
            }
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.window.span()
    }

    pub(super) fn next_deadline(&self) -> Option<HostTime> {
        self.window.next_deadline()
    }

    pub(super) fn drain_results(&mut self, out: &mut Vec<ProbeResult>) {
        out.append(&mut self.results);
    }

    fn sequence(&self, index: u64) -> Sequence {
        Sequence(self.epoch.wrapping_add(index))
    }

    /// Begins a probe. Returns its index, and the session and sequence that identify it on the wire.
    pub(super) fn begin(
        &mut self,
        probe: NewProbe,
        now: HostTime,
        counters: &mut Counters,
    ) -> (u64, SessionId, Sequence) {
        counters.probes_sent += 1;
        let index = self.window.push(
            probe.deadline,
            Outstanding {
                kind: probe.kind,
                source: probe.source,
                path: probe.path,
                source_port: probe.source_port,
                seen_port: None,
                timestamps: Timestamps::posted(now),
                clock: probe.clock,
                class: probe.class,
            },
        );
        (index, self.session, self.sequence(index))
    }

    /// The send of a probe has ended.
    pub(super) fn on_sent(
        &mut self,
        index: u64,
        at: NicTime,
        status: SendStatus,
        counters: &mut Counters,
    ) {
        let Some(probe) = self.window.get_mut(index) else {
            counters.completions_unmatched += 1;
            return;
        };
        match status {
            SendStatus::Sent => {
                probe.timestamps.sent.get_or_insert(at);
                self.conclude_if_complete(index, counters);
            }
            SendStatus::Failed(_) => self.fail(index, Invalid::SendFailed, counters),
        }
    }

    /// Concludes a probe that cannot be measured.
    pub(super) fn fail(&mut self, index: u64, reason: Invalid, counters: &mut Counters) {
        if let Some(probe) = self.window.take(index) {
            self.conclude(index, probe, Outcome::Invalid(reason), counters);
        }
    }

    /// An ACK has arrived. It counts only if it is of this session, for an outstanding probe, from the peer that was
    /// probed.
    pub(super) fn on_ack(
        &mut self,
        packet: &Packet,
        ack: &Ack,
        now: HostTime,
        counters: &mut Counters,
    ) {
        let index = packet.sequence.0.wrapping_sub(self.epoch);
        let newest = self.window.next_index();
        if packet.session != self.session || index >= newest {
            counters.acks_unmatched += 1;
            return;
        }
        let Some(probe) = self.window.get_mut(index) else {
            if self.history.completed(index, newest) {
                counters.acks_duplicate += 1;
            } else {
                counters.acks_late += 1;
            }
            return;
        };
        let target = probe.path.target.address;
        if (target.gid, target.qpn) != (ack.from, ack.responder) {
            counters.acks_unmatched += 1;
            return;
        }
        if probe.note(ack, now) {
            self.conclude_if_complete(index, counters);
        } else {
            counters.acks_duplicate += 1;
        }
    }

    /// Concludes what has timed out.
    pub(super) fn expire(&mut self, now: HostTime, counters: &mut Counters) {
        while let Some((index, probe)) = self.window.expire(now) {
            let outcome = probe.timestamps.conclude();
            self.conclude(index, probe, outcome, counters);
        }
    }

    /// Concludes everything: the endpoint is gone.
    pub(super) fn reset(&mut self, counters: &mut Counters) {
        while let Some((index, probe)) = self.window.pop() {
            let outcome = Outcome::Invalid(Invalid::EndpointReset);
            self.conclude(index, probe, outcome, counters);
        }
    }

    fn conclude_if_complete(&mut self, index: u64, counters: &mut Counters) {
        let complete = self
            .window
            .get_mut(index)
            .is_some_and(|probe| probe.timestamps.is_complete());
        if complete && let Some(probe) = self.window.take(index) {
            let outcome = probe.timestamps.conclude();
            self.conclude(index, probe, outcome, counters);
        }
    }

    fn conclude(
        &mut self,
        index: u64,
        probe: Outstanding,
        outcome: Outcome,
        counters: &mut Counters,
    ) {
        let flow = (probe.path.target.address.gid, probe.path.flow_label);
        match outcome {
            Outcome::Complete(_) => {
                counters.probes_completed += 1;
                if !self.failing.is_empty() {
                    self.failing.remove(&flow);
                }
            }
            Outcome::Lost => {
                counters.probes_lost += 1;
                if self.failing.len() >= MOST_FAILING {
                    self.failing.clear();
                }
                self.failing.insert(flow);
            }
            Outcome::Invalid(_) => counters.probes_invalid += 1,
        }
        self.history.note(index, probe.timestamps.is_complete());
        self.results.push(ProbeResult {
            kind: probe.kind,
            source: probe.source,
            path: probe.path,
            source_port: probe.source_port,
            seen_port: probe.seen_port,
            sequence: self.sequence(index),
            timestamps: probe.timestamps,
            outcome,
            clock: probe.clock,
            class: probe.class,
        });
    }
}

impl Outstanding {
    /// Whether the ACK has a timestamp that was not known.
    fn note(&mut self, ack: &Ack, now: HostTime) -> bool {
        let stamps = &mut self.timestamps;
        match ack.delay {
            None if stamps.acknowledged.is_none() => {
                stamps.acknowledged = Some(ack.at);
                self.seen_port = ack.seen;
                stamps.handled = Some(now);
                true
            }
            Some(delay) if stamps.responder_delay.is_none() => {
                stamps.responder_delay = Some(delay);
                true
            }
            None | Some(_) => false,
        }
    }
}

impl Ack {
    /// What `body` says as an ACK; `None` for a probe.
    pub(super) fn new(from: Gid, at: NicTime, body: Body) -> Option<Self> {
        let (responder, delay, seen) = match body {
            Body::Probe { .. } => return None,
            Body::FirstAck { responder, seen } => (responder, None, seen),
            Body::SecondAck { responder, delay } => (responder, Some(delay), None),
        };
        Some(Self {
            from,
            responder,
            at,
            delay,
            seen,
        })
    }
}
