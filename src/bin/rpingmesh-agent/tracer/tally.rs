//! What came from the programs and what was lost, and when it is worth while to ask them.
//!
//! Asking takes `bpf` system calls, which do harm (see [`counter`](rpingmesh_ebpf_event::counter)): so it is done when an
//! event tells that something was counted, and once after the last event, for what no event can tell of any more.

use rpingmesh::service::trace::TracerCounters;
use rpingmesh_ebpf_event::QpEvent;

use super::attach::Counts;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Of programs that are gone.
    before: TracerCounters,
    counts: Counts,
    passed_over: u64,
    events: u64,
    undecodable: u64,
    /// The newest [`QpEvent::counted`], and the one that was the newest when the counters were read.
    counted: u32,
    known: u32,
    /// Whether there were events since the last look, since the counters were read.
    busy: bool,
    stale: bool,
}

impl Tally {
    /// An event was taken.
    pub(super) fn took(&mut self, event: &QpEvent) {
        self.events += 1;
        (self.busy, self.stale) = (true, true);
        // Those of other processors may come a little out of order.
        if is_ahead(event.counted, self.counted) {
            self.counted = event.counted;
        }
    }

    /// A record was no event; returns whether it was the first.
    pub(super) fn not_understood(&mut self) -> bool {
        self.undecodable += 1;
        self.undecodable == 1
    }

    /// A look, now and then: whether the programs should be asked.
    pub(super) fn look(&mut self) -> bool {
        let quiet = !std::mem::take(&mut self.busy);
        self.counted != self.known || (quiet && self.stale)
    }

    /// What the programs say that they counted since they were attached.
    pub(super) fn read(&mut self, counts: Counts) {
        self.counts = counts;
        self.known = self.counted;
        self.stale = false;
    }

    /// How often the kernel passed them over since then.
    pub(super) fn passed_over(&mut self, times: u64) {
        self.passed_over = times;
    }

    /// The programs are gone; others begin at 0.
    pub(super) fn detached(&mut self) {
        *self = Self {
            before: self.total(),
            ..Self::default()
        };
    }

    /// All of it but `reattached`.
    pub(super) fn total(&self) -> TracerCounters {
        let before = self.before;
        TracerCounters {
            events: before.events + self.events,
            ring_full: before.ring_full + self.counts.ring_full,
            calls_full: before.calls_full + self.counts.calls_full + self.passed_over,
            read_failed: before.read_failed + self.counts.read_failed,
            undecodable: before.undecodable + self.undecodable,
            reattached: 0,
        }
    }
}

/// Whether a counter that may wrap around went on from `than` to `this`.
const fn is_ahead(this: u32, than: u32) -> bool {
    matches!(this.wrapping_sub(than), 1..=0x7fff_ffff)
}

#[cfg(test)]
mod tests {
    use rpingmesh_ebpf_event::EventKind;

    use super::*;

    fn event(counted: u32) -> QpEvent {
        QpEvent {
            counted,
            ..QpEvent::empty(EventKind::Create)
        }
    }

    fn lost(ring_full: u64) -> Counts {
        Counts {
            ring_full,
            ..Counts::default()
        }
    }

    #[test]
    fn the_programs_are_asked_once_after_the_last_event_and_not_meanwhile() {
        let mut tally = Tally::default();
        assert!(!tally.look(), "there is nothing to ask for");
        for _ in 0..3 {
            tally.took(&event(0));
            assert!(!tally.look(), "more may come");
        }
        assert!(tally.look(), "it went quiet");
        tally.read(Counts::default());
        assert!(!tally.look(), "nothing is new");
        assert_eq!(tally.total().events, 3);
    }

    #[test]
    fn they_are_asked_at_once_when_an_event_tells_of_a_loss() {
        let mut tally = Tally::default();
        tally.took(&event(2));
        tally.took(&event(1));
        assert!(tally.look());
        tally.read(lost(2));
        assert_eq!(tally.total().ring_full, 2);
        tally.took(&event(2));
        assert!(!tally.look(), "that is known");
        tally.took(&event(3));
        assert!(tally.look());
    }

    #[test]
    fn what_events_tell_may_wrap_around() {
        let mut tally = Tally {
            counted: u32::MAX,
            known: u32::MAX,
            ..Tally::default()
        };
        tally.took(&event(0));
        assert!(tally.look());
        tally.read(lost(1));
        tally.took(&event(u32::MAX));
        assert!(!tally.look(), "that is an older one");
    }

    #[test]
    fn what_programs_counted_stays_when_they_are_gone() {
        let mut tally = Tally::default();
        tally.took(&event(1));
        tally.read(lost(1));
        tally.passed_over(4);
        assert!(tally.not_understood());
        assert!(!tally.not_understood());
        let total = tally.total();
        assert_eq!(total.lost(), 1 + 4 + 2);
        tally.detached();
        assert_eq!(tally.total(), total);
        assert!(!tally.look());
        tally.took(&event(0));
        tally.read(lost(1));
        assert_eq!(tally.total().ring_full, 2);
        assert_eq!(tally.total().events, 2);
    }
}
