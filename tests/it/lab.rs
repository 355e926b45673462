//! The lab as a library: real agents, controller and analyzer over gRPC on loopback, on a small emulated fabric.

use std::time::Duration;

use rpingmesh::config::Span;
use rpingmesh::config::lab::LabSettings;
use rpingmesh::fabric::scenario::ServiceConnection;
use rpingmesh::id::FlowLabel;
use rpingmesh::lab::plan::Plan;
use rpingmesh::lab::run::run;
use rpingmesh::lab::show::Line;
use tokio_util::sync::CancellationToken;

fn plan(faults: &[&str]) -> Plan {
    Plan::new(LabSettings {
        spines: Some(2),
        tors: Some(2),
        hosts: Some(2),
        rnics: Some(1),
        duration: Some(Span(Duration::from_secs(5))),
        faults: Some(faults.iter().map(|fault| (*fault).to_owned()).collect()),
        ..LabSettings::default()
    })
    .expect("a lab")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_analyzer_has_agrees_with_the_truth() {
    let plan = plan(&["link spine1-tor1 loss=20%", "rnic host0/0 corrupt=10%"]);
    let mut progress = 0;
    let summary = run(&plan, CancellationToken::new(), |line| {
        progress += u32::from(matches!(line, Line::Progress(_)));
    })
    .await
    .expect("a run");
    assert!(progress >= 3);
    assert_eq!((summary.hosts, summary.rnics), (4, 4));
    assert!(summary.overall.sent > 50, "{summary:#?}");
    assert!(summary.faults.iter().all(|fault| fault.truth.lost > 0));
    assert!(summary.agrees, "{summary:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_services_are_probed_on_their_own_paths() {
    let service = |name: &str, from: &str, to: &str, label| ServiceConnection {
        name: name.into(),
        from: from.to_owned(),
        to: to.to_owned(),
        flow_label: FlowLabel::new(label).expect("20 bits"),
    };
    let mut plan = plan(&["link spine0->tor1 down", "link spine1->tor1 down"]);
    plan.scenario.services = vec![
        // Under one ToR: nothing is wrong there.
        service("store", "host0/0", "host1/0", 0x1234),
        // Across the links that are down.
        service("train", "host0/0", "host3/0", 0x777),
    ];
    let summary = run(&plan, CancellationToken::new(), |_| {})
        .await
        .expect("a run");
    let services: Vec<_> = summary
        .services
        .iter()
        .map(|service| (service.service.as_str(), service.lost == service.sent))
        .collect();
    assert_eq!(
        services,
        [("store.service", false), ("train.service", true)]
    );
    assert!(
        summary.services.iter().all(|service| service.sent > 20),
        "{:?}",
        summary.services
    );
    assert_eq!(summary.services[0].lost, 0, "{:?}", summary.services);
    assert!(summary.agrees, "{summary:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_ends_a_lab_early_and_in_order() {
    let plan = plan(&[]);
    let stop = CancellationToken::new();
    let summary = run(&plan, stop.clone(), |line| {
        if let Line::Started(_) = line {
            stop.cancel();
        }
    })
    .await
    .expect("a run");
    assert!(summary.duration_ns < 5_000_000_000);
    assert!(summary.agrees);
}

fn program(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_rpingmesh"))
        .args(arguments)
        .output()
        .expect("the program runs")
}

#[test]
fn the_last_line_for_programs_is_the_summary() {
    let output = program(&[
        "lab",
        "--tors=2",
        "--hosts=1",
        "--spines=1",
        "--duration=3s",
        "--json",
        "--fault=link spine0->tor1 loss=30%",
    ]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object per line"))
        .collect();
    let types: Vec<_> = lines.iter().map(|line| &line["type"]).collect();
    assert_eq!(types.first(), Some(&&serde_json::json!("started")));
    let summary = lines.last().expect("a last line");
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["agrees"], true, "{summary:#}");
    let fault = &summary["faults"][0];
    assert_eq!(fault["fault"], "link spine0->tor1 loss=30%");
    assert_eq!(fault["links"][0]["link"], "spine0->tor1");
    assert!(fault["truth"]["lost"].as_u64() > Some(0), "{summary:#}");
}

#[test]
fn wrong_usage_names_the_thing_and_ends_with_status_2() {
    for (arguments, expected) in [
        (
            ["lab", "--fault=link spine1-tor9 down"],
            "no link is named `spine1-tor9`; did you mean spine1-tor0",
        ),
        (
            ["lab", "--fault=link spine1-tor3 loss=-1%"],
            "a share cannot be negative",
        ),
        (["lab", "--tors=0"], "tors: 0 is impossible"),
        (["lab", "--duration=5"], "`5` is not a duration"),
        (
            ["lab", "--scenario=none.toml"],
            "cannot read the scenario file none.toml",
        ),
    ] {
        let output = program(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}
