use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::fabric::topology::Shape;
use crate::fault::parse::EMULATED;
use crate::fault::{FAULTS_HELP, Pulse};

fn topology(pods: u32) -> Topology {
    let shape = Shape {
        pods,
        ..Shape::default()
    };
    Topology::new(shape, 1).expect("possible shape")
}

fn parse(text: &str) -> Fault {
    text.parse()
        .unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

fn refusal(text: &str) -> String {
    match text.parse::<Fault>() {
        Ok(fault) => match fault.resolve(&topology(2)) {
            Ok(_) => panic!("`{text}` was accepted"),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_effect_is_read_and_written_back() {
    for text in [
        "link spine1-tor3 loss=1% at=10s for=1m",
        "link spine1->tor3 loss=0.07% corrupt=0.2%",
        "switch spine2 blackhole=10% at=5s",
        "link tor0-spine0 delay=50us jitter=20us rate=25000000 queue=65536 load=90%",
        "link tor0-spine0 pause=5ms every=20ms for=10s",
        "rnic host3/0 flap=1s every=5s",
        "rnic host3/0 clock-step=-5000000ns at=2s",
        "host host5 stall=200ms every=1s",
        "host host5 down",
        "host host5 restart at=3s",
        "rnic host5/1 restart",
    ] {
        assert_eq!(parse(text).to_string(), text);
    }
    assert_eq!(
        parse("rnic host3/0 slow=50us drop=1%"),
        parse("rnic host3/0 delay=50us loss=0.01")
    );
    assert_eq!(
        parse("link a-b rate=25Gbit queue=64KiB").effects,
        [Effect::Rate(25_000_000_000), Effect::Queue(65_536)]
    );
}

#[test]
fn refusals_name_the_thing() {
    let texts = [
        "",
        "cable a-b down",
        "link",
        "link loss=1%",
        "link spine1-tor3",
        "link spine1-tor3 explode",
        "switch spine1 flap=1s",
        "host host1 loss=1%",
        "link spine1-tor3 loss=-1%",
        "link spine1-tor3 loss=101%",
        "link spine1-tor3 loss=many",
        "link spine1-tor3 loss=NaN",
        "link spine1-tor3 load=100%",
        "link spine1-tor3 rate=-5",
        "link spine1-tor3 rate=0",
        "link spine1-tor3 rate=99999999999Gbit",
        "link spine1-tor3 queue=12parsecs",
        "link spine1-tor3 delay=-1ms",
        "link spine1-tor3 delay=3years",
        "link spine1-tor3 down=1",
        "link spine1-tor3 restart",
        "host host1 restart=5",
        "link spine1-tor3 loss=1% loss=2%",
        "link spine1-tor3 loss=1% every=1s",
        "link spine1-tor3 pause=5ms every=5ms",
        "link spine1-tor3 down for=0s",
        "link spine9-tor3 down",
        "link spine1>tor3 down",
        "link agg0-7-tor1 down",
        "link spine1-spine2 down",
        "switch tor33 down",
        "switch host1/0 down",
        "rnic host3/7 down",
        "rnic tor3 down",
        "host hots5 stall=1s",
    ];
    let table: Vec<_> = texts
        .iter()
        .map(|text| format!("{text}\n    {}", refusal(text)))
        .collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn targets_are_found() {
    let flat = topology(0);
    let names = |text: &str, topology: &Topology| -> Vec<String> {
        let resolved = parse(text).resolve(topology).expect("known target");
        resolved
            .links()
            .into_iter()
            .map(|link| topology.link_name(link))
            .collect()
    };
    assert_eq!(
        names("link spine1-tor3 down", &flat),
        ["tor3->spine1", "spine1->tor3"]
    );
    assert_eq!(names("link spine1->tor3 down", &flat), ["spine1->tor3"]);
    assert_eq!(names("link spine*->tor3 down", &flat).len(), 4);
    assert_eq!(
        names("rnic host3/1 down", &flat),
        ["host3/1->tor0", "tor0->host3/1"]
    );
    assert_eq!(names("link host3-tor0 loss=1%", &flat).len(), 4);
    assert_eq!(names("switch spine2 loss=1%", &flat).len(), 8);
    assert_eq!(names("switch spine2 down", &flat).len(), 16);
    assert_eq!(names("host host2 down", &flat).len(), 4);
    assert_eq!(names("host host2 stall=1s", &flat).len(), 0);
    let pods = topology(2);
    assert_eq!(
        names("link agg0-1-tor3 down", &pods),
        ["tor3->agg0-1", "agg0-1->tor3"]
    );
    assert_eq!(names("link spine1->agg1-1 down", &pods), ["spine1->agg1-1"]);
}

#[test]
fn pulses_recur() {
    let pulse = Pulse {
        length: Duration::from_nanos(5),
        every: Some(Duration::from_nanos(20)),
    };
    assert_eq!(pulse.on_until(100, 99), None);
    assert_eq!(pulse.on_until(100, 100), Some(105));
    assert_eq!(pulse.on_until(100, 104), Some(105));
    assert_eq!(pulse.on_until(100, 105), None);
    assert_eq!(pulse.on_until(100, 143), Some(145));
    let once = Pulse {
        every: None,
        ..pulse
    };
    assert_eq!(once.on_until(100, 103), Some(105));
    assert_eq!(once.on_until(100, 121), None);
}

fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "(link|switch|rnic|host)",
        "(spine|tor|host|agg)[0-9*]{0,3}(/[0-9])?",
        "spine[0-9]-(>)?tor[0-9]",
        "(down|loss|corrupt|blackhole|delay|jitter|rate|queue|load|pause|flap|every|stall|clock-step|at|for)=[-+]?[0-9.]{0,20}(%|ms|us|s|Gbit|KiB|e99|h)?",
        "down",
        "\\PC{0,12}",
    ];
    proptest::collection::vec(word, 0..7).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Nothing that people can type panics, and what is accepted survives being written and read again.
    #[test]
    fn any_text_is_read_or_refused(text in words()) {
        if let Ok(fault) = text.parse::<Fault>() {
            let written = fault.to_string();
            let again: Fault = written.parse().expect("the written form is read");
            prop_assert_eq!(again.to_string(), written);
            let _ = fault.resolve(&topology(0));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(text in "\\PC*") {
        let _ = text.parse::<Fault>();
    }
}

#[test]
fn the_help_names_every_effect() {
    for known in [EMULATED.link, EMULATED.switch, EMULATED.rnic, EMULATED.host] {
        for effect in known.split(", ") {
            assert!(FAULTS_HELP.contains(effect), "{effect}");
        }
    }
}
