//! What agents of this analyzer's shards have sent lately, in memory: for the judge, and for its successor.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::analysis::report::{Path, Sender};
use crate::id::{AgentVersion, HostName};
use crate::rpc::relay::{Condensed, PathBook, Standing, Told};
use crate::rpc::results::Received;
use crate::rpc::shards::ShardEpoch;
use crate::rpc::v1;
use crate::transport::CompletionClock;

/// How long what was sent is kept: what the longest window holds, and two slots.
const KEPT: Duration = Duration::from_secs(130);
/// What an item takes beside its batch, rounded up.
const OVERHEAD: usize = 256;
/// What a path that is described adds to a frame, with an end or two, rounded up.
const PATH: usize = 200;

/// One message of an agent.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) shard: ShardEpoch,
    pub(super) sender: Sender,
    pub(super) host: HostName,
    pub(super) version: Option<AgentVersion>,
    pub(super) content: Content,
    /// When it came.
    pub(super) at: Instant,
    /// The agent had sent it to another analyzer before.
    pub(super) late: bool,
}

/// What it says.
#[derive(Debug)]
pub(super) enum Content {
    /// A batch, and where its spool stands after it.
    Batch(Condensed, Standing),
    /// The agent as it is now.
    State(v1::AgentState),
}

impl Item {
    pub(super) fn bytes(&self) -> usize {
        match &self.content {
            Content::Batch(batch, _) => batch.bytes() + OVERHEAD,
            Content::State(_) => 2 * OVERHEAD,
        }
    }
}

/// How far one judge has been told.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Paths that were described to it.
    paths: Told,
    /// What agents say of themselves, and was said before.
    states: Vec<Arc<Item>>,
    /// The next that comes.
    next: u64,
    /// What came before is told from here downwards.
    before: u64,
}

impl Cursor {
    pub(super) const fn position(&self) -> Position {
        Position {
            next: self.next,
            before: self.before,
        }
    }
}

/// Up to where a judge has taken what it was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    next: u64,
    before: u64,
}

/// The log.
#[derive(Debug)]
struct Log {
    /// Rising in number from `first`; `None` for what belongs to another analyzer by now.
    items: VecDeque<Option<Arc<Item>>>,
    first: u64,
    bytes: usize,
    limit: usize,
    states: HashMap<Sender, Arc<Item>>,
    /// Numbers for the paths of all items.
    paths: PathBook,
}

impl Log {
    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    fn get(&self, number: u64) -> Option<&Arc<Item>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.items.get(at)?.as_ref()
    }

    fn push(&mut self, item: Item) {
        let now = item.at;
        let item = Arc::new(item);
        if matches!(item.content, Content::State(_)) {
            self.states.insert(item.sender.clone(), Arc::clone(&item));
        }
        self.bytes += item.bytes();
        self.items.push_back(Some(item));
        while let Some(front) = self.items.front() {
            let is_kept = front.as_ref().is_some_and(|oldest| {
                self.bytes <= self.limit && now.saturating_duration_since(oldest.at) <= KEPT
            });
            // What came last is told in any case.
            if is_kept || self.items.len() == 1 {
                break;
            }
            if let Some(Some(oldest)) = self.items.pop_front() {
                self.drop_item(&oldest);
            }
            self.first += 1;
        }
    }

    fn drop_item(&mut self, item: &Item) {
        self.bytes = self.bytes.saturating_sub(item.bytes());
        if let Content::Batch(batch, _) = &item.content {
            batch.release(&mut self.paths);
        }
    }

    fn retain(&mut self, owns: impl Fn(ShardEpoch) -> bool) {
        for at in 0..self.items.len() {
            if let Some(gone) = self.items[at].take_if(|item| !owns(item.shard)) {
                self.drop_item(&gone);
            }
        }
        self.states.retain(|_, item| owns(item.shard));
    }

    fn cursor(&self, told: Option<Position>, is_same: bool) -> Cursor {
        let next = told.map_or(self.first, |told| told.next);
        let before = told.filter(|_| is_same).map_or(next, |told| told.before);
        Cursor {
            paths: Told::default(),
            states: self.states.values().cloned().collect(),
            next,
            before,
        }
    }

    fn next(&self, cursor: &mut Cursor, most: usize) -> Portion {
        let mut portion = Portion::default();
        let mut bytes = 0;
        let told = &mut cursor.paths;
        let mut add = |item: &Arc<Item>, again: bool, portion: &mut Portion| {
            bytes += item.bytes();
            portion.items.push((Arc::clone(item), again));
            if let Content::Batch(batch, _) = &item.content {
                batch.untold(&self.paths, told, &mut portion.paths);
            }
            bytes + portion.paths.len() * PATH < most
        };
        cursor.next = cursor.next.max(self.first);
        while cursor.next < self.end() {
            let item = self.get(cursor.next);
            cursor.next += 1;
            if let Some(item) = item {
                portion.oldest = Some(
                    portion
                        .oldest
                        .map_or(item.at, |at: Instant| at.min(item.at)),
                );
                if !add(item, false, &mut portion) {
                    return portion;
                }
            }
        }
        while let Some(item) = cursor.states.pop() {
            if !add(&item, true, &mut portion) {
                return portion;
            }
        }
        while cursor.before > self.first {
            cursor.before -= 1;
            if let Some(item) = self.get(cursor.before)
                && matches!(item.content, Content::Batch(..))
                && !add(item, true, &mut portion)
            {
                return portion;
            }
        }
        portion.is_last = true;
        portion
    }
}

/// What is told at once.
#[derive(Debug, Default)]
pub(super) struct Portion {
    /// Each with whether it was there when the judge began to be told: another judge may know it.
    pub(super) items: Vec<(Arc<Item>, bool)>,
    /// Paths of theirs that the judge does not know.
    pub(super) paths: Vec<(u32, Path, CompletionClock)>,
    /// When the oldest of those came that are new.
    pub(super) oldest: Option<Instant>,
    /// Nothing is left.
    pub(super) is_last: bool,
}

/// The log, for the front that fills it and the relay that empties it.
#[derive(Debug, Clone)]
pub(super) struct SharedLog {
    log: Arc<Mutex<Log>>,
    news: Arc<Notify>,
}

impl SharedLog {
    /// Of at most so many bytes.
    pub(super) fn new(limit: u64) -> Self {
        let log = Log {
            items: VecDeque::new(),
            first: 0,
            bytes: 0,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            states: HashMap::new(),
            paths: PathBook::default(),
        };
        Self {
            log: Arc::new(Mutex::new(log)),
            news: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an item.
    pub(super) fn push(&self, item: Item) {
        self.lock().push(item);
        self.news.notify_one();
    }

    /// A batch in the form in which it is kept.
    pub(super) fn condense(&self, received: Received) -> Condensed {
        Condensed::of(received, &mut self.lock().paths)
    }

    /// Forgets what belongs to another analyzer.
    pub(super) fn retain(&self, owns: impl Fn(ShardEpoch) -> bool) {
        self.lock().retain(owns);
    }

    /// For a judge. What no judge has taken since `told` is new to it; what came before is told again, unless it is the same judge.
    pub(super) fn cursor(&self, told: Option<Position>, is_same: bool) -> Cursor {
        self.lock().cursor(told, is_same)
    }

    /// What is to be told next: what is new first, in its order; then what is older, the newest first. At least one item if there is any,
    /// then as many as fit `most` bytes.
    pub(super) fn next(&self, cursor: &mut Cursor, most: usize) -> Portion {
        self.lock().next(cursor, most)
    }

    /// When the oldest item came that the judge was not told; `None` as a position: it was told nothing.
    pub(super) fn oldest_untold(&self, told: Option<Position>) -> Option<Instant> {
        let log = self.lock();
        let next = told.map_or(log.first, |told| told.next);
        let mut untold = next.max(log.first)..log.end();
        untold.find_map(|number| Some(log.get(number)?.at))
    }

    /// Waits for an item.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::report::SpoolId;
    use crate::analysis::shards::ShardId;
    use crate::analyzer::intake;
    use crate::id::AgentId;
    use crate::rpc::results::Ends;

    fn shard(number: u16) -> ShardEpoch {
        ShardEpoch {
            shard: ShardId::new(number).expect("there"),
            epoch: 1,
        }
    }

    fn item(number: u8, at: Instant, content: Content) -> Item {
        Item {
            shard: shard(number.into()),
            sender: Sender {
                agent: AgentId::new("a"),
                spool: SpoolId(number.into()),
            },
            host: HostName::new("h"),
            version: None,
            content,
            at,
            late: false,
        }
    }

    /// A batch of one path, the same for all.
    fn batch(log: &SharedLog, number: u8, at: Instant) -> Item {
        let received = Received::read(&intake::tests::batch(1), &Ends::default());
        let batch = log.condense(received.expect("a batch"));
        item(number, at, Content::Batch(batch, Standing::default()))
    }

    fn push(log: &SharedLog, numbers: std::ops::RangeInclusive<u8>, at: Instant) {
        for number in numbers {
            log.push(batch(log, number, at));
        }
    }

    /// Bytes of an item.
    fn size() -> usize {
        batch(&SharedLog::new(0), 1, Instant::now()).bytes()
    }

    /// Numbers of what a portion has; negative for what is told again, 0 for a state.
    fn told(portion: &Portion) -> Vec<i64> {
        let number = |(item, again): &(Arc<Item>, bool)| {
            let number = match &item.content {
                Content::Batch(..) => item.sender.spool.0.cast_signed(),
                Content::State(_) => 0,
            };
            if *again { -number } else { number }
        };
        portion.items.iter().map(number).collect()
    }

    /// The cursor of a judge whose predecessor has taken all that is there.
    fn next_judge(log: &SharedLog) -> Cursor {
        let mut all = log.cursor(None, false);
        assert!(log.next(&mut all, 1 << 20).is_last);
        log.cursor(Some(all.position()), false)
    }

    #[test]
    fn a_new_judge_gets_what_is_new_then_what_is_kept_the_newest_first() {
        let (log, now) = (SharedLog::new(1 << 20), Instant::now());
        push(&log, 1..=3, now);
        log.push(item(9, now, Content::State(v1::AgentState::default())));
        let mut cursor = next_judge(&log);
        push(&log, 4..=5, now);
        let first = log.next(&mut cursor, 2 * size() + PATH);
        assert_eq!((told(&first), first.is_last), (vec![4, 5], false));
        assert_eq!(first.paths.len(), 1, "described once");
        push(&log, 6..=6, now);
        let second = log.next(&mut cursor, 1 << 20);
        assert_eq!(
            (told(&second), second.is_last),
            (vec![6, 0, -3, -2, -1], true)
        );
        assert!(second.paths.is_empty(), "the stream knows it");
        assert_eq!(log.oldest_untold(Some(cursor.position())), None);
        push(&log, 7..=7, now);
        assert_eq!(log.oldest_untold(Some(cursor.position())), Some(now));
        assert_eq!(told(&log.next(&mut cursor, 1)), [7]);
        assert!(log.next(&mut cursor, 1).is_last);
    }

    #[test]
    fn what_a_judge_has_not_taken_stays_new_to_it_and_to_the_next_one() {
        let (log, now) = (SharedLog::new(1 << 20), Instant::now());
        push(&log, 1..=1, now);
        let mut cursor = log.cursor(None, false);
        push(&log, 2..=2, now);
        assert_eq!(told(&log.next(&mut cursor, 1 << 20)), [1, 2]);
        let taken = cursor.position();
        // Under way when the stream broke, and what came meanwhile.
        push(&log, 3..=3, now);
        assert_eq!(told(&log.next(&mut cursor, 1 << 20)), [3]);
        push(&log, 4..=4, now);
        let mut same = log.cursor(Some(taken), true);
        assert_eq!(told(&log.next(&mut same, 1 << 20)), [3, 4]);
        let mut another = log.cursor(Some(taken), false);
        assert_eq!(told(&log.next(&mut another, 1 << 20)), [3, 4, -2, -1]);
    }

    #[test]
    fn it_is_bounded_by_bytes_and_time_and_forgets_shards_that_went() {
        let (log, now) = (SharedLog::new(3 * size() as u64), Instant::now());
        push(&log, 1..=5, now);
        assert_eq!(
            told(&log.next(&mut next_judge(&log), 1 << 20)),
            [-5, -4, -3]
        );
        log.retain(|owned| owned != shard(4));
        assert_eq!(told(&log.next(&mut next_judge(&log), 1 << 20)), [-5, -3]);
        let mut behind = next_judge(&log);
        push(&log, 6..=6, now + KEPT + Duration::from_secs(1));
        assert_eq!(told(&log.next(&mut behind, 1 << 20)), [6]);
        assert_eq!(told(&log.next(&mut next_judge(&log), 1 << 20)), [-6]);
        assert_eq!(log.lock().paths.len(), 1);
        log.retain(|_| false);
        assert!(log.lock().paths.is_empty(), "no batch has it");
    }
}
