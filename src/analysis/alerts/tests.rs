use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

fn at(seconds: i64) -> HostTime {
    HostTime::from_nanos(seconds * SECOND)
}

fn incident(id: u64) -> Incident {
    Incident {
        id,
        subject: Component::Link {
            from: format!("spine{id}"),
            to: "tor0".to_owned(),
        },
        both_directions: false,
        or: Vec::new(),
        deciding: false,
        category: Category::LinkLoss,
        severity: Severity::P2,
        opened_unix_ns: SECOND,
        seen_unix_ns: SECOND,
        closed_unix_ns: None,
        confidence: 0.9,
        share: 0.1,
        sent: 100,
        lost: 10,
        services: BTreeMap::new(),
        perhaps: BTreeMap::new(),
        evidence: Vec::new(),
        openings: 1,
        interval: None,
        explains: Vec::new(),
        subjects: crate::analysis::incident::Subjects::default(),
        cause: None,
    }
}

fn closed(id: u64) -> Incident {
    Incident {
        closed_unix_ns: Some(9 * SECOND),
        ..incident(id)
    }
}

fn refreshing() -> Config {
    Config {
        refresh: Some(Duration::from_mins(1)),
        ..Config::default()
    }
}

fn batch(outbox: &Outbox, now: HostTime) -> Vec<Item> {
    match outbox.next(now) {
        Next::Send(batch) => batch,
        other => panic!("nothing to send: {other:?}"),
    }
}

fn events(batch: &[Item]) -> Vec<(u64, &'static str)> {
    batch
        .iter()
        .map(|item| (item.incident.id, item.event.name()))
        .collect()
}

/// Sends what is due, and it is taken.
fn deliver(outbox: &mut Outbox, now: HostTime) -> Vec<(u64, &'static str)> {
    let batch = batch(outbox, now);
    outbox.settle(&batch, Outcome::Taken, now, 0.0);
    events(&batch)
}

#[test]
fn an_incident_is_told_when_it_opens_changes_and_closes_and_no_more() {
    let mut outbox = Outbox::new(Config::default(), Vec::new());
    assert_eq!(outbox.next(at(0)), Next::Idle);
    outbox.learn(&incident(1));
    assert_eq!(deliver(&mut outbox, at(0)), [(1, "opened")]);
    // More evidence of the same is no news.
    outbox.learn(&Incident {
        lost: 20,
        ..incident(1)
    });
    assert_eq!(outbox.next(at(1)), Next::Idle);
    let worse = Incident {
        severity: Severity::P0,
        ..incident(1)
    };
    outbox.learn(&worse);
    let update = batch(&outbox, at(2));
    assert_eq!(events(&update), [(1, "updated")]);
    assert_eq!(update[0].over, Some(DeliveryState::from(&incident(1))));
    outbox.settle(&update, Outcome::Taken, at(2), 0.0);
    outbox.learn(&Incident {
        severity: Severity::P0,
        ..closed(1)
    });
    let end = batch(&outbox, at(3));
    assert_eq!(events(&end), [(1, "closed")]);
    assert_eq!(end[0].over, Some(DeliveryState::from(&worse)));
    outbox.settle(&end, Outcome::Taken, at(3), 0.0);
    assert_eq!((outbox.next(at(9_999)), outbox.waiting()), (Next::Idle, 0));
}

#[test]
fn receivers_that_forget_are_told_again_until_the_end() {
    let mut outbox = Outbox::new(refreshing(), Vec::new());
    outbox.learn(&incident(1));
    assert_eq!(deliver(&mut outbox, at(0)), [(1, "opened")]);
    assert_eq!(outbox.next(at(10)), Next::Wait(at(60)));
    assert_eq!(deliver(&mut outbox, at(60)), [(1, "refreshed")]);
    assert_eq!(outbox.next(at(61)), Next::Wait(at(120)));
    outbox.learn(&closed(1));
    assert_eq!(deliver(&mut outbox, at(61)), [(1, "closed")]);
    assert_eq!(outbox.next(at(120)), Next::Idle);
}

#[test]
fn a_receiver_that_was_away_is_told_how_things_stand_each_once() {
    let mut outbox = Outbox::new(Config::default(), Vec::new());
    let mut now = at(0);
    let mut waits = Vec::new();
    for id in 1..=3 {
        outbox.learn(&incident(id));
        for _ in 0..5 {
            let lost = batch(&outbox, now);
            let known = outbox.settle(&lost, Outcome::Unreachable, now, 1.0);
            assert!(known.is_empty(), "nothing is known of what was not taken");
            let Next::Wait(until) = outbox.next(now) else {
                panic!("it waits");
            };
            waits.push(until.since(now).as_secs());
            now = until;
        }
    }
    assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    outbox.learn(&Incident {
        severity: Severity::P1,
        ..incident(1)
    });
    outbox.learn(&closed(2));
    assert_eq!(outbox.waiting(), 3);
    // One opened, one changed, one came and went: one line each.
    let delivered = deliver(&mut outbox, now);
    assert_eq!(delivered, [(1, "opened"), (2, "closed"), (3, "opened")]);
    assert_eq!((outbox.next(now), outbox.waiting()), (Next::Idle, 0));
}

#[test]
fn what_is_refused_does_not_stop_the_others() {
    let mut outbox = Outbox::new(Config::default(), Vec::new());
    (1..=3).for_each(|id| outbox.learn(&incident(id)));
    let refused = batch(&outbox, at(0));
    assert_eq!(refused.len(), 3);
    outbox.settle(&refused, Outcome::Refused, at(0), 0.0);
    let first = batch(&outbox, at(0));
    assert_eq!(events(&first), [(1, "opened")]);
    outbox.settle(&first, Outcome::Refused, at(0), 0.0);
    assert_eq!(deliver(&mut outbox, at(0)), [(2, "opened")]);
    assert_eq!(deliver(&mut outbox, at(0)), [(3, "opened")]);
    outbox.learn(&incident(4));
    assert_eq!(deliver(&mut outbox, at(0)), [(4, "opened")]);
    let Next::Wait(until) = outbox.next(at(0)) else {
        panic!("the refused one waits");
    };
    assert!(until > at(0));
    assert_eq!(deliver(&mut outbox, until), [(1, "opened")]);
}

#[test]
fn what_was_known_before_a_restart_is_not_told_again() {
    let delivered = |incident: &Incident| Some(DeliveryState::from(incident));
    let known = vec![
        (incident(1), delivered(&incident(1))),
        (closed(2), delivered(&incident(2))),
        (incident(3), None),
    ];
    let mut outbox = Outbox::new(Config::default(), known.clone());
    assert_eq!(deliver(&mut outbox, at(0)), [(2, "closed"), (3, "opened")]);
    // Alertmanager may have forgotten it meanwhile.
    let mut outbox = Outbox::new(refreshing(), known);
    assert_eq!(
        deliver(&mut outbox, at(0)),
        [(1, "refreshed"), (2, "closed"), (3, "opened")]
    );
}

#[test]
fn an_end_is_not_told_while_another_incident_says_the_same() {
    let mut outbox = Outbox::new(refreshing(), Vec::new());
    outbox.learn(&closed(1));
    outbox.learn(&Incident {
        subject: incident(1).subject,
        ..incident(2)
    });
    let both = batch(&outbox, at(0));
    assert_eq!(events(&both), [(1, "closed"), (2, "opened")]);
    assert_eq!(both[0].over, None);
}

#[test]
fn beyond_the_bound_the_oldest_closed_ones_go() {
    let config = Config {
        most: 3,
        ..Config::default()
    };
    let mut outbox = Outbox::new(config, Vec::new());
    outbox.learn(&incident(1));
    (2..=5).for_each(|id| outbox.learn(&closed(id)));
    assert_eq!(outbox.dropped(), 2);
    let delivered = deliver(&mut outbox, at(0));
    assert_eq!(delivered, [(1, "opened"), (4, "closed"), (5, "closed")]);
}

#[derive(Debug, Clone)]
enum Step {
    Open(u64),
    Worsen(u64),
    Close(u64),
    Send(Outcome),
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        Just(Outcome::Taken),
        Just(Outcome::Unreachable),
        Just(Outcome::Refused)
    ];
    prop_oneof![
        (1u64..6).prop_map(Step::Open),
        (1u64..6).prop_map(Step::Worsen),
        (1u64..6).prop_map(Step::Close),
        outcome.prop_map(Step::Send),
        Just(Step::Restart),
    ]
}

proptest! {
    /// Whatever happens to receiver and analyzer, once both are well the receiver knows the newest state of every
    /// incident, and was told no state of it twice in a row.
    #[test]
    fn in_the_end_the_receiver_knows_how_things_stand(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut incidents: BTreeMap<u64, Incident> = BTreeMap::new();
        let mut receiver: BTreeMap<u64, DeliveryState> = BTreeMap::new();
        let mut outbox = Outbox::new(Config::default(), Vec::new());
        let mut now = at(0);
        let send = |outbox: &mut Outbox, receiver: &mut BTreeMap<u64, DeliveryState>, outcome, now: &mut HostTime| {
            let batch = loop {
                match outbox.next(*now) {
                    Next::Send(batch) => break batch,
                    Next::Wait(until) => *now = until,
                    Next::Idle => return false,
                }
            };
            let marks = outbox.settle(&batch, outcome, *now, 0.5);
            if outcome == Outcome::Taken {
                for item in &batch {
                    let delivered = DeliveryState::from(&item.incident);
                    let before = receiver.insert(item.incident.id, delivered.clone());
                    assert_ne!(before, Some(delivered), "delivered twice");
                }
                assert_eq!(marks.len(), batch.len());
            }
            true
        };
        for step in steps {
            match step {
                Step::Open(id) => {
                    if let std::collections::btree_map::Entry::Vacant(place) = incidents.entry(id) {
                        outbox.learn(place.insert(incident(id)));
                    }
                }
                Step::Worsen(id) => {
                    if let Some(known) = incidents.get_mut(&id).filter(|known| known.is_open()) {
                        known.severity = Severity::P0;
                        outbox.learn(known);
                    }
                }
                Step::Close(id) => {
                    if let Some(known) = incidents.get_mut(&id).filter(|known| known.is_open()) {
                        known.closed_unix_ns = Some(9);
                        outbox.learn(known);
                    }
                }
                Step::Send(outcome) => {
                    send(&mut outbox, &mut receiver, outcome, &mut now);
                }
                Step::Restart => {
                    // What the store gives: open incidents, and closed ones whose end was not told.
                    let known = incidents.values().filter_map(|incident| {
                        let delivered = receiver.get(&incident.id).cloned();
                        let done = delivered.as_ref() == Some(&DeliveryState::from(incident)) && !incident.is_open();
                        (!done).then(|| (incident.clone(), delivered))
                    });
                    outbox = Outbox::new(Config::default(), known.collect());
                }
            }
        }
        while send(&mut outbox, &mut receiver, Outcome::Taken, &mut now) {}
        let expected: BTreeMap<u64, DeliveryState> = incidents.iter().map(|(id, incident)| (*id, DeliveryState::from(incident))).collect();
        prop_assert_eq!(receiver, expected);
        prop_assert_eq!(outbox.waiting(), 0);
    }
}
