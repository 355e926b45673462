//! The content of the certificate files as rustls configurations, and how a change of the files is noticed.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::files::{ALPN_HTTP2, TlsError, TlsFiles};
use super::peer::Names;

/// What tells a changed set of files from an unchanged one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint([Option<FileState>; 4]);

/// Device, inode, size and modification time in nanoseconds.
type FileState = (u64, u64, u64, i64, i64);

impl Fingerprint {
    pub(super) fn of(files: &TlsFiles) -> Self {
        let all = [
            Some(&files.cert),
            Some(&files.key),
            Some(&files.ca),
            files.crl.as_ref(),
        ];
        Self(all.map(|path| file_state(path?)))
    }
}

fn file_state(path: &Path) -> Option<FileState> {
    let meta = std::fs::metadata(path).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
    ))
}

/// Ready-made configurations for both directions.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// The hosts that the certificate names.
    pub(super) names: Names,
}

impl Material {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates("tls.cert", &files.cert)?;
        let key = private_key(&files.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = Trust::read(files, &provider)?;
        let pair = |source| TlsError::Pair {
            cert: files.cert.clone(),
            key: files.key.clone(),
            source,
        };
        Ok(Self {
            names: chain.first().map(Names::of).unwrap_or_default(),
            client: Arc::new(
                client(&provider, &trust, chain.clone(), key.clone_key()).map_err(pair)?,
            ),
            server: Arc::new(server(&provider, &trust, chain, key).map_err(pair)?),
        })
    }
}

/// What peers' certificates are verified by, in both directions: the CAs, and their lists of revoked certificates.
struct Trust {
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// With a list, each certificate of a chain must be one that some list could have named: a CA without a list has no
    /// certificate that is accepted. A list stays in force after its time of renewal, so that a late one does not end the
    /// monitoring.
    fn read(files: &TlsFiles, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let roots = Arc::new(roots("tls.ca", &files.ca)?);
        let lists = match &files.crl {
            Some(path) => revoked("tls.crl", path)?,
            None => Vec::new(),
        };
        let fail = |error: VerifierBuilderError| match (&files.crl, error) {
            (Some(path), VerifierBuilderError::InvalidCrl(error)) => content(
                "tls.crl",
                path,
                format!("has a revocation list that cannot be used: {error:?}"),
            ),
            (_, error) => content(
                "tls.ca",
                &files.ca,
                format!("cannot be used to verify peers: {error}"),
            ),
        };
        Ok(Self {
            servers: WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
                .with_crls(lists.clone())
                .build()
                .map_err(fail)?,
            clients: WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
                .with_crls(lists)
                .build()
                .map_err(fail)?,
        })
    }
}

fn client(
    provider: &Arc<CryptoProvider>,
    trust: &Trust,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(trust.servers.clone())
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
    Ok(config)
}

fn server(
    provider: &Arc<CryptoProvider>,
    trust: &Trust,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(trust.clients.clone())
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
    Ok(config)
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        key,
        path: path.to_owned(),
        source,
    })
}

fn content(key: &'static str, path: &Path, why: impl Into<String>) -> TlsError {
    TlsError::Content {
        key,
        path: path.to_owned(),
        why: why.into(),
    }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(key, path)?;
    let found = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(key, path, format!("is not valid PEM: {error}")))?;
    if found.is_empty() {
        return Err(content(key, path, "has no `BEGIN CERTIFICATE` section"));
    }
    Ok(found)
}

fn revoked(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let text = read(key, path)?;
    let found = CertificateRevocationListDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(key, path, format!("is not valid PEM: {error}")))?;
    if found.is_empty() {
        return Err(content(key, path, "has no `BEGIN X509 CRL` section"));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read("tls.key", path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        content(
            "tls.key",
            path,
            format!("has no usable private key: {error}"),
        )
    })
}

fn roots(key: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|error| {
            content(
                key,
                path,
                format!("has a certificate that is no CA: {error}"),
            )
        })?;
    }
    Ok(roots)
}

/// For HTTPS to a server that asks for a certificate: shows that of `files`, and verifies the server by their CA.
///
/// # Errors
/// A file cannot be read or used.
pub(in crate::net) fn https_as(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let chain = certificates("tls.cert", &files.cert)?;
    let key = private_key(&files.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = Trust::read(files, &provider)?;
    let mut config = client(&provider, &trust, chain, key).map_err(|source| TlsError::Pair {
        cert: files.cert.clone(),
        key: files.key.clone(),
        source,
    })?;
    config.alpn_protocols.clear();
    Ok(Arc::new(config))
}

/// For HTTPS: verifies servers by the CA certificates of a file, which the configuration key `key` names, and shows no
/// certificate.
///
/// # Errors
/// The file cannot be read, or holds no CA certificate.
pub(crate) fn https(key: &'static str, ca: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = roots(key, ca)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| content(key, ca, format!("cannot be used for TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
