//! Whether this program has reached the server for long enough to call others silent.

use std::time::Duration;

use tokio::time::Instant;

/// Between two answers: after a longer pause the others may not have been able to renew their rows either.
const BREAK: Duration = Duration::from_secs(1);

/// Since when the server has answered without a break.
#[derive(Debug)]
pub(super) struct Reach {
    since: Option<Instant>,
    last: Option<Instant>,
    /// How long that must be.
    sure: Duration,
}

impl Reach {
    /// Of one who may give others up when it has lasted for so long.
    pub(super) const fn new(sure: Duration) -> Self {
        Self {
            since: None,
            last: None,
            sure,
        }
    }

    pub(super) fn answered(&mut self, now: Instant) {
        let last = self.last.replace(now);
        if last.is_none_or(|last| now - last > BREAK) {
            self.since = Some(now);
        }
    }

    pub(super) fn failed(&mut self) {
        *self = Self::new(self.sure);
    }

    /// Whether a controller that did not renew its row meanwhile could have done so.
    pub(super) fn is_sure(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now - since >= self.sure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURE: Duration = Duration::from_secs(6);

    /// A place in time after the same begin.
    fn at(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn a_server_that_stalled_makes_nobody_sure_that_others_are_silent() {
        let (begin, mut reach) = (Instant::now(), Reach::new(SURE));
        assert!(!reach.is_sure(begin));
        for millis in (0..=6_000).step_by(250) {
            assert!(!reach.is_sure(at(begin, millis)) || millis == 6_000);
            reach.answered(at(begin, millis));
        }
        assert!(reach.is_sure(at(begin, 6_000)));
        // The answer that was under way comes 4 s later, as those of the others do.
        reach.answered(at(begin, 10_000));
        assert!(!reach.is_sure(at(begin, 10_000)));
        for millis in (10_250..=16_000).step_by(250) {
            reach.answered(at(begin, millis));
        }
        assert!(!reach.is_sure(at(begin, 15_999)));
        assert!(reach.is_sure(at(begin, 16_000)));
        reach.failed();
        assert!(!reach.is_sure(at(begin, 16_000)));
    }
}
