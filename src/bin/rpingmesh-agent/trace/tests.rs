use rpingmesh::id::NodeName;
use rpingmesh::probe::trace::Answer;
use rpingmesh::time::{Nanos, WallTime};

use super::*;

fn trace(end: End) -> Trace {
    let hop = |name: &str, rtt| {
        Some(Answer {
            node: NodeName::from(name),
            rtt: Nanos(rtt),
        })
    };
    Trace {
        tuple: Tuple {
            source: "10.0.0.1".parse().expect("a GID"),
            target: "10.0.9.1".parse().expect("a GID"),
            port: UdpSourcePort(50_000),
        },
        at: WallTime::from_nanos(1_800_000_000_000_000_000),
        reason: Reason::New,
        end,
        hops: vec![hop("10.1.0.1", 31_000), None, hop("10.11.255.1", 1_204_000)],
    }
}

#[test]
fn what_people_and_programs_read() {
    let texts: Vec<_> = End::ALL.into_iter().map(|end| lines(&trace(end))).collect();
    let objects = objects(&trace(End::Inferred)).expect("JSON");
    insta::assert_snapshot!(format!("{}\n{objects}", texts.join("\n")));
}
