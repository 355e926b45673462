use std::io::{self, Write as _};
use std::time::Duration;

use rpingmesh::api::trends::{TrendPoint, TrendSeries, Trends};

use super::cell::Cell;
use super::csv::line;
use super::rows::{trend_columns, trend_rows};
use super::table::Table;
use super::*;

/// The lines of an answer without the first one.
fn rows(answer: &Trends) -> String {
    trend_rows(answer).map(line).collect()
}

#[test]
fn values_are_quoted_and_no_name_is_a_formula() {
    let cells = [
        Cell::from("plain"),
        Cell::from("a,b"),
        Cell::from("a \"b\"\n"),
        Cell::from("=cmd()"),
        Cell::from("-1"),
        Cell::Integer(-1),
        Cell::Nothing,
        Cell::from(0.25),
        Cell::time(Some(1_800_000_000_000_000_000)),
        Cell::time(None),
    ];
    assert_eq!(
        line(cells),
        "plain,\"a,b\",\"a \"\"b\"\"\n\",'=cmd(),'-1,-1,,0.25,2027-01-15T08:00:00Z,\r\n"
    );
}

#[test]
fn a_trend_has_one_line_for_each_point() {
    let point = |start: i64, p99: Option<i64>| TrendPoint {
        start_unix_ns: start,
        sent: 100,
        lost: 1,
        rtt_p50_ns: p99,
        rtt_p99_ns: p99,
        prober_delay_p50_ns: None,
        prober_delay_p99_ns: Some(7),
        responder_delay_p50_ns: None,
        responder_delay_p99_ns: Some(9),
    };
    let answer = Trends {
        kind: Kind::TorPair.into(),
        step_ns: 60_000_000_000,
        start_unix_ns: 0,
        end_unix_ns: 120_000_000_000,
        next_bucket: None,
        series: vec![TrendSeries {
            first: "tor0".to_owned(),
            second: "tor1".to_owned(),
            points: vec![point(0, Some(12_000)), point(60_000_000_000, None)],
        }],
    };
    assert_eq!(
        rows(&answer),
        "1970-01-01T00:00:00Z,60,tor0,tor1,100,1,12000,12000\r\n1970-01-01T00:01:00Z,60,tor0,tor1,100,1,,\r\n"
    );
    let mut rnic = answer.clone();
    rnic.kind = Kind::Rnic.into();
    rnic.series[0].points.truncate(1);
    assert_eq!(
        rows(&rnic),
        "1970-01-01T00:00:00Z,60,tor0,tor1,100,1,12000,12000,,7,,9\r\n"
    );
    for kind in Kind::ALL {
        let mut of_kind = answer.clone();
        of_kind.kind = kind.into();
        let cells = trend_rows(&of_kind).next().expect("a row");
        assert_eq!(cells.len(), trend_columns(kind).len(), "{kind:?}");
    }
    let mut service = answer;
    service.kind = Kind::Service.into();
    service.series[0].second.clear();
    service.series[0].points.truncate(1);
    assert_eq!(
        rows(&service),
        "1970-01-01T00:00:00Z,60,tor0,100,1,12000,12000\r\n",
        "a service has one name"
    );
}

#[test]
fn ranges_are_times_or_spans_and_what_is_wrong_is_said() {
    let now = UNIX_EPOCH + Duration::from_hours(500_000);
    let seconds = |from: Option<&str>, to: Option<&str>| {
        let args = ExportArgs {
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
            ..ExportArgs::of(What::Tors)
        };
        range(&args, now)
            .map(|(from, to)| (from / 1_000_000_000, to / 1_000_000_000))
            .map_err(|error| error.to_string())
    };
    assert_eq!(seconds(None, None), Ok((1_799_913_600, 1_800_000_000)));
    assert_eq!(
        seconds(Some("2h"), Some("1h")),
        Ok((1_799_989_200, 1_799_996_400))
    );
    assert_eq!(
        seconds(Some("2027-01-15T07:00:00Z"), None),
        Ok((1_799_996_400, 1_800_000_000))
    );
    let wrong: Vec<String> = [
        (Some("soon"), None),
        (None, Some("soon")),
        (Some("2027-01-15T08:00:00Z"), None),
        (Some("200y"), None),
    ]
    .into_iter()
    .map(|(from, to)| seconds(from, to).expect_err("wrong"))
    .collect();
    insta::assert_snapshot!(wrong.join("\n"));
}

#[test]
fn a_file_is_replaced_only_by_a_whole_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trends.csv");
    let found = || {
        let names = std::fs::read_dir(folder.path()).expect("a folder");
        let names: Vec<_> = names.map(|entry| entry.expect("an entry").path()).collect();
        (names.len(), std::fs::read_to_string(&file).ok())
    };
    let written = |text: &str| {
        let (mut out, beside) = open(Some(&file)).expect("writable");
        out.write_all(text.as_bytes()).expect("written");
        out.flush().expect("written");
        beside.expect("a file")
    };
    drop(written("half"));
    assert_eq!(found(), (0, None));
    written("old").take_its_place().expect("renamed");
    drop(written("half"));
    assert_eq!(found(), (1, Some("old".to_owned())));
    written("new").take_its_place().expect("renamed");
    assert_eq!(found(), (1, Some("new".to_owned())));
    let missing = folder.path().join("missing").join("a.csv");
    assert!(open(Some(&missing)).is_err());
}

#[test]
fn json_is_refused_and_a_reader_that_has_gone_ends_the_export() {
    let mut args = ExportArgs::of(What::Tors);
    args.api.json = true;
    let refused = main(&args).expect_err("wrong usage").to_string();
    assert!(
        refused.contains("export writes CSV or Parquet (--format): leave out --json"),
        "{refused}"
    );
    let gone = Ended::from(io::Error::from(io::ErrorKind::BrokenPipe));
    assert!(matches!(gone, Ended::NoReader));
    let full = Ended::from(io::Error::from(io::ErrorKind::StorageFull));
    assert!(matches!(full, Ended::Failed(Failure::Run(_))));
}

#[test]
fn the_name_of_the_file_chooses_the_format() {
    let format = |file: Option<&str>, format| {
        ExportArgs {
            output: file.map(Into::into),
            format,
            ..ExportArgs::of(What::Tors)
        }
        .format()
    };
    assert_eq!(format(None, None), Format::Csv);
    assert_eq!(format(Some("a.parquet"), None), Format::Parquet);
    assert_eq!(
        format(Some("a.csv"), Some(Format::Parquet)),
        Format::Parquet
    );
    assert_eq!(format(Some("a.parquet"), Some(Format::Csv)), Format::Csv);
}

#[test]
fn a_table_refuses_rows_that_do_not_fit() {
    let columns = trend_columns(Kind::Service);
    let mut table = Table::begin(Format::Parquet, &columns, Vec::new()).expect("begun");
    assert!(table.row(vec![Cell::Nothing]).is_err(), "too few cells");
    let mut cells = vec![Cell::Nothing; columns.len()];
    cells[0] = "no time".into();
    assert!(table.row(cells).is_err(), "a text is no time");
}
