use super::*;
use crate::analysis::judge::{Asked, Judgement};
use crate::analysis::localize::Component;
use crate::analyzer::view::Told;
use crate::id::{Gid, UdpSourcePort};
use crate::pinglist::focus::FocusCounts;

fn link(from: &str, to: &str) -> Component {
    Component::Link {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

fn view() -> View {
    let asked = Asked {
        source: Gid::from(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        target: Gid::from(std::net::Ipv4Addr::new(10, 0, 0, 2)),
        port: UdpSourcePort(50_000),
        portions: 2,
    };
    let question = judge::Question {
        suspects: vec![(link("a", "b"), 0.6), (link("b", "a"), 0.3)],
        entropy: 0.9,
        information: 0.2,
        tuples: 1,
        rate: 6.0,
    };
    View {
        judgement: Judgement {
            at: Some(WallTime::from_nanos(10)),
            asked: vec![asked],
            questions: vec![question],
            ..Judgement::default()
        },
        ..View::default()
    }
}

#[test]
fn what_is_asked_is_said_with_its_reason_and_its_end() {
    let passed_on = FocusCounts {
        passed_on: 1,
        ..FocusCounts::default()
    };
    let view = View {
        focus: Some(Told {
            passed: Some((WallTime::from_nanos(11), passed_on)),
        }),
        ..view()
    };
    let answer = focus(&view, WallTime::from_nanos(12));
    assert!(answer.is_on);
    assert_eq!(answer.until_unix_ns, Some(5_000_000_010));
    assert_eq!((answer.tuples, answer.probes_per_second), (1, 6.0));
    assert_eq!(answer.controller.map(|passed| passed.passed_on), Some(1));
    let suspects: Vec<_> = answer.questions[0]
        .suspects
        .iter()
        .map(|suspect| (suspect.component.to_string(), suspect.probability))
        .collect();
    let expected = [("link a->b", 0.6), ("link b->a", 0.3)];
    assert_eq!(
        suspects,
        expected.map(|(name, share)| (name.to_owned(), share))
    );
}

#[test]
fn without_a_controller_nothing_is_in_force() {
    let answer = focus(&view(), WallTime::from_nanos(12));
    assert_eq!((answer.is_on, answer.until_unix_ns), (false, None));
}
