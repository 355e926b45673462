//! `rpingmesh-agent doctor` about what names services: a kubelet that answers, that refuses, and one that is away.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use crate::support::program::{AGENT, command};

const PODS: &str = r#"{"items": [
    {"metadata": {"uid": "11111111-2222-3333-4444-555555555555", "name": "train-0", "namespace": "ml",
                  "ownerReferences": [{"kind": "Job", "name": "train", "controller": true}]}},
    {"metadata": {"uid": "66666666-7777-8888-9999-000000000000", "name": "front", "namespace": "web"}}
]}"#;

/// Answers one request, if it has the token.
fn kubelet() -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("http://{}/pods", listener.local_addr().expect("an address"));
    let answers = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = Vec::new();
        let mut some = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = stream.read(&mut some).expect("a request");
            assert!(read > 0, "the client has gone");
            request.extend_from_slice(&some[..read]);
        }
        let request = String::from_utf8(request).expect("text").to_lowercase();
        let (status, body) = if request.contains("authorization: bearer secret\r\n") {
            ("200 OK", PODS)
        } else {
            ("403 Forbidden", "no")
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .expect("an answer");
    });
    (url, answers)
}

/// What the doctor says about Kubernetes.
fn said(arguments: &[&str]) -> String {
    let output = command(
        AGENT,
        &[&["doctor", "--transport", "none"], arguments].concat(),
    )
    .output()
    .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text
        .lines()
        .skip_while(|line| !line.contains("kubernetes: "));
    lines.take(2).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_doctor_asks_kubernetes_for_the_names_of_pods() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "secret\n").expect("a token");
    let token = token.to_str().expect("text");

    let (url, answers) = kubelet();
    let text = said(&[
        "--services-kubernetes",
        &url,
        "--services-kubernetes-token",
        token,
    ]);
    answers.join().expect("it was asked");
    assert!(text.starts_with("ok      kubernetes: http://"), "{text}");
    assert!(text.contains("/pods names 2 pods"), "{text}");

    let (url, answers) = kubelet();
    let text = said(&["--services-kubernetes", &url]);
    answers.join().expect("it was asked");
    assert!(text.starts_with("note    kubernetes: http://"), "{text}");
    assert!(text.contains("403"), "{text}");
    assert!(text.contains("Names from Kubernetes"), "{text}");

    // Nobody listens there any more.
    let text = said(&["--services-kubernetes", &url]);
    assert!(text.starts_with("note    kubernetes: http://"), "{text}");
    assert!(text.contains("refused"), "{text}");
}
