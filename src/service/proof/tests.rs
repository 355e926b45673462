use super::*;

const NAME: &str = "rpm-proof-07f3";

fn specimen() -> Specimen {
    Specimen {
        device: "rxe0".to_owned(),
        qpn: 0x12,
        port: 1,
        gid: "10.0.0.1".parse().expect("a GID"),
        gid_index: 3,
        flow_label: 0x5_a5a5,
        traffic_class: 0x68,
        refused: None,
    }
}

fn padded<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

fn event(kind: EventKind, thread: &str) -> QpEvent {
    QpEvent {
        local_qpn: specimen().qpn,
        qp_type: RC,
        comm: padded(thread),
        device: padded("rxe0"),
        present: present::DEVICE,
        ..QpEvent::empty(kind)
    }
}

/// What programs tell that read at the right places.
fn calls(thread: &str) -> [QpEvent; 4] {
    let known = specimen();
    let modify = event(EventKind::Modify, thread);
    let gid = known.gid.bytes();
    [
        event(EventKind::Create, thread),
        QpEvent {
            attr_mask: 1 | MASK_PORT,
            qp_state: INIT,
            port: 1,
            ..modify
        },
        QpEvent {
            attr_mask: 1 | MASK_AV | 1 << 20,
            qp_state: RTR,
            port: 1,
            remote_qpn: known.qpn,
            flow_label: known.flow_label,
            sgid_index: known.gid_index,
            traffic_class: known.traffic_class,
            destination_gid: gid,
            source_gid: gid,
            ..modify
        },
        event(EventKind::Destroy, thread),
    ]
}

fn proof(events: &[QpEvent]) -> Proof {
    let mut proof = Proof::new(NAME, &[]);
    for event in events {
        proof.take(event);
    }
    proof
}

fn judge(events: &[QpEvent]) -> Verdict {
    proof(events).judge(Ok(specimen()), false)
}

fn contradiction(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Contradicted(contradiction) => contradiction.what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn right_offsets_are_proved_whatever_else_happens_meanwhile() {
    let own = calls(NAME);
    let others = calls("train");
    let mixed: Vec<_> = own
        .iter()
        .zip(&others)
        .flat_map(|(own, other)| [*other, *own])
        .collect();
    assert_eq!(judge(&mixed), Verdict::Proved);
    // Events of several processors come a little out of order.
    let turned: Vec<_> = own.iter().rev().copied().collect();
    assert_eq!(judge(&turned), Verdict::Proved);
    assert!(proof(&mixed).is_complete() && !proof(&mixed[..7]).is_complete());
}

/// One field that a wrong offset falsifies, in the event that shows it.
#[test]
fn each_wrong_field_contradicts() {
    type Falsify = fn(&mut [QpEvent; 4]);
    let falsified: [(&str, Falsify); 14] = [
        ("its number", |calls| calls[0].local_qpn = 1),
        ("its number", |calls| calls[3].local_qpn = 0),
        ("its type", |calls| calls[0].qp_type = 4),
        ("its device", |calls| calls[0].device = padded("\u{1}x")),
        ("its device", |calls| calls[1].present = 0),
        ("its state", |calls| calls[1].qp_state = 0),
        ("its port", |calls| calls[1].port = 0),
        ("its state", |calls| calls[2].qp_state = 77),
        ("its port", |calls| calls[2].port = 9),
        ("its peer's number", |calls| calls[2].remote_qpn = 7),
        ("its flow label", |calls| calls[2].flow_label = 0),
        ("the index of its GID", |calls| calls[2].sgid_index = 0),
        ("its traffic class", |calls| calls[2].traffic_class = 0),
        ("its destination GID", |calls| {
            calls[2].destination_gid[3] = 1;
        }),
    ];
    for (what, falsify) in falsified {
        let mut events = calls(NAME);
        falsify(&mut events);
        assert_eq!(contradiction(&judge(&events)), what);
    }
    let mut events = calls(NAME);
    events[2].source_gid = [0; 16];
    let Verdict::Contradicted(contradiction) = judge(&events) else {
        panic!("a GID that is none");
    };
    assert_eq!(
        contradiction.to_string(),
        "its source GID is 10.0.0.1, and the programs read ::"
    );
}

#[test]
fn programs_that_see_nothing_are_contradicted_unless_events_were_lost() {
    let all = calls(NAME);
    assert_eq!(
        contradiction(&judge(&[])),
        "the creation of the own queue pair"
    );
    for (missing, what) in [
        (0, "the creation of the own queue pair"),
        (1, "its first modification"),
        (2, "its connection"),
        (3, "its destruction"),
    ] {
        let mut some = all.to_vec();
        some.remove(missing);
        assert_eq!(contradiction(&judge(&some)), what);
        let verdict = proof(&some).judge(Ok(specimen()), true);
        assert!(matches!(verdict, Verdict::NotProvable(_)), "{verdict:?}");
    }
}

/// A call that the kernel has no function for is not waited for; the others are compared as ever.
#[test]
fn what_is_not_followed_is_not_missed() {
    let judge = |unseen: &[Unseen], events: &[QpEvent]| {
        let mut proof = Proof::new(NAME, unseen);
        assert!(!proof.is_complete());
        for event in events {
            proof.take(event);
        }
        (proof.is_complete(), proof.judge(Ok(specimen()), false))
    };
    let all = calls(NAME);
    assert_eq!(
        judge(&[Unseen::Creations], &all[1..]),
        (true, Verdict::Proved)
    );
    assert_eq!(
        judge(&[Unseen::Destructions, Unseen::EarlierGids], &all[..3]),
        (true, Verdict::Proved)
    );
    let both = [Unseen::Creations, Unseen::Destructions];
    assert_eq!(judge(&both, &all[1..3]), (true, Verdict::Proved));
    let (is_complete, verdict) = judge(&both, &all[1..2]);
    assert!(!is_complete);
    assert_eq!(contradiction(&verdict), "its connection");
    let mut wrong = all;
    wrong[2].flow_label = 0;
    let (_, verdict) = judge(&both, &wrong[1..3]);
    assert_eq!(contradiction(&verdict), "its flow label");
}

#[test]
fn without_a_queue_pair_nothing_is_shown() {
    let why = "there is no RDMA device".to_owned();
    let verdict = proof(&calls(NAME)).judge(Err(why.clone()), false);
    assert_eq!(verdict, Verdict::NotProvable(why));
}

/// A connection that the driver refuses proves nothing of GIDs, but what was read of the rest must be right.
#[test]
fn a_connection_that_was_refused_proves_a_part_only() {
    let refused = Specimen {
        refused: Some("Network is unreachable".to_owned()),
        ..specimen()
    };
    let mut events = calls(NAME);
    events[2].return_code = -101;
    events[2].source_gid = [0; 16];
    for seen in [&events[..], &[events[0], events[1], events[3]]] {
        let verdict = proof(seen).judge(Ok(refused.clone()), false);
        assert_eq!(
            verdict,
            Verdict::NotProvable("it could not be connected: Network is unreachable".to_owned())
        );
    }
    events[2].flow_label = 0;
    let verdict = proof(&events).judge(Ok(refused), false);
    assert_eq!(contradiction(&verdict), "its flow label");
}

#[test]
fn the_beginning_of_any_specimen_is_left_out_and_its_end_is_told() {
    let all = calls("rpm-proof-ffff");
    let left_out: Vec<_> = all.iter().map(is_specimen).collect();
    assert_eq!(left_out, [true, true, true, false]);
    assert!(!calls("rpm-train").iter().any(is_specimen));
}

#[test]
fn more_events_than_a_proof_has_are_not_kept() {
    let many: Vec<_> = (0..100).map(|_| event(EventKind::Query, NAME)).collect();
    let mut kept = proof(&many);
    assert_eq!(kept.seen.len(), MOST);
    kept.take(&event(EventKind::Destroy, NAME));
    assert!(!kept.is_complete());
}
