//! `GET /api/v1/evidence`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::analysis::certify::{Gathering, Known};
use crate::analysis::windows::{Slot, WindowLength};
use crate::analyzer::state::{State, StateHandle};
use crate::analyzer::view::View;
use crate::api::evidence::{Evidence, EvidenceQuery};
use crate::api::query::Number;
use crate::probe::trace::Tuple;
use crate::time::WallTime;

/// Slots at the end that are left out: their results may still come.
const MARGIN: u32 = 4;
/// A path counts as known for so long after a trace has shown it: agents trace it every few minutes.
const TRACED: Duration = Duration::from_mins(30);

/// Paths that are counted at once: between two portions the state thread takes batches.
const PORTION: usize = 8_192;

/// Answers `GET /api/v1/evidence`; `None` when the analyzer ends.
pub(in crate::analyzer) async fn evidence(
    state: &StateHandle,
    view: Arc<View>,
    query: EvidenceQuery,
) -> Option<Evidence> {
    let mut gathering = state.read(move |_, now| begin(&query, now)).await?;
    loop {
        let (taken, has_more) = state
            .read(move |state, now| {
                let has_more = take(&mut gathering, state, now);
                (gathering, has_more)
            })
            .await?;
        gathering = taken;
        if !has_more {
            break;
        }
    }
    let missing = state
        .read(|state, _| state.missing_of_file().to_vec())
        .await?;
    let answer = tokio::task::spawn_blocking(move || {
        let mut evidence = gathering.finish();
        evidence.missing = missing;
        evidence.differences.clone_from(&view.differences);
        Evidence::from(&evidence)
    });
    answer.await.ok()
}

fn begin(query: &EvidenceQuery, now: WallTime) -> Gathering {
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
    Gathering::new(slots, without, now)
}

/// Counts the next portion; whether there is more.
fn take(gathering: &mut Gathering, state: &State, now: WallTime) -> bool {
    let start = gathering.slots().start.start();
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
    };
    gathering.take(&state.windows, &known, PORTION)
}
