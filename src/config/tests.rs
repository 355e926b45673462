mod samples;

use super::agent::AgentSettings;
use super::analyzer::AnalyzerSettings;
use super::controller::ControllerSettings;
use super::lab::LabSettings;
use super::settings::{Given, Settings, read};
use super::*;
use clap::{Args as _, FromArgMatches as _};

/// One line for each key, with flag, variable and help, as the reference has them; then the defaults.
fn keys<S: Settings>(defaults: &S) -> String {
    let command = Given::<S>::augment_args(clap::Command::new("program"));
    let reference = manual::reference(command);
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
        host: "host-a".to_owned(),
        ..AgentSettings::default()
    };
    insta::assert_snapshot!("agent", keys(&agent.complete()));
    insta::assert_snapshot!("analyzer", keys(&AnalyzerSettings::default()));
    insta::assert_snapshot!("controller", keys(&ControllerSettings::default()));
    insta::assert_snapshot!("lab", keys(&LabSettings::default()));
}

/// What is said of a file with this text.
fn refusal(text: &str) -> String {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("analyzer.toml");
    std::fs::write(&path, text).expect("a file");
    read::<AnalyzerSettings>(&path)
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

/// What one program takes from a file with this text and from these flags.
fn load<S: Settings>(text: &str, flags: &[&str]) -> S {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x.toml");
    std::fs::write(&path, text).expect("a file");
    let command = Given::<S>::augment_args(clap::Command::new("program"));
    let matches = command.get_matches_from([&["program"], flags].concat());
    let given = Given::<S>::from_arg_matches(&matches).expect("flags");
    given.over(Some(&path)).expect("loaded")
}

#[test]
fn flags_go_over_the_file_and_the_file_over_defaults() {
    let text =
        "tor = 'file'\nhost = 'file'\ndevices = ['a']\ngids = ['fd00::1']\n[log]\nlevel = 'debug'";
    let flags = [
        "--tor=flag",
        "--devices=b,c/2",
        "--devices=d",
        "--tls-allow-plaintext",
    ];
    let settings: AgentSettings = load(text, &flags);
    assert_eq!(settings.tor.as_deref(), Some("flag"));
    let devices: Vec<_> = settings.devices.iter().map(ToString::to_string).collect();
    assert_eq!(devices, ["b", "c/2", "d"]);
    assert_eq!((&*settings.host, settings.gids.len()), ("file", 1));
    assert_eq!(
        (&*settings.log.level, settings.log.format),
        ("debug", LogFormat::Text)
    );
    assert!(settings.tls.allow_plaintext);
    assert_eq!(settings.queue_pairs, 8);
}

#[test]
fn a_section_in_part_leaves_the_programs_own_defaults() {
    let settings: LabSettings = load("[log]\nformat = 'json'", &["--seed=18446744073709551615"]);
    assert_eq!(
        (&*settings.log.level, settings.log.format),
        ("warn", LogFormat::Json)
    );
    assert_eq!(settings.seed, Some(u64::MAX));
}

/// The help says what happens without the key.
#[test]
fn each_key_has_a_default_or_says_what_happens_without_it() {
    fn check<S: Settings>() {
        let defaults = toml::Table::try_from(S::default()).expect("TOML");
        for key in S::keys() {
            let about = key.about;
            let says = about.help.contains("[default: ");
            assert!(
                says || about.default_in(&defaults).is_some(),
                "{}",
                about.path
            );
        }
        S::default().check().expect("valid defaults");
    }
    check::<AgentSettings>();
    check::<AnalyzerSettings>();
    check::<ControllerSettings>();
    check::<LabSettings>();
}
