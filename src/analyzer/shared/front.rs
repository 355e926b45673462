//! Takes batches of the shards that this analyzer owns: decides which are new, keeps them for the judge, acknowledges them.
//!
//! One task. It ends when the last upload stream is gone. Each spool is known for one epoch of its shard: when the shard has another
//! owner, or was another's meanwhile, the task begins with it anew, and asks the agent for what it has kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Code;

use super::here::Here;
use super::log::{Content, Item};
use crate::analysis::admission::{Admission, Watermark};
use crate::analysis::report::Sender;
use crate::analysis::shards::Seen;
use crate::analyzer::intake::{Greeting, Request, StoreFailure, Submission, Welcome, too_far};
use crate::analyzer::state::Told;
use crate::rpc::relay::Standing;
use crate::rpc::shards::ShardEpoch;
use crate::store::analyzers::AnalyzerFleet;
use crate::time::Clock;

/// Spools that are known at once.
const MOST_SPOOLS: usize = 200_000;
/// A spool of which nothing came for so long is forgotten: what its agent has kept is older.
const FORGET: Duration = Duration::from_mins(5);
/// How often old spools are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// What is known of one spool, in one epoch of its shard.
struct Spool {
    shard: ShardEpoch,
    seen: Seen,
    mark: Watermark,
    used: Instant,
}

/// The task.
pub(super) struct Front {
    here: Here,
    clock: Arc<dyn Clock>,
    spools: HashMap<Sender, Spool>,
}

impl Front {
    /// Knows no spool yet.
    pub(super) fn new(here: Here, clock: Arc<dyn Clock>) -> Self {
        Self {
            here,
            clock,
            spools: HashMap::new(),
        }
    }

    /// Works off the queue until its last sender is gone.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_followed = true;
        loop {
            tokio::select! {
                request = queue.recv() => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                changed = self.here.fleet.changed(), if is_followed => {
                    // Without the place in the database the analyzer ends.
                    is_followed = changed.is_ok();
                    self.follow();
                }
                _ = looks.tick() => self.spools.retain(|_, spool| spool.used.elapsed() < FORGET),
            }
        }
    }

    /// Forgets what belongs to another analyzer.
    fn follow(&mut self) {
        let fleet = Arc::clone(&self.here.fleet.borrow_and_update());
        let me = self.here.id;
        let owns = |shard: ShardEpoch| {
            let owned = fleet.table.get(shard.shard);
            owned.owner == Some(me) && owned.epoch == shard.epoch
        };
        self.spools.retain(|_, spool| owns(spool.shard));
        self.here.log.retain(owns);
        let owned = i64::try_from(fleet.table.of(me).count()).unwrap_or(i64::MAX);
        self.here.metrics.shared.shards_owned.set(owned);
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Hello(greeting, reply) => {
                // A stream that has gone needs no answer.
                let _ = reply.send(self.greet(&greeting));
            }
            Request::Batch(submission) => self.submit(*submission),
            Request::Told(told, shard) => self.tell(*told, shard),
        }
    }

    /// The shard as this analyzer owns it: that of the agent's hello, or for an agent that was told nothing any one.
    fn owned(&self, wanted: Option<ShardEpoch>) -> Result<ShardEpoch, StoreFailure> {
        let fleet = self.here.fleet.borrow();
        match wanted {
            Some(wanted) => owned(&fleet, self.here.id, wanted),
            None => {
                let any = fleet.table.of(self.here.id).next().map(|shard| ShardEpoch {
                    shard,
                    epoch: fleet.table.get(shard).epoch,
                });
                any.ok_or_else(|| unavailable("this analyzer has no shard yet".to_owned()))
            }
        }
    }

    fn greet(&mut self, greeting: &Greeting) -> Result<Welcome, StoreFailure> {
        let shard = self.owned(greeting.shard)?;
        let spool = self.spool(&greeting.sender, shard)?;
        if greeting.shard.is_none() {
            return Ok(Welcome {
                acknowledged: spool.mark.sequence,
                seen_since: 0,
            });
        }
        spool.mark.sequence = spool.mark.sequence.max(greeting.acknowledged);
        Ok(Welcome {
            acknowledged: spool.mark.sequence,
            seen_since: spool.seen.whole_since(spool.mark.sequence),
        })
    }

    /// What is known of a spool in this epoch.
    fn spool(&mut self, sender: &Sender, shard: ShardEpoch) -> Result<&mut Spool, StoreFailure> {
        if self.spools.len() >= MOST_SPOOLS && !self.spools.contains_key(sender) {
            return Err(unavailable(format!(
                "this analyzer knows {MOST_SPOOLS} spools, and has no room for another one"
            )));
        }
        let now = self.clock.wall();
        let fresh = || Spool {
            shard,
            seen: Seen::default(),
            mark: Watermark::new(sender.clone(), crate::id::HostName::new(""), now),
            used: Instant::now(),
        };
        let spool = self.spools.entry(sender.clone()).or_insert_with(fresh);
        if spool.shard != shard {
            *spool = fresh();
        }
        spool.used = Instant::now();
        Ok(spool)
    }

    fn submit(&mut self, submission: Submission) {
        let Submission {
            sender,
            host,
            version,
            received,
            payload,
            room,
            shard,
            reply,
        } = submission;
        let sequence = received.batch.sequence;
        let is_told = shard.is_some();
        drop(payload);
        let now = self.clock.wall();
        let taken = self.owned(shard).and_then(|shard| {
            let spool = self.spool(&sender, shard)?;
            let again = match spool.mark.admit(sequence, now) {
                Admission::New { .. } => false,
                Admission::Duplicate => true,
                Admission::TooFar { limit } => return Err(too_far(&spool.mark, sequence, limit)),
            };
            let is_new = spool.seen.take(sequence) && (is_told || !again);
            Ok((shard, spool.mark.clone(), is_new.then_some(again)))
        });
        let answer = taken.map(|(shard, mark, is_new)| {
            let Some(again) = is_new else {
                self.here.metrics.uploads.batches_duplicate.inc();
                return mark.sequence;
            };
            if again {
                self.here.metrics.shared.batches_again.inc();
            }
            self.here.log.push(Item {
                shard,
                sender,
                host,
                version,
                content: Content::Batch(
                    self.here.log.condense(received),
                    Standing {
                        newest: mark.sequence,
                        taken: mark.taken,
                        lost: mark.lost,
                    },
                ),
                at: Instant::now(),
                late: again,
            });
            mark.sequence
        });
        drop(room);
        // A stream that has gone needs no answer.
        let _ = reply.send(answer);
    }

    fn tell(&self, told: Told, shard: Option<ShardEpoch>) {
        // The stream ends with its next batch, and says it to the right analyzer.
        let Ok(shard) = self.owned(shard) else {
            return;
        };
        self.here.log.push(Item {
            shard,
            sender: told.sender,
            host: told.host,
            version: told.version,
            content: Content::State((&told.state).into()),
            at: Instant::now(),
            late: false,
        });
    }
}

fn owned(
    fleet: &AnalyzerFleet,
    me: crate::analysis::shards::MemberId,
    wanted: ShardEpoch,
) -> Result<ShardEpoch, StoreFailure> {
    let ShardEpoch { shard, epoch } = wanted;
    let newest = fleet.table.get(shard);
    if newest.owner == Some(me) && newest.epoch == epoch {
        return Ok(wanted);
    }
    let why = if newest.epoch < epoch {
        format!(
            "shard {shard} is to be this analyzer's in epoch {epoch}, and it does not know that yet"
        )
    } else {
        format!(
            "shard {shard} is another analyzer's by now (epoch {}, the agent was told {epoch}): the controller names it",
            newest.epoch
        )
    };
    Err(unavailable(why))
}

fn unavailable(text: String) -> StoreFailure {
    let code = Code::Unavailable;
    StoreFailure { code, text }
}
