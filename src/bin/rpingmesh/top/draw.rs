//! The pages of `top` on a terminal.

use std::collections::HashMap;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState, Tabs, Wrap};
use rpingmesh::api::matrix::Pair;

use super::details;
use super::model::{Answers, Model, Page, Show};
use crate::{api, focus};

/// Blue and orange, which nearly everybody can tell apart; what is worst is reversed too.
const GOOD: Color = Color::Blue;
const BAD: Color = Color::Yellow;
/// Share of lost probes from which a cell is shown as bad, and as worst.
const SOME_LOSS: f64 = 0.000_5;
const MUCH_LOSS: f64 = 0.02;
/// An agent that has been silent for so long is shown as bad, in nanoseconds: ten uploads.
const SILENT: i64 = 10_000_000_000;

const KEYS: &str = "q end  Tab 1-4 page  m loss/RTT  arrows move  Enter open  Esc back  / filter";

pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let [head, tabs, body, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(model)), head);
    let titles = Page::ALL.map(Page::title);
    frame.render_widget(Tabs::new(titles).select(model.page.index()), tabs);
    frame.render_widget(Paragraph::new(foot_line(model)), foot);
    let Some(seen) = model.seen.take() else {
        let text = format!("asking {} …", model.url);
        frame.render_widget(Paragraph::new(text), body);
        return;
    };
    match (&model.opened, model.page) {
        (Some(opened), _) => {
            let text = details::text(opened, &seen);
            let paragraph = Paragraph::new(text).wrap(Wrap { trim: false });
            frame.render_widget(paragraph, body);
        }
        (None, Page::Matrix) => matrix(frame, body, model, &seen),
        (None, Page::Incidents) => list_of_incidents(frame, body, model, &seen),
        (None, Page::Agents) => agents(frame, body, model, &seen),
        (None, Page::Focus) => focused(frame, body, model, &seen),
    }
    model.seen = Some(seen);
}

/// The filter that is typed, why there is no answer, which filter hides rows, or the keys.
fn foot_line(model: &Model) -> Line<'static> {
    if let Some(typing) = &model.typing {
        return match &typing.error {
            Some(error) => {
                Line::from(format!("/{}  {error}", typing.text)).style(Style::new().fg(BAD))
            }
            None => Line::from(format!("/{}_  Enter filter  Esc leave", typing.text)),
        };
    }
    if let Some(why) = &model.error {
        return Line::from(format!("NO ANSWER: {why}")).style(Style::new().fg(BAD));
    }
    let filter = model.place_of_filter().map(|at| &model.filters[at].text);
    match filter.filter(|text| !text.is_empty()) {
        Some(text) => Line::from(format!("filter {text}  / change it")),
        None => Line::from(KEYS).style(Style::new().add_modifier(Modifier::DIM)),
    }
}

fn summary(model: &Model) -> Vec<Line<'static>> {
    let Some(seen) = &model.seen else {
        return vec![Line::from("rpingmesh")];
    };
    let status = &seen.status;
    let open = status.incidents.open;
    let is_blind = status.probes.judged == 0;
    let mark = if open > 0 {
        Style::new().fg(BAD).add_modifier(Modifier::BOLD)
    } else if is_blind {
        Style::new().add_modifier(Modifier::DIM)
    } else {
        Style::new().fg(GOOD)
    };
    let judged = match status.coverage.share() {
        None => "no data".to_owned(),
        Some(share) => format!("{:.0} % of the fabric judged", share * 100.0),
    };
    let mixed = match status.agent_versions.len() {
        0 | 1 => String::new(),
        several => format!(" of {several} VERSIONS"),
    };
    let lost = if is_blind {
        "no data".to_owned()
    } else {
        api::share(status.probes.lost, status.probes.judged)
    };
    vec![
        Line::from(vec![
            Span::raw("rpingmesh  "),
            Span::styled(format!("{open} open incidents"), mark),
            Span::raw(format!(
                ": {} P0, {} P1, {} P2; {judged}",
                status.incidents.p0, status.incidents.p1, status.incidents.p2,
            )),
        ]),
        Line::from(format!(
            "{} agents{mixed}, {} hosts, {} RNICs, {} ToRs; probes lost in 20 s: {lost}",
            status.agents, status.hosts, status.rnics, status.tors,
        )),
    ]
}

fn matrix(frame: &mut Frame<'_>, area: Rect, model: &Model, seen: &Answers) {
    let what = match model.show {
        Show::Loss => "probes lost in percent, from the rows to the columns, over 20 s",
        Show::Rtt => "network RTT in µs, 99th percentile, from the rows to the columns, over 20 s",
    };
    let tors = seen.tors();
    let pairs: HashMap<(&str, &str), &Pair> = seen
        .matrix
        .pairs
        .iter()
        .map(|pair| ((&*pair.source_tor, &*pair.target_tor), pair))
        .collect();
    let width = tors
        .iter()
        .map(|tor| tor.chars().count())
        .max()
        .unwrap_or(0);
    let width = u16::try_from(width.clamp(6, 16)).unwrap_or(16);
    let shown = usize::from(area.width.saturating_sub(width) / (width + 1)).max(1);
    let first = model.column.saturating_sub(shown - 1);
    let columns: Vec<&str> = tors
        .iter()
        .skip(first)
        .take(shown)
        .map(String::as_str)
        .collect();
    let header = std::iter::once("").chain(columns.iter().copied());
    let rows = tors.iter().map(|from| {
        let cells = columns.iter().map(|to| {
            pairs
                .get(&(&**from, *to))
                .map_or(Cell::from("·"), |pair| cell(pair, model.show))
        });
        Row::new(std::iter::once(Cell::from(&**from)).chain(cells))
    });
    let widths = vec![Constraint::Length(width); columns.len() + 1];
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::UNDERLINED))
        .cell_highlight_style(Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD))
        .block(Block::new().title(what));
    let mut state = TableState::new()
        .with_selected(model.row)
        .with_selected_column(model.column - first + 1);
    frame.render_stateful_widget(table, area, &mut state);
}

fn cell(pair: &Pair, show: Show) -> Cell<'static> {
    let loss = pair.lost as f64 / pair.sent.max(1) as f64;
    let style = if loss >= MUCH_LOSS {
        Style::new().fg(BAD).add_modifier(Modifier::REVERSED)
    } else if loss >= SOME_LOSS {
        Style::new().fg(BAD)
    } else {
        Style::new().fg(GOOD)
    };
    let text = match (show, pair.rtt_p99_ns) {
        (Show::Loss, _) if pair.lost == 0 => "0".to_owned(),
        (Show::Loss, _) => format!("{:.2}", loss * 100.0),
        (Show::Rtt, Some(rtt)) => format!("{:.1}", rtt as f64 / 1e3),
        (Show::Rtt, None) => "-".to_owned(),
    };
    Cell::from(text).style(style)
}

fn list_of_incidents(frame: &mut Frame<'_>, area: Rect, model: &Model, seen: &Answers) {
    let all = model.incidents(seen);
    if all.is_empty() {
        let none = if seen.incidents.is_empty() {
            "no incident is known"
        } else {
            "no incident passes the filter"
        };
        frame.render_widget(Paragraph::new(none), area);
        return;
    }
    let now = seen.now();
    let rows = all.iter().map(|incident| {
        let closed = incident.closed_unix_ns;
        let state = closed.map_or("open".to_owned(), |at| {
            format!("closed {} ago", api::ago(now, at))
        });
        let style = if closed.is_some() {
            Style::new().add_modifier(Modifier::DIM)
        } else {
            Style::new().fg(BAD)
        };
        Row::new([
            incident.id.to_string(),
            incident.severity.to_string(),
            format!("{} ago", api::ago(now, incident.opened_unix_ns)),
            state,
            incident.title.clone(),
        ])
        .style(style)
    });
    let widths = [
        Constraint::Length(6),
        Constraint::Length(3),
        Constraint::Length(11),
        Constraint::Length(18),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths)
        .header(
            Row::new(["number", "", "opened", "state", "what"])
                .style(Style::new().add_modifier(Modifier::BOLD)),
        )
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(model.row);
    frame.render_stateful_widget(table, area, &mut state);
}

fn agents(frame: &mut Frame<'_>, area: Rect, model: &Model, seen: &Answers) {
    let now = seen.now();
    let rows = model.agents(seen).into_iter().map(|agent| {
        let last = agent.last_upload_unix_ns;
        let silent = now.saturating_sub(last) > SILENT;
        let row = Row::new([
            agent.agent.clone(),
            agent.host.clone(),
            agent.version.clone().unwrap_or_default(),
            format!("{} ago", api::ago(now, last)),
            format!("{:.1} s", agent.lateness_ns as f64 / 1e9),
            agent.batches.to_string(),
            agent.lost_batches.to_string(),
            agent.counters.results_dropped.to_string(),
        ]);
        if silent {
            row.style(Style::new().fg(BAD))
        } else {
            row
        }
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    let header = [
        "agent",
        "host",
        "version",
        "last upload",
        "lateness",
        "batches",
        "lost",
        "dropped",
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(model.row);
    frame.render_stateful_widget(table, area, &mut state);
}

/// Where the fabric is looking: what is asked about, with the probes that it takes.
fn focused(frame: &mut Frame<'_>, area: Rect, model: &Model, seen: &Answers) {
    let [head, body] = Layout::vertical([Constraint::Length(2), Constraint::Min(1)]).areas(area);
    let text = seen.focus.as_ref().map_or_else(
        || "the analyzer is older and does not say what it asks for".to_owned(),
        focus::summary,
    );
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), head);
    let rows = seen.questions().iter().map(|question| {
        let incident = question.incident;
        Row::new([
            format!("{:.1}", question.probes_per_second),
            question.tuples.to_string(),
            incident.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            focus::suspects(question),
        ])
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let table = Table::new(rows, widths)
        .header(
            Row::new(["probes/s", "5-tuples", "incident", "suspects"])
                .style(Style::new().add_modifier(Modifier::BOLD)),
        )
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(model.row);
    frame.render_stateful_widget(table, body, &mut state);
}
