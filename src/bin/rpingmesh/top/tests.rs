use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::*;

const SECOND: i64 = 1_000_000_000;

fn incident(id: u64, title: &str, closed: Option<i64>) -> Value {
    json!({
        "id": id, "severity": "P1", "category": "link_loss", "title": title, "opened_unix_ns": 10 * SECOND,
        "closed_unix_ns": closed, "confidence": 0.991, "services": [{"name": "train.service", "suffers": false}],
        "evidence": ["120 of 2400 probes over it were lost"],
    })
}

fn agent(name: &str, last: i64) -> Value {
    json!({
        "agent": name, "host": name, "version": format!("0.{}.0", last / 50), "last_upload_unix_ns": last * SECOND, "lateness_ns": 250_000_000, "batches": 90,
        "lost_batches": 1, "counters": {"results_dropped": 2},
    })
}

fn seen(tors: usize) -> Seen {
    let names: Vec<_> = (0..tors).map(|tor| format!("tor{tor}")).collect();
    let pairs: Vec<_> = names
        .iter()
        .flat_map(|from| names.iter().map(move |to| (from, to)))
        .map(|(from, to)| {
            let lost = if (from.as_str(), to.as_str()) == ("tor0", "tor1") { 12 } else { 0 };
            json!({"source_tor": from, "target_tor": to, "sent": 300, "lost": lost, "rtt_p99_ns": 12_300})
        })
        .collect();
    Seen {
        status: json!({
            "now_unix_ns": 100 * SECOND, "incidents": {"open": 1, "p0": 0, "p1": 1, "p2": 0}, "agents": 2, "hosts": 2,
            "agent_versions": [{"version": "0.1.0", "agents": 1}, {"version": "0.0.0", "agents": 1}], "rnics": 4, "tors": tors, "probes": {"judged": 900, "lost": 12},
        }),
        matrix: json!({"window": "20s", "tors": names, "pairs": pairs}),
        incidents: json!({"incidents": [
            incident(1, "link spine0->tor1 loses 4.0 %", None),
            incident(2, "an older one\u{1b}[2J", Some(60 * SECOND)),
        ]}),
        agents: json!({"agents": [agent("host1", 99), agent("host0", 40)]}),
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
    press(&mut model, &[KeyCode::BackTab]);
    insta::assert_snapshot!("agents", screen(&mut model, 90, 8));
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
        for page in [KeyCode::Char('1'), KeyCode::Char('2'), KeyCode::Char('3')] {
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
    // Fields that are missing are no failure.
    model.take(Ok(Seen {
        status: json!({}),
        matrix: json!([]),
        incidents: json!({"incidents": [{}]}),
        agents: json!({"agents": [3]}),
    }));
    for page in [KeyCode::Char('1'), KeyCode::Char('2'), KeyCode::Char('3')] {
        press(&mut model, &[page]);
        let _ = screen(&mut model, 60, 10);
    }
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
