//! Prober and responder of one endpoint as one state machine.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::id::Gid;
use crate::measure::Invalid;
use crate::time::{HostTime, NicTime};
use crate::transport::{
    Address, Capabilities, Class, Completion, EndpointEvent, Received, SendRequest, SendStatus,
    SendToken,
};
use crate::wire::{Body, Ends, Keyring, Packet, Sequence, SessionId, WireError};

#[cfg(test)]
use super::Grant;
use super::prober::{Ack, NewProbe, Prober};
use super::responder::{Answer, Reply, Responder};
use super::schedule::{Due, Schedule};
use super::unanswered::Unanswered;
use super::{Answered, Config, Counters, Group, PathId, ProbePath, ProbeResult};

/// What a send was for; the upper 62 bits of its token number it.
mod purpose {
    pub(super) const PROBE: u64 = 0;
    pub(super) const FIRST_ACK: u64 = 1;
    pub(super) const SECOND_ACK: u64 = 2;
}

/// Prober and responder of one endpoint. See the [module](super) for how it is driven.
pub struct Session {
    config: Config,
    address: Address,
    capabilities: Capabilities,
    keys: Arc<Keyring>,
    rng: ChaCha8Rng,
    schedule: Schedule,
    unanswered: Unanswered,
    prober: Prober,
    responder: Responder,
    /// ACKs that wait for the next poll.
    answers: Vec<Answer>,
    port_is_up: bool,
    /// The latest time that was passed in.
    now: HostTime,
    counters: Counters,
}

impl Session {
    /// For the endpoint at `address`. Session number, first sequence number and phases come from `seed`, which must be
    /// unpredictable where packets are not signed.
    pub fn new(
        config: Config,
        keys: Arc<Keyring>,
        address: Address,
        capabilities: Capabilities,
        seed: u64,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let prober = Prober::new(SessionId(rng.random()), Sequence(rng.random()));
        let responder = Responder::new(config.responder, rng.random());
        Self {
            schedule: Schedule::new(&config),
            unanswered: Unanswered::default(),
            config,
            address,
            capabilities,
            keys,
            rng,
            prober,
            responder,
            answers: Vec::new(),
            port_is_up: true,
            now: HostTime::from_nanos(i64::MIN),
            counters: Counters::default(),
        }
    }

    /// Where the endpoint is reached.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Replaces what is probed. A group keeps the schedule and the order of the old one of its kind with which it shares most
    /// paths; new paths come last. Outstanding probes are not changed.
    pub fn set_groups(&mut self, groups: Vec<Group>, now: HostTime) {
        self.unanswered.retain(&groups);
        self.schedule.set_groups(groups, now, &mut self.rng);
    }

    /// Probes the path of a service connection from now on: every [`Config::service_interval`] as far as the cap leaves
    /// room for it, for the first time at once. A path that is known by this number is replaced and keeps its turn.
    pub fn set_connection(&mut self, id: PathId, path: Arc<ProbePath>, now: HostTime) {
        self.schedule.set_connection(id, path, now);
    }

    /// Stops probing the path. Outstanding probes are not changed.
    pub fn remove_connection(&mut self, id: PathId) {
        self.schedule.remove_connection(id);
    }

    /// The rates that the kinds asked for and got under [`Config::max_rate`].
    #[cfg(test)]
    pub(crate) fn grants(&self) -> &[Grant] {
        self.schedule.grants()
    }

    /// Probes the RNIC `gid` at another address from now on. Results of probes under way keep the old one.
    pub(crate) fn replace_address(&mut self, gid: Gid, address: Address) {
        self.schedule.replace_address(gid, address);
    }

    /// Takes another timeout, cap, bound and traffic class from now on; the answering side keeps its bounds. A shorter
    /// timeout is in full effect once the probes that are under way are concluded.
    pub(crate) fn set_config(&mut self, config: Config, now: HostTime) {
        self.config = Config {
            responder: self.config.responder,
            ..config
        };
        self.schedule.set_config(&config, now, &mut self.rng);
    }

    /// Signs with other keys from now on.
    pub fn set_keys(&mut self, keys: Arc<Keyring>) {
        self.keys = keys;
    }

    /// Concludes what has timed out and appends what is to be sent now: ACKs first, then the probes that are due.
    pub fn poll(&mut self, now: HostTime, out: &mut Vec<SendRequest>) {
        self.now = now;
        self.prober.expire(now, &mut self.counters);
        self.responder.expire(now, &mut self.counters);
        for answer in std::mem::take(&mut self.answers) {
            out.push(self.answer_request(&answer));
        }
        while let Some(due) = self.schedule.take(now) {
            out.extend(self.probe(due, now));
        }
    }

    /// Takes what the endpoint reports.
    pub fn on_completions(&mut self, completions: &[Completion], now: HostTime) {
        self.now = now;
        for completion in completions {
            match completion {
                Completion::Sent { token, at, status } => self.on_sent(*token, *at, *status),
                Completion::Received(received) => self.on_received(received, now),
                Completion::Event(event) => self.on_event(*event),
            }
        }
    }

    /// When [`Self::poll`] has something to do next, unless completions come before; `None` if never. May be in the past.
    pub fn next_wakeup(&self) -> Option<HostTime> {
        let answers = (!self.answers.is_empty()).then_some(self.now);
        [
            answers,
            self.prober.next_deadline(),
            self.responder.next_deadline(),
            self.schedule.next_wakeup(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Moves the results to `out`. Call it after each poll: results are kept until then.
    pub fn drain_results(&mut self, out: &mut Vec<ProbeResult>) {
        let drained = out.len();
        self.prober.drain_results(out);
        for result in out.iter().skip(drained) {
            self.unanswered.note(result, self.now);
        }
    }

    /// Appends the flows that were answered since the last call and whose probes ask for the reverse path.
    pub(crate) fn drain_answered(&mut self, out: &mut Vec<Answered>) {
        self.responder.drain_answered(out);
    }

    /// What was done and refused since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The endpoint was replaced: probes under way become [`Invalid::EndpointReset`], ACKs that are not sent yet are
    /// forgotten, groups and counters stay.
    pub fn reset(&mut self, address: Address, capabilities: Capabilities, now: HostTime) {
        self.now = now;
        self.address = address;
        self.capabilities = capabilities;
        self.port_is_up = true;
        self.answers.clear();
        self.prober.reset(&mut self.counters);
        self.responder.reset();
    }

    /// Begins a probe; `None` if there is nothing to send.
    fn probe(&mut self, due: Due, now: HostTime) -> Option<SendRequest> {
        self.counters.slots_missed += due.missed;
        let tor = &due.path.target.tor;
        if self.unanswered.leaves_out(due.kind, tor, now) {
            self.counters.slots_unanswered += 1;
            return None;
        }
        if self.prober.outstanding() >= self.config.max_outstanding {
            self.counters.slots_window_full += 1;
            return None;
        }
        let (to, flow_label) = (due.path.target.address, due.path.flow_label);
        let reverse_path = self.prober.reverse_path(due.kind, (to.gid, flow_label));
        let own = self.config.class;
        // A service's class is kept in both directions.
        let reply_class = due.path.traffic_class.map(|traffic_class| Class {
            traffic_class,
            ..own
        });
        let class = reply_class.unwrap_or(own);
        let probe = NewProbe {
            kind: due.kind,
            source: self.address,
            path: due.path,
            source_port: self.capabilities.steering.source_port(flow_label),
            clock: self.capabilities.clock,
            class,
            deadline: now.after(self.config.timeout),
        };
        let (index, session, sequence) = self.prober.begin(probe, now, &mut self.counters);
        if !self.port_is_up {
            self.prober
                .fail(index, Invalid::SendFailed, &mut self.counters);
            return None;
        }
        let packet = Packet {
            session,
            sequence,
            body: Body::Probe {
                reply_label: flow_label,
                reply_key: self.address.q_key,
                reverse_path,
                reply_class,
            },
        };
        Some(SendRequest {
            token: SendToken(index << 2 | purpose::PROBE),
            to,
            flow_label,
            class,
            payload: packet.encode(self.ends_to(to.gid), &self.keys),
        })
    }

    fn answer_request(&self, answer: &Answer) -> SendRequest {
        let token = match answer.awaited {
            Some(index) => index << 2 | purpose::FIRST_ACK,
            None => purpose::SECOND_ACK,
        };
        SendRequest {
            token: SendToken(token),
            to: answer.to,
            flow_label: answer.label,
            class: answer.class.unwrap_or(self.config.class),
            payload: answer
                .packet
                .encode(self.ends_to(answer.to.gid), &self.keys),
        }
    }

    fn ends_to(&self, destination: Gid) -> Ends {
        Ends {
            source: self.address.gid,
            destination,
        }
    }

    fn on_sent(&mut self, token: SendToken, at: NicTime, status: SendStatus) {
        let index = token.0 >> 2;
        match token.0 & 3 {
            purpose::PROBE => self.prober.on_sent(index, at, status, &mut self.counters),
            purpose::FIRST_ACK => {
                let second = self
                    .responder
                    .on_sent(index, at, status, &mut self.counters);
                self.answers.extend(second);
            }
            purpose::SECOND_ACK => {
                if let SendStatus::Failed(_) = status {
                    self.counters.acks_failed += 1;
                }
            }
            _ => self.counters.completions_unmatched += 1,
        }
    }

    fn on_received(&mut self, received: &Received, now: HostTime) {
        let ends = Ends {
            source: received.source_gid,
            destination: self.address.gid,
        };
        let packet = match Packet::decode(received.payload.as_slice(), ends, &self.keys) {
            Ok(packet) => packet,
            Err(WireError::BadMac | WireError::Unsigned | WireError::Unverifiable) => {
                self.counters.packets_unauthentic += 1;
                return;
            }
            Err(_) => {
                self.counters.packets_malformed += 1;
                return;
            }
        };
        if let Body::Probe {
            reply_label,
            reply_key,
            reverse_path,
            reply_class,
        } = packet.body
        {
            let answer = self.responder.on_probe(
                &packet,
                Reply {
                    label: reply_label,
                    key: reply_key,
                    path: reverse_path,
                    class: reply_class,
                },
                received,
                self.address.qpn,
                now,
                &mut self.counters,
            );
            self.answers.extend(answer);
        } else if let Some(ack) = Ack::new(received.source_gid, received.at, packet.body) {
            self.prober.on_ack(&packet, &ack, now, &mut self.counters);
        }
    }

    fn on_event(&mut self, event: EndpointEvent) {
        match event {
            EndpointEvent::PortActive => self.port_is_up = true,
            EndpointEvent::PortDown => self.port_is_up = false,
            // The driver opens a new endpoint and calls `reset`.
            EndpointEvent::AddressChanged => {}
            EndpointEvent::ReceiveOverflow(count) => self.counters.receive_overflows += count,
            EndpointEvent::Unknown(_) => self.counters.events_unknown += 1,
        }
    }
}
