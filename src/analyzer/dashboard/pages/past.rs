//! What pages of the past have in common: the minute's picture, the incidents of the time, and the steps to other times.

use super::parts::{Choice, MEASURED, Measured, PageError};
use crate::analysis::incident::Incident;
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::details::{Details, Lossy, Rnic};
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::history::{self, Picture};
use crate::analyzer::dashboard::listing::Listing;
use crate::analyzer::dashboard::query::When;
use crate::api::list::{Column, Listed, Value};
use crate::time::{Nanos, WallTime};

/// One, in nanoseconds.
const MINUTES: i64 = 60_000_000_000;
/// Incidents of the past that are shown.
const MOST_INCIDENTS: u32 = 200;
/// A picture that is further away shows another time.
const NEAR: Nanos = Nanos(2 * MINUTES);

/// Where in time a page is, and where it can go.
#[derive(Debug)]
pub(super) struct Past {
    /// Which time, in a sentence.
    pub(super) at: String,
    /// What of this time is shown, or that nothing is kept.
    pub(super) note: String,
    pub(super) steps: Vec<Choice>,
    pub(super) now: String,
}

/// Links to other times; `href` makes the address of one.
pub(super) fn steps(
    at: Option<WallTime>,
    now: WallTime,
    href: &dyn Fn(Option<WallTime>) -> String,
) -> Vec<Choice> {
    let here = at.unwrap_or(now);
    let step = |(title, minutes): (&str, i64)| {
        let to = here + Nanos(minutes * MINUTES);
        Choice {
            title: title.to_owned(),
            href: href((to < now).then_some(to)),
            current: false,
        }
    };
    let back = [("−1 h", -60), ("−10 min", -10), ("−1 min", -1)];
    let forth = [("+1 min", 1), ("+10 min", 10), ("+1 h", 60)];
    let forth = forth.into_iter().filter(|_| at.is_some());
    back.into_iter().chain(forth).map(step).collect()
}

/// The picture of this time, if one is kept.
pub(super) async fn picture(board: &Dashboard, at: WallTime) -> Result<Option<Picture>, PageError> {
    let nearest = board.parts.history.nearest(at).await?;
    Ok(nearest
        .filter(|(end, _)| (*end - at).max(at - *end) <= NEAR)
        .and_then(|(_, body)| history::decode(&body)))
}

/// What a page says of the picture that it shows.
pub(super) fn note(picture: Option<&Picture>) -> String {
    match picture {
        Some(Picture { matrix, .. }) => format!(
            "Measured from {} to {}.",
            format::time(WallTime::from_nanos(matrix.start)).trim_end_matches(" UTC"),
            format::time(WallTime::from_nanos(matrix.end))
        ),
        None => "No picture of this time is kept.".to_owned(),
    }
}

/// Incidents that were open then, the worst first, as they are known now.
pub(super) async fn open_at(board: &Dashboard, at: WallTime) -> Result<Vec<Incident>, PageError> {
    if at > board.parts.clock.wall() {
        return Ok(Vec::new());
    }
    let mut open = board.parts.incidents.open_at(at, MOST_INCIDENTS).await?;
    open.sort_by_cached_key(Incident::rank);
    Ok(open)
}

/// A path of the past that lost probes.
#[derive(Debug, Clone)]
pub(super) struct LossyRow {
    pub(super) source: Rnic,
    pub(super) target: Rnic,
    /// Of the pair of RNICs.
    pub(super) href: String,
    pub(super) port: String,
    pub(super) kind: String,
    pub(super) service: Option<(String, String)>,
    pub(super) measured: Measured,
    pub(super) way: Vec<String>,
}

impl Listed for LossyRow {
    const COLUMNS: &'static [Column] = &[
        Column::text("from", "From"),
        Column::text("to", "To"),
        Column::text("port", "Port"),
        Column::text("why", "Why"),
        MEASURED[0],
        MEASURED[1],
        MEASURED[2],
        MEASURED[3],
        MEASURED[4],
        MEASURED[5],
        Column::text("switches", "Switches, as then known"),
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "from" => self.source.names(),
            "to" => self.target.names(),
            "port" => Value::text(&self.port),
            "why" => why(&self.kind, self.service.as_ref()),
            "switches" => Value::Texts(self.way.iter().map(Into::into).collect()),
            measured => self.measured.value(measured),
        }
    }
}

/// By what a list finds why a path is probed: the kind, and the service.
pub(super) fn why<'a>(kind: &'a str, service: Option<&'a (String, String)>) -> Value<'a> {
    let service = service.map(|(name, _)| name.as_str());
    let texts = std::iter::once(kind).chain(service);
    Value::Texts(texts.map(Into::into).collect())
}

impl LossyRow {
    fn new(lossy: &Lossy, when: When) -> Self {
        Self {
            href: super::parts::path_href(&lossy.source.gid, &lossy.target.gid, when),
            source: lossy.source.clone(),
            target: lossy.target.clone(),
            port: lossy
                .port
                .map_or_else(|| "hidden".to_owned(), |port| port.to_string()),
            kind: lossy.kind.replace('_', " "),
            service: lossy
                .service
                .as_ref()
                .map(|name| (name.clone(), super::parts::service_href(name, when.at))),
            measured: Measured::from(lossy.numbers),
            way: lossy.way.clone(),
        }
    }
}

/// Paths of the past that lost probes, as far as they are kept.
#[derive(Debug)]
pub(super) struct LossyPaths {
    pub(super) rows: Vec<LossyRow>,
    /// Whether any were looked for.
    pub(super) is_kept: bool,
    /// Of the whole fabric, those that are not kept.
    pub(super) more: usize,
}

impl LossyPaths {
    /// Those that `wanted` picks, the worst first.
    pub(super) fn of(
        details: Option<&Details>,
        (when, listing): (When, &Listing),
        wanted: impl Fn(&Lossy) -> bool,
    ) -> Self {
        let Some(details) = details else {
            return Self {
                rows: Vec::new(),
                is_kept: false,
                more: 0,
            };
        };
        let mut found: Vec<_> = details.lossy.iter().filter(|path| wanted(path)).collect();
        found.sort_by(|a, b| b.numbers.loss().total_cmp(&a.numbers.loss()));
        let mut rows = found
            .into_iter()
            .map(|path| LossyRow::new(path, when))
            .collect();
        listing.apply(&mut rows);
        Self {
            rows,
            is_kept: true,
            more: details.more_lossy,
        }
    }
}
