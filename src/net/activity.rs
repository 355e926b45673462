//! What an accepted connection is doing, and the limits that end it: it has to give way ([`quota`](super::quota)), it has been
//! idle for too long, or its peer does not read.
//!
//! The limits are looked at where the connection is read and written, so no task of their own is needed: HTTP/1.1 and HTTP/2
//! read whenever nothing else is to be done.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::quota::{Place, Stage};

/// How long a connection may be without a call. An agent always has one open: its registration, its upload.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a greeted connection may be without its first call.
pub(crate) const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a peer may leave what was sent to it unread before the connection is closed.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Calls {
    open: usize,
    /// When the last one ended, or the connection was greeted.
    since: Instant,
    /// How long it may be idle from then.
    limit: Duration,
}

/// The calls of one accepted connection.
#[derive(Debug)]
pub(super) struct Activity {
    place: Place,
    calls: Mutex<Calls>,
}

impl Activity {
    /// Of a connection that was accepted just now.
    pub(super) fn new(place: Place) -> Arc<Self> {
        let calls = Calls {
            open: 0,
            since: Instant::now(),
            limit: FIRST_CALL_TIMEOUT,
        };
        Arc::new(Self {
            place,
            calls: Mutex::new(calls),
        })
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer speaks the protocol.
    pub(super) fn greeted(&self) {
        self.calls().since = Instant::now();
        self.place.enter(Stage::Idle);
    }

    /// A call or request begins; it ends when what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Call {
        let mut calls = self.calls();
        calls.open += 1;
        if calls.open == 1 {
            self.place.enter(Stage::Busy);
        }
        Call(Arc::clone(self))
    }

    fn end(&self) {
        let mut calls = self.calls();
        calls.open -= 1;
        if calls.open == 0 {
            calls.since = Instant::now();
            calls.limit = IDLE_TIMEOUT;
            self.place.enter(Stage::Idle);
        }
    }

    /// Closes the connection as soon as it is read next.
    pub(super) fn close(&self) {
        self.place.evicted().cancel();
    }

    /// When it will have been idle for too long; `None` while a call is open.
    fn idle_until(&self) -> Option<Instant> {
        let calls = self.calls();
        (calls.open == 0).then(|| calls.since + calls.limit)
    }
}

/// An open call.
#[derive(Debug)]
pub(super) struct Call(Arc<Activity>);

impl Call {
    /// Of which connection.
    pub(super) const fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Watches the limits of one connection.
pub(super) struct Watch {
    activity: Arc<Activity>,
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    idle: Pin<Box<Sleep>>,
    /// Runs while the peer reads nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.activity).finish()
    }
}

impl Watch {
    pub(super) fn new(activity: Arc<Activity>) -> Self {
        Self {
            evicted: Box::pin(activity.place.evicted().clone().cancelled_owned()),
            idle: Box::pin(tokio::time::sleep(FIRST_CALL_TIMEOUT)),
            stalled: None,
            activity,
        }
    }

    pub(super) const fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// The error that ends the connection, if one of its limits is reached.
    pub(super) fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.evicted.as_mut().poll(cx).is_ready() {
            return Poll::Ready(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "closed: too many connections",
            ));
        }
        while self.idle.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            // A call that is open is looked at again: it may have ended by then.
            let until = self.activity.idle_until().unwrap_or(now + IDLE_TIMEOUT);
            if until <= now {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "closed: idle"));
            }
            self.idle.as_mut().reset(until);
        }
        Poll::Pending
    }

    /// Passes the outcome of a write on; an error where the peer has read nothing for [`STALL_TIMEOUT`].
    pub(super) fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_TIMEOUT)));
        if stalled.as_mut().poll(cx).is_ready() {
            let why = "closed: the peer does not read";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        Poll::Pending
    }
}
