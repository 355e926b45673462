//! Certificate authorities and certificates made for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rpingmesh::net::tls::{Identity, Security, TlsFiles};

/// A CA.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

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
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("key");
        Self(CertifiedIssuer::self_signed(params, key).expect("CA"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes certificate, key and this CA into `folder`, replacing what is there.
    pub(crate) fn issue(&self, folder: &Path, name: &str, validity: Validity) -> TlsFiles {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        if validity == Validity::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.0).expect("certificate");
        fs::create_dir_all(folder).expect("folder");
        TlsFiles {
            cert: put(folder, "cert.pem", &certificate.pem()),
            key: put(folder, "key.pem", &key.serialize_pem()),
            ca: put(folder, "ca.pem", &self.pem()),
        }
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
    Security::Mutual(Arc::new(Identity::load(files).expect("certificates")))
}
