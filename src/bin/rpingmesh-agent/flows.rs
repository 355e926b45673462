//! `flows`: the services' connections, seen by a tracer of its own.

mod output;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rpingmesh::agent::pods;
use rpingmesh::config::agent::{AgentConfig, TracingChoice};
use rpingmesh::config::program::{Failure, run_to_end, start_logging, stop_on_signal};
use rpingmesh::error::describe;
use rpingmesh::service::flow::FlowTable;
use rpingmesh::service::naming::Naming;
use rpingmesh::service::trace::{TraceMessage, TracerCounters, TracerStatus};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::output::{Output, Took};
use crate::cli::{Configured, runtime};
use crate::{tracer, transports};

/// How many queue pairs the table holds.
const CAPACITY: usize = 1 << 18;

/// How long the tracer may take for its first listing: much less, but for a host that is starved.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `flows`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command line, each by itself"
)]
pub(crate) struct FlowsArgs {
    /// Print each change until SIGTERM or Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print one JSON object per connection or change
    #[arg(long)]
    json: bool,
    /// Also list queue pairs without a connection: datagrams, the kernel's own, not connected yet
    #[arg(long)]
    all: bool,
    /// Say what has named each service: a rule of the configuration, Kubernetes, or the cgroup
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    configured: Configured,
}

/// What came of the tracer until its first listing.
struct TracerView {
    table: FlowTable,
    status: TracerStatus,
    counters: TracerCounters,
    took: Took,
}

pub(crate) fn run(args: FlowsArgs) -> Result<(), Failure> {
    let settings = args.configured.load()?;
    start_logging(&settings.log)?;
    let config = settings.validate()?;
    let output = Output {
        json: args.json,
        all: args.all,
        explain: args.explain,
        naming: Naming::new(&config.settings.services.rules),
    };
    run_to_end(runtime()?, show(config, output, args.watch))
}

/// Asks Kubernetes once, where that is configured; connections are shown without its names, too.
async fn name_pods(config: &AgentConfig, naming: &mut Naming) {
    let Some(source) = &config.kubernetes else {
        return;
    };
    match pods::fetch(source).await {
        Ok(names) => naming.set_pods(Arc::new(names)),
        Err(error) => {
            tracing::warn!(error = describe(&error), "Kubernetes does not name pods");
        }
    }
}

async fn show(config: AgentConfig, mut output: Output, watch: bool) -> Result<(), Failure> {
    let stop = stop_on_signal().map_err(Failure::run)?;
    name_pods(&config, &mut output.naming).await;
    let (choice, prover) = (config.settings.tracing, transports::prover(&config));
    let output = &output;
    let variables = config.settings.services.variables();
    let started = Instant::now();
    let follow = choice != TracingChoice::Off;
    let mut messages =
        tracer::start(follow, prover, &variables, stop.clone()).map_err(Failure::run)?;
    let mut seen = TracerView {
        table: FlowTable::new(CAPACITY),
        status: TracerStatus::Off,
        counters: TracerCounters::default(),
        took: Took::default(),
    };
    seen.begin(&mut messages, started).await;
    let missing = match &seen.status {
        TracerStatus::Unavailable(why) => Some(why.to_string()),
        _ => None,
    };
    if choice == TracingChoice::On
        && let Some(why) = missing
    {
        return Err(Failure::run(format!("`tracing` is on, but {why}")));
    }
    output.table(&seen.table).map_err(Failure::run)?;
    output
        .tracer(&seen.status, seen.counters, seen.took)
        .map_err(Failure::run)?;
    if watch {
        seen.watch(&mut messages, output, &stop).await?;
    }
    Ok(())
}

impl TracerView {
    /// Takes everything in until the first listing.
    async fn begin(&mut self, messages: &mut mpsc::Receiver<TraceMessage>, started: Instant) {
        while let Ok(Some(message)) = timeout_at(started + PATIENCE, messages.recv()).await {
            self.take(&message);
            match message {
                TraceMessage::Listing(_) => {
                    self.took.complete = Some(started.elapsed());
                    return;
                }
                TraceMessage::Status(TracerStatus::Attached { .. }) => {
                    self.took.attached = Some(started.elapsed());
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, message: &TraceMessage) {
        self.table.take(message);
        match message {
            TraceMessage::Status(status) => self.status = status.clone(),
            TraceMessage::Counters(counters) => self.counters = *counters,
            TraceMessage::Event(_) | TraceMessage::Listing(_) => {}
        }
    }

    /// Prints changes until it is told to stop.
    async fn watch(
        &mut self,
        messages: &mut mpsc::Receiver<TraceMessage>,
        output: &Output,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        self.table.drain_changes();
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => break,
                message = messages.recv() => message,
            };
            let Some(message) = message else { break };
            self.take(&message);
            for change in self.table.drain_changes() {
                output.change(&change).map_err(Failure::run)?;
            }
            if let TraceMessage::Status(_) = message {
                output
                    .tracer(&self.status, self.counters, Took::default())
                    .map_err(Failure::run)?;
            }
        }
        output
            .tracer(&self.status, self.counters, Took::default())
            .map_err(Failure::run)
    }
}
