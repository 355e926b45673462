//! The analyzer from the outside: real gRPC, real HTTP, a real store, restarts.

pub(crate) mod harness;
mod process;

use std::collections::BTreeSet;

use proptest::prelude::*;
use rpingmesh::rpc::upload::UploadRequest;
use rpingmesh::rpc::v1;
use serde_json::{Value, json};
use tonic::Code;

use harness::{
    AGENT, Incarnation, batch, clock, report, trace, upload, upload_bytes, upload_of_version,
};

#[test]
fn results_are_shown_by_path_and_window() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let paths = vec![report(1, 2, 10, 1), report(1, 3, 5, 0)];
        let (acknowledged, end) = upload(&analyzer, 7, vec![batch(1, 24, paths)]).await;
        assert_eq!((acknowledged, end), (1, None));
        let (status, answer) = analyzer.get("/api/v1/paths?window=20s").await;
        assert_eq!(status, 200);
        insta::assert_json_snapshot!(answer);
        let one = |query: &'static str| async {
            let (status, answer) = analyzer.get(query).await;
            assert_eq!(status, 200, "{answer}");
            answer["total"].clone()
        };
        assert_eq!(one("/api/v1/paths?target=host3").await, 1);
        assert_eq!(one("/api/v1/paths?source=10.0.0.1&kind=tor_mesh").await, 2);
        assert_eq!(one("/api/v1/paths?kind=inter_tor").await, 0);
        assert_eq!(one("/api/v1/paths?window=5s").await, 0);
        let (_, page) = analyzer.get("/api/v1/paths?limit=1").await;
        assert_eq!(page["next_offset"], 1);
        let (_, page) = analyzer.get("/api/v1/paths?limit=1&offset=1").await;
        assert_eq!(page["next_offset"], Value::Null);
        assert_eq!(page["paths"][0]["target"]["host"], "host3");
        for query in ["window=7s", "limit=0", "colour=red", "window=%zz"] {
            let (status, answer) = analyzer.get(&format!("/api/v1/paths?{query}")).await;
            assert_eq!(status, 400, "{query}: {answer}");
            assert!(answer["error"].is_string(), "{query}: {answer}");
        }
        assert_eq!(analyzer.get("/healthz").await.0, 200);
        assert_eq!(analyzer.get("/nowhere").await.0, 404);
        let metrics = analyzer.get_text("/metrics").await;
        let line = r#"rpingmesh_probes_sent_total{source_tor="tor0",target_tor="tor1",kind="tor_mesh"} 15"#;
        assert!(metrics.contains(line), "{metrics}");
        assert!(!metrics.contains("10.0.0."), "no GID in a label");
    });
}

#[test]
fn contradictory_reports_are_refused_and_the_rest_counts() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let mut wrong = report(1, 3, 5, 0);
        wrong.lost = 6;
        let paths = vec![wrong, report(1, 2, 10, 1)];
        let (acknowledged, end) = upload(&analyzer, 7, vec![batch(1, 24, paths)]).await;
        assert_eq!((acknowledged, end), (1, None));
        assert_eq!(analyzer.total_sent().await, 10);
        let agent = analyzer.agent().await;
        assert_eq!(agent["refused_reports"], 1);
        assert_eq!(
            agent["last_refusal"],
            "report of path 10.0.0.1 -> 10.0.0.3 port 50000: 6 lost of 5 sent"
        );
    });
}

#[test]
fn reports_that_contradict_a_registration_are_refused_or_told_of() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        // From an RNIC of another host than the agent's; and about one that says itself where it is.
        let mut moved = report(1, 1, 5, 0);
        moved.target.as_mut().expect("a target").tor = "tor9".to_owned();
        let first = batch(1, 24, vec![report(2, 1, 5, 0), report(1, 2, 10, 1)]);
        let second = batch(2, 25, vec![moved]);
        let (acknowledged, end) = upload(&analyzer, 7, vec![first, second]).await;
        assert_eq!((acknowledged, end), (2, None));
        assert_eq!(analyzer.total_sent().await, 15);
        let agent = analyzer.agent().await;
        assert_eq!(agent["refused_reports"], 1);
        assert_eq!(
            agent["last_refusal"],
            "report of path 10.0.0.2 -> 10.0.0.1: its source is on host `host2`, the agent is on `host1`"
        );
        let (_, status) = analyzer.get("/api/v1/status").await;
        assert_eq!(status["topology"]["contradictions"], 1);
        let contradicted = serde_json::json!(["host1/rxe0"]);
        assert_eq!(status["topology"]["contradicted_rnics"], contradicted);
        // host2 has never reported itself: its RNIC is an end of a path, and no part of the map.
        let (_, topology) = analyzer.get("/api/v1/topology").await;
        let nodes = topology["nodes"].as_array().expect("nodes");
        assert!(nodes.iter().all(|node| node["host"] != "host2"), "{topology}");
        for query in ["detail=ports", "colour=red"] {
            let (status, answer) = analyzer.get(&format!("/api/v1/topology?{query}")).await;
            assert_eq!(status, 400, "{query}: {answer}");
        }
    });
}

#[test]
fn traces_are_shown_with_their_changes_and_outlive_a_restart() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let mut first = batch(1, 24, vec![report(1, 2, 10, 1)]);
        let mut wrong = trace(1, 2, 20, "tor0");
        wrong.source_port = 0;
        first.traces = vec![trace(1, 2, 20, "tor0 - tor2"), trace(1, 3, 21, "tor0"), wrong];
        // Only traces: it has to be kept all the same.
        let mut second = batch(2, 25, vec![]);
        second.traces = vec![trace(1, 2, 24, "tor0 spine0 tor2"), trace(1, 3, 25, "tor1")];
        let (acknowledged, end) = upload(&analyzer, 7, vec![first, second]).await;
        assert_eq!((acknowledged, end), (2, None));
        let (status, answer) = analyzer.get("/api/v1/traces").await;
        assert_eq!(status, 200);
        insta::assert_json_snapshot!(answer);
        for (query, total) in [
            ("source=host1", 2),
            ("source=10.0.0.9", 0),
            ("target=10.0.0.3", 1),
            ("source_port=50000", 2),
            ("source_port=50001", 0),
            ("node=spine0", 1),
            ("changed=true", 1),
            ("changed=false", 1),
        ] {
            let (_, answer) = analyzer.get(&format!("/api/v1/traces?{query}")).await;
            assert_eq!(answer["total"], total, "{query}: {answer}");
        }
        for query in ["changed=perhaps", "source_port=0", "hop=x"] {
            let (status, answer) = analyzer.get(&format!("/api/v1/traces?{query}")).await;
            assert_eq!(status, 400, "{query}: {answer}");
        }
        let agent = analyzer.agent().await;
        assert_eq!(agent["refused_reports"], 1);
        assert_eq!(
            agent["last_refusal"],
            "report of path 10.0.0.1 -> 10.0.0.2 port 0: trace: source port 0 is not between 1 and 65535"
        );
        let metrics = analyzer.get_text("/metrics").await;
        for line in [
            r#"rpingmesh_analyzer_traces_total{reason="scheduled",learned="changed"} 1"#,
            "rpingmesh_analyzer_traced_paths 2",
        ] {
            assert!(metrics.contains(line), "{metrics}");
        }
    });
    analyzer.kill();
    let again = Incarnation::start(folder.path(), clock(40));
    again.run(async {
        let (_, answer) = again.get("/api/v1/traces?target=10.0.0.2").await;
        let route = serde_json::json!(["tor0", "spine0", "tor2"]);
        assert_eq!(answer["traces"][0]["route"], route, "{answer}");
    });
}

#[test]
fn gaps_late_batches_and_wrong_clocks_are_counted() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(1000));
    analyzer.run(async {
        let one = || vec![report(1, 2, 10, 0)];
        let batches = vec![
            batch(5, 980, one()),
            // The spool dropped 6 and 7.
            batch(8, 981, one()),
            batch(9, 500, one()),
            // Weeks ahead: too far off to be corrected.
            batch(10, 3_000_000, one()),
            // Not backwards.
            batch(6, 982, one()),
        ];
        let (acknowledged, end) = upload(&analyzer, 7, batches).await;
        assert_eq!((acknowledged, end), (10, None));
        assert_eq!(analyzer.total_sent().await, 20);
        let agent = analyzer.agent().await;
        let field = |name: &str| agent[name].as_u64().expect("a number");
        assert_eq!(field("batches"), 4);
        assert_eq!(field("lost_batches"), 2);
        assert_eq!(field("duplicate_batches"), 1);
        assert_eq!((field("late_batches"), field("late_results")), (1, 10));
        assert_eq!((field("future_batches"), field("future_results")), (1, 10));
        let metrics = analyzer.get_text("/metrics").await;
        assert!(
            metrics.contains("rpingmesh_analyzer_batches_lost_total 2"),
            "{metrics}"
        );
    });
}

/// An agent whose clock is an hour ahead is judged like others, and the journal keeps its results where they belong.
#[test]
fn results_of_a_clock_that_is_ahead_are_moved_and_counted() {
    let folder = tempfile::tempdir().expect("folder");
    let hour = 3_600;
    {
        let analyzer = Incarnation::start(folder.path(), clock(1000));
        analyzer.run(async {
            let sent = |number, second| batch(number, second, vec![report(1, 2, 10, 0)]);
            let batches = (1..4).map(|number| sent(number, 990 + hour)).collect();
            assert_eq!(upload(&analyzer, 7, batches).await, (3, None));
            assert_eq!(analyzer.total_sent().await, 30);
            let agent = analyzer.agent().await;
            assert_eq!(agent["future_batches"], 0, "{agent}");
            let ahead = agent["clock_ahead_ns"].as_u64().expect("a number") / 1_000_000_000;
            assert_eq!(ahead, hour - 10, "{agent}");
        });
        analyzer.kill();
    }
    let again = Incarnation::start(folder.path(), clock(1002));
    again.run(async { assert_eq!(again.total_sent().await, 30) });
}

#[test]
fn versions_of_agents_are_shown_and_a_mix_stands_out() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    let sent = || vec![batch(1, 24, vec![report(1, 2, 3, 0)])];
    let own = env!("CARGO_PKG_VERSION");
    analyzer.run(async {
        for (agent, version) in [("a", own), ("b", own), ("c", "0.0.1 <old>"), ("d", "")] {
            let taken = upload_of_version(&analyzer, agent, version, sent()).await;
            assert_eq!(taken, (1, None), "{version}");
        }
        let (_, agents) = analyzer.get("/api/v1/agents").await;
        let of = |at: usize| agents["agents"][at]["version"].clone();
        let expected = [json!(own), json!(own), json!("0.0.1 <old>"), Value::Null];
        assert_eq!([of(0), of(1), of(2), of(3)], expected);
        let (_, status) = analyzer.get("/api/v1/status").await;
        let expected = json!([
            {"version": own, "agents": 2}, {"version": null, "agents": 1}, {"version": "0.0.1 <old>", "agents": 1},
        ]);
        assert_eq!(status["agent_versions"], expected);
        let page = analyzer.get_text("/agents").await;
        assert!(page.contains("3 mixed"), "{page}");
        let marked = page.matches("not the analyzer&#39;s version").count()
            + page.matches("not the analyzer's version").count();
        assert_eq!(marked, 1, "{page}");
        assert!(page.contains("0.0.1 &#60;old&#62;"), "{page}");
        for wrong in ["x".repeat(257), "1\u{1b}[2J".to_owned()] {
            let (_, end) = upload_of_version(&analyzer, "e", &wrong, sent()).await;
            assert_eq!(end, Some(Code::InvalidArgument), "{wrong:?}");
        }
    });
    // A restarted analyzer knows what it is told anew only.
    analyzer.kill();
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let (_, status) = analyzer.get("/api/v1/status").await;
        assert_eq!(
            status["agent_versions"],
            json!([{"version": null, "agents": 4}])
        );
        let sent = vec![batch(2, 25, vec![report(1, 2, 3, 0)])];
        upload_of_version(&analyzer, "c", "0.2.0", sent).await;
        let (_, agents) = analyzer.get("/api/v1/agents").await;
        assert_eq!(agents["agents"][2]["version"], json!("0.2.0"));
    });
}

#[test]
fn streams_that_break_the_rules_end_with_a_reason() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let (acknowledged, end) = upload(&analyzer, 7, vec![batch(0, 24, vec![])]).await;
        assert_eq!((acknowledged, end), (0, Some(Code::InvalidArgument)));
        let (acknowledged, end) = upload_bytes(&analyzer, 7, b"no batch").await;
        assert_eq!((acknowledged, end), (0, Some(Code::InvalidArgument)));
        let mut large = report(1, 2, 0, 0);
        large.service = "x".repeat(17 << 20);
        let (acknowledged, end) = upload(&analyzer, 7, vec![batch(1, 24, vec![large])]).await;
        assert_eq!((acknowledged, end), (0, Some(Code::OutOfRange)));
        let nameless = v1::UploadHello::default().into();
        assert_eq!(
            analyzer.first_answer(nameless).await,
            Err(Code::InvalidArgument)
        );
        let early = UploadRequest::from(&batch(1, 24, vec![]));
        assert_eq!(
            analyzer.first_answer(early).await,
            Err(Code::InvalidArgument)
        );
        // None of this has stopped it.
        let (acknowledged, end) =
            upload(&analyzer, 7, vec![batch(1, 24, vec![report(1, 2, 3, 0)])]).await;
        assert_eq!((acknowledged, end), (1, None));
        let metrics = analyzer.get_text("/metrics").await;
        assert!(
            metrics.contains(r#"uploads_refused_total{reason="too_large"} 1"#),
            "{metrics}"
        );
    });
}

/// 2^63 - 1 was acknowledged once, and everything after it was a duplicate.
#[test]
fn a_wild_number_silences_no_spool_and_a_refused_batch_follows_the_acknowledgements_before_it() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    let one = |sequence| batch(sequence, 24, vec![report(1, 2, 3, 0)]);
    analyzer.run(async {
        for wild in [1 << 62, (1 << 63) - 1] {
            let (acknowledged, end) = upload(&analyzer, 7, vec![one(wild)]).await;
            assert_eq!((acknowledged, end), (0, Some(Code::FailedPrecondition)));
        }
        let (acknowledged, end) = upload(&analyzer, 7, vec![one(1), one((1 << 63) - 1)]).await;
        assert_eq!((acknowledged, end), (1, Some(Code::FailedPrecondition)));
        let (acknowledged, end) = upload(&analyzer, 7, vec![one(2)]).await;
        assert_eq!((acknowledged, end), (2, None));
        // 0 is no number.
        let batches = vec![one(3), one(4), one(0), one(5)];
        let (acknowledged, end) = upload(&analyzer, 7, batches).await;
        assert_eq!((acknowledged, end), (4, Some(Code::InvalidArgument)));
        let (acknowledged, end) = upload(&analyzer, 7, vec![one(5)]).await;
        assert_eq!((acknowledged, end), (5, None));
        assert_eq!(analyzer.total_sent().await, 15);
        assert_eq!(analyzer.agent().await["lost_batches"], 0);
        let metrics = analyzer.get_text("/metrics").await;
        assert!(
            metrics.contains(r#"uploads_refused_total{reason="sequence"} 3"#),
            "{metrics}"
        );
    });
}

#[test]
fn the_api_documentation_names_exactly_the_fields() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md"))
        .expect("docs/api.md");
    analyzer.run(async {
        let mut traced = batch(1, 24, vec![report(1, 2, 10, 1)]);
        traced.traces = vec![
            trace(1, 2, 20, "tor0 spine0"),
            trace(1, 2, 22, "tor0 spine1"),
        ];
        upload(&analyzer, 7, vec![traced]).await;
        harness::tell(&analyzer, harness::state("rxe0 !rxe1")).await;
        for resource in [
            "/api/v1/paths",
            "/api/v1/agents",
            "/api/v1/traces",
            "/api/v1/status",
            "/api/v1/matrix",
            "/api/v1/topology",
        ] {
            let (_, answer) = analyzer.get(resource).await;
            let mut emitted = BTreeSet::new();
            fields("", &answer, &mut emitted);
            let marker = format!("<!-- fields: {resource} -->");
            let table = document
                .split(&marker)
                .nth(1)
                .expect("a table")
                .split("\n\n")
                .next()
                .expect("text");
            let documented: BTreeSet<String> = table
                .lines()
                .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
                // What may be called anything is not emitted here, and all ToRs reach each other.
                .filter(|field| !field.contains(".*.") && *field != "planes.tors")
                .map(str::to_owned)
                .collect();
            assert_eq!(documented, emitted, "{resource}");
        }
    });
}

fn fields(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                if path != "paths.invalid" {
                    fields(&path, member, found);
                }
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(prefix, item, found)),
        _ => {}
    }
}

#[derive(Debug, Clone)]
struct Session {
    /// How many batches behind the acknowledged one the agent begins again.
    back: u64,
    /// How many it sends.
    count: u64,
    /// Whether the analyzer is cut off while the stream is open.
    restart: bool,
}

fn any_session() -> impl Strategy<Value = Session> {
    (0u64..4, 0u64..8, any::<bool>()).prop_map(|(back, count, restart)| Session {
        back,
        count,
        restart,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// However uploads and the analyzer are cut off, in the end each batch is counted once.
    #[test]
    fn nothing_is_lost_or_counted_twice(sessions in prop::collection::vec(any_session(), 1..8)) {
        const LAST: u64 = 20;
        let folder = tempfile::tempdir().expect("folder");
        let mut analyzer = Incarnation::start(folder.path(), clock(60));
        let mut acknowledged = 0;
        let number = |sequence: u64| batch(sequence, 20 + sequence, vec![report(1, 2, sequence, 0)]);
        for session in sessions {
            let from = acknowledged + 1 - session.back.min(acknowledged);
            let to = (from + session.count).min(LAST + 1);
            let batches = (from..to).map(number).collect();
            if session.restart {
                analyzer.run(harness::submit_without_waiting(&analyzer, AGENT, 7, batches));
                analyzer.kill();
                analyzer = Incarnation::start(folder.path(), clock(60));
                // The agent learns what was stored, which is what it goes on behind.
                let (mark, _) = analyzer.run(upload(&analyzer, 7, vec![]));
                prop_assert!(mark >= acknowledged, "an acknowledged batch was forgotten");
                acknowledged = mark;
            } else {
                let (mark, end) = analyzer.run(upload(&analyzer, 7, batches));
                prop_assert_eq!(end, None);
                prop_assert!(mark >= acknowledged);
                acknowledged = mark;
            }
        }
        let rest = (acknowledged + 1..=LAST).map(number).collect();
        let (mark, end) = analyzer.run(upload(&analyzer, 7, rest));
        prop_assert_eq!((mark, end), (LAST, None));
        prop_assert_eq!(analyzer.run(analyzer.total_sent()), (1..=LAST).sum::<u64>());
        analyzer.kill();
        let again = Incarnation::start(folder.path(), clock(60));
        prop_assert_eq!(again.run(again.total_sent()), (1..=LAST).sum::<u64>());
    }
}
