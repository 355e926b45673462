use super::*;

fn names(dns: &[&str], uris: &[&str]) -> PeerIdentity {
    PeerIdentity::Names(Names::new(dns.iter().copied(), uris.iter().copied()))
}

fn permits(identity: &PeerIdentity, host: &str, agent: &str) -> bool {
    identity
        .permit(&HostName::new(host), &AgentId::new(agent))
        .is_ok()
}

#[test]
fn a_dns_name_names_its_host_and_no_other() {
    let a = names(&["Host-A.example.net"], &[]);
    for host in [
        "host-a.example.net",
        "HOST-A.EXAMPLE.NET",
        "host-a",
        "Host-A",
    ] {
        assert!(permits(&a, host, host), "{host}");
    }
    for host in [
        "host-b",
        "host-a.other.net",
        "host-a.example",
        "example.net",
        "example",
        "",
        "host",
        "host-a.example.net.evil.net",
    ] {
        assert!(!permits(&a, host, host), "{host}");
    }
    let short = names(&["host-a"], &[]);
    assert!(permits(&short, "host-a", "host-a"));
    assert!(!permits(&short, "host-a.example.net", "host-a"));
}

#[test]
fn wildcards_and_other_uris_name_nobody() {
    let nobody = names(
        &["*.example.net", "*"],
        &[
            "https://fabric/host/host-a",
            "spiffe://fabric",
            "spiffe://fabric/",
            "spiffe://fabric/host/host-a?x",
        ],
    );
    for host in [
        "host-a",
        "a.example.net",
        "*.example.net",
        "*",
        "fabric",
        "",
    ] {
        assert!(!permits(&nobody, host, host), "{host}");
    }
    let text = nobody
        .permit(&HostName::new("host-a"), &AgentId::new("host-a"))
        .expect_err("nobody")
        .to_string();
    assert!(text.contains("names no host"), "{text}");
}

#[test]
fn a_spiffe_id_names_its_host() {
    for (id, host) in [
        ("spiffe://fabric/host/host-a", "host-a"),
        ("spiffe://fabric/rack7/host/host-a/agent", "host-a"),
        ("spiffe://fabric/rack7/host-a", "host-a"),
        ("SPIFFE://fabric/host-a", "host-a"),
    ] {
        let identity = names(&[], &[id]);
        assert!(permits(&identity, host, host), "{id}");
        assert!(!permits(&identity, "host-b", "host-b"), "{id}");
        assert!(!permits(&identity, "fabric", "fabric"), "{id}");
        assert!(
            !permits(&identity, "HOST-A", "HOST-A"),
            "{id}: letter for letter"
        );
    }
}

#[test]
fn an_agents_id_is_its_hosts_name_or_begins_with_it() {
    let a = names(&["host-a.example.net", "agent-7"], &[]);
    for agent in [
        "host-a",
        "host-a/second",
        "host-a:2",
        "agent-7",
        "host-a.example.net/x",
    ] {
        assert!(permits(&a, "host-a", agent), "{agent}");
    }
    for agent in [
        "host-b",
        "host-a-2",
        "host-b/host-a",
        "second",
        "/host-a",
        "",
    ] {
        assert!(!permits(&a, "host-a", agent), "{agent}");
    }
}

#[test]
fn without_names_anybody_is_anybody() {
    for identity in [PeerIdentity::Unproven, PeerIdentity::Anybody] {
        assert!(permits(&identity, "host-b", "anything"));
    }
}

#[test]
fn a_refusal_says_what_to_set() {
    let a = names(&["host-a.example.net"], &[]);
    let text = a
        .permit(&HostName::new("host-b"), &AgentId::new("host-b"))
        .expect_err("another host")
        .to_string();
    insta::assert_snapshot!(text, @r#"the agent calls its host `host-b`, but its certificate names `host-a.example.net`: set `host = "host-a.example.net"` on the agent, or give it a certificate (tls.cert) with `host-b` as DNS name or SPIFFE id, or set tls.identity = "any" on the server, which lets every certificate speak for every host"#);
    let text = a
        .permit(&HostName::new("host-a"), &AgentId::new("agent-7"))
        .expect_err("another agent")
        .to_string();
    insta::assert_snapshot!(text, @"the agent's id is `agent-7`, but its certificate names `host-a.example.net`: set `agent_id` on the agent to its host's name (the default), to that name with a slash and more, or add `agent-7` to the DNS names of its certificate (tls.cert)");
}

#[test]
fn an_analyzer_may_be_named_by_its_address() {
    let names = |addresses: &[&str]| {
        let dns = vec!["ana.example".to_owned()];
        let mut params = rcgen::CertificateParams::new(dns).expect("parameters");
        let addresses = addresses.iter().map(|address| address.parse());
        let addresses = addresses.map(|address| address.expect("an address"));
        let alternatives = addresses.map(rcgen::SanType::IpAddress);
        params.subject_alt_names.extend(alternatives);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        PeerIdentity::Names(Names::of(certificate.der()))
    };
    let is_analyzer =
        |identity: &PeerIdentity, host: &str| identity.permit_analyzer(&[host.to_owned()]).is_ok();
    let both = names(&["10.0.0.7", "2001:db8::7"]);
    for host in ["ana.example", "10.0.0.7", "2001:db8::7", "[2001:db8:0::7]"] {
        assert!(is_analyzer(&both, host), "{host}");
    }
    for host in ["10.0.0.8", "2001:db8::8", "10.0.0", "", "[]"] {
        assert!(!is_analyzer(&both, host), "{host}");
    }
    let none = names(&[]);
    assert!(is_analyzer(&none, "ana.example") && !is_analyzer(&none, "10.0.0.7"));
    // An agent's host goes by names alone.
    assert!(permits(&both, "ana.example", "ana.example"));
    assert!(!permits(&both, "10.0.0.7", "10.0.0.7"));
}
