//! `GET /healthz`, `GET /readyz` and `GET /cluster-key`, beside `/metrics`.
//!
//! A controller lives while its web server answers. It is ready while its core answers: with a disk that hangs, or more work than
//! it can do, agents are not served, and a restart does not help. A registry that cannot be stored does not make it unready: agents
//! are served from memory.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::oneshot;

use super::core::{Command, Handle};
use crate::id::AgentId;

/// How long the core may take to answer. Agents wait for ten seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The two routes, asking this core.
pub(super) fn router(core: Handle) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/cluster-key", get(cluster_key))
        .with_state(core)
}

async fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

async fn readiness(State(core): State<Handle>) -> Response {
    let reason = match tokio::time::timeout(PATIENCE, ask(core)).await {
        Ok(Some(unstored)) => {
            let answer = json!({ "status": "ready", "agents_unstored": unstored });
            return Json(answer).into_response();
        }
        Ok(None) => "the controller is stopping".to_owned(),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            format!(
                "the core has not answered for {seconds} s: its disk hangs, or it has too much to do"
            )
        }
    };
    let answer = json!({ "status": "not ready", "reason": reason });
    (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
}

/// Where the cluster's key stands: its fingerprint, never the key.
async fn cluster_key(State(core): State<Handle>) -> Response {
    let asking = async {
        let (reply, answer) = oneshot::channel();
        core.send(Command::Keys { reply }).await.ok()?;
        answer.await.ok()
    };
    let Ok(Some(summary)) = tokio::time::timeout(PATIENCE, asking).await else {
        let answer = json!({ "error": "the core does not answer" });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response();
    };
    let key = summary.key.map(|(generation, phase, fingerprint)| {
        json!({
            "generation": generation,
            "phase": phase.name(),
            "fingerprint": fingerprint.to_string(),
            "since_unix_ns": summary.since_unix_ns,
        })
    });
    let names = summary.standing.names.iter().map(AgentId::as_str);
    Json(json!({
        "key": key,
        "agents": {
            "ready": summary.standing.ready,
            "awaited": summary.standing.awaited,
            "unable": summary.standing.unable,
            "own": summary.standing.own,
        },
        "waits_for": names.collect::<Vec<_>>(),
    }))
    .into_response()
}

/// How many agents are in memory only; `None` when the core has ended.
async fn ask(core: Handle) -> Option<usize> {
    let (reply, answer) = oneshot::channel();
    core.send(Command::Ping { reply }).await.ok()?;
    answer.await.ok()
}
