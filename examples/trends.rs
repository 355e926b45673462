//! What trends of a large fabric take: fills a store with loss and round trips of every pair of as many ToRs as asked for, and of
//! 32 RNICs under each, over seven days; then asks an analyzer on it for charts. Prints bytes, and processor time and size of
//! each chart: `cargo run --release --example trends [TORS]` (Linux).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rpingmesh::analysis::sketch::Sketch;
use rpingmesh::analysis::trend::block::{Points, encode};
use rpingmesh::analysis::trend::{Kind, Point, Series, Step};
use rpingmesh::analysis::windows::Sums;
use rpingmesh::analyzer::Analyzer;
use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::events::Publisher;
use rpingmesh::store::Location;
use rpingmesh::store::open::Stores;
use rpingmesh::store::trends::{Block, Place};
use rpingmesh::time::{Clock as _, Nanos, SystemClock, WallTime};
use tokio_util::sync::CancellationToken;

/// How long hours are kept.
const RETENTION: Duration = Duration::from_hours(7 * 24);
const RNICS: usize = 32;
/// Different blocks of each bucket; they take turns over time.
const VARIANTS: usize = 4;
/// Probes of a pair of ToRs in a minute: 20 5-tuples every 10 s.
const PROBES: u64 = 120;

fn main() {
    let tors = std::env::args().nth(1);
    let tors: usize = tors.map_or(256, |text| text.parse().expect("a number of ToRs"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("analyzer.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        fill(&file, tors).await;
        show(&file, tors).await;
    });
}

/// A point of so many probes, with round trips that differ by a factor of two and a tail.
fn point(probes: u64, random: &mut ChaCha8Rng) -> Point {
    let mut rtt = Sketch::default();
    let base = random.random_range(8_000..16_000);
    for _ in 0..probes {
        let tail = if random.random_bool(0.02) { 8 } else { 1 };
        rtt.add(Nanos(random.random_range(base..2 * base) * tail));
    }
    let lost = u64::from(random.random_bool(0.1));
    Point::from(&Sums {
        sent: probes,
        lost,
        network_rtt: rtt,
        ..Sums::default()
    })
}

/// The same with delays at the RNIC's host, which vary as round trips do.
fn rnic_point(probes: u64, random: &mut ChaCha8Rng) -> Point {
    Point {
        prober_delay: point(probes / 2, random).rtt,
        responder_delay: point(probes / 2, random).rtt,
        ..point(probes, random)
    }
}

/// The blocks of all series of one step, encoded.
fn blocks(tors: usize, minutes: u64, random: &mut ChaCha8Rng) -> Vec<((Kind, u16), Vec<u8>)> {
    let mut blocks = std::collections::BTreeMap::<(Kind, u16), Points>::new();
    let mut add = |series: Series, point: Point| {
        let block = blocks.entry((series.kind, series.bucket())).or_default();
        block.insert((series.first, series.second), point);
    };
    for source in 0..tors {
        for target in 0..tors {
            let series = Series::new(
                Kind::TorPair,
                format!("tor{source}"),
                format!("tor{target}"),
            );
            add(series, point((PROBES * minutes).min(2_000), random));
        }
        for rnic in 0..RNICS {
            let host = format!("host{}", source * RNICS / 8 + rnic / 8);
            let series = Series::new(Kind::Rnic, host, format!("mlx5_{}", rnic % 8));
            add(series, rnic_point((PROBES * minutes).min(2_000), random));
        }
    }
    blocks
        .into_iter()
        .map(|(place, points)| (place, encode(&points)))
        .collect()
}

async fn fill(file: &Path, tors: usize) {
    let stores = Stores::open(&Location::File(file.to_owned()))
        .await
        .expect("a store");
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let now = SystemClock.wall();
    for step in Step::ALL {
        let minutes = u64::try_from(step.minutes()).expect("positive");
        let variants: Vec<_> = (0..VARIANTS)
            .map(|_| blocks(tors, minutes, &mut random))
            .collect();
        let steps = step.kept(RETENTION).as_secs() / step.length().as_secs();
        for number in 0..steps {
            let ago = Nanos(step.nanos().0 * i64::try_from(number + 1).expect("few"));
            let at: WallTime = step.begin(now) + (Nanos::ZERO - ago);
            let variant = &variants[usize::try_from(number).expect("few") % VARIANTS];
            let of_now: Vec<Block> = variant
                .iter()
                .map(|((kind, bucket), body)| {
                    let place = Place {
                        step,
                        at,
                        kind: *kind,
                        bucket: *bucket,
                    };
                    (place, body.clone())
                })
                .collect();
            stores.trends.put(of_now, Vec::new()).await.expect("stored");
        }
        let (count, bytes) = stores.trends.size(step).await.expect("readable");
        println!(
            "{minutes:>3} min  {steps:>4} steps  {count:>7} blocks  {:>6} MB",
            bytes / 1_000_000
        );
    }
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux's /proc");
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .expect("fields")
        .split(' ')
        .collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("ticks");
    // Hundredths of a second on every Linux.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn get(web: SocketAddr, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(web).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    answer
}

async fn show(file: &Path, tors: usize) {
    let folder_size = |file: &Path| {
        ["", "-wal"].map(|end| {
            let file = format!("{}{end}", file.display());
            std::fs::metadata(file).map_or(0, |data| data.len())
        })
    };
    let [size, log] = folder_size(file);
    println!(
        "database {} MB, its log {} MB",
        size / 1_000_000,
        log / 1_000_000
    );
    let config = AnalyzerSettings {
        listen: "127.0.0.1:0".to_owned(),
        web: "127.0.0.1:0".to_owned(),
        store: format!("sqlite:{}", file.display()),
        ..AnalyzerSettings::default()
    };
    let config = config.validate().expect("a configuration");
    let analyzer = Analyzer::start(config, Arc::new(SystemClock), Publisher::default())
        .await
        .expect("starts");
    let web = analyzer.web_address();
    let stop = CancellationToken::new();
    let running = tokio::spawn(analyzer.run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let last = tors - 1;
    for page in [
        "/trend/tor/tor1/tor{}?last=1h",
        "/trend/tor/tor1/tor{}?last=6h",
        "/trend/tor/tor1/tor{}?last=2d",
        "/trend/tor/tor1/tor{}?last=7d",
        "/trend/rnic/host1/mlx5_0?last=7d",
    ] {
        // Each of several pages of its own: none is in the cache of pages.
        let pages: Vec<_> = (0..10)
            .map(|number| page.replace("{}", &(last - number).to_string()))
            .collect();
        let idle = cpu();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let background = cpu().saturating_sub(idle);
        let before = cpu();
        let bytes = tokio::task::spawn_blocking(move || {
            pages
                .iter()
                .map(|page| get(web, page).len())
                .max()
                .unwrap_or(0)
        });
        let bytes = bytes.await.expect("answers");
        let each = cpu().saturating_sub(before) / 10;
        println!(
            "{page:<34} {:>4} ms of processor time, {:>4} KB  (idle: {} ms in 2 s)",
            each.as_millis(),
            bytes / 1_000,
            background.as_millis()
        );
    }
    stop.cancel();
    running.await.expect("it ran").expect("it ended");
}
