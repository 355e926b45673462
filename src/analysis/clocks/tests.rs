use super::*;

const SECOND: i64 = 1_000_000_000;

/// Batches that are cut every half second by a clock that is `ahead`, and arrive `late` after they were cut.
struct Agent {
    clocks: Clocks,
    now: i64,
}

impl Agent {
    fn new() -> Self {
        Self {
            clocks: Clocks::new(Duration::from_secs(10)),
            now: 1_800_000_000 * SECOND,
        }
    }

    fn send(&mut self, batches: u32, ahead: i64) -> Vec<i64> {
        (0..batches)
            .map(|_| {
                self.now += SECOND / 2;
                self.arrive(self.now + ahead * SECOND)
            })
            .collect()
    }

    fn arrive(&mut self, end: i64) -> i64 {
        let interval = WallTime::from_nanos(end - SECOND / 2)..WallTime::from_nanos(end);
        let now = WallTime::from_nanos(self.now);
        self.clocks.observe(&AgentId::new("a"), &interval, now).0 / SECOND
    }
}

#[test]
fn a_clock_that_is_ahead_is_known_from_its_first_batch() {
    let mut agent = Agent::new();
    assert_eq!(agent.send(2, 3_600), [3_600, 3_600]);
    assert_eq!(agent.send(2, 0), [0, 0], "set right, it is right at once");
}

#[test]
fn a_clock_that_is_behind_is_known_after_some_batches_that_agree() {
    let mut agent = Agent::new();
    let known = agent.send(12, -3_600);
    assert_eq!(known[..10], [0; 10]);
    assert_eq!(known[10..], [-3_600; 2]);
    assert_eq!(agent.send(1, 0), [0]);
}

#[test]
fn a_clock_that_jumps_from_ahead_to_behind_is_followed() {
    let mut agent = Agent::new();
    assert_eq!(agent.send(1, 3_600), [3_600]);
    let after = agent.send(12, -3_600);
    assert_eq!(after.first(), Some(&0), "not moved by the old estimate");
    assert_eq!(after.last(), Some(&-3_600));
}

#[test]
fn a_spool_that_drains_is_no_wrong_clock() {
    let mut agent = Agent::new();
    // Cut off for ten minutes; 40 batches of 15 s each arrive every half second.
    let cut = agent.now;
    for batch in 0..40 {
        agent.now += SECOND / 2;
        let end = cut - 600 * SECOND + batch * 15 * SECOND;
        assert_eq!(agent.arrive(end), 0, "batch {batch}");
    }
}

#[test]
fn results_are_corrected_up_to_a_bound() {
    assert!(is_corrected(Nanos(-3_600 * SECOND)));
    assert!(is_corrected(MOST_CORRECTED));
    assert!(!is_corrected(Nanos(86_400 * SECOND)));
    assert!(!is_corrected(Nanos(i64::MIN)));
}

/// Batches of half a second that are sent all at once, or with the pace of a slow link.
#[test]
fn a_spool_that_drains_fast_is_no_wrong_clock_either() {
    for pace in [0, SECOND / 100, SECOND / 4] {
        let mut agent = Agent::new();
        let cut = agent.now;
        for batch in 0..200 {
            agent.now += pace;
            let end = cut - 60 * SECOND - 100 * SECOND + batch * SECOND / 2;
            assert_eq!(agent.arrive(end), 0, "pace {pace}, batch {batch}");
        }
    }
}
