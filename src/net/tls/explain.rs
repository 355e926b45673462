//! What a failed TLS handshake means, in words that say which side must be mended.

use rustls::{AlertDescription, CertificateError};

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
        CertificateError::Revoked => "it was revoked (tls.crl)".to_owned(),
        CertificateError::UnknownRevocationStatus => {
            "tls.crl has no list of the CA that signed it: add that CA's list to the file"
                .to_owned()
        }
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
        AlertDescription::CertificateRevoked => {
            "it was revoked: ask those who run the CA for another one".to_owned()
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
