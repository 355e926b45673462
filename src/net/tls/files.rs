//! The certificate files of a program, and why they cannot be used.

use std::path::PathBuf;

/// What gRPC is spoken over.
pub(in crate::net) const ALPN_HTTP2: &[u8] = b"h2";
/// What the web is spoken over.
pub(in crate::net) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The PEM files: three, and a fourth that may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// This program's certificate chain (`tls.cert`).
    pub cert: PathBuf,
    /// Its private key (`tls.key`).
    pub key: PathBuf,
    /// The CA certificates that peers must be signed by (`tls.ca`).
    pub ca: PathBuf,
    /// Certificates of theirs that were revoked (`tls.crl`).
    pub crl: Option<PathBuf>,
}

/// Why certificate files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path} ({key})")]
    Read {
        /// The configuration key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it must.
    #[error("{path} ({key}) {why}")]
    Content {
        /// The configuration key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// Certificate and key do not fit together, or TLS cannot be set up with them.
    #[error("{cert} (tls.cert) with {key} (tls.key)")]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
}
