use super::*;
use crate::id::RnicName;

/// `pods` pods of two aggregation switches and `tors` ToRs each under two spines.
fn fabric(pods: usize, tors: usize) -> Graph {
    let mut graph = Graph::default();
    for pod in 0..pods {
        for agg in 0..2 {
            for spine in 0..2 {
                graph.add_link(&format!("agg{pod}-{agg}"), &format!("spine{spine}"));
            }
            for tor in 0..tors {
                graph.add_link(&format!("tor{pod}-{tor}"), &format!("agg{pod}-{agg}"));
            }
        }
        for tor in 0..tors {
            graph.add_host(&format!("tor{pod}-{tor}"), &format!("host{pod}-{tor}"));
        }
    }
    graph.find_tiers();
    graph
}

#[test]
fn tiers_follow_from_the_distance_to_the_tors() {
    let graph = fabric(2, 2);
    let tiers: Vec<String> = graph.tiers.iter().map(|tier| tier.join(" ")).collect();
    assert_eq!(
        tiers,
        [
            "tor0-0 tor0-1 tor1-0 tor1-1",
            "agg0-0 agg0-1 agg1-0 agg1-1",
            "spine0 spine1"
        ]
    );
}

#[test]
fn suspects_are_marked_and_on_top() {
    let graph = fabric(2, 2);
    let link = |from: &str, to: &str| Component::Link {
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let suspects = BTreeMap::from([
        (link("spine1", "agg0-1"), 3),
        (
            Component::Switch {
                name: "tor1-0".to_owned(),
            },
            4,
        ),
        (Component::rnic(RnicName::new("host1-1", "rxe0")), 5),
    ]);
    let picture = draw(&graph, &suspects, Some("spine0"), 40);
    let last = picture.lines.last().expect("lines");
    assert_eq!(
        (last.class, last.href.as_str()),
        ("suspect", "/incidents/3")
    );
    assert_eq!(last.title, "spine1 → agg0-1: incident 3");
    let class = |label: &str| {
        picture
            .nodes
            .iter()
            .find(|node| node.label == label)
            .map(|node| node.class.as_str())
            .expect("a node")
    };
    assert_eq!(class("tor1-0"), "node tor suspect");
    assert_eq!(class("tor1-1"), "node tor below");
    assert_eq!(class("spine0"), "node selected");
    assert!(
        picture
            .nodes
            .iter()
            .all(|node| node.x + node.width <= picture.width
                && node.y + node.height <= picture.height)
    );
    assert!(
        picture.lines.iter().all(|line| line.y1 > line.y2),
        "cables go up from the ToRs"
    );
}

#[test]
fn large_tiers_are_drawn_as_groups() {
    let graph = fabric(50, 20);
    let suspects = BTreeMap::from([(
        Component::Switch {
            name: "tor49-19".to_owned(),
        },
        1,
    )]);
    let picture = draw(&graph, &suspects, None, 40);
    assert!(picture.nodes.len() <= 3 * 40, "{}", picture.nodes.len());
    let marked: Vec<_> = picture
        .nodes
        .iter()
        .filter(|node| node.class.contains("suspect"))
        .collect();
    assert_eq!(marked.len(), 1);
    assert!(
        marked[0].label.ends_with(" … tor49-19"),
        "{}",
        marked[0].label
    );
    assert!(picture.lines.len() < 40 * 40 * 2);
}

#[test]
fn nothing_and_islands_are_drawn_too() {
    let mut empty = Graph::default();
    empty.find_tiers();
    assert!(draw(&empty, &BTreeMap::new(), None, 40).nodes.is_empty());
    let mut island = Graph::default();
    island.add_link("a", "b");
    island.add_host("tor", "host");
    island.find_tiers();
    let picture = draw(&island, &BTreeMap::new(), None, 40);
    assert_eq!(picture.nodes.len(), 3);
}
