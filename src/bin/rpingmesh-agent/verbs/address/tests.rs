use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use rpingmesh::id::{FlowLabel, QKey, Qpn};
use rpingmesh::transport::{Address, Class, Payload, SendToken};

use super::*;

/// Resolves what the test tells it to, when the test tells it.
struct Scripted {
    asked: Sender<Route>,
    answers: Mutex<Receiver<io::Result<u32>>>,
}

impl Resolve for Scripted {
    type Handle = u32;

    fn resolve(&self, route: Route) -> io::Result<u32> {
        self.asked.send(route).expect("the test listens");
        self.answers
            .lock()
            .expect("no panic")
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }
}

struct Bench {
    resolver: Resolver<Scripted>,
    asked: Receiver<Route>,
    answers: Sender<io::Result<u32>>,
    now: HostTime,
}

impl Bench {
    fn new() -> Self {
        let (ask, asked) = channel();
        let (answers, answer) = channel();
        let scripted = Scripted {
            asked: ask,
            answers: Mutex::new(answer),
        };
        Self {
            resolver: Resolver::new(scripted, Handle::current()),
            asked,
            answers,
            now: HostTime::from_nanos(0),
        }
    }

    fn lookup(&mut self, route: Route, token: u64) -> Lookup<u32> {
        let request = SendRequest {
            token: SendToken(token),
            to: Address {
                gid: route.gid,
                qpn: Qpn::from_lower_bits(17),
                q_key: QKey(1),
            },
            flow_label: FlowLabel::new(1).expect("a label"),
            class: Class::default(),
            payload: Payload::new(&[]).expect("short"),
        };
        self.resolver.lookup(route, &request, self.now)
    }

    fn answer(&self, result: io::Result<u32>) {
        self.answers.send(result).expect("the resolver lives");
    }

    async fn resolved(&mut self) -> Vec<(Result<u32, u32>, Vec<u64>)> {
        let mut out = Vec::new();
        let now = self.now;
        poll_fn(|cx| self.resolver.poll(cx, now, &mut out)).await;
        out.into_iter()
            .map(|group| {
                let tokens = group
                    .requests
                    .iter()
                    .map(|request| request.token.0)
                    .collect();
                (group.outcome.map(|handle| *handle), tokens)
            })
            .collect()
    }
}

fn route(host: u8, flow_label: u32) -> Route {
    Route {
        gid: std::net::Ipv4Addr::new(10, 0, 0, host).into(),
        flow_label,
        class: Class::default(),
    }
}

fn unreachable() -> io::Error {
    io::Error::from_raw_os_error(libc::EHOSTUNREACH)
}

#[tokio::test]
async fn requests_wait_for_one_handle_and_later_ones_find_it() {
    let mut bench = Bench::new();
    assert!(matches!(bench.lookup(route(1, 1), 1), Lookup::Waiting));
    assert!(matches!(bench.lookup(route(1, 1), 2), Lookup::Waiting));
    bench.answer(Ok(42));
    assert_eq!(bench.resolved().await, [(Ok(42), vec![1, 2])]);
    assert!(matches!(bench.lookup(route(1, 1), 3), Lookup::Ready(handle) if *handle == 42));
    assert_eq!(bench.asked.try_iter().count(), 1);
}

#[tokio::test]
async fn a_destination_that_failed_is_refused_for_a_pause_that_doubles() {
    let mut bench = Bench::new();
    bench.lookup(route(1, 1), 1);
    bench.answer(Err(unreachable()));
    let code = libc::EHOSTUNREACH.unsigned_abs();
    assert_eq!(bench.resolved().await, [(Err(code), vec![1])]);
    assert!(matches!(bench.lookup(route(1, 1), 2), Lookup::Failed(c) if c == code));
    assert!(
        matches!(bench.lookup(route(1, 9), 2), Lookup::Failed(_)),
        "other labels lead to the same neighbour"
    );
    bench.now = bench.now.after(FIRST_PAUSE);
    assert!(matches!(bench.lookup(route(1, 1), 3), Lookup::Waiting));
    bench.answer(Err(unreachable()));
    bench.resolved().await;
    bench.now = bench.now.after(FIRST_PAUSE);
    assert!(matches!(bench.lookup(route(1, 1), 4), Lookup::Failed(_)));
    bench.now = bench.now.after(FIRST_PAUSE);
    assert!(matches!(bench.lookup(route(1, 1), 5), Lookup::Waiting));
    bench.answer(Ok(7));
    assert_eq!(bench.resolved().await, [(Ok(7), vec![5])]);
}

#[tokio::test]
async fn a_failure_ends_all_that_waits_for_the_same_destination() {
    let mut bench = Bench::new();
    let mut waiting: Vec<_> = (1..=40).collect();
    for label in 1..=40 {
        bench.lookup(route(1, label), u64::from(label));
    }
    bench.answer(Err(unreachable()));
    let mut ended: Vec<u64> = bench
        .resolved()
        .await
        .into_iter()
        .flat_map(|(_, tokens)| tokens)
        .collect();
    // Those that were already being resolved end with their own result; the others were never begun.
    let begun = MAX_RUNNING as u64;
    assert_eq!(ended.len() as u64, 40 - begun + 1);
    for _ in 1..begun {
        bench.answer(Err(unreachable()));
        while ended.len() < waiting.len() {
            let more = bench.resolved().await;
            let count = more.len();
            ended.extend(more.into_iter().flat_map(|(_, tokens)| tokens));
            if count > 0 {
                break;
            }
        }
    }
    ended.sort_unstable();
    waiting.sort_unstable();
    assert_eq!(ended, waiting);
    assert_eq!(bench.asked.try_iter().count() as u64, begun);
    assert_eq!(bench.resolver.waiting_requests, 0);
}

#[tokio::test]
async fn new_destinations_go_before_those_that_failed() {
    let mut bench = Bench::new();
    for host in 1..=20 {
        bench.lookup(route(host, 1), u64::from(host));
        bench.answer(Err(unreachable()));
    }
    let mut failed = 0;
    while failed < 20 {
        failed += bench.resolved().await.len();
    }
    bench.asked.try_iter().count();
    bench.now = bench.now.after(FIRST_PAUSE);
    for host in 1..=20 {
        bench.lookup(route(host, 1), 100 + u64::from(host));
    }
    // The failed ones hold only half of the threads, so the new one begins at once.
    bench.lookup(route(99, 1), 999);
    let begun: Vec<_> = (0..=MAX_RUNNING_LOW)
        .map(|_| bench.asked.recv().expect("begun"))
        .collect();
    assert!(begun.contains(&route(99, 1)), "{begun:?}");
    for _ in 0..21 {
        bench.answer(Err(unreachable()));
    }
}

#[tokio::test]
async fn an_old_handle_is_renewed_while_it_is_used_and_survives_a_failed_renewal() {
    let mut bench = Bench::new();
    bench.lookup(route(1, 1), 1);
    bench.answer(Ok(1));
    bench.resolved().await;
    bench.now = bench.now.after(RENEW_AFTER);
    assert!(matches!(bench.lookup(route(1, 1), 2), Lookup::Ready(handle) if *handle == 1));
    bench.answer(Err(unreachable()));
    bench.resolved().await;
    assert!(matches!(bench.lookup(route(1, 1), 3), Lookup::Ready(handle) if *handle == 1));
    bench.now = bench.now.after(RENEW_AFTER);
    bench.lookup(route(1, 1), 4);
    bench.answer(Ok(2));
    bench.resolved().await;
    assert!(matches!(bench.lookup(route(1, 1), 5), Lookup::Ready(handle) if *handle == 2));
}

#[tokio::test]
async fn the_cache_and_the_queue_are_bounded() {
    let mut bench = Bench::new();
    for (index, host) in (0..2 * GENERATION + 10).enumerate() {
        let label = u32::try_from(host).expect("small");
        bench.resolver.keep(
            route(1, label),
            Cached {
                handle: Arc::new(0),
                made: bench.now,
            },
        );
        assert!(
            bench.resolver.young.len() + bench.resolver.old.len() <= 2 * GENERATION,
            "after {index}"
        );
    }
    // The latest are still there.
    let latest = u32::try_from(2 * GENERATION + 9).expect("small");
    assert!(matches!(
        bench.lookup(route(1, latest), 1),
        Lookup::Ready(_)
    ));
    for token in 0..MAX_WAITING as u64 {
        assert!(matches!(bench.lookup(route(2, 1), token), Lookup::Waiting));
    }
    let refused = libc::EAGAIN.unsigned_abs();
    assert!(matches!(bench.lookup(route(2, 1), 0), Lookup::Failed(code) if code == refused));
    bench.answer(Ok(3));
    assert_eq!(bench.resolved().await[0].1.len(), MAX_WAITING);
}
