//! What agents say that they have measured, beside what the judge has in its windows: the same, or batches were lost or counted twice.
//!
//! Agents count in their metrics, which know nothing of batches. They are read once a second. The count at a point in time lies on the
//! line between two readings.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpingmesh::net::http::get;
use rpingmesh::net::url::Url;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::site::{Site, now};

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);
/// A batch of a second lies in one slot as a whole, at either end of the window; reading takes time on a loaded machine.
const ALLOWED_SECONDS: f64 = 3.0;

/// Time in Unix nanoseconds, and what was measured until then.
type Readings = Vec<(i64, f64)>;

/// The readings of all agents. They end with this value.
pub(super) struct Tally {
    agents: Vec<(String, Arc<Mutex<Readings>>)>,
    tasks: Vec<JoinHandle<()>>,
}

impl Tally {
    /// Reads the metrics of these hosts from now on. None of them has measured anything yet.
    pub(super) fn of(hosts: impl Iterator<Item = (String, SocketAddr)>) -> Self {
        let (mut agents, mut tasks) = (Vec::new(), Vec::new());
        for (host, address) in hosts {
            let readings = Arc::new(Mutex::new(vec![(now(), 0.0)]));
            agents.push((host, Arc::clone(&readings)));
            tasks.push(tokio::spawn(async move {
                let url = Url::parse(&format!("http://{address}/metrics")).expect("a URL");
                let mut ticks = tokio::time::interval(INTERVAL);
                loop {
                    ticks.tick().await;
                    // An agent that is starting, or was killed, says nothing.
                    if let Ok(body) = get(&url, TIMEOUT).await {
                        let measured = measured(&String::from_utf8_lossy(&body));
                        readings.lock().expect("no panic").push((now(), measured));
                    }
                }
            }));
        }
        Self { agents, tasks }
    }

    /// Compares; says what differs.
    ///
    /// # Errors
    /// A host of which the windows have more or less than it has measured. The judge did not answer.
    pub(super) async fn compare(&self, site: &Site) -> Result<String, String> {
        let (mut all, mut worst) = (0.0, 0.0_f64);
        for (host, readings) in &self.agents {
            if !site.agents.iter().any(|(living, _)| living == host) {
                continue;
            }
            let path = format!("/api/v1/paths?window=120s&limit=10000&source={host}");
            let paths = site.ask(&path).await.ok_or("no answer")?;
            let time = |name: &str| paths[name].as_i64().ok_or("no window");
            let (start, end) = (time("start_unix_ns")?, time("end_unix_ns")?);
            let counted = counted(&paths);
            let (at_start, at_end) = {
                let readings = readings.lock().expect("no panic");
                (at(&readings, start), at(&readings, end))
            };
            let measured = at_end - at_start;
            let difference = (counted - measured) / measured.max(1.0) * known(readings, start, end);
            if difference.abs() > ALLOWED_SECONDS {
                return Err(format!(
                    "{host} has measured {measured:.0} probes, {counted:.0} are in the window: {difference:+.1} s of it"
                ));
            }
            all += counted;
            worst = worst.max(difference.abs());
        }
        Ok(format!(
            "{all:.0} probes in the windows; what agents have measured differs by {worst:.1} s at most"
        ))
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Complete probes by an agent's metrics.
fn measured(metrics: &str) -> f64 {
    let counts = metrics.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        name.starts_with("rpingmesh_agent_network_rtt_seconds_count")
            .then(|| value.parse::<f64>().ok())
            .flatten()
    });
    counts.sum()
}

/// Complete probes in the judge's answer.
fn counted(paths: &Value) -> f64 {
    let all = paths["paths"].as_array().into_iter().flatten();
    all.filter_map(|path| path["prober_delay"]["count"].as_f64())
        .sum()
}

/// How many of the window's seconds there are readings of.
fn known(readings: &Mutex<Readings>, start: i64, end: i64) -> f64 {
    let first = readings.lock().expect("no panic")[0].0;
    ((end - start.max(first)) as f64 / 1e9).max(1.0)
}

/// The count at a point in time.
fn at(readings: &Readings, time: i64) -> f64 {
    let after = readings.partition_point(|(read, _)| *read < time);
    match (
        after.checked_sub(1).map(|at| readings[at]),
        readings.get(after),
    ) {
        (Some((from, low)), Some(&(to, high))) => {
            let share = (time - from) as f64 / (to - from).max(1) as f64;
            low + (high - low) * share
        }
        (Some((_, last)), None) => last,
        (None, Some(&(_, first))) => first,
        (None, None) => 0.0,
    }
}
