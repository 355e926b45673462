//! `/path/SOURCE/TARGET`: the ECMP paths of a pair of RNICs by source port, with the switches that traces have shown.

use super::pair::{Measured, Rnic};
use super::{Choice, Fact, Frame, Page, PageError, only_window, window_query, windows};
use crate::analysis::paths::Known;
use crate::analysis::windows::{PathView, Span, Sums};
use crate::analyzer::dashboard::query::Pairs;
use crate::analyzer::dashboard::{Dashboard, format};
use crate::analyzer::metrics::kind_name;
use crate::analyzer::state::State;
use crate::id::{Gid, UdpSourcePort};
use crate::probe::trace::{Route, Tuple};
use crate::time::WallTime;

/// Paths on one page, the worst first.
const MOST: usize = 200;

/// What is known of the way that packets take.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    /// Switches; empty names for those that never answered.
    hops: Vec<String>,
    note: String,
    changes: Vec<(String, String, Vec<String>)>,
    changed: u64,
}

/// One 5-tuple.
#[derive(Debug, Clone)]
struct Row {
    port: String,
    kind: String,
    service: Option<(String, String)>,
    measured: Measured,
    way: Option<Way>,
    badness: f64,
}

#[derive(Debug, Page)]
#[template(path = "path.html")]
pub(in crate::analyzer::dashboard) struct Ways {
    page: Frame,
    source: Rnic,
    target: Rnic,
    windows: Vec<Choice>,
    pair: String,
    back: String,
    facts: Vec<Fact>,
    rows: Vec<Row>,
    more: usize,
}

struct Found {
    source: Rnic,
    target: Rnic,
    total: Measured,
    rows: Vec<Row>,
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
    source: &str,
    target: &str,
) -> Result<Ways, PageError> {
    let window = only_window(pairs)?;
    let unknown = || {
        PageError::NotFound(format!(
            "No report of the last minutes is about the path from {source} to {target}."
        ))
    };
    let from: Gid = source.parse().map_err(|_| unknown())?;
    let to: Gid = target.parse().map_err(|_| unknown())?;
    let read = board
        .parts
        .state
        .read(move |state, now| read(state, now, window, from, to));
    let found = read.await.ok_or(PageError::Stopping)?.ok_or_else(unknown)?;
    let Found {
        source,
        target,
        total,
        mut rows,
    } = found;
    rows.sort_by(|a, b| {
        b.badness
            .total_cmp(&a.badness)
            .then_with(|| (&a.kind, &a.port).cmp(&(&b.kind, &b.port)))
    });
    let more = rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    let address = |from: Gid, to: Gid| {
        format!(
            "/path/{}/{}",
            format::escaped(&from.to_string()),
            format::escaped(&to.to_string())
        )
    };
    Ok(Ways {
        page: Frame::new(
            board,
            format!("{} → {}", source.host, target.host),
            "overview",
        ),
        windows: windows(window, |window| address(from, to) + &window_query(window)),
        pair: format!(
            "/tor/{}/{}",
            format::escaped(&source.tor),
            format::escaped(&target.tor)
        ) + &window_query(window),
        back: address(to, from) + &window_query(window),
        facts: total.facts("on all paths"),
        source,
        target,
        rows,
        more,
    })
}

fn read(state: &State, now: WallTime, window: Span, from: Gid, to: Gid) -> Option<Found> {
    let slots = state.windows.slots(window, now);
    let mut total = Sums::default();
    let (mut source, mut target) = (None, None);
    let mut rows = Vec::new();
    for path in state.windows.paths() {
        // The way back of a path that is probed one way only has ends, and no probes.
        for end in [path.source(), path.target()] {
            if end.gid == from && source.is_none() {
                source = Some(Rnic::from(end));
            }
            if end.gid == to && target.is_none() {
                target = Some(Rnic::from(end));
            }
        }
        if path.source().gid != from || path.target().gid != to {
            continue;
        }
        if path.has_results(&slots) {
            path.add_to(&slots, &mut total);
            rows.push(row(state, path, &slots, now));
        }
    }
    Some(Found {
        source: source?,
        target: target?,
        total: Measured::new(&total),
        rows,
    })
}

fn row(
    state: &State,
    path: PathView<'_>,
    slots: &std::ops::Range<crate::analysis::windows::Slot>,
    now: WallTime,
) -> Row {
    let mut sums = Sums::default();
    path.add_to(slots, &mut sums);
    let tuple = |port: UdpSourcePort| Tuple {
        source: path.source().gid,
        target: path.target().gid,
        port,
    };
    let known = path
        .source_port()
        .and_then(|port| state.paths.get(&tuple(port)));
    Row {
        port: path
            .source_port()
            .map_or_else(|| "hidden".to_owned(), |port| port.0.to_string()),
        kind: kind_name(path.kind()).replace('_', " "),
        service: path.service().map(|name| {
            (
                name.to_string(),
                format!("/services/{}", format::escaped(name.as_str())),
            )
        }),
        badness: sums.lost as f64 / sums.sent.max(1) as f64,
        measured: Measured::new(&sums),
        way: known.map(|known| way(known, now)),
    }
}

fn names(route: &Route) -> Vec<String> {
    route
        .hops()
        .iter()
        .map(|hop| hop.as_ref().map(ToString::to_string).unwrap_or_default())
        .collect()
}

fn way(known: &Known, now: WallTime) -> Way {
    let newest = known.newest();
    let reached = if newest.end.is_complete() {
        ""
    } else {
        "; the newest trace ends in silence"
    };
    Way {
        hops: known.route().map(names).unwrap_or_default(),
        note: match known.confirmed() {
            Some(at) => format!("traced {} ago{reached}", format::age(now.since(at))),
            None => "no complete trace yet".to_owned(),
        },
        changes: known
            .changes()
            .rev()
            .map(|change| {
                (
                    format::stamp(change.at),
                    format::time(change.at),
                    names(&change.from),
                )
            })
            .collect(),
        changed: known.changed(),
    }
}
