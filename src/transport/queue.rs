//! How endpoints inside this process hand completions to their owner: a bounded queue for what arrives, an own list
//! for what was sent, one waker for both.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use tokio::sync::mpsc;

use super::{Address, Completion, EndpointEvent, Received, TransportError};

/// How many received datagrams wait in an endpoint's queue before more are dropped: as many as a receive queue of an
/// RNIC commonly holds.
pub(crate) const DEFAULT_RECEIVE_DEPTH: usize = 4096;

/// How many send completions may wait to be taken; an endpoint takes no more requests until they are.
pub(super) const SEND_DEPTH: usize = 1024;

#[derive(Default)]
struct State {
    /// Datagrams that did not fit and were not reported yet.
    overflow: AtomicU64,
    /// Why the endpoint died.
    lost: OnceLock<String>,
}

/// The end into which others deliver.
#[derive(Clone)]
pub(super) struct Inlet {
    queue: mpsc::Sender<Completion>,
    state: Arc<State>,
}

impl Inlet {
    /// Puts a datagram into the queue, or counts it as overflow.
    pub(super) fn deliver(&self, received: Received) {
        if self.queue.try_send(Completion::Received(received)).is_err() {
            self.overflowed(1);
        }
    }

    /// Counts datagrams that were dropped before they came here.
    pub(super) fn overflowed(&self, datagrams: u64) {
        self.state.overflow.fetch_add(datagrams, Ordering::Relaxed);
    }

    /// Tells the owner of a change; false when the queue is full.
    pub(super) fn raise(&self, event: EndpointEvent) -> bool {
        self.queue.try_send(Completion::Event(event)).is_ok()
    }

    /// Declares the endpoint dead; the first reason counts.
    pub(super) fn lose(&self, why: String) {
        let _ = self.state.lost.set(why);
        // Wakes the owner. A full queue has woken it already.
        let _ = self.raise(EndpointEvent::PortDown);
    }

    /// Whether the endpoint still takes datagrams.
    pub(super) fn is_open(&self) -> bool {
        !self.queue.is_closed() && self.state.lost.get().is_none()
    }

    /// Whether both lead to the same endpoint.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }
}

/// The end that an endpoint owns.
pub(super) struct Outlet {
    address: Address,
    inlet: Inlet,
    queue: mpsc::Receiver<Completion>,
    depth: usize,
    sent: VecDeque<Completion>,
    waker: Option<Waker>,
}

impl Outlet {
    /// The queue of the endpoint at `address`, which holds `depth` datagrams (at least one).
    pub(super) fn new(address: Address, depth: usize) -> Self {
        let depth = depth.max(1);
        let (sender, queue) = mpsc::channel(depth);
        Self {
            address,
            inlet: Inlet {
                queue: sender,
                state: Arc::default(),
            },
            queue,
            depth,
            sent: VecDeque::new(),
            waker: None,
        }
    }

    pub(super) fn inlet(&self) -> &Inlet {
        &self.inlet
    }

    pub(super) fn address(&self) -> Address {
        self.address
    }

    /// Fails when the endpoint was declared dead.
    pub(super) fn alive(&self) -> Result<(), TransportError> {
        match self.inlet.state.lost.get() {
            None => Ok(()),
            Some(why) => Err(TransportError::EndpointLost {
                endpoint: self.address.name(),
                why: why.clone(),
            }),
        }
    }

    /// Send completions that are not taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.sent.len()
    }

    /// Adds a completion of the endpoint itself.
    pub(super) fn push(&mut self, completion: Completion) {
        self.sent.push_back(completion);
    }

    /// Wakes the owner if it waits: there is something for [`Outlet::poll`] to do.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The contract of [`Endpoint::poll_completions`](super::Endpoint::poll_completions).
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        let before = out.len();
        out.extend(self.sent.drain(..));
        // Never closed: the outlet holds a sender itself. Pending has registered the waker.
        let _ = self.queue.poll_recv_many(cx, out, self.depth);
        let overflow = self.inlet.state.overflow.swap(0, Ordering::Relaxed);
        if overflow > 0 {
            out.push(Completion::Event(EndpointEvent::ReceiveOverflow(overflow)));
        }
        if let Err(error) = self.alive() {
            return Poll::Ready(Err(error));
        }
        if out.len() > before {
            self.waker = None;
            return Poll::Ready(Ok(()));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
