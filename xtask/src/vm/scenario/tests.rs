use super::*;

const TWO_NODES: &str = r#"
description = "two hosts"
timeout = "2m"
[[node]]
name = "host-a"
address = "10.0.0.1"
rxe = true
[[node]]
name = "host-b"
address = "10.0.0.2"
[[step]]
node = "host-a"
run = "first"
"#;

fn fault(text: &str) -> String {
    format!("{:#}", Scenario::parse("x", text).expect_err("a fault"))
}

#[test]
fn a_step_sees_itself_and_everybody() {
    let scenario = Scenario::parse("x", TWO_NODES).expect("valid");
    assert_eq!(
        scenario.environment(&scenario.nodes[0]),
        "export NODE=host-a INTERFACE=eth0 RXE=rxe0 ADDRESS_host_a=10.0.0.1 ADDRESS_host_b=10.0.0.2\n"
    );
    assert!(!scenario.environment(&scenario.nodes[1]).contains("RXE"));
    assert_eq!(scenario.timeout, Duration::from_mins(2));
    assert_eq!(scenario.steps[0].timeout, DEFAULT_STEP_TIMEOUT);
}

#[test]
fn faults_are_named() {
    assert!(fault(&TWO_NODES.replace("rxe = true", "rxx = true")).contains("rxx"));
    assert!(fault(&TWO_NODES.replace("node = \"host-a\"", "node = \"host-c\"")).contains("host-c"));
    assert!(
        fault(&TWO_NODES.replace("name = \"host-b\"", "name = \"host-a\"")).contains("same name")
    );
    assert!(fault(&TWO_NODES.replace("10.0.0.2", "10.0.0.1")).contains("same address"));
    assert!(fault(&TWO_NODES.replace("name = \"host-b\"", "name = \"Host b\"")).contains("Host b"));
}

#[test]
fn every_scenario_of_the_repository_is_valid() {
    let names = names().expect("tests/vm");
    assert!(names.contains(&"boot".to_owned()), "{names:?}");
    for name in names {
        Scenario::load(&name).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
}

#[test]
fn an_unknown_scenario_lists_the_known_ones() {
    let error = format!("{:#}", Scenario::load("nonesuch").expect_err("unknown"));
    assert!(error.contains("boot"), "{error}");
}
