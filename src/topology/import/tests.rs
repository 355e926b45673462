use proptest::prelude::*;

use super::cables::HostPatterns;
use super::*;
use crate::topology::wiring::Wiring;

fn nodes() -> HostPatterns {
    HostPatterns::new(["node*".to_owned()])
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

/// The file, with a line for each entry, and the notes.
fn said(imported: Result<Imported, ImportError>) -> String {
    let imported = match imported {
        Ok(imported) => imported,
        Err(error) => return format!("error: {}", crate::error::describe(&error)),
    };
    Wiring::parse(&json(&imported.file)).expect("every program reads it");
    let notes = imported.notes.iter().map(|note| format!("note: {note}"));
    let links = imported.file.links.iter().map(json);
    let lines: Vec<_> = links
        .chain(imported.file.hosts.iter().map(json))
        .chain(notes)
        .collect();
    lines.join("\n")
}

#[test]
fn a_tree_of_slurm_becomes_links_and_hosts() {
    let text = "\
# Made by Topograph
SwitchName=spine Switches=leaf[0-1] LinkSpeed=400
switchname=leaf0 nodes=node[01-02]
SwitchName=leaf1 \\
    Nodes=node03,node[10-11] # the last rack
";
    insta::assert_snapshot!(said(slurm::import(text)));
}

#[test]
fn a_node_under_two_leaves_is_left_out_and_said() {
    let text =
        "SwitchName=leaf0 Nodes=a,b\nSwitchName=leaf1 Nodes=b\nSwitchName=top Switches=leaf[0-1]";
    insta::assert_snapshot!(said(slurm::import(text)));
}

#[test]
fn what_slurm_would_not_take_is_named_with_its_line() {
    let texts = [
        "",
        "# nothing\n",
        "SwitchName=s0 Nodes=a\nSwitchName=s0 Nodes=b",
        "SwitchName=s0 Nodes=a\n\nSwitchName=top Switches=s0,s1",
        "SwitchName=s0 Nodes=a[0-",
        "SwitchName=s0 Nodes=s0",
        "SwitchName=s0 Nodes=a Colour=red",
        "SwitchName=s0 nodes",
        "Nodes=a",
        "SwitchName=",
        "BlockName=b1 Nodes=a",
        "SwitchName=leaf Nodes=a\nSwitchName=x Switches=y\nSwitchName=y Switches=x",
        "SwitchName=s0 Nodes=a\nSwitchName=s1 Nodes=a",
        "SwitchName=s0 Switches=s0 Nodes=a",
    ];
    let lines: Vec<_> = texts.iter().map(|text| said(slurm::import(text))).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_table_of_cables_has_parallel_links_rails_and_bonds() {
    let text = "\
A,A Port,B,B-Port,length
leaf0,1,spine0,1,3 m
leaf0,2,spine0,2,3 m
spine0,2,leaf0,2,\"3 m, the same\"
leaf1,1,spine0,3,
node1,mlx5_0,leaf0,11,
node1,mlx5_1,leaf1,11,
leaf0,12,node2,mlx5_bond_0,
leaf1,12,node2,mlx5_bond_0,
node3,mlx5_0,leaf0,13,
";
    insta::assert_snapshot!(said(cables::import(text, &nodes())));
}

#[test]
fn columns_may_say_what_is_a_host_and_ports_may_be_missing() {
    let text = "\
Side A Device,a_kind,Side B Device,b_kind\r
gpu-1,host,leaf0,switch\r
gpu-2,server,leaf0,switch\r
gpu-2,server,leaf1,switch\r
leaf0,switch,spine0,switch\r
leaf0,switch,spine0,switch\r
leaf1,switch,spine0,switch\r
";
    insta::assert_snapshot!(said(cables::import(text, &HostPatterns::default())));
}

#[test]
fn a_table_that_cannot_be_used_is_named_with_its_line() {
    let header = "a,a_port,b,b_port";
    let texts = [
        String::new(),
        "leaf0,1,spine0,1".to_owned(),
        "a,a_port".to_owned(),
        header.to_owned(),
        format!("{header}\nleaf0,1,spine0"),
        format!("{header}\nleaf0,1,leaf0,2"),
        format!("{header}\n\nnode1,1,node2,1"),
        format!("{header}\n,1,leaf0,2"),
        format!("{header}\n\"node1,1,leaf0,2"),
        format!("{header}\n\"node1\"x,1,leaf0,2"),
        format!("{header}\nno\u{202e}de,1,leaf0,2"),
        format!("{header}\nleaf0,1,spine0,1"),
        "a,a_kind,b,b_kind\nx,router,y,switch".to_owned(),
        "a,a_kind,b,b_kind\nx,host,y,switch\ny,host,z,switch".to_owned(),
    ];
    let mut lines: Vec<_> = texts
        .iter()
        .map(|text| said(cables::import(text, &nodes())))
        .collect();
    lines.push(said(cables::import(header, &HostPatterns::default())));
    insta::assert_snapshot!(lines.join("\n"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "([ -~]|\n){0,200}") {
        let _ = slurm::import(&text);
        let _ = cables::import(&text, &nodes());
        let _ = cables::import(&format!("a,a_port,b,b_port\n{text}"), &nodes());
        let _ = slurm::import(&format!("SwitchName=s Nodes={text}"));
    }
}
