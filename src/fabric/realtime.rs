//! The emulated fabric in real time, behind [`Provider`] and [`Endpoint`].
//!
//! One task owns the [`Engine`]. Endpoints and others reach it through one bounded channel of commands; it reaches each
//! endpoint through a bounded channel of completions. Sends carry the time at which they were posted, so the emulation
//! is exact to the nanosecond although the task only looks every [`TICK`]: what is late by up to a tick is the moment
//! at which a completion is handed over (prober and responder delay), never its time stamp.
//!
//! Cancelling: the task ends when its token is cancelled or all handles are gone; endpoints then report that they are
//! lost. Nothing is kept that would have to be saved.

mod bearing;
mod carrying;
mod rounds;
mod trace;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::engine::{Carried, Delivery, Engine, HopAnswer};
use super::topology::{RnicId, Topology};
use crate::id::Qpn;
use crate::time::{Clock, HostTime};
use crate::transport::{
    Address, Capabilities, Completion, CompletionClock, Endpoint, EndpointEvent, Provider,
    RnicName, RnicPort, SendRequest, SourcePortSteering, TransportError,
};

/// How often the task looks. Timers of tokio are not finer.
pub const TICK: Duration = Duration::from_millis(1);

/// Commands under way: a tick's sends of 1 024 RNICs at 150 probes/s, and ten times more for bursts.
const COMMAND_DEPTH: usize = 8_192;

/// Sends of one endpoint without a completion taken, like the send queue of a queue pair.
const SEND_DEPTH: usize = 512;

/// Received datagrams waiting at one endpoint, like the receive queue of a queue pair; more are dropped and reported.
const RECEIVE_DEPTH: usize = 1_024;

/// The only port of an emulated RNIC.
const PORT: u8 = 1;

/// Index of the emulated GID: that of RoCE v2 over IPv4 on most RNICs.
const GID_INDEX: u32 = 3;

pub use carrying::{Arrival, Bearer, Departure, PortEvent};
pub use trace::FabricTracer;

type Job = Box<dyn FnOnce(&mut Engine) + Send>;

enum Command {
    Open {
        rnic: RnicId,
        address: Address,
        completions: mpsc::Sender<Completion>,
    },
    Close {
        rnic: RnicId,
        qpn: Qpn,
    },
    Send {
        at: HostTime,
        rnic: RnicId,
        from: Qpn,
        request: SendRequest,
    },
    Trace(rounds::Request),
    Carry(Departure),
    Bear(Bearer),
    Run(Job),
}

/// A handle on the running fabric.
#[derive(Clone)]
pub struct Fabric {
    topology: Arc<Topology>,
    commands: mpsc::Sender<Command>,
    clock: Arc<dyn Clock>,
    opened: Arc<[AtomicU32]>,
}

/// The fabric's task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the emulated fabric has stopped")]
pub struct Stopped;

impl Fabric {
    /// Starts the task. The engine's origin must be a time of `clock`. The task gives the engine back when it ends.
    pub fn start(
        engine: Engine,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<Engine>) {
        let (commands, inbox) = mpsc::channel(COMMAND_DEPTH);
        let topology = Arc::clone(engine.topology());
        let driver = Driver {
            engine,
            clock: Arc::clone(&clock),
            endpoints: HashMap::new(),
            out: Vec::new(),
            traces: rounds::Traces::default(),
            answers: Vec::new(),
            carrying: carrying::Carrying::default(),
            carried: Vec::new(),
        };
        let fabric = Self {
            opened: topology.rnics().iter().map(|_| AtomicU32::new(0)).collect(),
            topology,
            commands,
            clock,
        };
        (fabric, tokio::spawn(driver.run(inbox, stop)))
    }

    /// The shape.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Runs `job` on the engine, brought to the present: for faults, ground truth, hop-limit probes.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn with<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Engine) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |engine| {
            // Whoever asked may have gone.
            let _ = reply.send(job(engine));
        });
        self.commands
            .send(Command::Run(job))
            .await
            .map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// The provider that an agent on a host uses.
    pub fn provider(&self, host_index: u32) -> HostProvider {
        HostProvider {
            fabric: self.clone(),
            host_index,
        }
    }
}

/// The RNICs of one emulated host.
#[derive(Clone)]
pub struct HostProvider {
    fabric: Fabric,
    host_index: u32,
}

impl HostProvider {
    fn rnics(&self) -> impl Iterator<Item = (RnicId, RnicPort)> + '_ {
        let topology = &self.fabric.topology;
        let known = topology.hosts().len() > self.host_index as usize;
        topology
            .rnics_of(self.host_index)
            .filter(move |_| known)
            .map(|id| {
                let rnic = topology.rnic(id);
                let port = RnicPort {
                    name: RnicName {
                        device: rnic.device.clone(),
                        port: PORT,
                    },
                    gid: rnic.gid,
                    gid_index: GID_INDEX,
                    interface: None,
                };
                (id, port)
            })
    }
}

impl Provider for HostProvider {
    fn name(&self) -> &'static str {
        "fabric"
    }

    fn discover(&self) -> Result<Vec<RnicPort>, TransportError> {
        let ports: Vec<_> = self.rnics().map(|(_, port)| port).collect();
        if ports.is_empty() {
            return Err(TransportError::NoDevice(format!(
                "the emulated fabric has no host{}",
                self.host_index
            )));
        }
        Ok(ports)
    }

    fn open(&self, rnic: &RnicName) -> Result<Box<dyn Endpoint>, TransportError> {
        let refuse = |why: &str| TransportError::Rnic {
            rnic: rnic.clone(),
            why: why.to_owned(),
        };
        let (id, _) = self
            .rnics()
            .find(|(_, port)| port.name == *rnic)
            .ok_or_else(|| refuse("the emulated host has no such RNIC"))?;
        let turn = self.fabric.opened[id.index()].fetch_add(1, Ordering::Relaxed);
        let address = Engine::address(&self.fabric.topology, id, turn);
        let (completions, inbox) = mpsc::channel(SEND_DEPTH + RECEIVE_DEPTH);
        let open = Command::Open {
            rnic: id,
            address,
            completions,
        };
        match self.fabric.commands.try_send(open) {
            Ok(()) => Ok(Box::new(FabricEndpoint {
                rnic: id,
                address,
                capabilities: capabilities(),
                fabric: self.fabric.clone(),
                completions: inbox,
                outstanding: 0,
            })),
            Err(TrySendError::Full(_)) => Err(refuse("the emulated fabric is busy: try again")),
            Err(TrySendError::Closed(_)) => Err(refuse("the emulated fabric has stopped")),
        }
    }
}

/// What emulated endpoints can do.
pub fn capabilities() -> Capabilities {
    Capabilities {
        clock: CompletionClock::Emulated,
        steering: SourcePortSteering::FlowLabel,
        sees_source_port: true,
    }
}

/// A queue pair on an emulated RNIC.
struct FabricEndpoint {
    rnic: RnicId,
    address: Address,
    capabilities: Capabilities,
    fabric: Fabric,
    completions: mpsc::Receiver<Completion>,
    outstanding: usize,
}

impl FabricEndpoint {
    fn lost(&self) -> TransportError {
        TransportError::EndpointLost {
            endpoint: self.address.name(),
            why: Stopped.to_string(),
        }
    }
}

impl Endpoint for FabricEndpoint {
    fn address(&self) -> Address {
        self.address
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn post(&mut self, batch: &[SendRequest]) -> Result<usize, TransportError> {
        let at = self.fabric.clock.host();
        let mut taken = 0;
        for request in batch {
            if self.outstanding >= SEND_DEPTH {
                break;
            }
            let send = Command::Send {
                at,
                rnic: self.rnic,
                from: self.address.qpn,
                request: *request,
            };
            match self.fabric.commands.try_send(send) {
                Ok(()) => self.outstanding += 1,
                Err(TrySendError::Full(_)) => break,
                Err(TrySendError::Closed(_)) => return Err(self.lost()),
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn poll_completions(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        let before = out.len();
        match self
            .completions
            .poll_recv_many(cx, out, SEND_DEPTH + RECEIVE_DEPTH)
        {
            Poll::Pending => Poll::Pending,
            Poll::Ready(0) => Poll::Ready(Err(self.lost())),
            Poll::Ready(_) => {
                let sent = out[before..]
                    .iter()
                    .filter(|completion| matches!(completion, Completion::Sent { .. }))
                    .count();
                self.outstanding = self.outstanding.saturating_sub(sent);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Drop for FabricEndpoint {
    fn drop(&mut self) {
        // If this does not fit, the driver finds the closed channel at its next delivery.
        let _ = self.fabric.commands.try_send(Command::Close {
            rnic: self.rnic,
            qpn: self.address.qpn,
        });
    }
}

/// The driver's end of an endpoint.
struct Outlet {
    completions: mpsc::Sender<Completion>,
    overflow: u64,
}

impl Outlet {
    /// Hands over a completion. Room for send completions is kept free of datagrams.
    fn deliver(&mut self, completion: Completion) -> Result<(), Stopped> {
        let free = self.completions.capacity();
        let is_datagram = matches!(completion, Completion::Received(_));
        if is_datagram && free <= SEND_DEPTH {
            self.overflow += 1;
            return self.check();
        }
        if self.overflow > 0 && free > SEND_DEPTH + 1 {
            let event = EndpointEvent::ReceiveOverflow(self.overflow);
            if self.completions.try_send(Completion::Event(event)).is_ok() {
                self.overflow = 0;
            }
        }
        match self.completions.try_send(completion) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.overflow += 1;
                Ok(())
            }
            Err(TrySendError::Closed(_)) => Err(Stopped),
        }
    }

    fn check(&self) -> Result<(), Stopped> {
        if self.completions.is_closed() {
            return Err(Stopped);
        }
        Ok(())
    }
}

/// The task's state.
struct Driver {
    engine: Engine,
    clock: Arc<dyn Clock>,
    endpoints: HashMap<(RnicId, Qpn), Outlet>,
    out: Vec<Delivery>,
    traces: rounds::Traces,
    answers: Vec<HopAnswer>,
    carrying: carrying::Carrying,
    carried: Vec<Carried>,
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>, stop: CancellationToken) -> Engine {
        let mut commands = Vec::new();
        loop {
            let idle = self.engine.next_event().is_none();
            tokio::select! {
                () = stop.cancelled() => break,
                count = inbox.recv_many(&mut commands, COMMAND_DEPTH), if idle => {
                    if count == 0 {
                        break;
                    }
                }
                () = tokio::time::sleep(TICK), if !idle => {}
            }
            while commands.len() < COMMAND_DEPTH
                && let Ok(command) = inbox.try_recv()
            {
                commands.push(command);
            }
            for command in commands.drain(..) {
                self.execute(command);
            }
            self.advance(self.clock.host());
            if inbox.is_closed() && inbox.is_empty() {
                break;
            }
        }
        self.engine
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Open {
                rnic,
                address,
                completions,
            } => {
                self.engine.open_as(rnic, address);
                let outlet = Outlet {
                    completions,
                    overflow: 0,
                };
                self.endpoints.insert((rnic, address.qpn), outlet);
            }
            Command::Close { rnic, qpn } => self.close(rnic, qpn),
            Command::Send {
                at,
                rnic,
                from,
                request,
            } => {
                self.advance(at);
                self.engine.send(at, rnic, from, &request);
            }
            Command::Trace(request) => {
                self.advance(request.at);
                self.traces.begin(request, &mut self.engine);
            }
            Command::Carry(departure) => {
                self.advance(departure.at);
                self.carrying.begin(departure, &mut self.engine);
            }
            Command::Bear(bearer) => self.carrying.give_to(bearer),
            Command::Run(job) => {
                self.advance(self.clock.host());
                job(&mut self.engine);
            }
        }
    }

    fn close(&mut self, rnic: RnicId, qpn: Qpn) {
        self.endpoints.remove(&(rnic, qpn));
        self.engine.close(rnic, qpn);
    }

    fn advance(&mut self, now: HostTime) {
        let mut out = std::mem::take(&mut self.out);
        self.engine.advance(now, &mut out);
        for delivery in out.drain(..) {
            match delivery.qpn {
                Some(qpn) => self.deliver(delivery.rnic, qpn, delivery.completion),
                None => {
                    self.carrying.report(delivery.rnic, delivery.completion);
                    self.deliver_to_all(delivery.rnic, delivery.completion);
                }
            }
        }
        self.out = out;
        self.engine.drain_hop_answers(&mut self.answers);
        self.traces.deliver(&mut self.answers);
        self.engine.drain_carried(&mut self.carried);
        self.carrying.deliver(&mut self.carried);
    }

    fn deliver(&mut self, rnic: RnicId, qpn: Qpn, completion: Completion) {
        let Some(outlet) = self.endpoints.get_mut(&(rnic, qpn)) else {
            return;
        };
        if outlet.deliver(completion).is_err() {
            self.close(rnic, qpn);
        }
    }

    fn deliver_to_all(&mut self, rnic: RnicId, completion: Completion) {
        let qpns: Vec<_> = self
            .endpoints
            .keys()
            .filter(|(of, _)| *of == rnic)
            .map(|(_, qpn)| *qpn)
            .collect();
        for qpn in qpns {
            self.deliver(rnic, qpn, completion);
        }
    }
}

#[cfg(test)]
mod tests;
