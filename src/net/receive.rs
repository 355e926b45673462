//! A bound on the bytes of requests that have arrived and that nobody has taken yet, over all streams of a service.
//!
//! A stream may send a part of a message and wait, and a peer may open many streams. What has arrived is charged to one pool
//! ([`Receiving`]). When the pool is full, streams wait, and HTTP/2's flow control stops their senders. Only the stream whose
//! message is incomplete for longest may go beyond the pool, so that one message after the other becomes complete; it has
//! [`TURN`]. A reserve beside the pool takes short messages (up to [`SHORT`]) while the pool is full: long ones do not keep
//! anybody else out. Senders of which nothing comes for [`PATIENCE`] meanwhile make room: their streams are ended. A message that is
//! complete, or that waits for room, is never given up.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::http::Request;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// How long nothing may come of an incomplete message while others wait for room.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// How long the oldest incomplete message may take to become complete while others wait for room.
pub(crate) const TURN: Duration = Duration::from_secs(10);
/// A stream that holds no more than this may use the reserve: hellos, and batches as agents send them.
pub(crate) const SHORT: usize = 64 << 10;
/// How often a stream that waits looks whether another has become too slow.
const LOOK: Duration = Duration::from_millis(250);

/// Where bytes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Pool,
    Reserve,
}

/// What one stream holds.
#[derive(Debug)]
struct Holding {
    bytes: usize,
    /// Where they count.
    place: Place,
    /// When the first of them came.
    since: Instant,
    /// When the last of them came.
    last: Instant,
    /// The next have come and wait for room.
    is_waiting: bool,
    /// A whole message waits to be taken.
    is_complete: bool,
    is_given_up: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Pool {
    limit: usize,
    used: usize,
    /// For short messages while the pool is full.
    reserve: usize,
    reserve_used: usize,
    next: u64,
    streams: BTreeMap<u64, Holding>,
    /// Who may go beyond the limit, and since when.
    turn: Option<(u64, Instant)>,
    given_up: u64,
}

impl Pool {
    /// Takes room. Where there is none the caller waits, unless it is its turn; streams that are too slow are ended.
    fn charge(&mut self, id: u64, bytes: usize, now: Instant) -> bool {
        let Some(own) = self.streams.get(&id) else {
            return false;
        };
        let (held, is_reserved) = (own.bytes, own.place == Place::Reserve);
        // What is in the reserve goes with it into the pool.
        let needed = bytes + if is_reserved { held } else { 0 };
        // One frame fits an empty pool, whatever its size.
        let fits = self.used == 0 || self.used + needed <= self.limit;
        let is_short = (held == 0 || is_reserved) && held + bytes <= SHORT;
        if fits {
            self.take(id, bytes, Place::Pool, now);
        } else if is_short && self.reserve_used + bytes <= self.reserve {
            self.take(id, bytes, Place::Reserve, now);
        } else {
            self.give_up_slow(id, now);
            self.choose(now);
            let is_its_turn = self.turn.is_some_and(|(chosen, _)| chosen == id);
            if is_its_turn {
                self.take(id, bytes, Place::Pool, now);
            } else if let Some(own) = self.streams.get_mut(&id) {
                own.is_waiting = true;
            }
            return is_its_turn;
        }
        true
    }

    /// Counts bytes of a stream in the pool or in the reserve, where all that it holds is then.
    fn take(&mut self, id: u64, bytes: usize, place: Place, now: Instant) {
        let Some(own) = self.streams.get_mut(&id) else {
            return;
        };
        if (own.place, place) == (Place::Reserve, Place::Pool) {
            self.reserve_used -= own.bytes;
            self.used += own.bytes;
        }
        own.place = place;
        own.is_waiting = false;
        if own.bytes == 0 {
            own.since = now;
        }
        own.last = now;
        own.bytes += bytes;
        match place {
            Place::Pool => self.used += bytes,
            Place::Reserve => self.reserve_used += bytes,
        }
    }

    /// Gives the turn to the oldest incomplete message, if nobody has it.
    fn choose(&mut self, now: Instant) {
        if self.turn.is_some() {
            return;
        }
        let incomplete = self
            .streams
            .iter_mut()
            .filter(|(_, other)| other.bytes > 0 && !other.is_complete && !other.is_given_up);
        if let Some((id, oldest)) = incomplete.min_by_key(|(_, other)| other.since) {
            self.turn = Some((*id, now));
            if let Some(waker) = oldest.waker.take() {
                waker.wake();
            }
        }
    }

    /// Ends the streams of which nothing comes, and the one that does not use its turn.
    fn give_up_slow(&mut self, caller: u64, now: Instant) {
        let turn = self.turn;
        let overdue = |id: u64| {
            turn.is_some_and(|(chosen, since)| chosen == id && now.duration_since(since) >= TURN)
        };
        for (id, other) in &mut self.streams {
            let is_silent = *id != caller
                && !other.is_waiting
                && other.bytes > 0
                && now.duration_since(other.last) >= PATIENCE;
            if other.is_complete || other.is_given_up || !(is_silent || overdue(*id)) {
                continue;
            }
            other.is_given_up = true;
            self.given_up += 1;
            if let Some(waker) = other.waker.take() {
                waker.wake();
            }
            if turn.is_some_and(|(chosen, _)| chosen == *id) {
                self.turn = None;
            }
        }
    }

    /// The stream does not need the turn any more.
    fn pass_turn(&mut self, id: u64) {
        if self.turn.is_some_and(|(chosen, _)| chosen == id) {
            self.turn = None;
        }
    }

    fn release(&mut self, id: u64, bytes: usize, now: Instant) {
        if let Some(own) = self.streams.get_mut(&id) {
            let released = bytes.min(own.bytes);
            own.bytes -= released;
            (own.since, own.last) = (now, now);
            own.is_complete = false;
            match own.place {
                Place::Pool => self.used -= released,
                Place::Reserve => self.reserve_used -= released,
            }
        }
        self.pass_turn(id);
        self.wake();
    }

    fn remove(&mut self, id: u64) {
        if let Some(own) = self.streams.remove(&id) {
            match own.place {
                Place::Pool => self.used -= own.bytes,
                Place::Reserve => self.reserve_used -= own.bytes,
            }
        }
        self.pass_turn(id);
        self.wake();
    }

    fn wake(&mut self) {
        for waker in self
            .streams
            .values_mut()
            .filter_map(|other| other.waker.take())
        {
            waker.wake();
        }
    }
}

/// The pool of a service; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Receiving(Arc<Mutex<Pool>>);

impl Receiving {
    /// With room for this many bytes, and a reserve.
    pub(crate) fn new(limit: usize, reserve: usize) -> Self {
        Self(Arc::new(Mutex::new(Pool {
            limit,
            used: 0,
            reserve,
            reserve_used: 0,
            next: 0,
            streams: BTreeMap::new(),
            turn: None,
            given_up: 0,
        })))
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that have arrived and that nobody has taken.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        let pool = self.pool();
        pool.used + pool.reserve_used
    }

    /// Streams that were ended because they sent too slowly while others waited.
    #[cfg(test)]
    pub(crate) fn given_up(&self) -> u64 {
        self.pool().given_up
    }

    fn stream(&self) -> Ledger {
        let mut pool = self.pool();
        pool.next += 1;
        let id = pool.next;
        let holding = Holding {
            bytes: 0,
            place: Place::Pool,
            since: Instant::now(),
            last: Instant::now(),
            is_waiting: false,
            is_complete: false,
            is_given_up: false,
            waker: None,
        };
        pool.streams.insert(id, holding);
        drop(pool);
        Ledger(Arc::new(Stream {
            receiving: self.clone(),
            id,
        }))
    }
}

#[derive(Debug)]
struct Stream {
    receiving: Receiving,
    id: u64,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.receiving.pool().remove(self.id);
    }
}

/// What one stream holds; found in the extensions of its request.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Stream>);

impl Ledger {
    /// A whole message has come: the stream is not slow while it waits.
    pub(crate) fn complete(&self) {
        let mut pool = self.0.receiving.pool();
        if let Some(own) = pool.streams.get_mut(&self.0.id) {
            own.is_complete = true;
        }
        pool.pass_turn(self.0.id);
    }

    /// So many bytes are accounted for elsewhere from now on.
    pub(crate) fn release(&self, bytes: usize) {
        let mut pool = self.0.receiving.pool();
        pool.release(self.0.id, bytes, Instant::now());
    }

    fn poll_charge(&self, bytes: usize, cx: &Context<'_>) -> Poll<Result<(), Status>> {
        let mut pool = self.0.receiving.pool();
        let is_given_up = match pool.streams.get_mut(&self.0.id) {
            Some(own) => {
                own.waker = Some(cx.waker().clone());
                own.is_given_up
            }
            None => true,
        };
        if is_given_up {
            return Poll::Ready(Err(Status::resource_exhausted(
                "the message came too slowly while memory was short: send it again",
            )));
        }
        if bytes == 0 || pool.charge(self.0.id, bytes, Instant::now()) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

/// A generated gRPC service whose requests are charged to a pool.
#[derive(Debug, Clone)]
pub(crate) struct Metered<S> {
    service: S,
    receiving: Receiving,
}

/// Charges the requests of a service to a pool.
pub(crate) const fn metered<S>(service: S, receiving: Receiving) -> Metered<S> {
    Metered { service, receiving }
}

impl<S: NamedService> NamedService for Metered<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Metered<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        let ledger = self.receiving.stream();
        request.extensions_mut().insert(ledger.clone());
        self.service.call(request.map(|inner| {
            Body::new(MeteredBody {
                inner,
                ledger,
                parked: None,
                look: None,
            })
        }))
    }
}

struct MeteredBody {
    inner: Body,
    ledger: Ledger,
    /// A frame that waits for room.
    parked: Option<Frame<Bytes>>,
    look: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // Asked even while nothing comes: another stream may need the room.
        if let Poll::Ready(Err(status)) = self.ledger.poll_charge(0, cx) {
            return Poll::Ready(Some(Err(status)));
        }
        if self.parked.is_none() {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => self.parked = Some(frame),
                other => return Poll::Ready(other),
            }
        }
        let bytes = self
            .parked
            .as_ref()
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len);
        loop {
            match self.ledger.poll_charge(bytes, cx) {
                Poll::Ready(Ok(())) => {
                    self.look = None;
                    return Poll::Ready(self.parked.take().map(Ok));
                }
                Poll::Ready(Err(status)) => return Poll::Ready(Some(Err(status))),
                Poll::Pending => {}
            }
            let look = self
                .look
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            ready!(look.as_mut().poll(cx));
            self.look = None;
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parked.is_none() && self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests;
