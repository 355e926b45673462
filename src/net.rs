//! Connections: URLs, TLS, connecting to a gRPC server, accepting connections, and a small HTTP client.
//!
//! Nothing here knows the configuration or a message: settings come as checked values, bytes go out.

pub(crate) mod activity;
pub mod calls;
pub mod client;
pub(crate) mod connection;
pub mod descriptors;
mod greeting;
pub(crate) mod hosts;
pub mod http;
pub(crate) mod limit;
pub mod quota;
pub(crate) mod receive;
pub mod server;
pub mod tls;
pub mod url;
pub mod web;
