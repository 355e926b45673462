//! Certificate authorities and certificates made for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rpingmesh::net::tls::{Identity, IdentityRule, Security, TlsFiles};

/// A CA.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    serial: AtomicU64,
}

/// When a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    Now,
    Expired,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("CA"),
            serial: AtomicU64::new(1),
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes certificate, key and this CA into `folder`, replacing what is there.
    pub(crate) fn issue(&self, folder: &Path, name: &str, validity: Validity) -> TlsFiles {
        self.issue_numbered(folder, &[name], validity).0
    }

    /// The same with any number of names; one that begins with `spiffe://` is a URI. Also the serial number.
    pub(crate) fn issue_numbered(
        &self,
        folder: &Path,
        names: &[&str],
        validity: Validity,
    ) -> (TlsFiles, u64) {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        for name in names {
            let text = || (*name).try_into().expect("ASCII");
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if name.starts_with("spiffe://") => SanType::URI(text()),
                Err(_) => SanType::DnsName(text()),
            });
        }
        let subject = names.first().copied().unwrap_or("hosta");
        params.distinguished_name.push(DnType::CommonName, subject);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        if validity == Validity::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        fs::create_dir_all(folder).expect("folder");
        let files = TlsFiles {
            cert: put(folder, "cert.pem", &certificate.pem()),
            key: put(folder, "key.pem", &key.serialize_pem()),
            ca: put(folder, "ca.pem", &self.pem()),
            crl: None,
        };
        (files, serial)
    }

    /// The list of certificates that were revoked, as PEM.
    pub(crate) fn revocations(&self, number: u64, serials: &[u64]) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2034, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: date_time_ymd(2024, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list");
        list.pem().expect("PEM")
    }
}

/// Replaces a file as rotation tools do: by renaming a complete new one over it.
pub(crate) fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, text).expect("write");
    fs::rename(&new, &path).expect("rename");
    path
}

pub(crate) fn security(files: TlsFiles) -> Security {
    security_by(files, IdentityRule::San)
}

/// With another rule for clients.
pub(crate) fn security_by(files: TlsFiles, rule: IdentityRule) -> Security {
    Security::Mutual(Arc::new(Identity::load(files, rule).expect("certificates")))
}
