//! The pages: one module each makes what its template shows. Templates escape everything that they are given.

pub(super) mod across;
pub(super) mod agents;
pub(super) mod fabric;
mod frame;
pub(super) mod host;
pub(super) mod incidents;
pub(super) mod overview;
pub(super) mod pair;
mod parts;
mod past;
pub(super) mod path;
pub(super) mod search;
pub(super) mod services;
pub(super) mod trend;

pub(super) use askama::Template as Page;

use super::board::Dashboard;
use frame::Frame;

pub(super) use parts::PageError;

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
            every: 0,
            open: 0,
            worst: "",
            as_of: String::new(),
            then: String::new(),
            past: None,
            earlier: String::new(),
            find: String::new(),
        },
        heading: error.title(),
        message: error.to_string(),
    }
}
