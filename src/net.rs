//! Connections: URLs, TLS, connecting to a gRPC server, accepting connections, and a small HTTP client.
//!
//! Nothing here knows the configuration or a message: settings come as checked values, bytes go out.

pub mod client;
pub(crate) mod connection;
pub mod http;
pub(crate) mod limit;
pub mod server;
pub mod tls;
pub mod url;
