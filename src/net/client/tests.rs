use super::*;

fn url(text: &str) -> Url {
    Url::server(text).expect("url")
}

#[tokio::test]
async fn plaintext_goes_to_loopback_only_unless_allowed() {
    let strict = Security::loopback_plaintext();
    let allowed = Security::Plaintext {
        beyond_loopback: true,
    };
    assert!(channel(&url("http://127.0.0.1:1"), &strict).is_ok());
    assert!(channel(&url("http://[::1]:1"), &strict).is_ok());
    assert!(channel(&url("http://localhost:1"), &strict).is_ok());
    let error = channel(&url("http://10.0.0.1:1"), &strict).expect_err("remote");
    assert!(error.to_string().contains("tls.allow_plaintext"), "{error}");
    assert!(channel(&url("http://10.0.0.1:1"), &allowed).is_ok());
    let error = channel(&url("https://10.0.0.1:1"), &allowed).expect_err("no files");
    assert!(error.to_string().contains("tls.cert"), "{error}");
}
