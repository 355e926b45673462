//! What stands around every page.

use super::past::{self, Past};
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::query::at_query;
use crate::time::WallTime;

/// What stands around every page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) title: String,
    /// The entry of the navigation.
    pub(super) active: &'static str,
    pub(super) version: String,
    /// Whether the page is kept up to date.
    pub(super) live: bool,
    /// How often at most, in seconds; 0 for with each slot.
    pub(super) every: u8,
    pub(super) open: usize,
    /// The worst severity among the open incidents; empty without any.
    pub(super) worst: &'static str,
    pub(super) as_of: String,
    /// The query of links that stay at the page's time; empty now.
    pub(super) then: String,
    /// A page of the past.
    pub(super) past: Option<Past>,
    /// The same page a minute ago; empty for pages that have no past.
    pub(super) earlier: String,
    /// What stands in the search box.
    pub(super) find: String,
}

impl Frame {
    /// The longest text that is searched for, in characters.
    pub(super) const LONGEST_SEARCH: usize = 128;

    pub(super) fn new(board: &Dashboard, title: impl Into<String>, active: &'static str) -> Self {
        let view = board.parts.views.get();
        Self {
            title: title.into(),
            active,
            version: board.version.clone(),
            live: true,
            every: 0,
            open: view.open.len(),
            worst: view.open.first().map_or("", |worst| worst.severity.name()),
            as_of: format::time(board.parts.clock.wall()),
            then: String::new(),
            past: None,
            earlier: String::new(),
            find: String::new(),
        }
    }

    /// Of a page for which all paths are looked at.
    pub(super) fn slow(self) -> Self {
        Self { every: 20, ..self }
    }

    /// Of a page that can be asked for at any time; `href` makes its address at one, `note` says what of it is shown.
    pub(super) fn timed(
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
