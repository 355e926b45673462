use std::future::poll_fn;
use std::net::Ipv4Addr;

use super::*;
use crate::id::Gid;
use crate::transport::memory::{MemoryEndpoint, Network};
use crate::transport::{Class, SendStatus};

fn pair(sent: Faults, received: Faults, seed: u64) -> (FaultyEndpoint, MemoryEndpoint, Network) {
    let network = Network::new();
    let a = network.endpoint(Gid::from(Ipv4Addr::new(10, 0, 0, 1)));
    let b = network.endpoint(Gid::from(Ipv4Addr::new(10, 0, 0, 2)));
    let a = FaultyEndpoint::new(Box::new(a), sent, received, seed);
    (a, b, network)
}

fn requests(to: Address, count: u64) -> Vec<SendRequest> {
    (0..count)
        .map(|number| SendRequest {
            token: SendToken(number),
            to,
            flow_label: FlowLabel::new(1).expect("valid"),
            class: Class::default(),
            payload: Payload::new(&number.to_be_bytes()).expect("short"),
        })
        .collect()
}

/// What is there now, without waiting.
async fn take(endpoint: &mut dyn Endpoint) -> Vec<Completion> {
    let mut out = Vec::new();
    poll_fn(|cx| {
        let _ = endpoint.poll_completions(cx, &mut out);
        Poll::Ready(())
    })
    .await;
    out
}

fn payloads(completions: &[Completion]) -> Vec<u64> {
    completions
        .iter()
        .filter_map(|completion| match completion {
            Completion::Received(received) => Some(received.payload.as_slice()),
            _ => None,
        })
        .map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")))
        .collect()
}

fn sent(completions: &[Completion]) -> Vec<u64> {
    completions
        .iter()
        .filter_map(|completion| match completion {
            Completion::Sent {
                token,
                status: SendStatus::Sent,
                ..
            } => Some(token.0),
            _ => None,
        })
        .collect()
}

/// Sends `count` through a faulty endpoint; the tokens that completed and what the receiver got.
async fn through(
    sent_faults: Faults,
    seed: u64,
    count: u64,
) -> (Vec<u64>, Vec<u64>, FaultCounters) {
    let (mut a, mut b, _network) = pair(sent_faults, Faults::default(), seed);
    a.post(&requests(b.address(), count)).expect("alive");
    let done = sent(&take(&mut a).await);
    let got = payloads(&take(&mut b).await);
    (done, got, a.counters().0)
}

#[tokio::test]
async fn without_faults_everything_passes_in_order() {
    let (done, got, counters) = through(Faults::default(), 1, 100).await;
    assert_eq!(done, (0..100).collect::<Vec<_>>());
    assert_eq!(got, done);
    assert_eq!(counters, FaultCounters::default());
}

#[tokio::test]
async fn drops_are_seeded_and_still_complete() {
    let faults = Faults {
        drop: Ratio::of(3, 10),
        ..Faults::default()
    };
    let (done, got, counters) = through(faults, 7, 500).await;
    assert_eq!(done.len(), 500);
    assert_eq!(got.len() as u64, 500 - counters.dropped);
    assert!((100..200).contains(&counters.dropped), "{counters:?}");
    assert_eq!(through(faults, 7, 500).await.1, got, "same seed");
    assert_ne!(through(faults, 8, 500).await.1, got, "another seed");
}

#[tokio::test]
async fn duplicates_come_twice_and_complete_once() {
    let faults = Faults {
        duplicate: Ratio::ONE,
        ..Faults::default()
    };
    let (done, got, counters) = through(faults, 1, 3).await;
    assert_eq!(done, [0, 1, 2]);
    assert_eq!(got, [0, 0, 1, 1, 2, 2]);
    assert_eq!(counters.duplicated, 3);
}

#[tokio::test]
async fn corruption_flips_one_bit() {
    let faults = Faults {
        corrupt: Ratio::ONE,
        ..Faults::default()
    };
    let (_, got, counters) = through(faults, 1, 20).await;
    assert_eq!(counters.corrupted, 20);
    for (number, found) in (0_u64..).zip(got) {
        assert_eq!((number ^ found).count_ones(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn reordering_swaps_neighbours_and_waits_no_longer_than_its_limit() {
    let faults = Faults {
        reorder: Ratio::ONE,
        ..Faults::default()
    };
    let (_, got, counters) = through(faults, 1, 4).await;
    assert_eq!(got, [1, 0, 3, 2]);
    assert_eq!(counters.reordered, 2);

    let (mut a, mut b, _network) = pair(faults, Faults::default(), 1);
    a.post(&requests(b.address(), 1)).expect("alive");
    assert!(take(&mut a).await.is_empty());
    let mut out = Vec::new();
    let start = Instant::now();
    poll_fn(|cx| a.poll_completions(cx, &mut out))
        .await
        .expect("alive");
    assert!(start.elapsed() >= REORDER_LIMIT);
    assert_eq!(payloads(&take(&mut b).await), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_arrival_comes_later_and_says_so() {
    let delay_by = Duration::from_millis(250);
    let faults = Faults {
        delay: Ratio::ONE,
        delay_by,
        ..Faults::default()
    };
    let (mut a, mut b, _network) = pair(Faults::default(), faults, 1);
    b.post(&requests(a.address(), 1)).expect("alive");
    let completions = take(&mut b).await;
    let Completion::Sent { at: sent_at, .. } = completions[0] else {
        panic!("sent");
    };
    let start = Instant::now();
    let mut out = Vec::new();
    poll_fn(|cx| a.poll_completions(cx, &mut out))
        .await
        .expect("alive");
    assert!(start.elapsed() >= delay_by);
    let Completion::Received(received) = out[0] else {
        panic!("received");
    };
    assert!(received.at.since(sent_at) >= delay_by);
    assert_eq!(a.counters().1.delayed, 1);
}

#[tokio::test]
async fn received_datagrams_have_their_own_rates() {
    let faults = Faults {
        drop: Ratio::ONE,
        ..Faults::default()
    };
    let (mut a, mut b, _network) = pair(Faults::default(), faults, 1);
    b.post(&requests(a.address(), 5)).expect("alive");
    a.post(&requests(b.address(), 5)).expect("alive");
    assert!(payloads(&take(&mut a).await).is_empty());
    assert_eq!(payloads(&take(&mut b).await).len(), 5);
    assert_eq!(a.counters().1.dropped, 5);
}
