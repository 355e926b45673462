//! The lab as a library: real agents, controller and analyzer over gRPC on loopback, on a small emulated fabric.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rpingmesh::config::HumanDuration;
use rpingmesh::config::lab::LabSettings;
use rpingmesh::fabric::scenario::ServiceConnection;
use rpingmesh::fabric::topology::Flow;
use rpingmesh::id::FlowLabel;
use rpingmesh::id::UdpSourcePort;
use rpingmesh::lab::plan::LabPlan;
use rpingmesh::lab::run::run;
use rpingmesh::lab::show::Line;
use tokio_util::sync::CancellationToken;

use crate::support::program::{OPERATOR, own};

fn settings() -> LabSettings {
    LabSettings {
        spines: Some(2),
        tors: Some(2),
        hosts: Some(2),
        rnics: Some(1.into()),
        duration: Some(HumanDuration(Duration::from_secs(5))),
        ..LabSettings::default()
    }
}

fn plan(faults: &[&str]) -> LabPlan {
    LabPlan::new(LabSettings {
        faults: faults.iter().map(|fault| (*fault).to_owned()).collect(),
        ..settings()
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

/// On rails, on two planes, and with bonds: every probe goes where a path leads, and the truth agrees with what was measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rails_planes_and_bonds_are_probed_along_their_paths() {
    let fabrics = [
        (Some(2), None, false, "link spine1->leaf1-r1 loss=50%"),
        (None, Some(2), false, "link spine1->leaf1-p1 loss=50%"),
        (Some(2), None, true, "link spine1->leaf1-r1b loss=50%"),
    ];
    for (rails, planes, bonds, fault) in fabrics {
        let plan = LabPlan::new(LabSettings {
            rails,
            planes,
            bonds,
            rnics: Some(2.into()),
            faults: vec![fault.to_owned()],
            ..settings()
        })
        .expect("a lab");
        let summary = run(&plan, CancellationToken::new(), |_| {})
            .await
            .expect("a run");
        assert_eq!((summary.hosts, summary.rnics), (4, 8), "{fault}");
        assert_eq!(summary.packets.unroutable, 0, "{fault}: {summary:#?}");
        assert!(summary.faults[0].observed.lost > 0, "{fault}: {summary:#?}");
        assert!(summary.agrees, "{fault}: {summary:#?}");
    }
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

/// Whether a trace shows the reverse path of another's probes.
fn shows_both_ways(answer: &serde_json::Value) -> bool {
    let tuple = |trace: &serde_json::Value, ends: [&str; 2]| {
        let [from, to] = ends.map(|end| trace[end]["gid"].to_string());
        (from, to, trace["source_port"].to_string())
    };
    let traces = answer["traces"].as_array().expect("traces");
    let known: HashSet<_> = traces
        .iter()
        .map(|trace| tuple(trace, ["source", "target"]))
        .collect();
    traces
        .iter()
        .any(|trace| known.contains(&tuple(trace, ["target", "source"])))
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// A number that `/metrics` shows.
fn metric(text: &str, name: &str) -> f64 {
    let of = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(of).unwrap_or(f64::NAN)
}

/// What the analyzer asks for reaches the agents through the controller. While agents register, lists change: then some of the
/// 5-tuples that are asked for are not in the lists any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_probe_more_what_the_analyzer_asks_for() {
    let plan = LabPlan::new(LabSettings {
        tors: Some(4),
        duration: Some(HumanDuration(Duration::from_mins(1))),
        metrics: Some((std::net::Ipv4Addr::LOCALHOST, 0).into()),
        focus: true,
        faults: vec!["link spine1->tor1 loss=3%".to_owned()],
        ..settings()
    })
    .expect("a lab");
    let stop = CancellationToken::new();
    let mut looking = None;
    let summary = run(&plan, stop.clone(), |line| {
        if let Line::Started(started) = line {
            let (metrics, stop) = (started.metrics.expect("served"), stop.clone());
            looking = Some(std::thread::spawn(move || {
                // Dropped in any case, so that the lab ends.
                let _stop = stop.drop_guard();
                let end = Instant::now() + Duration::from_secs(40);
                loop {
                    let agents: Vec<String> = (0..8)
                        .map(|host| get(metrics, &format!("/agents/host{host}/metrics")))
                        .collect();
                    let sum =
                        |name: &str| agents.iter().map(|text| metric(text, name)).sum::<f64>();
                    if sum("rpingmesh_agent_focus_tuples ") > 0.0 {
                        return;
                    }
                    assert!(Instant::now() < end, "nothing was asked for: {}", agents[0]);
                    std::thread::sleep(Duration::from_millis(200));
                }
            }));
        }
    })
    .await
    .expect("a run");
    looking
        .expect("it began")
        .join()
        .expect("agents were asked");
    assert!(summary.agrees, "{summary:#?}");
}

/// Waits until the analyzer has traces of paths and reverse paths, and gives its answer.
fn traces(web: SocketAddr) -> serde_json::Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let mut stream = TcpStream::connect(web).expect("the API listens");
        let request =
            b"GET /api/v1/traces?limit=10000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let (_, body) = text.split_once("\r\n\r\n").expect("an HTTP answer");
        let answer: serde_json::Value = serde_json::from_str(body).expect("JSON");
        if answer["total"].as_u64() > Some(4) && shows_both_ways(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "no traces came: {answer}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_trace_the_paths_that_packets_take() {
    let plan = LabPlan::new(LabSettings {
        duration: Some(HumanDuration(Duration::from_mins(1))),
        ..settings()
    })
    .expect("a lab");
    let stop = CancellationToken::new();
    let mut looking = None;
    run(&plan, stop.clone(), |line| {
        if let Line::Started(started) = line {
            let (web, stop) = (started.web, stop.clone());
            looking = Some(std::thread::spawn(move || {
                // Dropped in any case, so that the lab ends.
                let _stop = stop.drop_guard();
                traces(web)
            }));
        }
    })
    .await
    .expect("a run");
    let answer = looking.expect("it began").join().expect("traces");
    let topology = plan.scenario.topology().expect("a fabric");
    for trace in answer["traces"].as_array().expect("traces") {
        let rnic = |end: &str| {
            let gid = trace[end]["gid"]
                .as_str()
                .expect("a GID")
                .parse()
                .expect("a GID");
            topology.rnic_by_gid(gid).expect("known")
        };
        let port = trace["source_port"].as_u64().expect("a port");
        let flow = Flow {
            source: rnic("source"),
            target: rnic("target"),
            port: UdpSourcePort(u16::try_from(port).expect("16 bits")),
        };
        let path = topology.path(flow);
        let switches: Vec<_> = path
            .links()
            .iter()
            .map(|link| topology.ends(*link).1)
            .filter(|node| topology.is_switch(*node))
            .map(|node| topology.node_name(node))
            .collect();
        assert_eq!(trace["route"], serde_json::json!(switches), "{trace}");
    }
}

fn program(arguments: &[&str]) -> std::process::Output {
    own(OPERATOR)
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
