//! `/tor/A/B`: what was measured between the RNICs under two ToRs, one way.

use std::collections::BTreeMap;

use super::frame::Frame;
use super::parts::{
    Choice, Fact, MEASURED, Measured, PageError, pair_href, pair_path, path_href, rnic_href,
    trend_path, windows,
};
use super::past::{self, LossyPaths, LossyRow};
use crate::analysis::trend::Kind;
use crate::analysis::windows::Sums;
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::details::{Numbers, Rnic};
use crate::analyzer::dashboard::listing::{Controls, Listing};
use crate::analyzer::dashboard::matrix::is_within;
use crate::analyzer::dashboard::query::{self, Pairs, When, at_query, written};
use crate::analyzer::state::State;
use crate::api::list::{Column, Listed, Value};
use crate::id::{Gid, TorId};
use crate::time::WallTime;
use askama::Template as Page;

/// Pairs of RNICs on one page, the worst first.
const MOST: usize = 200;

/// Two RNICs.
#[derive(Debug, Clone)]
struct Row {
    source: Rnic,
    target: Rnic,
    href: String,
    /// The page of the RNIC that probes.
    rnic: String,
    paths: usize,
    measured: Measured,
}

impl Listed for Row {
    const COLUMNS: &'static [Column] = &[
        Column::text("from", "From"),
        Column::text("to", "To"),
        Column::count("paths", "Paths"),
        MEASURED[0],
        MEASURED[1],
        MEASURED[2],
        MEASURED[3],
        MEASURED[4],
        MEASURED[5],
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "from" => self.source.names(),
            "to" => self.target.names(),
            "paths" => Value::count(self.paths as u64),
            measured => self.measured.value(measured),
        }
    }
}

#[derive(Debug, Page)]
#[template(path = "pair.html")]
pub(in crate::analyzer::dashboard) struct Pair {
    page: Frame,
    source: String,
    target: String,
    windows: Vec<Choice>,
    back: String,
    facts: Vec<Fact>,
    controls: Controls,
    rows: Vec<Row>,
    /// Pairs of RNICs that are not shown.
    more: usize,
    /// Of the past, in place of the rows.
    lossy: Option<LossyPaths>,
    /// The fabric at this time.
    fabric: String,
    trend: String,
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
    source: &str,
    target: &str,
) -> Result<Pair, PageError> {
    let mut when = When::default();
    let is_past = query::has_at(pairs);
    let take = |key: &str, value: &str| when.take(key, value);
    let listing = if is_past {
        Listing::parse::<LossyRow>(pairs, "window, at", take)
    } else {
        Listing::parse::<Row>(pairs, "window, at", take)
    };
    let listing = listing.map_err(PageError::BadRequest)?;
    match when.at {
        None => now(board, when, &listing, (source, target)).await,
        Some(at) => then(board, (when, at), &listing, (source, target)).await,
    }
}

async fn now(
    board: &Dashboard,
    when: When,
    listing: &Listing,
    (source, target): (&str, &str),
) -> Result<Pair, PageError> {
    let (from, to) = (TorId::from(source), TorId::from(target));
    let read = board
        .parts
        .state
        .read(move |state, now| read(state, now, when, &from, &to));
    let found = read.await.ok_or(PageError::Stopping)?;
    let Some((total, mut rows)) = found else {
        return Err(PageError::NotFound(format!(
            "No report of the last minutes names both ToRs: {source} and {target}."
        )));
    };
    rows.sort_by(|a, b| {
        let key = |row: &Row| {
            (
                row.source.host.clone(),
                row.source.device.clone(),
                row.target.host.clone(),
            )
        };
        let (x, y) = (a.measured.badness(), b.measured.badness());
        y.0.total_cmp(&x.0)
            .then(y.1.cmp(&x.1))
            .then_with(|| key(a).cmp(&key(b)))
    });
    listing.apply(&mut rows);
    let more = rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    Ok(Pair {
        facts: total.facts("from one to the other"),
        windows: windows(when.window, |window| {
            let mut pairs = When { window, ..when }.pairs();
            pairs.extend(listing.pairs());
            pair_path(source, target) + &written(&pairs)
        }),
        controls: listing.controls::<Row>(&pair_path(source, target), when.pairs()),
        rows,
        more,
        ..frame(board, when, (source, target), "")
    })
}

/// The counts that the minute's picture has, and the paths that lost probes.
async fn then(
    board: &Dashboard,
    (when, at): (When, WallTime),
    listing: &Listing,
    (source, target): (&str, &str),
) -> Result<Pair, PageError> {
    let picture = past::picture(board, at).await?;
    let mut note = past::note(picture.as_ref());
    let pair = picture
        .as_ref()
        .and_then(|picture| picture.matrix.pair(source, target));
    if picture.is_some() && pair.is_none() {
        return Err(PageError::NotFound(format!(
            "No measurement of this time has both ToRs: {source} and {target}."
        )));
    }
    if pair.is_some_and(|(_, is_group)| is_group) {
        note +=
            " Of so many ToRs groups are kept: the numbers are those of the group's worst pair.";
    }
    let details = picture
        .as_ref()
        .and_then(|picture| picture.details.as_ref());
    let lossy = LossyPaths::of(details, (when, listing), |path| {
        is_within(source, &path.source.tor) && is_within(target, &path.target.tor)
    });
    let facts = pair.map(|(cell, _)| {
        let numbers = Numbers {
            sent: cell.sent,
            lost: cell.lost,
            invalid: 0,
            rtt_p50: cell.rtt_p50,
            rtt_p99: cell.rtt_p99,
            prober_p99: cell.prober_p99,
            responder_p99: cell.responder_p99,
        };
        Measured::from(numbers).facts("from one to the other")
    });
    Ok(Pair {
        facts: facts.unwrap_or_default(),
        controls: listing.controls::<LossyRow>(&pair_path(source, target), when.pairs()),
        lossy: Some(lossy),
        ..frame(board, when, (source, target), &note)
    })
}

/// What both have in common.
fn frame(board: &Dashboard, when: When, (source, target): (&str, &str), note: &str) -> Pair {
    let title = format!("{source} → {target}");
    let href = |at| pair_href(source, target, When { at, ..when });
    Pair {
        page: Frame::timed(board, title, "overview", when.at, note, &href),
        source: source.to_owned(),
        target: target.to_owned(),
        windows: Vec::new(),
        back: pair_href(target, source, when),
        facts: Vec::new(),
        controls: Listing::default().controls::<Row>("", Vec::new()),
        rows: Vec::new(),
        more: 0,
        lossy: None,
        fabric: format!("/fabric{}", at_query(when.at)),
        trend: trend_path(Kind::TorPair, source, target),
    }
}

/// `None` when a ToR is unknown.
fn read(
    state: &State,
    now: WallTime,
    when: When,
    from: &TorId,
    to: &TorId,
) -> Option<(Measured, Vec<Row>)> {
    let slots = state.windows.slots(when.window, now);
    let mut known = (false, false);
    let mut total = Sums::default();
    let mut found: BTreeMap<(Gid, Gid), (Rnic, Rnic, usize, Sums)> = BTreeMap::new();
    for path in state.windows.paths() {
        let (source, target) = (path.source(), path.target());
        known.0 |= source.tor == *from || target.tor == *from;
        known.1 |= source.tor == *to || target.tor == *to;
        if source.tor != *from || target.tor != *to || !path.has_results(&slots) {
            continue;
        }
        let (_, _, paths, sums) = found
            .entry((source.gid, target.gid))
            .or_insert_with(|| (source.into(), target.into(), 0, Sums::default()));
        *paths += 1;
        path.add_to(&slots, sums);
        path.add_to(&slots, &mut total);
    }
    if known != (true, true) {
        return None;
    }
    let rows = found
        .into_values()
        .map(|(source, target, paths, sums)| Row {
            href: path_href(&source.gid, &target.gid, when),
            rnic: rnic_href(&source.host, &source.device, None),
            measured: Measured::from(&sums),
            source,
            target,
            paths,
        })
        .collect();
    Some((Measured::from(&total), rows))
}
