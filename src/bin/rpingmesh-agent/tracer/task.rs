//! The tracer's thread: attaches, lists, forwards, and starts over when `ib_core` was loaded again.

use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use rpingmesh::error::describe;
use rpingmesh::service::proof;
use rpingmesh::service::trace::{
    Listing, TraceMessage, TracedEvent, TracerCounters, TracerStatus, Unseen,
};
use rpingmesh::time::{Clock as _, HostTime, SystemClock};
use rpingmesh_ebpf_event::{EventKind, QpEvent, present};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attach::Programs;
use super::cgroups::Cgroups;
use super::environment::{Environments, Recent};
use super::ib_core::{self, IbCore};
use super::list::{self, ListError};
use super::modules::Modules;
use super::prove::{Prover, Shown, prove};
use super::ring::{drain, wait};
use super::tally::Tally;

/// How often `ib_core` and the counters are looked at. A reload that falls between two looks shows in the module's
/// inode.
const LOOK: Duration = Duration::from_millis(250);

/// How often is listed where nothing is followed or no end is seen, and tried again what may pass.
const LIST_AGAIN: Duration = Duration::from_secs(2);

/// How soon after one listing the next may follow when events were lost.
const RECOVER: Duration = Duration::from_secs(1);

/// How many events are taken before the other duties have their turn.
const BATCH: usize = 512;

/// How long events gather after the first before they are taken. The kernel wakes this thread only for an event that finds
/// all others taken (`bpf_ringbuf_commit`, Linux `kernel/bpf/ringbuf.c`): taken one by one, each would, and the service's
/// call that caused it would wait for that.
const GATHER: Duration = Duration::from_millis(1);

/// Why a part of the work ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Told to stop, or nobody listens any more.
    Stopped,
    /// `ib_core` came, went, or was loaded again; or it is time to try again.
    Changed,
}

/// Nobody listens any more.
struct Closed;

/// See the module.
pub(super) struct Task {
    follow: bool,
    prover: Prover,
    out: mpsc::Sender<TraceMessage>,
    stop: CancellationToken,
    cgroups: Cgroups,
    environments: Recent,
    modules: Modules,
    status: Option<TracerStatus>,
    tally: Tally,
    told: TracerCounters,
    attached: u64,
}

impl Task {
    pub(super) fn new(
        follow: bool,
        prover: Prover,
        variables: &[String],
        out: mpsc::Sender<TraceMessage>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            follow,
            prover,
            out,
            stop,
            cgroups: Cgroups::new(),
            environments: Recent::new(Environments::of(variables)),
            modules: Modules::default(),
            status: None,
            tally: Tally::default(),
            told: TracerCounters::default(),
            attached: 0,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(End::Changed) => {}
                Ok(End::Stopped) | Err(Closed) => return,
            }
        }
    }

    fn turn(&mut self) -> Result<End, Closed> {
        let core = IbCore::now();
        if core == IbCore::Absent {
            return self.without_ib_core(core);
        }
        if !self.follow {
            self.send_status(TracerStatus::Off)?;
            return self.list_only(core, false);
        }
        let devices = ib_core::devices();
        let attached = Programs::attach().and_then(|(programs, mut ring)| {
            let shown = prove(&programs, &mut ring, &mut self.tally, &self.prover)?;
            Ok((programs, ring, shown))
        });
        match attached {
            Ok((programs, ring, shown)) => self.attached((core, devices), programs, ring, shown),
            Err(why) => {
                self.tally.detached();
                let again = why.may_pass();
                self.send_status(TracerStatus::Unavailable(why))?;
                self.list_only(core, again)
            }
        }
    }

    fn without_ib_core(&mut self, core: IbCore) -> Result<End, Closed> {
        self.send_status(if self.follow {
            TracerStatus::WaitingForIbCore
        } else {
            TracerStatus::Off
        })?;
        // Without it there is no queue pair.
        self.send(TraceMessage::Listing(Listing {
            qps: Vec::new(),
            taken_from: SystemClock.host(),
            complete: true,
            events: Vec::new(),
        }))?;
        while IbCore::now() == core {
            if self.is_over() {
                return Ok(End::Stopped);
            }
            std::thread::sleep(LOOK);
        }
        Ok(End::Changed)
    }

    /// Lists now and then; where it is worth while to try `again`, only once. A device that comes may show what none has shown.
    fn list_only(&mut self, core: IbCore, again: bool) -> Result<End, Closed> {
        let devices = ib_core::devices();
        loop {
            self.list()?;
            let listed = Instant::now();
            while listed.elapsed() < LIST_AGAIN {
                if self.is_over() {
                    return Ok(End::Stopped);
                }
                if IbCore::now() != core || (self.follow && ib_core::devices() != devices) {
                    return Ok(End::Changed);
                }
                std::thread::sleep(LOOK);
            }
            if again {
                return Ok(End::Changed);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.out.is_closed()
    }

    /// Forwards events until `ib_core` changes.
    fn attached(
        &mut self,
        there: (IbCore, Vec<String>),
        mut programs: Programs,
        mut ring: RingBuf<MapData>,
        shown: Shown,
    ) -> Result<End, Closed> {
        self.attached += 1;
        // After a reload numbers begin anew.
        self.modules = Modules::default();
        tracing::info!(
            programs = programs.len(),
            times = self.attached,
            "follows queue pairs"
        );
        let since = SystemClock.host();
        let end = self.forward(there, since, (&mut programs, &mut ring), shown);
        self.ask(&programs);
        self.tally.detached();
        end
    }

    fn forward(
        &mut self,
        (core, devices): (IbCore, Vec<String>),
        since: HostTime,
        (programs, ring): (&mut Programs, &mut RingBuf<MapData>),
        Shown { unproved, others }: Shown,
    ) -> Result<End, Closed> {
        let is_unproved = unproved.is_some();
        let lists_again = programs.unseen.contains(&Unseen::Destructions);
        let status = TracerStatus::Attached {
            since,
            unseen: programs.unseen.clone(),
            devx: ib_core::has_mlx5(),
            unproved,
        };
        self.send_status(status.clone())?;
        self.list_followed(programs, ring, others)?;
        let mut healed = self.told.lost();
        let mut listed = Instant::now();
        let mut looked = Instant::now();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            wait(ring, LOOK.saturating_sub(looked.elapsed()));
            std::thread::sleep(GATHER);
            drain(ring, BATCH, &mut self.tally, |event| batch.push(event));
            self.send_events(&mut batch)?;
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            if self.is_over() {
                return Ok(End::Stopped);
            }
            if IbCore::now() != core || (is_unproved && ib_core::devices() != devices) {
                return Ok(End::Changed);
            }
            self.send_devx_status(&status)?;
            self.tally.passed_over(programs.passed_over());
            if self.tally.look() {
                self.tally.read(programs.counts());
            }
            self.send_counters()?;
            let lost = self.told.lost() > healed && listed.elapsed() >= RECOVER;
            if lost || (lists_again && listed.elapsed() >= LIST_AGAIN) {
                healed = self.told.lost();
                self.list_followed(programs, ring, Vec::new())?;
                listed = Instant::now();
            }
        }
    }

    /// Lists while the programs tell of each queue pair that the kernel looks at for it. What they tell, and what they told
    /// before, goes with the
    /// listing, which alone knows whose a queue pair is: a connection from before is never one of an unknown service.
    fn list_followed(
        &mut self,
        programs: &mut Programs,
        ring: &mut RingBuf<MapData>,
        mut events: Vec<QpEvent>,
    ) -> Result<(), Closed> {
        programs.set_listing(true);
        let environments = self.environments.environments();
        let listing = list::list(&self.cgroups, environments, SystemClock.host(), || {
            drain(ring, usize::MAX, &mut self.tally, |event| {
                events.push(event);
            });
        });
        programs.set_listing(false);
        drain(ring, usize::MAX, &mut self.tally, |event| {
            events.push(event);
        });
        match listing {
            Ok(mut listing) => {
                self.modules.name(&mut events);
                let others = events.drain(..).filter(|event| !proof::is_specimen(event));
                listing.events = others.map(|event| self.traced(event)).collect();
                self.send(TraceMessage::Listing(listing))?;
            }
            Err(error) => {
                no_listing(&error);
                self.send_events(&mut events)?;
            }
        }
        self.ask(programs);
        self.send_counters()
    }

    fn ask(&mut self, programs: &Programs) {
        self.tally.passed_over(programs.passed_over());
        self.tally.read(programs.counts());
    }

    fn list(&mut self) -> Result<(), Closed> {
        let environments = self.environments.environments();
        match list::list(&self.cgroups, environments, SystemClock.host(), || {}) {
            Ok(listing) => self.send(TraceMessage::Listing(listing)),
            Err(error) => {
                no_listing(&error);
                Ok(())
            }
        }
    }

    fn send_events(&mut self, events: &mut Vec<QpEvent>) -> Result<(), Closed> {
        self.modules.name(events);
        for event in events.drain(..).filter(|event| !proof::is_specimen(event)) {
            let traced = self.traced(event);
            self.send(TraceMessage::Event(traced))?;
        }
        Ok(())
    }

    /// An event with what belongs to it outside of the kernel's memory.
    fn traced(&mut self, event: QpEvent) -> TracedEvent {
        let (cgroup, variables) = match event.kind() {
            // A kernel module has neither.
            _ if event.has(present::KERNEL) => Default::default(),
            EventKind::Create | EventKind::Modify => (
                self.cgroups.path(event.cgroup_id, event.tgid),
                self.environments.read(event.tgid),
            ),
            // Says nothing of the owner.
            EventKind::Query | EventKind::Destroy | EventKind::Unknown(_) => Default::default(),
        };
        TracedEvent {
            event,
            cgroup,
            variables,
        }
    }

    fn send_status(&mut self, status: TracerStatus) -> Result<(), Closed> {
        if self.status.as_ref() == Some(&status) {
            return Ok(());
        }
        match &status {
            TracerStatus::Unavailable(_) => tracing::warn!(%status, "service tracing"),
            TracerStatus::Attached { .. } | TracerStatus::WaitingForIbCore | TracerStatus::Off => {
                tracing::info!(%status, "service tracing");
            }
        }
        self.status = Some(status.clone());
        self.send(TraceMessage::Status(status))
    }

    /// A driver may come after the RDMA core.
    fn send_devx_status(&mut self, attached: &TracerStatus) -> Result<(), Closed> {
        let mut now = attached.clone();
        if let TracerStatus::Attached { devx, .. } = &mut now {
            *devx = ib_core::has_mlx5();
        }
        self.send_status(now)
    }

    fn send_counters(&mut self) -> Result<(), Closed> {
        let total = TracerCounters {
            reattached: self.attached.saturating_sub(1),
            ..self.tally.total()
        };
        if total == self.told {
            return Ok(());
        }
        self.told = total;
        self.send(TraceMessage::Counters(total))
    }

    fn send(&self, message: TraceMessage) -> Result<(), Closed> {
        self.out.blocking_send(message).map_err(|_| Closed)
    }
}

/// Between two looks ib_core may have gone.
fn no_listing(error: &ListError) {
    tracing::warn!(error = describe(error), "no listing of queue pairs");
}
