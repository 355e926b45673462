//! A UD endpoint over libibverbs.
//!
//! It owns its context, so that asynchronous events concern it alone, one completion queue, and one or several queue
//! pairs whose completions all arrive there. It is driven by the task that owns it: `post` stages sends and posts each
//! queue pair's in one call, `poll_completions` takes finished address handles, completions and asynchronous events
//! and sleeps on the two file descriptors and the channel of address handles. Dropping it at any point is safe: queue
//! pairs go before what they use, and address handles still being made are destroyed when they arrive nowhere.

mod completed;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rpingmesh::id::{FlowLabel, Qpn};
use rpingmesh::time::{Clock, SystemClock};
use rpingmesh::transport::rdma_report::{Refused, Stamps};
use rpingmesh::transport::{
    Address, Capabilities, Completion, Endpoint, EndpointEvent, RnicName, SendRequest, SendStatus,
    SendToken, SourcePortSteering, TransportError,
};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use super::address::{Lookup, Resolver, Route};
use super::completion::{CompletionQueue, Format, WorkCompletion};
use super::events::{Change, Watched};
use super::failure;
use super::handles::{
    AddressHandle, Addresses, AsyncEvents, Channel, Context as Device, Notifications, Origin,
    ProtectionDomain,
};
use super::plan::{Opened, QueueSpec, Sizes, check_q_key};
use super::ports::{self, UsablePort};
use super::queue::Queue;
use super::steering::{self, Steering};
use crate::rdma_settings::Settings;

/// Completions taken by one call of `poll_completions`, so that a flood cannot keep the task from everything else.
const BATCH: usize = 256;

/// Rounds of one call of `poll_completions` that bring nothing to report.
const ROUNDS: usize = 64;

/// What went wrong without ending the endpoint; each is logged when its count reaches a power of two.
#[derive(Debug, Default)]
struct Counters {
    /// Datagrams without GRH, or too long for a payload.
    malformed: u64,
    /// Completions of requests that were not under way.
    unexpected: u64,
    /// Receives that ended with an error.
    failed_receives: u64,
    /// Times that a queue pair was found without posted receives.
    dry: u64,
    /// Times that a queue pair was started anew after an error.
    restarts: u64,
}

/// An endpoint on one port.
pub(super) struct VerbsEndpoint {
    rnic: RnicName,
    address: Address,
    capabilities: Capabilities,
    settings: Settings,
    steering: Steering,
    // The order matters for dropping: queue pairs first.
    queues: Vec<Queue>,
    completions: CompletionQueue,
    channel: AsyncFd<Notifications>,
    events: AsyncFd<AsyncEvents>,
    resolver: Resolver<Addresses>,
    watched: Watched,
    device: Arc<Device>,
    /// Requests whose address handle is there and whose queue had no room; at most as many as wait for handles.
    backlog: VecDeque<(SendRequest, Arc<AddressHandle>)>,
    /// What happened outside of `poll_completions`.
    done: Vec<Completion>,
    /// Queues with a completion in error, to be looked at after the completion queue was drained.
    suspects: Vec<usize>,
    taken: Vec<WorkCompletion>,
    notification_requested: bool,
    lost: Option<String>,
    waker: Option<Waker>,
    counters: Counters,
    /// Clocks that the device refused.
    refused: Vec<Refused>,
}

impl VerbsEndpoint {
    /// Opens an endpoint on a port that was found usable.
    ///
    /// # Errors
    /// The call that failed, and what to do about it.
    pub(super) fn open(port: &UsablePort, settings: &Settings) -> Result<Self, TransportError> {
        let rnic = &port.rnic;
        let device = Arc::clone(&port.device);
        let failed = |call: &'static str| move |error| failure::call(rnic, call, error);
        let runtime = Handle::try_current().map_err(|error| TransportError::Rnic {
            rnic: rnic.clone(),
            why: format!("an endpoint needs a tokio runtime: {error}"),
        })?;
        check_q_key(rnic, settings)?;
        let steering = steering::decide(port.driver.as_deref(), settings.steering);
        let Sizes {
            count,
            depth,
            entries,
        } = Sizes::of(port, settings, steering);

        let domain = ProtectionDomain::new(&device).map_err(failed("ibv_alloc_pd"))?;
        let channel = Channel::new(&device).map_err(failed("ibv_create_comp_channel"))?;
        let spec = QueueSpec {
            rnic,
            device: &device,
            domain: &domain,
            channel: &channel,
            count,
            depth,
            entries,
            q_key: settings.q_key,
        };
        let formats = Format::candidates(&port.attributes, settings.extended_cq);
        let Opened {
            queues,
            completions,
            refused,
        } = spec.open_first(formats)?;
        let first = queues.first().map_or(Qpn::from_lower_bits(0), Queue::qpn);
        let origin = Origin {
            port: rnic.port,
            gid_index: port.gid_index,
        };
        Ok(Self {
            rnic: rnic.clone(),
            address: Address {
                gid: port.gid,
                qpn: first,
                q_key: settings.q_key,
            },
            capabilities: Capabilities {
                clock: completions.clock(),
                steering: described(steering, &queues),
                sees_source_port: false,
            },
            settings: settings.clone(),
            steering,
            queues,
            completions,
            channel: Notifications(channel)
                .watch()
                .map_err(failed("epoll_ctl"))?,
            events: AsyncEvents(Arc::clone(&device))
                .watch()
                .map_err(failed("epoll_ctl"))?,
            resolver: Resolver::new(Addresses { domain, origin }, runtime),
            watched: Watched {
                port: rnic.port,
                gid: port.gid,
                gid_index: u32::from(port.gid_index),
            },
            device,
            backlog: VecDeque::new(),
            done: Vec::new(),
            suspects: Vec::new(),
            taken: Vec::with_capacity(BATCH),
            notification_requested: false,
            lost: None,
            waker: None,
            counters: Counters::default(),
            refused,
        })
    }

    /// What stamps its completions, and what does not.
    pub(super) fn stamps(&self) -> Stamps {
        Stamps {
            clock: self.capabilities.clock,
            refused: self.refused.clone(),
        }
    }

    fn check_lost(&self) -> Result<(), TransportError> {
        match &self.lost {
            None => Ok(()),
            Some(why) => Err(TransportError::EndpointLost {
                endpoint: self.address.name(),
                why: why.clone(),
            }),
        }
    }

    fn lose(&mut self, why: String) {
        tracing::warn!(rnic = %self.rnic, endpoint = %self.address, why, "endpoint lost");
        self.lost.get_or_insert(why);
    }

    /// Which queue pair sends a request.
    fn queue_for(&self, label: FlowLabel) -> usize {
        match &self.capabilities.steering {
            SourcePortSteering::QueuePair(ports) => {
                SourcePortSteering::queue_pair(label, ports).unwrap_or(0)
            }
            SourcePortSteering::FlowLabel | SourcePortSteering::Driver => 0,
        }
    }

    /// The address handle that a request needs. Where the label steers nothing, all labels share one.
    fn route(&self, request: &SendRequest) -> Route {
        Route {
            gid: request.to.gid,
            flow_label: match self.steering {
                Steering::QueuePair => 0,
                Steering::FlowLabel | Steering::Driver => request.flow_label.get(),
            },
            class: request.class,
        }
    }

    fn report_failed(&mut self, token: SendToken, code: u32) {
        let at = self.completions.now();
        self.done.push(Completion::Sent {
            token,
            at,
            status: SendStatus::Failed(code),
        });
    }

    /// Posts what is staged on all queues.
    fn flush(&mut self) {
        let mut failed = Vec::new();
        for queue in &mut self.queues {
            queue.flush(&mut failed);
        }
        for (token, code) in failed {
            self.report_failed(token, code);
        }
    }

    /// Stages what waits for room, in order.
    fn stage_backlog(&mut self) {
        for _ in 0..self.backlog.len() {
            let Some((request, handle)) = self.backlog.pop_front() else {
                break;
            };
            let queue = self.queue_for(request.flow_label);
            if self.queues[queue].stage(&request, &handle).is_err() {
                self.backlog.push_back((request, handle));
            }
        }
    }

    /// Takes the address handles that were made.
    fn poll_addresses(&mut self, cx: &mut Context<'_>) {
        let mut resolved = Vec::new();
        while self
            .resolver
            .poll(cx, SystemClock.host(), &mut resolved)
            .is_ready()
        {}
        for group in resolved {
            for request in group.requests {
                match &group.outcome {
                    Ok(handle) => self.backlog.push_back((request, Arc::clone(handle))),
                    Err(code) => self.report_failed(request.token, *code),
                }
            }
        }
    }

    /// Takes asynchronous events.
    fn poll_events(&mut self, cx: &mut Context<'_>, out: &mut Vec<Completion>) {
        while let Poll::Ready(ready) = self.events.poll_read_ready(cx) {
            let mut guard = match ready {
                Ok(guard) => guard,
                Err(error) => {
                    let why = format!("waiting for device events failed: {error}");
                    self.lose(why);
                    return;
                }
            };
            match self.device.next_event() {
                Ok(Some(event)) => match self.watched.judge(event, || {
                    ports::best(&self.device, &self.rnic, &self.settings)
                }) {
                    Change::Nothing => {}
                    Change::Event(event) => {
                        if event == EndpointEvent::PortActive {
                            self.resolver.forgive();
                        }
                        out.push(Completion::Event(event));
                    }
                    Change::Lost(why) => self.lose(why),
                },
                Ok(None) => guard.clear_ready(),
                Err(error) => {
                    self.lose(format!("reading device events failed: {error}"));
                    return;
                }
            }
        }
    }

    /// Sleeps on the completion channel. `Ready` means that the completion queue must be looked at again.
    fn poll_channel(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut guard = match self.channel.poll_read_ready(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => return Poll::Pending,
        };
        match guard.get_inner().0.take_event()? {
            Some(()) => self.notification_requested = false,
            None => guard.clear_ready(),
        }
        Poll::Ready(Ok(()))
    }
}

impl Endpoint for VerbsEndpoint {
    fn address(&self) -> Address {
        self.address
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn gid_index(&self) -> Option<u32> {
        Some(self.watched.gid_index)
    }

    fn post(&mut self, batch: &[SendRequest]) -> Result<usize, TransportError> {
        self.check_lost()?;
        let now = SystemClock.host();
        let mut taken = 0;
        for request in batch {
            let queue = self.queue_for(request.flow_label);
            if !self.queues[queue].has_room() {
                break;
            }
            let route = self.route(request);
            match self.resolver.lookup(route, request, now) {
                Lookup::Ready(handle) => {
                    if self.queues[queue].stage(request, &handle).is_err() {
                        break;
                    }
                }
                Lookup::Waiting => {}
                Lookup::Failed(code) => self.report_failed(request.token, code),
            }
            taken += 1;
        }
        self.flush();
        if !self.done.is_empty()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
        Ok(taken)
    }

    fn poll_completions(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        let before = out.len();
        for _ in 0..ROUNDS {
            self.check_lost()?;
            self.poll_addresses(cx);
            if self.poll_queue(out) {
                self.examine_suspects(out);
            }
            self.stage_backlog();
            self.flush();
            self.poll_events(cx, out);
            out.append(&mut self.done);
            if out.len() > before {
                return Poll::Ready(Ok(()));
            }
            self.check_lost()?;
            if !self.notification_requested {
                if let Err(error) = self.completions.request_notification() {
                    self.lose(format!("asking for completion events failed: {error}"));
                    continue;
                }
                // What completed before the request tells nobody: look once more.
                self.notification_requested = true;
                continue;
            }
            match self.poll_channel(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.lose(format!("waiting for completions failed: {error}"));
                }
                Poll::Pending => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
        // A device that completes without end what says nothing must not keep the task from everything else.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What an endpoint says about its source ports.
fn described(steering: Steering, queues: &[Queue]) -> SourcePortSteering {
    match steering {
        Steering::FlowLabel => SourcePortSteering::FlowLabel,
        Steering::QueuePair => SourcePortSteering::QueuePair(
            queues
                .iter()
                .map(|queue| steering::queue_pair_port(queue.qpn()))
                .collect(),
        ),
        Steering::Driver => SourcePortSteering::Driver,
    }
}

/// Counts, and logs at powers of two: often enough to be seen, too rarely to flood.
fn count(counter: &mut u64, what: &str, rnic: &RnicName) {
    *counter += 1;
    if counter.is_power_of_two() {
        tracing::warn!(%rnic, count = *counter, "{what}");
    }
}
