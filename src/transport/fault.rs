//! A middleware that damages what passes through an endpoint: drop, corrupt, duplicate, delay, reorder.
//!
//! For tests and for showing an operator what a fault looks like. Every decision comes from one seeded generator for
//! each direction, so the same traffic with the same seed meets the same faults. Sent and received datagrams have their
//! own rates; each fault is decided independently, in the order of [`Faults`]' fields.
//!
//! What is sent and dropped still leaves the endpoint, with a Q_Key that no receiver has, so its send completion is the
//! endpoint's own; what is received and dropped is never reported. A received datagram that is delayed or reordered
//! carries the time at which it is handed over. Timers are tokio's: tests may pause its clock.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, Sleep};

use crate::id::{FlowLabel, QKey, UdpSourcePort};
use crate::measure::Ratio;
use crate::time::Nanos;

use super::{
    Address, Capabilities, Completion, Endpoint, Payload, Received, SendRequest, SendToken,
    TransportError,
};

/// How many datagrams of one direction wait for their time; more pass at once and are counted.
const HELD_DEPTH: usize = 4096;

/// How long a datagram that is to be overtaken waits for one to overtake it.
const REORDER_LIMIT: Duration = Duration::from_millis(10);

/// What happens to the datagrams of one direction, with which probability.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// Share that vanishes.
    pub drop: Ratio,
    /// Share whose payload has one bit flipped.
    pub corrupt: Ratio,
    /// Share that comes twice.
    pub duplicate: Ratio,
    /// Share that the next datagram overtakes.
    pub reorder: Ratio,
    /// Share that is held for `delay_by`.
    pub delay: Ratio,
    /// How long those are held.
    pub delay_by: Duration,
}

/// What a middleware did to the datagrams of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounters {
    /// Datagrams that vanished.
    pub dropped: u64,
    /// Datagrams with a flipped bit.
    pub corrupted: u64,
    /// Datagrams that came twice.
    pub duplicated: u64,
    /// Datagrams that were held so that the next one overtakes them.
    pub reordered: u64,
    /// Datagrams that were held for a time.
    pub delayed: u64,
    /// Datagrams that were to be held but passed because too many were.
    pub not_delayed: u64,
}

/// What is to happen to one datagram.
#[expect(
    clippy::struct_excessive_bools,
    reason = "one decision for each kind of fault"
)]
struct Fate {
    drop: bool,
    /// Decides the bit to flip.
    corrupt: Option<u32>,
    duplicate: bool,
    reorder: bool,
    delay: bool,
}

/// Something that waits for its time.
struct Held<T> {
    due: Instant,
    order: u64,
    item: T,
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Held<T> {}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// The faults of one direction and what they hold back.
struct Lane<T> {
    faults: Faults,
    rng: ChaCha8Rng,
    counters: FaultCounters,
    delayed: BinaryHeap<Reverse<Held<T>>>,
    /// One that waits to be overtaken.
    overtaken: Option<Held<T>>,
    order: u64,
}

impl<T> Lane<T> {
    fn new(faults: Faults, seed: u64) -> Self {
        Self {
            faults,
            rng: ChaCha8Rng::seed_from_u64(seed),
            counters: FaultCounters::default(),
            delayed: BinaryHeap::new(),
            overtaken: None,
            order: 0,
        }
    }

    fn fate(&mut self) -> Fate {
        let faults = self.faults;
        // Every decision is drawn every time: one rate does not change what another one hits.
        Fate {
            drop: self.rng.random_bool(faults.drop.get()),
            corrupt: {
                let bit = self.rng.random();
                self.rng.random_bool(faults.corrupt.get()).then_some(bit)
            },
            duplicate: self.rng.random_bool(faults.duplicate.get()),
            reorder: self.rng.random_bool(faults.reorder.get()),
            delay: self.rng.random_bool(faults.delay.get()),
        }
    }

    fn corrupt(&mut self, payload: &mut Payload, bit: u32) {
        let mut bytes = [0; super::MAX_PAYLOAD];
        let len = payload.as_slice().len();
        let Some(place) = (bit as usize).checked_rem(len * 8) else {
            return;
        };
        bytes[..len].copy_from_slice(payload.as_slice());
        bytes[place / 8] ^= 1 << (place % 8);
        if let Some(damaged) = Payload::new(&bytes[..len]) {
            *payload = damaged;
            self.counters.corrupted += 1;
        }
    }

    /// Holds `item` or gives what is to pass now, in order.
    fn pass(&mut self, item: T, fate: &Fate, now: Instant, out: &mut VecDeque<T>) {
        self.order += 1;
        let order = self.order;
        let held = |due, item| Held { due, order, item };
        let full = self.delayed.len() >= HELD_DEPTH;
        self.counters.not_delayed += u64::from(fate.delay && full);
        if fate.delay && !full {
            self.delayed
                .push(Reverse(held(now + self.faults.delay_by, item)));
            self.counters.delayed += 1;
        } else if fate.reorder && self.overtaken.is_none() {
            self.overtaken = Some(held(now + REORDER_LIMIT, item));
            self.counters.reordered += 1;
        } else {
            out.push_back(item);
            out.extend(self.overtaken.take().map(|held| held.item));
        }
    }

    /// What has waited long enough.
    fn release(&mut self, now: Instant, out: &mut VecDeque<T>) {
        while self.delayed.peek().is_some_and(|held| held.0.due <= now) {
            out.extend(self.delayed.pop().map(|held| held.0.item));
        }
        out.extend(
            self.overtaken
                .take_if(|held| held.due <= now)
                .map(|held| held.item),
        );
    }

    fn next_due(&self) -> Option<Instant> {
        let delayed = self.delayed.peek().map(|held| held.0.due);
        let overtaken = self.overtaken.as_ref().map(|held| held.due);
        delayed.into_iter().chain(overtaken).min()
    }
}

/// A received datagram with the time at which the endpoint reported it.
struct Arrived {
    received: Received,
    reported: Instant,
}

/// An endpoint whose traffic suffers.
pub struct FaultyEndpoint {
    inner: Box<dyn Endpoint>,
    sending: Lane<SendRequest>,
    receiving: Lane<Arrived>,
    /// Requests whose time has come and that the endpoint has not taken yet.
    backlog: VecDeque<SendRequest>,
    /// Requests that were posted twice: how many completions are to come, the first of which is the owner's.
    doubled: HashMap<SendToken, u8>,
    timer: Option<Pin<Box<Sleep>>>,
    scratch: Vec<Completion>,
    ready: VecDeque<Arrived>,
}

impl FaultyEndpoint {
    /// Wraps `inner`; `sent` and `received` say what happens in each direction.
    pub fn new(inner: Box<dyn Endpoint>, sent: Faults, received: Faults, seed: u64) -> Self {
        Self {
            inner,
            sending: Lane::new(sent, seed),
            // Any other seed does: the directions must not repeat each other.
            receiving: Lane::new(received, !seed),
            backlog: VecDeque::new(),
            doubled: HashMap::new(),
            timer: None,
            scratch: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// What was done to sent and to received datagrams.
    pub fn counters(&self) -> (FaultCounters, FaultCounters) {
        (self.sending.counters, self.receiving.counters)
    }

    fn send(&mut self, mut request: SendRequest, now: Instant) {
        let fate = self.sending.fate();
        if let Some(bit) = fate.corrupt {
            self.sending.corrupt(&mut request.payload, bit);
        }
        if fate.drop {
            request.to.q_key = QKey(!request.to.q_key.0);
            self.sending.counters.dropped += 1;
        }
        if fate.duplicate {
            self.doubled.insert(request.token, 2);
            self.sending.counters.duplicated += 1;
            self.backlog.push_back(request);
        }
        self.sending.pass(request, &fate, now, &mut self.backlog);
    }

    fn flush(&mut self) -> Result<(), TransportError> {
        if !self.backlog.is_empty() {
            let taken = self.inner.post(self.backlog.make_contiguous())?;
            self.backlog.drain(..taken.min(self.backlog.len()));
        }
        Ok(())
    }

    fn receive(&mut self, received: Received, now: Instant) {
        let fate = self.receiving.fate();
        if fate.drop {
            self.receiving.counters.dropped += 1;
            return;
        }
        let mut received = received;
        if let Some(bit) = fate.corrupt {
            self.receiving.corrupt(&mut received.payload, bit);
        }
        let reported = now;
        if fate.duplicate {
            self.receiving.counters.duplicated += 1;
            self.ready.push_back(Arrived { received, reported });
        }
        let arrived = Arrived { received, reported };
        self.receiving.pass(arrived, &fate, now, &mut self.ready);
    }

    /// Hands over what the endpoint reported, less what the faults take.
    fn filter(&mut self, now: Instant, out: &mut Vec<Completion>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for completion in scratch.drain(..) {
            match completion {
                Completion::Sent { token, .. } if self.swallowed(token) => {}
                Completion::Received(received) => self.receive(received, now),
                other => out.push(other),
            }
        }
        self.scratch = scratch;
        self.receiving.release(now, &mut self.ready);
        out.extend(self.ready.drain(..).map(|arrived| {
            let mut received = arrived.received;
            received.at = received.at + Nanos::from(now - arrived.reported);
            Completion::Received(received)
        }));
    }

    fn swallowed(&mut self, token: SendToken) -> bool {
        match self.doubled.get_mut(&token) {
            Some(left @ 2) => {
                *left = 1;
                false
            }
            Some(_) => self.doubled.remove(&token).is_some(),
            None => false,
        }
    }

    /// Registers the waker for the next time that something held is due; whether that time has come already.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let next = [self.sending.next_due(), self.receiving.next_due()]
            .into_iter()
            .flatten()
            .min();
        let Some(due) = next else {
            self.timer = None;
            return false;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx).is_ready()
    }
}

impl Endpoint for FaultyEndpoint {
    fn address(&self) -> Address {
        self.inner.address()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn gid_index(&self) -> Option<u32> {
        self.inner.gid_index()
    }

    fn source_port(&self, label: FlowLabel) -> Option<UdpSourcePort> {
        self.inner.source_port(label)
    }

    fn post(&mut self, batch: &[SendRequest]) -> Result<usize, TransportError> {
        self.flush()?;
        if !self.backlog.is_empty() {
            return Ok(0);
        }
        let now = Instant::now();
        for request in batch {
            self.send(*request, now);
        }
        self.flush()?;
        Ok(batch.len())
    }

    fn poll_completions(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        let before = out.len();
        loop {
            let now = Instant::now();
            self.sending.release(now, &mut self.backlog);
            self.flush()?;
            let inner = self.inner.poll_completions(cx, &mut self.scratch);
            self.filter(now, out);
            if let Poll::Ready(Err(error)) = inner {
                return Poll::Ready(Err(error));
            }
            if out.len() > before {
                return Poll::Ready(Ok(()));
            }
            // A ready endpoint whose completions were all swallowed has not registered the waker.
            if inner.is_pending() && !self.poll_timer(cx) {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests;
