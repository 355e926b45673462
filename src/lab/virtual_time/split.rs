//! Several analyzers between agents and judge: what they pass on has to give what one analyzer sees.
//!
//! Each host's batches go to the owner of its ToRs' shard, are condensed there, framed, and read by the judge, as analyzers that share
//! a fleet do it ([`crate::rpc::relay`]). Now and then an owner is killed: its successor knows nothing, describes all paths anew, and
//! passes on again what agents have kept of the last seconds, which must count once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::analysis::report::{Batch, Path, Sender, SpoolId};
use crate::analysis::shards::{SHARDS, Seen, ShardId};
use crate::id::{AgentId, HostName, TorId};
use crate::rpc::relay::{
    Condensed, Content, FrameError, Outgoing, PathBook, Reader, Said, Standing, Told, frame,
};
use crate::rpc::results::{Ends, Received, Refusals};
use crate::rpc::shards::ShardEpoch;
use crate::transport::CompletionClock;

/// How many batches of each host are kept.
const KEPT: usize = 4;
/// An owner is killed once in so many seconds.
const KILLS: u32 = 10;

/// Several analyzers that pass on to one judge.
#[derive(Debug)]
pub(super) struct Split {
    random: ChaCha8Rng,
    /// The owner of each shard.
    owner_of: Vec<usize>,
    owners: Vec<Owner>,
    ends: Arc<Ends>,
    /// What the judge has counted of each host.
    seen: HashMap<HostName, Seen>,
    kept: HashMap<HostName, VecDeque<Batch>>,
    /// Owners that were killed, and batches that came again.
    pub(super) killed: u64,
    pub(super) again: u64,
}

/// One owner with its stream to the judge.
#[derive(Debug)]
struct Owner {
    book: PathBook,
    told: Told,
    reader: Reader,
    /// Batches of before, whose paths keep their numbers.
    log: VecDeque<Condensed>,
}

impl Owner {
    fn new(ends: &Arc<Ends>) -> Self {
        Self {
            book: PathBook::default(),
            told: Told::default(),
            reader: Reader::new(Arc::clone(ends)),
            log: VecDeque::new(),
        }
    }

    /// What the judge reads of these batches.
    fn pass(
        &mut self,
        batches: Vec<(HostName, Batch)>,
    ) -> Result<Vec<(HostName, Batch)>, FrameError> {
        let mut definitions: Vec<(u32, Path, CompletionClock)> = Vec::new();
        let mut condensed = Vec::new();
        for (host, batch) in batches {
            let refused = Refusals::default();
            let batch = Condensed::of(Received { batch, refused }, &mut self.book);
            batch.untold(&self.book, &mut self.told, &mut definitions);
            let sender = Sender {
                agent: AgentId::new(host.as_str()),
                spool: SpoolId(1),
            };
            condensed.push((sender, host, batch));
        }
        let items = condensed.iter().map(|(sender, host, batch)| Outgoing {
            sender,
            host,
            version: None,
            again: false,
            late: false,
            content: Said::Batch(batch, Standing::default()),
        });
        let shard = ShardEpoch {
            shard: ShardId::of_tors([]),
            epoch: 1,
        };
        let frame = frame(1, [(shard, items.collect())], &definitions, true)
            .unwrap_or_else(|error| unreachable!("zstd has memory: {error}"));
        let frame = self.reader.read(frame)?;
        self.log
            .extend(condensed.into_iter().map(|(.., batch)| batch));
        while self.log.len() > 16 * KEPT {
            if let Some(oldest) = self.log.pop_front() {
                oldest.release(&mut self.book);
            }
        }
        let items = frame.shards.into_iter().flat_map(|shard| shard.items);
        let batch = |item| match item {
            Ok(crate::rpc::relay::Item {
                host,
                content: Content::Batch { received, .. },
                ..
            }) => (host, received.batch),
            other => unreachable!("a batch was sent: {other:?}"),
        };
        Ok(items.map(batch).collect())
    }
}

impl Split {
    /// Among so many analyzers, each with a random part of the shards.
    pub(super) fn new(analyzers: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let ends = Arc::default();
        Self {
            owner_of: (0..SHARDS)
                .map(|_| random.random_range(0..analyzers))
                .collect(),
            owners: (0..analyzers).map(|_| Owner::new(&ends)).collect(),
            random,
            ends,
            seen: HashMap::new(),
            kept: HashMap::new(),
            killed: 0,
            again: 0,
        }
    }

    /// What the judge counts of a second's batches, in the order in which it comes there.
    pub(super) fn pass(
        &mut self,
        batches: Vec<(HostName, Vec<TorId>, Batch)>,
    ) -> Result<Vec<(HostName, Batch)>, FrameError> {
        let killed = (self.random.random_range(0..KILLS) == 0)
            .then(|| self.random.random_range(0..self.owners.len()));
        if let Some(killed) = killed {
            self.owners[killed] = Owner::new(&self.ends);
            self.killed += 1;
        }
        let mut of: Vec<Vec<(HostName, Batch)>> = vec![Vec::new(); self.owners.len()];
        for (host, tors, batch) in batches {
            let owner = self.owner_of[usize::from(ShardId::of_tors(&tors).number())];
            let kept = self.kept.entry(host.clone()).or_default();
            if Some(owner) == killed {
                // What is new comes first, then what was kept, the newest first.
                of[owner].push((host.clone(), batch.clone()));
                of[owner].extend(kept.iter().rev().map(|kept| (host.clone(), kept.clone())));
            } else {
                of[owner].push((host, batch.clone()));
            }
            kept.push_back(batch);
            if kept.len() > KEPT {
                kept.pop_front();
            }
        }
        let mut order: Vec<usize> = (0..of.len()).collect();
        order.shuffle(&mut self.random);
        let mut counted = Vec::new();
        for owner in order {
            for (host, batch) in self.owners[owner].pass(std::mem::take(&mut of[owner]))? {
                if self
                    .seen
                    .entry(host.clone())
                    .or_default()
                    .take(batch.sequence)
                {
                    counted.push((host, batch));
                } else {
                    self.again += 1;
                }
            }
        }
        Ok(counted)
    }
}
