//! What `/healthz` and `/readyz` say of a controller that works, and of one whose disk does not answer.

use std::sync::Arc;

use rpingmesh::cluster_key::rotation::Stored as StoredKeys;
use rpingmesh::id::AgentId;
use rpingmesh::store::registry::{Registry, RegistryError};
use rpingmesh::time::WallTime;
use rpingmesh::topology::Announcement;
use serde_json::{Value, json};

use super::{Request, Server, Session, announcement};
use crate::analyzer::harness::http;

/// A store that loads, and never comes back from a write.
#[derive(Debug)]
struct Hanging;

#[tonic::async_trait]
impl Registry for Hanging {
    async fn load(&self) -> Result<Vec<Announcement>, RegistryError> {
        Ok(Vec::new())
    }

    async fn put(&self, _: &Announcement, _: &[AgentId], _: WallTime) -> Result<(), RegistryError> {
        std::future::pending().await
    }

    async fn remove(&self, _: &[AgentId]) -> Result<(), RegistryError> {
        std::future::pending().await
    }

    async fn load_keys(&self) -> Result<Option<StoredKeys>, RegistryError> {
        Ok(None)
    }

    async fn put_keys(&self, _: &StoredKeys) -> Result<(), RegistryError> {
        std::future::pending().await
    }
}

async fn get(server: &Server, path: &str) -> (u16, Value) {
    let (status, body) = http(server.metrics, path).await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[tokio::test]
async fn a_controller_that_works_lives_and_is_ready() {
    let server = Server::in_memory().await;
    let ready = json!({ "status": "ready", "agents_unstored": 0 });
    assert_eq!(get(&server, "/readyz").await, (200, ready));
    let lives = json!({ "status": "ok" });
    assert_eq!(get(&server, "/healthz").await, (200, lives));
    server.stop().await;
}

#[tokio::test]
async fn a_controller_whose_disk_hangs_lives_and_is_not_ready() {
    let server = Server::start_on("store = 'sqlite::memory:'", Arc::new(Hanging)).await;
    let agent = announcement("a1", 1, &[("10.0.0.1", "tor0", 0x11)]);
    // It gets no answer.
    let session = Session::open(&server, Request::Announcement(agent)).await;
    let answer = loop {
        let (status, answer) = get(&server, "/readyz").await;
        // The announcement is on its way.
        if status == 503 {
            break answer;
        }
    };
    assert_eq!(answer["status"], "not ready");
    let reason = answer["reason"].as_str().expect("a reason");
    assert!(reason.contains("has not answered for 2 s"), "{reason}");
    assert_eq!(get(&server, "/healthz").await.0, 200);
    drop(session);
    server.stop().await;
}
