use super::keep::TrendKeeper;
use super::*;
use crate::analysis::trend::{Gathered, Kind};
use crate::analysis::windows::Sums;
use crate::store::Location;
use crate::store::open::Stores;
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
