use super::*;

fn cell(source: u32, target: u32, sent: u64, lost: u64, rtt: i64) -> Cell {
    Cell {
        source,
        target,
        sent,
        lost,
        rtt_p50: Some(Nanos(rtt)),
        rtt_p99: Some(Nanos(rtt * 2)),
        prober_p99: None,
        responder_p99: Some(Nanos(rtt)),
    }
}

fn matrix(names: impl Iterator<Item = String>, cells: Vec<Cell>) -> Matrix {
    Matrix {
        tors: names.map(TorId::new).collect(),
        cells,
        ..Matrix::default()
    }
}

fn all(matrix: &Matrix, metric: Metric) -> Grid {
    draw(matrix, metric, &None, &None, |row, column| {
        format!("{}>{}", row.label, column.label)
    })
}

#[test]
fn each_pair_of_a_small_fabric_has_its_cell() {
    let names = (0..3).map(|n| format!("tor{n}"));
    let matrix = matrix(
        names,
        vec![
            cell(0, 1, 1000, 0, 10_000),
            cell(0, 2, 1000, 41, 10_000),
            cell(2, 0, 3, 0, 90_000),
        ],
    );
    let grid = all(&matrix, Metric::Loss);
    let text = |grid: &Grid| {
        let row = |(axis, cells): &(Axis, Vec<Drawn>)| {
            let cells = cells
                .iter()
                .map(|cell| format!("{}:{}", cell.level, cell.text));
            format!("{} {}", axis.label, cells.collect::<Vec<_>>().join(" "))
        };
        grid.rows.iter().map(row).collect::<Vec<_>>().join("\n")
    };
    let shown = [
        text(&grid),
        grid.rows[0].1[2].label.clone(),
        text(&all(&matrix, Metric::P50)),
        text(&all(&matrix, Metric::Prober)),
    ];
    insta::assert_snapshot!(shown.join("\n\n"));
    assert!(!grid.grouped);
    assert_eq!(grid.legend.len(), LEVELS);
}

#[test]
fn one_bad_pair_among_thousands_shows_and_can_be_zoomed_into() {
    let bad = (7, 801);
    let cells = (0..1000).flat_map(|source| {
        (0..1000).step_by(7).map(move |target| {
            let lost = if (source, target) == bad { 5 } else { 0 };
            cell(source, target, 100, lost, 10_000)
        })
    });
    let mut cells: Vec<_> = cells.collect();
    if !cells.iter().any(|cell| cell.lost > 0) {
        cells.push(cell(bad.0, bad.1, 100, 5, 10_000));
        cells.sort_by_key(|cell| (cell.source, cell.target));
    }
    let matrix = matrix((0..1000).map(|n| format!("tor{n}")), cells);
    let grid = all(&matrix, Metric::Loss);
    assert_eq!((grid.rows.len(), grid.columns.len()), (32, 32));
    assert!(grid.grouped);
    let marked: Vec<&Drawn> = grid
        .rows
        .iter()
        .flat_map(|(_, cells)| cells)
        .filter(|cell| cell.level > '0' && cell.level != 'x')
        .collect();
    assert_eq!(marked.len(), 1);
    insta::assert_snapshot!(marked[0].href, @"tor0 … tor31>tor800 … tor831");
    let part = |first: &str, last: &str| Some((first.to_owned(), last.to_owned()));
    let zoomed = draw(
        &matrix,
        Metric::Loss,
        &part("tor0", "tor31"),
        &part("tor800", "tor831"),
        |row, column| format!("{}>{}", row.label, column.label),
    );
    assert!(!zoomed.grouped);
    assert_eq!(zoomed.shown, (32, 32));
    let marked = zoomed
        .rows
        .iter()
        .flat_map(|(_, cells)| cells)
        .filter(|cell| cell.level > '0' && cell.level != 'x');
    assert_eq!(
        marked.map(|cell| cell.href.as_str()).collect::<Vec<_>>(),
        ["tor7>tor801"]
    );
    let reduced = reduced(matrix, 64);
    assert_eq!(reduced.tors.len(), 32);
    assert_eq!(
        reduced.cells.iter().filter(|cell| cell.lost == 5).count(),
        1
    );
}

#[test]
fn pods_are_groups() {
    let names = (0..4).flat_map(|pod| (0..20).map(move |tor| format!("pod{pod}-tor{tor}")));
    let grid = all(&matrix(names, vec![]), Metric::Loss);
    let labels: Vec<&str> = grid
        .columns
        .iter()
        .map(|column| column.label.as_str())
        .collect();
    assert_eq!(labels[1], "pod1-tor0 … pod1-tor19");
    assert_eq!(labels.len(), 4);
}

#[test]
fn parts_that_do_not_exist_are_empty() {
    let matrix = matrix((0..3).map(|n| format!("tor{n}")), vec![]);
    for (first, last) in [("x", "z"), ("tor2", "tor0"), ("", "")] {
        let part = Some((first.to_owned(), last.to_owned()));
        let grid = draw(&matrix, Metric::Loss, &part, &None, |_, _| String::new());
        assert!(grid.rows.is_empty(), "{first} {last}");
    }
}
