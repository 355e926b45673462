use std::collections::VecDeque;
use std::sync::Mutex;

use futures_util::FutureExt as _;

use super::*;
use crate::id::UdpSourcePort;
use crate::probe::trace::{Answer, End, Reason, Route};
use crate::time::{Nanos, SystemClock};

/// Gives prepared answers, then fails.
struct Scripted(Mutex<VecDeque<&'static str>>);

impl PathTracer for Scripted {
    fn name(&self) -> &'static str {
        "script"
    }

    fn round(&self, tuple: Tuple, round: Round) -> BoxFuture<'_, Result<Observation, TraceError>> {
        let next = self.0.lock().expect("no panic").pop_front();
        async move {
            let text = next.ok_or_else(|| TraceError::Failed {
                tuple,
                why: "the script has ended".to_owned(),
            })?;
            let mut observation = Observation::empty(round.max_hops);
            for (hop, node) in (1..).zip(text.split_whitespace()) {
                if node != "-" {
                    let answer = Answer {
                        node: node.into(),
                        rtt: Nanos(1),
                    };
                    observation.answer(hop, answer);
                }
            }
            Ok(observation)
        }
        .boxed()
    }
}

async fn run(script: &[&'static str], route: Option<&str>) -> (Result<Trace, TraceError>, usize) {
    let tracer = Scripted(Mutex::new(script.iter().copied().collect()));
    let hop = |name: &str| Some(name.into());
    let order = Order {
        tuple: Tuple {
            source: "10.0.0.1".parse().expect("a GID"),
            target: "10.0.0.2".parse().expect("a GID"),
            port: UdpSourcePort(50_000),
        },
        reason: Reason::New,
        route: route.map(|text| Route::new(text.split_whitespace().map(hop).collect())),
        healthy: true,
    };
    let round = Round {
        max_hops: 8,
        timeout: Duration::from_millis(1),
        traffic_class: 0,
    };
    let trace = trace(&tracer, &order, round, &SystemClock).await;
    let left = tracer.0.lock().expect("no panic").len();
    (trace, script.len() - left)
}

#[tokio::test]
async fn rounds_are_made_until_another_would_tell_no_more() {
    let (trace, rounds) = run(&["t0 s1 t2"; 5], None).await;
    let trace = trace.expect("a trace");
    assert_eq!((trace.route().to_string(), rounds), ("t0 s1 t2".into(), 2));
    assert_eq!(trace.end, End::Inferred);

    let (trace, rounds) = run(&["t0 s1 t2"; 5], Some("t0 s1 t2")).await;
    assert!(trace.is_ok());
    assert_eq!(rounds, 1, "as long as known");

    let (trace, rounds) = run(&["t0 - t2"; 5], None).await;
    assert_eq!(trace.expect("a trace").route().to_string(), "t0 ? t2");
    assert_eq!(rounds, 3);

    let (trace, rounds) = run(&["-"; 5], Some("t0 s1 t2")).await;
    assert_eq!((trace.expect("a trace").end, rounds), (End::Silent, 3));
}

#[tokio::test]
async fn a_first_round_that_fails_is_an_error_and_a_later_one_is_not() {
    let (trace, _) = run(&[], None).await;
    assert!(matches!(trace, Err(TraceError::Failed { .. })));
    let (trace, _) = run(&["t0 - t2"], None).await;
    assert_eq!(trace.expect("a trace").route().to_string(), "t0 ? t2");
}
