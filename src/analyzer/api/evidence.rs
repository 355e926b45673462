//! `GET /api/v1/evidence`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::analysis::certify::{Known, gather};
use crate::analysis::windows::{Slot, WindowLength};
use crate::analyzer::state::State;
use crate::analyzer::view::View;
use crate::api::evidence::{Evidence, EvidenceQuery};
use crate::api::query::Number;
use crate::probe::trace::Tuple;
use crate::time::WallTime;

/// Slots at the end that are left out: their results may still come.
const MARGIN: u32 = 4;
/// A path counts as known for so long after a trace has shown it: agents trace it every few minutes.
const TRACED: Duration = Duration::from_mins(30);

/// Answers `GET /api/v1/evidence`.
pub(in crate::analyzer) fn evidence(
    state: &State,
    view: &View,
    query: &EvidenceQuery,
    now: WallTime,
) -> Evidence {
    let end = Slot::of(now).before(MARGIN);
    let oldest = end.before(WindowLength::Long.slots());
    let asked = query.since_unix_ns.map(Number::get).unwrap_or_default();
    let asked = Slot::of(WallTime::from_nanos(
        i64::try_from(asked).unwrap_or(i64::MAX),
    ));
    let slots = asked.max(oldest).min(end)..end;
    let names = query.without.as_deref().unwrap_or_default().split(',');
    let without: BTreeSet<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let start = slots.start.start();
    let traced = |tuple: &Tuple| {
        let known = state.paths.get(tuple)?;
        let is_new = now.since(known.confirmed()?) <= TRACED;
        let is_steady = known
            .changes()
            .next_back()
            .is_none_or(|change| change.at < start);
        (is_new && is_steady).then(|| state.traced(tuple))?
    };
    let known = Known {
        host_filter: &state.host_filter,
        wiring: state.wiring(),
        routes: state.routes(),
        traced: &|tuple| traced(tuple).map(|(_, switches)| switches),
        first: &|tuple| state.first_switch(tuple),
        without: &without,
    };
    let mut evidence = gather(&state.windows, &known, slots, now);
    evidence.missing = state.missing_of_file().to_vec();
    evidence.differences.clone_from(&view.differences);
    Evidence::from(&evidence)
}
