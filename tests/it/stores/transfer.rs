//! Moving everything from one store to another, compared by what the stores' traits give.

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rpingmesh::analysis::admission::Watermark;
use rpingmesh::analysis::alerts::DeliveryState;
use rpingmesh::analysis::fleet::record::HostRecord;
use rpingmesh::analysis::incident::Incident;
use rpingmesh::analysis::report::{Sender, SpoolId};
use rpingmesh::analysis::trend::{Kind, Step};
use rpingmesh::cluster_key::rotation::Stored as StoredKeys;
use rpingmesh::cluster_key::{Generation, Master, Phase};
use rpingmesh::store::contents::{AlertLedger, Rows};
use rpingmesh::store::history::Picture;
use rpingmesh::store::incidents::Query;
use rpingmesh::store::journal::Record;
use rpingmesh::store::open::{self, Stores};
use rpingmesh::store::transfer::{Copied, Owner, Progress, TransferError, copy};
use rpingmesh::store::trends::{Block, Place};
use rpingmesh::store::{Location, StoreError};
use rpingmesh::time::{Nanos, WallTime};
use rpingmesh::topology::Announcement;

use super::analyzer::incident;
use super::registry::announcement;
use super::{with_registry, with_stores};

const fn at(nanos: i64) -> WallTime {
    WallTime::from_nanos(nanos)
}

/// All that an analyzer's store gives.
#[derive(Debug, PartialEq)]
struct Everything {
    rows: Rows,
    incidents: Vec<Incident>,
    ledger: AlertLedger,
    hosts: Vec<HostRecord>,
    pictures: Vec<Picture>,
    batches: Vec<Record>,
    marks: Vec<Watermark>,
    trends: Vec<Block>,
}

async fn everything(stores: &Stores) -> Everything {
    let query = Query {
        open: None,
        before: None,
        limit: u32::MAX,
    };
    let (mut batches, mut position) = (Vec::new(), 0);
    loop {
        let page = stores
            .journal
            .read(at(i64::MIN), position, 500, 1 << 20)
            .await;
        let page = page.expect("readable");
        let Some(last) = page.last() else { break };
        position = last.position;
        batches.extend(page.into_iter().map(|stored| stored.record));
    }
    let mut marks = stores.journal.watermarks().await.expect("readable");
    marks.sort_by(|a, b| a.sender.cmp(&b.sender));
    Everything {
        rows: stores.contents.rows().await.expect("readable"),
        incidents: stores.incidents.read(query).await.expect("readable"),
        ledger: stores.contents.alert_ledger().await.expect("readable"),
        hosts: stores.hosts.load().await.expect("readable"),
        pictures: stores
            .contents
            .pictures(at(i64::MIN), u32::MAX)
            .await
            .expect("readable"),
        batches,
        marks,
        trends: trends(stores).await,
    }
}

/// Times at which the steps of [`fill`] begin.
fn steps(step: Step) -> Vec<WallTime> {
    (0..150)
        .map(|number| at(0) + Nanos(number * step.nanos().0))
        .collect()
}

async fn trends(stores: &Stores) -> Vec<Block> {
    let mut all = Vec::new();
    for step in Step::ALL {
        let known = stores.trends.buckets(step, steps(step)).await;
        for (kind, bucket) in known.expect("readable") {
            let found = stores.trends.read(step, kind, bucket, steps(step)).await;
            let placed = found.expect("readable").into_iter().map(|(at, body)| {
                let place = Place {
                    step,
                    at,
                    kind,
                    bucket,
                };
                (place, body)
            });
            all.extend(placed);
        }
    }
    all
}

async fn fill_trends(stores: &Stores, rng: &mut ChaCha8Rng) {
    for step in Step::ALL {
        for begin in steps(step) {
            let place = |kind, bucket| Place {
                step,
                at: begin,
                kind,
                bucket,
            };
            let blocks = [place(Kind::Rnic, 3), place(Kind::Link, 200)]
                .into_iter()
                .filter(|_| rng.random_bool(0.6))
                .map(|place| (place, vec![begin.nanos().to_le_bytes()[5]; 30]));
            let blocks: Vec<_> = blocks.collect();
            stores.trends.put(blocks, Vec::new()).await.expect("stored");
        }
    }
}

/// Fills an analyzer's store with more than a page of each kind.
async fn fill(stores: &Stores, rng: &mut ChaCha8Rng) {
    let incidents: Vec<_> = (1..=450)
        .map(|id| {
            incident(
                id,
                rng.random_bool(0.7).then(|| rng.random_range(2_000..9_000)),
            )
        })
        .collect();
    stores
        .incidents
        .put(incidents.clone())
        .await
        .expect("stored");
    for receiver in ["pager", "webhook https://a.example/'"] {
        let known = stores
            .incidents
            .undelivered(receiver, at(rng.random_range(0..9_000)), 1)
            .await;
        known.expect("readable");
        let told = incidents.iter().filter(|_| rng.random_bool(0.5));
        let told = told.map(|incident| (incident.id, DeliveryState::from(incident)));
        stores
            .incidents
            .record_delivered(receiver, told.collect())
            .await
            .expect("stored");
    }
    // The largest ids are used and gone.
    let last = incident(460, Some(1_500));
    stores.incidents.put(vec![last]).await.expect("stored");
    stores.incidents.prune(at(2_500)).await.expect("pruned");
    let hosts: BTreeMap<_, _> = (0..20).map(|number| host(number, rng)).collect();
    stores.hosts.put(hosts).await.expect("stored");
    for minute in 0..230 {
        let body: Vec<u8> = (0..rng.random_range(0..50)).map(|_| rng.random()).collect();
        stores
            .history
            .put((at(minute * 60), body), at(0))
            .await
            .expect("stored");
    }
    for agent in 0..6 {
        fill_spool(stores, agent, rng).await;
    }
    fill_trends(stores, rng).await;
}

fn host(number: u32, rng: &mut ChaCha8Rng) -> (rpingmesh::id::HostName, Option<HostRecord>) {
    let (name, acknowledged) = (format!("h{number}"), rng.random_bool(0.5));
    let body = format!(
        r#"{{"host": "{name}", "gone": null, "rnics": {{"mlx5_0": {{"agent": "a", "withdrawn": {{
            "since_unix_ns": {number}, "reason": "the port is down", "services": ["train"], "is_reported": true,
            "is_acknowledged": {acknowledged}}}}}}}}}"#
    );
    (
        name.as_str().into(),
        Some(serde_json::from_str(&body).expect("a record")),
    )
}

/// Some batches, compressed or not, the last ones with a watermark; some spools have a watermark alone.
async fn fill_spool(stores: &Stores, agent: u32, rng: &mut ChaCha8Rng) {
    let sender = Sender {
        agent: format!("agent{agent}").as_str().into(),
        spool: SpoolId(rng.random()),
    };
    let count = if agent == 0 { 0 } else { 250 };
    let batches: Vec<_> = (1..=count)
        .map(|sequence| Record {
            sender: sender.clone(),
            sequence,
            end: at(rng.random_range(0..1 << 40)),
            payload: vec![rng.random(); rng.random_range(1..9_000)].into(),
        })
        .collect();
    let mark = Watermark {
        sender,
        host: format!("h{agent}").as_str().into(),
        sequence: count.max(7),
        taken: count,
        lost: rng.random_range(0..9),
        updated: at(rng.random_range(0..1 << 40)),
    };
    for portion in batches.chunks(100) {
        stores
            .journal
            .append(portion.to_vec(), Vec::new())
            .await
            .expect("stored");
    }
    stores
        .journal
        .append(Vec::new(), vec![mark])
        .await
        .expect("stored");
}

async fn moved(from: &Location, to: &Location, owner: Option<Owner>) -> Vec<(&'static str, u64)> {
    let copied = copy(from, to, owner, &mut |_| ()).await.expect("copied");
    let count = |copied: Copied| {
        assert_eq!(copied.left_out, 0, "{}", copied.what);
        (copied.what, copied.count)
    };
    copied.into_iter().map(count).collect()
}

/// `there` is of one engine, `middle` of another; the last one is of the first again.
pub(super) async fn an_analyzers_store_moves_as_a_whole(
    [from, middle, last]: [&Location; 3],
    owner: Option<Owner>,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let before = with_stores(from, async |stores| {
        fill(&stores, &mut rng).await;
        everything(&stores).await
    })
    .await;
    assert!(
        before.ledger.last_incident == 460 && before.rows.batches == 1_250,
        "{:?}",
        before.rows
    );
    let counts = moved(from, middle, owner).await;
    assert_eq!(counts[0], ("incidents", before.rows.incidents));
    let trends = u64::try_from(before.trends.len()).expect("small");
    assert!(trends > 400);
    assert!(counts.contains(&("blocks of trends", trends)));
    let after = with_stores(middle, async |stores| everything(&stores).await).await;
    assert_eq!(after, before);

    // Nothing is mixed.
    let error = copy(from, middle, owner, &mut |_| ())
        .await
        .expect_err("it has data");
    assert!(matches!(error, TransferError::NotEmpty { .. }), "{error}");
    assert!(error.to_string().contains("20 hosts"), "{error}");

    broken_off(middle, last).await;
    moved(middle, last, Some(Owner::Analyzer)).await;
    let after = with_stores(last, async |stores| everything(&stores).await).await;
    assert_eq!(after, before);
}

/// A copy that ends in the middle, as with a program that is killed.
async fn broken_off(from: &Location, to: &Location) {
    let (reached, ended) = tokio::sync::oneshot::channel();
    let mut reached = Some(reached);
    let mut report = |progress: Progress| {
        if progress.what == "batches"
            && let Some(reached) = reached.take()
        {
            let _ = reached.send(());
        }
    };
    tokio::select! {
        result = copy(from, to, Some(Owner::Analyzer), &mut report) => panic!("it came to its end: {result:?}"),
        _ = ended => {}
    }
    let error = Stores::open(to).await.err().expect("a part is no store");
    assert!(matches!(error, StoreError::Unfinished { .. }), "{error}");
}

pub(super) async fn a_registry_moves_as_a_whole(
    [from, middle, last]: [&Location; 3],
    owner: Option<Owner>,
) {
    let agents: Vec<Announcement> = (0..=255)
        .map(|number| {
            let gids = [format!("10.0.0.{number}"), format!("fd00::{number:x}")];
            announcement(&format!("agent{number:03}"), &[&gids[0], &gids[1]])
        })
        .chain([announcement("none", &[])])
        .collect();
    let keys = StoredKeys {
        master: Master::new(&[7; 32]).expect("a secret"),
        generation: Generation(3),
        phase: Phase::Signing,
        begun: at(1_790_000_000_000_000_000),
        is_mixed: false,
    };
    with_registry(from, async |registry| {
        for agent in &agents {
            registry.put(agent, &[], at(7)).await.expect("stored");
        }
        registry.put_keys(&keys).await.expect("stored");
    })
    .await;
    for (from, to, owner) in [
        (from, middle, owner),
        (middle, last, Some(Owner::Controller)),
    ] {
        let counts = moved(from, to, owner).await;
        let expected = [("agents", 257), ("RNICs", 512), ("keys of the cluster", 1)];
        assert_eq!(counts, expected);
        with_registry(to, async |registry| {
            assert_eq!(registry.load().await.expect("load"), agents);
            assert_eq!(
                registry.load_keys().await.expect("read"),
                Some(keys.clone())
            );
        })
        .await;
    }
    let error = copy(from, last, None, &mut |_| ())
        .await
        .expect_err("it has data");
    let told = error.to_string();
    assert!(told.contains("257 agents, 1 key of the cluster"), "{told}");
}

#[tokio::test]
async fn what_cannot_be_copied_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| Location::File(folder.path().join(name));
    let (registry, analyzer) = (file("registry.db"), file("analyzer.db"));
    with_registry(&registry, async |_| ()).await;
    with_stores(&analyzer, async |_| ()).await;
    std::fs::write(
        folder.path().join("text.db"),
        "no database at all, but long enough".repeat(9),
    )
    .expect("a file");
    let mut told = Vec::new();
    for (from, to, owner) in [
        (&registry, &registry, None),
        (&registry, &Location::Memory, None),
        (&file("missing.db"), &registry, None),
        (&registry, &analyzer, None),
        (&registry, &file("new.db"), Some(Owner::Analyzer)),
        (&file("text.db"), &file("new.db"), None),
    ] {
        let error = copy(from, to, owner, &mut |_| ())
            .await
            .expect_err("refused");
        let error = rpingmesh::error::describe(&error);
        told.push(error.replace(&folder.path().display().to_string(), "FOLDER"));
    }
    assert!(
        !folder.path().join("new.db").exists(),
        "nothing is made for a copy that is refused"
    );
    // It has written nothing yet.
    let runs = open::registry(&registry).await.expect("its program runs");
    let error = copy(&registry, &file("new.db"), None, &mut |_| ())
        .await
        .expect_err("refused");
    told.push(
        error
            .to_string()
            .replace(&folder.path().display().to_string(), "FOLDER"),
    );
    drop(runs);
    insta::assert_snapshot!(told.join("\n"));
}
