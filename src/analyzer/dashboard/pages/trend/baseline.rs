//! A range beside the same time a week before: only steps that are kept of both weeks are compared.

use crate::analysis::trend::{Point, Series, Step};
use crate::analyzer::dashboard::format;
use crate::analyzer::trends::{Range, TrendReader, Values};
use crate::store::StoreError;
use crate::time::Nanos;

const WEEK: Nanos = Nanos(7 * 24 * 60 * 60 * 1_000_000_000);
/// Fewer steps of the week before than this share, in percent, are not compared.
const ENOUGH: usize = 90;

/// What a series counted in a range and in the same range a week before.
#[derive(Debug)]
pub(super) struct Weeks {
    /// The step of `values`.
    pub(super) step: Step,
    pub(super) values: Values,
    /// The step of `before`: that of `values`, or a longer one.
    pub(super) before_step: Step,
    /// A week before, with times that are moved by a week into the range.
    pub(super) before: Values,
}

impl Weeks {
    /// Where nothing is kept.
    pub(super) const fn none(step: Step) -> Self {
        Self {
            step,
            values: Vec::new(),
            before_step: step,
            before: Vec::new(),
        }
    }

    /// Reads both weeks.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn read(
        trends: &TrendReader,
        series: &Series,
        range: Range,
    ) -> Result<Self, StoreError> {
        let past = range.moved(Nanos(-WEEK.0));
        let (step, before_step) = (trends.step_for(range), trends.step_for(past));
        let values = trends.read(series, step, range).await?;
        let before = trends.read(series, before_step, past).await?;
        Ok(Self {
            step,
            values,
            before_step,
            before: before
                .into_iter()
                .map(|(at, point)| (at + WEEK, point))
                .collect(),
        })
    }

    /// `p99 is 2.1 times that of a week before`; says so where too little is kept.
    pub(super) fn baseline(&self) -> String {
        let mut now = in_steps(self.before_step, &self.values);
        let mut before = in_steps(self.before_step, &self.before);
        if before.is_empty() {
            return "Nothing is kept of the same time a week before.".to_owned();
        }
        let wanted = now.len();
        keep_common(&mut now, &before);
        keep_common(&mut before, &now);
        let unit = match self.before_step {
            Step::Minute => "minutes",
            Step::TenMinutes => "steps of ten minutes",
            Step::Hour => "hours",
        };
        let few = format!(
            "only {} of {wanted} {unit} of the week before are kept",
            now.len()
        );
        if wanted == 0 {
            return format!("No {unit} of this range can be compared with the week before yet.");
        }
        if now.len() * 100 < wanted * ENOUGH {
            return format!("Not compared with the week before: {few}.");
        }
        let text = compared(&all(&now), &all(&before));
        if now.len() < wanted {
            format!("{text} These steps are compared: {few}.")
        } else {
            text
        }
    }
}

/// All points as one.
pub(super) fn all(values: &Values) -> Point {
    let mut sum = Point::default();
    for point in values.iter().filter_map(|(_, point)| point.as_ref()) {
        sum.merge(point);
    }
    sum
}

/// What is kept, in steps that are as long or longer.
fn in_steps(step: Step, values: &Values) -> Values {
    let mut merged = Values::new();
    for (at, point) in values {
        let (Some(point), begin) = (point, step.begin(*at)) else {
            continue;
        };
        match merged.last_mut() {
            Some((last, Some(sum))) if *last == begin => Point::merge(sum, point),
            _ => merged.push((begin, Some(point.clone()))),
        }
    }
    merged
}

/// Leaves those steps that are among `others`, too.
fn keep_common(values: &mut Values, others: &Values) {
    values.retain(|(at, _)| others.binary_search_by_key(at, |(at, _)| *at).is_ok());
}

/// Two sums of the same steps.
fn compared(sum: &Point, before: &Point) -> String {
    let lost = format!(
        "lost {} and {}",
        format::loss(sum.lost, sum.sent),
        format::loss(before.lost, before.sent)
    );
    let (Some(p99), Some(old)) = (sum.quantile(0.99), before.quantile(0.99)) else {
        return format!("No RTT can be compared with the week before; {lost}.");
    };
    let times = p99.0 as f64 / old.0.max(1) as f64;
    // The sketches are right to 6 %.
    let verdict = match times {
        ..0.88 => format!("p99 is {times:.2} times that of the same time a week before: lower"),
        0.88..=1.13 => "p99 is as it was at the same time a week before".to_owned(),
        _ => format!("p99 is {times:.1} times that of the same time a week before"),
    };
    format!(
        "{verdict} ({} and {}); {lost}.",
        format::span(p99),
        format::span(old),
    )
}

#[cfg(test)]
mod tests;
