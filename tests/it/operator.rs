//! Operators' commands against an analyzer that does not let everybody in: over TLS, and behind a proxy's header.

use std::process::Command;

use rpingmesh::config::analyzer::AnalyzerSettings;

use crate::analyzer::harness::{self, Incarnation, batch, clock, report, upload};
use crate::support::certs::{Authority, Validity};
use crate::support::program::{OPERATOR, command};

const COMMANDS: [&[&str]; 6] = [
    &["status"],
    &["incidents"],
    &["agents"],
    &["matrix"],
    &["topology"],
    &["top", "--count", "1"],
];

/// Arguments, the exit status, and what standard error has.
type Case<'a> = (&'a [&'a [&'a str]], i32, &'a [&'a str]);

/// Exit status, standard output, standard error.
fn run(mut command: Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn rpingmesh(arguments: &[&[&str]]) -> (Option<i32>, String, String) {
    run(command(OPERATOR, &arguments.concat()))
}

/// Every command says something, for people and for programs.
fn assert_all_work(access: &[&str]) {
    for one in COMMANDS {
        let (code, out, err) = rpingmesh(&[one, access]);
        assert_eq!(code, Some(0), "{one:?}: {err}");
        assert!(!out.trim().is_empty() && err.is_empty(), "{one:?}: {err}");
        let (code, out, err) = rpingmesh(&[one, access, &["--json"]]);
        assert_eq!(code, Some(0), "{one:?}: {err}");
        for line in out.lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(value.is_object(), "{one:?}: {line}");
        }
    }
}

#[test]
fn commands_reach_an_analyzer_over_tls_and_say_what_is_missing() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = Authority::new("us");
    let files = authority.issue(&folder.path().join("server"), "localhost", Validity::Now);
    let settings = harness::over_tls(&files);
    let analyzer = Incarnation::start_with(folder.path(), clock(30), settings);
    analyzer.run(upload(
        &analyzer,
        7,
        vec![batch(1, 24, vec![report(1, 2, 10, 1)])],
    ));
    let user = authority.issue(&folder.path().join("user"), "ann", Validity::Now);
    let expired = authority.issue(&folder.path().join("expired"), "ann", Validity::Expired);
    let other = Authority::new("them").issue(&folder.path().join("them"), "ann", Validity::Now);
    let text = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let (ca, cert, key) = (text(&user.ca), text(&user.cert), text(&user.key));
    let url = format!("https://localhost:{}", analyzer.web().port());
    let at = ["--analyzer", &url];
    let with_ca = ["--tls-ca", ca.as_str()];
    let all = ["--tls-cert", cert.as_str(), "--tls-key", key.as_str()];
    assert_all_work(&[&at[..], &with_ca, &all].concat());

    let (expired_cert, expired_key) = (text(&expired.cert), text(&expired.key));
    let expired = ["--tls-cert", &expired_cert, "--tls-key", &expired_key];
    let other_ca = text(&other.ca);
    let plain = format!("http://localhost:{}", analyzer.web().port());
    let cases: [Case<'_>; 7] = [
        (&[&["--analyzer", &plain]], 1, &["https://"]),
        (&[&at], 2, &["tls.ca", "--tls-ca"]),
        (&[&at, &with_ca], 1, &["--tls-cert", "--tls-key"]),
        (&[&at, &with_ca, &all[..2]], 2, &["tls.key"]),
        (&[&at, &with_ca, &all[2..]], 2, &["tls.cert"]),
        (&[&at, &with_ca, &expired], 1, &["expired"]),
        (
            &[&at, &["--tls-ca", &other_ca], &all],
            1,
            &["the peer's certificate was refused"],
        ),
    ];
    for (arguments, expected, parts) in cases {
        for one in COMMANDS {
            let (code, out, err) = rpingmesh(&[&[one], arguments].concat());
            assert_eq!(
                (code, out.as_str()),
                (Some(expected), ""),
                "{arguments:?}: {err}"
            );
            for part in parts {
                assert!(err.contains(part), "{one:?} {arguments:?}: {err}");
            }
        }
    }
}

#[test]
fn commands_tell_a_proxys_header_and_say_when_it_is_missing() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = AnalyzerSettings {
        web_auth_header: Some("X-Forwarded-User".to_owned()),
        ..AnalyzerSettings::default()
    };
    let analyzer = Incarnation::start_with(folder.path(), clock(30), settings);
    let url = format!("http://{}", analyzer.web());
    let at = ["--analyzer", url.as_str()];
    assert_all_work(&[&at[..], &["--header", "X-Forwarded-User: ann"]].concat());
    let mut by_variable = command(OPERATOR, &["status"]);
    by_variable
        .env("RPINGMESH_ANALYZER_API", &url)
        .env("RPINGMESH_ANALYZER_HEADER", "x-forwarded-user:ann");
    assert_eq!(run(by_variable).0, Some(0));
    for one in COMMANDS {
        let (code, out, err) = rpingmesh(&[one, &at]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{one:?}: {err}");
        for part in ["403", "x-forwarded-user", "--header"] {
            assert!(err.contains(part), "{one:?}: {err}");
        }
    }
    for wrong in ["ann", "X User: ann", "X-User: a\nb"] {
        let (code, _, err) = rpingmesh(&[&["status"], &at, &["--header", wrong]]);
        assert_eq!(code, Some(2), "{wrong:?}: {err}");
        assert!(err.contains("NAME: VALUE"), "{wrong:?}: {err}");
    }
}
