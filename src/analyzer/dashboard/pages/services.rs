//! `/services` and `/services/NAME`: what services' own paths went through.

use std::collections::{BTreeMap, BTreeSet};

use super::incidents::Line;
use super::pair::Measured;
use super::{Frame, Page, PageError, window_title};
use crate::analysis::incident::{Incident, Severity};
use crate::analysis::windows::{Span, Sums};
use crate::analyzer::dashboard::query::{self, Pairs};
use crate::analyzer::dashboard::{Dashboard, format};
use crate::analyzer::state::State;
use crate::id::{Gid, ServiceName, TorId};
use crate::store::incidents::Query;
use crate::time::WallTime;

/// Services in the list.
const MOST: usize = 500;
/// Pairs of ToRs of one service, the worst first.
const MOST_PAIRS: usize = 100;
/// Incidents that are searched for those of a service.
const SEARCHED: u32 = 1_000;

/// A service in the list.
#[derive(Debug)]
struct Row {
    name: String,
    href: String,
    paths: usize,
    rnics: usize,
    measured: Measured,
    /// Severity and number of the incidents that hit it.
    incidents: Vec<(&'static str, u64)>,
}

#[derive(Debug, Page)]
#[template(path = "services.html")]
pub(in crate::analyzer::dashboard) struct List {
    page: Frame,
    rows: Vec<Row>,
    more: usize,
}

#[derive(Default)]
struct Gathered {
    paths: usize,
    rnics: BTreeSet<Gid>,
    sums: Sums,
}

/// Makes `/services`.
pub(in crate::analyzer::dashboard) async fn list(
    board: &Dashboard,
    pairs: &Pairs,
) -> Result<List, PageError> {
    query::each(pairs, "nothing", |_, _| Ok(false)).map_err(PageError::BadRequest)?;
    let gathered = board
        .parts
        .state
        .read(gather)
        .await
        .ok_or(PageError::Stopping)?;
    let view = board.parts.views.get();
    let mut rows: Vec<Row> = gathered
        .into_iter()
        .map(|(name, gathered)| Row {
            incidents: view
                .open
                .iter()
                .filter(|incident| incident.services.contains_key(name.as_str()))
                .map(|incident| (incident.severity.name(), incident.id))
                .collect(),
            href: format!("/services/{}", format::escaped(name.as_str())),
            name: name.to_string(),
            paths: gathered.paths,
            rnics: gathered.rnics.len(),
            measured: Measured::new(&gathered.sums),
        })
        .collect();
    rows.sort_by_key(|row| (row.incidents.is_empty(), !row.measured.is_lossy));
    let more = rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    Ok(List {
        page: Frame::new(board, "Services", "services"),
        rows,
        more,
    })
}

fn gather(state: &State, now: WallTime) -> BTreeMap<ServiceName, Gathered> {
    let slots = state.windows.slots(Span::Middle, now);
    let mut services: BTreeMap<ServiceName, Gathered> = BTreeMap::new();
    for path in state.windows.paths() {
        let Some(name) = path.service() else {
            continue;
        };
        if !services.contains_key(name) {
            services.insert(name.clone(), Gathered::default());
        }
        if let Some(service) = services.get_mut(name) {
            service.paths += 1;
            service.rnics.extend([path.source().gid, path.target().gid]);
            path.add_to(&slots, &mut service.sums);
        }
    }
    services
}

/// Two ToRs that a service's paths lead between.
#[derive(Debug)]
struct PairRow {
    source: String,
    target: String,
    href: String,
    paths: usize,
    measured: Measured,
    badness: f64,
}

#[derive(Debug, Page)]
#[template(path = "service.html")]
pub(in crate::analyzer::dashboard) struct One {
    page: Frame,
    name: String,
    /// What was measured in each window.
    windows: Vec<(&'static str, Measured)>,
    impact: &'static str,
    impact_class: &'static str,
    incidents: Vec<Line>,
    pairs: Vec<PairRow>,
    more: usize,
}

type Measurements = (Vec<(&'static str, Measured)>, Vec<PairRow>);

/// Makes `/services/NAME`.
pub(in crate::analyzer::dashboard) async fn one(
    board: &Dashboard,
    pairs: &Pairs,
    name: &str,
) -> Result<One, PageError> {
    query::each(pairs, "nothing", |_, _| Ok(false)).map_err(PageError::BadRequest)?;
    let wanted = ServiceName::from(name);
    let read = board
        .parts
        .state
        .read(move |state, now| measure(state, now, &wanted))
        .await;
    let measurements = read.ok_or(PageError::Stopping)?;
    let asked = Query {
        open: None,
        before: None,
        limit: SEARCHED,
    };
    let view = board.parts.views.get();
    let stored = board.parts.incidents.read(asked).await?;
    let hit: Vec<&Incident> = stored
        .iter()
        .map(|stored| {
            view.open
                .iter()
                .find(|open| open.id == stored.id)
                .unwrap_or(stored)
        })
        .filter(|incident| incident.services.contains_key(name))
        .take(50)
        .collect();
    if measurements.is_none() && hit.is_empty() {
        return Err(PageError::NotFound(format!(
            "No path of the last minutes and no recent incident belongs to a service {name}."
        )));
    }
    let worst = hit
        .iter()
        .filter(|incident| incident.is_open())
        .map(|incident| incident.severity)
        .min();
    let (impact, impact_class) = match worst {
        Some(Severity::P0) => (
            "Suffers: an open incident hits its paths, and its own probes are lost or slow.",
            "trouble",
        ),
        Some(_) => (
            "At risk: an open incident hits its paths; its own probes do not suffer.",
            "waiting",
        ),
        None => ("No open incident hits its paths.", "quiet"),
    };
    let now = board.parts.clock.wall();
    let (windows, mut pairs) = measurements.unwrap_or_default();
    pairs.sort_by(|a, b| {
        b.badness
            .total_cmp(&a.badness)
            .then_with(|| (&a.source, &a.target).cmp(&(&b.source, &b.target)))
    });
    let more = pairs.len().saturating_sub(MOST_PAIRS);
    pairs.truncate(MOST_PAIRS);
    Ok(One {
        page: Frame::new(board, name, "services"),
        name: name.to_owned(),
        windows,
        impact,
        impact_class,
        incidents: hit
            .into_iter()
            .map(|incident| Line::new(incident, now))
            .collect(),
        pairs,
        more,
    })
}

fn measure(state: &State, now: WallTime, wanted: &ServiceName) -> Option<Measurements> {
    let slots = Span::ALL.map(|span| state.windows.slots(span, now));
    let mut sums: [Sums; Span::ALL.len()] = std::array::from_fn(|_| Sums::default());
    let mut pairs: BTreeMap<(&TorId, &TorId), (usize, Sums)> = BTreeMap::new();
    let mut known = false;
    for path in state
        .windows
        .paths()
        .filter(|path| path.service() == Some(wanted))
    {
        known = true;
        for (slots, sums) in slots.iter().zip(&mut sums) {
            path.add_to(slots, sums);
        }
        let (paths, sums) = pairs
            .entry((&path.source().tor, &path.target().tor))
            .or_default();
        *paths += 1;
        path.add_to(&slots[1], sums);
    }
    if !known {
        return None;
    }
    let windows = Span::ALL
        .iter()
        .zip(&sums)
        .map(|(span, sums)| (window_title(*span), Measured::new(sums)))
        .collect();
    let pairs = pairs
        .into_iter()
        .map(|((source, target), (paths, sums))| PairRow {
            href: format!(
                "/tor/{}/{}",
                format::escaped(source.as_str()),
                format::escaped(target.as_str())
            ),
            source: source.to_string(),
            target: target.to_string(),
            paths,
            measured: Measured::new(&sums),
            badness: sums.lost as f64 / sums.sent.max(1) as f64,
        })
        .collect();
    Some((windows, pairs))
}
