//! `/agents`: who uploads, how late, and what was dropped.

use std::time::Duration;

use super::frame::Frame;
use super::parts::{Fact, PageError, host_href};
use crate::analyzer::agents::Agent;
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::listing::{Controls, Listing};
use crate::analyzer::dashboard::query::{self, Pairs, at_query, written};
use crate::api::list::{Column, Listed, Value, natural};
use crate::id::{AgentId, AgentVersion};
use crate::time::{Nanos, WallTime};
use askama::Template as Page;

/// The analyzer's own: agents of another one are marked.
const OWN: &str = env!("CARGO_PKG_VERSION");
/// Versions that are named above the list.
const NAMED: usize = 4;
/// Agents on one page.
const PAGE: usize = 200;
/// An agent that uploaded nothing for so long is silent: several times the usual interval.
const SILENT: Duration = Duration::from_secs(10);
/// Results that come later than this after their interval are late.
const LATE: Nanos = Nanos(5_000_000_000);

#[derive(Debug)]
struct Row {
    agent: String,
    host: String,
    /// The host's page.
    page: String,
    version: String,
    /// Whether the analyzer is of another version.
    is_other: bool,
    /// quiet, waiting or trouble.
    class: &'static str,
    state: &'static str,
    last: String,
    late: String,
    batches: String,
    lost: u64,
    dropped: u64,
    late_results: u64,
    refused: u64,
    last_refusal: String,
    malformed: u64,
    answered: String,
    /// What it says is off.
    degraded: Vec<String>,
    /// The worst first.
    rank: u8,
    silent_for: Duration,
    lateness: Nanos,
    taken: u64,
    answers: u64,
}

impl Listed for Row {
    const COLUMNS: &'static [Column] = &[
        Column::text("agent", "Agent"),
        Column::text("state", "State"),
        Column::text("off", "Off"),
        Column::text("host", "Host"),
        Column::text("version", "Version"),
        Column::time("last", "Last upload"),
        Column::time("lateness", "Lateness"),
        Column::count("batches", "Batches"),
        Column::count("lost", "Lost"),
        Column::count("dropped", "Dropped"),
        Column::count("uncounted", "Not counted"),
        Column::count("refused", "Refused"),
        Column::count("malformed", "Malformed"),
        Column::count("answered", "Answered"),
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "agent" => Value::text(&self.agent),
            "state" => Value::text(self.state),
            "off" => Value::Texts(self.degraded.iter().map(Into::into).collect()),
            "host" => Value::text(&self.host),
            "version" => Value::text(&self.version),
            "last" => Value::nanos(i64::try_from(self.silent_for.as_nanos()).ok()),
            "lateness" => Value::nanos(Some(self.lateness.0)),
            "batches" => Value::count(self.taken),
            "lost" => Value::count(self.lost),
            "dropped" => Value::count(self.dropped),
            "uncounted" => Value::count(self.late_results),
            "refused" => Value::count(self.refused),
            "malformed" => Value::count(self.malformed),
            "answered" => Value::count(self.answers),
            _ => Value::Missing,
        }
    }
}

impl Row {
    fn new(id: &AgentId, agent: &Agent, now: WallTime) -> Self {
        let silent_for = now.since(agent.last_upload);
        let counters = &agent.counters;
        let state = agent.state.as_ref();
        let degraded = state
            .map(|state| state.degraded.clone())
            .unwrap_or_default();
        let (rank, class, state) = if silent_for > SILENT {
            (0, "trouble", "silent")
        } else if agent.clock.is_negative() {
            (1, "trouble", "clock behind")
        } else if agent.clock > Nanos::ZERO {
            (1, "trouble", "clock ahead")
        } else if agent.lateness > LATE {
            (2, "waiting", "late")
        } else if agent.lost_batches + counters.results_dropped + counters.batches_dropped > 0 {
            (3, "waiting", "has dropped")
        } else if !degraded.is_empty() {
            (4, "waiting", "degraded")
        } else if agent.refused_reports > 0 {
            (5, "waiting", "was refused")
        } else {
            (6, "quiet", "healthy")
        };
        Self {
            agent: id.to_string(),
            host: agent.host.to_string(),
            page: host_href(agent.host.as_str(), None),
            version: version(agent.version.as_ref()),
            is_other: agent
                .version
                .as_ref()
                .is_some_and(|version| version.as_str() != OWN),
            class,
            state,
            last: format::age(silent_for),
            late: format::span(agent.lateness),
            batches: format::count(agent.batches),
            lost: agent.lost_batches,
            dropped: counters.results_dropped + counters.batches_dropped,
            late_results: agent.late_results + agent.future_results,
            refused: agent.refused_reports,
            last_refusal: agent.last_refusal.clone().unwrap_or_default(),
            malformed: counters.malformed_packets,
            answered: format::count(counters.probes_answered),
            degraded,
            rank,
            silent_for,
            lateness: agent.lateness,
            taken: agent.batches,
            answers: counters.probes_answered,
        }
    }
}

fn version(version: Option<&AgentVersion>) -> String {
    version.map_or_else(|| format::NOTHING.to_owned(), ToString::to_string)
}

/// Which versions run, the most common first.
fn versions(counts: &[(Option<AgentVersion>, usize)]) -> Fact {
    let name = |one: &Option<AgentVersion>| match one {
        Some(version) => version.to_string(),
        None => "unknown".to_owned(),
    };
    let (value, note) = match counts {
        [] => (format::NOTHING.to_owned(), String::new()),
        [(one, _)] => (name(one), "on all of them".to_owned()),
        several => {
            let mut named: Vec<_> = several
                .iter()
                .take(NAMED)
                .map(|(one, count)| format!("{} × {}", format::count(*count as u64), name(one)))
                .collect();
            if several.len() > NAMED {
                named.push("…".to_owned());
            }
            (format!("{} mixed", several.len()), named.join(", "))
        }
    };
    Fact::new("Versions", value, note)
}

#[derive(Debug, Page)]
#[template(path = "agents.html")]
pub(in crate::analyzer::dashboard) struct Agents {
    page: Frame,
    facts: Vec<Fact>,
    controls: Controls,
    rows: Vec<Row>,
    first: usize,
    total: usize,
    previous: Option<String>,
    next: Option<String>,
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
) -> Result<Agents, PageError> {
    let (mut offset, mut at) = (0usize, None);
    let listing = Listing::parse::<Row>(pairs, "offset, at", |key, value| {
        match key {
            "offset" => offset = usize::try_from(query::id(key, value)?).unwrap_or(usize::MAX),
            "at" => at = query::at(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })
    .map_err(PageError::BadRequest)?;
    if at.is_some() {
        let note = "How agents were is not kept.";
        let href = |at| format!("/agents{}", at_query(at));
        return Ok(Agents {
            page: Frame::timed(board, "Agents", "agents", at, note, &href),
            facts: Vec::new(),
            controls: listing.controls::<Row>("/agents", query::at_pair(at).into_iter().collect()),
            rows: Vec::new(),
            first: 1,
            total: 0,
            previous: None,
            next: None,
        });
    }
    let read = board.parts.state.read(|state, now| {
        let rows: Vec<_> = state
            .agents
            .iter()
            .map(|(id, agent)| Row::new(id, agent, now))
            .collect();
        (rows, state.agents.versions())
    });
    let (mut rows, counts) = read.await.ok_or(PageError::Stopping)?;
    rows.sort_by(|a, b| {
        a.rank
            .cmp(&b.rank)
            .then_with(|| natural(&a.agent, &b.agent))
    });
    let all = rows.len();
    let ranked = |state: &str| rows.iter().filter(|row| row.state == state).count() as u64;
    let sum = |of: fn(&Row) -> u64| format::count(rows.iter().map(of).fold(0, u64::saturating_add));
    let facts = vec![
        Fact::new("Agents", format::count(all as u64), "of the last 24 hours"),
        Fact::new(
            "Healthy",
            format::count(ranked("healthy")),
            "upload in time, drop nothing, lack nothing",
        ),
        Fact::new(
            "Silent",
            format::count(ranked("silent")),
            "for more than 10 s",
        ),
        Fact::new(
            "Degraded",
            format::count(rows.iter().filter(|row| !row.degraded.is_empty()).count() as u64),
            "say that something is off",
        ),
        versions(&counts),
        Fact::new(
            "Batches lost",
            sum(|row| row.lost),
            "spools that overflowed",
        ),
        Fact::new(
            "Reports refused",
            sum(|row| row.refused),
            "contradicted themselves",
        ),
    ];
    listing.apply(&mut rows);
    let total = rows.len();
    let href = |offset: usize| {
        let mut pairs = listing.pairs();
        if offset > 0 {
            pairs.push(("offset", offset.to_string()));
        }
        format!("/agents{}", written(&pairs))
    };
    let next = offset.saturating_add(PAGE);
    let rows: Vec<_> = rows.into_iter().skip(offset).take(PAGE).collect();
    Ok(Agents {
        page: Frame::new(board, "Agents", "agents"),
        controls: listing.controls::<Row>("/agents", Vec::new()),
        facts,
        first: offset.saturating_add(1),
        total,
        previous: (offset > 0).then(|| href(offset.saturating_sub(PAGE))),
        next: (next < total).then(|| href(next)),
        rows,
    })
}
