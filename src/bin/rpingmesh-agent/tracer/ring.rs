//! The ring buffer through which the programs hand over their events.

use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use rpingmesh::error::describe;
use rpingmesh_ebpf_event::QpEvent;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::tally::Tally;

/// Takes up to `most` events out of the ring; counts what is none.
pub(super) fn drain(
    ring: &mut RingBuf<MapData>,
    most: usize,
    tally: &mut Tally,
    mut take: impl FnMut(QpEvent),
) {
    let mut taken = 0;
    while taken < most
        && let Some(record) = ring.next()
    {
        taken += 1;
        match QpEvent::decode(&record) {
            Ok(event) => {
                tally.took(&event);
                take(event);
            }
            Err(error) => {
                if tally.not_understood() {
                    tracing::warn!(
                        error = describe(&error),
                        "an event is not understood; more are only counted"
                    );
                }
            }
        }
    }
}

/// Until there is an event, but no longer than `most`.
pub(super) fn wait(ring: &RingBuf<MapData>, most: Duration) {
    let timeout = Timespec::try_from(most).unwrap_or_default();
    let mut fds = [PollFd::new(ring, PollFlags::IN)];
    // A signal ends it early, which does no harm; nothing else can go wrong with an fd of our own.
    if let Err(error) = poll(&mut fds, Some(&timeout)) {
        tracing::trace!(%error, "poll");
    }
}
