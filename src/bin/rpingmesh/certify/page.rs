//! A report as one HTML page that needs nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rpingmesh::analysis::certify::{CONFIDENCE, LinkResult, Report};

use super::text::{span, state, verdict};

/// Columns of the picture; of a larger fabric the table alone says what is known.
const MOST_COLUMNS: usize = 256;
/// Rows of it.
const MOST_ROWS: usize = 1_024;
/// Links in the table.
const MOST_LINKS: usize = 5_000;
/// Width and height of a cell.
const CELL: usize = 14;
/// Width of a row's name.
const NAME: usize = 140;

const STYLE: &str = "\
:root{color-scheme:light dark;--shown:#2e7d32;--open:#f9a825;--unseen:#9e9e9e;--faulty:#c62828}\
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #8884}\
.wide{overflow-x:auto}svg text{font-size:11px;fill:currentColor}\
.shown{fill:var(--shown)}.open{fill:var(--open)}.unseen{fill:var(--unseen)}.faulty{fill:var(--faulty)}";

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>rpingmesh certify</title><style>{STYLE}</style></head><body>\n<main><h1>{}</h1>\n",
        escaped(verdict(report))
    );
    let _ = writeln!(
        page,
        "<p>{} RNICs, {} links. {} links are shown to lose at most {:e} of their packets, each at {} %. \
         {} probes with known paths over {} count, {} of them were lost.</p>",
        report.rnics,
        report.links.len(),
        report.proven,
        report.loss,
        CONFIDENCE * 100.0,
        report.probes,
        span(report.covered_ns),
        report.lost
    );
    list(
        &mut page,
        "Faults",
        report.faults.iter().map(|fault| &*fault.text),
    );
    picture(&mut page, &report.links);
    table(&mut page, &report.links);
    list(&mut page, "Notes", report.notes.iter().map(String::as_str));
    list(
        &mut page,
        "Not checked",
        report.not_checked.iter().map(String::as_str),
    );
    page.push_str("</main></body></html>\n");
    page
}

fn list<'a>(page: &mut String, heading: &str, lines: impl Iterator<Item = &'a str>) {
    let lines: Vec<&str> = lines.collect();
    if lines.is_empty() {
        return;
    }
    let _ = write!(page, "<h2>{heading}</h2>\n<ul>");
    for line in lines {
        let _ = write!(page, "<li>{}</li>", escaped(line));
    }
    page.push_str("</ul>\n");
}

/// A row for each node that sends, a cell for each link that leaves it.
fn picture(page: &mut String, links: &[LinkResult]) {
    let mut rows: BTreeMap<&str, Vec<&LinkResult>> = BTreeMap::new();
    for link in links {
        rows.entry(&link.from).or_default().push(link);
    }
    // An RNIC has one link, which stands beside that of its ToR.
    rows.retain(|_, links| links.len() > 1);
    let columns = rows.values().map(Vec::len).max().unwrap_or(0);
    if columns == 0 || columns > MOST_COLUMNS || rows.len() > MOST_ROWS {
        return;
    }
    let back: BTreeMap<(&str, &str), &LinkResult> = links
        .iter()
        .map(|link| ((&*link.from, &*link.to), link))
        .collect();
    let (width, height) = (NAME + columns * CELL, rows.len() * CELL);
    let _ = write!(
        page,
        "<h2>Links</h2>\n<p>A row for each switch, a cell for each of its links: what it sends above, what it receives below. \
         Green is shown, yellow open, grey unseen, red faulty.</p>\n\
         <div class=\"wide\"><svg role=\"img\" aria-label=\"State of each link by switch\" width=\"{width}\" height=\"{height}\">"
    );
    for (row, (node, links)) in rows.iter_mut().enumerate() {
        links.sort_by(|a, b| a.to.cmp(&b.to));
        let y = row * CELL;
        let _ = write!(
            page,
            "<text x=\"0\" y=\"{}\">{}</text>",
            y + CELL - 3,
            escaped(node)
        );
        for (column, link) in links.iter().enumerate() {
            let x = NAME + column * CELL;
            let half = CELL / 2 - 1;
            cell(page, link, (x, y, half));
            if let Some(back) = back.get(&(&*link.to, &*link.from)) {
                cell(page, back, (x, y + half, half));
            }
        }
    }
    page.push_str("</svg></div>\n");
}

fn cell(page: &mut String, link: &LinkResult, (x, y, height): (usize, usize, usize)) {
    let _ = write!(
        page,
        "<rect class=\"{}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{height}\"><title>{}</title></rect>",
        state(link.state),
        CELL - 2,
        escaped(&words(link))
    );
}

fn words(link: &LinkResult) -> String {
    let (from, to) = (&link.from, &link.to);
    format!(
        "{from}->{to}: {}, at most {:.1e}",
        state(link.state),
        link.bound
    )
}

fn table(page: &mut String, links: &[LinkResult]) {
    page.push_str(
        "<h2>Bounds</h2>\n<div class=\"wide\"><table><thead><tr><th scope=\"col\">Link</th><th scope=\"col\">State</th>\
         <th scope=\"col\">Loses at most</th><th scope=\"col\">Probes</th><th scope=\"col\">Lost</th></tr></thead><tbody>\n",
    );
    for link in links.iter().take(MOST_LINKS) {
        let (from, to) = (escaped(&link.from), escaped(&link.to));
        let state = state(link.state);
        let _ = writeln!(
            page,
            "<tr><td>{from} → {to}</td><td>{state}</td><td>{:.1e}</td><td>{}</td><td>{}</td></tr>",
            link.bound, link.sent, link.lost
        );
    }
    page.push_str("</tbody></table></div>\n");
    if links.len() > MOST_LINKS {
        let _ = writeln!(
            page,
            "<p>And {} links more; --json has them.</p>",
            links.len() - MOST_LINKS
        );
    }
}
