use std::io::Write as _;

use super::*;
use crate::config::ConfigError;
use crate::transport::RnicName;

fn settings(toml: &str) -> AgentSettings {
    toml::from_str(toml).expect("settings")
}

fn refusal(toml: &str) -> String {
    settings(toml).validate().expect_err("refused").to_string()
}

#[test]
fn defaults_are_complete_and_valid() {
    let config = AgentSettings::default().validate().expect("valid");
    assert_eq!(config.controller.to_string(), "http://127.0.0.1:7470");
    assert_eq!(config.agent_id.as_str(), config.host.as_str());
    assert_eq!(config.settings.probe_timeout, millis(500));
    assert!(config.require_tor().is_err());
    assert!(config.allows(&RnicName {
        device: "rxe0".into(),
        port: 1
    }));
}

#[test]
fn impossible_values_name_their_key() {
    let errors: Vec<_> = [
        "controller = 'controller:7470'",
        "analyzer = 'https://analyzer'",
        "queue_pairs = 0",
        "queue_pairs = 65",
        "probe_timeout = '0s'",
        "probe_timeout = '2h'",
        "max_probes_per_second = 0.0",
        "max_probes_per_second = nan",
        "spool_limit = '4KiB'",
        "host = ' '",
        "tor = ''",
        "gid_index = 1\ngids = ['fe80::1']",
        "userspace_addresses = ['0.0.0.0']",
        "cluster_key_file = '/nonexistent/keys'",
        "[tls]\ncert = 'a.pem'",
        "[path_trace]\ninterval = '10ms'",
        "[path_trace]\nrate = 0.0",
        "[path_trace]\nswitch_rate = 1001.0",
        "[path_trace]\nmax_hops = 33",
    ]
    .into_iter()
    .map(refusal)
    .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn wrong_notations_name_what_was_written() {
    for (toml, part) in [
        ("devices = ['mlx5_0/0']", "`mlx5_0/0` is not a device"),
        ("device_tors = ['mlx5_0']", "`mlx5_0` is not DEVICE=TOR"),
        ("gids = ['x']", "`x` is not a GID"),
        ("transport = 'tcp'", "unknown variant `tcp`"),
        ("trasport = 'none'", "unknown field `trasport`"),
        ("traffic_class = 256", "256"),
        ("spool_limit = '1TB'", "`1TB` is not a size"),
    ] {
        let error = toml::from_str::<AgentSettings>(toml)
            .expect_err("refused")
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_port_goes_before_its_device_and_the_device_before_the_host() {
    let config = settings("tor = 'a'\ndevice_tors = ['m=b', 'm/2=c']")
        .validate()
        .expect("valid");
    let tor = |device: &str, port| {
        config
            .tors
            .of(&RnicName {
                device: device.into(),
                port,
            })
            .map(ToString::to_string)
    };
    assert_eq!(tor("m", 2).as_deref(), Some("c"));
    assert_eq!(tor("m", 1).as_deref(), Some("b"));
    assert_eq!(tor("n", 1).as_deref(), Some("a"));
}

#[test]
fn cluster_keys_are_read_and_never_shown() {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    writeln!(
        file,
        "# current\n00112233445566778899aabbccddeeff\n\nffeeddccbbaa99887766554433221100aa"
    )
    .expect("write");
    let mut settings = AgentSettings {
        cluster_key_file: Some(file.path().to_owned()),
        ..AgentSettings::default()
    };
    let config = settings.validate().expect("valid");
    assert!(!config.cluster_keys.is_empty());
    let shown = format!("{:?}", config.cluster_keys);
    assert_eq!(shown.matches("ClusterKey(…)").count(), 2, "{shown}");
    for bad in [
        "0011",
        "zz112233445566778899aabbccddeeff",
        "",
        "€0112233445566778899aabbccddeeff",
    ] {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), bad).expect("write");
        settings.cluster_key_file = Some(file.path().to_owned());
        let error = settings.validate().expect_err("refused").to_string();
        assert!(error.starts_with("cluster_key_file: "), "{error}");
    }
}

#[test]
fn what_is_printed_can_be_read_again() {
    let text = toml::to_string(&settings("tor = 'a'\ndevices = ['m/1']").complete()).expect("text");
    let again = settings(&text);
    assert_eq!(toml::to_string(&again).expect("text"), text);
    again.validate().expect("valid");
}

#[test]
fn a_topology_file_names_the_tor_of_each_rnic() {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(
        br#"{"links":[{"a":"l0","b":"s"},{"a":"l1","b":"s"}],"hosts":[{"name":"h1","rnics":[
            {"device":"m0","tor":"l0"},{"device":"m1","tor":"l1"},{"device":"bond","tors":["l1","l0"]}]}]}"#,
    )
    .expect("write");
    let path = file.path().display();
    let text = format!("topology = '{path}'\nhost = 'h1'\ndevice_tors = ['m1=own']");
    let config = settings(&text).validate().expect("valid");
    let tor = |device: &str| {
        let device = device.into();
        config.tors.of(&RnicName { device, port: 1 }).cloned()
    };
    assert_eq!(tor("m0"), Some("l0".into()));
    assert_eq!(
        tor("m1"),
        Some("own".into()),
        "the configuration goes first"
    );
    assert_eq!(tor("bond"), Some("l1".into()), "the first of a bond");
    assert_eq!(tor("m2"), None);
}

#[test]
fn a_topology_file_names_the_tor_of_this_host() {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(br#"{"links":[{"a":"t7","b":"s"}],"hosts":[{"name":"h1","tor":"t7"}]}"#)
        .expect("write");
    let path = file.path().display();
    let tors = |text: &str| {
        let settings = settings(&format!("topology = '{path}'\n{text}"));
        let rnic = RnicName {
            device: "rxe0".into(),
            port: 1,
        };
        let config = settings.validate()?;
        Ok::<_, ConfigError>(config.tors.of(&rnic).cloned())
    };
    assert_eq!(tors("host = 'h1'").expect("listed"), Some("t7".into()));
    assert_eq!(
        tors("host = 'h1'\ntor = 'own'").expect("own"),
        Some("own".into())
    );
    let error = tors("host = 'h2'").expect_err("not listed").to_string();
    assert!(
        error.contains("topology: ") && error.contains("lists no host `h2`"),
        "{error}"
    );
    // The file is checked even where it is not asked.
    std::fs::write(file.path(), r#"{"links":[{"a":"t7","b":"t7"}],"hosts":[]}"#).expect("write");
    let error = tors("tor = 'own'").expect_err("a loop").to_string();
    assert!(
        error.contains("links[0]: `t7` has a link to itself"),
        "{error}"
    );
    let missing = settings("topology = '/nonexistent'").validate();
    let error = missing.expect_err("no file").to_string();
    assert!(error.contains("/nonexistent: cannot be read"), "{error}");
}
