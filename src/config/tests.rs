use super::analyzer::AnalyzerSettings;
use super::*;

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
