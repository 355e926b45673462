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
    ];
    let lines: Vec<_> = cases.iter().map(|case| error(case)).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn defaults_are_complete_and_valid() {
    let settings = AnalyzerSettings::default().with_defaults();
    let config = settings.validate().unwrap();
    assert_eq!(config.listen.to_string(), default::LISTEN);
    assert_eq!(config.limits.bytes, 1 << 30);
    let text = toml::to_string(&settings).unwrap();
    let again: AnalyzerSettings = toml::from_str(&text).unwrap();
    assert_eq!(toml::to_string(&again.with_defaults()).unwrap(), text);
    assert!(toml::from_str::<AnalyzerSettings>("unknown = 1").is_err());
}
