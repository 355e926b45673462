use proptest::prelude::*;

use super::*;

fn any_trace() -> impl Strategy<Value = Trace> {
    let hop = prop::option::of(("[a-z0-9.:]{1,20}", 0i64..)).prop_map(|hop| {
        hop.map(|(node, rtt)| Answer {
            node: NodeName::new(node),
            rtt: Nanos(rtt),
        })
    });
    (
        any::<([u8; 16], [u8; 16])>(),
        1u16..,
        any::<i64>(),
        0..Reason::ALL.len(),
        0..End::ALL.len(),
        prop::collection::vec(hop, 0..=usize::from(MAX_HOPS)),
    )
        .prop_map(
            |((mut source, mut target), port, at, reason, end, mut hops)| {
                source[0] |= 1;
                target[0] |= 1;
                let end = End::ALL[end];
                while end != End::Answered && hops.last().is_some_and(Option::is_none) {
                    hops.pop();
                }
                Trace {
                    tuple: Tuple {
                        source: Gid::from_bytes(source),
                        target: Gid::from_bytes(target),
                        port: UdpSourcePort(port),
                    },
                    at: WallTime::from_nanos(at),
                    reason: Reason::ALL[reason],
                    end,
                    hops,
                }
            },
        )
}

fn good() -> v1::PathTrace {
    let hop = |node: &str| v1::TraceHop {
        node: node.to_owned(),
        rtt_ns: 1000,
    };
    v1::PathTrace {
        source_gid: vec![1; 16].into(),
        target_gid: vec![2; 16].into(),
        source_port: 50_000,
        at_unix_ns: 1,
        reason: v1::TraceReason::New.into(),
        end: v1::TraceEnd::Inferred.into(),
        hops: vec![hop("10.0.0.1"), v1::TraceHop::default(), hop("10.0.0.3")],
    }
}

#[test]
fn contradictions_are_refused_by_name() {
    type Change = fn(&mut v1::PathTrace);
    let changes: [Change; 13] = [
        |trace| trace.source_gid = vec![1; 4].into(),
        |trace| trace.target_gid = vec![0; 16].into(),
        |trace| trace.source_port = 0,
        |trace| trace.source_port = 65_536,
        |trace| trace.reason = 0,
        |trace| trace.reason = 99,
        |trace| trace.end = 0,
        |trace| trace.end = -1,
        |trace| trace.hops = vec![v1::TraceHop::default(); 33],
        |trace| trace.hops[2].node = "x".repeat(257),
        |trace| trace.hops[2].node = "\x1b[2J".to_owned(),
        |trace| trace.hops[0].rtt_ns = -1,
        |trace| trace.hops.push(v1::TraceHop::default()),
    ];
    let lines: Vec<_> = changes
        .into_iter()
        .map(|change| {
            let mut trace = good();
            change(&mut trace);
            Trace::try_from(trace).unwrap_err().to_string()
        })
        .collect();
    assert!(Trace::try_from(good()).is_ok());
    insta::assert_snapshot!(lines.join("\n"));
}

proptest! {
    #[test]
    fn traces_survive_the_way_there_and_back(trace in any_trace()) {
        prop_assert_eq!(Trace::try_from(v1::PathTrace::from(trace.clone())), Ok(trace));
    }

    /// Whatever comes, it is taken or refused; what is taken goes out again.
    #[test]
    fn any_message_is_taken_or_refused(
        gids in any::<(Vec<u8>, Vec<u8>)>(), numbers in any::<(u32, i64, i32, i32)>(),
        hops in prop::collection::vec(any::<(String, i64)>(), 0..40),
    ) {
        let message = v1::PathTrace {
            source_gid: gids.0.into(),
            target_gid: gids.1.into(),
            source_port: numbers.0,
            at_unix_ns: numbers.1,
            reason: numbers.2,
            end: numbers.3,
            hops: hops.into_iter().map(|(node, rtt_ns)| v1::TraceHop { node, rtt_ns }).collect(),
        };
        if let Ok(trace) = Trace::try_from(message) {
            prop_assert_eq!(Trace::try_from(v1::PathTrace::from(trace.clone())), Ok(trace));
        }
    }
}
