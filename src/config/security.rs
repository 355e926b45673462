//! Section `[tls]` as what connections are protected with.

use std::sync::Arc;

use super::{ConfigError, TlsSettings};
use crate::error::describe;
use crate::net::tls::{Identity, Security, TlsError, TlsFiles};

impl TlsSettings {
    /// Checks the section and reads its files.
    ///
    /// # Errors
    /// [`ConfigError::Value`] that names the key: files given in part, or files that cannot be used.
    pub fn security(&self) -> Result<Security, ConfigError> {
        let files = match (&self.cert, &self.key, &self.ca) {
            (None, None, None) => {
                if self.crl.is_some() {
                    return Err(ConfigError::value(
                        "tls.crl",
                        "needs tls.cert, tls.key and tls.ca: without TLS there are no certificates",
                    ));
                }
                return Ok(Security::Plaintext {
                    beyond_loopback: self.allow_plaintext,
                });
            }
            (Some(cert), Some(key), Some(ca)) => TlsFiles {
                cert: cert.clone(),
                key: key.clone(),
                ca: ca.clone(),
                crl: self.crl.clone(),
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
        let identity = Identity::load(files, self.identity).map_err(|error| {
            let key = match &error {
                TlsError::Read { key, .. } | TlsError::Content { key, .. } => key,
                TlsError::Pair { .. } => "tls.key",
            };
            ConfigError::value(key, describe(&error))
        })?;
        Ok(Security::Mutual(Arc::new(identity)))
    }
}

#[cfg(test)]
mod tests;
