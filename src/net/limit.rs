//! A bound on log lines that peers can provoke.

use std::time::Duration;

use crate::time::HostTime;

/// Lets a number of lines through per window and counts the others.
#[derive(Debug)]
pub(crate) struct LogLimit {
    lines: u32,
    window: Duration,
    started: Option<HostTime>,
    used: u32,
    suppressed: u64,
}

impl LogLimit {
    /// At most `lines` per `window`.
    pub(crate) const fn new(lines: u32, window: Duration) -> Self {
        Self {
            lines,
            window,
            started: None,
            used: 0,
            suppressed: 0,
        }
    }

    /// Whether a line may be written now; then with the number of lines left out since the last one.
    pub(crate) fn admit(&mut self, now: HostTime) -> Option<u64> {
        if self
            .started
            .is_none_or(|started| now.since(started) >= self.window)
        {
            self.started = Some(now);
            self.used = 0;
        }
        if self.used >= self.lines {
            self.suppressed += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted() {
        let mut limit = LogLimit::new(2, Duration::from_secs(1));
        let at = |millis: i64| HostTime::from_nanos(millis * 1_000_000);
        assert_eq!(limit.admit(at(0)), Some(0));
        assert_eq!(limit.admit(at(1)), Some(0));
        assert_eq!(limit.admit(at(2)), None);
        assert_eq!(limit.admit(at(3)), None);
        assert_eq!(limit.admit(at(1000)), Some(2));
    }
}
