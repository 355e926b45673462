//! Looks at everything that the state thread knows, in portions of [`PORTION`], between which the thread takes batches.
//!
//! However many viewers there are, one look is under way at a time: the others wait. After each portion there is a break
//! [`BREAKS`] times as long, so that looks never take more than a fifth of the state thread.

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::analysis::windows::{PathView, Slot, WindowLength};
use crate::analyzer::state::{State, StateHandle};
use crate::time::{Clock, WallTime};

/// Places that are looked at once: a few milliseconds of the state thread.
const PORTION: usize = 8_192;
/// Breaks are so many times as long as the portion before.
const BREAKS: u32 = 4;

/// Looks, one at a time.
pub(super) struct Scanner {
    state: StateHandle,
    clock: Arc<dyn Clock>,
    turn: Semaphore,
}

impl Scanner {
    pub(super) fn new(state: StateHandle, clock: Arc<dyn Clock>) -> Self {
        Self {
            state,
            clock,
            turn: Semaphore::new(1),
        }
    }

    /// Hands every path to `visit`, with the slots of a window that ends now; `None` when the analyzer ends.
    pub(super) async fn paths<C: Send + 'static>(
        &self,
        window: WindowLength,
        collector: C,
        visit: impl Fn(&mut C, &State, PathView<'_>, &Range<Slot>) + Copy + Send + 'static,
    ) -> Option<C> {
        let take = move |(collector, slots): &mut (C, Option<Range<Slot>>),
                         state: &State,
                         now: WallTime,
                         places: Range<usize>| {
            let slots = slots.get_or_insert_with(|| state.windows.slots(window, now));
            let end = places.end;
            for path in state.windows.paths_in(places) {
                visit(collector, state, path, slots);
            }
            end < state.windows.places()
        };
        let (collector, _) = self.portions((collector, None), take).await?;
        Some(collector)
    }

    /// Calls `take` with one portion of places after the other, as long as it says that there are more; `None` when the
    /// analyzer ends.
    pub(super) async fn portions<C: Send + 'static>(
        &self,
        mut collector: C,
        take: impl Fn(&mut C, &State, WallTime, Range<usize>) -> bool + Copy + Send + 'static,
    ) -> Option<C> {
        let _turn = self.turn.acquire().await.ok()?;
        let mut next = 0;
        loop {
            let clock = Arc::clone(&self.clock);
            let (back, more, took) = self
                .state
                .read(move |state, now| {
                    let began = clock.host();
                    let more = take(&mut collector, state, now, next..next + PORTION);
                    (collector, more, clock.host().since(began))
                })
                .await?;
            if !more {
                return Some(back);
            }
            collector = back;
            next += PORTION;
            tokio::time::sleep(took * BREAKS).await;
        }
    }
}
