//! The web server: JSON API, metrics, health, and the dashboard's pages. Reads only.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, Request, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

use super::alerts::Alerts;
use super::api as answers;
use super::dashboard;
use super::error::{AnalyzerError, GRACE};
use super::metrics::Metrics;
use super::state::{State, StateHandle};
use super::view::Views;
use crate::api::agents::{Agents, AgentsQuery};
use crate::api::incidents::{Incidents as IncidentsAnswer, IncidentsQuery};
use crate::api::matrix::{Matrix, MatrixQuery};
use crate::api::paths::{Paths, PathsQuery};
use crate::api::status::{AgentIdentity, Status, StatusQuery};
use crate::api::topology::{Topology, TopologyQuery};
use crate::api::traces::{Traces, TracesQuery};
use crate::api::{self, Request as _};
use crate::net::connection::Connection;
use crate::net::server::{Connections, Listener};
use crate::store::incidents::Incidents;
use crate::time::WallTime;

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
    /// What agents must prove.
    pub(super) identity: AgentIdentity,
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
        .route(PathsQuery::PATH, get(paths))
        .route(AgentsQuery::PATH, get(agents))
        .route(TracesQuery::PATH, get(traces))
        .route(IncidentsQuery::PATH, get(incidents))
        .route(StatusQuery::PATH, get(status))
        .route(MatrixQuery::PATH, get(matrix))
        .route(TopologyQuery::PATH, get(topology))
        .route(api::OPENAPI, get(openapi))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
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

/// An answer that is none: a status and the reason.
struct Failure(StatusCode, String);

impl Failure {
    fn gone() -> Self {
        Self(
            StatusCode::SERVICE_UNAVAILABLE,
            "the analyzer is stopping".to_owned(),
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(api::Error { error: self.1 })).into_response()
    }
}

/// Takes a query string by axum's extractor and says in the API's words what is wrong with it.
struct Asked<Q>(Q);

impl<Q: api::Request, S: Send + Sync> FromRequestParts<S> for Asked<Q> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Failure(
                StatusCode::BAD_REQUEST,
                api::query::explain(&rejection),
            )),
        }
    }
}

type Answer<T> = Result<Json<T>, Failure>;

impl Web {
    /// What the state says.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, WallTime) -> T + Send + 'static,
    ) -> Answer<T> {
        self.state
            .read(look)
            .await
            .map(Json)
            .ok_or_else(Failure::gone)
    }
}

async fn paths(Shared(web): Shared<Web>, Asked(query): Asked<PathsQuery>) -> Answer<Paths> {
    web.read(move |state, now| answers::paths(state, &query, now))
        .await
}

async fn traces(Shared(web): Shared<Web>, Asked(query): Asked<TracesQuery>) -> Answer<Traces> {
    web.read(move |state, now| answers::traces(state, &query, now))
        .await
}

async fn agents(Shared(web): Shared<Web>, _: Asked<AgentsQuery>) -> Answer<Agents> {
    web.read(answers::agents).await
}

async fn incidents(
    Shared(web): Shared<Web>,
    Asked(query): Asked<IncidentsQuery>,
) -> Answer<IncidentsAnswer> {
    let view = web.views.get();
    if answers::is_by_rank(&query) {
        return Ok(Json(answers::by_rank(&query, &view)));
    }
    // One more than asked for tells whether there is a next page.
    match web.incidents.read(answers::to_store(&query)).await {
        Ok(stored) => Ok(Json(answers::incidents(&query, &view, stored))),
        Err(error) => Err(Failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

async fn status(Shared(web): Shared<Web>, _: Asked<StatusQuery>) -> Answer<Status> {
    let view = web.views.get();
    let (alerts, identity) = (web.alerts.clone(), web.identity);
    web.read(move |state, now| answers::status(state, &view, &alerts, identity, now))
        .await
}

async fn matrix(Shared(web): Shared<Web>, Asked(query): Asked<MatrixQuery>) -> Answer<Matrix> {
    web.read(move |state, now| answers::matrix(state, &query, now))
        .await
}

async fn topology(
    Shared(web): Shared<Web>,
    Asked(query): Asked<TopologyQuery>,
) -> Answer<Topology> {
    let view = web.views.get();
    web.read(move |state, now| answers::topology(state, &view, &query, now))
        .await
}

async fn openapi() -> Json<OpenApi> {
    Json(api::openapi::document())
}

async fn health(Shared(web): Shared<Web>) -> Response {
    match web.state.read(|_, _| ()).await {
        Some(()) => Json(serde_json::json!({ "status": "ok" })).into_response(),
        None => Failure::gone().into_response(),
    }
}

/// Whether uploads are taken.
async fn readiness(Shared(web): Shared<Web>) -> Response {
    if web.state.read(|_, _| ()).await.is_none() {
        return Failure::gone().into_response();
    }
    match web.metrics.readiness.reason() {
        None => Json(serde_json::json!({ "status": "ready" })).into_response(),
        Some(reason) => {
            let answer = serde_json::json!({ "status": "not ready", "reason": format!("uploads are refused: {reason}") });
            (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
        }
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
        Err(error) => Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Lets only those through whom the proxy has named; health is no secret.
async fn authenticated(
    Shared(required): Shared<Option<HeaderName>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(header) = required
        && !matches!(request.uri().path(), "/healthz" | "/readyz")
        && request
            .headers()
            .get(&header)
            .is_none_or(|user| user.as_bytes().trim_ascii().is_empty())
    {
        let message = format!(
            "the header `{header}` is missing: come through the proxy that authenticates users"
        );
        return Failure(StatusCode::FORBIDDEN, message).into_response();
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
    let message = "no such resource; see docs/api.md".to_owned();
    Failure(StatusCode::NOT_FOUND, message).into_response()
}
