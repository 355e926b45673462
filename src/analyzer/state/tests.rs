use std::net::Ipv4Addr;

use super::*;
use crate::analysis::report::{AgentCounters, Batch, End as RnicEnd, Path, PathReport, SpoolId};
use crate::id::{AgentId, HostName, Qpn, UdpSourcePort};
use crate::measure::{Measurement, Outcome};
use crate::probe::ProbeKind;
use crate::probe::trace::{Answer, End, Reason, Trace};
use crate::time::SystemClock;
use crate::transport::CompletionClock;

/// Host `h<n>` under ToR `t<n>`.
fn end(number: u8) -> RnicEnd {
    RnicEnd {
        gid: Ipv4Addr::new(10, 0, 0, number).into(),
        qpn: Qpn::from_lower_bits(u32::from(number)),
        host: format!("h{number}").into(),
        tor: format!("t{number}").into(),
        device: "mlx5_0".into(),
    }
}

fn tuple() -> Tuple {
    Tuple {
        source: end(1).gid,
        target: end(2).gid,
        port: UdpSourcePort(50_000),
    }
}

fn trace(at: WallTime, hops: &str) -> Trace {
    let hop = |name: &str| {
        (name != "?").then(|| Answer {
            node: name.into(),
            rtt: Nanos(1),
        })
    };
    Trace {
        tuple: tuple(),
        at,
        reason: Reason::New,
        end: End::Inferred,
        hops: hops.split(' ').map(hop).collect(),
    }
}

/// The state thread and what its agents have sent.
struct Analyzer {
    state: StateHandle,
    start: WallTime,
    sequence: u64,
}

impl Analyzer {
    fn start(wiring: Option<&str>) -> Self {
        let wiring = wiring.map(|text| Wiring::parse(text).expect("a topology"));
        let plan = KnownTopology::new(wiring);
        let limits = Limits {
            lateness: Duration::from_mins(1),
            clock_tolerance: Duration::from_secs(5),
            paths: 1_000,
            bytes: 1 << 30,
        };
        let metrics = Arc::new(Metrics::new(Arc::default()));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let events = Publisher::default();
        let sizing = Sizing::new(&limits, true);
        let fleet = Fleet::restored(Vec::new(), Duration::from_hours(24), clock.host());
        let (state, thread) = new(
            (limits, sizing),
            plan,
            fleet,
            Arc::clone(&clock),
            metrics,
            events,
        );
        tokio::task::spawn_blocking(|| thread.run());
        Self {
            state,
            start: clock.wall(),
            sequence: 0,
        }
    }

    /// The agent of `source` uploads a probe to `target`, and traces.
    async fn upload(&mut self, source: u8, target: u8, traces: Vec<Trace>) {
        self.sequence += 1;
        let path = Path {
            source: Arc::new(end(source)),
            target: Arc::new(end(target)),
            kind: ProbeKind::InterTor,
            source_port: Some(UdpSourcePort(50_000)),
            service: None,
            class: None,
            fidelity: None,
        };
        let mut report = PathReport::empty(path, CompletionClock::Software);
        report.add(&Outcome::Complete(Measurement {
            network_rtt: Nanos(5_000),
            prober_delay: Nanos(1_000),
            responder_delay: Nanos(1_000),
        }));
        let host = HostName::new(format!("h{source}"));
        let sender = Sender {
            agent: AgentId::new(format!("a{source}")),
            spool: SpoolId(u64::from(source)),
        };
        let taken = Taken {
            clock: Nanos::ZERO,
            mark: Watermark::new(sender, host, self.start),
            received: Some(Received {
                batch: Batch {
                    sequence: self.sequence,
                    interval: self.start..self.start + Nanos(1_000_000_000),
                    paths: vec![report],
                    traces,
                    hardware: Vec::new(),
                    counters: AgentCounters::default(),
                },
                refused: crate::rpc::results::Refusals::default(),
            }),
            replayed: false,
            held: None,
            at: self.start,
            version: None,
            room: None,
        };
        self.state.taken(vec![taken]).await;
    }

    /// What the judge learns with its next run.
    async fn learned(&self) -> Vec<Traced> {
        let read = |state: &State, now| {
            state
                .material(Snapshot::empty(), &HashMap::new(), now)
                .traced
        };
        self.state.read(read).await.expect("the thread runs")
    }

    fn after(&self, millis: i64) -> WallTime {
        self.start + Nanos(millis * 1_000_000)
    }
}

fn known(hops: &[&str]) -> Vec<Traced> {
    let hops = hops.iter().map(|hop| (*hop).to_owned()).collect();
    vec![(tuple(), hops)]
}

#[tokio::test]
async fn a_trace_waits_for_the_report_of_its_targets_agent() {
    let mut analyzer = Analyzer::start(None);
    let early = trace(analyzer.after(1), "t1 s0 x");
    analyzer.upload(1, 3, vec![early]).await;
    assert_eq!(analyzer.learned().await, []);
    assert_eq!(analyzer.learned().await, [], "it is not forgotten");
    analyzer.upload(2, 3, Vec::new()).await;
    // The switch at the target's end is its ToR, whatever it calls itself.
    assert_eq!(analyzer.learned().await, known(&["t1", "s0", "t2"]));
    assert_eq!(analyzer.learned().await, [], "each is told once");
}

#[tokio::test]
async fn the_judge_is_told_now_and_then_that_a_path_is_as_it_was() {
    let mut analyzer = Analyzer::start(None);
    analyzer.upload(2, 3, Vec::new()).await;
    let mut told = Vec::new();
    for minute in [0, 1, 17, 18, 34] {
        let again = trace(analyzer.after(minute * 60_000), "t1 s0 t2");
        analyzer.upload(1, 2, vec![again]).await;
        told.push(analyzer.learned().await.len());
    }
    assert_eq!(told[0], 1);
    assert!(told[1..].iter().sum::<usize>() <= 3, "{told:?}");
    assert_eq!((told[2], told[4]), (1, 1), "{told:?}");
}

#[tokio::test]
async fn a_path_that_a_later_trace_completes_is_learned() {
    let mut analyzer = Analyzer::start(None);
    analyzer.upload(2, 3, Vec::new()).await;
    let gap = trace(analyzer.after(1), "t1 ? t2");
    analyzer.upload(1, 2, vec![gap]).await;
    assert_eq!(analyzer.learned().await, [], "a switch is not known");
    let rest = trace(analyzer.after(2), "t1 s0 t2");
    analyzer.upload(1, 2, vec![rest]).await;
    assert_eq!(analyzer.learned().await, known(&["t1", "s0", "t2"]));
    let same = trace(analyzer.after(3), "t1 s0 ?");
    analyzer.upload(1, 2, vec![same]).await;
    assert_eq!(analyzer.learned().await, [], "nothing new");
}

#[tokio::test]
async fn a_trace_whose_last_switches_kept_silent_is_no_difference() {
    let wiring = r#"{"links":[{"a":"t1","b":"s0"},{"a":"t2","b":"s0"}],
                     "hosts":[{"name":"h1","tor":"t1"},{"name":"h2","tor":"t2"}]}"#;
    let mut analyzer = Analyzer::start(Some(wiring));
    analyzer.upload(2, 1, Vec::new()).await;
    let differences = |state: &State, _| -> Vec<String> {
        state.map().differences().map(str::to_owned).collect()
    };
    let short = trace(analyzer.after(1), "t1 s0");
    analyzer.upload(1, 2, vec![short]).await;
    let found = analyzer.state.read(differences).await;
    assert_eq!(found, Some(Vec::new()));
    let other = trace(analyzer.after(2), "t1 s1 t2");
    analyzer.upload(1, 2, vec![other]).await;
    let found = analyzer.state.read(differences).await.expect("it runs");
    assert!(
        found[0].contains("traces show the switch `s1`"),
        "{found:?}"
    );
}

#[tokio::test]
async fn what_an_agent_says_is_listed_before_its_first_batch() {
    let analyzer = Analyzer::start(None);
    let sender = Sender {
        agent: AgentId::new("a1"),
        spool: SpoolId(1),
    };
    let told = Told {
        sender: sender.clone(),
        host: "h1".into(),
        version: Some(AgentVersion::new("1.0")),
        state: AgentState {
            rnics: Vec::new(),
            degraded: vec!["tracing: no CAP_BPF".to_owned()],
            tuples: 84,
            ..AgentState::default()
        },
    };
    analyzer.state.told(told).await;
    let listed = |state: &State, _| {
        let agent = state.agents.get(&AgentId::new("a1")).expect("listed");
        let said = agent.state.clone().expect("it has told");
        (
            agent.host.clone(),
            said.degraded,
            said.tuples,
            state.agents.degraded().count(),
        )
    };
    let listed = analyzer.state.read(listed).await.expect("it runs");
    let degraded = vec!["tracing: no CAP_BPF".to_owned()];
    assert_eq!(listed, ("h1".into(), degraded, 84, 1));
    let hosts = |state: &State, now| {
        state
            .material(Snapshot::empty(), &HashMap::new(), now)
            .hosts
    };
    let hosts = analyzer.state.read(hosts).await.expect("it runs");
    assert_eq!(hosts.len(), 1, "to be stored");
    // Its first batch was taken before, and is counted after.
    let before = Watermark {
        sequence: 5,
        ..Watermark::new(sender, "h1".into(), analyzer.start)
    };
    analyzer.state.marks(vec![before]).await;
    let sequence = |state: &State, _| {
        state
            .agents
            .get(&AgentId::new("a1"))
            .map(|one| one.sequence)
    };
    assert_eq!(analyzer.state.read(sequence).await, Some(Some(5)));
}
