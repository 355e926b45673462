//! The pages: one module each makes what its template shows. Templates escape everything that they are given.

pub(super) mod agents;
pub(super) mod fabric;
pub(super) mod incidents;
pub(super) mod overview;
pub(super) mod pair;
mod past;
pub(super) mod path;
pub(super) mod services;

use axum::http::StatusCode;

pub(super) use askama::Template as Page;

use super::details::Numbers;
use super::query::{When, at_query};
use super::{Dashboard, format};
use crate::analysis::windows::{Sums, WindowLength};
use crate::store::StoreError;
use crate::time::WallTime;
use past::Past;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
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
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Stopping | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Template(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn title(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "This address is malformed",
            Self::NotFound(_) => "There is no such page",
            Self::Stopping | Self::Store(_) => "Not now",
            Self::Template(_) => "This page failed",
        }
    }
}

/// What stands around every page.
#[derive(Debug)]
pub(super) struct Frame {
    title: String,
    /// The entry of the navigation.
    active: &'static str,
    version: String,
    /// Whether the page is kept up to date.
    live: bool,
    open: usize,
    /// The worst severity among the open incidents; empty without any.
    worst: &'static str,
    as_of: String,
    /// The query of links that stay at the page's time; empty now.
    then: String,
    /// A page of the past.
    past: Option<Past>,
    /// The same page a minute ago; empty for pages that have no past.
    earlier: String,
}

impl Frame {
    fn new(board: &Dashboard, title: impl Into<String>, active: &'static str) -> Self {
        let view = board.parts.views.get();
        Self {
            title: title.into(),
            active,
            version: board.version.clone(),
            live: true,
            open: view.open.len(),
            worst: view.open.first().map_or("", |worst| worst.severity.name()),
            as_of: format::time(board.parts.clock.wall()),
            then: String::new(),
            past: None,
            earlier: String::new(),
        }
    }

    /// Of a page that can be asked for at any time; `href` makes its address at one, `note` says what of it is shown.
    fn timed(
        board: &Dashboard,
        title: impl Into<String>,
        active: &'static str,
        at: Option<WallTime>,
        note: impl Into<String>,
        href: &dyn Fn(Option<WallTime>) -> String,
    ) -> Self {
        let now = board.parts.clock.wall();
        let steps = past::steps(at, now, href);
        let frame = Self::new(board, title, active);
        let Some(at) = at else {
            let earlier = steps.into_iter().next_back();
            return Self {
                earlier: earlier.map(|step| step.href).unwrap_or_default(),
                ..frame
            };
        };
        Self {
            live: false,
            open: 0,
            worst: "",
            then: at_query(Some(at)),
            past: Some(Past {
                at: if at > now {
                    format!("{} is still to come.", format::time(at))
                } else {
                    format!("This was {}.", format::time(at))
                },
                note: note.into(),
                steps,
                now: href(None),
            }),
            ..frame
        }
    }
}

/// One of several links of which one is where the reader is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    title: String,
    href: String,
    current: bool,
}

/// A number with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    name: &'static str,
    value: String,
    note: String,
}

impl Fact {
    fn new(name: &'static str, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self {
            name,
            value: value.into(),
            note: note.into(),
        }
    }
}

/// For people: `20 s`.
const fn window_title(span: WindowLength) -> &'static str {
    match span {
        WindowLength::Short => "5 s",
        WindowLength::Middle => "20 s",
        WindowLength::Long => "120 s",
    }
}

/// The windows to choose from; `link` gets the query of one.
fn windows(current: WindowLength, link: impl Fn(WindowLength) -> String) -> Vec<Choice> {
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
fn pair_href(source: &str, target: &str, when: When) -> String {
    let (source, target) = (format::escaped(source), format::escaped(target));
    format!("/tor/{source}/{target}{}", when.query())
}

/// The address of a pair of RNICs, by their GIDs.
fn path_href(source: &str, target: &str, when: When) -> String {
    let (source, target) = (format::escaped(source), format::escaped(target));
    format!("/path/{source}/{target}{}", when.query())
}

/// The address of a service.
fn service_href(name: &str, at: Option<WallTime>) -> String {
    format!("/services/{}{}", format::escaped(name), at_query(at))
}

/// What was measured, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Measured {
    sent: String,
    lost: String,
    loss: String,
    is_lossy: bool,
    p50: String,
    p99: String,
    prober: String,
    responder: String,
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
    fn facts(&self, sent: &'static str) -> Vec<Fact> {
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

#[derive(Debug, Page)]
#[template(path = "failure.html")]
pub(super) struct Failure {
    page: Frame,
    heading: &'static str,
    message: String,
}

/// A page that says what is wrong.
pub(super) fn failure(board: &Dashboard, error: &PageError) -> Failure {
    let mut page = Frame::new(board, error.title(), "");
    page.live = false;
    Failure {
        page,
        heading: error.title(),
        message: error.to_string(),
    }
}

/// For an address that no page has.
pub(super) fn lost(version: &str) -> Failure {
    let error = PageError::NotFound("The dashboard and the API have no such address.".to_owned());
    Failure {
        page: Frame {
            title: error.title().to_owned(),
            active: "",
            version: version.to_owned(),
            live: false,
            open: 0,
            worst: "",
            as_of: String::new(),
            then: String::new(),
            past: None,
            earlier: String::new(),
        },
        heading: error.title(),
        message: error.to_string(),
    }
}
