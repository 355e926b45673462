use super::message::{Links, alerts, changes, sign};
use super::*;
use crate::analysis::alerts::Event;
use crate::analysis::incident::Severity;
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;

const SECOND: i64 = 1_000_000_000;

fn incident() -> Incident {
    Incident {
        id: 7,
        subject: Component::Link {
            from: "spine1".to_owned(),
            to: "tor3".to_owned(),
        },
        or: Vec::new(),
        category: Category::LinkLoss,
        severity: Severity::P0,
        opened_unix_ns: 1_800_000_000 * SECOND,
        seen_unix_ns: 1_800_000_005 * SECOND,
        closed_unix_ns: None,
        confidence: 0.995,
        share: 0.05,
        sent: 1_000,
        lost: 50,
        services: [("train".to_owned(), true)].into(),
        evidence: vec![
            "50 of 1000 probes were lost".to_owned(),
            "traced".to_owned(),
        ],
        openings: 1,
    }
}

fn links() -> Links {
    Links::new(
        Some("https://rpingmesh.example"),
        "127.0.0.1:7472".parse().expect("address"),
    )
}

#[test]
fn alertmanager_is_told_what_is_open_and_what_is_over() {
    let milder = Told {
        severity: Severity::P2,
        ..Told::from(&incident())
    };
    let closed = Incident {
        closed_unix_ns: Some(1_800_000_030 * SECOND),
        ..incident()
    };
    let batch = [
        Item {
            event: Event::Updated,
            over: Some(milder),
            incident: incident(),
        },
        Item {
            event: Event::Closed,
            over: Some(Told::from(&incident())),
            incident: closed,
        },
    ];
    let labels = [("cluster".to_owned(), "a".to_owned())].into();
    let now = WallTime::from_nanos(1_800_000_040 * SECOND);
    let alerts = alerts(
        &batch,
        &labels,
        &links(),
        now,
        now.after(Duration::from_mins(4)),
    );
    insta::assert_json_snapshot!(alerts);
}

#[test]
fn webhooks_get_the_incident_of_the_api() {
    let batch = [Item {
        event: Event::Opened,
        over: None,
        incident: incident(),
    }];
    insta::assert_json_snapshot!(changes(&batch, &links()));
}

#[test]
fn bodies_are_signed_as_others_do_it() {
    // RFC 4231, test case 2, with the key filled up to what the configuration asks for.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "Jefe\0\0\0\0\0\0\0\0\0\0\0\0\n").expect("a file");
    let settings = crate::config::analyzer::AnalyzerSettings {
        alerts: crate::config::analyzer::AlertSettings {
            webhooks: Some(vec!["http://127.0.0.1:1/x".to_owned()]),
            webhook_secret_file: Some(file),
            ..Default::default()
        },
        ..Default::default()
    };
    let secret = settings
        .validate()
        .expect("valid")
        .alerts
        .secret
        .expect("a secret");
    let (name, value) = sign(&secret, b"what do ya want for nothing?");
    assert_eq!(name, "x-rpingmesh-signature");
    assert_eq!(
        value,
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}
