use super::*;

#[test]
fn urls_of_http_are_read_or_refused_with_a_reason() {
    for (text, shown) in [
        ("http://127.0.0.1:7472/", "http://127.0.0.1:7472"),
        (
            "http://alertmanager/prefix",
            "http://alertmanager:80/prefix",
        ),
        ("https://am.example", "https://am.example:443"),
        ("https://[::1]:9093/am/", "https://[::1]:9093/am"),
        ("http://[fd00::1]", "http://[fd00::1]:80"),
        ("http://a/b?c=d", "http://a:80/b?c=d"),
    ] {
        assert_eq!(Url::parse(text).expect(text).to_string(), shown);
    }
    let url = Url::parse("https://[::1]:9093/am").expect("a URL");
    assert_eq!(
        (url.host(), url.is_tls(), url.is_loopback()),
        ("::1", true, true)
    );
    assert_eq!(
        url.join("/api/v1/status").to_string(),
        "https://[::1]:9093/am/api/v1/status"
    );
    for text in [
        "http://user@a",
        "127.0.0.1:7472",
        "http://",
        "http:///x",
        "http://a/b c",
        "http://a\n/b",
        "http://a:b",
        "http://a:",
        "http://a:65536",
        "http://fd00::1",
        "http://[::1",
        "http://[a]",
        "http://[::1]x:1",
    ] {
        let error = Url::parse(text).expect_err(text).to_string();
        assert!(error.contains(text), "{error}");
    }
    assert!(Url::plaintext("https://a").is_err());
    assert!(Url::plaintext("http://a").is_ok());
}

#[test]
fn urls_of_servers_round_trip_and_bad_ones_say_why() {
    for text in [
        "https://c.example:7470",
        "http://127.0.0.1:1",
        "https://[fd00::1]:7470",
    ] {
        assert_eq!(Url::server(text).expect(text).to_string(), text);
    }
    for (text, word) in [
        ("c.example:7470", "https://"),
        ("ftp://c.example:1", "https://"),
        ("https://c.example", "port"),
        ("https://c.example:7470/x", "path"),
        ("https://c.example:77777", "port"),
    ] {
        let error = Url::server(text).expect_err(text).to_string();
        assert!(error.contains(word) && error.contains(text), "{error}");
    }
}

#[test]
fn servers_have_commas_between_them_and_each_is_there_once() {
    let text = "https://a.example:7470, https://[fd00::1]:7470";
    let servers = Servers::parse(text).expect("two servers");
    assert_eq!(servers.to_string(), text.replace(' ', ""));
    assert_eq!(servers.iter().len(), 2);
    let told = [
        "",
        "https://a:1,",
        "https://a:1,https://a:1",
        "https://a:1;https://b:1",
    ]
    .map(|text| Servers::parse(text).expect_err(text).to_string());
    insta::assert_snapshot!(told.join("\n"));
}
