use super::*;

fn url(text: &str) -> ServerUrl {
    text.parse().expect("url")
}

#[test]
fn urls_round_trip_and_bad_ones_say_why() {
    for text in [
        "https://c.example:7470",
        "http://127.0.0.1:1",
        "https://[fd00::1]:7470",
    ] {
        assert_eq!(url(text).to_string(), text);
    }
    for (text, word) in [
        ("c.example:7470", "https://"),
        ("ftp://c.example:1", "https://"),
        ("https://c.example", "port"),
        ("https://c.example:7470/x", "path"),
        ("https://c.example:77777", "port"),
    ] {
        let error = text.parse::<ServerUrl>().expect_err(text);
        assert!(error.contains(word) && error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn plaintext_goes_to_loopback_only_unless_allowed() {
    let strict = Security::loopback_plaintext();
    let allowed = Security::Plaintext {
        beyond_loopback: true,
    };
    assert!(channel("controller", &url("http://127.0.0.1:1"), &strict).is_ok());
    assert!(channel("controller", &url("http://[::1]:1"), &strict).is_ok());
    assert!(channel("controller", &url("http://localhost:1"), &strict).is_ok());
    let error = channel("controller", &url("http://10.0.0.1:1"), &strict).expect_err("remote");
    assert!(error.to_string().contains("tls.allow_plaintext"), "{error}");
    assert!(channel("controller", &url("http://10.0.0.1:1"), &allowed).is_ok());
    let error = channel("controller", &url("https://10.0.0.1:1"), &allowed).expect_err("no files");
    assert!(error.to_string().contains("tls.cert"), "{error}");
}
