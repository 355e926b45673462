//! The answering side: a first ACK at once, a second one when the first has left.
//!
//! Both go back with the flow label that the probe names, which is the probe's own. Where labels steer the UDP source
//! port the ACKs thus have the probe's port; where only the choice among QPs does, the same label still chooses the
//! same QP each time. Either way the path back is the same for every probe of a flow.

use crate::id::{FlowLabel, QKey, Qpn};
use crate::time::{HostTime, NicTime};
use crate::transport::{Address, Received, SendStatus};
use crate::wire::{Body, Packet};

use super::limit::{Limit, SourceMeters};
use super::window::Window;
use super::{Counters, ResponderConfig};

/// A packet to be sent back, not yet encoded.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) to: Address,
    pub(super) label: FlowLabel,
    pub(super) packet: Packet,
    /// Index of the first ACK, whose send completion is waited for; `None` for a second.
    pub(super) awaited: Option<u64>,
}

/// A probe whose first ACK is on its way out.
struct Pending {
    answer: Answer,
    /// T3.
    received: NicTime,
}

pub(super) struct Responder {
    config: ResponderConfig,
    limit: Limit,
    meters: SourceMeters,
    window: Window<Pending>,
}

impl Responder {
    pub(super) fn new(config: ResponderConfig, seed: u64) -> Self {
        Self {
            config,
            limit: Limit::new(config.rate_per_source, config.burst_per_source),
            meters: SourceMeters::new(seed),
            window: Window::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<HostTime> {
        self.window.next_deadline()
    }

    /// A probe has arrived: its first ACK, unless a bound forbids it.
    pub(super) fn on_probe(
        &mut self,
        probe: &Packet,
        (reply_label, reply_key): (FlowLabel, QKey),
        received: &Received,
        responder: Qpn,
        now: HostTime,
        counters: &mut Counters,
    ) -> Option<Answer> {
        if self.window.span() >= self.config.max_outstanding {
            counters.probes_refused_full += 1;
            return None;
        }
        if !self.meters.admit(received.source_gid, self.limit, now) {
            counters.probes_refused_rate += 1;
            return None;
        }
        let answer = Answer {
            to: Address {
                gid: received.source_gid,
                qpn: received.source_qpn,
                q_key: reply_key,
            },
            label: reply_label,
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
        Some(answer)
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

    /// Forgets everything: the endpoint is gone.
    pub(super) fn reset(&mut self) {
        while self.window.pop().is_some() {}
    }
}
