//! The dashboard at a time of the past: every page says what of it is kept, and links stay at that time.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rpingmesh::analysis::incident::{Incident, Severity, Subjects};
use rpingmesh::analysis::judge::Category;
use rpingmesh::analysis::localize::Component;
use rpingmesh::store::Location;
use rpingmesh::store::open::Stores;
use rpingmesh::time::{Clock, HostTime, SystemClock, WallTime};

use super::{browse, filled, links};
use crate::analyzer::harness::{Incarnation, START};

const SECOND: i64 = 1_000_000_000;
const PATIENCE: Duration = Duration::from_mins(1);

/// A wall clock that stands still until it is moved.
struct Moved(AtomicI64);

impl Clock for Moved {
    fn host(&self) -> HostTime {
        SystemClock.host()
    }

    fn wall(&self) -> WallTime {
        WallTime::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// An incident that was open from second 20 to second 70, and a picture of an hour before as older versions kept it.
fn prepare(folder: &Path) {
    let location = Location::File(folder.join("analyzer.db"));
    let incident = Incident {
        id: 1,
        subject: Component::Switch {
            name: "tor1".to_owned(),
        },
        both_directions: false,
        or: Vec::new(),
        deciding: false,
        category: Category::SwitchLoss,
        severity: Severity::P1,
        opened_unix_ns: START + 20 * SECOND,
        seen_unix_ns: START + 60 * SECOND,
        closed_unix_ns: Some(START + 70 * SECOND),
        confidence: 0.99,
        share: 0.1,
        sent: 100,
        lost: 10,
        services: [("train & <b>serve</b>".to_owned(), false)].into(),
        perhaps: std::collections::BTreeMap::new(),
        evidence: vec!["why".to_owned()],
        openings: 1,
        interval: None,
        explains: Vec::new(),
        subjects: Subjects::default(),
        cause: None,
    };
    let old = br#"{"start":1,"end":2,"tors":["tor0","tor1"],"cells":[[0,1,30,3,[10000,null,null,null]]]}"#;
    let hour_ago = WallTime::from_nanos(START - 3_600 * SECOND);
    let oldest = WallTime::from_nanos(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stores = Stores::open(&location).await.expect("a new database");
        stores.incidents.put(vec![incident]).await.expect("stored");
        let picture = (hour_ago, old.to_vec());
        stores.history.put(picture, oldest).await.expect("stored");
    });
}

#[test]
fn links_stay_at_their_time_and_pages_say_what_is_kept_of_it() {
    let folder = tempfile::tempdir().expect("folder");
    prepare(folder.path());
    // Just before a minute is over.
    let clock = Arc::new(Moved(AtomicI64::new(START + 59_900_000_000)));
    let analyzer = Incarnation::start(folder.path(), clock.clone());
    let then = START / SECOND + 60;
    let at = format!("at={then}");
    analyzer.run(async {
        filled(&analyzer).await;
        clock.0.store(START + 64 * SECOND, Ordering::Relaxed);
        let kept = async {
            loop {
                let page = browse(analyzer.web(), &format!("/?{at}"), "").await.body;
                if page.contains("Measured from ") {
                    break page;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let overview = tokio::time::timeout(PATIENCE, kept)
            .await
            .expect("a picture");
        clock.0.store(START + 200 * SECOND, Ordering::Relaxed);
        assert!(overview.contains("1 incident was open"), "{overview}");

        let mut queue = VecDeque::from([format!("/?{at}")]);
        let mut seen = BTreeSet::new();
        let mut kinds = BTreeSet::new();
        while let Some(path) = queue.pop_front() {
            if !seen.insert(path.clone()) {
                continue;
            }
            let answer = browse(analyzer.web(), &path, "").await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            let kind = path.split(['?', '/']).nth(1).unwrap_or_default().to_owned();
            let body = answer.body;
            assert!(
                body.contains("This was 2027-01-15 08:01:00 UTC."),
                "{path}: {body}"
            );
            assert!(body.contains("data-live=\"no\""), "{path}");
            assert!(!body.contains("<b>serve"), "{path}");
            let found = links(&body);
            for page in ["/", "/fabric", "/incidents", "/services", "/agents"] {
                assert!(
                    found.contains(&format!("{page}?{at}")),
                    "{path} has no {page} of this time"
                );
            }
            let expected = match kind.as_str() {
                "tor" | "path" => "Paths that lost probes",
                "agents" => "Nothing of agents is kept of the past",
                "fabric" => "their past is not kept",
                "host" => "measured is not kept",
                "incidents" => "known now",
                _ => "Measured from 2027-01-15 08:00:00 to 2027-01-15 08:01:00 UTC.",
            };
            assert!(body.contains(expected), "{path}: {body}");
            kinds.insert(kind);
            queue.extend(found.into_iter().filter(|link| link.contains(&at)));
        }
        let kinds: Vec<_> = kinds.iter().map(String::as_str).collect();
        assert_eq!(
            kinds,
            [
                "",
                "agents",
                "fabric",
                "host",
                "incidents",
                "link",
                "path",
                "rnic",
                "services",
                "tor"
            ]
        );

        // The pair's counts, and the path that lost probes with the switches that its trace had shown.
        let page = browse(analyzer.web(), &format!("/tor/tor0/tor0?{at}"), "")
            .await
            .body;
        assert!(page.contains("probes from one to the other"), "{page}");
        let page = browse(analyzer.web(), &format!("/services?{at}"), "")
            .await
            .body;
        assert!(
            page.contains("class=\"severity P1\" href=\"/incidents/1?at="),
            "{page}"
        );
        let page = browse(analyzer.web(), &format!("/fabric?node=tor1&{at}"), "")
            .await
            .body;
        assert!(page.contains("switch tor1"), "{page}");
        // A closed incident leads to its own time.
        let page = browse(analyzer.web(), "/incidents/1", "").await.body;
        let found = links(&page);
        for link in [format!("/fabric?node=tor1&{at}"), format!("/?{at}")] {
            assert!(found.contains(&link), "{link}: {found:?}");
        }
    });
}

#[test]
fn what_is_not_kept_is_said() {
    let folder = tempfile::tempdir().expect("folder");
    prepare(folder.path());
    let analyzer = Incarnation::start(folder.path(), crate::analyzer::harness::clock(100));
    analyzer.run(async {
        let old = START / SECOND - 3_600;
        for (path, expected) in [
            (format!("/tor/tor0/tor1?at={old}"), "3 of 30 probes"),
            (
                format!("/tor/tor0/tor1?at={old}"),
                "Single paths of this time are not kept.",
            ),
            (
                format!("/path/10.0.0.1/10.0.0.2?at={old}"),
                "Single paths of this time are not kept.",
            ),
            (
                format!("/services?at={old}"),
                "Services of this time are not kept.",
            ),
            (format!("/services/x?at={old}"), "Nothing that this service"),
            (
                "/?at=2000000000".to_owned(),
                "2033-05-18 03:33:20 UTC is still to come.",
            ),
            ("/?at=2000000000".to_owned(), "Nothing is known yet"),
            ("/?at=1".to_owned(), "No picture of this time is kept."),
            (
                "/tor/tor0/tor1?at=1".to_owned(),
                "No picture of this time is kept.",
            ),
            (
                "/path/10.0.0.1/10.0.0.2?at=1".to_owned(),
                "No picture of this time is kept.",
            ),
            (
                "/services?at=1".to_owned(),
                "No picture of this time is kept.",
            ),
            ("/incidents?at=1".to_owned(), "None."),
            ("/fabric?at=1".to_owned(), "Nothing was suspected."),
        ] {
            let answer = browse(analyzer.web(), &path, "").await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            assert!(answer.body.contains(expected), "{path}: {}", answer.body);
        }
        let unknown = browse(analyzer.web(), &format!("/tor/tor0/tor9?at={old}"), "").await;
        assert_eq!(unknown.status, 404, "{}", unknown.body);
        for path in [
            "/tor/tor0/tor1?at=soon",
            "/path/10.0.0.1/10.0.0.2?at=x",
            "/fabric?at=-1",
            "/services?at=1&at=2",
            "/services/x?at=99999999999999999999",
            "/agents?at=x",
            "/incidents?at=1&state=open",
            "/incidents?before=3&at=1",
            "/incidents/1?at=never",
        ] {
            let answer = browse(analyzer.web(), path, "").await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        }
    });
}
