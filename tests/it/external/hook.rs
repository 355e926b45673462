//! A receiver of webhooks that keeps what it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

type Kept = Arc<Mutex<Vec<(Option<String>, Value)>>>;

/// The receiver. It ends with this value.
pub(crate) struct Hook {
    kept: Kept,
    task: JoinHandle<()>,
}

impl Hook {
    /// Listens on this address: port 0 lets the system choose.
    pub(crate) async fn listen(address: SocketAddr) -> (Self, SocketAddr) {
        let listener = TcpListener::bind(address).await.expect("it listens");
        let address = listener.local_addr().expect("an address");
        let kept = Kept::default();
        let router = Router::new()
            .route("/", post(take))
            .with_state(Arc::clone(&kept));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        (Self { kept, task }, address)
    }

    /// The bodies that came so far, in their order, each with its signature.
    pub(crate) fn bodies(&self) -> Vec<(Option<String>, Value)> {
        self.kept.lock().expect("no panic").clone()
    }

    /// Event and incident of all changes that the analyzer has told, but for those of what is open already: an RNIC that
    /// is just dying or coming back looks milder for a moment.
    pub(crate) fn changes(&self) -> Vec<(String, u64)> {
        let bodies = self.bodies();
        let changes = bodies.iter().flat_map(|(_, body)| {
            assert_eq!(body["version"], 1);
            body["changes"].as_array().expect("changes").clone()
        });
        changes
            .map(|change| {
                let event = change["event"].as_str().expect("an event").to_owned();
                (event, change["incident"]["id"].as_u64().expect("a number"))
            })
            .filter(|(event, _)| event != "updated")
            .collect()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) {
    let signature = headers.get("x-rpingmesh-signature");
    let signature = signature.map(|value| value.to_str().expect("text").to_owned());
    let body = serde_json::from_slice(&body).expect("JSON");
    kept.lock().expect("no panic").push((signature, body));
}
