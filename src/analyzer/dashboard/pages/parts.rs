//! Parts that several pages share: facts, links, measured values, errors.

use axum::http::StatusCode;

use crate::analysis::windows::{Sums, WindowLength};
use crate::analyzer::dashboard::details::Numbers;
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::query::{When, at_query};
use crate::store::StoreError;
use crate::time::WallTime;

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

/// The address of a pair of ToRs.
pub(super) fn pair_href(source: &str, target: &str, when: When) -> String {
    let (source, target) = (format::escaped(source), format::escaped(target));
    format!("/tor/{source}/{target}{}", when.query())
}

/// The address of a pair of RNICs, by their GIDs.
pub(super) fn path_href(source: &str, target: &str, when: When) -> String {
    let (source, target) = (format::escaped(source), format::escaped(target));
    format!("/path/{source}/{target}{}", when.query())
}

/// The address of a service.
pub(super) fn service_href(name: &str, at: Option<WallTime>) -> String {
    format!("/services/{}{}", format::escaped(name), at_query(at))
}

/// What was measured, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
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
        }
    }
}

impl Measured {
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
