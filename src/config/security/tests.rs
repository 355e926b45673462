use std::path::PathBuf;

use super::*;

fn settings(cert: Option<&str>, key: Option<&str>, ca: Option<&str>) -> TlsSettings {
    TlsSettings {
        cert: cert.map(PathBuf::from),
        key: key.map(PathBuf::from),
        ca: ca.map(PathBuf::from),
        ..TlsSettings::default()
    }
}

#[test]
fn files_given_in_part_name_the_missing_key() {
    for (given, missing) in [
        (settings(None, Some("k"), Some("a")), "tls.cert: is missing"),
        (settings(Some("c"), None, Some("a")), "tls.key: is missing"),
        (settings(Some("c"), Some("k"), None), "tls.ca: is missing"),
    ] {
        let error = given.security().expect_err(missing).to_string();
        assert!(error.starts_with(missing), "{error}");
    }
}

#[test]
fn unusable_files_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("cert.pem");
    let text = path.to_str().expect("utf-8");
    let given = settings(Some(text), Some(text), Some(text));
    let error = given.security().expect_err("missing").to_string();
    assert!(
        error.contains(text) && error.contains("tls.cert"),
        "{error}"
    );
    std::fs::write(&path, "no PEM here").expect("write");
    let error = given.security().expect_err("empty").to_string();
    assert!(error.contains("BEGIN CERTIFICATE"), "{error}");
}
