use std::sync::atomic::{AtomicUsize, Ordering};

use super::keep::TrendKeeper;
use super::*;
use crate::analysis::trend::{Gathered, Kind};
use crate::analysis::windows::Sums;
use crate::store::Location;
use crate::store::open::Stores;
use crate::store::trends::{Block, Place};
use crate::time::SystemClock;

const MINUTE: i64 = 60_000_000_000;

const fn at(minutes: i64) -> WallTime {
    WallTime::from_nanos(minutes * MINUTE)
}

fn range(from: i64, to: i64) -> Range {
    Range {
        from: at(from),
        to: at(to),
    }
}

fn point(sent: u64, lost: u64, rtt: i64) -> Point {
    let mut sums = Sums {
        sent,
        lost,
        ..Sums::default()
    };
    for _ in lost..sent {
        sums.network_rtt.add(Nanos(rtt));
    }
    Point::from(&sums)
}

#[test]
fn a_range_is_shown_in_the_shortest_step_that_is_kept_and_not_too_long() {
    let week = Duration::from_hours(8 * 24);
    let now = 20_000;
    let step = |from: i64, to: i64| step_for(range(from, to), at(now), week).minutes();
    assert_eq!(step(now - 60, now), 1);
    assert_eq!(step(now - 360, now), 1);
    assert_eq!(step(now - 361, now), 10, "longer");
    assert_eq!(step(now - 600, now - 540), 10, "minutes are gone");
    assert_eq!(step(now - 48 * 60, now), 10);
    assert_eq!(step(now - 49 * 60, now), 60);
    assert_eq!(step(now - 72 * 60, now - 71 * 60), 60);
    assert_eq!(step(now, now + 60), 1, "the future");
}

/// Minutes in, hours out, across restarts; nothing is counted twice.
#[tokio::test]
async fn minutes_become_hours_and_a_restart_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::File(folder.path().join("analyzer.db"));
    let retention = Duration::from_hours(100);
    let series = Series::new(Kind::TorPair, "tor0", "tor1");
    let gathered = |lost| {
        let mut gathered = Gathered::default();
        gathered.add(&series, &point(100, lost, 10_000));
        gathered.add(
            &Series::new(Kind::Service, "train", ""),
            &point(1, 0, 10_000),
        );
        gathered
    };
    // Two hours and a bit; the analyzer was away from minute 55 to 65.
    let stores = Stores::open(&location).await.expect("stores");
    let mut keeper = TrendKeeper::new(Arc::clone(&stores.trends), retention);
    for minute in 0..55 {
        keeper.keep(at(minute), gathered(1)).await;
    }
    let mut keeper = TrendKeeper::new(Arc::clone(&stores.trends), retention);
    for minute in 65..125 {
        keeper.keep(at(minute), gathered(2)).await;
    }
    let reader = TrendReader {
        store: Arc::clone(&stores.trends),
        clock: Arc::new(SystemClock),
        retention,
    };
    let counts = |values: &Values| -> Vec<Option<(u64, u64)>> {
        values
            .iter()
            .map(|(_, point)| point.as_ref().map(|point| (point.sent, point.lost)))
            .collect()
    };
    let hours = reader.read(&series, Step::Hour, range(0, 180)).await;
    let hours = hours.expect("readable");
    assert_eq!(
        counts(&hours),
        [Some((5_500, 55)), Some((5_500, 110)), None]
    );
    let tens = reader.read(&series, Step::TenMinutes, range(40, 80)).await;
    assert_eq!(
        counts(&tens.expect("readable")),
        [
            Some((1_000, 10)),
            Some((500, 5)),
            Some((500, 10)),
            Some((1_000, 20))
        ]
    );
    let minutes = reader.read(&series, Step::Minute, range(53, 67)).await;
    let minutes = counts(&minutes.expect("readable"));
    assert_eq!(minutes.iter().filter(|point| point.is_some()).count(), 4);
    let p99 = hours[0].1.as_ref().and_then(|point| point.quantile(0.99));
    let p99 = p99.expect("round trips").0;
    assert!((9_375..=10_625).contains(&p99), "{p99}");
    let service = Series::new(Kind::Service, "train", "");
    let service = reader.read(&service, Step::Hour, range(0, 60)).await;
    assert_eq!(counts(&service.expect("readable")), [Some((55, 0))]);
    let unknown = Series::new(Kind::TorPair, "tor1", "tor0");
    let unknown = reader.read(&unknown, Step::Hour, range(0, 120)).await;
    assert_eq!(
        counts(&unknown.expect("readable")),
        [None, None],
        "the other direction is another series"
    );
    assert_eq!(reader.oldest().await.expect("readable"), Some(at(0)));
}

/// A store whose write number `fails` (from 0) fails.
struct FailsOnce {
    kept: Arc<dyn Trends>,
    fails: usize,
    writes: AtomicUsize,
}

#[tonic::async_trait]
impl Trends for FailsOnce {
    async fn put(
        &self,
        blocks: Vec<Block>,
        oldest: Vec<(Step, WallTime)>,
    ) -> Result<(), StoreError> {
        if self.writes.fetch_add(1, Ordering::Relaxed) == self.fails {
            let store = "test".to_owned();
            return Err(StoreError::Closed { store });
        }
        self.kept.put(blocks, oldest).await
    }

    async fn read(
        &self,
        step: Step,
        kind: Kind,
        bucket: u16,
        times: Vec<WallTime>,
    ) -> Result<Vec<(WallTime, Vec<u8>)>, StoreError> {
        self.kept.read(step, kind, bucket, times).await
    }

    async fn buckets(
        &self,
        step: Step,
        times: Vec<WallTime>,
    ) -> Result<Vec<(Kind, u16)>, StoreError> {
        self.kept.buckets(step, times).await
    }

    async fn bounds(&self, step: Step) -> Result<Option<(WallTime, WallTime)>, StoreError> {
        self.kept.bounds(step).await
    }

    async fn size(&self, step: Step) -> Result<(u64, u64), StoreError> {
        self.kept.size(step).await
    }
}

fn of_rnic(sent: u64) -> Gathered {
    let mut gathered = Gathered::default();
    gathered.add(
        &Series::new(Kind::Rnic, "host1", "mlx5_0"),
        &point(sent, 0, 1),
    );
    gathered
}

/// Keeps these minutes with a store whose write number `fails` fails; probes of each hour.
async fn hours_kept(minutes: impl Iterator<Item = i64>, fails: usize) -> Vec<Option<u64>> {
    let stores = Stores::open(&Location::Memory).await.expect("stores");
    let store = Arc::new(FailsOnce {
        kept: stores.trends,
        fails,
        writes: AtomicUsize::new(0),
    });
    let retention = Duration::from_hours(100);
    let mut keeper = TrendKeeper::new(Arc::<FailsOnce>::clone(&store), retention);
    for minute in minutes {
        keeper.keep(at(minute), of_rnic(1)).await;
    }
    let reader = TrendReader {
        store,
        clock: Arc::new(SystemClock),
        retention,
    };
    let series = Series::new(Kind::Rnic, "host1", "mlx5_0");
    let hours = reader.read(&series, Step::Hour, range(0, 180)).await;
    let hours = hours.expect("readable").into_iter();
    hours
        .map(|(_, point)| point.map(|point| point.sent))
        .collect()
}

/// Whichever write fails, at most the minute that it was for is missing in the hours.
#[tokio::test]
async fn a_store_that_fails_once_leaves_no_hole() {
    let mut lost = 0;
    for fails in 0..200 {
        let hours = hours_kept(0..75, fails).await;
        let sent = hours[0].unwrap_or_default();
        assert!(
            sent >= 59 && hours[1..] == [None, None],
            "write {fails}: {hours:?}"
        );
        lost += 60 - sent;
    }
    assert_eq!(lost, 60, "each minute of the hour once");
}

#[tokio::test]
async fn a_skipped_minute_leaves_no_hole() {
    let skipped = (0..190).filter(|minute| ![9, 59, 60, 119].contains(minute));
    assert_eq!(
        hours_kept(skipped, usize::MAX).await,
        [Some(58), Some(58), Some(60)]
    );
}

/// A block that is damaged is left out; those beside it are read, merged and deleted.
#[tokio::test]
async fn a_damaged_block_stops_nothing_but_itself() {
    let retention = Duration::from_hours(100);
    let stores = Stores::open(&Location::Memory).await.expect("stores");
    let mut keeper = TrendKeeper::new(Arc::clone(&stores.trends), retention);
    let series = Series::new(Kind::Rnic, "host1", "mlx5_0");
    for minute in 0..9 {
        keeper.keep(at(minute), of_rnic(100)).await;
    }
    let place = Place {
        step: Step::Minute,
        at: at(4),
        kind: series.kind,
        bucket: series.bucket(),
    };
    let damaged = vec![(place, vec![0xff; 9])];
    let stored = stores.trends.put(damaged, Vec::new()).await;
    stored.expect("stored");
    keeper.keep(at(9), of_rnic(100)).await;
    let reader = TrendReader {
        store: Arc::clone(&stores.trends),
        clock: Arc::new(SystemClock),
        retention,
    };
    let minutes = reader.read(&series, Step::Minute, range(3, 6)).await;
    let minutes = minutes.expect("readable").into_iter();
    let sent: Vec<_> = minutes
        .map(|(_, point)| point.map(|point| point.sent))
        .collect();
    assert_eq!(sent, [Some(100), None, Some(100)]);
    let tens = reader.read(&series, Step::TenMinutes, range(0, 10)).await;
    let tens = tens.expect("readable");
    let sent = tens[0].1.as_ref().map(|point| point.sent);
    assert_eq!(sent, Some(900), "all but the damaged minute");
    keeper.keep(at(369), of_rnic(100)).await;
    let bounds = stores.trends.bounds(Step::Minute).await.expect("readable");
    assert_eq!(
        bounds,
        Some((at(9), at(369))),
        "the damaged one is deleted, too"
    );
}

#[tokio::test]
async fn old_points_go() {
    let stores = Stores::open(&Location::Memory).await.expect("stores");
    let retention = Duration::from_hours(2);
    let mut keeper = TrendKeeper::new(Arc::clone(&stores.trends), retention);
    for hour in 0..5 {
        let mut gathered = Gathered::default();
        gathered.add(&Series::new(Kind::Rnic, "host1", "mlx5_0"), &point(1, 0, 1));
        keeper.keep(at(hour * 60 + 59), gathered).await;
    }
    let bounds = stores.trends.bounds(Step::Hour).await.expect("readable");
    assert_eq!(bounds, Some((at(3 * 60), at(4 * 60))));
    let bounds = stores.trends.bounds(Step::Minute).await.expect("readable");
    assert_eq!(bounds, Some((at(2 * 60 + 59), at(4 * 60 + 59))));
}
