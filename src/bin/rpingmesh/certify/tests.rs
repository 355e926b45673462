//! What is printed, written and continued.

use rpingmesh::analysis::certify::{FaultKind, LinkResult, LinkState, Progress};
use rpingmesh::time::Nanos;

use rpingmesh::api::Request as _;

use super::*;

fn link(from: &str, to: &str, state: LinkState, sent: u64, lost: u64) -> LinkResult {
    LinkResult {
        from: from.to_owned(),
        to: to.to_owned(),
        state,
        sent,
        lost,
        bound: rpingmesh::analysis::certify::upper_bound(sent, lost),
        left_ns: Some(7_200_000_000_000),
    }
}

fn sample() -> Report {
    let fault = Fault {
        kind: FaultKind::Swapped,
        category: None,
        subjects: vec!["h0/a".to_owned()],
        text: "the cables of RNIC h0/a and RNIC <h0/b> are swapped".to_owned(),
        suspects: BTreeSet::new(),
    };
    Report {
        verdict: Verdict::Faults,
        loss: 1e-5,
        start_unix_ns: 0,
        end_unix_ns: 90_000_000_000,
        covered_ns: 90_000_000_000,
        probes: 1_234_567,
        lost: 3,
        untraced: 10,
        set_aside: 20,
        left_out: 0,
        rnics: 2,
        proven: 1,
        left_ns: Some(Nanos(7_200_000_000_000)),
        faults: vec![fault],
        links: vec![
            link("leaf0", "spine1", LinkState::Faulty, 90_000, 3),
            link("leaf0", "spine2", LinkState::Unseen, 0, 0),
            link("spine0", "leaf0", LinkState::Open, 90_000, 0),
            link("leaf0", "spine0", LinkState::Proven, 900_000, 0),
        ],
        notes: vec!["a note".to_owned()],
        not_checked: vec!["MTU".to_owned()],
        elsewhere: BTreeSet::new(),
    }
}

#[test]
fn a_report_is_readable_on_a_terminal() {
    let report = sample();
    insta::assert_snapshot!(format!(
        "{}\n---\n{}\n---\n{}",
        text::beforehand(&report),
        text::progress(&report),
        text::report(&report)
    ));
}

#[test]
fn the_page_needs_nothing_else_and_escapes_names() {
    let page = page::page(&sample());
    assert!(page.contains("RNIC &lt;h0/b&gt; are swapped"), "{page}");
    for outside in ["http://", "https://", "<script", "src=", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // Three links leave leaf0, and one of them has a way back.
    assert_eq!(page.matches("<rect").count(), 4);
    assert_eq!(page.matches("<tr>").count(), 5);
}

#[test]
fn a_certification_goes_on_from_its_file_and_only_the_same_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    let question = Question {
        loss: 1e-4,
        hosts: BTreeSet::from(["h0".into()]),
    };
    let mut first = Certification::open(Some(&file), question.clone()).expect("a new one");
    assert_eq!(first.started(5), 5);
    let start = rpingmesh::time::WallTime::from_nanos(5_000_000_000);
    let mut evidence = Evidence::new(start..start);
    evidence.counted.sent = 7;
    first.progress = Progress {
        evidence: Some(evidence),
        known: sample().faults,
        without: BTreeSet::from(["leaf0->spine1".to_owned()]),
    };
    first.save().expect("written");
    let mut again = Certification::open(Some(&file), question).expect("the same");
    assert_eq!(again.progress, first.progress);
    assert_eq!(again.started(99), 5);
    assert_eq!(
        again.query().target(),
        "/api/v1/evidence?since_unix_ns=5000000000&without=leaf0-%3Espine1"
    );
    let refused = |question: Question| match Certification::open(Some(&file), question) {
        Ok(_) => panic!("it is taken"),
        Err(failure) => failure.to_string(),
    };
    let other = refused(Question {
        loss: 1e-5,
        hosts: BTreeSet::new(),
    });
    assert!(
        other.contains("is of another certification (--loss 1e-4, h0)"),
        "{other}"
    );
    std::fs::write(&file, "{}").expect("written");
    let damaged = refused(Question {
        loss: 1e-4,
        hosts: BTreeSet::new(),
    });
    assert!(
        damaged.contains("is no state of a certification"),
        "{damaged}"
    );
}

#[test]
fn a_share_is_above_0_and_below_1() {
    assert_eq!(share("1e-5"), Ok(1e-5));
    for wrong in ["0", "1", "-1", "nan", "x", ""] {
        assert!(share(wrong).is_err(), "{wrong}");
    }
}
