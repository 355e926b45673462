//! Many agents at once that fall silent, and clocks that jump: the analyzer goes on to judge, and says what is uncertain.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rpingmesh::rpc::v1;
use rpingmesh::time::{Clock, HostTime, SystemClock, WallTime};
use serde_json::Value;

use crate::analyzer::harness::{Incarnation, START, batch, report, upload_from};

const SECOND: i64 = 1_000_000_000;
const PATIENCE: Duration = Duration::from_mins(2);
/// Two hosts with one RNIC each under each of two ToRs.
const HOSTS: [u8; 4] = [2, 3, 4, 5];
/// 5-tuples from each RNIC to each other.
const TUPLES: u32 = 3;

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

/// An analyzer with four agents that upload each second.
struct Fabric {
    analyzer: Incarnation,
    clock: Arc<Moved>,
    /// Seconds of the test.
    second: u64,
    sequence: u64,
    _folder: tempfile::TempDir,
}

impl Fabric {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Arc::new(Moved(AtomicI64::new(START)));
        let second = 10_000;
        Self::move_to(&clock, second);
        Self {
            analyzer: Incarnation::start(folder.path(), clock.clone()),
            clock,
            second,
            sequence: 0,
            _folder: folder,
        }
    }

    fn move_to(clock: &Moved, second: u64) {
        let second = i64::try_from(second).expect("a second");
        clock.0.store(START + second * SECOND, Ordering::Relaxed);
    }

    /// One second: every agent uploads what it has measured, dated by a clock that is `ahead`; all probes from and to `dead` are
    /// lost. Then the judge has looked.
    async fn pass(&mut self, ahead: i64, dead: Option<u8>) {
        self.second += 1;
        self.sequence += 1;
        Self::move_to(&self.clock, self.second);
        let end = self.second.checked_add_signed(ahead).expect("a second");
        for source in HOSTS {
            let reports = HOSTS
                .into_iter()
                .filter(|target| *target != source)
                .flat_map(|target| (0..TUPLES).map(move |tuple| (target, tuple)))
                .map(|(target, tuple)| {
                    let is_dead = dead.is_some_and(|dead| dead == source || dead == target);
                    let kind = if source / 2 == target / 2 {
                        v1::ProbeKind::TorMesh
                    } else {
                        v1::ProbeKind::InterTor
                    };
                    v1::PathReport {
                        kind: kind.into(),
                        source_port: 50_000 + u32::from(target) + tuple,
                        ..report(source, target, 10, if is_dead { 10 } else { 0 })
                    }
                })
                .collect();
            let sent = vec![batch(self.sequence, end, reports)];
            let taken = upload_from(&self.analyzer, &format!("host{source}"), sent).await;
            assert_eq!(taken, (self.sequence, None));
        }
        self.judged().await;
    }

    /// Waits for a run that began after now.
    async fn judged(&self) {
        let before = self.runs().await;
        let looked = async {
            while self.runs().await < before + 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looked)
            .await
            .expect("the judge runs");
    }

    async fn runs(&self) -> u64 {
        self.status().await["judge"]["runs"]
            .as_u64()
            .expect("a number")
    }

    async fn status(&self) -> Value {
        self.analyzer.get("/api/v1/status").await.1
    }

    /// Incidents of this path of the API.
    async fn incidents(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/incidents?{query}");
        let (_, answer) = self.analyzer.get(&path).await;
        // A busy machine makes the judge late; that is not what these tests are about.
        let is_late = |incident: &&Value| incident["category"] != "monitoring_late";
        let all = answer["incidents"].as_array().expect("a list");
        all.iter().filter(is_late).cloned().collect()
    }

    async fn titles(&self, query: &str) -> Vec<String> {
        let text = |incident: &Value| {
            format!(
                "{} {}",
                incident["severity"].as_str().expect("a name"),
                incident["title"].as_str().expect("a title")
            )
        };
        self.incidents(query).await.iter().map(text).collect()
    }
}

/// Three hundred silent agents and a dead RNIC: two incidents, and the RNIC is named within 5 s.
#[test]
fn a_dead_rnic_is_named_beside_hundreds_of_silent_agents() {
    let mut fabric = Fabric::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for number in 0..300 {
            let sent = vec![batch(1, fabric.second, Vec::new())];
            let taken = upload_from(&fabric.analyzer, &format!("m{number:03}"), sent).await;
            assert_eq!(taken, (1, None));
        }
        for _ in 0..20 {
            fabric.pass(0, None).await;
        }
        assert_eq!(
            fabric.titles("state=open&order=rank").await,
            ["P2 300 agents are silent"]
        );
        let mut seconds = 0;
        while fabric.titles("state=open").await.len() < 2 {
            assert!(seconds < 5, "the RNIC is not named after {seconds} s");
            fabric.pass(0, Some(3)).await;
            seconds += 1;
        }
        for _ in 0..5 {
            fabric.pass(0, Some(3)).await;
        }
        assert_eq!(
            fabric.titles("state=all&limit=1000").await,
            ["P2 RNIC host3/rxe0 is down", "P2 300 agents are silent"]
        );
        let silent = &fabric.incidents("state=open").await[1];
        assert_eq!(silent["subjects"], 300, "{silent}");
        assert_eq!(silent["explains"].as_array().map(Vec::len), Some(100));
    });
}

/// Clocks an hour ahead, right, an hour behind: the fabric is judged all the time, agents that upload are not called silent, and
/// the clocks are what is wrong.
#[test]
fn clocks_that_jump_are_named_and_their_results_judged() {
    const HOUR: i64 = 3_600;
    let mut fabric = Fabric::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for (phase, ahead) in [
            ("right", 0),
            ("ahead", HOUR),
            ("right again", 0),
            ("behind", -HOUR),
        ] {
            for _ in 0..30 {
                fabric.pass(ahead, None).await;
            }
            let status = fabric.status().await;
            let judged = status["probes"]["judged"].as_u64().expect("a number");
            assert!(judged > 5_000, "{phase}: {status}");
            assert_eq!(status["coverage"]["judged_rnics"], 4, "{phase}: {status}");
            let open = fabric.titles("state=open").await;
            let expected: &[&str] = if ahead == 0 {
                &[]
            } else {
                &["P2 4 clocks are off"]
            };
            assert_eq!(open, expected, "{phase}");
        }
        let all = fabric.incidents("state=all").await;
        let categories: BTreeSet<_> = all
            .iter()
            .map(|incident| incident["category"].as_str().expect("a name"))
            .collect();
        assert_eq!(categories, BTreeSet::from(["clock"]), "{all:?}");
        let evidence = all[0]["evidence"].to_string();
        assert!(evidence.contains("3600.0 s behind"), "{evidence}");
        assert!(evidence.contains("moved by this and judged"), "{evidence}");
    });
}
