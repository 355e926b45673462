//! The dashboard: pages for people, rendered here, read only. `docs/dashboard.md` is its description for users.
//!
//! A page is one address with everything in it: what is looked at stands in path and query, so every view can be linked.
//! [`pages`] makes them from the state thread, the judge's view and the stores; [`matrix`] collects the matrix of ToRs for
//! all viewers at once, [`grid`] draws it; [`cache`] shares renderings; [`live`] tells open pages of news; [`history`] keeps
//! one picture per minute: the matrix and its [`details`]. Nothing is loaded from elsewhere and no script stands in a page: see [`POLICY`].

mod assets;
mod board;
mod cache;
mod chart;
mod details;
mod format;
mod grid;
mod history;
mod listing;
mod live;
mod matrix;
mod pages;
mod query;
mod scan;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::error::AnalyzerError;
use crate::supervisor::{Stage, Supervisor};
use board::Dashboard;
use cache::{Cache, Rendered};
use live::Live;
use matrix::Matrices;
use pages::search::Answer;
use pages::{Page, PageError};
use scan::Scanner;

pub(super) use board::DashboardInputs;

/// What pages may load and do: only what this server sends, no script or style in the page itself, in no frame.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

type Board = Arc<Dashboard>;

/// Starts what runs in the background, in the stage of the servers, and gives the pages' addresses.
pub(super) fn start(
    parts: DashboardInputs,
    supervisor: &mut Supervisor<AnalyzerError>,
    stage: &Stage,
) -> Router {
    let version = assets::version();
    supervisor.spawn(stage, "history", history::keep(&parts, stage.token()));
    let (live, news) = Live::new(
        parts.views.clone(),
        Arc::clone(&parts.clock),
        &version,
        stage.token(),
    );
    supervisor.spawn(stage, "news for open pages", news);
    let board = Dashboard {
        matrices: Matrices::new(parts.clock.host()),
        scanner: Scanner::new(parts.state.clone(), Arc::clone(&parts.clock)),
        cache: Cache::default(),
        live,
        version,
        parts,
    };
    Router::new()
        .route("/", get(overview))
        .route("/tor/{source}/{target}", get(pair))
        .route("/path/{source}/{target}", get(path))
        .route("/link/{from}/{to}", get(link))
        .route("/rnic/{host}/{device}", get(rnic))
        .route("/host/{name}", get(host))
        .route("/trend/{kind}/{first}", get(trend_of_one))
        .route("/trend/{kind}/{first}/{second}", get(trend))
        .route("/search", get(search))
        .route("/fabric", get(fabric))
        .route("/incidents", get(incidents))
        .route("/incidents/{id}", get(incident))
        .route("/services", get(services))
        .route("/services/{name}", get(service))
        .route("/agents", get(agents))
        .route("/events", get(events))
        .route("/assets/{name}", get(assets::serve))
        .with_state(Arc::new(board))
}

impl Dashboard {
    /// Answers with a page, or with one that says what is wrong.
    async fn answer<P: Page>(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        page: impl Future<Output = Result<P, PageError>>,
    ) -> Response {
        let render = async {
            let html = page.await?.render()?;
            Ok(Rendered::new(StatusCode::OK, html))
        };
        self.answer_with(uri, headers, render).await
    }

    /// Answers with what `render` makes, or with a page that says what is wrong.
    async fn answer_with(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        render: impl Future<Output = Result<Rendered, PageError>>,
    ) -> Response {
        let address = uri.path_and_query().map_or("/", |address| address.as_str());
        if address.len() > query::LONGEST {
            let long = format!("The address is longer than {} characters.", query::LONGEST);
            return respond(&self.failure(&PageError::BadRequest(long)), headers);
        }
        let render = async {
            let rendered = render.await;
            rendered.unwrap_or_else(|error| self.failure(&error))
        };
        let now = self.parts.clock.host();
        let rendered = self.cache.page(address, now, render).await;
        respond(&rendered, headers)
    }

    fn failure(&self, error: &PageError) -> Rendered {
        let page = pages::failure(self, error);
        // A page without anything from outside cannot fail; if it does, the plain message is what is left.
        let html = page.render().unwrap_or_else(|_| error.to_string());
        Rendered::new(error.status(), html)
    }
}

fn respond(page: &Rendered, headers: &HeaderMap) -> Response {
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let is_known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == page.tag.as_bytes());
    let mut response = if is_known && page.status == StatusCode::OK {
        (StatusCode::NOT_MODIFIED, fixed).into_response()
    } else {
        (page.status, fixed, page.body.clone()).into_response()
    };
    if let Some(location) = &page.location
        && let Ok(location) = HeaderValue::from_str(location)
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if let Ok(tag) = HeaderValue::from_str(&page.tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A page for addresses that do not exist, in the dashboard's looks.
pub(super) fn not_found() -> Response {
    let page = pages::lost(&assets::version());
    let html = page.render().unwrap_or_default();
    respond(
        &Rendered::new(StatusCode::NOT_FOUND, html),
        &HeaderMap::new(),
    )
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, PageError> {
    let Query(pairs) = Query::try_from_uri(uri)
        .map_err(|rejection| PageError::BadRequest(rejection.body_text()))?;
    Ok(pairs)
}

fn named<T>(names: Result<Path<T>, PathRejection>) -> Result<T, PageError> {
    let Path(names) = names.map_err(|rejection| PageError::BadRequest(rejection.body_text()))?;
    Ok(names)
}

async fn overview(Shared(board): Shared<Board>, uri: Uri, headers: HeaderMap) -> Response {
    let page = Box::pin(async { pages::overview::page(&board, &pairs(&uri)?).await });
    board.answer(&uri, &headers, page).await
}

async fn pair(
    Shared(board): Shared<Board>,
    names: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Box::pin(async {
        let (source, target) = named(names)?;
        pages::pair::page(&board, &pairs(&uri)?, &source, &target).await
    });
    board.answer(&uri, &headers, page).await
}

async fn path(
    Shared(board): Shared<Board>,
    names: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Box::pin(async {
        let (source, target) = named(names)?;
        pages::path::page(&board, &pairs(&uri)?, &source, &target).await
    });
    board.answer(&uri, &headers, page).await
}

async fn link(
    Shared(board): Shared<Board>,
    names: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Box::pin(async { pages::across::link(&board, &pairs(&uri)?, named(names)?).await });
    board.answer(&uri, &headers, page).await
}

async fn rnic(
    Shared(board): Shared<Board>,
    names: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Box::pin(async { pages::across::rnic(&board, &pairs(&uri)?, named(names)?).await });
    board.answer(&uri, &headers, page).await
}

async fn host(
    Shared(board): Shared<Board>,
    names: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Box::pin(async {
        let name = named(names)?;
        pages::host::page(&board, &pairs(&uri)?, &name).await
    });
    board.answer(&uri, &headers, page).await
}

/// Of what has one name: a service.
async fn trend_of_one(
    Shared(board): Shared<Board>,
    names: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Box::pin(async {
        let (kind, name) = named(names)?;
        let series = pages::trend::series(&kind, name, None)?;
        pages::trend::page(&board, &pairs(&uri)?, series).await
    });
    board.answer(&uri, &headers, page).await
}

/// Of what has two names.
async fn trend(
    Shared(board): Shared<Board>,
    names: Result<Path<(String, String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Box::pin(async {
        let (kind, first, second) = named(names)?;
        let series = pages::trend::series(&kind, first, Some(second))?;
        pages::trend::page(&board, &pairs(&uri)?, series).await
    });
    board.answer(&uri, &headers, page).await
}

async fn search(Shared(board): Shared<Board>, uri: Uri, headers: HeaderMap) -> Response {
    let render = Box::pin(async {
        Ok(match pages::search::page(&board, &pairs(&uri)?).await? {
            Answer::Elsewhere(href) => Rendered::elsewhere(href),
            Answer::List(page) => Rendered::new(StatusCode::OK, page.render()?),
        })
    });
    board.answer_with(&uri, &headers, render).await
}

async fn fabric(Shared(board): Shared<Board>, uri: Uri, headers: HeaderMap) -> Response {
    let page = Box::pin(async { pages::fabric::page(&board, &pairs(&uri)?).await });
    board.answer(&uri, &headers, page).await
}

async fn incidents(Shared(board): Shared<Board>, uri: Uri, headers: HeaderMap) -> Response {
    let page = Box::pin(async { pages::incidents::list(&board, &pairs(&uri)?).await });
    board.answer(&uri, &headers, page).await
}

async fn incident(
    Shared(board): Shared<Board>,
    names: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Box::pin(async {
        let id = named(names)?;
        pages::incidents::one(&board, &pairs(&uri)?, &id).await
    });
    board.answer(&uri, &headers, page).await
}

async fn services(Shared(board): Shared<Board>, uri: Uri, headers: HeaderMap) -> Response {
    let page = Box::pin(async { pages::services::list(&board, &pairs(&uri)?).await });
    board.answer(&uri, &headers, page).await
}

async fn service(
    Shared(board): Shared<Board>,
    names: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let page = Box::pin(async {
        let name = named(names)?;
        pages::services::one(&board, &pairs(&uri)?, &name).await
    });
    board.answer(&uri, &headers, page).await
}

async fn agents(Shared(board): Shared<Board>, uri: Uri, headers: HeaderMap) -> Response {
    let page = Box::pin(async { pages::agents::page(&board, &pairs(&uri)?).await });
    board.answer(&uri, &headers, page).await
}

async fn events(Shared(board): Shared<Board>) -> Response {
    board.live.events().unwrap_or_else(|| {
        let message = format!(
            "{} viewers are connected; no more are served\n",
            live::MOST_VIEWERS
        );
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "10")],
            message,
        )
            .into_response()
    })
}
