//! What `rpingmesh export` writes, read by DuckDB (a Python package): Parquet and CSV hold the same rows.

use std::path::Path;
use std::process::Command;

use rpingmesh::analysis::sketch::Sketch;
use rpingmesh::analysis::trend::block::{Points, encode};
use rpingmesh::analysis::trend::{Kind, Point, Series, Spans, Step};
use rpingmesh::store::Location;
use rpingmesh::store::open::Stores;
use rpingmesh::store::trends::{Block, Place};
use rpingmesh::time::{Nanos, WallTime};

use crate::analyzer::harness::{Incarnation, START, clock};

/// Names a Python that has the package, where that in the path does not: `cargo xtask test` makes one in the cache folder.
const PYTHON: &str = "RPINGMESH_DUCKDB";
const MINUTE: i64 = 60_000_000_000;

/// Compares two files; prints the rows, the types of the columns and one row.
const COMPARE: &str = "
import duckdb, sys
parquet, csv = sys.argv[1:]
count = lambda text: duckdb.sql(text).fetchall()[0][0]
as_csv = f\"read_csv('{csv}', header = true, all_varchar = false)\"
columns = [(name, kind) for name, kind, *_ in duckdb.sql(f\"DESCRIBE SELECT * FROM '{parquet}'\").fetchall()]
print(columns)
print(count(f\"SELECT count(*) FROM '{parquet}'\"))
names = ', '.join(f'{name}::VARCHAR' for name, kind in columns if not kind.startswith('TIMESTAMP'))
print(count(f\"SELECT count(*) FROM (SELECT {names} FROM '{parquet}' EXCEPT SELECT {names} FROM {as_csv})\"))
print(count(f\"SELECT count(*) FROM (SELECT {names} FROM {as_csv} EXCEPT SELECT {names} FROM '{parquet}')\"))
print(count(f\"SELECT epoch_ns(min(start)) FROM '{parquet}'\"))
print(count(f\"SELECT sum(sent) FROM '{parquet}' WHERE prober_delay_p99_ns IS NULL\"))
";

fn spans(span: i64) -> Spans {
    let mut sketch = Sketch::default();
    sketch.add(Nanos(span));
    Spans::from(&sketch)
}

/// An hour of minutes of 200 RNICs; one name needs care.
fn prepare(folder: &Path) {
    let block = |number: i64, ago: i64| -> Block {
        let host = if number == 7 {
            "häst \"7\", éa".to_owned()
        } else {
            format!("host{number}")
        };
        let series = Series::new(Kind::Rnic, host, "mlx5_0");
        let point = Point {
            sent: 100,
            lost: u64::from(number == 3),
            rtt: spans(10_000 + number),
            prober_delay: if number == 5 {
                Spans::default()
            } else {
                spans(2_000)
            },
            responder_delay: spans(3_000),
        };
        let place = Place {
            step: Step::Minute,
            at: WallTime::from_nanos(START - ago * MINUTE),
            kind: Kind::Rnic,
            bucket: series.bucket(),
        };
        (
            place,
            encode(&Points::from([((series.first, series.second), point)])),
        )
    };
    // One series for each block, of those that share none.
    let mut taken = std::collections::BTreeSet::new();
    let blocks = (0..200).flat_map(|number| (1..=60).map(move |ago| (number, ago)));
    let blocks: Vec<_> = blocks
        .map(|(number, ago)| block(number, ago))
        .filter(|(place, _)| taken.insert((place.at, place.bucket)))
        .collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let location = Location::File(folder.join("analyzer.db"));
        let stores = Stores::open(&location).await.expect("a new database");
        stores.trends.put(blocks, Vec::new()).await.expect("stored");
    });
}

#[test]
#[ignore = "needs DuckDB: cargo xtask test --only external"]
fn duckdb_reads_what_export_writes() {
    let folder = tempfile::tempdir().expect("folder");
    prepare(folder.path());
    let analyzer = Incarnation::start(folder.path(), clock(30));
    let files = ["parquet", "csv"].map(|format| folder.path().join(format!("rnics.{format}")));
    for file in &files {
        let output = Command::new(env!("CARGO_BIN_EXE_rpingmesh"))
            .args(["export", "rnics", "--step", "1min", "--from", "1h"])
            .args(["--analyzer", &format!("http://{}", analyzer.web())])
            .arg("--output")
            .arg(file)
            .output()
            .expect("it runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&python)
        .args(["-c", COMPARE])
        .args(&files)
        .output()
        .unwrap_or_else(|error| panic!("{python}: {error}; {PYTHON} names a Python"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<_> = text.lines().collect();
    let [types, rows, only_parquet, only_csv, first, without_delay] = lines[..] else {
        panic!("{text}");
    };
    assert!(
        types.contains("('start', 'TIMESTAMP WITH TIME ZONE')")
            && types.contains("('host', 'VARCHAR')"),
        "{types}"
    );
    assert!(
        types.contains("('responder_delay_p99_ns', 'BIGINT')"),
        "{types}"
    );
    let rows: i64 = rows.parse().expect("a number");
    assert!(rows > 60 * 50 && rows % 60 == 0, "{rows}");
    assert_eq!((only_parquet, only_csv), ("0", "0"));
    assert_eq!(first, (START - 60 * MINUTE).to_string());
    assert_eq!(without_delay, (60 * 100).to_string());
}
