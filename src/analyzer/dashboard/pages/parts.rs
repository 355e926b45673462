//! Parts that several pages share: facts, links, measured values, errors.

use axum::http::StatusCode;

use crate::analysis::trend::Kind;
use crate::analysis::windows::{Sums, WindowLength};
use crate::analyzer::dashboard::details::Numbers;
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::query::{When, at_query, written};
use crate::api::list::{Column, Value};
use crate::store::StoreError;
use crate::time::{Nanos, WallTime};

/// Why a page cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(in crate::analyzer::dashboard) enum PageError {
    /// The address is malformed.
    #[error("{0}")]
    BadRequest(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The analyzer is about to end.
    #[error("The analyzer is stopping.")]
    Stopping,
    /// The past cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A template cannot be filled in.
    #[error("the page cannot be rendered")]
    Template(#[from] askama::Error),
}

impl PageError {
    pub(in crate::analyzer::dashboard) const fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Stopping | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Template(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) const fn title(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "This address is malformed",
            Self::NotFound(_) => "There is no such page",
            Self::Stopping | Self::Store(_) => "Not now",
            Self::Template(_) => "This page failed",
        }
    }
}

/// One of several links of which one is where the reader is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) title: String,
    pub(super) href: String,
    pub(super) current: bool,
}

/// A number with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) note: String,
}

impl Fact {
    pub(super) fn new(
        name: &'static str,
        value: impl Into<String>,
        note: impl Into<String>,
    ) -> Self {
        Self {
            name,
            value: value.into(),
            note: note.into(),
        }
    }
}

/// For people: `20 s`.
pub(super) const fn window_title(span: WindowLength) -> &'static str {
    match span {
        WindowLength::Short => "5 s",
        WindowLength::Middle => "20 s",
        WindowLength::Long => "120 s",
    }
}

/// The windows to choose from; `link` gets the query of one.
pub(super) fn windows(current: WindowLength, link: impl Fn(WindowLength) -> String) -> Vec<Choice> {
    WindowLength::ALL
        .into_iter()
        .map(|span| Choice {
            title: window_title(span).to_owned(),
            href: link(span),
            current: span == current,
        })
        .collect()
}

/// The path of a page about things with these names.
fn page_path(page: &str, names: &[&str]) -> String {
    let mut path = format!("/{page}");
    for name in names {
        path.push('/');
        path += &format::escaped(name);
    }
    path
}

/// The path of the page of a pair of ToRs.
pub(super) fn pair_path(source: &str, target: &str) -> String {
    page_path("tor", &[source, target])
}

/// The path of the page of a pair of RNICs, by their GIDs.
pub(super) fn path_path(source: &str, target: &str) -> String {
    page_path("path", &[source, target])
}

/// The path of the page of a service.
pub(super) fn service_path(name: &str) -> String {
    page_path("services", &[name])
}

/// The path of the page of an RNIC.
pub(super) fn rnic_path(host: &str, device: &str) -> String {
    page_path("rnic", &[host, device])
}

/// The path of the page of one direction of a link.
pub(super) fn link_path(from: &str, to: &str) -> String {
    page_path("link", &[from, to])
}

/// The path of the page of a trend; the second name is empty for a service.
pub(super) fn trend_path(kind: Kind, first: &str, second: &str) -> String {
    match kind {
        Kind::Service => page_path("trend", &[kind.name(), first]),
        Kind::TorPair | Kind::Rnic | Kind::Link => {
            page_path("trend", &[kind.name(), first, second])
        }
    }
}

/// The path of the page of a host.
pub(super) fn host_path(name: &str) -> String {
    page_path("host", &[name])
}

/// The address of the agents with this name in a column.
pub(super) fn agents_href(column: &str, name: &str) -> String {
    // A filter has no way to write a quotation mark in quotation marks.
    let filter = format!("{column}=\"{}\"", name.replace('"', "*"));
    format!("/agents{}", written(&[("filter", filter)]))
}

/// The address of a pair of ToRs.
pub(super) fn pair_href(source: &str, target: &str, when: When) -> String {
    pair_path(source, target) + &when.query()
}

/// The address of a pair of RNICs, by their GIDs.
pub(super) fn path_href(source: &str, target: &str, when: When) -> String {
    path_path(source, target) + &when.query()
}

/// The address of a service.
pub(super) fn service_href(name: &str, at: Option<WallTime>) -> String {
    service_path(name) + &at_query(at)
}

/// The address of an RNIC; of the past it has the incidents.
pub(super) fn rnic_href(host: &str, device: &str, at: Option<WallTime>) -> String {
    rnic_path(host, device) + &at_query(at)
}

/// The address of one direction of a link.
pub(super) fn link_href(from: &str, to: &str, at: Option<WallTime>) -> String {
    link_path(from, to) + &at_query(at)
}

/// The address of a host.
pub(super) fn host_href(name: &str, at: Option<WallTime>) -> String {
    host_path(name) + &at_query(at)
}

/// The columns of what was measured, as lists have them.
pub(super) const MEASURED: [Column; 6] = [
    Column::ratio("loss", "Lost"),
    Column::count("sent", "of"),
    Column::time("p50", "RTT median"),
    Column::time("p99", "RTT p99"),
    Column::time("prober", "Prober p99"),
    Column::time("responder", "Responder p99"),
];

/// What was measured, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
    numbers: Numbers,
    pub(super) sent: String,
    pub(super) lost: String,
    pub(super) loss: String,
    pub(super) is_lossy: bool,
    pub(super) p50: String,
    pub(super) p99: String,
    pub(super) prober: String,
    pub(super) responder: String,
}

impl From<&Sums> for Measured {
    fn from(sums: &Sums) -> Self {
        Numbers::from(sums).into()
    }
}

impl From<Numbers> for Measured {
    fn from(numbers: Numbers) -> Self {
        Self {
            sent: format::count(numbers.sent),
            lost: format::count(numbers.lost),
            loss: format::loss(numbers.lost, numbers.sent),
            is_lossy: numbers.lost > 0,
            p50: format::maybe_span(numbers.rtt_p50),
            p99: format::maybe_span(numbers.rtt_p99),
            prober: format::maybe_span(numbers.prober_p99),
            responder: format::maybe_span(numbers.responder_p99),
            numbers,
        }
    }
}

impl Measured {
    /// What a list has in one of the columns [`MEASURED`], or in the column `lost`.
    pub(super) fn value(&self, column: &str) -> Value<'static> {
        let numbers = &self.numbers;
        let nanos = |span: Option<Nanos>| Value::nanos(span.map(|span| span.0));
        match column {
            "loss" => Value::ratio(numbers.lost, numbers.sent),
            "lost" => Value::count(numbers.lost),
            "sent" => Value::count(numbers.sent),
            "p50" => nanos(numbers.rtt_p50),
            "p99" => nanos(numbers.rtt_p99),
            "prober" => nanos(numbers.prober_p99),
            "responder" => nanos(numbers.responder_p99),
            _ => Value::Missing,
        }
    }

    /// By what rows are put in order, the largest being the worst: the share that is lost, then the slowest round trips.
    pub(super) fn badness(&self) -> (f64, i64) {
        (
            self.numbers.loss(),
            self.numbers.rtt_p99.map_or(0, |span| span.0),
        )
    }

    pub(super) fn facts(&self, sent: &'static str) -> Vec<Fact> {
        vec![
            Fact::new(
                "Lost",
                self.loss.clone(),
                format!("{} of {} probes {sent}", self.lost, self.sent),
            ),
            Fact::new(
                "RTT median",
                self.p50.clone(),
                "on the network, both directions",
            ),
            Fact::new(
                "RTT p99",
                self.p99.clone(),
                "on the network, both directions",
            ),
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
