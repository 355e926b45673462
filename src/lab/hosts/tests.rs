use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use super::*;
use crate::fabric::{Profile, Scenario};
use crate::time::HostTime;

const SECOND: Duration = Duration::from_secs(1);

fn outages(faults: &[&str], host: u32) -> Outages {
    let scenario: Scenario = toml::from_str("title = 'x'\nduration = '1s'").expect("a scenario");
    let topology = Arc::new(scenario.topology().expect("a topology"));
    let mut engine = Engine::new(topology, Profile::default(), 1, HostTime::from_nanos(0));
    for fault in faults {
        engine
            .inject(&fault.parse().expect("a fault"))
            .expect("known");
    }
    Outages::of(&engine, host)
}

/// When agents of a host ran, in seconds from the start: from and until.
async fn lives(outages: Outages, stop_after: Duration) -> Vec<(u64, u64)> {
    /// Notes its end when it is dropped or ends.
    struct Life(Arc<Mutex<Vec<(u64, u64)>>>, Instant, u64);
    impl Drop for Life {
        fn drop(&mut self) {
            let until = self.1.elapsed().as_millis() / 1000;
            let life = (self.2, u64::try_from(until).expect("short"));
            self.0.lock().expect("no panic").push(life);
        }
    }
    let (lives, began) = (Arc::default(), Instant::now());
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(stop_after).await;
        cancel.cancel();
    });
    let ended = run(outages, began, stop, |stop| {
        let life = Life(Arc::clone(&lives), began, began.elapsed().as_secs());
        async move {
            let _life = life;
            stop.cancelled().await;
            Ok::<(), Infallible>(())
        }
    });
    assert_eq!(ended.await, Ok(()));
    let lives = lives.lock().expect("no panic");
    lives.clone()
}

#[tokio::test(start_paused = true)]
async fn an_agent_runs_while_its_host_has_power() {
    let faults = ["host host1 down at=3s for=4s"];
    let of = |host| lives(outages(&faults, host), 10 * SECOND);
    assert_eq!(of(0).await, [(0, 10)]);
    assert_eq!(of(1).await, [(0, 3), (7, 10)]);
}

#[tokio::test(start_paused = true)]
async fn outages_may_overlap_begin_at_once_and_never_end() {
    let overlapping = ["host host1 down for=3s", "host host* down at=2s for=4s"];
    assert_eq!(
        lives(outages(&overlapping, 1), 10 * SECOND).await,
        [(6, 10)]
    );
    let for_ever = outages(&["host host1 down at=5s"], 1);
    assert_eq!(lives(for_ever, 10 * SECOND).await, [(0, 5)]);
    // A host that is starved has power, and so has one whose RNIC is down.
    let others = ["host host1 stall=1s every=2s", "rnic host1/0 down"];
    assert_eq!(lives(outages(&others, 1), 10 * SECOND).await, [(0, 10)]);
}
