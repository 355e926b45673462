//! gRPC services whose calls are known to the connection that they come by: it is in use while one is open.
//!
//! An answer may have [`Room`] in its extensions: memory that it takes. The room is given back when the peer has read the
//! answer, which only the last reference to its bytes knows. A peer that has not read it after [`READ_TIMEOUT`] is
//! disconnected, so that a slow reader costs itself its connection and nobody else the memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{Request, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::activity::Call;
use super::connection::PeerInfo;

/// How long a peer may take to read an answer that has room.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The memory that an answer takes, for the extensions of the answer.
#[derive(Debug, Clone)]
pub struct Room(Arc<OwnedSemaphorePermit>);

impl From<OwnedSemaphorePermit> for Room {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }
}

/// Bytes on their way to a peer, and the room that they take.
struct Roomy {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Roomy {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Disconnects the peer if it has not read the answer in time.
fn watch_reading(room: &Room, call: Option<&Call>) {
    let Some(activity) = call.map(|call| Arc::downgrade(call.activity())) else {
        return;
    };
    let room = Arc::downgrade(&room.0);
    tokio::spawn(async move {
        tokio::time::sleep(READ_TIMEOUT).await;
        if room.strong_count() > 0
            && let Some(activity) = activity.upgrade()
        {
            activity.close();
        }
    });
}

/// A generated gRPC service whose calls are counted.
#[derive(Debug, Clone)]
pub struct Counted<S>(S);

/// Counts the calls of a service.
pub const fn counted<S>(service: S) -> Counted<S> {
    Counted(service)
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = request
            .extensions()
            .get::<PeerInfo>()
            .and_then(PeerInfo::begin);
        let answering = self.0.call(request);
        Box::pin(async move {
            let mut response = answering.await?;
            let room = response.extensions_mut().remove::<Room>();
            if let Some(room) = &room {
                watch_reading(room, call.as_ref());
            }
            Ok(response.map(|body| {
                Body::new(Guarded {
                    body,
                    room,
                    _call: call,
                })
            }))
        })
    }
}

/// A response's body, whose end is the end of the call.
struct Guarded {
    body: Body,
    room: Option<Room>,
    _call: Option<Call>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = match (frame, &self.room) {
            (Some(Ok(frame)), Some(room)) => Some(Ok(frame.map_data(|bytes| {
                Bytes::from_owner(Roomy {
                    bytes,
                    _room: room.clone(),
                })
            }))),
            (frame, _) => frame,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
