use super::agent::AgentSettings;
use super::analyzer::AnalyzerSettings;
use super::controller::ControllerSettings;
use super::lab::LabSettings;
use super::*;

/// One line for each key, with flag, variable and help, as the reference has them; then the defaults.
fn keys<S: clap::Args>(defaults: &impl Serialize) -> String {
    let reference = manual::reference(S::augment_args(clap::Command::new("program")));
    let mut rows: Vec<_> = reference
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .collect();
    rows.sort_unstable();
    let defaults = toml::to_string(defaults).expect("TOML");
    format!("{}\n\n{defaults}", rows.join("\n"))
}

/// What people have in their files, units and scripts: it changes with a line in CHANGELOG.md, or not at all.
#[test]
fn each_key_has_its_flag_variable_help_and_default() {
    let agent = AgentSettings {
        host: Some("host-a".to_owned()),
        ..AgentSettings::default()
    };
    insta::assert_snapshot!("agent", keys::<AgentSettings>(&agent.with_defaults()));
    let analyzer = AnalyzerSettings::default().with_defaults();
    insta::assert_snapshot!("analyzer", keys::<AnalyzerSettings>(&analyzer));
    let controller = ControllerSettings::default().with_defaults();
    insta::assert_snapshot!("controller", keys::<ControllerSettings>(&controller));
    insta::assert_snapshot!("lab", keys::<LabSettings>(&LabSettings::default()));
}

/// What is said of a file with this text.
fn refusal(text: &str) -> String {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("analyzer.toml");
    std::fs::write(&path, text).expect("a file");
    load(Some(&path), AnalyzerSettings::default())
        .expect_err("refused")
        .to_string()
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_looks_most_like_it() {
    for (text, unknown, nearest) in [
        ("lisen = '127.0.0.1:1'", "`lisen`", "`listen`"),
        ("[tls]\ncret = 'a.pem'", "`cret`", "`cert`"),
        ("[log]\nlevle = 'info'", "`levle`", "`level`"),
    ] {
        let said = refusal(text);
        assert!(said.contains(&format!("unknown field {unknown}")), "{said}");
        assert!(
            said.ends_with(&format!("did you mean {nearest}?")),
            "{said}"
        );
    }
    let said = refusal("colour = 'red'");
    assert!(said.contains("unknown field `colour`"), "{said}");
    assert!(!said.contains("did you mean"), "{said}");
}
