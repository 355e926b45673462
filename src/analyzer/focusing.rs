//! The task that tells the controller what to probe more.
//!
//! In: what the last run of the judge asks for (`watch`): only the newest matters. What has not changed is said again only as often as it
//! would expire. While the controller is away nothing is asked for: agents return to their lists by themselves. Cancelling is safe at any
//! point for the same reason.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::metrics::Metrics;
use super::view::Passed;
use crate::analysis::focus::VALID;
use crate::analysis::judge::Asked;
use crate::net::client::{ChannelError, channel};
use crate::net::limit::LogLimit;
use crate::net::tls::Security;
use crate::net::url::Url;
use crate::pinglist::focus::{FocusCounts, FocusList, FocusRequest, FocusedTuple, MOST_TUPLES};
use crate::rpc::v1;
use crate::rpc::v1::controller_service_client::ControllerServiceClient;
use crate::time::Clock;

/// How long the controller may take to answer: a later answer is about what has been replaced.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What has not changed is said again after this, before it expires.
const AGAIN: Duration = Duration::from_millis(2_500);

/// What the judge's task needs: where it leaves what is asked for, and what the controller has made of it.
pub(super) struct Asking {
    pub(super) asked: watch::Sender<Arc<Vec<Asked>>>,
    pub(super) passed: LastPassed,
}

/// What the controller has made of the newest request that it took.
#[derive(Debug, Clone, Default)]
pub(super) struct LastPassed(Arc<Mutex<Option<Passed>>>);

impl LastPassed {
    pub(super) fn get(&self) -> Option<Passed> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, passed: Passed) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(passed);
    }
}

/// The task.
pub(super) struct Focusing {
    server: Url,
    /// Whether its answers are counted: all controllers give the same.
    is_counted: bool,
    client: ControllerServiceClient<Channel>,
    asked: watch::Receiver<Arc<Vec<Asked>>>,
    passed: LastPassed,
    run: u64,
    number: u64,
    /// What the controller took last, and when.
    taken: (Arc<Vec<Asked>>, Option<Instant>),
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    lines: LogLimit,
}

impl Focusing {
    /// Connects at the first request.
    ///
    /// # Errors
    /// [`ChannelError`]: URL and TLS settings contradict each other.
    pub(super) fn new(
        (server, is_counted): (Url, bool),
        security: &Security,
        (asked, passed): (watch::Receiver<Arc<Vec<Asked>>>, LastPassed),
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ChannelError> {
        let channel = channel(&server, security)?;
        Ok(Self {
            server,
            is_counted,
            client: ControllerServiceClient::new(channel),
            asked,
            passed,
            run: u64::try_from(clock.wall().nanos()).unwrap_or(0),
            number: 0,
            taken: (Arc::default(), None),
            clock,
            metrics,
            lines: LogLimit::new(3, Duration::from_mins(1)),
        })
    }

    /// Tells the controller until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.asked.changed() => if changed.is_err() {
                    // The judge has ended, and with it the analyzer.
                    return stop.cancelled().await;
                },
            }
            let asked = Arc::clone(&self.asked.borrow_and_update());
            if stop.run_until_cancelled(self.tell(asked)).await.is_none() {
                return;
            }
        }
    }

    async fn tell(&mut self, asked: Arc<Vec<Asked>>) {
        let (known, at) = &self.taken;
        let is_standing = at.is_some_and(|at| at.elapsed() < AGAIN);
        if *known == asked && (asked.is_empty() || is_standing) {
            return;
        }
        self.number += 1;
        let request = FocusRequest {
            run: self.run,
            number: self.number,
            valid: VALID,
            list: list(&asked),
        };
        let call = self.client.focus(v1::FocusRequest::from(&request));
        let why = match tokio::time::timeout(TIMEOUT, call).await {
            Ok(Ok(answer)) => {
                let counts = FocusCounts::from(answer.into_inner());
                if self.is_counted {
                    self.metrics.focus_passed(counts);
                }
                self.passed.set((self.clock.wall(), counts));
                self.taken = (asked, Some(Instant::now()));
                return;
            }
            Ok(Err(status)) => format!("{} ({:?})", status.message(), status.code()),
            Err(_) => format!("no answer within {TIMEOUT:?}"),
        };
        self.taken = (Arc::default(), None);
        self.metrics.focus_failed();
        if let Some(suppressed) = self.lines.admit(self.clock.host()) {
            tracing::warn!(
                controller = %self.server, why, suppressed,
                "the controller does not take what is to be probed more: the pinglists are in force"
            );
        }
    }
}

/// What is asked for, by the RNIC that probes.
fn list(asked: &[Asked]) -> FocusList {
    let mut list = FocusList::new();
    for asked in asked.iter().take(MOST_TUPLES) {
        list.entry(asked.source).or_default().push(FocusedTuple {
            target: asked.target,
            port: asked.port,
            portions: asked.portions,
        });
    }
    list
}
