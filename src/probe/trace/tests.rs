use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn tuple() -> Tuple {
    Tuple {
        source: Ipv4Addr::new(10, 0, 0, 1).into(),
        target: Ipv4Addr::new(10, 0, 0, 2).into(),
        port: UdpSourcePort(50_000),
    }
}

fn answer(name: &str) -> Answer {
    Answer {
        node: name.into(),
        rtt: Nanos(1000),
    }
}

/// `tor0 - spine1`: by hop limit, `-` for no answer.
fn round(text: &str) -> Observation {
    let mut round = Observation::empty(8);
    for (hop, name) in (1..).zip(text.split_whitespace()) {
        if name != "-" {
            round.answer(hop, answer(name));
        }
    }
    round
}

fn route(text: &str) -> Route {
    let hop = |name: &str| (name != "?").then(|| name.into());
    Route::new(text.split_whitespace().map(hop).collect())
}

fn conclude(rounds: &[Observation], known: Option<&Route>, healthy: bool) -> String {
    let before = Before {
        route: known,
        healthy,
    };
    let mut assembly = Assembly::default();
    for round in rounds {
        assembly.add(round.clone());
    }
    let more = if assembly.wants_more(before) {
        "more would help"
    } else {
        "enough"
    };
    let trace = assembly.conclude(tuple(), WallTime::from_nanos(0), Reason::New, before);
    format!("{} | {} | {more}", trace.route(), trace.end.name())
}

#[test]
fn what_rounds_conclude_to() {
    let known = route("tor0 spine1 tor2");
    let mut reached = round("tor0 - tor2");
    reached.reached(6);
    reached.reached(4);
    let lines = [
        (
            "one round",
            conclude(&[round("tor0 spine1 tor2")], None, true),
        ),
        (
            "two rounds",
            conclude(&vec![round("tor0 spine1 tor2"); 2], None, true),
        ),
        (
            "a gap that the second round fills",
            conclude(&[round("tor0 - tor2"), round("tor0 spine1")], None, true),
        ),
        (
            "a gap that stays",
            conclude(&vec![round("tor0 - tor2"); 2], None, true),
        ),
        ("the target answers", conclude(&[reached], None, true)),
        ("nobody answers", conclude(&vec![round(""); 3], None, true)),
        (
            "as known",
            conclude(&[round("tor0 spine1 tor2")], Some(&known), true),
        ),
        (
            "shorter than known",
            conclude(&[round("tor0 spine1")], Some(&known), true),
        ),
        (
            "failing, of full length",
            conclude(&[round("tor0 spine1 tor2")], Some(&known), false),
        ),
        (
            "failing, and never traced before",
            conclude(&[round("tor0 spine1 tor2")], None, false),
        ),
        (
            "failing, stopping after the first switch",
            conclude(&vec![round("tor0"); 2], Some(&known), false),
        ),
        (
            "the path changes between two rounds",
            conclude(
                &[round("tor0 spine1 -"), round("tor0 spine0 tor2")],
                None,
                true,
            ),
        ),
    ];
    let text: Vec<_> = lines
        .iter()
        .map(|(what, line)| format!("{what}: {line}"))
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn hop_limits_that_were_not_asked_for_change_nothing() {
    let mut round = Observation::empty(3);
    for hop in [0, 4, 255] {
        round.answer(hop, answer("liar"));
    }
    assert_eq!(round, Observation::empty(3));
    round.reached(0);
    assert_eq!(round.target_at, Some(1));
    let mut assembly = Assembly::default();
    assembly.add(round);
    let trace = assembly.conclude(
        tuple(),
        WallTime::from_nanos(0),
        Reason::New,
        Before {
            route: None,
            healthy: true,
        },
    );
    assert_eq!((trace.hops.len(), trace.end), (0, End::Answered));
}

fn any_route() -> impl Strategy<Value = Route> {
    prop::collection::vec(
        prop::option::of("[ab]").prop_map(|name| name.map(NodeName::from)),
        0..5,
    )
    .prop_map(Route::new)
}

proptest! {
    /// What two routes know together contradicts neither, knows what either does, and is as long as the newer one.
    #[test]
    fn routes_are_merged_without_contradiction(old in any_route(), new in any_route()) {
        match old.relation(&new) {
            Relation::Same(both) => {
                prop_assert_eq!(both.hops().len(), new.hops().len());
                prop_assert_eq!(both.relation(&new), Relation::Same(both.clone()));
                for (index, hop) in both.hops().iter().enumerate() {
                    let old = old.hops().get(index).cloned().flatten();
                    let new = new.hops()[index].clone();
                    prop_assert_eq!(hop, &new.or(old));
                }
            }
            Relation::Shorter => prop_assert!(new.hops().len() < old.hops().len()),
            Relation::Different => {
                let differs = |(old, new): (&Option<NodeName>, &Option<NodeName>)| {
                    old.is_some() && new.is_some() && old != new
                };
                prop_assert!(old.hops().iter().zip(new.hops()).any(differs));
            }
        }
        prop_assert_eq!(old.relation(&old), Relation::Same(old.clone()));
    }

    /// Whatever comes back: no more hops than were asked for, none unknown at the end unless the target answered.
    #[test]
    fn conclusions_hold_together(
        rounds in prop::collection::vec((prop::collection::vec(prop::option::of("[ab]"), 0..6), prop::option::of(any::<u8>())), 0..4),
        healthy: bool,
        known in prop::option::of(any_route()),
    ) {
        let before = Before { route: known.as_ref(), healthy };
        let mut assembly = Assembly::default();
        for (names, target_at) in rounds {
            let mut round = Observation::empty(6);
            for (hop, name) in (1..).zip(&names) {
                if let Some(name) = name {
                    round.answer(hop, answer(name));
                }
            }
            if let Some(at) = target_at {
                round.reached(at);
            }
            assembly.add(round);
        }
        let _ = assembly.wants_more(before);
        let reached = assembly.target_at.is_some();
        let trace = assembly.conclude(tuple(), WallTime::from_nanos(0), Reason::New, before);
        prop_assert!(trace.hops.len() <= 6);
        prop_assert_eq!(trace.end == End::Answered, reached);
        prop_assert!(reached || trace.hops.last().is_none_or(Option::is_some));
        if trace.end == End::Inferred {
            prop_assert!(!trace.hops.is_empty() && (healthy || known.is_some()));
        }
    }
}
