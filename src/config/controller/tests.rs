use super::*;
use crate::error::describe;
use crate::pinglist::Paths;

fn parse(text: &str) -> ControllerSettings {
    toml::from_str(text).expect("TOML")
}

#[test]
fn defaults_are_those_of_the_policy_and_print_and_read_back() {
    let config = ControllerSettings::default().validate().expect("defaults");
    assert_eq!(config.policy, Policy::default());
    assert_eq!(config.settings.listen.to_string(), "127.0.0.1:7470");
    let full = ControllerSettings::default();
    let text = toml::to_string(&full).expect("TOML");
    let again = parse(&text).validate().expect("read back");
    assert_eq!(again.policy, config.policy);
    assert_eq!(again.lifetimes, config.lifetimes);
}

#[test]
fn impossible_values_name_their_key() {
    for (text, expected) in [
        (
            "listen = '0.0.0.0:7470'",
            "listen: 0.0.0.0:7470 is reachable",
        ),
        (
            "store = 'postgres://x'",
            "store: `postgres://…` cannot be used: it names no user",
        ),
        ("store = 'sqlite:'", "store: `sqlite:` is not"),
        (
            "[registry]\nlease = '1ms'",
            "registry.lease: 1ms is not possible: use 100ms to 1h",
        ),
        (
            "[registry]\nlease = '1m'\nretention = '30s'",
            "registry.retention: 30s is shorter",
        ),
        (
            "[pinglist]\ncoverage = 1.0",
            "pinglist.coverage: 1 is not possible: use 0.5 to 0.999999",
        ),
        (
            "[pinglist]\nparallel_paths = 0",
            "pinglist.parallel_paths: 0 parallel",
        ),
        (
            "[pinglist]\nparallel_paths = 512\ncoverage = 0.99999",
            "pinglist.parallel_paths: 512 parallel paths need",
        ),
        (
            "[pinglist]\ntopology = '/nonexistent/x'",
            "pinglist.topology: /nonexistent/x: cannot be read",
        ),
        (
            "[pinglist]\ntor_mesh_rate = nan",
            "pinglist.tor_mesh_rate: NaN is not possible",
        ),
        (
            "[pinglist]\nlink_rate = -1.0",
            "pinglist.link_rate: -1 is not possible",
        ),
        (
            "[pinglist]\nrnic_budget = 10.0",
            "pinglist.rnic_budget: 10 leaves nothing",
        ),
        (
            "[pinglist]\nmax_tuples_per_rnic = 0",
            "pinglist.max_tuples_per_rnic: 0 is too small",
        ),
        (
            "[pinglist]\nrotation = '1ms'",
            "pinglist.rotation: 1ms is not possible",
        ),
        (
            "[agents]\nprobe_timeout = '2days'",
            "agents.probe_timeout: 2days is not possible: use 1ms to 1day",
        ),
        (
            "[agents]\nmax_probes_per_second = 0.0",
            "agents.max_probes_per_second: 0 is not",
        ),
        ("[tls]\ncert = 'x'", "tls.key: is missing"),
    ] {
        let error = parse(text).validate().expect_err(text);
        let error = describe(&error);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_topology_file_gives_the_paths_of_each_pair() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("fabric.json");
    let json = r#"{"links":[{"a":"s0","b":"t0"},{"a":"s1","b":"t0"},{"a":"s0","b":"t1"},{"a":"s1","b":"t1"}],
        "hosts":[{"name":"h0","tor":"t0"},{"name":"h1","tor":"t1"}]}"#;
    std::fs::write(&file, json).expect("write");
    let settings = parse(&format!("[pinglist]\ntopology = '{}'", file.display()));
    let paths = settings.validate().expect("valid").policy.paths;
    assert!(matches!(paths, Paths::PerPair { .. }));
    assert_eq!(paths.between(&"t0".into(), &"t1".into()), Some(2));
    assert_eq!(paths.between(&"t0".into(), &"unknown".into()), Some(16));
}
