//! `GET /api/v1/paths`.

use std::ops::Range;

use crate::analysis::report::End;
use crate::analysis::sketch::Sketch;
use crate::analysis::windows::{PathView, Slot, Summary, WindowLength};
use crate::analyzer::state::State;
use crate::api;
use crate::api::paths::{DEFAULT_LIMIT, Distribution, Path, Paths, PathsQuery};
use crate::api::query::{Number, PageSize};
use crate::measure::Invalid;
use crate::probe::ProbeKind;
use crate::time::WallTime;

use super::is_end;

/// Whether a path has probes of a kind.
fn is_of(kind: ProbeKind, path: PathView<'_>, slots: &Range<Slot>) -> bool {
    match kind {
        ProbeKind::Focus => path.counts(slots).any(|slot| slot.focused.sent > 0),
        ProbeKind::TorMesh | ProbeKind::InterTor | ProbeKind::ServiceTracing => kind == path.kind(),
    }
}

/// Whether a path is asked for.
fn wants(query: &PathsQuery, path: PathView<'_>, slots: &Range<Slot>) -> bool {
    let is = |wanted: &Option<String>, end: &End| {
        wanted.as_ref().is_none_or(|wanted| is_end(end, wanted))
    };
    query.kind.is_none_or(|kind| is_of(kind.0, path, slots))
        && is(&query.source, path.source())
        && is(&query.target, path.target())
        && query
            .service
            .as_ref()
            .is_none_or(|wanted| path.service().is_some_and(|name| name.as_str() == wanted))
}

/// Answers `GET /api/v1/paths`.
pub(in crate::analyzer) fn paths(state: &State, query: &PathsQuery, now: WallTime) -> Paths {
    let window = query.window.map_or(WindowLength::Middle, |window| window.0);
    let limit = query.limit.map_or(DEFAULT_LIMIT, PageSize::as_usize);
    let offset = query.offset.map_or(0, Number::as_usize);
    let slots = state.windows.slots(window, now);
    let mut found: Vec<_> = state
        .windows
        .paths()
        .filter(|path| wants(query, *path, &slots) && path.has_results(&slots))
        .collect();
    found.sort_by_key(|path| {
        (
            path.source().gid,
            path.target().gid,
            path.kind(),
            path.source_port(),
            path.service(),
        )
    });
    let total = found.len();
    let page = found.into_iter().skip(offset).take(limit);
    let paths: Vec<_> = page
        .filter_map(|path| path.summary(&slots))
        .map(Path::from)
        .collect();
    let next = offset.saturating_add(paths.len());
    Paths {
        window: window.into(),
        start_unix_ns: slots.start.start().nanos(),
        end_unix_ns: slots.end.start().nanos(),
        total,
        offset,
        next_offset: (next < total).then_some(next),
        paths,
    }
}

impl From<Summary> for Path {
    fn from(summary: Summary) -> Self {
        Self {
            kind: summary.kind.into(),
            source_port: summary.source_port.map(|port| port.0),
            traffic_class: summary.class.map(|class| class.traffic_class),
            service_level: summary.class.map(|class| class.service_level),
            fidelity: summary.fidelity.map(Into::into),
            sent: summary.sent,
            lost: summary.lost,
            invalid: Invalid::ALL
                .into_iter()
                .map(|reason| (reason.name().to_owned(), summary.invalid_for(reason)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            network_rtt: spread(&summary.network_rtt),
            prober_delay: spread(&summary.prober_delay),
            responder_delay: spread(&summary.responder_delay),
            focused: api::paths::Focused {
                sent: summary.focused.sent,
                lost: summary.focused.lost,
            },
            source: api::paths::End::from(&*summary.source),
            target: api::paths::End::from(&*summary.target),
            service: summary.service.map(|name| name.as_str().to_owned()),
        }
    }
}

impl From<&End> for api::paths::End {
    fn from(end: &End) -> Self {
        Self {
            gid: end.gid.to_string(),
            qpn: end.qpn.get(),
            host: end.host.as_str().to_owned(),
            tor: end.tor.as_str().to_owned(),
            device: end.device.as_str().to_owned(),
        }
    }
}

fn spread(sketch: &Sketch) -> Option<Distribution> {
    Some(Distribution {
        count: sketch.count(),
        min_ns: sketch.min()?.0,
        p50_ns: sketch.quantile(0.5)?.0,
        p90_ns: sketch.quantile(0.9)?.0,
        p99_ns: sketch.quantile(0.99)?.0,
        max_ns: sketch.max()?.0,
    })
}
