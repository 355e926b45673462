//! A look at every path in portions of [`PORTION`], between which the state thread takes batches.

use std::ops::Range;

use crate::analysis::windows::{PathView, Slot, WindowLength};
use crate::analyzer::state::{State, StateHandle};

/// Places of paths that are looked at once: a few milliseconds of the state thread.
const PORTION: usize = 8_192;

/// Hands every path to `visit`, with the slots of a window that ends now; `None` when the analyzer ends.
pub(super) async fn scan<C: Send + 'static>(
    state: &StateHandle,
    window: WindowLength,
    collector: C,
    visit: impl Fn(&mut C, &State, PathView<'_>, &Range<Slot>) + Copy + Send + 'static,
) -> Option<C> {
    let mut collector = collector;
    let mut slots = None;
    let mut next = 0;
    loop {
        let (back, used, more) = state
            .read(move |state, now| {
                let slots = slots.unwrap_or_else(|| state.windows.slots(window, now));
                let end = next + PORTION;
                for path in state.windows.paths_in(next..end) {
                    visit(&mut collector, state, path, &slots);
                }
                (collector, slots, end < state.windows.places())
            })
            .await?;
        if !more {
            return Some(back);
        }
        (collector, slots, next) = (back, Some(used), next + PORTION);
    }
}
