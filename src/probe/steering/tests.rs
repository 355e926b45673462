use super::*;

fn label(number: u32) -> FlowLabel {
    FlowLabel::new(number).expect("20 bits")
}

fn port(number: u16) -> UdpSourcePort {
    UdpSourcePort(number)
}

/// An endpoint that claims `claimed` and whose driver does `really`.
fn learn(
    claimed: &SourcePortSteering,
    labels: impl IntoIterator<Item = u32>,
    really: impl Fn(FlowLabel) -> UdpSourcePort,
) -> LearnedSteering {
    let mut learned = LearnedSteering::default();
    for number in labels {
        let label = label(number);
        learned.note(claimed, label, claimed.source_port(label), really(label));
    }
    learned
}

#[test]
fn a_driver_that_folds_the_label_confirms_the_claim() {
    let claimed = SourcePortSteering::FlowLabel;
    let learned = learn(&claimed, 1..10, FlowLabel::source_port);
    assert_eq!(learned.flow_label(), LabelEffect::Steers);
    assert_eq!((learned.as_meant, learned.otherwise), (9, 0));
    assert_eq!(learned.corrected(&claimed), None);
}

#[test]
fn a_driver_that_ignores_the_label_loses_the_claim_after_three() {
    let claimed = SourcePortSteering::FlowLabel;
    let fixed = |_| port(0xc123);
    let twice = learn(&claimed, 1..3, fixed);
    assert_eq!(twice.flow_label(), LabelEffect::Ignored);
    assert_eq!(twice.corrected(&claimed), None);
    let thrice = learn(&claimed, 1..4, fixed);
    assert_eq!(thrice.corrected(&claimed), Some(SourcePortSteering::Driver));
    assert_eq!((thrice.as_meant, thrice.otherwise), (0, 3));
}

#[test]
fn an_unknown_driver_is_found_to_follow_distinct_labels_only() {
    let claimed = SourcePortSteering::Driver;
    let same = learn(&claimed, [7; 20], FlowLabel::source_port);
    assert_eq!(
        same.corrected(&claimed),
        None,
        "one label proves little, however often"
    );
    let distinct = learn(&claimed, [7, 8, 9], FlowLabel::source_port);
    assert_eq!(
        distinct.corrected(&claimed),
        Some(SourcePortSteering::FlowLabel)
    );
    assert_eq!((distinct.as_meant, distinct.otherwise), (0, 0));
}

#[test]
fn queue_pairs_are_confirmed_without_crediting_the_label() {
    let ports = [port(0xc111), port(0xc222)];
    let claimed = SourcePortSteering::QueuePair(ports.to_vec());
    let choice = |label| claimed.source_port(label).expect("two queue pairs");
    // Labels made for these ports, as the controller gives them.
    let own = ports.map(|port| port.flow_label().expect("a port of the range").get());
    let chosen = learn(&claimed, own, choice);
    assert_eq!(
        (chosen.as_meant, chosen.flow_label()),
        (2, LabelEffect::NotSeen)
    );
    // Any other label.
    let other = learn(&claimed, 1..20, choice);
    assert_eq!(
        (other.as_meant, other.flow_label()),
        (19, LabelEffect::Ignored)
    );
    assert_eq!(other.corrected(&claimed), None);
    let wrong = learn(&claimed, 1..20, |_| port(0xc333));
    assert_eq!(wrong.corrected(&claimed), Some(SourcePortSteering::Driver));
}

#[test]
fn a_port_that_stands_in_for_a_taken_one_says_nothing_of_labels() {
    let claimed = SourcePortSteering::FlowLabel;
    let mut learned = LearnedSteering::default();
    for number in 1..10 {
        let stand_in = port(0xc0de);
        learned.note(&claimed, label(number), Some(stand_in), stand_in);
    }
    assert_eq!(
        (learned.as_meant, learned.flow_label()),
        (9, LabelEffect::NotSeen)
    );
    assert_eq!(learned.corrected(&claimed), None);
}

#[test]
fn a_driver_that_changes_its_mind_is_followed() {
    let claimed = SourcePortSteering::FlowLabel;
    let mut learned = learn(&claimed, 1..10, |_| port(0xc0de));
    assert!(learned.corrected(&claimed).is_some());
    for number in 10..14 {
        let label = label(number);
        learned.note(&claimed, label, None, label.source_port());
    }
    assert_eq!(learned.flow_label(), LabelEffect::Steers);
    assert_eq!(learned.corrected(&claimed), None);
}
