//! Any text as a scenario file of the emulated fabric: an error that says something, or a scenario that prints so that it
//! reads to the same.

use rpingmesh::fabric::scenario::Scenario;

/// Takes one input.
pub fn run(text: &str) {
    match Scenario::parse(text) {
        Ok(scenario) => {
            let printed = toml::to_string(&scenario).expect("a scenario can be written");
            let again = Scenario::parse(&printed).expect("what is written can be read");
            assert_eq!(again, scenario, "{text} became {printed}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
