//! The rows of each table, asked for page by page.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rpingmesh::analysis::trend::{Kind, Step};
use rpingmesh::api::incidents::{Incident, IncidentsQuery};
use rpingmesh::api::paths::{Distribution, End, Path, PathsQuery};
use rpingmesh::api::query::{Bounded, Choice, IncidentPageSize, Number, PageSize};
use rpingmesh::api::status::StatusQuery;
use rpingmesh::api::trends::{Bucket, MOST_STEPS, TrendPoint, Trends, TrendsQuery};
use rpingmesh::config::ConfigError;

use super::cell::{Cell, Column, integer, real, text, time};
use super::ended::Ended;
use super::table::{Format, Table};
use crate::api::Analyzer;

/// What is written to.
type Out = Box<dyn Write>;

/// The columns of a kind of trends.
pub(super) fn trend_columns(kind: Kind) -> Vec<Column> {
    let mut columns = vec![time("start"), integer("step_s")];
    columns.extend(match kind {
        Kind::TorPair => vec![text("source_tor"), text("target_tor")],
        Kind::Rnic => vec![text("host"), text("device")],
        Kind::Link => vec![text("from"), text("to")],
        // A service has one name.
        Kind::Service => vec![text("service")],
    });
    columns.extend(["sent", "lost", "rtt_p50_ns", "rtt_p99_ns"].map(integer));
    if kind == Kind::Rnic {
        let delays = [
            "prober_delay_p50_ns",
            "prober_delay_p99_ns",
            "responder_delay_p50_ns",
            "responder_delay_p99_ns",
        ];
        columns.extend(delays.map(integer));
    }
    columns
}

/// A range in nanoseconds since 1970, as it is at a time.
type RangeAt<'a> = dyn Fn(SystemTime) -> Result<(u64, u64), ConfigError> + 'a;

/// Writes the trends of all series of a kind.
pub(super) async fn trends(
    analyzer: &Analyzer,
    (kind, step): (Kind, Step),
    range: &RangeAt<'_>,
    (format, out): (Format, Out),
) -> Result<(), Ended> {
    // By the analyzer's clock, which has dated the points.
    let now = analyzer.ask(&StatusQuery::default()).await?.now_unix_ns;
    let now = UNIX_EPOCH + Duration::from_nanos(u64::try_from(now).unwrap_or_default());
    let (from, to) = range(now)?;
    let mut table = Table::begin(format, &trend_columns(kind), out)?;
    let portion = u64::try_from(step.nanos().0).unwrap_or(1) * MOST_STEPS as u64;
    let mut start = from - from % portion;
    while start < to {
        let end = (start + portion).min(to);
        let mut bucket = Some(0);
        while let Some(number) = bucket {
            let query = TrendsQuery {
                kind: Some(Choice(kind)),
                bucket: Bucket::new(number),
                step: Some(Choice(step)),
                from_unix_ns: Some(start.max(from).into()),
                to_unix_ns: Some(end.into()),
                ..TrendsQuery::default()
            };
            let answer = analyzer.ask(&query).await?;
            for row in trend_rows(&answer) {
                table.row(row)?;
            }
            bucket = answer.next_bucket.filter(|next| *next > number);
        }
        start = end;
    }
    table.finish()?;
    Ok(())
}

/// The rows of an answer.
pub(super) fn trend_rows(answer: &Trends) -> impl Iterator<Item = Vec<Cell>> {
    let row = move |first: &str, second: &str, point: &TrendPoint| {
        let mut cells = vec![
            Cell::time(Some(point.start_unix_ns)),
            (answer.step_ns / 1_000_000_000).into(),
            first.into(),
        ];
        if !answer.kind.is(Kind::Service) {
            cells.push(second.into());
        }
        cells.extend([
            point.sent.into(),
            point.lost.into(),
            point.rtt_p50_ns.into(),
            point.rtt_p99_ns.into(),
        ]);
        if answer.kind.is(Kind::Rnic) {
            cells.extend([
                point.prober_delay_p50_ns.into(),
                point.prober_delay_p99_ns.into(),
                point.responder_delay_p50_ns.into(),
                point.responder_delay_p99_ns.into(),
            ]);
        }
        cells
    };
    answer.series.iter().flat_map(move |series| {
        let points = series.points.iter();
        points.map(move |point| row(&series.first, &series.second, point))
    })
}

/// Writes the incidents, the newest first.
pub(super) async fn incidents(analyzer: &Analyzer, format: Format, out: Out) -> Result<(), Ended> {
    let columns = [
        integer("id"),
        text("state"),
        text("severity"),
        text("category"),
        text("what"),
        text("subject"),
        time("opened"),
        time("seen"),
        time("closed"),
        real("confidence"),
        real("share"),
        integer("sent"),
        integer("lost"),
        text("services"),
    ];
    let mut table = Table::begin(format, &columns, out)?;
    let mut before: Option<Number> = None;
    loop {
        let query = IncidentsQuery {
            before,
            limit: IncidentPageSize::new(IncidentPageSize::MAX),
            ..IncidentsQuery::default()
        };
        let answer = analyzer.ask(&query).await?;
        for incident in &answer.incidents {
            table.row(incident_row(incident))?;
        }
        let next = answer
            .next_before
            .filter(|next| before.is_none_or(|last| *next < last.get()));
        match next {
            Some(next) => before = Some(next.into()),
            None => break,
        }
    }
    table.finish()?;
    Ok(())
}

fn incident_row(incident: &Incident) -> Vec<Cell> {
    let services: Vec<_> = incident
        .services
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    vec![
        incident.id.into(),
        Cell::from(incident.state.as_str()),
        incident.severity.as_str().into(),
        incident.category.as_str().into(),
        incident.title.as_str().into(),
        Cell::Text(incident.subject.to_string()),
        Cell::time(Some(incident.opened_unix_ns)),
        Cell::time(Some(incident.seen_unix_ns)),
        Cell::time(incident.closed_unix_ns),
        incident.confidence.into(),
        incident.share.into(),
        incident.sent.into(),
        incident.lost.into(),
        Cell::Text(services.join(" ")),
    ]
}

/// Writes what was measured per path.
pub(super) async fn paths(analyzer: &Analyzer, format: Format, out: Out) -> Result<(), Ended> {
    let mut columns = vec![time("window_start"), time("window_end")];
    columns.extend(["source_gid", "source_host", "source_device", "source_tor"].map(text));
    columns.extend(["target_gid", "target_host", "target_device", "target_tor"].map(text));
    columns.extend([text("kind"), integer("source_port"), text("service")]);
    columns.extend(["sent", "lost"].map(integer));
    columns.extend(["rtt_p50_ns", "rtt_p90_ns", "rtt_p99_ns", "rtt_max_ns"].map(integer));
    let mut table = Table::begin(format, &columns, out)?;
    let mut offset = 0;
    loop {
        let query = PathsQuery {
            window: Some(Choice(rpingmesh::analysis::windows::WindowLength::Long)),
            limit: PageSize::new(PageSize::MAX),
            offset: Bounded::new(offset),
            ..PathsQuery::default()
        };
        let answer = analyzer.ask(&query).await?;
        let window = (answer.start_unix_ns, answer.end_unix_ns);
        for path in &answer.paths {
            table.row(path_row(window, path))?;
        }
        let next = answer.next_offset.and_then(|next| u64::try_from(next).ok());
        match next.filter(|next| *next > offset) {
            Some(next) => offset = next,
            None => break,
        }
    }
    table.finish()?;
    Ok(())
}

fn path_row((start, end): (i64, i64), path: &Path) -> Vec<Cell> {
    let names = |end: &End| {
        [&end.gid, &end.host, &end.device, &end.tor].map(|name| Cell::from(name.as_str()))
    };
    let rtt = |of: fn(&Distribution) -> i64| Cell::from(path.network_rtt.as_ref().map(of));
    let mut cells = vec![Cell::time(Some(start)), Cell::time(Some(end))];
    cells.extend(names(&path.source));
    cells.extend(names(&path.target));
    cells.extend([
        Cell::from(path.kind.as_str()),
        path.source_port.map(i64::from).into(),
        path.service.as_deref().unwrap_or_default().into(),
        path.sent.into(),
        path.lost.into(),
        rtt(|rtt| rtt.p50_ns),
        rtt(|rtt| rtt.p90_ns),
        rtt(|rtt| rtt.p99_ns),
        rtt(|rtt| rtt.max_ns),
    ]);
    cells
}
