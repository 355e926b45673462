//! The web server: JSON API, metrics, health, and the dashboard's pages. Reads only.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio_util::sync::CancellationToken;

use super::alerts::Alerts;
use super::api::incidents::IncidentQuery;
use super::api::matrix::MatrixQuery;
use super::api::topology::TopologyQuery;
use super::api::{self, PathQuery, TraceQuery};
use super::dashboard;
use super::judging::Views;
use super::metrics::Metrics;
use super::state::StateHandle;
use super::{AnalyzerError, GRACE};
use crate::rpc::server::{Connection, Connections, Listener};
use crate::store::incidents::Incidents;

/// Where answers come from.
#[derive(Clone)]
pub(super) struct Web {
    pub(super) state: StateHandle,
    pub(super) metrics: Arc<Metrics>,
    pub(super) views: Views,
    pub(super) incidents: Arc<dyn Incidents>,
    pub(super) alerts: Alerts,
    /// A header that requests must have, set by a proxy that knows the user.
    pub(super) auth_header: Option<HeaderName>,
}

/// For axum.
struct Accepting(Connections);

impl axum::serve::Listener for Accepting {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.0.next().await {
            Some(connection) => {
                let peer = connection.peer();
                (connection, peer)
            }
            // No more are accepted: the stop token ends the server.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.0.address())
    }
}

/// Serves until `stop` is cancelled, then gives open requests a moment.
pub(super) async fn serve(
    listener: Listener,
    web: Web,
    pages: Router,
    stop: CancellationToken,
) -> Result<(), AnalyzerError> {
    let address = listener.address();
    let required = web.auth_header.clone();
    let router = Router::new()
        .route("/api/v1/paths", get(paths))
        .route("/api/v1/agents", get(agents))
        .route("/api/v1/traces", get(traces))
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/status", get(status))
        .route("/api/v1/matrix", get(matrix))
        .route("/api/v1/topology", get(topology))
        .route("/healthz", get(health))
        .route("/metrics", get(show_metrics))
        .fallback(unknown)
        .with_state(web)
        .merge(pages)
        .layer(axum::middleware::from_fn_with_state(
            required,
            authenticated,
        ));
    let accepting = Accepting(listener.http1(stop.clone()));
    let serving =
        axum::serve(accepting, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let cut_off = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = serving => result.map_err(|source| AnalyzerError::Web { address, source }),
        () = cut_off => Ok(()),
    }
}

fn fail(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(serde_json::json!({ "error": message.into() }))).into_response()
}

fn gone() -> Response {
    fail(StatusCode::SERVICE_UNAVAILABLE, "the analyzer is stopping")
}

async fn paths(
    Shared(web): Shared<Web>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let pairs = match query {
        Ok(Query(pairs)) => pairs,
        Err(rejection) => return fail(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    let query = match PathQuery::parse(&pairs) {
        Ok(query) => query,
        Err(message) => return fail(StatusCode::BAD_REQUEST, message),
    };
    match web
        .state
        .read(move |state, now| api::paths(state, &query, now))
        .await
    {
        Some(answer) => Json(answer).into_response(),
        None => gone(),
    }
}

async fn traces(
    Shared(web): Shared<Web>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    let pairs = match query {
        Ok(Query(pairs)) => pairs,
        Err(rejection) => return fail(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    let query = match TraceQuery::parse(&pairs) {
        Ok(query) => query,
        Err(message) => return fail(StatusCode::BAD_REQUEST, message),
    };
    match web
        .state
        .read(move |state, now| api::traces(state, &query, now))
        .await
    {
        Some(answer) => Json(answer).into_response(),
        None => gone(),
    }
}

async fn agents(Shared(web): Shared<Web>) -> Response {
    match web.state.read(api::agents).await {
        Some(answer) => Json(answer).into_response(),
        None => gone(),
    }
}

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

fn parsed<Q>(
    pairs: Pairs,
    parse: impl FnOnce(&[(String, String)]) -> Result<Q, String>,
) -> Result<Q, String> {
    match pairs {
        Ok(Query(pairs)) => parse(&pairs),
        Err(rejection) => Err(rejection.body_text()),
    }
}

async fn incidents(Shared(web): Shared<Web>, pairs: Pairs) -> Response {
    let query = match parsed(pairs, IncidentQuery::parse) {
        Ok(query) => query,
        Err(message) => return fail(StatusCode::BAD_REQUEST, message),
    };
    let view = web.views.get();
    // One more than asked for tells whether there is a next page.
    match web.incidents.read(query.to_store()).await {
        Ok(stored) => Json(api::incidents::answer(&query, &view, stored)).into_response(),
        Err(error) => fail(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn status(Shared(web): Shared<Web>) -> Response {
    let view = web.views.get();
    let alerts = web.alerts.clone();
    match web
        .state
        .read(move |state, now| api::incidents::status(state, &view, &alerts, now))
        .await
    {
        Some(answer) => Json(answer).into_response(),
        None => gone(),
    }
}

async fn matrix(Shared(web): Shared<Web>, pairs: Pairs) -> Response {
    let query = match parsed(pairs, MatrixQuery::parse) {
        Ok(query) => query,
        Err(message) => return fail(StatusCode::BAD_REQUEST, message),
    };
    match web
        .state
        .read(move |state, now| api::matrix::matrix(state, query, now))
        .await
    {
        Some(answer) => Json(answer).into_response(),
        None => gone(),
    }
}

async fn topology(Shared(web): Shared<Web>, pairs: Pairs) -> Response {
    let query = match parsed(pairs, TopologyQuery::parse) {
        Ok(query) => query,
        Err(message) => return fail(StatusCode::BAD_REQUEST, message),
    };
    let view = web.views.get();
    match web
        .state
        .read(move |state, now| api::topology::topology(state, &view, query, now))
        .await
    {
        Some(answer) => Json(answer).into_response(),
        None => gone(),
    }
}

async fn health(Shared(web): Shared<Web>) -> Response {
    match web.state.read(|_, _| ()).await {
        Some(()) => Json(serde_json::json!({ "status": "ok" })).into_response(),
        None => gone(),
    }
}

async fn show_metrics(Shared(web): Shared<Web>) -> Response {
    match web.metrics.encode() {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => fail(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Lets only those through whom the proxy has named; health is no secret.
async fn authenticated(
    Shared(required): Shared<Option<HeaderName>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(header) = required
        && request.uri().path() != "/healthz"
        && request
            .headers()
            .get(&header)
            .is_none_or(|user| user.as_bytes().trim_ascii().is_empty())
    {
        let message = format!(
            "the header `{header}` is missing: come through the proxy that authenticates users"
        );
        return fail(StatusCode::FORBIDDEN, message);
    }
    next.run(request).await
}

/// In the form that was asked for: browsers name HTML.
async fn unknown(headers: HeaderMap) -> Response {
    let wants_page = headers
        .get(header::ACCEPT)
        .and_then(|accepted| accepted.to_str().ok())
        .is_some_and(|accepted| accepted.contains("text/html"));
    if wants_page {
        return dashboard::not_found();
    }
    fail(StatusCode::NOT_FOUND, "no such resource; see docs/api.md")
}
