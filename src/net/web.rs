//! Serves HTTP/1.1: pages, the JSON API, metrics.
//!
//! One task per connection. A peer has [`HEADER_TIMEOUT`] for the headers of each request, and as long between two requests.
//! Cancelling is safe: requests only read.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::activity::{Activity, Call};
use super::connection::Connection;
use super::server::Connections;

/// The address at which a request has reached this program; found in the extensions of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress(pub IpAddr);

/// How long the headers of a request may take, and a connection may be without a request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// The most bytes of a request's headers.
const MOST_HEADERS: usize = 64 << 10;

/// Serves `router` to all connections until `stop` is cancelled, then gives open requests `grace` to end.
pub async fn serve(
    mut connections: Connections,
    router: Router,
    stop: CancellationToken,
    grace: Duration,
) {
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            next = connections.next() => match next {
                Some(connection) => {
                    serving.spawn(converse(connection, router.clone(), stop.clone()));
                }
                // No more are accepted: the stop token follows.
                None => break,
            },
            Some(_) = serving.join_next() => {}
        }
    }
    stop.cancelled().await;
    let ended = async { while serving.join_next().await.is_some() {} };
    // What has not ended by then is cut off with the set.
    let _ = tokio::time::timeout(grace, ended).await;
}

async fn converse(connection: Connection, router: Router, stop: CancellationToken) {
    let peer = connection.peer();
    let local = connection.local().ok();
    let activity = connection.activity().cloned();
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(local) = local {
            request.extensions_mut().insert(LocalAddress(local.ip()));
        }
        let call = activity.as_ref().map(Activity::begin);
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::new)).await?;
            Ok::<_, Infallible>(response.map(|body| Guarded { body, _call: call }))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MOST_HEADERS);
    let mut serving = pin!(http.serve_connection(TokioIo::new(connection), service));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a web connection ended early");
    }
}

/// A response's body, whose end is the end of the request.
struct Guarded {
    body: Body,
    _call: Option<Call>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
