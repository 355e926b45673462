//! The `Host` header, and files that others can read.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rpingmesh::config::analyzer::AnalyzerSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::analyzer::harness::{Incarnation, clock};
use crate::support::certs::{Authority, Validity};
use crate::support::program::{AGENT, ANALYZER, CONTROLLER, Program, command};

async fn answer(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[test]
fn requests_for_other_servers_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = AnalyzerSettings {
        web_hosts: vec!["rpingmesh.example".to_owned()],
        ..AnalyzerSettings::default()
    };
    let analyzer = Incarnation::start_with(folder.path(), clock(0), settings);
    let (web, port) = (analyzer.web(), analyzer.web().port());
    analyzer.run(async {
        for path in ["/", "/api/v1/status", "/healthz", "/metrics", "/nothing"] {
            for host in [
                "evil.example",
                &format!("evil.example:{port}"),
                "10.1.2.3",
                "localhost.evil.example",
            ] {
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
                let answer = answer(web, &request).await;
                assert!(
                    answer.starts_with("HTTP/1.1 421 "),
                    "{host}{path}: {answer}"
                );
                assert!(answer.contains("add the name to web_hosts"), "{answer}");
            }
        }
        for host in [
            "localhost",
            &format!("127.0.0.1:{port}"),
            "[::1]",
            "RPINGMESH.example:443",
        ] {
            let request =
                format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = answer(web, &request).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        }
        // Two names, and a name in the request's target.
        for head in [
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
            "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost",
        ] {
            let answer = answer(web, &format!("{head}\r\nConnection: close\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{head}: {answer}");
        }
    });
    analyzer.kill();
}

fn with_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

fn check(program: &str, arguments: &[&str]) -> String {
    let output = command(program, arguments).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn check_config_names_files_that_others_can_read_or_change() {
    let folder = tempfile::tempdir().expect("folder");
    let files = Authority::new("CA").issue(folder.path(), "localhost", Validity::Now);
    let keys = folder.path().join("cluster.keys");
    fs::write(&keys, "00".repeat(32)).expect("write");
    let tls: Vec<String> = [
        ("cert", &files.cert),
        ("key", &files.key),
        ("ca", &files.ca),
    ]
    .iter()
    .map(|(name, path)| format!("--tls-{name}={}", path.display()))
    .collect();
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    let keys_flag = format!("--cluster-key-file={}", keys.display());
    let state = format!("--state-dir={}", folder.path().display());
    let agent = [
        &["check-config", "--tor", "tor0", &keys_flag, &state],
        &tls[..],
    ]
    .concat();
    let server = [&["check-config", "--store", "sqlite::memory:"], &tls[..]].concat();

    for (tls_mode, keys_mode) in [(0o600, 0o600), (0o644, 0o666)] {
        with_mode(&files.key, tls_mode);
        with_mode(&keys, keys_mode);
        let is_weak = tls_mode != 0o600;
        let weak_key = format!("tls.key ({}) has mode 0644", files.key.display());
        let mend_key = format!("chmod 0600 '{}'", files.key.display());
        for (program, arguments) in [(AGENT, &agent), (CONTROLLER, &server), (ANALYZER, &server)] {
            let text = check(program, arguments);
            assert!(text.contains("the configuration is valid"), "{text}");
            assert_eq!(text.contains(&weak_key), is_weak, "{program}: {text}");
            assert_eq!(text.contains(&mend_key), is_weak, "{program}: {text}");
        }
        let text = check(AGENT, &agent);
        let weak_keys = format!("cluster_key_file ({}) has mode 0666", keys.display());
        assert_eq!(text.contains(&weak_keys), is_weak, "{text}");
    }

    // The doctor names them among its findings, whatever else this machine lacks.
    let mut doctor = agent.clone();
    doctor[0] = "doctor";
    let output = command(AGENT, &doctor).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let weak_keys = format!("cluster_key_file ({}) has mode 0666", keys.display());
    assert!(text.contains(&weak_keys), "{text}");
}

#[test]
fn a_running_program_warns_of_weak_files_and_makes_its_database_for_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let files = Authority::new("CA").issue(folder.path(), "localhost", Validity::Now);
    with_mode(&files.key, 0o644);
    let state = folder.path().join("state");
    let database = state.join("registry.db");
    let store = format!("--store=sqlite:{}", database.display());
    let tls: Vec<String> = [
        ("cert", &files.cert),
        ("key", &files.key),
        ("ca", &files.ca),
    ]
    .iter()
    .map(|(name, path)| format!("--tls-{name}={}", path.display()))
    .collect();
    let mut arguments = vec!["run", "--listen=127.0.0.1:0", &store];
    arguments.extend(tls.iter().map(String::as_str));
    let mut program = Program::start(CONTROLLER, &arguments);
    let line = program.wait_for(&["weak permissions"]);
    assert!(
        line.contains("tls.key") && line.contains("chmod 0600"),
        "{line}"
    );
    program.wait_for(&["controller listens"]);
    assert_eq!(mode(&database), 0o600);
    assert_eq!(mode(&state), 0o700);
    for extension in ["db-wal", "db-shm"] {
        let beside = database.with_extension(extension);
        assert!(!beside.exists() || mode(&beside) == 0o600, "{extension}");
    }
}

#[test]
fn check_config_and_doctor_say_that_a_certificate_is_another_hosts() {
    let folder = tempfile::tempdir().expect("folder");
    let authority = Authority::new("CA");
    let (files, _) = authority.issue_numbered(folder.path(), &["host-a"], Validity::Now);
    let state = format!("--state-dir={}", folder.path().display());
    let mut flags = vec!["--tor".to_owned(), "tor0".to_owned(), state];
    for (name, path) in [
        ("cert", &files.cert),
        ("key", &files.key),
        ("ca", &files.ca),
    ] {
        flags.push(format!("--tls-{name}={}", path.display()));
    }
    for (host, is_other) in [("host-a", false), ("host-b", true)] {
        let flags = flags.iter().map(String::as_str);
        let named: Vec<&str> = flags.chain(["--host", host]).collect();
        let text = check(AGENT, &[&["check-config"], &named[..]].concat());
        assert_eq!(text.contains("is not this agent's"), is_other, "{text}");
        assert_eq!(
            text.contains("host-a") && text.contains("host-b"),
            is_other,
            "{text}"
        );
        let doctor = command(AGENT, &[&["doctor"], &named[..]].concat()).output();
        let text = String::from_utf8(doctor.expect("it runs").stdout).expect("text");
        assert_eq!(text.contains("is not this agent's"), is_other, "{text}");
    }
}
