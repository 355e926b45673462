//! The responder: it sends a first ACK at once, and a second ACK when the first one's send has completed.
//!
//! Both ACKs have the flow label that the probe names, which is the probe's own. If the label decides the UDP source
//! port, the ACKs have the probe's port. If only the queue pair decides it, the same label always chooses the same
//! queue pair. In both cases all probes of a flow have the same reverse path.
//!
//! The flows whose probes ask for the reverse path are kept for the path tracer.

use std::collections::HashMap;

use crate::id::{FlowLabel, Gid, QKey, Qpn};
use crate::time::{HostTime, NicTime};
use crate::transport::{Address, Class, Received, SendStatus};
use crate::wire::{Body, Packet, ReversePath};

use super::sources::Sources;
use super::window::Window;
use super::{Answered, Counters, ResponderConfig};

/// The most answered flows that are kept until they are drained: many times those of eight RNICs' probers.
const MOST_FLOWS: usize = 4096;

/// A packet to be sent back, not yet encoded.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) to: Address,
    pub(super) label: FlowLabel,
    /// `None` for the class of this endpoint's own probes.
    pub(super) class: Option<Class>,
    pub(super) packet: Packet,
    /// Index of the first ACK, whose send completion is waited for; `None` for a second.
    pub(super) awaited: Option<u64>,
}

/// How a probe wants to be answered.
#[derive(Clone, Copy)]
pub(super) struct Reply {
    pub(super) label: FlowLabel,
    pub(super) key: QKey,
    pub(super) path: ReversePath,
    pub(super) class: Option<Class>,
}

/// A probe whose first ACK is on its way out.
struct Pending {
    answer: Answer,
    /// T3.
    received: NicTime,
}

pub(super) struct Responder {
    config: ResponderConfig,
    sources: Sources,
    window: Window<Pending>,
    /// Probes of each flow since the last drain: those that report a healthy path, and those that report a failing one.
    answered: HashMap<(Gid, FlowLabel), (u64, u64)>,
}

impl Responder {
    pub(super) fn new(config: ResponderConfig, seed: u64) -> Self {
        Self {
            config,
            sources: Sources::new(&config, seed),
            window: Window::new(),
            answered: HashMap::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<HostTime> {
        self.window.next_deadline()
    }

    /// A probe has arrived: its first ACK, unless a bound forbids it.
    pub(super) fn on_probe(
        &mut self,
        probe: &Packet,
        reply: Reply,
        received: &Received,
        responder: Qpn,
        now: HostTime,
        counters: &mut Counters,
    ) -> Option<Answer> {
        if self.window.span() >= self.config.max_outstanding {
            counters.probes_refused_full += 1;
            return None;
        }
        let source = received.source_gid;
        if !self.sources.admit(source, probe.session, now, counters) {
            return None;
        }
        let answer = Answer {
            to: Address {
                gid: received.source_gid,
                qpn: received.source_qpn,
                q_key: reply.key,
            },
            label: reply.label,
            class: reply.class,
            packet: Packet {
                body: Body::FirstAck {
                    responder,
                    seen: received.source_port,
                },
                ..*probe
            },
            awaited: Some(self.window.next_index()),
        };
        self.window.push(
            now.after(self.config.completion_timeout),
            Pending {
                answer,
                received: received.at,
            },
        );
        counters.probes_answered += 1;
        self.note(received.source_gid, reply.label, reply.path);
        Some(answer)
    }

    fn note(&mut self, to: Gid, label: FlowLabel, reverse_path: ReversePath) {
        let is_full = self.answered.len() >= MOST_FLOWS;
        if reverse_path == ReversePath::Unasked
            || is_full && !self.answered.contains_key(&(to, label))
        {
            return;
        }
        let (healthy, failing) = self.answered.entry((to, label)).or_default();
        match reverse_path {
            ReversePath::Failing => *failing += 1,
            ReversePath::Healthy | ReversePath::Unasked => *healthy += 1,
        }
    }

    /// Moves what was answered since the last time to `out`, in no order.
    pub(super) fn drain_answered(&mut self, out: &mut Vec<Answered>) {
        let flows = self.answered.drain();
        out.extend(flows.map(|((to, label), (healthy, failing))| Answered {
            to,
            label,
            healthy,
            failing,
        }));
    }

    /// The send of a first ACK has ended: the second, if it left.
    pub(super) fn on_sent(
        &mut self,
        index: u64,
        at: NicTime,
        status: SendStatus,
        counters: &mut Counters,
    ) -> Option<Answer> {
        let Some(pending) = self.window.take(index) else {
            counters.completions_unmatched += 1;
            return None;
        };
        if let SendStatus::Failed(_) = status {
            counters.acks_failed += 1;
            return None;
        }
        let Body::FirstAck { responder, .. } = pending.answer.packet.body else {
            return None;
        };
        Some(Answer {
            packet: Packet {
                body: Body::SecondAck {
                    responder,
                    delay: at - pending.received,
                },
                ..pending.answer.packet
            },
            awaited: None,
            ..pending.answer
        })
    }

    pub(super) fn expire(&mut self, now: HostTime, counters: &mut Counters) {
        while self.window.expire(now).is_some() {
            counters.acks_expired += 1;
        }
    }

    /// Drops all state: the endpoint is gone.
    pub(super) fn reset(&mut self) {
        while self.window.pop().is_some() {}
        self.answered.clear();
    }
}
