//! What an analyzer keeps.

use super::kept::{Copied, Kept, Progress, Reporter, TransferError, compare, count, in_words};
use crate::analysis::incident::Incident;
use crate::analysis::trend::Step;
use crate::store::StoreError;
use crate::store::incidents::Query;
use crate::store::open::Stores;
use crate::store::trends::{Place, Trends};
use crate::time::{Nanos, WallTime};

/// Incidents or pictures of one transaction.
const AT_ONCE: u32 = 200;
/// Batches of one transaction, and their bytes at most.
const BATCHES: u32 = 1_000;
const BYTES: usize = 4 << 20;
/// Steps of trends that are looked for at once.
const STEPS: usize = 64;
const FIRST: WallTime = WallTime::from_nanos(i64::MIN);
const LAST: WallTime = WallTime::from_nanos(i64::MAX);

pub(super) struct Copying {
    pub(super) source: Stores,
    pub(super) target: Stores,
}

#[tonic::async_trait]
impl Kept for Copying {
    async fn present(&self) -> Result<Option<String>, TransferError> {
        let rows = self.target.contents.rows().await?;
        let ledger = self.target.contents.alert_ledger().await?;
        let marks = self.target.journal.watermarks().await?;
        Ok(in_words(&[
            (rows.incidents.max(ledger.last_incident), "incidents"),
            (count(ledger.receivers.len()), "receivers of alerts"),
            (rows.deliveries, "alerts"),
            (rows.hosts, "hosts"),
            (rows.pictures, "pictures of the past"),
            (count(marks.len()), "spools"),
            (rows.batches, "batches"),
            (blocks(&*self.target.trends).await?, "blocks of trends"),
        ]))
    }

    /// What is left is replaced; what the source does not have any more is in none of these.
    async fn clear(&self) -> Result<(), TransferError> {
        self.target.journal.prune(LAST, LAST).await?;
        self.target.incidents.prune(LAST).await?;
        let all = Step::ALL.map(|step| (step, LAST)).to_vec();
        self.target.trends.put(Vec::new(), all).await?;
        let hosts = self.target.hosts.load().await?;
        let gone = hosts.into_iter().map(|record| (record.host, None));
        Ok(self.target.hosts.put(gone.collect()).await?)
    }

    async fn run(&self, store: &str, report: Reporter<'_>) -> Result<Vec<Copied>, TransferError> {
        let all = self.source.contents.rows().await?;
        let incidents = self.incidents(all.incidents, report).await?;
        let (receivers, deliveries) = self.ledger(store).await?;
        let hosts = self.hosts(store).await?;
        let pictures = self.pictures(all.pictures, report).await?;
        let batches = self.batches(all.batches, report).await?;
        let marks = self.watermarks(store).await?;
        let trends = self.trends(store, report).await?;
        let found = self.target.contents.rows().await?;
        let mut kinds = Vec::new();
        for (what, all, copied, found) in [
            ("incidents", all.incidents, incidents, found.incidents),
            ("alerts", all.deliveries, deliveries, found.deliveries),
            ("hosts", all.hosts, hosts, found.hosts),
            (
                "pictures of the past",
                all.pictures,
                pictures,
                found.pictures,
            ),
            ("batches", all.batches, batches, found.batches),
        ] {
            compare((what, store), true, (found, copied))?;
            kinds.push(Copied {
                what,
                count: copied,
                left_out: all.saturating_sub(copied),
            });
        }
        for (what, count) in [("receivers of alerts", receivers), ("spools", marks)] {
            kinds.push(Copied {
                what,
                count,
                left_out: 0,
            });
        }
        kinds.push(trends);
        Ok(kinds)
    }
}

impl Copying {
    async fn incidents(&self, all: u64, report: Reporter<'_>) -> Result<u64, TransferError> {
        let (mut done, mut before) = (0, None);
        loop {
            let query = Query {
                open: None,
                before,
                limit: AT_ONCE,
            };
            let page: Vec<Incident> = self.source.incidents.read(query).await?;
            let Some(last) = page.last() else {
                return Ok(done);
            };
            before = Some(last.id);
            done += count(page.len());
            self.target.incidents.put(page).await?;
            let what = "incidents";
            report(Progress { what, done, all });
        }
    }

    /// Gives how many receivers and how many states there are.
    async fn ledger(&self, store: &str) -> Result<(u64, u64), TransferError> {
        let ledger = self.source.contents.alert_ledger().await?;
        self.target
            .contents
            .add_alert_ledger(ledger.clone())
            .await?;
        let found = self.target.contents.alert_ledger().await?;
        let (receivers, deliveries) = (
            count(ledger.receivers.len()),
            count(ledger.deliveries.len()),
        );
        let counts = (count(found.deliveries.len()), deliveries);
        compare(("alerts", store), found == ledger, counts)?;
        Ok((receivers, deliveries))
    }

    async fn hosts(&self, store: &str) -> Result<u64, TransferError> {
        let hosts = self.source.hosts.load().await?;
        let changes = hosts
            .iter()
            .map(|record| (record.host.clone(), Some(record.clone())));
        self.target.hosts.put(changes.collect()).await?;
        let found = self.target.hosts.load().await?;
        let counts = (count(found.len()), count(hosts.len()));
        compare(("hosts", store), found == hosts, counts)?;
        Ok(count(hosts.len()))
    }

    async fn pictures(&self, all: u64, report: Reporter<'_>) -> Result<u64, TransferError> {
        let (mut done, mut after) = (0, FIRST);
        let mut oldest = None;
        loop {
            let page = self.source.contents.pictures(after, AT_ONCE).await?;
            let Some(last) = page.last() else {
                return Ok(done);
            };
            after = last.0;
            let what = "pictures of the past";
            for picture in page {
                let oldest = *oldest.get_or_insert(picture.0);
                self.target.history.put(picture, oldest).await?;
                done += 1;
            }
            report(Progress { what, done, all });
        }
    }

    async fn batches(&self, all: u64, report: Reporter<'_>) -> Result<u64, TransferError> {
        let (mut done, mut position) = (0, 0);
        loop {
            let page = self
                .source
                .journal
                .read(FIRST, position, BATCHES, BYTES)
                .await?;
            let Some(last) = page.last() else {
                return Ok(done);
            };
            position = last.position;
            let records: Vec<_> = page.into_iter().map(|stored| stored.record).collect();
            done += count(records.len());
            self.target.journal.append(records, Vec::new()).await?;
            let what = "batches";
            report(Progress { what, done, all });
        }
    }

    /// After the batches: a watermark says that what is below it was taken.
    async fn watermarks(&self, store: &str) -> Result<u64, TransferError> {
        let marks = self.source.journal.watermarks().await?;
        self.target
            .journal
            .append(Vec::new(), marks.clone())
            .await?;
        let found = self.target.journal.watermarks().await?;
        let counts = (count(found.len()), count(marks.len()));
        let is_same = found.len() == marks.len() && marks.iter().all(|mark| found.contains(mark));
        compare(("spools", store), is_same, counts)?;
        Ok(count(marks.len()))
    }

    /// Blocks that are damaged are left out.
    async fn trends(&self, store: &str, report: Reporter<'_>) -> Result<Copied, TransferError> {
        let what = "blocks of trends";
        let all = blocks(&*self.source.trends).await?;
        let mut done = 0;
        for step in Step::ALL {
            let Some((first, last)) = self.source.trends.bounds(step).await? else {
                continue;
            };
            for times in begins(step, first, last).chunks(STEPS) {
                for (kind, bucket) in self.source.trends.buckets(step, times.to_vec()).await? {
                    let source = &self.source.trends;
                    let found = source.read(step, kind, bucket, times.to_vec()).await?;
                    done += count(found.len());
                    let place = |at| Place {
                        step,
                        at,
                        kind,
                        bucket,
                    };
                    let placed = found.into_iter().map(|(at, body)| (place(at), body));
                    self.target.trends.put(placed.collect(), Vec::new()).await?;
                }
                report(Progress { what, done, all });
            }
        }
        let found = blocks(&*self.target.trends).await?;
        compare((what, store), found == done, (found, done))?;
        Ok(Copied {
            what,
            count: done,
            left_out: all.saturating_sub(done),
        })
    }
}

/// How many blocks of trends there are.
async fn blocks(trends: &dyn Trends) -> Result<u64, StoreError> {
    let mut all = 0;
    for step in Step::ALL {
        all += trends.size(step).await?.0;
    }
    Ok(all)
}

/// When the steps from one that begins at `first` to one that begins at `last` begin.
fn begins(step: Step, first: WallTime, last: WallTime) -> Vec<WallTime> {
    std::iter::successors(Some(first), |at| Some(*at + Nanos(step.nanos().0)))
        .take_while(|at| *at <= last)
        .collect()
}
