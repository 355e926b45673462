//! One endpoint and its [`Session`], driven by their owner: `run`, `respond` and `ping`.
//!
//! No task of its own. The only wait is inside [`Driver::turn`]: for completions of the endpoint or for the session's
//! next wake-up. Dropping that future loses nothing: what was taken from the endpoint is handed to the session before
//! the next await.

#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::outcome::PathOutcome;
use crate::id::{FlowLabel, UdpSourcePort};
use crate::probe::steering::LearnedSteering;
use crate::probe::trace::Tuple;
use crate::probe::trace::schedule::Direction;
use crate::probe::{ProbeResult, Session};
use crate::time::{Clock, NicTime};
use crate::transport::{
    Address, Capabilities, Completion, Endpoint, EndpointEvent, SendRequest, SendStatus,
    SourcePortSteering, TransportError,
};

/// Requests that wait because the endpoint is full. As many as a session has under way at most; those beyond fail at
/// once, which the session reports as probes that could not be sent.
pub(crate) const PENDING_DEPTH: usize = 4096;

/// The status of a request that found no place, as the session sees it (`ENOBUFS`).
const NO_PLACE: u32 = 105;

/// What a turn has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Go on.
    Continue,
    /// The endpoint's address is no longer valid: open a new one.
    AddressChanged,
}

/// What the driver counts, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Send requests that were dropped because the queue of the endpoint was full.
    pub requests_dropped: u64,
    /// Times that the port went down.
    pub port_downs: u64,
    /// Probes that a responder saw arrive from the UDP source port that was meant.
    pub source_ports_as_meant: u64,
    /// Probes that a responder saw arrive from another UDP source port.
    pub source_ports_otherwise: u64,
}

/// An endpoint with its session.
pub struct Driver {
    endpoint: Box<dyn Endpoint>,
    session: Session,
    clock: Arc<dyn Clock>,
    pending: VecDeque<SendRequest>,
    requests: Vec<SendRequest>,
    completions: Vec<Completion>,
    counters: DriverCounters,
    learned: LearnedSteering,
    /// The endpoint's, with the steering that was learned.
    capabilities: Capabilities,
}

impl Driver {
    /// Drives `session` on `endpoint`; the session must have been made, or reset, for this endpoint.
    pub fn new(endpoint: Box<dyn Endpoint>, session: Session, clock: Arc<dyn Clock>) -> Self {
        let capabilities = endpoint.capabilities().clone();
        Self {
            endpoint,
            session,
            clock,
            pending: VecDeque::new(),
            requests: Vec::new(),
            completions: Vec::new(),
            counters: DriverCounters::default(),
            learned: LearnedSteering::default(),
            capabilities,
        }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session, to change what it probes. Call [`Self::advance`] afterwards.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// What was counted here.
    pub fn counters(&self) -> DriverCounters {
        self.counters
    }

    /// What responders have told about the endpoint's UDP source ports.
    pub fn learned(&self) -> LearnedSteering {
        self.learned
    }

    /// What the endpoint can do; its steering is what was learned where that contradicts the transport's claim.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The ways of the ACKs that were sent since the last time, where probers ask for them and their source port is known.
    pub fn reverse_paths(&mut self) -> Vec<PathOutcome> {
        let mut answered = Vec::new();
        self.session.drain_answered(&mut answered);
        let (source, corrected) = (self.session.address().gid, self.corrected());
        let seen = answered.into_iter().filter_map(|flow| {
            let port = self.source_port(corrected.as_ref(), flow.label)?;
            Some(PathOutcome {
                tuple: Tuple {
                    source,
                    target: flow.to,
                    port,
                },
                direction: Direction::Reverse,
                lost: flow.failing,
                complete: flow.healthy,
            })
        });
        seen.collect()
    }

    /// Gives the endpoint away, to be closed before another is opened: while anybody holds a device open its driver cannot
    /// be unloaded, and so never be loaded again. Whatever is asked of the driver until [`Self::replace`] fails.
    pub fn release(&mut self) -> Box<dyn Endpoint> {
        self.pending.clear();
        let released = Released {
            address: self.endpoint.address(),
            capabilities: self.endpoint.capabilities().clone(),
        };
        std::mem::replace(&mut self.endpoint, Box::new(released))
    }

    /// Replaces the endpoint by a new one; the session concludes what was under way.
    pub fn replace(&mut self, endpoint: Box<dyn Endpoint>) {
        self.endpoint = endpoint;
        self.pending.clear();
        self.learned = LearnedSteering::default();
        self.capabilities = self.endpoint.capabilities().clone();
        self.session.reset(
            self.endpoint.address(),
            self.endpoint.capabilities().clone(),
            self.clock.host(),
        );
    }

    /// Waits until the endpoint has completions or the session wants to be woken, then does what is to be done.
    /// Appends the results that have come in to `results`.
    ///
    /// # Errors
    /// [`TransportError::EndpointLost`].
    pub async fn turn(&mut self, results: &mut Vec<ProbeResult>) -> Result<Turn, TransportError> {
        self.completions.clear();
        let wait = self
            .session
            .next_wakeup()
            .map(|wakeup| wakeup.since(self.clock.host()));
        let (endpoint, completions) = (&mut self.endpoint, &mut self.completions);
        let arrival = poll_fn(|cx| endpoint.poll_completions(cx, completions));
        match wait {
            None => arrival.await?,
            // A wake-up that has passed still lets completions that are there go first.
            Some(wait) => {
                if let Ok(arrived) = tokio::time::timeout(wait, arrival).await {
                    arrived?;
                }
            }
        }
        let turn = self.take_events();
        self.session
            .on_completions(&self.completions, self.clock.host());
        self.advance(results)?;
        Ok(turn)
    }

    /// Lets the session act now and posts what it wants to send.
    ///
    /// # Errors
    /// [`TransportError::EndpointLost`].
    pub fn advance(&mut self, results: &mut Vec<ProbeResult>) -> Result<(), TransportError> {
        self.session.poll(self.clock.host(), &mut self.requests);
        let posted = self.post();
        let before = results.len();
        self.session.drain_results(results);
        for result in &mut results[before..] {
            self.learn(result);
        }
        posted
    }

    /// Sets the result's source port to what is known of it and takes note of what the responder saw.
    fn learn(&mut self, result: &mut ProbeResult) {
        let label = result.path.flow_label;
        // The endpoint knows when another port stood in for a taken one.
        let meant = self.endpoint.source_port(label);
        let claimed = &self.endpoint.capabilities().steering;
        if let Some(seen) = result.seen_port {
            self.learned.note(claimed, label, meant, seen);
            self.counters.source_ports_as_meant += u64::from(meant == Some(seen));
            self.counters.source_ports_otherwise +=
                u64::from(meant.is_some_and(|meant| meant != seen));
        }
        let corrected = self.corrected();
        result.source_port = self.source_port(corrected.as_ref(), label);
        let steering = corrected.as_ref().unwrap_or(claimed);
        if self.capabilities.steering != *steering {
            self.capabilities.steering = steering.clone();
        }
    }

    /// What was learned of the endpoint's source ports, where it contradicts the transport's claim.
    fn corrected(&self) -> Option<SourcePortSteering> {
        self.learned
            .corrected(&self.endpoint.capabilities().steering)
    }

    /// The source port of what is sent with this label. The endpoint knows when another stands in for a taken one.
    fn source_port(
        &self,
        corrected: Option<&SourcePortSteering>,
        label: FlowLabel,
    ) -> Option<UdpSourcePort> {
        match corrected {
            Some(steering) => steering.source_port(label),
            None => self.endpoint.source_port(label),
        }
    }

    fn take_events(&mut self) -> Turn {
        let mut turn = Turn::Continue;
        for completion in &self.completions {
            match completion {
                Completion::Event(EndpointEvent::AddressChanged) => turn = Turn::AddressChanged,
                Completion::Event(EndpointEvent::PortDown) => self.counters.port_downs += 1,
                Completion::Sent { .. }
                | Completion::Received(_)
                | Completion::Event(
                    EndpointEvent::PortActive
                    | EndpointEvent::ReceiveOverflow(_)
                    | EndpointEvent::Unknown(_),
                ) => {}
            }
        }
        turn
    }

    /// Requests leave in the order in which the session gave them out.
    fn post(&mut self) -> Result<(), TransportError> {
        if self.pending.is_empty() {
            let taken = if self.requests.is_empty() {
                0
            } else {
                self.endpoint.post(&self.requests)?
            };
            self.queue(taken);
        } else {
            self.queue(0);
            let taken = self.endpoint.post(self.pending.make_contiguous())?;
            self.pending.drain(..taken.min(self.pending.len()));
        }
        Ok(())
    }

    /// Keeps the requests that were not taken, as far as there is room.
    fn queue(&mut self, taken: usize) {
        let room = PENDING_DEPTH - self.pending.len();
        let rest = self.requests.drain(taken.min(self.requests.len())..);
        let mut failed = Vec::new();
        for (index, request) in rest.enumerate() {
            if index < room {
                self.pending.push_back(request);
            } else {
                failed.push(Completion::Sent {
                    token: request.token,
                    at: NicTime::from_nanos(0),
                    status: SendStatus::Failed(NO_PLACE),
                });
            }
        }
        self.requests.clear();
        if !failed.is_empty() {
            self.counters.requests_dropped += failed.len() as u64;
            self.session.on_completions(&failed, self.clock.host());
        }
    }
}

/// Stands in for an endpoint that was let go.
struct Released {
    address: Address,
    capabilities: Capabilities,
}

impl Released {
    fn lost(&self) -> TransportError {
        TransportError::EndpointLost {
            endpoint: self.address.name(),
            why: "it was let go, and there is no other yet".to_owned(),
        }
    }
}

impl Endpoint for Released {
    fn address(&self) -> Address {
        self.address
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn post(&mut self, _: &[SendRequest]) -> Result<usize, TransportError> {
        Err(self.lost())
    }

    fn poll_completions(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Err(self.lost()))
    }
}

#[cfg(test)]
mod tests;
