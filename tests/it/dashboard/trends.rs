//! Charts over days: ranges, zoom, what is not kept, and the same as JSON.

use std::path::Path;

use rpingmesh::analysis::sketch::Sketch;
use rpingmesh::analysis::trend::block::{Points, encode};
use rpingmesh::analysis::trend::{Kind, Point, Series, Step};
use rpingmesh::analysis::windows::Sums;
use rpingmesh::store::Location;
use rpingmesh::store::open::Stores;
use rpingmesh::store::trends::{Block, Place};
use rpingmesh::time::{Nanos, WallTime};

use super::{browse, links};
use crate::analyzer::harness::{Incarnation, START, clock};

const MINUTE: i64 = 60_000_000_000;

fn point(sent: u64, lost: u64, rtt: i64) -> Point {
    let mut network_rtt = Sketch::default();
    for _ in lost..sent {
        network_rtt.add(Nanos(rtt));
    }
    Point::from(&Sums {
        sent,
        lost,
        network_rtt,
        ..Sums::default()
    })
}

fn block(series: &Series, step: Step, minutes_ago: i64, point: Point) -> Block {
    let names = (series.first.clone(), series.second.clone());
    let place = Place {
        step,
        at: WallTime::from_nanos(START - minutes_ago * MINUTE),
        kind: series.kind,
        bucket: series.bucket(),
    };
    (place, encode(&Points::from([(names, point)])))
}

/// An hour of minutes with round trips of 20 µs and a loss of 1 %, and the same hour a week before with 10 µs.
fn prepare(folder: &Path) {
    let pair = Series::new(Kind::TorPair, "tor0", "tor<1>");
    let rnic = Series::new(Kind::Rnic, "host1", "mlx5_0");
    let mut blocks: Vec<_> = (1..=60)
        .map(|ago| block(&pair, Step::Minute, ago, point(100, 1, 20_000)))
        .collect();
    let week = 7 * 24 * 60;
    blocks.push(block(&pair, Step::Hour, week + 60, point(6_000, 0, 10_000)));
    let at_rnic = Point {
        prober_delay: point(1, 0, 31_500).rtt,
        responder_delay: point(1, 0, 75_000).rtt,
        ..point(10, 0, 5_000)
    };
    blocks.push(block(&rnic, Step::TenMinutes, 600, at_rnic));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let location = Location::File(folder.join("analyzer.db"));
        let stores = Stores::open(&location).await.expect("a new database");
        stores.trends.put(blocks, Vec::new()).await.expect("stored");
    });
}

#[test]
fn an_rnic_has_charts_of_its_delays() {
    let folder = tempfile::tempdir().expect("folder");
    prepare(folder.path());
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let web = analyzer.web();
        let page = browse(web, "/trend/rnic/host1/mlx5_0?last=1d", "")
            .await
            .body;
        assert!(
            page.contains("in steps of 10 minutes") && page.contains("1 steps"),
            "{page}"
        );
        assert!(
            page.contains("Nothing is kept of the same time a week before."),
            "{page}"
        );
        assert_eq!(
            page.matches("<path class=\"p99\" d=\"M").count(),
            3,
            "{page}"
        );
        assert!(
            page.contains("Prober delay from") && page.contains("Responder delay from"),
            "{page}"
        );
        let (from, to) = (START - 601 * MINUTE, START - 590 * MINUTE);
        let query = format!(
            "kind=rnic&first=host1&second=mlx5_0&step=10min&from_unix_ns={from}&to_unix_ns={to}"
        );
        let answer = browse(web, &format!("/api/v1/trends?{query}"), "").await;
        let answer: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        let point = &answer["series"][0]["points"][0];
        let micros = |name: &str| point[name].as_i64().map(|nanos| nanos / 10_000);
        assert_eq!(
            [
                "prober_delay_p50_ns",
                "prober_delay_p99_ns",
                "responder_delay_p50_ns",
                "responder_delay_p99_ns"
            ]
            .map(micros),
            [Some(3), Some(3), Some(7), Some(7)],
            "{answer}"
        );
    });
}

#[test]
fn a_chart_shows_a_range_and_the_week_before() {
    let folder = tempfile::tempdir().expect("folder");
    prepare(folder.path());
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let web = analyzer.web();
        let page = browse(web, "/trend/tor/tor0/tor%3C1%3E?last=1h", "").await;
        assert_eq!(page.status, 200, "{}", page.body);
        let page = page.body;
        assert!(page.len() < 500_000, "{} bytes", page.len());
        assert!(
            page.contains("60 of 6\u{202f}000 probes") && page.contains("1.0 %"),
            "{page}"
        );
        assert!(
            page.contains("p99 is 2.0 times that of the same time a week before"),
            "{page}"
        );
        assert_eq!(page.matches("<svg class=\"chart\"").count(), 2, "{page}");
        for class in ["p99", "p50", "before", "loss"] {
            assert!(
                page.contains(&format!("<path class=\"{class}\" d=\"M")),
                "{class}: {page}"
            );
        }
        assert!(
            page.contains("minute by minute") && page.contains("60 steps"),
            "{page}"
        );
        assert!(
            !page.contains("tor<1>") && !page.contains(" style="),
            "{page}"
        );
        // Every way out of it leads somewhere.
        let found = links(&page);
        let zooms = found
            .iter()
            .filter(|link| link.starts_with("/trend/") && link.contains("from="));
        let zooms: Vec<_> = zooms.collect();
        assert!(zooms.len() >= 14, "twelve parts, earlier, zoom: {zooms:?}");
        for link in &zooms {
            assert_eq!(browse(web, link, "").await.status, 200, "{link}");
        }
        // Known, but nothing in this range.
        let page = browse(web, "/trend/rnic/host1/mlx5_0?last=1h", "").await;
        assert_eq!(page.status, 200, "{}", page.body);
        assert!(
            page.body.contains("Nothing is kept of this range."),
            "{}",
            page.body
        );
        let answer = browse(
            web,
            "/api/v1/trends?kind=tor&first=tor0&second=tor%3C1%3E",
            "",
        )
        .await;
        let answer: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        let points = answer["series"][0]["points"].as_array().expect("points");
        assert_eq!(
            (points.len(), &points[0]["sent"], &points[0]["lost"]),
            (60, &100.into(), &1.into())
        );
        let p99 = points[0]["rtt_p99_ns"].as_i64().expect("a number");
        assert!((18_750..=21_250).contains(&p99), "{p99}");
        // All series, bucket by bucket.
        let mut all = 0;
        for bucket in 0..256 {
            let answer = browse(web, &format!("/api/v1/trends?kind=tor&bucket={bucket}"), "").await;
            let answer: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
            all += answer["series"].as_array().expect("a list").len();
            assert_eq!(answer["next_bucket"].is_null(), bucket == 255);
        }
        assert_eq!(all, 1);
    });
}

#[test]
fn ranges_that_are_malformed_or_before_the_history_and_unknown_names_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    prepare(folder.path());
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let web = analyzer.web();
        for (query, said) in [
            ("last=9h", "`last` must be"),
            ("last=1h&from=1", "do not combine"),
            ("from=1800000000&to=1700000000", "`from` must be"),
            ("from=soon", "`from` must be"),
            ("to=%3Cscript%3Ealert(1)%3C%2Fscript%3E", "`to` must be"),
            ("from=0", "16 days"),
            ("colour=red", "`colour` is unknown"),
        ] {
            let answer = browse(web, &format!("/trend/tor/tor0/tor%3C1%3E?{query}"), "").await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.body);
            let text = answer.body.replace("&#60;", "<").replace("&#39;", "'");
            assert!(text.contains(said), "{query}: {text}");
            assert!(!answer.body.contains("<script>alert"), "{query}");
        }
        for path in [
            "/trend/tor/tor0/tor%3C1%3E?from=1700000000&to=1700003600",
            "/trend/tor/tor0/nowhere",
            "/trend/tor/tor0",
            "/trend/service/a/b",
            "/trend/beauty/a/b",
            "/trend/link/a%00/%F0%9F%92%A5",
        ] {
            let answer = browse(web, path, "").await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        }
        let answer = browse(
            web,
            "/trend/tor/tor0/tor%3C1%3E?from=1700000000&to=1700003600",
            "",
        )
        .await;
        assert!(
            answer.body.contains("before the history begins"),
            "{}",
            answer.body
        );
        for query in [
            "",
            "?kind=beauty",
            "?kind=tor&second=a",
            "?kind=tor&first=a",
            "?kind=tor&first=a&bucket=1",
            "?kind=tor&bucket=256",
            "?kind=tor&from_unix_ns=0",
            "?kind=tor&step=1min&from_unix_ns=5&to_unix_ns=4",
        ] {
            let answer = browse(web, &format!("/api/v1/trends{query}"), "").await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        }
    });
}
