use std::sync::Arc;

use super::*;
use crate::pinglist::{MESH_PARTNERS, Policy};
use crate::time::WallTime;
use crate::topology::Topology;
use crate::topology::wiring::Link;
use crate::topology::wiring::file::{File, HostEntry};

/// A Clos of `tors` under `spines`, with `hosts` per ToR.
fn clos(tors: usize, spines: usize, hosts: usize) -> Wiring {
    let links = (0..tors).flat_map(|tor| {
        (0..spines).map(move |spine| Link::new(format!("tor{tor}"), format!("spine{spine}")))
    });
    let hosts = (0..tors).flat_map(|tor| {
        (0..hosts).map(move |host| HostEntry::new(format!("h{tor}-{host}"), format!("tor{tor}")))
    });
    let file = File {
        links: links.collect(),
        hosts: hosts.collect(),
        switches: Vec::new(),
    };
    file.check().expect("a sound file")
}

fn forecast(wiring: &Wiring, rnics: u8) -> Forecast {
    let agents = implied_agents(wiring, rnics);
    let mut topology = Topology::default();
    for agent in &agents {
        topology.insert(agent);
    }
    let policy = Policy {
        paths: crate::pinglist::Paths::PerPair {
            known: wiring.paths(),
            otherwise: 16,
        },
        ..Policy::default()
    };
    let plan = PinglistPlan::new(&topology, Arc::new(policy), WallTime::from_nanos(0));
    Forecast::new(&plan, &agents, &wiring.graph())
}

#[test]
fn a_small_clos_is_covered_by_all_pairs() {
    let forecast = forecast(&clos(8, 4, 8), 2);
    assert_eq!(forecast.matrix, Matrix::Complete);
    assert_eq!(
        (forecast.rnics, forecast.tors, forecast.planes),
        (128, 8, 1)
    );
    // 7 other ToRs with 21 5-tuples each for 4 paths, and a full ToR-mesh of 16.
    assert_eq!(forecast.tuples, 8 * 7 * 21 + 128 * 15);
    let links = forecast.links;
    assert_eq!(
        (links.links, links.uncrossed, links.equal_pairs),
        (64, 0, 0)
    );
    assert!((links.mean_rate - 10.0).abs() < 1e-6, "{links:?}");
    assert!(links.lowest_rate > 6.0, "{links:?}");
}

#[test]
fn a_large_clos_is_covered_by_partners_and_every_link_stays_identifiable() {
    let forecast = forecast(&clos(60, 16, 8), 4);
    assert_eq!(
        forecast.matrix,
        Matrix::Sparse {
            fewest: 13,
            most: 13
        }
    );
    assert!(
        forecast.longest_interval <= Duration::from_secs(10),
        "{forecast:?}"
    );
    let inter = forecast.tuples - (60 * 32 * MESH_PARTNERS) as u64;
    assert_eq!(inter, 60 * 13 * 115);
    let links = forecast.links;
    assert_eq!(
        (links.links, links.uncrossed, links.equal_pairs),
        (1920, 0, 0)
    );
    assert!((links.mean_rate - 10.0).abs() < 1e-6, "{links:?}");
    assert!(links.lowest_rate > 6.0, "{links:?}");
}

#[test]
fn planes_are_counted_and_links_that_nothing_can_tell_apart() {
    let text = r#"{"links":[{"a":"s0","b":"t0"},{"a":"s0","b":"t1"},{"a":"s1","b":"u0"},{"a":"s1","b":"u1"}],
        "hosts":[{"name":"h0","rnics":[{"device":"a","tor":"t0"},{"device":"b","tor":"u0"}]},
                 {"name":"h1","rnics":[{"device":"a","tor":"t1"},{"device":"b","tor":"u1"}]}]}"#;
    let forecast = forecast(&Wiring::parse(text).expect("a sound file"), 1);
    assert_eq!((forecast.planes, forecast.tors, forecast.rnics), (2, 4, 4));
    // One path per pair: up and down are always crossed together.
    assert_eq!((forecast.links.links, forecast.links.equal_pairs), (8, 4));
}
