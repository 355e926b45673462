use super::*;
use crate::error::describe;

fn refusal(text: &str) -> String {
    match Scenario::parse(text) {
        Ok(_) => panic!("`{text}` was accepted"),
        Err(error) => describe(&error),
    }
}

#[test]
fn a_scenario_says_only_what_differs() {
    let scenario = Scenario::parse(
        "seed = 3\nduration = \"5s\"\nfaults = [\"link spine1-tor1 loss=1% at=1s\"]\n[fabric]\ntors = 2\n\
         [[service]]\nname = \"train\"\nfrom = \"host0/0\"\nto = \"host9/1\"\nflow_label = 0x1234\n",
    )
    .expect("a scenario");
    assert_eq!(scenario.fabric.tors, 2);
    assert_eq!(scenario.fabric.spines, 4);
    assert_eq!(scenario.faults.len(), 1);
    assert_eq!(scenario.probing, Probing::default());
    let text = toml::to_string(&scenario).expect("TOML");
    assert_eq!(Scenario::parse(&text).expect("a scenario"), scenario);
}

#[test]
fn refusals_name_the_thing() {
    let texts = [
        "duratoin = \"5s\"",
        "duration = \"5\"",
        "duration = \"0s\"",
        "seed = -1",
        "faults = [\"link spine1-tor33 down\"]",
        "faults = [\"link spine1-tor3 loss=-2%\"]",
        "[fabric]\ntors = 0",
        "[[service]]\nname = \"a/b\"\nfrom = \"host0/0\"\nto = \"host1/0\"\nflow_label = 1",
        "[[service]]\nname = \"x\"\nfrom = \"host0/7\"\nto = \"host1/0\"\nflow_label = 1",
        "[[service]]\nname = \"x\"\nfrom = \"host1/0\"\nto = \"host1/0\"\nflow_label = 1",
        "[[service]]\nname = \"x\"\nfrom = \"host0/0\"\nto = \"host1/0\"\nflow_label = 0",
        "[[outage]]\nserver = \"database\"\nat = \"2s\"\nfor = \"2s\"",
        "[[outage]]\nserver = \"analyzer\"\nat = \"2500ms\"\nfor = \"2s\"",
        "[[outage]]\nserver = \"analyzer\"\nat = \"2s\"\nfor = \"0s\"",
        "[[outage]]\nserver = \"analyzer\"\nat = \"20s\"\nfor = \"10s\"",
        "[[outage]]\nserver = \"analyzer\"\nat = \"2s\"\nfor = \"3s\"\n[[outage]]\nserver = \"analyzer\"\nat = \"5s\"\nfor = \"1s\"",
        "[fabric]\nrnics = -2",
        "[fabric]\npods = 3",
        "[probing]\ntor_mesh = -1",
        "[probing]\ninter_tor = nan",
        "[probing]\ntargets = 99999",
    ];
    let table: Vec<_> = texts
        .iter()
        .map(|text| {
            format!(
                "# {}\n{}",
                text.replace('\n', " "),
                refusal(text).trim_end()
            )
        })
        .collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Scenario::load(Path::new("nowhere/missing.toml")).expect_err("no such file");
    assert_eq!(
        error.to_string(),
        "cannot read the scenario file nowhere/missing.toml"
    );
}
