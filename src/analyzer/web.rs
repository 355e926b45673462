//! The web server: JSON API, metrics, health, and the dashboard's pages. All but one request only read: `DELETE /api/v1/withdrawn`
//! acknowledges that something is missing. Browsers send it for pages of this server alone, and it is taken only where something
//! says who asks: a loopback address, a client certificate, or a proxy that knows the user.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, Request, State as Shared};
use axum::http::request::Parts;
use axum::http::uri::Authority;
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
use super::error::GRACE;
use super::metrics::Metrics;
use super::state::{State, StateHandle};
use super::trends::TrendReader;
use super::view::Views;
use crate::analysis::fleet::ForgetError;
use crate::api::agents::{Agents, AgentsQuery};
use crate::api::evidence::{Evidence, EvidenceQuery};
use crate::api::focus::{Focus, FocusQuery};
use crate::api::incidents::{Incidents as IncidentsAnswer, IncidentsQuery};
use crate::api::matrix::{Matrix, MatrixQuery};
use crate::api::paths::{Paths, PathsQuery};
use crate::api::status::{AgentIdentity, Status, StatusQuery};
use crate::api::topology::{Topology, TopologyQuery};
use crate::api::traces::{Traces, TracesQuery};
use crate::api::trends::{Trends, TrendsQuery};
use crate::api::withdrawn::{Forgotten, Withdrawn, WithdrawnQuery};
use crate::api::{self, Request as _};
use crate::id::{DeviceName, HostName};
use crate::net;
use crate::net::hosts::AllowedHosts;
use crate::net::server::Listener;
use crate::net::web::LocalAddress;
use crate::store::incidents::Incidents;
use crate::time::WallTime;

/// Characters of a host's name that an answer repeats.
const MOST_NAME: usize = 100;

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
    /// Something says who asks: what is missing may be acknowledged.
    pub(super) may_forget: bool,
    /// Whoever counts evidence for a certification has it.
    pub(super) certifying: Arc<tokio::sync::Mutex<()>>,
    /// By which names requests may ask for this server.
    pub(super) hosts: AllowedHosts,
    /// Loss and round trips over days.
    pub(super) trends: TrendReader,
}

/// Serves until `stop` is cancelled, then gives open requests a moment.
pub(super) async fn serve(listener: Listener, router: Router, stop: CancellationToken) {
    let connections = listener.http1(stop.clone());
    net::web::serve(connections, router, stop, GRACE).await;
}

/// What is served.
pub(super) fn router(web: Web, pages: Router) -> Router {
    let required = web.auth_header.clone();
    let hosts = Arc::new(web.hosts.clone());
    let router = Router::new()
        .route(PathsQuery::PATH, get(paths))
        .route(AgentsQuery::PATH, get(agents))
        .route(TracesQuery::PATH, get(traces))
        .route(IncidentsQuery::PATH, get(incidents))
        .route(StatusQuery::PATH, get(status))
        .route(MatrixQuery::PATH, get(matrix))
        .route(TopologyQuery::PATH, get(topology))
        .route(EvidenceQuery::PATH, get(evidence))
        .route(FocusQuery::PATH, get(focus))
        .route(TrendsQuery::PATH, get(trends))
        .route(WithdrawnQuery::PATH, get(withdrawn).delete(forget))
        .route(api::OPENAPI, get(openapi))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(show_metrics))
        .fallback(unknown)
        .with_state(web)
        .merge(pages);
    protected(router, required, hosts)
}

/// Lets only those through whom the proxy has named, and who ask for this server.
pub(super) fn protected(
    router: Router,
    required: Option<HeaderName>,
    hosts: Arc<AllowedHosts>,
) -> Router {
    router
        .layer(axum::middleware::from_fn_with_state(
            required,
            authenticated,
        ))
        .layer(axum::middleware::from_fn_with_state(hosts, for_this_host))
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

async fn evidence(
    Shared(web): Shared<Web>,
    Asked(query): Asked<EvidenceQuery>,
) -> Answer<Evidence> {
    // One at a time: each looks at every path.
    let _turn = web.certifying.lock().await;
    let answer = answers::evidence(&web.state, web.views.get(), query).await;
    answer.map(Json).ok_or_else(Failure::gone)
}

async fn focus(Shared(web): Shared<Web>, _: Asked<FocusQuery>) -> Answer<Focus> {
    let view = web.views.get();
    web.read(move |_, now| answers::focus(&view, now)).await
}

async fn trends(Shared(web): Shared<Web>, Asked(query): Asked<TrendsQuery>) -> Answer<Trends> {
    let answer = answers::trends(&web.trends, query).await;
    answer.map(Json).map_err(|error| {
        let status = match error {
            answers::TrendsError::BadRequest(_) => StatusCode::BAD_REQUEST,
            answers::TrendsError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failure(status, error.to_string())
    })
}

async fn withdrawn(
    Shared(web): Shared<Web>,
    Asked(query): Asked<WithdrawnQuery>,
) -> Answer<Withdrawn> {
    web.read(move |state, now| answers::withdrawn(state, &query, now))
        .await
}

/// Acknowledges that something is missing.
async fn forget(
    Shared(web): Shared<Web>,
    Asked(query): Asked<WithdrawnQuery>,
) -> Answer<Forgotten> {
    if !web.may_forget {
        let message = "nothing says who asks, so nothing is forgotten: ask on a loopback address, or set web_tls or web_auth_header";
        return Err(Failure(StatusCode::FORBIDDEN, message.to_owned()));
    }
    let Some(host) = query.host else {
        let message = "host is missing: name the host that is to be forgotten".to_owned();
        return Err(Failure(StatusCode::BAD_REQUEST, message));
    };
    let (host, device) = (HostName::from(host), query.device.map(DeviceName::from));
    let result = web
        .state
        .read(move |state, _| state.forget(&host, device.as_ref()))
        .await
        .ok_or_else(Failure::gone)?;
    match result {
        Ok(forgotten) => {
            tracing::warn!(?forgotten, "an operator acknowledges what is missing");
            Ok(Json(Forgotten { forgotten }))
        }
        Err(error) => {
            let status = match error {
                ForgetError::Unknown(_) => StatusCode::NOT_FOUND,
                ForgetError::Present(_) => StatusCode::CONFLICT,
            };
            Err(Failure(status, error.to_string()))
        }
    }
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

async fn show_metrics(Shared(web): Shared<Web>, headers: HeaderMap) -> Response {
    web.metrics.response(&headers)
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

/// Answers those alone who ask for this server by one of its names: see [`crate::net::hosts`]. A request without any name
/// comes from no browser.
async fn for_this_host(
    Shared(hosts): Shared<Arc<AllowedHosts>>,
    request: Request,
    next: Next,
) -> Response {
    let local = request.extensions().get::<LocalAddress>();
    let local = local.map(|LocalAddress(address)| *address);
    let target = request.uri().authority().map(Authority::as_str);
    let names = request.headers().get_all(header::HOST).iter();
    let refused = names
        .map(|name| name.to_str().unwrap_or_default())
        .chain(target)
        .find(|name| !hosts.allows(name, local));
    if let Some(name) = refused {
        let name: String = name.chars().take(MOST_NAME).collect();
        let message = format!(
            "`{name}` is no name of this server: ask for it by a loopback name or its address, or add the name to web_hosts"
        );
        return Failure(StatusCode::MISDIRECTED_REQUEST, message).into_response();
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
