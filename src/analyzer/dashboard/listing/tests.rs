use super::*;
use crate::api::list::Value;

struct Row(&'static str, u64);

impl Listed for Row {
    const COLUMNS: &'static [Column] =
        &[Column::text("host", "Host"), Column::count("lost", "Lost")];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "host" => Value::text(self.0),
            "lost" => Value::count(self.1),
            _ => Value::Missing,
        }
    }
}

fn parse(query: &[(&str, &str)]) -> Result<Listing, String> {
    let pairs: Vec<_> = query
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Listing::parse::<Row>(&pairs, "window", |key, _| Ok(key == "window"))
}

#[test]
fn links_of_the_head_keep_everything_else() {
    let listing = parse(&[("window", "5s"), ("filter", "a&b =\"#\"")]);
    assert!(listing.is_err(), "a column without a name");
    let listing = parse(&[("window", "5s"), ("filter", " a&b#% "), ("sort", "-lost")]);
    let listing = listing.expect("a query");
    let kept = vec![("window", "5s".to_owned())];
    let controls = listing.controls::<Row>("/x", kept);
    let links: Vec<_> = controls
        .heads
        .iter()
        .map(|head| (head.href.as_str(), head.sorted, head.is_number))
        .collect();
    let filter = "filter=a%26b%23%25";
    assert_eq!(
        links,
        [
            (
                format!("/x?window=5s&{filter}&sort=host").as_str(),
                None,
                false
            ),
            (
                format!("/x?window=5s&{filter}&sort=lost").as_str(),
                Some("descending"),
                true
            ),
        ]
    );
    assert_eq!(controls.usual.as_deref(), Some("/x?window=5s"));
    assert_eq!(
        parse(&[])
            .expect("empty")
            .controls::<Row>("/x", Vec::new())
            .usual,
        None
    );
}

#[test]
fn rows_are_left_out_and_sorted() {
    let rows = || vec![Row("tor2", 0), Row("tor10", 7), Row("spine1", 9)];
    let shown = |query: &[(&str, &str)]| {
        let mut rows = rows();
        parse(query).expect("a query").apply(&mut rows);
        let names: Vec<_> = rows.iter().map(|row| row.0).collect();
        names.join(" ")
    };
    assert_eq!(shown(&[]), "tor2 tor10 spine1");
    assert_eq!(shown(&[("filter", ""), ("sort", "")]), "tor2 tor10 spine1");
    assert_eq!(shown(&[("sort", "host")]), "spine1 tor2 tor10");
    assert_eq!(shown(&[("filter", "tor lost>0")]), "tor10");
}

#[test]
fn what_is_malformed_is_named() {
    let lines: Vec<_> = [
        [("sort", "colour")],
        [("filter", "colour=red")],
        [("colour", "red")],
    ]
    .iter()
    .map(|query| parse(query).expect_err("malformed"))
    .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
