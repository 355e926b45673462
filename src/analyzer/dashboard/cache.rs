//! Pages that were rendered a moment ago: many viewers of one page cost one rendering.
//!
//! Bounded: at most [`MOST`] pages, each for [`FRESH`]. Beyond the bound pages are rendered for each viewer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::OnceCell;

use crate::time::HostTime;

/// How long a page stands for those who ask next.
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// The most pages.
const MOST: usize = 64;

/// A page as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// Of the content: a viewer who has it gets no body.
    pub(super) tag: String,
    /// Where else the browser is to go.
    pub(super) location: Option<String>,
}

impl Rendered {
    pub(super) fn new(status: StatusCode, html: String) -> Self {
        let tag = format!(
            "\"{:08x}-{:x}\"",
            crc32fast::hash(html.as_bytes()),
            html.len()
        );
        Self {
            status,
            body: Bytes::from(html),
            tag,
            location: None,
        }
    }

    /// Leads to another page of this server, whose address is escaped.
    pub(super) fn elsewhere(href: String) -> Self {
        Self {
            location: Some(href),
            ..Self::new(StatusCode::SEE_OTHER, String::new())
        }
    }
}

type Once = Arc<OnceCell<Rendered>>;

/// The pages, by path and query.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<String, (HostTime, Once)>>);

impl Cache {
    /// The page of this address, rendered by `render` unless somebody has just done so or is at it.
    pub(super) async fn page(
        &self,
        address: &str,
        now: HostTime,
        render: impl Future<Output = Rendered>,
    ) -> Rendered {
        match self.place(address, now) {
            Some(once) => once.get_or_init(|| render).await.clone(),
            None => render.await,
        }
    }

    fn place(&self, address: &str, now: HostTime) -> Option<Once> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, once)) = pages.get(address)
            && now.since(*at) < FRESH
        {
            return Some(Arc::clone(once));
        }
        pages.retain(|_, (at, _)| now.since(*at) < FRESH);
        if pages.len() >= MOST {
            return None;
        }
        let once = Once::default();
        pages.insert(address.to_owned(), (now, Arc::clone(&once)));
        Some(once)
    }
}
