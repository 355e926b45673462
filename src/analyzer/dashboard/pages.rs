//! The pages: one module each makes what its template shows. Templates escape everything that they are given.

pub(super) mod agents;
pub(super) mod fabric;
pub(super) mod incidents;
pub(super) mod overview;
pub(super) mod pair;
pub(super) mod path;
pub(super) mod services;

use axum::http::StatusCode;

pub(super) use askama::Template as Page;

use super::query::window_name;
use super::{Dashboard, format};
use crate::analysis::windows::Span;
use crate::store::sqlite::StoreError;

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
const fn window_title(span: Span) -> &'static str {
    match span {
        Span::Short => "5 s",
        Span::Middle => "20 s",
        Span::Long => "120 s",
    }
}

/// The windows to choose from; `link` gets the query of one.
fn windows(current: Span, link: impl Fn(Span) -> String) -> Vec<Choice> {
    Span::ALL
        .into_iter()
        .map(|span| Choice {
            title: window_title(span).to_owned(),
            href: link(span),
            current: span == current,
        })
        .collect()
}

/// The window of a page whose only parameter that is.
fn only_window(pairs: &super::query::Pairs) -> Result<Span, PageError> {
    let mut window = Span::Middle;
    super::query::each(pairs, "window", |key, value| {
        if key == "window" {
            window = super::query::window(value)?;
        }
        Ok(key == "window")
    })
    .map_err(PageError::BadRequest)?;
    Ok(window)
}

/// Its query string; empty for the usual one.
fn window_query(window: Span) -> String {
    match window {
        Span::Middle => String::new(),
        _ => format!("?window={}", window_name(window)),
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
    let error =
        PageError::NotFound("Nothing of the dashboard or the API has this address.".to_owned());
    Failure {
        page: Frame {
            title: error.title().to_owned(),
            active: "",
            version: version.to_owned(),
            live: false,
            open: 0,
            worst: "",
            as_of: String::new(),
        },
        heading: error.title(),
        message: error.to_string(),
    }
}
