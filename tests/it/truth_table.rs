//! A slice of the truth table (`cargo xtask bench truth`): what the analysis makes of faults in company, as a table.

use std::fmt::Write as _;

use rpingmesh::lab::truth_table::{
    BEGIN, Company, PLANE_ROWS, RAIL_ROWS, ROWS, Row, run, run_over_shards,
};

/// Rows and companies in which one fault has become several incidents, or one of a wrong category.
const SLICE: [(&str, Company); 5] = [
    ("cable down", Company::Alone),
    ("link swallows 30 % of the 5-tuples", Company::Services),
    ("RNIC down", Company::Second),
    ("host down", Company::Alone),
    ("link loses 5 %", Company::Stalls),
];
/// A row that takes as long as all of these.
const SWITCH: [(&str, Company); 1] = [("spine swallows 25 % of the 5-tuples", Company::Services)];

/// What is down for one second in five: it must not be called down for good.
const COMES_AND_GOES: [(&str, Company); 2] = [
    ("link flaps, 1 of 5 s", Company::Alone),
    ("link flaps, 1 of 5 s", Company::Stalls),
];

/// On rails and planes: what hangs under several leaves, and what has none of the other plane's paths.
const ON_RAILS: [(&str, Company); 5] = [
    ("RNIC down", Company::Alone),
    ("leaf down", Company::Alone),
    ("link loses 5 %", Company::Alone),
    ("all RNICs of a host down", Company::Alone),
    ("host down", Company::Alone),
];
const ON_PLANES: [(&str, Company); 3] = [
    ("link loses 5 %", Company::Alone),
    ("spine down", Company::Alone),
    ("host down", Company::Alone),
];

#[test]
fn one_cause_is_one_incident() {
    check("truth_table", ROWS, &SLICE);
}

#[test]
fn one_cause_on_rails_is_one_incident() {
    check("truth_table_rails", RAIL_ROWS, &ON_RAILS);
}

#[test]
fn one_cause_on_planes_is_one_incident() {
    check("truth_table_planes", PLANE_ROWS, &ON_PLANES);
}

#[test]
fn a_switch_that_swallows_5_tuples_is_one_incident() {
    check("truth_table_switch", ROWS, &SWITCH);
}

#[test]
fn what_comes_and_goes_is_not_called_down() {
    check("truth_table_flapping", ROWS, &COMES_AND_GOES);
}

/// Three analyzers that share the fleet, and are killed now and then, name the same at the same time, with the same counts, as the only one
/// does. Of paths that show it equally well they may name others.
#[test]
fn shards_give_the_answer_of_one_analyzer() {
    let (mut killed, mut again) = (0, 0);
    let slice = [(ROWS, SLICE[2]), (ROWS, SLICE[4]), (RAIL_ROWS, ON_RAILS[2])];
    for (rows, (name, company)) in slice {
        let row = rows.iter().find(|row| row.name == name);
        let row = row.expect("a row of that name");
        let one = run(row, company, row.ground.probing, 1).expect("the run ends");
        let shards = run_over_shards(row, company, row.ground.probing, 1, 3);
        let shards = shards.expect("the run ends");
        assert_eq!(one.findings(), shards.findings(), "{name}");
        assert!(!one.named.is_empty(), "{name}");
        killed += shards.killed.0;
        again += shards.killed.1;
    }
    assert!(killed > 10 && again > 50, "{killed} killed, {again} again");
}

fn check(snapshot: &str, rows: &[Row], slice: &[(&str, Company)]) {
    let mut table = String::new();
    for (name, company) in slice {
        let row = rows
            .iter()
            .find(|row| row.name == *name)
            .expect("a row of that name");
        let run = run(row, *company, row.ground.probing, 1).expect("the run ends");
        let _ = writeln!(
            table,
            "{name}, {}: {}",
            company.name(),
            run.faults.join("; ")
        );
        for named in &run.named {
            let _ = writeln!(
                table,
                "  after {:>2} s [{}] {}{}",
                named.at.saturating_sub(BEGIN).as_secs(),
                named.incident.category.name(),
                named.incident.title(),
                if named.right { "" } else { ", WRONG" }
            );
        }
        assert!(run.is_wholly_right(), "{table}");
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!(snapshot, table);
    });
}
