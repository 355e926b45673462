//! Tells open pages that there is something new, by server-sent events.
//!
//! One task looks once in [`INTERVAL`] whether the incidents have changed or a slot has settled, and counts a tick then.
//! Viewers wait on a watch channel: one that is slow or sleeps misses ticks and sees the newest, nothing piles up for it.
//! Pages fetch themselves again after a tick; the [cache](super::cache) gives all viewers of a page the same rendering.
//! Cancelling is safe: the streams end with the stop token or with their viewer, whichever comes first.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::matrix::settled;
use crate::analysis::windows::Slot;
use crate::analyzer::view::{View, Views};
use crate::time::Clock;

/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(500);
/// Viewers at once; each has a connection and some kilobytes.
pub(super) const MOST_VIEWERS: usize = 1_024;
/// Comments in between keep proxies from closing the connection, and find viewers that have vanished.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Something new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tick {
    /// Counted since the start.
    pub(super) number: u64,
    /// Open incidents.
    pub(super) open: usize,
}

/// What open pages listen to.
#[derive(Debug, Clone)]
pub(super) struct Live {
    ticks: watch::Receiver<Tick>,
    places: Arc<Semaphore>,
    version: Arc<str>,
    stop: CancellationToken,
}

impl Live {
    /// What pages listen to, and the task that feeds it, which ends with `stop`.
    pub(super) fn new(
        views: Views,
        clock: Arc<dyn Clock>,
        version: &str,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, ticks) = watch::channel(Tick::default());
        let news = look(views, clock, sender, stop.clone());
        let live = Self {
            ticks,
            places: Arc::new(Semaphore::new(MOST_VIEWERS)),
            version: version.into(),
            stop,
        };
        (live, news)
    }

    /// The stream for one viewer; `None` when there are too many.
    pub(super) fn events(&self) -> Option<Response> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let viewer = Viewer {
            ticks: self.ticks.clone(),
            stop: self.stop.clone(),
            hello: Some(Arc::clone(&self.version)),
            _place: place,
        };
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
        Some(
            Sse::new(viewer.stream())
                .keep_alive(keep_alive)
                .into_response(),
        )
    }
}

struct Viewer {
    ticks: watch::Receiver<Tick>,
    stop: CancellationToken,
    hello: Option<Arc<str>>,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, |mut viewer| async move {
            if let Some(version) = viewer.hello.take() {
                // The version tells pages of an older program to load themselves anew.
                let event = Event::default()
                    .event("hello")
                    .data(&*version)
                    .retry(Duration::from_secs(2));
                return Some((Ok(event), viewer));
            }
            tokio::select! {
                () = viewer.stop.cancelled() => return None,
                changed = viewer.ticks.changed() => changed.ok()?,
            }
            let tick = *viewer.ticks.borrow_and_update();
            let data = serde_json::json!({ "tick": tick.number, "open": tick.open });
            let event = Event::default().event("tick").data(data.to_string());
            Some((Ok(event), viewer))
        })
    }
}

async fn look(
    views: Views,
    clock: Arc<dyn Clock>,
    ticks: watch::Sender<Tick>,
    stop: CancellationToken,
) {
    let mut seen = (settled(clock.wall()), mark(&views.get()));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let view = views.get();
        let now: (Slot, u64) = (settled(clock.wall()), mark(&view));
        if now != seen {
            seen = now;
            ticks.send_modify(|tick| {
                tick.number += 1;
                tick.open = view.open.len();
            });
        }
    }
}

/// Changes when an incident opens, closes, or is about something else.
fn mark(view: &View) -> u64 {
    let mut hasher = DefaultHasher::new();
    (view.runs > 0).hash(&mut hasher);
    for incident in &view.open {
        (
            incident.id,
            incident.severity,
            incident.category,
            &incident.subject,
        )
            .hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
