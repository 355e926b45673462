//! Mutual TLS for every role: a certificate that the CA has signed and not revoked is accepted, in both directions. What its
//! owner may do then depends on the hosts that it names ([`PeerIdentity`]).
//!
//! Certificates are files that operators rotate. The files are looked at before each handshake (a `stat`
//! call each) and read again when one has changed; new files that cannot be used are reported once and the old material
//! stays in use. Established connections live on with what they were made with.

mod explain;
mod files;
mod material;
mod peer;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};

use crate::error::describe;

pub use self::explain::{explain, explain_io, tls_cause};
pub(super) use self::files::{ALPN_HTTP1, ALPN_HTTP2};
pub use self::files::{TlsError, TlsFiles};
pub(crate) use self::material::https;
pub(super) use self::material::https_as;
use self::material::{Fingerprint, Material};
pub use self::peer::{IdentityError, IdentityRule, Names, PeerIdentity};

/// The configuration for connections that speak this protocol.
pub(super) fn speaking(config: Arc<ServerConfig>, protocol: &[u8]) -> Arc<ServerConfig> {
    if config.alpn_protocols == [protocol] {
        return config;
    }
    let mut config = ServerConfig::clone(&config);
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
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
    /// Plaintext that never leaves this machine.
    pub const fn loopback_plaintext() -> Self {
        Self::Plaintext {
            beyond_loopback: false,
        }
    }

    /// What a server gives up that does not ask its clients who they are although it could.
    pub fn waived(&self) -> Option<&'static str> {
        match self {
            Self::Mutual(identity) if identity.rule() == IdentityRule::Any => Some(
                "tls.identity is `any`: whoever has a certificate of the CA may register and upload as every host, and so take \
                 another agent's place, have strangers probed and open or hide incidents; issue certificates that name their \
                 hosts and set tls.identity = \"san\"",
            ),
            _ => None,
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
    /// What clients' certificates must say.
    rule: IdentityRule,
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
    pub fn load(files: TlsFiles, rule: IdentityRule) -> Result<Self, TlsError> {
        let seen = Fingerprint::of(&files);
        let material = Arc::new(Material::read(&files)?);
        Ok(Self {
            files,
            rule,
            state: Mutex::new(State { material, seen }),
        })
    }

    /// The files it is read from.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// What clients' certificates must say.
    pub const fn rule(&self) -> IdentityRule {
        self.rule
    }

    /// Who a client with this certificate is.
    pub(super) fn peer(&self, certificate: Option<&CertificateDer<'_>>) -> PeerIdentity {
        PeerIdentity::of(self.rule, certificate)
    }

    /// The hosts that this program's own certificate names, by its newest files.
    pub fn names(&self) -> Names {
        self.current().names.clone()
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
                error = describe(&error),
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

#[cfg(test)]
mod tests;
