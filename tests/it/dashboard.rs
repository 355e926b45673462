//! The dashboard's pages through the real router: what they show, what they refuse, what they never do.

mod finding;
mod past;
mod trends;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::net::tls::TlsFiles;
use rpingmesh::rpc::v1;
use rpingmesh::time::SystemClock;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::analyzer::harness::{self, Incarnation, batch, clock, report, trace, upload};
use crate::support::certs::{Authority, Validity};

/// What a browser is answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A GET as browsers send it.
pub(crate) async fn browse(address: SocketAddr, path: &str, more: &str) -> Answer {
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connect");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html,*/*\r\n{more}Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("request");
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.expect("answer");
    let text = String::from_utf8(text).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// An analyzer with results between four RNICs, a service, traces, and names that are markup.
async fn filled(analyzer: &Incarnation) {
    let mut service = report(1, 4, 20, 2);
    service.kind = v1::ProbeKind::ServiceTracing.into();
    "train & <b>serve</b>".clone_into(&mut service.service);
    let mut marked = report(5, 6, 10, 0);
    let peer = |peer: &mut Option<v1::Peer>, host: &str, tor: &str| {
        let peer = peer.as_mut().expect("a peer");
        (peer.host, peer.tor, peer.device) = (host.to_owned(), tor.to_owned(), "'\"<i>".to_owned());
    };
    // An agent is believed about its own host only; about those that it probes, anything.
    peer(
        &mut marked.source,
        "host1",
        "\"><img src=x onerror=alert(2)>",
    );
    peer(
        &mut marked.target,
        "<script>alert(1)</script>",
        "tor/../é?a#b%20",
    );
    let mut first = batch(
        1,
        24,
        vec![report(1, 2, 10, 1), report(1, 3, 100, 0), service, marked],
    );
    first.traces = vec![
        trace(1, 4, 20, "a b c"),
        trace(1, 3, 20, "tor0 - tor1"),
        trace(1, 4, 22, "a <u>x</u> c"),
    ];
    let (acknowledged, end) = upload(analyzer, 7, vec![first]).await;
    assert_eq!((acknowledged, end), (1, None));
}

/// Addresses in a page.
fn links(html: &str) -> BTreeSet<String> {
    let unescaped = |text: &str| text.replace("&#38;", "&").replace("&amp;", "&");
    [" href=\"", " src=\""]
        .iter()
        .flat_map(|marker| html.split(marker).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|link| link.starts_with('/'))
        .map(unescaped)
        .collect()
}

#[test]
fn every_link_leads_somewhere_and_names_stay_text() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        filled(&analyzer).await;
        let mut queue = VecDeque::from(["/".to_owned()]);
        let mut seen = BTreeSet::new();
        let mut kinds = BTreeSet::new();
        while let Some(path) = queue.pop_front() {
            if !seen.insert(path.clone()) || seen.len() > 1_000 {
                continue;
            }
            let answer = browse(analyzer.web(), &path, "").await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            kinds.insert(path.split(['?', '/']).nth(1).unwrap_or_default().to_owned());
            let kind = answer.header("content-type").expect("a type");
            if !kind.starts_with("text/html") {
                continue;
            }
            assert!(
                answer.body.len() < 100_000,
                "{path}: {} bytes",
                answer.body.len()
            );
            for danger in ["<script>alert", "<img src=x", "<b>serve", "<u>x"] {
                assert!(!answer.body.contains(danger), "{path} has {danger}");
            }
            let policy = answer.header("content-security-policy").expect("a policy");
            assert!(
                policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
                "{policy}"
            );
            // The policy forbids what stands in the page itself: then it must not be there.
            for inline in [
                " style=",
                " onclick=",
                "<style",
                "javascript:",
                "http://",
                "https://",
            ] {
                assert!(!answer.body.contains(inline), "{path} has {inline}");
            }
            assert!(answer.body.contains("<html lang=\"en\""), "{path}");
            assert!(answer.body.contains("<main id=\"main\""), "{path}");
            queue.extend(links(&answer.body));
        }
        let expected = [
            "",
            "agents",
            "api",
            "assets",
            "fabric",
            "host",
            "incidents",
            "link",
            "metrics",
            "path",
            "rnic",
            "services",
            "tor",
            "trend",
        ];
        assert_eq!(
            kinds.iter().map(String::as_str).collect::<Vec<_>>(),
            expected
        );
    });
}

#[test]
fn a_path_is_shown_with_the_path_of_its_acks() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let mut first = batch(1, 24, vec![report(1, 3, 100, 0), report(1, 2, 10, 0)]);
        first.traces = vec![
            trace(1, 3, 20, "tor0 spine4 tor1"),
            trace(3, 1, 20, "tor1 spine7 tor0"),
        ];
        upload(&analyzer, 7, vec![first]).await;
        let page = browse(analyzer.web(), "/path/10.0.0.1/10.0.0.3", "")
            .await
            .body;
        let at = |text: &str| {
            page.find(text)
                .unwrap_or_else(|| panic!("no {text}: {page}"))
        };
        assert!(
            at(">spine4<") < at("ACKs:") && at("ACKs:") < at(">spine7<"),
            "{page}"
        );
        let page = browse(analyzer.web(), "/path/10.0.0.1/10.0.0.2", "")
            .await
            .body;
        assert_eq!(page.matches("not traced").count(), 2, "{page}");
    });
}

#[test]
fn the_overview_shows_the_matrix() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let paths = vec![report(1, 2, 10, 1), report(1, 0, 100, 0)];
        upload(&analyzer, 7, vec![batch(1, 24, paths)]).await;
        let page = browse(analyzer.web(), "/", "").await.body;
        let table = page
            .split("<table")
            .nth(1)
            .and_then(|rest| rest.split("</table>").next())
            .expect("a table");
        insta::assert_snapshot!(table);
        let page = browse(analyzer.web(), "/?metric=p99&window=120s", "")
            .await
            .body;
        assert!(page.contains(">10.0 µs<"), "{page}");
        let page = browse(analyzer.web(), "/tor/tor0/tor1", "").await.body;
        let list = page
            .split("<tbody>")
            .nth(1)
            .and_then(|rest| rest.split("</tbody>").next())
            .expect("a list");
        insta::assert_snapshot!(list);
    });
}

#[test]
fn what_is_malformed_or_unknown_is_said_in_a_page() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        filled(&analyzer).await;
        let long = format!("/?rows_from={}&rows_to=b", "x".repeat(5_000));
        for path in [
            "/?metric=beauty",
            "/?window=5s&window=5s",
            "/?at=soon",
            "/?at=99999999999999999999999",
            "/?rows_from=a",
            "/?colour=%3Cscript%3Ealert(1)%3C/script%3E",
            "/?metric=%ff%fe",
            "/tor/tor0/tor1?window=9h",
            "/incidents?before=many",
            "/incidents?before=-1",
            "/agents?offset=1e9",
            "/fabric?x=1",
            "/services?x=1",
            long.as_str(),
        ] {
            let answer = browse(analyzer.web(), path, "").await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
            assert!(
                answer.body.contains("<h1>This address is malformed</h1>"),
                "{path}"
            );
            assert!(!answer.body.contains("<script>alert"), "{path}");
        }
        for path in [
            "/nowhere",
            "/incidents/999",
            "/incidents/first",
            "/incidents/99999999999999999999999",
            "/tor/tor0/nowhere",
            "/tor/a%00b/%F0%9F%92%A5",
            "/path/10.0.0.1/10.9.9.9",
            "/path/me/you",
            "/services/none",
            "/fabric?node=none",
        ] {
            let answer = browse(analyzer.web(), path, "").await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.body);
            assert!(
                answer.body.contains("<h1>There is no such page</h1>"),
                "{path}"
            );
        }
        // Bytes that are no text are no name.
        let answer = browse(analyzer.web(), "/tor/%ff/%fe", "").await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        for path in [
            "/agents?offset=18446744073709551615",
            "/incidents?before=18446744073709551615",
            "/?at=1&rows_from=z&rows_to=a",
        ] {
            assert_eq!(browse(analyzer.web(), path, "").await.status, 200, "{path}");
        }
    });
}

#[test]
fn a_page_that_has_not_changed_is_not_sent_again() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let first = browse(analyzer.web(), "/services", "").await;
        let tag = first.header("etag").expect("a tag").to_owned();
        let again = browse(
            analyzer.web(),
            "/services",
            &format!("If-None-Match: {tag}\r\n"),
        )
        .await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
        let style = links(&first.body)
            .into_iter()
            .find(|link| link.contains("style.css"))
            .expect("a style");
        let style = browse(analyzer.web(), &style, "").await;
        assert!(
            style
                .header("cache-control")
                .expect("a header")
                .contains("max-age")
        );
    });
}

#[test]
fn open_pages_hear_of_news_and_the_end() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), Arc::new(SystemClock));
    analyzer.run(async {
        let mut stream = tokio::net::TcpStream::connect(analyzer.web())
            .await
            .expect("connect");
        let request =
            b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
        stream.write_all(request).await.expect("request");
        let mut text = String::new();
        let mut buffer = [0; 4096];
        // A slot of 5 s that is over is news.
        while !text.contains("event: tick") {
            let count = stream.read(&mut buffer).await.expect("events");
            assert_ne!(count, 0, "{text}");
            text += std::str::from_utf8(&buffer[..count]).expect("UTF-8");
        }
        assert!(text.contains("content-type: text/event-stream"), "{text}");
        let hello = text.find("event: hello").expect("a hello");
        assert!(hello < text.find("event: tick").expect("a tick"), "{text}");
        analyzer.stop();
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    });
}

#[test]
fn a_proxys_header_is_required_where_it_is_configured() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = AnalyzerSettings {
        web_auth_header: Some("X-Forwarded-User".to_owned()),
        ..AnalyzerSettings::default()
    };
    let analyzer = Incarnation::start_with(folder.path(), clock(30), settings);
    analyzer.run(async {
        for path in [
            "/",
            "/events",
            "/api/v1/status",
            "/metrics",
            "/assets/style.css",
        ] {
            for header in ["", "X-Forwarded-User: \r\n", "X-Forwarded: me\r\n"] {
                let answer = browse(analyzer.web(), path, header).await;
                assert_eq!(answer.status, 403, "{path} {header}");
                assert!(answer.body.contains("x-forwarded-user"), "{}", answer.body);
            }
        }
        let known = browse(analyzer.web(), "/", "x-forwarded-user: ann\r\n").await;
        assert_eq!(known.status, 200);
        assert_eq!(browse(analyzer.web(), "/healthz", "").await.status, 200);
    });
}

#[test]
fn over_tls_only_those_with_a_certificate_see_anything() {
    let folder = tempfile::tempdir().expect("folder");
    let files = Authority::new("us").issue(folder.path(), "localhost", Validity::Now);
    let settings = harness::over_tls(&files);
    let analyzer = Incarnation::start_with(folder.path(), clock(30), settings);
    analyzer.run(async {
        let request =
            b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n";
        let page = over_tls(analyzer.web(), &files, true, request)
            .await
            .expect("a page");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(page.contains("<html lang=\"en\""), "{page}");
        let refused = over_tls(analyzer.web(), &files, false, request).await;
        assert!(refused.is_err(), "{refused:?}");
    });
}

/// What is answered to a request over TLS, with this certificate or none.
async fn over_tls(
    address: SocketAddr,
    files: &TlsFiles,
    with_certificate: bool,
    request: &[u8],
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(&files.ca).expect("a file") {
        roots.add(authority.expect("a certificate")).expect("a CA");
    }
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
    let mut config = if with_certificate {
        let chain = CertificateDer::pem_file_iter(&files.cert).expect("a file");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
        builder
            .with_client_auth_cert(chain, key)
            .expect("a certificate")
    } else {
        builder.with_no_client_auth()
    };
    // Browsers offer HTTP/2 first.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    stream.write_all(request).await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
