//! Address handles: a bounded cache, filled in the background.
//!
//! Making an address handle resolves the neighbour's hardware address and can take a second. It therefore happens on
//! threads of the runtime's blocking pool, at most [`MAX_RUNNING`] at once; requests wait here meanwhile. A destination
//! that could not be resolved is refused at once for a while, which doubles with every failure, so that dead
//! destinations cannot crowd out the others. Handles are renewed in the background from time to time, because the
//! neighbour's hardware address may have changed; if that fails the old one stays in use, so that packets to a host
//! that went away are lost as they should be.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rpingmesh::id::Gid;
use rpingmesh::time::HostTime;
use rpingmesh::transport::{Class, SendRequest};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Where an address handle leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Route {
    /// The other RNIC port.
    pub(super) gid: Gid,
    /// The flow label of its GRH; 0 lets the driver choose.
    pub(super) flow_label: u32,
    /// In which class.
    pub(super) class: Class,
}

/// Handles being made at once: each can occupy a thread for a second.
pub(super) const MAX_RUNNING: usize = 16;
/// Of these, how many may be for destinations that failed before, or renew a handle.
const MAX_RUNNING_LOW: usize = MAX_RUNNING / 2;
/// Handles kept, in two generations of this size.
const GENERATION: usize = 4096;
/// Requests that wait for handles; more are refused.
const MAX_WAITING: usize = 1024;
/// After this time a handle is renewed.
const RENEW_AFTER: Duration = Duration::from_mins(2);
/// How long a destination is refused after its first failure, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// Failed destinations remembered; beyond that, those whose pause is over are forgotten, else all.
const MAX_FAILURES: usize = 4096;

/// Makes handles; blocks.
pub(super) trait Resolve: Send + Sync + 'static {
    /// An address handle.
    type Handle: Send + Sync + 'static;

    /// Makes the handle for a route.
    fn resolve(&self, route: Route) -> io::Result<Self::Handle>;
}

/// What can be done with a request now.
pub(super) enum Lookup<H> {
    /// Send it with this handle.
    Ready(Arc<H>),
    /// It was taken and waits; [`Resolver::poll`] gives it back.
    Waiting,
    /// It cannot be sent; the errno.
    Failed(u32),
}

/// Requests of which it is now known how they go on.
pub(super) struct Resolved<H> {
    /// The handle, or the errno.
    pub(super) outcome: Result<Arc<H>, u32>,
    /// Those that waited.
    pub(super) requests: Vec<SendRequest>,
}

struct Cached<H> {
    handle: Arc<H>,
    made: HostTime,
}

struct Failure {
    code: u32,
    pause: Duration,
    until: HostTime,
}

struct Made<H> {
    route: Route,
    low: bool,
    result: io::Result<H>,
}

/// The cache. Owned by one endpoint.
pub(super) struct Resolver<R: Resolve> {
    resolve: Arc<R>,
    runtime: Handle,
    young: HashMap<Route, Cached<R::Handle>>,
    old: HashMap<Route, Cached<R::Handle>>,
    /// Routes that are being made or are to be made, with the requests that wait for them.
    waiting: HashMap<Route, Vec<SendRequest>>,
    waiting_requests: usize,
    /// Routes to make: for new destinations, and for others.
    queue: VecDeque<Route>,
    queue_low: VecDeque<Route>,
    running: usize,
    running_low: usize,
    failures: HashMap<Gid, Failure>,
    /// Depth [`MAX_RUNNING`]: one result per thread, so sending never blocks.
    results: mpsc::Sender<Made<R::Handle>>,
    made: mpsc::Receiver<Made<R::Handle>>,
}

impl<R: Resolve> Resolver<R> {
    /// An empty cache that makes handles with `resolve` on `runtime`'s blocking threads.
    pub(super) fn new(resolve: R, runtime: Handle) -> Self {
        let (results, made) = mpsc::channel(MAX_RUNNING);
        Self {
            resolve: Arc::new(resolve),
            runtime,
            young: HashMap::new(),
            old: HashMap::new(),
            waiting: HashMap::new(),
            waiting_requests: 0,
            queue: VecDeque::new(),
            queue_low: VecDeque::new(),
            running: 0,
            running_low: 0,
            failures: HashMap::new(),
            results,
            made,
        }
    }

    /// The handle for a request, or its place in the queue.
    pub(super) fn lookup(
        &mut self,
        route: Route,
        request: &SendRequest,
        now: HostTime,
    ) -> Lookup<R::Handle> {
        if let Some(handle) = self.cached(route, now) {
            return Lookup::Ready(handle);
        }
        let failed_before = match self.failures.get(&route.gid) {
            Some(failure) if now < failure.until => return Lookup::Failed(failure.code),
            failure => failure.is_some(),
        };
        if self.waiting_requests >= MAX_WAITING {
            return Lookup::Failed(code(libc::EAGAIN));
        }
        self.waiting_requests += 1;
        self.want(route, failed_before).push(*request);
        self.start();
        Lookup::Waiting
    }

    /// Forgets which destinations failed, because the network has changed.
    pub(super) fn forgive(&mut self) {
        self.failures.clear();
    }

    /// The requests that wait for a route, which is queued unless it already is.
    fn want(&mut self, route: Route, low: bool) -> &mut Vec<SendRequest> {
        self.waiting.entry(route).or_insert_with(|| {
            if low {
                self.queue_low.push_back(route);
            } else {
                self.queue.push_back(route);
            }
            Vec::new()
        })
    }

    /// A handle from either generation; moves it to the young one and has it renewed when it is old.
    fn cached(&mut self, route: Route, now: HostTime) -> Option<Arc<R::Handle>> {
        if !self.young.contains_key(&route) {
            let cached = self.old.remove(&route)?;
            self.keep(route, cached);
        }
        let cached = self.young.get_mut(&route)?;
        let handle = Arc::clone(&cached.handle);
        if now.since(cached.made) >= RENEW_AFTER {
            // The next look-up must not ask again at once, whatever comes of this.
            cached.made = now;
            self.want(route, true);
            self.start();
        }
        Some(handle)
    }

    /// Puts a handle into the young generation; a full one becomes the old one, whose handles are destroyed elsewhere.
    fn keep(&mut self, route: Route, cached: Cached<R::Handle>) {
        self.young.insert(route, cached);
        if self.young.len() >= GENERATION {
            let retired = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            if !retired.is_empty() {
                self.runtime.spawn_blocking(move || drop(retired));
            }
        }
    }

    /// Starts what may run now.
    fn start(&mut self) {
        while self.running < MAX_RUNNING {
            let (route, low) = if let Some(route) = self.queue.pop_front() {
                (route, false)
            } else if self.running_low < MAX_RUNNING_LOW
                && let Some(route) = self.queue_low.pop_front()
            {
                (route, true)
            } else {
                return;
            };
            self.running += 1;
            self.running_low += usize::from(low);
            let resolve = Arc::clone(&self.resolve);
            let results = self.results.clone();
            self.runtime.spawn_blocking(move || {
                let result = resolve.resolve(route);
                // Fails only when the endpoint is gone; then the handle is destroyed here.
                let _ = results.blocking_send(Made { route, low, result });
            });
        }
    }

    /// Appends the requests whose route was made or failed; pending when there is none.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: HostTime,
        out: &mut Vec<Resolved<R::Handle>>,
    ) -> Poll<()> {
        let before = out.len();
        while let Poll::Ready(Some(made)) = self.made.poll_recv(cx) {
            self.running -= 1;
            self.running_low -= usize::from(made.low);
            let requests = self.take_waiting(made.route);
            match made.result {
                Ok(handle) => {
                    self.failures.remove(&made.route.gid);
                    let handle = Arc::new(handle);
                    self.keep(
                        made.route,
                        Cached {
                            handle: Arc::clone(&handle),
                            made: now,
                        },
                    );
                    out.push(Resolved {
                        outcome: Ok(handle),
                        requests,
                    });
                }
                Err(error) => self.fail(made.route, requests, &error, now, out),
            }
        }
        self.start();
        if out.len() > before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn take_waiting(&mut self, route: Route) -> Vec<SendRequest> {
        let requests = self.waiting.remove(&route).unwrap_or_default();
        self.waiting_requests -= requests.len();
        requests
    }

    /// Records that a destination cannot be resolved and gives back what waits for any route to it that was not begun.
    fn fail(
        &mut self,
        route: Route,
        mut requests: Vec<SendRequest>,
        error: &io::Error,
        now: HostTime,
        out: &mut Vec<Resolved<R::Handle>>,
    ) {
        let code = code(error.raw_os_error().unwrap_or(libc::EIO));
        if self.young.contains_key(&route) || self.old.contains_key(&route) {
            // A renewal: the old handle stays.
            tracing::debug!(gid = %route.gid, %error, "address handle was not renewed");
        } else {
            self.pause(route.gid, code, now);
            let unreachable = |other: &Route| other.gid == route.gid;
            let mut dropped: Vec<Route> = Vec::new();
            for queue in [&mut self.queue, &mut self.queue_low] {
                dropped.extend(queue.iter().copied().filter(|other| unreachable(other)));
                queue.retain(|other| !unreachable(other));
            }
            for other in dropped {
                requests.extend(self.take_waiting(other));
            }
            tracing::warn!(
                gid = %route.gid, %error, requests = requests.len(),
                "no address handle: the destination's neighbour does not answer or there is no route"
            );
        }
        out.push(Resolved {
            outcome: Err(code),
            requests,
        });
    }

    fn pause(&mut self, gid: Gid, code: u32, now: HostTime) {
        if self.failures.len() >= MAX_FAILURES {
            self.failures.retain(|_, failure| now < failure.until);
        }
        if self.failures.len() >= MAX_FAILURES {
            self.failures.clear();
        }
        let pause = self.failures.get(&gid).map_or(FIRST_PAUSE, |failure| {
            (failure.pause * 2).min(LONGEST_PAUSE)
        });
        self.failures.insert(
            gid,
            Failure {
                code,
                pause,
                until: now.after(pause),
            },
        );
    }
}

fn code(errno: i32) -> u32 {
    errno.unsigned_abs()
}

#[cfg(test)]
mod tests;
