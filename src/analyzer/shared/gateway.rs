//! The web address of an analyzer that shares the fleet: everything while it judges; else its health and metrics, and for all other
//! requests the address of the judge.

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::here::Here;
use crate::analyzer::web;
use crate::api;
use crate::net::hosts::AllowedHosts;

/// Where requests go.
#[derive(Clone)]
pub(super) struct Gateway {
    here: Here,
    /// What answers while this analyzer judges.
    judge: watch::Receiver<Option<Router>>,
}

impl Gateway {
    /// Of an analyzer that may judge.
    pub(super) const fn new(here: Here, judge: watch::Receiver<Option<Router>>) -> Self {
        Self { here, judge }
    }

    /// What is served. The judge's own pages protect themselves in the same way.
    pub(super) fn router(self, required: Option<HeaderName>, hosts: AllowedHosts) -> Router {
        let own = Router::new()
            .route("/healthz", get(health))
            .route("/readyz", get(readiness))
            .route("/metrics", get(show_metrics))
            .fallback(elsewhere)
            .with_state(self.clone());
        let own = web::protected(own, required, Arc::new(hosts));
        Router::new().fallback(pass).with_state((self, own))
    }
}

async fn pass(Shared((gateway, own)): Shared<(Gateway, Router)>, request: Request) -> Response {
    let judge = gateway.judge.borrow().clone();
    match judge.unwrap_or(own).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The same request to the judge.
async fn elsewhere(Shared(gateway): Shared<Gateway>, request: Request) -> Response {
    let fleet = Arc::clone(&gateway.here.fleet.borrow());
    let is_here = fleet
        .judge
        .is_some_and(|judge| judge.member == gateway.here.id);
    let path = request.uri().path_and_query();
    let path = path.map_or("/", |path| path.as_str());
    match fleet.judge_endpoints().filter(|_| !is_here) {
        Some(judge) => {
            let location = format!("{}{path}", judge.web);
            let text = format!("another analyzer judges: {location}\n");
            let headers = [(header::LOCATION, location)];
            (StatusCode::TEMPORARY_REDIRECT, headers, text).into_response()
        }
        None => {
            let error = "no analyzer judges at the moment: ask again in a few seconds".to_owned();
            let headers = [(header::RETRY_AFTER, "1")];
            let status = StatusCode::SERVICE_UNAVAILABLE;
            (status, headers, Json(api::Error { error })).into_response()
        }
    }
}

async fn health() -> Response {
    Json(serde_json::json!({ "status": "ok" })).into_response()
}

/// Whether uploads are taken: it has shards, and a judge is known.
async fn readiness(Shared(gateway): Shared<Gateway>) -> Response {
    let fleet = gateway.here.fleet.borrow();
    let reason = if fleet.judge_endpoints().is_none() {
        "no analyzer judges"
    } else if fleet.table.of(gateway.here.id).next().is_none() {
        "it has no shard yet"
    } else {
        return Json(serde_json::json!({ "status": "ready" })).into_response();
    };
    let answer = serde_json::json!({ "status": "not ready", "reason": reason });
    (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
}

async fn show_metrics(Shared(gateway): Shared<Gateway>, headers: HeaderMap) -> Response {
    gateway.here.metrics.response(&headers)
}
