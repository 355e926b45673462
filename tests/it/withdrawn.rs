//! What is missing, and operators who acknowledge it.

use std::time::{Duration, Instant};

use rpingmesh::config::analyzer::AnalyzerSettings;
use serde_json::{Value, json};

use crate::analyzer::harness::{Incarnation, clock, request, state, tell};
use crate::support::program::{OPERATOR, command};

const PATIENCE: Duration = Duration::from_secs(30);

/// Status and answer of a `DELETE` of what is missing.
async fn forget(analyzer: &Incarnation, query: &str) -> (u16, Value) {
    let path = format!("/api/v1/withdrawn{query}");
    let (status, body) = request(analyzer.web(), "DELETE", &path).await;
    let answer = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    (status, answer)
}

/// An RNIC that the agent had and no longer has is known until it is forgotten, over a restart of the analyzer, too.
#[test]
fn a_withdrawn_rnic_is_forgotten_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        tell(&analyzer, state("rxe0 rxe1")).await;
        tell(&analyzer, state("rxe0 !rxe1")).await;
        for (query, status, field, text) in [
            (
                "",
                400,
                "error",
                "host is missing: name the host that is to be forgotten",
            ),
            ("?rnic=a", 400, "error", ""),
            (
                "?host=host1&device=rxe0",
                409,
                "error",
                "host1/rxe0 is there: only what is missing can be forgotten",
            ),
            (
                "?host=host1&device=rxe7",
                404,
                "error",
                "host1/rxe7 is not known: nothing of this name was there and is missing",
            ),
        ] {
            let (answered, answer) = forget(&analyzer, query).await;
            assert_eq!(answered, status, "{query}: {answer}");
            let said = answer[field].as_str().expect("text");
            assert!(text.is_empty() || said == text, "{query}: {said}");
        }
        let (status, answer) = forget(&analyzer, "?host=host1&device=rxe1").await;
        assert_eq!(
            (status, answer),
            (200, json!({"forgotten": ["host1/rxe1"]}))
        );
        let (status, answer) = analyzer.get("/api/v1/withdrawn?host=host1").await;
        assert_eq!((status, &answer["withdrawn"]), (200, &json!([])));
    });
    // The judge's task stores it with its next run.
    let end = Instant::now() + PATIENCE;
    let runs = || analyzer.run(analyzer.get("/api/v1/status")).1["judge"]["runs"].as_u64();
    let begun = runs();
    while runs() < begun.map(|runs| runs + 2) {
        assert!(Instant::now() < end, "the judge does not run");
        std::thread::sleep(Duration::from_millis(50));
    }
    analyzer.kill();

    let analyzer = Incarnation::start(folder.path(), clock(40));
    let url = format!("http://{}", analyzer.web());
    let run = |name: &str| {
        let output = command(OPERATOR, &["forget", "--analyzer", &url, name]).output();
        let output = output.expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, err) = run("host1/rxe1");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "host1/rxe1 is reported no more, until it has returned\n"
    );
    let (code, _, err) = run("host9");
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("404") && err.contains("host9 is not known"),
        "{err}"
    );
}

/// Where anybody can ask, nobody forgets.
#[test]
fn an_address_that_is_open_to_everybody_forgets_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = AnalyzerSettings {
        web: "0.0.0.0:0".to_owned(),
        web_allow_remote: true,
        ..AnalyzerSettings::default()
    };
    let analyzer = Incarnation::start_with(folder.path(), clock(30), settings);
    let loopback = ([127, 0, 0, 1], analyzer.web().port()).into();
    let (status, body) = analyzer.run(async {
        tell(&analyzer, state("rxe0 rxe1")).await;
        tell(&analyzer, state("rxe0 !rxe1")).await;
        request(
            loopback,
            "DELETE",
            "/api/v1/withdrawn?host=host1&device=rxe1",
        )
        .await
    });
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("nothing says who asks"), "{body}");
}
