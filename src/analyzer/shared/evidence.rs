//! The judge's intake: takes what analyzers relay, from the owner of each shard alone, each batch once.
//!
//! One task. Its queue holds [`DEPTH`] frames; relays wait when it is full. It ends when the last relay and its handle are gone.
//!
//! Nothing is judged before all owners have told what they have kept ([`FIRST`] at most). Hosts of a shard whose owner is gone, or has
//! just begun, are not silent: their agents find their new analyzer first.
//!
//! A judge that does not reach the database cannot know whether another one judges by now. All agents of an analyzer that fall silent
//! then have been given to another one, as far as it knows, and it blames none of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::here::Here;
use crate::analysis::admission::Watermark;
use crate::analysis::clocks::{Clocks, is_corrected};
use crate::analysis::report::Sender;
use crate::analysis::shards::{Fence, MemberId, Seen, ShardId};
use crate::analyzer::state::{StateHandle, Taken, Told};
use crate::id::{AgentId, HostName};
use crate::net::limit::LogLimit;
use crate::rpc::convert::FieldError;
use crate::rpc::relay::{Content, Frame, FrameShard, Item, Reader};
use crate::rpc::results::{Ends, Received};
use crate::rpc::shards::ShardEpoch;
use crate::time::{Clock, Nanos, WallTime};

/// Frames that wait.
const DEPTH: usize = 4;
/// How long a judge that begins waits for what owners have kept.
const FIRST: Duration = Duration::from_secs(3);
/// How often shards without a word are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// An owner sends a frame twice a second: after so long without one its shards are without a word.
const SILENT: Duration = Duration::from_millis(1_200);
/// A judge that begins does not know since when uploads could not arrive: for about so long, as the one before it is given up after 3 s.
const BLIND: Duration = Duration::from_secs(10);
/// For so long nobody can have taken over from a judge that has renewed its lease, with some room.
const SURE: Duration = Duration::from_secs(2);
/// How long the agents of a shard have to find its new owner.
const MOVING: Duration = Duration::from_secs(5);
/// A spool of which nothing came for so long is forgotten: what is kept of it anywhere is older.
const FORGET: Duration = Duration::from_mins(5);
/// How often old spools are looked for.
const FORGETTING: Duration = Duration::from_secs(30);

/// A frame on its way.
struct Arrived {
    from: MemberId,
    frame: Frame,
    /// How many items were refused.
    reply: oneshot::Sender<u64>,
}

/// For the relays.
#[derive(Clone)]
pub(super) struct EvidenceHandle {
    /// Of the judge's lease.
    pub(super) epoch: i64,
    frames: mpsc::Sender<Arrived>,
    /// What batches say about RNICs, by any relay.
    ends: Arc<Ends>,
}

impl EvidenceHandle {
    /// For the frames of a relay that begins.
    pub(super) fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.ends))
    }

    /// Takes a frame; gives how many of its items were refused, because another analyzer has their shard. `None` when the judge ends.
    pub(super) async fn take(&self, from: MemberId, frame: Frame) -> Option<u64> {
        let (reply, answer) = oneshot::channel();
        let arrived = Arrived { from, frame, reply };
        self.frames.send(arrived).await.ok()?;
        answer.await.ok()
    }
}

/// The intake, started.
pub(super) struct Started<F> {
    pub(super) handle: EvidenceHandle,
    /// True as soon as the owners have told what they have kept.
    pub(super) replayed: watch::Receiver<bool>,
    /// To be run.
    pub(super) task: F,
}

/// Gives the task of a judge that knows nothing yet.
pub(super) fn start(
    here: Here,
    epoch: i64,
    clock_tolerance: Duration,
    state: StateHandle,
    clock: Arc<dyn Clock>,
) -> Started<impl Future<Output = ()> + Send> {
    let (frames, queue) = mpsc::channel(DEPTH);
    let (done, replayed) = watch::channel(false);
    let evidence = Evidence {
        here,
        state,
        clocks: Clocks::new(clock_tolerance),
        clock,
        fence: Fence::default(),
        spools: HashMap::new(),
        shards: HashMap::new(),
        uploads: HashMap::new(),
        caught_up: HashSet::new(),
        done,
        begun: Instant::now(),
        forgotten: Instant::now(),
        lines: LogLimit::new(5, Duration::from_secs(10)),
    };
    Started {
        handle: EvidenceHandle {
            epoch,
            frames,
            ends: Arc::default(),
        },
        replayed,
        task: evidence.run(queue),
    }
}

/// What was taken of one spool.
struct Spool {
    seen: Seen,
    used: Instant,
}

/// What is known of one shard.
struct Shard {
    epoch: i64,
    /// When its owner began, as far as is known here.
    since: Instant,
    /// When its owner said something last.
    heard: Option<Instant>,
    /// The same, whoever owned it then.
    word: WallTime,
    /// Since when uploads of its hosts may not arrive; `None` while they do.
    cut_off: Option<WallTime>,
    hosts: HashSet<HostName>,
}

struct Evidence {
    here: Here,
    state: StateHandle,
    /// Of the agents.
    clocks: Clocks,
    clock: Arc<dyn Clock>,
    fence: Fence,
    spools: HashMap<Sender, Spool>,
    shards: HashMap<ShardId, Shard>,
    /// When agents of each analyzer sent a batch last.
    uploads: HashMap<MemberId, Instant>,
    /// Analyzers that have told what they have kept.
    caught_up: HashSet<MemberId>,
    done: watch::Sender<bool>,
    begun: Instant,
    forgotten: Instant,
    lines: LogLimit,
}

impl Evidence {
    async fn run(mut self, mut queue: mpsc::Receiver<Arrived>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                arrived = queue.recv() => match arrived {
                    Some(arrived) => self.take(arrived).await,
                    None => return,
                },
                _ = looks.tick() => self.look().await,
            }
        }
    }

    /// Follows the owners, and finds shards without a word.
    async fn look(&mut self) {
        self.follow();
        if !*self.done.borrow() && (self.is_complete() || self.begun.elapsed() >= FIRST) {
            self.done.send_replace(true);
        }
        let mut waited_for = Vec::new();
        let is_sure = self.here.renewed.borrow().elapsed() < SURE;
        let left: HashSet<ShardId> = if is_sure {
            HashSet::new()
        } else {
            let shards = self.shards.keys().copied();
            shards.filter(|id| self.has_no_agents(*id)).collect()
        };
        for (id, shard) in &mut self.shards {
            let is_silent = shard.heard.is_none_or(|heard| heard.elapsed() >= SILENT);
            if is_silent || left.contains(id) || shard.since.elapsed() < MOVING {
                let since = *shard.cut_off.get_or_insert(shard.word);
                waited_for.extend(shard.hosts.iter().map(|host| (host.clone(), since)));
            } else {
                shard.cut_off = None;
            }
        }
        if !waited_for.is_empty() {
            self.state.wait_for(waited_for).await;
        }
        if self.forgotten.elapsed() >= FORGETTING {
            self.forgotten = Instant::now();
            self.spools.retain(|_, spool| spool.used.elapsed() < FORGET);
        }
    }

    /// Whether no agent uploads to the owner of a shard.
    fn has_no_agents(&self, shard: ShardId) -> bool {
        let owner = self.fence.table().get(shard).owner;
        let newest = owner.and_then(|owner| self.uploads.get(&owner));
        newest.is_none_or(|newest| newest.elapsed() >= SILENT)
    }

    fn follow(&mut self) {
        let fleet = Arc::clone(&self.here.fleet.borrow());
        self.fence.follow(&fleet.table);
        let before = self.clock.wall() + (Nanos::ZERO - Nanos::from(BLIND));
        for (id, owned) in self.fence.table().iter() {
            let shard = self.shards.entry(id).or_insert_with(|| Shard {
                epoch: owned.epoch,
                since: Instant::now(),
                heard: None,
                word: before,
                cut_off: Some(before),
                hosts: HashSet::new(),
            });
            if shard.epoch != owned.epoch {
                shard.cut_off.get_or_insert(shard.word);
                (shard.epoch, shard.since, shard.heard) = (owned.epoch, Instant::now(), None);
            }
        }
    }

    /// Whether all owners have told what they have kept.
    fn is_complete(&self) -> bool {
        let mut owners = self.fence.table().iter().map(|(_, owned)| owned.owner);
        owners.all(|owner| owner.is_none_or(|owner| self.caught_up.contains(&owner)))
    }

    async fn take(&mut self, arrived: Arrived) {
        let Arrived { from, frame, reply } = arrived;
        self.follow();
        let mut stale = 0;
        let mut taken = Vec::new();
        for FrameShard { shard, items } in frame.shards {
            let count = items.len() as u64;
            match self.admit(from, shard) {
                Ok(shard) => {
                    for item in items {
                        match item.map(|item| self.read(item, shard)) {
                            Ok(Some(Said::Batch(batch))) => taken.push(*batch),
                            Ok(Some(Said::State(told))) => self.state.told(*told).await,
                            Ok(None) => {}
                            Err(why) => self.refuse(from, &why.to_string(), 1),
                        }
                    }
                }
                Err(why) => {
                    stale += count;
                    if count > 0 {
                        self.refuse(from, &why, count);
                    }
                }
            }
        }
        if frame.caught_up {
            self.caught_up.insert(from);
        }
        if !taken.is_empty() {
            self.uploads.insert(from, Instant::now());
            self.state.taken(taken).await;
        }
        // A relay that has gone needs no answer.
        let _ = reply.send(stale);
    }

    /// Lets the owner of the shard's newest epoch through alone.
    fn admit(
        &mut self,
        from: MemberId,
        shard: Result<ShardEpoch, FieldError>,
    ) -> Result<ShardId, String> {
        let ShardEpoch { shard, epoch } = shard.map_err(|error| error.to_string())?;
        self.fence
            .admit(shard, from, epoch)
            .map_err(|stale| stale.to_string())?;
        if let Some(shard) = self.shards.get_mut(&shard) {
            shard.heard = Some(Instant::now());
            shard.word = self.clock.wall();
        }
        Ok(shard)
    }

    fn refuse(&mut self, from: MemberId, why: &str, items: u64) {
        if let Some(suppressed) = self.lines.admit(self.clock.host()) {
            tracing::warn!(
                analyzer = from.0,
                why,
                items,
                suppressed,
                "evidence was refused"
            );
        }
    }

    /// What an item says; `None` for what was taken before.
    fn read(&mut self, item: Item, shard: ShardId) -> Option<Said> {
        let now = self.clock.wall();
        let Item {
            sender,
            host,
            version,
            again,
            late,
            content,
        } = item;
        if let Some(shard) = self.shards.get_mut(&shard)
            && !shard.hosts.contains(&host)
        {
            shard.hosts.insert(host.clone());
        }
        let (mut received, standing) = match content {
            Content::Batch { received, standing } => (*received, standing),
            Content::State(state) => {
                return Some(Said::State(Box::new(Told {
                    sender,
                    host,
                    version,
                    state: *state,
                })));
            }
        };
        let spool = self.spools.entry(sender.clone()).or_insert_with(|| Spool {
            seen: Seen::default(),
            used: Instant::now(),
        });
        spool.used = Instant::now();
        if !spool.seen.take(received.batch.sequence) {
            self.here.metrics.uploads.batches_duplicate.inc();
            return None;
        }
        let held = spool.seen.held();
        let clock = self.clock_of(&sender.agent, &received, (again || late, now));
        if is_corrected(clock) {
            received.batch.move_by(Nanos::ZERO - clock);
        }
        Some(Said::Batch(Box::new(Taken {
            mark: Watermark {
                sender,
                host,
                sequence: standing.newest,
                taken: standing.taken,
                lost: standing.lost,
                updated: now,
            },
            version,
            received: Some(received),
            replayed: again,
            clock,
            held,
            at: now,
            room: None,
        })))
    }

    /// By how much the agent's clock is ahead. When a batch of before arrives says nothing about it.
    fn clock_of(
        &mut self,
        agent: &AgentId,
        received: &Received,
        (again, now): (bool, WallTime),
    ) -> Nanos {
        if again {
            self.clocks.known(agent)
        } else {
            self.clocks.observe(agent, &received.batch.interval, now)
        }
    }
}

/// What an item says.
enum Said {
    Batch(Box<Taken>),
    State(Box<Told>),
}
