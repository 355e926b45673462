//! What is kept of a host: when its agent uploaded, and in which slots it was starved of CPU.

use std::time::Duration;

use super::slots::SlotSet;
use crate::analysis::windows::Slot;
use crate::id::HostName;
use crate::time::{Nanos, WallTime};

/// An agent is silent after so long without an upload, at the least.
pub const SILENT: Duration = Duration::from_secs(3);
/// Or after so many of its usual intervals.
const SILENT_INTERVALS: u32 = 3;
/// Bounds of what counts as the interval of an agent's uploads.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(200);
pub(super) const MAX_INTERVAL: Duration = Duration::from_secs(10);

/// How often agents upload unless they are told otherwise.
const USUAL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a batch may take to arrive.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// Whether an agent uploads on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// It uploads.
    Current,
    /// Its upload is due, but not for long.
    Overdue,
    /// It has not uploaded for this long.
    Silent(Duration),
}

/// What is kept of a host.
#[derive(Debug)]
pub(super) struct Host {
    /// End of its last interval, by its own clock.
    pub(super) last_end: WallTime,
    /// When that came.
    pub(super) received: WallTime,
    /// When its agent said that it stops, until it uploads again.
    pub(super) stopped: Option<WallTime>,
    /// How long its intervals are.
    pub(super) interval: Duration,
    /// Slots in which it uploaded nothing, and in which others still report what it missed then.
    pub(super) silent: SlotSet,
    pub(super) slow_to_answer: SlotSet,
    /// Who said last that it is slow to answer, and of which slot.
    pub(super) accuser: Option<(Slot, HostName)>,
    pub(super) slow_to_probe: SlotSet,
}

impl Host {
    /// Another host's agent saw it answer late. One alone is not believed: it could have whatever is probed there set aside.
    pub(super) fn accuse(&mut self, by: &HostName, slot: Slot) {
        if let Some((last, other)) = &self.accuser
            && other != by
            && (*last == slot || last.before(1) == slot || slot.before(1) == *last)
        {
            self.slow_to_answer.insert(*last);
            self.slow_to_answer.insert(slot);
        }
        self.accuser = Some((slot, by.clone()));
    }

    /// It is silent after so long without an upload.
    pub(super) fn silent_after(&self) -> Duration {
        SILENT.max(self.interval * SILENT_INTERVALS)
    }

    /// One that has been silent since then, of which nothing else is known. It is kept as if it were heard of a moment ago.
    pub(super) fn silent_since(since: WallTime, now: WallTime) -> Self {
        let silence = Nanos::from(SILENT + Duration::from_millis(1));
        Self {
            last_end: since,
            received: now + (Nanos::ZERO - silence),
            stopped: None,
            interval: USUAL_INTERVAL,
            silent: SlotSet::default(),
            slow_to_answer: SlotSet::default(),
            accuser: None,
            slow_to_probe: SlotSet::default(),
        }
    }

    /// Whether its agent was silent at `time`, when the last uploads could arrive.
    pub(super) fn was_silent(&self, time: WallTime) -> bool {
        time.since(self.last_end) > self.silent_after() + UNDER_WAY
    }

    /// Its upload cannot arrive at the moment: it counts as due for a little, and not as silent. Nor does it become silent before this is
    /// said again.
    pub(super) fn wait_for(&mut self, now: WallTime) {
        if self.stopped.is_none() && self.upload_state(now) != UploadState::Current {
            let due = self.interval * 3 / 2 + Duration::from_millis(201);
            self.received = now + (Nanos::ZERO - Nanos::from(due));
        }
    }

    /// Whether its agent uploads on time.
    pub(super) fn upload_state(&self, now: WallTime) -> UploadState {
        let since = now.since(self.received);
        if since > self.silent_after() || self.stopped.is_some() {
            UploadState::Silent(since)
        } else if since > self.interval * 3 / 2 + Duration::from_millis(200) {
            UploadState::Overdue
        } else {
            UploadState::Current
        }
    }
}
