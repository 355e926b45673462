//! Names and texts of clients that would forge lines or steer the terminal of who reads them.

use super::*;

/// What must not arrive anywhere as it is.
const EVILS: [&str; 6] = [
    "a\n2026-11-28T00:00:00Z ERROR forged",
    "a\r\nforged",
    "a\u{1b}[2J\u{1b}]0;owned\u{7}",
    "a\u{9b}2J",
    "a\u{202e}gnp.exe",
    "a\u{200b}b\u{2028}c",
];

fn evil(field: usize, evil: &str) -> v1::Announcement {
    let evil = evil.to_owned();
    let mut announcement = announcement("hosta", "hosta", 1, &["10.1.0.1"]);
    match field {
        0 => announcement.agent_id = evil,
        1 => announcement.host = evil,
        2 => announcement.version = evil,
        3 => announcement.machine = evil,
        4 => announcement.rnics[0].device = evil,
        _ => announcement.rnics[0].tor = evil,
    }
    announcement
}

fn assert_plain(text: &str) {
    for (number, line) in text.lines().enumerate() {
        let odd: Vec<_> = line
            .chars()
            .filter(|one| !rpingmesh::id::is_printable(*one))
            .collect();
        assert!(odd.is_empty(), "line {number}: {odd:?} in {line:?}");
    }
    assert!(
        !text
            .lines()
            .any(|line| line.starts_with("2026-11-28T00:00:00Z ERROR")),
        "{text}"
    );
}

#[tokio::test]
async fn the_controller_refuses_names_that_are_not_printable() {
    let logs = Logs::escaped();
    let plain = Security::loopback_plaintext();
    let registry = Registry::start(plain.clone(), "").await;
    for text in EVILS {
        for field in 0..6 {
            let refused = registry.register(&plain, evil(field, text)).await.err();
            let refused = refused.unwrap_or_else(|| panic!("field {field}: {text:?} was taken"));
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            assert_plain(refused.message());
        }
        let refused = registry.pinglist(&plain, text).await.expect_err("no agent");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let query = v1::TargetQuery {
            by: Some(v1::target_query::By::Host(text.to_owned())),
        };
        let request = v1::ResolveTargetRequest {
            queries: vec![query],
        };
        let refused = registry.client(&plain).resolve_target(request).await;
        assert_eq!(refused.expect_err("no host").code(), Code::InvalidArgument);
    }
    // Free text of a registered agent is logged.
    let mut session = registry
        .register(&plain, announcement("hosta", "hosta", 1, &["10.1.0.1"]))
        .await
        .expect("registered");
    let heartbeat = v1::Heartbeat {
        pinglist_version: 0,
        health: Some(v1::AgentHealth {
            degraded: EVILS.iter().map(|text| (*text).to_owned()).collect(),
            ..v1::AgentHealth::default()
        }),
    };
    assert!(session.send(Request::Heartbeat(heartbeat)).await);
    assert!(
        session
            .is_open(announcement("hosta", "hosta", 1, &["10.1.0.1"]))
            .await
    );
    let text = logs.text();
    assert!(
        text.contains("what the agent cannot do has changed"),
        "{text}"
    );
    assert_plain(&text);
}

#[tokio::test]
async fn the_analyzer_refuses_names_that_are_not_printable() {
    let logs = Logs::escaped();
    let plain = Security::loopback_plaintext();
    let intake = Intake::start(plain.clone()).await;
    for text in EVILS {
        for field in 0..3 {
            let mut said = hello("host1", "host1");
            match field {
                0 => said.agent_id = text.to_owned(),
                1 => said.host = text.to_owned(),
                _ => said.version = text.to_owned(),
            }
            let refused = intake.upload(&plain, said, Vec::new()).await;
            let refused = refused.expect_err("a hello that is not printable");
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
            assert_plain(refused.message());
        }
    }
    let mut sequence = 0;
    for text in EVILS {
        for field in 0..8 {
            let mut one = report(1, 2, 10, 0);
            let mut sent = batch(1, 1, Vec::new());
            let (source, target) = (one.source.as_mut(), one.target.as_mut());
            match field {
                0 => source.expect("a source").host = text.to_owned(),
                1 => source.expect("a source").tor = text.to_owned(),
                2 => source.expect("a source").device = text.to_owned(),
                3 => target.expect("a target").host = text.to_owned(),
                4 => target.expect("a target").tor = text.to_owned(),
                5 => {
                    one.kind = v1::ProbeKind::ServiceTracing.into();
                    one.service = text.to_owned();
                }
                6 => sent.hardware.push(v1::PortRise {
                    device: text.to_owned(),
                    port: 1,
                    counters: vec![v1::CounterRise {
                        name: text.to_owned(),
                        by: 1,
                    }],
                }),
                _ => {
                    let mut trace = crate::analyzer::harness::trace(1, 2, 1, "10.9.0.1");
                    trace.hops[0].node = text.to_owned();
                    sent.traces.push(trace);
                }
            }
            sequence += 1;
            sent.sequence = sequence;
            sent.paths.push(one);
            let taken = intake
                .upload(&plain, hello("host1", "host1"), vec![sent])
                .await;
            assert_eq!(taken.expect("the rest of the batch is taken"), sequence);
        }
    }
    let agents: serde_json::Value =
        serde_json::from_str(&intake.get("/api/v1/agents").await).expect("JSON");
    assert_eq!(agents["agents"][0]["refused_reports"], 8 * EVILS.len());
    assert_plain(
        agents["agents"][0]["last_refusal"]
            .as_str()
            .expect("a text"),
    );
    for path in [
        "/api/v1/paths",
        "/api/v1/topology",
        "/api/v1/traces",
        "/api/v1/status",
        "/agents",
        "/",
        "/services",
    ] {
        let text = intake.get(path).await;
        for evil in [
            "\u{1b}", "\u{9b}", "\u{202e}", "\u{200b}", "forged", "\\u001b",
        ] {
            assert!(!text.contains(evil), "{path}: {evil:?} in {text}");
        }
    }
    assert_plain(&logs.text());
}
