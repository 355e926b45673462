use super::*;

fn error(toml: &str) -> String {
    let settings: AnalyzerSettings = toml::from_str(toml).unwrap();
    settings.validate().unwrap_err().to_string()
}

#[test]
fn impossible_values_are_named() {
    let cases = [
        "listen = 'nowhere'",
        "listen = '0.0.0.0:7471'",
        "web = '192.0.2.1:80'",
        "store = 'postgres://db'",
        "store = 'sqlite:'",
        "lateness = '2h'",
        "max_paths = 0",
        "memory_limit = '1KiB'",
        "[tls]\ncert = 'a.pem'",
        "topology = '/nowhere.json'",
        "[alerts]\nalertmanagers = ['127.0.0.1:9093']",
        "[alerts]\nalertmanagers = ['http://a', 'http://a:80/']",
        "[alerts]\nwebhooks = ['https://a.example/x']",
        "[alerts]\nwebhooks = ['http://user:password@a']",
        "[alerts]\nwebhooks = ['http://a']\nwebhook_secret_file = '/nowhere'",
        "[alerts]\nwebhook_secret_file = '/dev/null'",
        "[alerts]\nwebhooks = ['http://a']\nwebhook_secret_file = '/dev/null'",
        "[alerts]\nlabels = ['cluster']",
        "[alerts]\nlabels = ['0=a']",
        "[alerts]\nlabels = ['severity=none']",
        "[alerts]\nlabels = ['a=b', 'a=c']",
        "[alerts]\nresend_interval = '1s'",
        "[alerts]\nexternal_url = 'analyzer'",
        "[alerts]\nca = '/nowhere.pem'",
    ];
    let lines: Vec<_> = cases.iter().map(|case| error(case)).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn defaults_are_complete_and_valid() {
    let settings = AnalyzerSettings::default();
    let config = settings.validate().unwrap();
    assert_eq!(config.listen.to_string(), settings.listen);
    assert_eq!(config.limits.bytes, 1 << 30);
    let text = toml::to_string(&settings).unwrap();
    let again: AnalyzerSettings = toml::from_str(&text).unwrap();
    assert_eq!(toml::to_string(&again).unwrap(), text);
    assert!(toml::from_str::<AnalyzerSettings>("unknown = 1").is_err());
}

#[test]
fn a_topology_that_cannot_be_is_refused_when_the_configuration_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("topology.json");
    let host = r#""hosts":[{"name":"h0","tor":"t0"}]"#;
    let cases = [
        "{".to_owned(),
        r#"{"links":[],"cables":[]}"#.to_owned(),
        r#"{"links":[{"a":"t0","b":"t0"}]}"#.to_owned(),
        format!(r#"{{"links":[{{"a":"t1","b":"s0"}}],{host}}}"#),
        r#"{"links":[],"hosts":[{"name":"h0","tor":"h0"}]}"#.to_owned(),
        r#"{"links":[],"hosts":[{"name":"h0","tor":"t0"},{"name":"h0","tor":"t1"}]}"#.to_owned(),
        r#"{"links":[],"hosts":[{"name":"h0","tor":"h1"},{"name":"h1","tor":"t1"}]}"#.to_owned(),
        format!(
            r#"{{"links":[{{"a":"t0","b":"s0"}}],{host},"switches":[{{"name":"s9","addresses":["10.0.0.1"]}}]}}"#
        ),
        format!(
            r#"{{"links":[{{"a":"t0","b":"s0"}}],{host},"switches":[{{"name":"s0","addresses":["10.0.0.1"]}},
                {{"name":"t0","addresses":["10.0.0.1"]}}]}}"#
        ),
    ];
    let line = |text: &String| {
        std::fs::write(&file, text).unwrap();
        let why = error(&format!("topology = '{}'", file.display()));
        why.replace(&file.display().to_string(), "FILE")
    };
    let lines: Vec<_> = cases.iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
