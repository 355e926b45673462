//! Mutual TLS for every role: who may talk to whom is "whoever the CA has signed", in both directions.
//!
//! Certificates are files that operators rotate. The three files are looked at before each handshake (three `stat`
//! calls) and read again when one has changed; new files that cannot be used are reported once and the old material
//! stays in use. Established connections live on with what they were made with.

mod material;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{AlertDescription, CertificateError, ClientConfig, ServerConfig};

use crate::config::{ConfigError, TlsSettings};

use material::{Fingerprint, Material};

/// What gRPC is spoken over.
pub(super) const ALPN_HTTP2: &[u8] = b"h2";
/// What the web is spoken over.
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The configuration for connections that speak this protocol.
pub(super) fn speaking(config: Arc<ServerConfig>, protocol: &[u8]) -> Arc<ServerConfig> {
    if config.alpn_protocols == [protocol] {
        return config;
    }
    let mut config = ServerConfig::clone(&config);
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// The three PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// This program's certificate chain (`tls.cert`).
    pub cert: PathBuf,
    /// Its private key (`tls.key`).
    pub key: PathBuf,
    /// The CA certificates that peers must be signed by (`tls.ca`).
    pub ca: PathBuf,
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

/// How a program protects its gRPC connections.
#[derive(Debug, Clone)]
pub enum Security {
    /// No TLS.
    Plaintext {
        /// Also to and from addresses other than loopback.
        beyond_loopback: bool,
    },
    /// Mutual TLS.
    Mutual(Arc<Identity>),
}

impl Security {
    /// Validates the settings and reads the files.
    ///
    /// # Errors
    /// [`ConfigError::Value`] that names the key: files given in part, or files that cannot be used.
    pub fn from_settings(settings: &TlsSettings) -> Result<Self, ConfigError> {
        let files = match (&settings.cert, &settings.key, &settings.ca) {
            (None, None, None) => {
                return Ok(Self::Plaintext {
                    beyond_loopback: settings.allow_plaintext.unwrap_or(false),
                });
            }
            (Some(cert), Some(key), Some(ca)) => TlsFiles {
                cert: cert.clone(),
                key: key.clone(),
                ca: ca.clone(),
            },
            (cert, key, _) => {
                let missing = match (cert, key) {
                    (None, _) => "tls.cert",
                    (_, None) => "tls.key",
                    _ => "tls.ca",
                };
                return Err(ConfigError::value(
                    missing,
                    "is missing: mutual TLS needs tls.cert, tls.key and tls.ca (or none of them for plaintext)",
                ));
            }
        };
        let identity = Identity::load(files).map_err(|error| {
            let key = match &error {
                TlsError::Read { key, .. } | TlsError::Content { key, .. } => key,
                TlsError::Pair { .. } => "tls.key",
            };
            ConfigError::value(key, crate::config::program::describe(&error))
        })?;
        Ok(Self::Mutual(Arc::new(identity)))
    }

    /// Plaintext that never leaves this machine.
    pub const fn loopback_plaintext() -> Self {
        Self::Plaintext {
            beyond_loopback: false,
        }
    }

    /// Whether a peer or listener at this address may be used with this protection.
    pub fn permits(&self, address: IpAddr) -> bool {
        match self {
            Self::Mutual(_)
            | Self::Plaintext {
                beyond_loopback: true,
            } => true,
            Self::Plaintext {
                beyond_loopback: false,
            } => address.to_canonical().is_loopback(),
        }
    }
}

/// This program's certificate, key and trusted CAs, as fresh as the files.
#[derive(Debug)]
pub struct Identity {
    files: TlsFiles,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    material: Arc<Material>,
    /// Of the files as last looked at, usable or not: a broken set is reported once.
    seen: Fingerprint,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]: which file and why.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let seen = Fingerprint::of(&files);
        let material = Arc::new(Material::read(&files)?);
        Ok(Self {
            files,
            state: Mutex::new(State { material, seen }),
        })
    }

    /// The files it is read from.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// The configuration for the next connection that this program opens.
    pub async fn client_config(self: &Arc<Self>) -> Arc<ClientConfig> {
        self.fresh().await.client.clone()
    }

    /// The configuration for the next connection that this program accepts.
    pub async fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        self.fresh().await.server.clone()
    }

    async fn fresh(self: &Arc<Self>) -> Arc<Material> {
        let identity = self.clone();
        let Ok((material, change)) = tokio::task::spawn_blocking(move || identity.refresh()).await
        else {
            return self.current();
        };
        match change {
            None => {}
            Some(Ok(())) => {
                tracing::info!(cert = %self.files.cert.display(), "certificates read again");
            }
            Some(Err(error)) => tracing::error!(
                error = crate::config::program::describe(&error),
                "changed certificate files cannot be used, the old ones stay in use"
            ),
        }
        material
    }

    fn current(&self) -> Arc<Material> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .material
            .clone()
    }

    /// Looks at the files and reads them again if one has changed; says whether that worked. Blocks on the file system.
    fn refresh(&self) -> (Arc<Material>, Option<Result<(), TlsError>>) {
        let now = Fingerprint::of(&self.files);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.seen == now {
            return (state.material.clone(), None);
        }
        state.seen = now;
        let change =
            Material::read(&self.files).map(|material| state.material = Arc::new(material));
        (state.material.clone(), Some(change))
    }

    /// Looks at the files now, so that a broken rotation is reported without waiting for a handshake.
    pub async fn check(self: &Arc<Self>) {
        self.fresh().await;
    }
}

/// For HTTPS: verifies servers by the CA certificates of a file, which the configuration key `key` names.
///
/// # Errors
/// The file cannot be read, or holds no CA certificate.
pub fn https(key: &'static str, ca: &std::path::Path) -> Result<Arc<ClientConfig>, TlsError> {
    material::https(key, ca)
}

/// For HTTPS to a server that asks for a certificate: shows that of `files`, and verifies the server by their CA.
///
/// # Errors
/// A file cannot be read or used.
pub fn https_as(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    material::https_as(files)
}

/// What a failed TLS handshake means, in words that say which side has to be mended; the peer is named by the caller.
pub fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(reason) => {
            format!("the peer's certificate was refused: {}", certificate_fault(reason))
        }
        rustls::Error::AlertReceived(alert) => alert_fault(*alert),
        rustls::Error::NoCertificatesPresented => {
            "the peer presented no certificate (mutual TLS needs tls.cert and tls.key on both sides)".to_owned()
        }
        rustls::Error::InvalidMessage(_) => {
            "the peer does not speak TLS (is it configured for plaintext?)".to_owned()
        }
        other => format!("TLS handshake failed: {other}"),
    }
}

fn certificate_fault(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it is signed by another CA than those in tls.ca".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("it has expired ({reason})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("it is not valid yet, check both clocks ({reason})")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            format!(
                "it is not valid for the name `{}`, only for {}",
                expected.to_str(),
                if presented.is_empty() {
                    "no name at all".to_owned()
                } else {
                    presented.join(", ")
                }
            )
        }
        CertificateError::NotValidForName => "it is not valid for the name asked for".to_owned(),
        other => other.to_string(),
    }
}

fn alert_fault(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it is signed by another CA than the peer trusts".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "it has expired or is not valid yet by the peer's clock".to_owned()
        }
        AlertDescription::CertificateRequired => {
            "none was presented and the peer requires one".to_owned()
        }
        AlertDescription::BadCertificate => "the peer calls it bad".to_owned(),
        AlertDescription::UnsupportedCertificate => {
            "the peer does not accept its purpose".to_owned()
        }
        other => return format!("the peer ended the TLS handshake with alert {other:?}"),
    };
    format!("our certificate (tls.cert) was refused by the peer: {why}")
}

/// The TLS failure behind an I/O error, if there is one.
pub fn tls_cause(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

/// What a failed handshake means: [`explain`] where TLS is the cause.
pub fn explain_io(error: &std::io::Error) -> String {
    match tls_cause(error) {
        Some(cause) => explain(cause),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the peer closed the connection during the TLS handshake (is it configured for plaintext?)".to_owned()
        }
        None => format!("TLS handshake failed: {error}"),
    }
}

#[cfg(test)]
mod tests;
