//! `/trend/KIND/A/B`: loss and round trips of a pair of ToRs, an RNIC, a link or a service over a range of the past.

mod baseline;

use super::frame::Frame;
use super::parts::{
    Choice, Fact, PageError, link_href, pair_href, rnic_href, service_href, trend_path,
};
use crate::analysis::trend::{Kind, Point, Series, Spans, Step};
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::chart::{Chart, Line};
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::query::{Pairs, When, at, each, written};
use crate::analyzer::trends::{MOST_POINTS, Range, Values};
use crate::time::{Nanos, WallTime};
use askama::Template as Page;
use baseline::{Weeks, all};

const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;
/// The shortest range, and the longest, in nanoseconds: one that a chart shows as a whole, hour by hour.
const SHORTEST: i64 = MINUTE;
const LONGEST: i64 = 16 * 24 * HOUR;
/// Ranges up to now, in hours, by their names.
const LAST: [(&str, i64); 5] = [("1h", 1), ("6h", 6), ("1d", 24), ("2d", 48), ("7d", 168)];
/// What a page without parameters shows.
const USUAL: &str = "6h";

/// A step, for people.
#[derive(Debug)]
struct Row {
    stamp: String,
    when: String,
    sent: String,
    lost: String,
    loss: String,
    p50: String,
    p99: String,
}

#[derive(Debug, Page)]
#[template(path = "trend.html")]
pub(in crate::analyzer::dashboard) struct Trend {
    page: Frame,
    title: String,
    /// The page of what it is about, as it is now.
    subject: String,
    ranges: Vec<Choice>,
    /// Beginning and end, for machines and for people.
    from: (String, String),
    to: (String, String),
    steps: Vec<Choice>,
    step: i16,
    facts: Vec<Fact>,
    /// How it compares with a week before.
    baseline: String,
    /// RTT and loss; of an RNIC also the delays at its host.
    charts: Vec<(&'static str, Chart)>,
    rows: Vec<Row>,
}

/// Which range is asked for.
#[derive(Debug, Default)]
struct Asked {
    last: Option<i64>,
    from: Option<WallTime>,
    to: Option<WallTime>,
}

impl Asked {
    fn parse(pairs: &Pairs) -> Result<Self, String> {
        let mut asked = Self::default();
        each(pairs, "last, from or to", |key, value| {
            match key {
                "last" => asked.last = Some(last(value)?),
                "from" => {
                    asked.from = at(value).map_err(|error| error.replace("`at`", "`from`"))?;
                }
                "to" => asked.to = at(value).map_err(|error| error.replace("`at`", "`to`"))?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(asked)
    }

    fn range(&self, now: WallTime) -> Result<Range, String> {
        if self.last.is_some() && (self.from.is_some() || self.to.is_some()) {
            return Err("`last` ends now; do not combine it with `from` or `to`".to_owned());
        }
        let usual = LAST.iter().find(|(name, _)| *name == USUAL);
        let hours = self.last.or(usual.map(|(_, hours)| *hours)).unwrap_or(6);
        // Whole minutes: links of one minute are the same for everybody.
        let end = Step::Minute.begin(self.to.unwrap_or(now));
        let range = Range {
            from: self.from.unwrap_or(end + Nanos(-hours * HOUR)),
            to: end,
        };
        match range.length().0 {
            ..SHORTEST => Err("`from` must be a minute before `to`, or more".to_owned()),
            SHORTEST..=LONGEST => Ok(range),
            _ => Err(
                "`from` and `to` are more than 16 days apart: a chart shows at most 400 hours. Ask for parts of the range."
                    .to_owned(),
            ),
        }
    }
}

fn last(text: &str) -> Result<i64, String> {
    let known = LAST.iter().find(|(name, _)| *name == text);
    known
        .map(|(_, hours)| *hours)
        .ok_or_else(|| "`last` must be 1h, 6h, 1d, 2d or 7d".to_owned())
}

/// The series of a kind that an address names: a service has one name, everything else two.
pub(in crate::analyzer::dashboard) fn series(
    kind: &str,
    first: String,
    second: Option<String>,
) -> Result<Series, PageError> {
    let mut all = Kind::ALL.into_iter();
    let known = all.find(|known| known.name() == kind);
    known
        .filter(|kind| (*kind == Kind::Service) == second.is_none())
        .map(|kind| Series::new(kind, first, second.unwrap_or_default()))
        .ok_or_else(|| {
            PageError::NotFound(
                "There are trends of /trend/tor/A/B, /trend/rnic/HOST/DEVICE, /trend/link/A/B and /trend/service/NAME.".to_owned(),
            )
        })
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
    series: Series,
) -> Result<Trend, PageError> {
    let now = board.parts.clock.wall();
    let asked = Asked::parse(pairs).map_err(PageError::BadRequest)?;
    let range = asked.range(now).map_err(PageError::BadRequest)?;
    let trends = &board.parts.trends;
    let Some(oldest) = trends.oldest().await? else {
        let mut empty = made(
            board,
            &series,
            (range, now),
            &Weeks::none(trends.step_for(range)),
        );
        "No trend is kept yet: the first point comes with the next full minute."
            .clone_into(&mut empty.baseline);
        return Ok(empty);
    };
    if range.to <= oldest {
        return Err(PageError::NotFound(format!(
            "This range ends before the history begins: the oldest point is of {}.",
            format::time(oldest)
        )));
    }
    let weeks = Weeks::read(trends, &series, range).await?;
    if all(&weeks.values).is_empty() && !is_known(board, &series, (oldest, now)).await? {
        return Err(PageError::NotFound(format!(
            "Nothing is kept of {} in the whole history.",
            title(&series)
        )));
    }
    Ok(made(board, &series, (range, now), &weeks))
}

/// Whether anything is kept of it, looked for hour by hour and then in the newest minutes.
async fn is_known(
    board: &Dashboard,
    series: &Series,
    (oldest, now): (WallTime, WallTime),
) -> Result<bool, PageError> {
    let trends = &board.parts.trends;
    for step in [Step::Minute, Step::TenMinutes, Step::Hour] {
        let kept = Nanos::from(step.kept(trends.retention));
        let begin = oldest.max(now + Nanos(-kept.0));
        let most = i64::try_from(MOST_POINTS).unwrap_or(1);
        let portion = Nanos(step.nanos().0 * (most - 1));
        let mut to = now;
        while to > begin {
            let from = begin.max(to + Nanos(-portion.0));
            let values = trends.read(series, step, Range { from, to }).await?;
            if !all(&values).is_empty() {
                return Ok(true);
            }
            to = from;
        }
    }
    Ok(false)
}

fn title(series: &Series) -> String {
    match series.kind {
        Kind::TorPair | Kind::Link => format!("{} → {}", series.first, series.second),
        Kind::Rnic => format!("{}/{}", series.first, series.second),
        Kind::Service => series.first.clone(),
    }
}

fn subject(series: &Series) -> String {
    let (first, second) = (&series.first, &series.second);
    match series.kind {
        Kind::TorPair => pair_href(first, second, When::default()),
        Kind::Rnic => rnic_href(first, second, None),
        Kind::Link => link_href(first, second, None),
        Kind::Service => service_href(first, None),
    }
}

fn href(series: &Series, range: Range) -> String {
    let seconds = |at: WallTime| (at.nanos() / 1_000_000_000).to_string();
    let pairs = [("from", seconds(range.from)), ("to", seconds(range.to))];
    trend_path(series.kind, &series.first, &series.second) + &written(&pairs)
}

fn made(
    board: &Dashboard,
    series: &Series,
    (range, now): (Range, WallTime),
    weeks: &Weeks,
) -> Trend {
    let mut page = Frame::new(board, format!("Trend of {}", title(series)), "overview");
    page.live = false;
    let link = |range: Range| href(series, range);
    let named = |at: WallTime| (format::stamp(at), format::time(at));
    Trend {
        page,
        title: title(series),
        subject: subject(series),
        ranges: ranges(series, range, now),
        from: named(range.from),
        to: named(range.to),
        steps: steps(range, now, &link),
        step: weeks.step.minutes(),
        facts: facts(&all(&weeks.values)),
        baseline: weeks.baseline(),
        charts: charts(series.kind, range, weeks, &link),
        rows: weeks
            .values
            .iter()
            .filter_map(|(at, point)| Some(row(*at, point.as_ref()?)))
            .collect(),
    }
}

/// Ranges that end now.
fn ranges(series: &Series, range: Range, now: WallTime) -> Vec<Choice> {
    let path = trend_path(series.kind, &series.first, &series.second);
    let ends_now = range.to == Step::Minute.begin(now);
    LAST.iter()
        .map(|(name, hours)| Choice {
            title: format!("last {name}"),
            href: format!("{path}?last={name}"),
            current: ends_now && range.length() == Nanos(hours * HOUR),
        })
        .collect()
}

/// Other ranges: before, after, a third of this one, three times this one.
fn steps(range: Range, now: WallTime, href: &dyn Fn(Range) -> String) -> Vec<Choice> {
    let length = range.length().0;
    let choice = |title: &str, range: Range| Choice {
        title: title.to_owned(),
        href: href(range),
        current: false,
    };
    let mut steps = vec![choice("earlier", range.moved(Nanos(-length)))];
    if range.to < Step::Minute.begin(now) {
        steps.push(choice("later", range.moved(Nanos(length))));
    }
    let third = length / 3 / MINUTE * MINUTE;
    if third >= 5 * MINUTE {
        let from = range.from + Nanos(third);
        let to = from + Nanos(third);
        steps.push(choice("zoom in", Range { from, to }));
    }
    if length <= LONGEST / 3 {
        let wide = Range {
            from: range.from + Nanos(-length),
            to: (range.to + Nanos(length)).min(Step::Minute.begin(now).max(range.to)),
        };
        steps.push(choice("zoom out", wide));
    }
    steps
}

fn facts(sum: &Point) -> Vec<Fact> {
    let count = format!(
        "{} of {} probes",
        format::count(sum.lost),
        format::count(sum.sent)
    );
    vec![
        Fact::new("Lost", format::loss(sum.lost, sum.sent), count),
        Fact::new(
            "RTT median",
            format::maybe_span(sum.quantile(0.5)),
            "over the whole range",
        ),
        Fact::new(
            "RTT p99",
            format::maybe_span(sum.quantile(0.99)),
            "over the whole range, to 6 %",
        ),
    ]
}

/// The values of a line.
fn line_values(
    values: &Values,
    of: &dyn Fn(&Point) -> Option<f64>,
) -> Vec<(WallTime, Option<f64>)> {
    let value = |point: &Option<Point>| point.as_ref().and_then(of);
    values
        .iter()
        .map(|(at, point)| (*at, value(point)))
        .collect()
}

/// Median and 99th percentile of spans, with the latter a week before.
fn spans_chart(
    title: &str,
    (range, weeks): (Range, &Weeks),
    of: fn(&Point) -> &Spans,
    href: &dyn Fn(Range) -> String,
) -> Chart {
    let quantile = |q: f64| move |point: &Point| of(point).quantile(q).map(|nanos| nanos.0 as f64);
    let p50 = line_values(&weeks.values, &quantile(0.5));
    let p99 = line_values(&weeks.values, &quantile(0.99));
    let week = line_values(&weeks.before, &quantile(0.99));
    let lines = [
        line("before", "p99 a week before", &week, weeks.before_step),
        line("p99", "p99", &p99, weeks.step),
        line("p50", "median", &p50, weeks.step),
    ];
    Chart::draw(title, range, &lines, span, href)
}

fn line<'a>(
    class: &'static str,
    title: &'static str,
    values: &'a [(WallTime, Option<f64>)],
    step: Step,
) -> Line<'a> {
    Line {
        class,
        title,
        values,
        length: step.nanos(),
    }
}

fn loss_chart(title: &str, range: Range, weeks: &Weeks, href: &dyn Fn(Range) -> String) -> Chart {
    let loss = line_values(&weeks.values, &Point::loss);
    let old_loss = line_values(&weeks.before, &Point::loss);
    let lines = [
        line("before", "a week before", &old_loss, weeks.before_step),
        line("loss", "lost", &loss, weeks.step),
    ];
    Chart::draw(title, range, &lines, format::percent, href)
}

fn charts(
    kind: Kind,
    range: Range,
    weeks: &Weeks,
    href: &dyn Fn(Range) -> String,
) -> Vec<(&'static str, Chart)> {
    let (rtt, lost) = ("Network RTT", "Lost probes");
    let spans =
        |title, of: fn(&Point) -> &Spans| (title, spans_chart(title, (range, weeks), of, href));
    let mut charts = vec![
        spans(rtt, |point| &point.rtt),
        (lost, loss_chart(lost, range, weeks, href)),
    ];
    if kind == Kind::Rnic {
        charts.extend([
            spans("Prober delay", |point| &point.prober_delay),
            spans("Responder delay", |point| &point.responder_delay),
        ]);
    }
    charts
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a span that was a whole number of nanoseconds"
)]
fn span(nanos: f64) -> String {
    format::span(Nanos(nanos as i64))
}

fn row(at: WallTime, point: &Point) -> Row {
    Row {
        stamp: format::stamp(at),
        when: format::time(at),
        sent: format::count(point.sent),
        lost: format::count(point.lost),
        loss: format::loss(point.lost, point.sent),
        p50: format::maybe_span(point.quantile(0.5)),
        p99: format::maybe_span(point.quantile(0.99)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::trend;

    #[test]
    fn every_range_that_is_taken_has_its_place_on_a_chart() {
        let from = WallTime::from_nanos(1);
        let times = trend::steps(Step::Hour, from, from + Nanos(LONGEST), usize::MAX);
        assert!(times.len() <= MOST_POINTS, "{}", times.len());
    }
}
