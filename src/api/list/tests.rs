use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq)]
struct Row {
    host: &'static str,
    services: Vec<&'static str>,
    lost: u64,
    sent: u64,
    rtt: Option<i64>,
}

impl Listed for Row {
    const COLUMNS: &'static [Column] = &[
        Column::text("host", "Host"),
        Column::text("service", "Services"),
        Column::count("sent", "Sent"),
        Column::ratio("loss", "Lost"),
        Column::time("rtt", "RTT"),
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "host" => Value::text(self.host),
            "service" => Value::Texts(self.services.iter().map(|name| (*name).into()).collect()),
            "sent" => Value::count(self.sent),
            "loss" => Value::ratio(self.lost, self.sent),
            "rtt" => Value::nanos(self.rtt),
            _ => Value::Missing,
        }
    }
}

fn rows() -> Vec<Row> {
    let row = |host, services: &[&'static str], lost, sent, rtt| Row {
        host,
        services: services.to_vec(),
        lost,
        sent,
        rtt,
    };
    vec![
        row("gpu2", &["train", "store=a"], 1, 100, Some(12_000)),
        row("gpu10", &[], 0, 0, None),
        row("GPU1", &["Train"], 50, 100, Some(3_000_000)),
        row("web 1", &["web"], 0, 2_000, Some(900)),
    ]
}

fn shown(filter: &str) -> Vec<&'static str> {
    let filter = Filter::parse(filter, Row::COLUMNS).expect("a filter");
    let found = rows().into_iter().filter(|row| filter.matches(row));
    found.map(|row| row.host).collect()
}

#[test]
fn filters_let_through_what_they_say() {
    let cases: [(&str, &[&str]); 25] = [
        ("", &["gpu2", "gpu10", "GPU1", "web 1"]),
        ("  ", &["gpu2", "gpu10", "GPU1", "web 1"]),
        ("gpu", &["gpu2", "gpu10", "GPU1"]),
        ("!gpu", &["web 1"]),
        ("gpu train", &["gpu2", "GPU1"]),
        ("host=gpu1", &["GPU1"]),
        ("host=gpu1*", &["gpu10", "GPU1"]),
        ("host=*u*", &["gpu2", "gpu10", "GPU1"]),
        ("host=*1", &["GPU1", "web 1"]),
        ("host=gpu1,gpu2", &["gpu2", "GPU1"]),
        ("host!=gpu1,gpu2", &["gpu10", "web 1"]),
        ("!host=gpu1,gpu2", &["gpu10", "web 1"]),
        ("host~PU1", &["gpu10", "GPU1"]),
        ("host=\"web 1\"", &["web 1"]),
        ("\"web 1\"", &["web 1"]),
        ("service=train", &["gpu2", "GPU1"]),
        ("service=\"store=a\"", &["gpu2"]),
        ("\"store=a\"", &["gpu2"]),
        ("loss>=1%", &["gpu2", "GPU1"]),
        ("loss>0.01", &["GPU1"]),
        ("loss=0", &["web 1"]),
        ("rtt<1us", &["web 1"]),
        ("rtt>=12µs rtt<=3ms", &["gpu2", "GPU1"]),
        ("rtt!=12us", &["gpu10", "GPU1", "web 1"]),
        ("sent>100 loss<1%", &["web 1"]),
    ];
    for (filter, wanted) in cases {
        assert_eq!(shown(filter), wanted, "{filter}");
    }
}

#[test]
fn what_is_wrong_with_a_filter_or_an_order_is_said() {
    let many = "a ".repeat(17);
    let long = "a".repeat(513);
    let mut lines: Vec<String> = [
        "colour=red",
        "=red",
        "host=",
        "host<gpu1",
        "loss>much",
        "loss>inf",
        "rtt>12",
        "sent>1k",
        "\"web 1",
        "an_endless_name_that_nobody_wants_to_read_again_in_a_message=1",
        many.as_str(),
        long.as_str(),
    ]
    .iter()
    .map(|text| {
        let error = Filter::parse(text, Row::COLUMNS).expect_err("no filter");
        error.to_string()
    })
    .collect();
    for text in ["", "-", "colour", "--loss"] {
        let error = Order::parse(text, Row::COLUMNS).expect_err("no order");
        lines.push(error.to_string());
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn rows_are_ordered_and_those_without_a_value_are_last() {
    let sorted = |order: &str| {
        let mut rows = rows();
        let order = Order::parse(order, Row::COLUMNS).expect("an order");
        order.sort(&mut rows);
        let hosts: Vec<_> = rows.iter().map(|row| row.host).collect();
        hosts.join(" ")
    };
    assert_eq!(sorted("host"), "GPU1 gpu2 gpu10 web 1");
    assert_eq!(sorted("-host"), "web 1 gpu10 gpu2 GPU1");
    assert_eq!(sorted("rtt"), "web 1 gpu2 GPU1 gpu10");
    assert_eq!(sorted("-rtt"), "GPU1 gpu2 web 1 gpu10");
    assert_eq!(sorted("-loss"), "GPU1 gpu2 web 1 gpu10");
    assert_eq!(sorted("service"), "GPU1 gpu2 web 1 gpu10");
    for column in Row::COLUMNS {
        let order = Order::by(*column);
        assert_eq!(Order::parse(&order.to_string(), Row::COLUMNS), Ok(order));
        assert_eq!(order.reversed().reversed(), order);
    }
}

#[test]
fn names_are_ordered_as_people_count() {
    let mut names = [
        "tor10", "tor2", "a", "tor2-b", "tor02", "tor", "", "tor2-a", "9", "10", "ä1",
    ];
    names.sort_by(|a, b| natural(a, b));
    insta::assert_snapshot!(names.join("|"), @"|9|10|a|tor|tor2|tor2-a|tor2-b|tor02|tor10|ä1");
}

proptest! {
    /// Sorting and searching need an order: total, and the same for equal names only.
    #[test]
    fn the_order_is_total(a in "[a0-9-]{0,6}", b in "[a0-9-]{0,6}", c in "[a0-9-]{0,6}") {
        prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
        prop_assert_eq!(natural(&a, &b).is_eq(), a == b);
        if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
            prop_assert!(natural(&a, &c).is_le());
        }
    }

    /// Whatever somebody types is a filter or an error in words; a filter and its negation share no row.
    #[test]
    fn any_text_is_taken_or_refused(text in "(host|loss|rtt|[!=~<>,*\"a% ä]){0,12}") {
        match Filter::parse(&text, Row::COLUMNS) {
            Ok(filter) => {
                let kept = rows().iter().filter(|row| filter.matches(*row)).count();
                prop_assert!(kept == rows().len() || !filter.is_empty());
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    /// A row is found by each of its names, put in quotation marks.
    #[test]
    fn a_value_finds_its_row(row in 0..4usize) {
        let rows = rows();
        let filter = Filter::parse(&format!("host=\"{}\"", rows[row].host), Row::COLUMNS).expect("a filter");
        let found: Vec<_> = rows.iter().filter(|row| filter.matches(*row)).collect();
        prop_assert_eq!(found, vec![&rows[row]]);
    }
}
