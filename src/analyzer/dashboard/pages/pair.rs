//! `/tor/A/B`: what was measured between the RNICs under two ToRs, one way.

use std::collections::BTreeMap;

use super::{Choice, Fact, Frame, Page, PageError, only_window, window_query, windows};
use crate::analysis::report::End;
use crate::analysis::windows::{Span, Sums};
use crate::analyzer::dashboard::query::Pairs;
use crate::analyzer::dashboard::{Dashboard, format};
use crate::analyzer::state::State;
use crate::id::{Gid, TorId};
use crate::time::WallTime;

/// Pairs of RNICs on one page, the worst first.
const MOST: usize = 200;

/// One end of a path, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rnic {
    pub(super) host: String,
    pub(super) device: String,
    pub(super) tor: String,
    pub(super) gid: String,
}

impl From<&End> for Rnic {
    fn from(end: &End) -> Self {
        Self {
            host: end.host.to_string(),
            device: end.device.to_string(),
            tor: end.tor.to_string(),
            gid: end.gid.to_string(),
        }
    }
}

/// What was measured, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) sent: String,
    pub(super) lost: String,
    pub(super) loss: String,
    pub(super) is_lossy: bool,
    pub(super) invalid: u64,
    pub(super) p50: String,
    pub(super) p99: String,
    pub(super) prober: String,
    pub(super) responder: String,
}

impl Measured {
    pub(super) fn new(sums: &Sums) -> Self {
        Self {
            sent: format::count(sums.sent),
            lost: format::count(sums.lost),
            loss: format::loss(sums.lost, sums.sent),
            is_lossy: sums.lost > 0,
            invalid: sums.invalid.iter().sum(),
            p50: format::maybe_span(sums.network_rtt.quantile(0.5)),
            p99: format::maybe_span(sums.network_rtt.quantile(0.99)),
            prober: format::maybe_span(sums.prober_delay.quantile(0.99)),
            responder: format::maybe_span(sums.responder_delay.quantile(0.99)),
        }
    }

    pub(super) fn facts(&self, sent: &'static str) -> Vec<Fact> {
        vec![
            Fact::new(
                "Lost",
                self.loss.clone(),
                format!("{} of {} probes {sent}", self.lost, self.sent),
            ),
            Fact::new("RTT median", self.p50.clone(), "on the network, both ways"),
            Fact::new("RTT p99", self.p99.clone(), "on the network, both ways"),
            Fact::new(
                "Prober delay",
                self.prober.clone(),
                "p99, added by its host",
            ),
            Fact::new(
                "Responder delay",
                self.responder.clone(),
                "p99, added by its host",
            ),
        ]
    }
}

/// Two RNICs.
#[derive(Debug, Clone)]
struct Row {
    source: Rnic,
    target: Rnic,
    href: String,
    paths: usize,
    measured: Measured,
    /// For sorting: share lost, and the p99.
    badness: (f64, i64),
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
    rows: Vec<Row>,
    /// Pairs of RNICs that are not shown.
    more: usize,
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
    source: &str,
    target: &str,
) -> Result<Pair, PageError> {
    let window = only_window(pairs)?;
    let (from, to) = (TorId::from(source), TorId::from(target));
    let read = board
        .parts
        .state
        .read(move |state, now| read(state, now, window, &from, &to));
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
        b.badness
            .0
            .total_cmp(&a.badness.0)
            .then(b.badness.1.cmp(&a.badness.1))
            .then_with(|| key(a).cmp(&key(b)))
    });
    let more = rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    let address = |source: &str, target: &str| {
        format!(
            "/tor/{}/{}",
            format::escaped(source),
            format::escaped(target)
        )
    };
    let here = address(source, target);
    Ok(Pair {
        page: Frame::new(board, format!("{source} → {target}"), "overview"),
        source: source.to_owned(),
        target: target.to_owned(),
        windows: windows(window, |window| here.clone() + &window_query(window)),
        back: address(target, source) + &window_query(window),
        facts: total.facts("from one to the other"),
        rows,
        more,
    })
}

/// `None` when a ToR is unknown.
fn read(
    state: &State,
    now: WallTime,
    window: Span,
    from: &TorId,
    to: &TorId,
) -> Option<(Measured, Vec<Row>)> {
    let slots = state.windows.slots(window, now);
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
            href: format!(
                "/path/{}/{}",
                format::escaped(&source.gid),
                format::escaped(&target.gid)
            ) + &window_query(window),
            badness: (
                sums.lost as f64 / sums.sent.max(1) as f64,
                sums.network_rtt.quantile(0.99).map_or(0, |span| span.0),
            ),
            measured: Measured::new(&sums),
            source,
            target,
            paths,
        })
        .collect();
    Some((Measured::new(&total), rows))
}
