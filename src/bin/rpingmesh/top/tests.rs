use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rpingmesh::analysis::windows;
use rpingmesh::api::agents::{Agent, Counters};
use rpingmesh::api::incidents::{Incident, Service, State};
use rpingmesh::api::matrix::{Matrix, Pair};
use rpingmesh::api::status::{
    AgentIdentity, AgentVersion, Alerts, Contradictions, Coverage, Judge, KnownPaths,
    OpenIncidents, Probes, Status,
};

use super::*;

const SECOND: i64 = 1_000_000_000;

fn incident(id: u64, title: &str, closed: Option<i64>) -> Incident {
    Incident {
        state: closed.map_or(State::Open, |_| State::Closed).into(),
        opened_unix_ns: 10 * SECOND,
        closed_unix_ns: closed,
        confidence: 0.991,
        services: vec![Service {
            name: "train.service".to_owned(),
            suffers: false,
            own_path: true,
        }],
        evidence: vec!["120 of 2400 probes over it were lost".to_owned()],
        ..incidents::tests::incident(id, title)
    }
}

fn agent(name: &str, last: i64) -> Agent {
    Agent {
        agent: name.to_owned(),
        host: name.to_owned(),
        version: Some(format!("0.{}.0", last / 50)),
        sequence: 90,
        last_upload_unix_ns: last * SECOND,
        last_interval_end_unix_ns: last * SECOND,
        lateness_ns: 250_000_000,
        clock_ahead_ns: 0,
        batches: 90,
        duplicate_batches: 0,
        lost_batches: 1,
        oldest_sequence: None,
        missing_batches: None,
        late_batches: 0,
        late_results: 0,
        future_batches: 0,
        future_results: 0,
        refused_reports: 0,
        last_refusal: None,
        counters: Counters {
            results_dropped: 2,
            batches_dropped: 0,
            malformed_packets: 0,
            unmatched_acks: 0,
            probes_answered: 0,
            source_ports_as_meant: 0,
            source_ports_otherwise: 0,
        },
        degraded: Vec::new(),
        tuples: None,
        rnics: Vec::new(),
    }
}

fn status(tors: usize) -> Status {
    let version = |version: &str| AgentVersion {
        version: Some(version.to_owned()),
        agents: 1,
    };
    Status {
        now_unix_ns: 100 * SECOND,
        agents: 2,
        agent_identity: AgentIdentity::San,
        cluster_keys: Vec::new(),
        agent_versions: vec![version("0.1.0"), version("0.0.0")],
        hosts: 2,
        rnics: 4,
        tors,
        clocks: Vec::new(),
        degraded_agents: 0,
        degraded: Vec::new(),
        withdrawn: 0,
        coverage: Coverage {
            judged_rnics: 3,
            known_rnics: 4,
            missing: 0,
        },
        incidents: OpenIncidents {
            open: 1,
            p0: 0,
            p1: 1,
            p2: 0,
            waiting_for_store: 0,
        },
        probes: Probes {
            judged: 900,
            lost: 12,
            set_aside: std::collections::BTreeMap::new(),
        },
        paths: KnownPaths {
            traced: 0,
            candidates: 0,
            unknown: 0,
            known_traces: 0,
        },
        judge: Judge {
            runs: 0,
            last_run_unix_ns: None,
            took_ns: 0,
        },
        topology: Contradictions {
            differences: Vec::new(),
            contradictions: 0,
            contradicted_rnics: Vec::new(),
        },
        alerts: Alerts {
            receivers: 0,
            waiting: 0,
        },
    }
}

fn seen(tors: usize) -> Answers {
    let names: Vec<_> = (0..tors).map(|tor| format!("tor{tor}")).collect();
    let pairs: Vec<_> = names
        .iter()
        .flat_map(|from| names.iter().map(move |to| (from, to)))
        .map(|(from, to)| Pair {
            source_tor: from.clone(),
            target_tor: to.clone(),
            sent: 300,
            lost: if (&**from, &**to) == ("tor0", "tor1") {
                12
            } else {
                0
            },
            invalid: 0,
            rtt_p50_ns: None,
            rtt_p99_ns: Some(12_300),
        })
        .collect();
    Answers {
        status: status(tors),
        matrix: Matrix {
            window: windows::WindowLength::Middle.into(),
            start_unix_ns: 0,
            end_unix_ns: 0,
            tors: names,
            total_pairs: pairs.len(),
            pairs,
        },
        incidents: vec![
            incident(1, "link spine0->tor1 loses 4.0 %", None),
            incident(2, "an older one\u{1b}[2J", Some(60 * SECOND)),
        ],
        agents: vec![agent("host1", 99), agent("host0", 40)],
        focus: Some(focus::tests::focus()),
    }
}

fn model() -> Model {
    let mut model = Model::new("http://127.0.0.1:7472".to_owned());
    model.take(Ok(seen(2)));
    model
}

fn press(model: &mut Model, codes: &[KeyCode]) {
    for code in codes {
        model.press(KeyEvent::new(*code, KeyModifiers::NONE));
    }
}

/// What is on the screen, without what follows the last character of a line.
fn screen(model: &mut Model, width: u16, height: u16) -> String {
    let mut terminal = ratatui::Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal
        .draw(|frame| draw::draw(frame, model))
        .expect("drawn");
    let buffer = terminal.backend().buffer();
    (0..height)
        .map(|y| {
            let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_matrix_shows_loss_and_round_trips() {
    let mut model = model();
    insta::assert_snapshot!("matrix", screen(&mut model, 80, 10));
    press(&mut model, &[KeyCode::Char('m')]);
    let shown = screen(&mut model, 80, 10);
    assert!(
        shown.contains("network RTT in µs") && shown.contains("12.3"),
        "{shown}"
    );
}

#[test]
fn incidents_are_listed_and_explained() {
    let mut model = model();
    press(&mut model, &[KeyCode::Char('2')]);
    let listed = screen(&mut model, 90, 9);
    insta::assert_snapshot!("incidents", listed);
    press(&mut model, &[KeyCode::Enter]);
    insta::assert_snapshot!("incident", screen(&mut model, 90, 12));
    press(&mut model, &[KeyCode::Esc]);
    assert_eq!(screen(&mut model, 90, 9), listed);
    assert!(!model.is_over());
}

#[test]
fn agents_that_are_silent_come_first() {
    let mut model = model();
    press(&mut model, &[KeyCode::BackTab, KeyCode::BackTab]);
    insta::assert_snapshot!("agents", screen(&mut model, 90, 8));
}

#[test]
fn where_the_fabric_looks_is_a_page() {
    let mut model = model();
    press(&mut model, &[KeyCode::Char('4')]);
    let shown = screen(&mut model, 90, 9);
    for text in [
        "14 5-tuples, 31.5 probes/s more, for 4.2 s",
        "link spine1->tor3 (52 %) or link tor3->spine1 (47 %)",
        "link tor0->spine2 (4 %)",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
    model.take(Ok(Answers {
        focus: None,
        ..seen(2)
    }));
    let shown = screen(&mut model, 90, 9);
    assert!(shown.contains("the analyzer is older"), "{shown}");
}

#[test]
fn a_large_fabric_is_scrolled_and_a_small_terminal_is_no_failure() {
    let mut model = Model::new("http://127.0.0.1:7472".to_owned());
    model.take(Ok(seen(300)));
    press(&mut model, &[KeyCode::PageDown; 14]);
    press(&mut model, &[KeyCode::Right; 290]);
    let shown = screen(&mut model, 80, 20);
    assert!(
        shown.contains("tor280") && shown.contains("tor290"),
        "{shown}"
    );
    press(&mut model, &[KeyCode::PageDown; 40]);
    assert_eq!(model.row, 299, "the last");
    for (width, height) in [(1, 1), (3, 2), (10, 4), (200, 5)] {
        for page in [
            KeyCode::Char('1'),
            KeyCode::Char('2'),
            KeyCode::Char('3'),
            KeyCode::Char('4'),
        ] {
            press(&mut model, &[page, KeyCode::Enter]);
            let _ = screen(&mut model, width, height);
        }
    }
}

#[test]
fn an_analyzer_that_is_away_leaves_what_was_seen() {
    let mut model = Model::new("http://127.0.0.1:7472".to_owned());
    let asking = screen(&mut model, 60, 6);
    assert!(asking.contains("asking http://127.0.0.1:7472"), "{asking}");
    model.take(Err("cannot connect".to_owned()));
    assert!(screen(&mut model, 60, 6).contains("NO ANSWER: cannot connect"));
    model.take(Ok(seen(2)));
    model.take(Err("cannot connect".to_owned()));
    let shown = screen(&mut model, 60, 10);
    assert!(
        shown.contains("tor1") && shown.contains("NO ANSWER"),
        "{shown}"
    );
}

#[test]
fn enter_opens_a_pair_an_agent_and_what_focus_asks_about() {
    let mut model = model();
    press(&mut model, &[KeyCode::Right, KeyCode::Enter]);
    insta::assert_snapshot!("pair", screen(&mut model, 90, 12));
    press(&mut model, &[KeyCode::Enter]);
    assert!(screen(&mut model, 80, 10).contains("probes lost in percent"));
    press(&mut model, &[KeyCode::Char('3'), KeyCode::Enter]);
    insta::assert_snapshot!("agent", screen(&mut model, 90, 12));
    press(
        &mut model,
        &[KeyCode::Char('1'), KeyCode::Enter, KeyCode::Esc],
    );
    assert!(!model.is_over(), "Escape goes back first");
}

#[test]
fn a_filter_is_typed_applied_and_refused() {
    let mut model = model();
    let letters = |text: &str| -> Vec<KeyCode> { text.chars().map(KeyCode::Char).collect() };
    press(&mut model, &[KeyCode::Char('/')]);
    assert_eq!(model.typing, None, "the matrix has none");
    press(&mut model, &[KeyCode::Char('2'), KeyCode::Char('/')]);
    // Letters that are keys elsewhere are text here.
    press(&mut model, &letters("q state=close"));
    let shown = screen(&mut model, 90, 9);
    assert!(shown.contains("/q state=close_"), "{shown}");
    press(&mut model, &[KeyCode::Esc, KeyCode::Char('/')]);
    press(&mut model, &letters("state=closed"));
    press(&mut model, &[KeyCode::Enter]);
    let shown = screen(&mut model, 90, 9);
    assert!(
        shown.contains("an older one") && !shown.contains("loses 4.0 %"),
        "{shown}"
    );
    assert!(shown.contains("filter state=closed"), "{shown}");
    press(&mut model, &[KeyCode::Enter]);
    assert_eq!(
        model.opened,
        Some(model::Opened::Incident(2)),
        "the row that is shown"
    );
    press(&mut model, &[KeyCode::Char('/')]);
    press(&mut model, &[KeyCode::Backspace; 20]);
    press(&mut model, &letters("colour=red"));
    press(&mut model, &[KeyCode::Enter]);
    let shown = screen(&mut model, 90, 9);
    assert!(shown.contains("there is no column `colour`"), "{shown}");
    press(&mut model, &[KeyCode::Esc]);
    assert_eq!(model.filters[0].text, "state=closed", "as it was");
    assert!(!model.is_over());
}

#[test]
fn keys_end_it() {
    for (code, modifiers) in [
        (KeyCode::Char('q'), KeyModifiers::NONE),
        (KeyCode::Char('c'), KeyModifiers::CONTROL),
        (KeyCode::Esc, KeyModifiers::NONE),
    ] {
        let mut model = model();
        model.press(KeyEvent::new(code, modifiers));
        assert!(model.is_over(), "{code:?}");
    }
}
