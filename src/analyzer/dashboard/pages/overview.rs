//! `/`: how the fabric is, what is wrong, and the matrix of ToRs.

use super::frame::Frame;
use super::incidents::Line;
use super::parts::{Choice, Fact, PageError, pair_href, windows};
use super::past;
use crate::analysis::focus::VALID;
use crate::analysis::incident::Severity;
use crate::analysis::judge::{Counts, Question};
use crate::analysis::routes::Origin;
use crate::analyzer::api::incident_of;
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::grid::{self, Axis, Grid, Metric};
use crate::analyzer::dashboard::matrix::Matrix;
use crate::analyzer::dashboard::query::{Pairs, View, When};
use crate::analyzer::view::View as Judged;
use crate::api::status::Coverage;
use crate::time::{Nanos, WallTime};
use askama::Template as Page;

/// Questions of focus that are listed, and suspects of each.
const MOST_QUESTIONS: usize = 8;
const MOST_SUSPECTS: usize = 3;

#[derive(Debug, Page)]
#[template(path = "overview.html")]
pub(in crate::analyzer::dashboard) struct Overview {
    page: Frame,
    verdict: Verdict,
    facts: Vec<Fact>,
    incidents: Vec<Line>,
    /// Where focus sends probes.
    focus: Vec<Looking>,
    grid: Grid,
    metric: Metric,
    metrics: Vec<Choice>,
    windows: Vec<Choice>,
    /// What is zoomed into, and how to get out.
    zoom: Option<Choice>,
    measured: String,
    time: Time,
    /// Query parameters that the time's form has to keep.
    kept: Vec<(&'static str, String)>,
}

/// The headline.
#[derive(Debug)]
struct Verdict {
    class: &'static str,
    title: String,
    detail: String,
}

/// What focus asks about, and what it takes for that.
#[derive(Debug)]
struct Looking {
    suspects: String,
    probes: String,
    incident: Option<u64>,
}

impl Looking {
    fn of(question: &Question, judged: &Judged, now: WallTime) -> Self {
        let named = question.suspects.iter().take(MOST_SUSPECTS);
        let mut suspects: Vec<String> = named
            .map(|(component, probability)| {
                format!("{component} ({})", format::percent(*probability))
            })
            .collect();
        let more = question.suspects.len().saturating_sub(MOST_SUSPECTS);
        if more > 0 {
            suspects.push(format!("{more} more"));
        }
        let until = judged.judgement.at.map(|at| at + Nanos::from(VALID));
        let left = until.map_or_else(Default::default, |until| until.since(now));
        Self {
            suspects: suspects.join(" or "),
            probes: format!(
                "{:.1} probes/s more on {} 5-tuples for {}",
                question.rate,
                question.tuples,
                format::age(left)
            ),
            incident: incident_of(question, &judged.open).map(|incident| incident.id),
        }
    }
}

/// Where the page can go in time.
#[derive(Debug)]
struct Time {
    /// What the form's field holds; empty for now.
    field: String,
    oldest: String,
    steps: Vec<Choice>,
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
) -> Result<Overview, PageError> {
    let view = View::parse(pairs).map_err(PageError::BadRequest)?;
    match view.at {
        None => now(board, view).await,
        Some(at) => past(board, view, at).await,
    }
}

async fn now(board: &Dashboard, view: View) -> Result<Overview, PageError> {
    let parts = &board.parts;
    let judged = parts.views.get();
    let now = parts.clock.wall();
    let matrix = board
        .matrices
        .get(view.window, &parts.state, &parts.clock)
        .await;
    let matrix = matrix.ok_or(PageError::Stopping)?;
    let sizes = parts
        .state
        .read(|state, _| {
            let (hosts, rnics) = state.host_filter.sizes();
            (
                state.agents.len(),
                hosts,
                rnics,
                state.host_filter.tors().len(),
            )
        })
        .await
        .ok_or(PageError::Stopping)?;
    let incidents = judged
        .open
        .iter()
        .map(|incident| Line::new(incident, now))
        .collect();
    let bounds = parts.history.bounds().await?;
    Ok(Overview {
        verdict: verdict(&judged, now),
        facts: facts(&judged, sizes),
        incidents,
        focus: focus(&judged, now),
        time: time(&view, bounds, now),
        ..draw(board, &view, &matrix, "")
    })
}

async fn past(board: &Dashboard, view: View, at: WallTime) -> Result<Overview, PageError> {
    let parts = &board.parts;
    let open = past::open_at(board, at).await?;
    let picture = past::picture(board, at).await?;
    let note = past::note(picture.as_ref());
    // A time without measurements is not a time without faults.
    let is_known = picture
        .as_ref()
        .is_some_and(|picture| picture.matrix.cells.iter().any(|cell| cell.sent > 0));
    let matrix = picture.map(|picture| picture.matrix).unwrap_or_default();
    let bounds = parts.history.bounds().await?;
    let (class, title) = match open.len() {
        _ if at > parts.clock.wall() => ("unknown", "Nothing is known yet".to_owned()),
        0 if !is_known => ("unknown", "No data of this time".to_owned()),
        0 => ("quiet", "Nothing was wrong".to_owned()),
        1 => ("trouble", "1 incident was open".to_owned()),
        count => ("trouble", format!("{count} incidents were open")),
    };
    Ok(Overview {
        verdict: Verdict {
            class,
            title,
            detail: format!("as of {}", format::time(at)),
        },
        incidents: open
            .iter()
            .map(|incident| Line::new(incident, at))
            .collect(),
        time: time(&view, bounds, parts.clock.wall()),
        ..draw(board, &view, &matrix, &note)
    })
}

/// What both now and the past have in common.
fn draw(board: &Dashboard, view: &View, matrix: &Matrix, note: &str) -> Overview {
    let grid = grid::draw(
        matrix,
        view.metric,
        &view.rows,
        &view.columns,
        |row, column| link(view, row, column),
    );
    let measured = if matrix.tors.is_empty() {
        "no measurements of this time".to_owned()
    } else {
        let (start, end) = (
            WallTime::from_nanos(matrix.start),
            WallTime::from_nanos(matrix.end),
        );
        format!(
            "{} to {}",
            format::time(start).trim_end_matches(" UTC"),
            format::time(end)
        )
    };
    Overview {
        page: Frame::timed(board, "Overview", "overview", view.at, note, &|at| {
            href(&View { at, ..view.clone() })
        }),
        verdict: Verdict {
            class: "",
            title: String::new(),
            detail: String::new(),
        },
        facts: Vec::new(),
        incidents: Vec::new(),
        focus: Vec::new(),
        metric: view.metric,
        metrics: Metric::ALL
            .into_iter()
            .map(|metric| Choice {
                title: metric.title().to_owned(),
                href: href(&View {
                    metric,
                    ..view.clone()
                }),
                current: metric == view.metric,
            })
            .collect(),
        // Pictures of the past have one window: their minute.
        windows: if view.at.is_some() {
            Vec::new()
        } else {
            windows(view.window, |window| {
                href(&View {
                    window,
                    ..view.clone()
                })
            })
        },
        zoom: zoom(view, &grid),
        grid,
        measured,
        time: time(view, None, board.parts.clock.wall()),
        kept: kept(view),
    }
}

/// What focus asks about, while a controller is told.
fn focus(judged: &Judged, now: WallTime) -> Vec<Looking> {
    if judged.focus.is_none() {
        return Vec::new();
    }
    let questions = judged.judgement.questions.iter().take(MOST_QUESTIONS);
    questions
        .map(|question| Looking::of(question, judged, now))
        .collect()
}

fn href(view: &View) -> String {
    format!("/{}", view.query())
}

/// What a cell opens: the part that it stands for, or the page of the pair.
fn link(view: &View, row: &Axis, column: &Axis) -> String {
    if row.is_group || column.is_group {
        let part = |axis: &Axis| Some((axis.first.clone(), axis.last.clone()));
        return href(&View {
            rows: part(row),
            columns: part(column),
            ..view.clone()
        });
    }
    let when = When {
        window: view.window,
        at: view.at,
    };
    pair_href(&row.first, &column.first, when)
}

fn zoom(view: &View, grid: &Grid) -> Option<Choice> {
    if view.rows.is_none() && view.columns.is_none() {
        return None;
    }
    let part = |part: &grid::Part| match part {
        None => "all".to_owned(),
        Some((first, last)) if first == last => first.clone(),
        Some((first, last)) => format!("{first} … {last}"),
    };
    Some(Choice {
        title: format!(
            "{} to {} of {} ToRs",
            part(&view.rows),
            part(&view.columns),
            grid.total
        ),
        href: href(&View {
            rows: None,
            columns: None,
            ..view.clone()
        }),
        current: false,
    })
}

fn kept(view: &View) -> Vec<(&'static str, String)> {
    let mut kept = Vec::new();
    if view.metric != Metric::default() {
        kept.push(("metric", view.metric.name().to_owned()));
    }
    for (part, from, to) in [
        (&view.rows, "rows_from", "rows_to"),
        (&view.columns, "cols_from", "cols_to"),
    ] {
        if let Some((first, last)) = part {
            kept.push((from, first.clone()));
            kept.push((to, last.clone()));
        }
    }
    kept
}

fn time(view: &View, bounds: Option<(WallTime, WallTime)>, now: WallTime) -> Time {
    Time {
        field: view.at.map(format::minute).unwrap_or_default(),
        oldest: bounds
            .map(|(oldest, _)| format::time(oldest))
            .unwrap_or_default(),
        steps: past::steps(view.at, now, &|at| href(&View { at, ..view.clone() })),
    }
}

fn verdict(judged: &Judged, now: WallTime) -> Verdict {
    let Some(at) = judged.judgement.at else {
        return Verdict {
            class: "waiting",
            title: "Waiting for the first judgement".to_owned(),
            detail: "no run of the judge yet".to_owned(),
        };
    };
    let mut detail = format!(
        "judged {} ago in {}",
        format::age(now.since(at)),
        format::span(Nanos::from(judged.took))
    );
    let is_blind = judged.judgement.judged.sent == 0;
    if is_blind {
        detail.push_str(
            "; no probe of the last 20 s is judged: no fault of the network would be seen",
        );
    }
    if judged.open.is_empty() {
        let (class, title) = if is_blind {
            ("unknown", "No data")
        } else {
            ("quiet", "All quiet")
        };
        return Verdict {
            class,
            title: title.to_owned(),
            detail,
        };
    }
    let counts: Vec<String> = Severity::ALL
        .into_iter()
        .filter_map(|severity| {
            let count = judged
                .open
                .iter()
                .filter(|incident| incident.severity == severity)
                .count();
            (count > 0).then(|| format!("{count} {}", severity.name()))
        })
        .collect();
    let plural = if judged.open.len() == 1 { "" } else { "s" };
    Verdict {
        class: "trouble",
        title: format!("{} open incident{plural}", judged.open.len()),
        detail: format!("{}; {detail}", counts.join(", ")),
    }
}

fn facts(judged: &Judged, (agents, hosts, rnics, tors): (usize, usize, usize, usize)) -> Vec<Fact> {
    let count = |number: usize| format::count(number as u64);
    let judgement = &judged.judgement;
    let Counts { sent, lost } = judgement.judged;
    let aside: u64 = judgement.set_aside.values().map(|counts| counts.sent).sum();
    let reasons: Vec<_> = judgement
        .set_aside
        .keys()
        .map(|reason| reason.name().replace('_', " "))
        .collect();
    let paths = |origin| judgement.paths.get(&origin).copied().unwrap_or_default();
    let all = paths(Origin::Traced) + paths(Origin::Candidates) + paths(Origin::Cloud);
    let traced = if all == 0 {
        format::NOTHING.to_owned()
    } else {
        format::percent(paths(Origin::Traced) as f64 / all as f64)
    };
    let coverage = Coverage {
        judged_rnics: judgement.coverage.judged,
        known_rnics: judgement.coverage.known,
        missing: judged.missing,
    };
    vec![
        Fact::new(
            "Judged now",
            coverage
                .share()
                .map_or_else(|| format::NOTHING.to_owned(), format::percent),
            format!(
                "{} of {} RNICs",
                count(coverage.judged_rnics),
                count(coverage.known_rnics + coverage.missing)
            ),
        ),
        Fact::new("Agents", count(agents), format!("{} hosts", count(hosts))),
        Fact::new("RNICs", count(rnics), format!("under {} ToRs", count(tors))),
        Fact::new("Probes in 20 s", format::count(sent), "judged"),
        Fact::new(
            "Lost",
            format::loss(lost, sent),
            format!("{} probes", format::count(lost)),
        ),
        Fact::new(
            "Set aside",
            format::count(aside),
            if reasons.is_empty() {
                "no host disturbs".to_owned()
            } else {
                reasons.join(", ")
            },
        ),
        Fact::new(
            "Paths traced",
            traced,
            format!("{} 5-tuples known", count(judged.traced)),
        ),
    ]
}
