//! A chart over time as SVG, made here: no script, no style in the page, a link on each part of it. Pure.

use std::fmt::Write as _;

use super::format;
use crate::analyzer::trends::Range;
use crate::time::{Nanos, WallTime};

/// The picture's size, in its own units, and where the plot stands in it.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// Steps of the value's axis.
const ROWS: u32 = 4;
/// Parts of the chart that lead into it.
const PARTS: u8 = 12;
/// The most ticks of time.
const MOST_TICKS: i64 = 9;
/// Spans between two ticks of time, in minutes.
const TICKS: [i64; 13] = [
    5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440, 2_880, 10_080, 40_320,
];
const MINUTE: i64 = 60_000_000_000;

/// One line of a chart.
pub(super) struct Line<'a> {
    /// Its name in the style sheet.
    pub(super) class: &'static str,
    /// In the legend.
    pub(super) title: &'static str,
    /// Steps in order, when each begins, and its value; gaps stay gaps.
    pub(super) values: &'a [(WallTime, Option<f64>)],
    /// How long each step is.
    pub(super) length: Nanos,
}

/// A line as it is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) class: &'static str,
    pub(super) title: &'static str,
    /// The path's commands; empty without any value.
    pub(super) path: String,
}

/// A mark of an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) at: String,
    pub(super) label: String,
}

/// A part of the chart that leads to a range of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) x: String,
    pub(super) width: String,
    pub(super) href: String,
    pub(super) label: String,
}

/// A chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chart {
    pub(super) lines: Vec<Drawn>,
    pub(super) rows: Vec<Tick>,
    pub(super) columns: Vec<Tick>,
    pub(super) parts: Vec<Part>,
    /// What it says in one sentence, for those who do not see it.
    pub(super) summary: String,
}

impl Chart {
    pub(super) const WIDTH: f64 = WIDTH;
    pub(super) const HEIGHT: f64 = HEIGHT;
    pub(super) const LEFT: f64 = LEFT;
    pub(super) const TOP: f64 = TOP;
    pub(super) const RIGHT_END: f64 = WIDTH - RIGHT;
    pub(super) const PLOT_HEIGHT: f64 = HEIGHT - TOP - BOTTOM;
    pub(super) const PLOT_END: f64 = HEIGHT - BOTTOM;

    /// Draws lines over a range. `text` writes a value, `href` makes the address of a range.
    pub(super) fn draw(
        title: &str,
        range: Range,
        lines: &[Line<'_>],
        text: fn(f64) -> String,
        href: &dyn Fn(Range) -> String,
    ) -> Self {
        let values = lines.iter().flat_map(|line| line.values);
        let values = values.filter_map(|(_, value)| *value);
        let largest = values.fold(0.0, f64::max);
        let top = nice(largest);
        let height = |value: f64| Self::PLOT_END - Self::PLOT_HEIGHT * (value / top).min(1.0);
        let rows = (0..=ROWS).map(|row| {
            let value = top * f64::from(row) / f64::from(ROWS);
            Tick {
                at: short(height(value)),
                label: text(value),
            }
        });
        Self {
            rows: rows.collect(),
            columns: columns(range),
            parts: parts(range, href),
            summary: format!(
                "{title} from {} to {}, at most {}",
                format::time(range.from),
                format::time(range.to),
                text(largest)
            ),
            lines: lines
                .iter()
                .map(|line| Drawn {
                    class: line.class,
                    title: line.title,
                    path: path(range, line, &height),
                })
                .collect(),
        }
    }
}

/// One digit after the point: a tenth of a pixel.
fn short(number: f64) -> String {
    format!("{number:.1}")
}

/// The next number of the form 1, 2 or 5 times a power of ten; 1 for nothing.
fn nice(largest: f64) -> f64 {
    if !largest.is_finite() || largest <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(largest.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let fits = steps.into_iter().find(|step| *step >= largest * 0.999_999);
    fits.unwrap_or(power * 10.0)
}

/// Where a share of the range is, from left to right.
fn across(share: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * share
}

/// Where a time is in the plot; at its edge if it is outside of the range.
fn place(range: Range, at: WallTime) -> f64 {
    let share = (at - range.from).0 as f64 / range.length().0.max(1) as f64;
    across(share.clamp(0.0, 1.0))
}

/// The commands of a line: each step is a level piece, pieces beside each other are joined.
fn path(range: Range, line: &Line<'_>, height: &dyn Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut is_down_at = None;
    for (at, value) in line.values {
        let end = *at + line.length;
        let Some(value) = value.filter(|_| end > range.from && *at < range.to) else {
            continue;
        };
        let (x, y) = (short(place(range, end)), short(height(value)));
        // Writing to a string cannot fail.
        let _ = if is_down_at == Some(*at) {
            write!(path, "V{y}H{x}")
        } else {
            write!(path, "M{} {y}H{x}", short(place(range, *at)))
        };
        is_down_at = Some(end);
    }
    path
}

/// The marks of time: whole hours, days or other spans of UTC.
fn columns(range: Range) -> Vec<Tick> {
    let length = range.length().0.max(1);
    let span = TICKS
        .into_iter()
        .map(|minutes| minutes * MINUTE)
        .find(|span| length / span <= MOST_TICKS)
        .unwrap_or(length);
    let from = range.from.nanos();
    let first = from + (span - from.rem_euclid(span)) % span;
    let ticks = (0..=MOST_TICKS).map(|number| first + number * span);
    ticks
        .take_while(|at| *at <= range.to.nanos())
        .map(|at| {
            let share = (at - from) as f64 / length as f64;
            let stamp = format::stamp(WallTime::from_nanos(at));
            let (date, time) = stamp.split_once('T').unwrap_or((&stamp, ""));
            let is_day = span >= 1_440 * MINUTE || time.starts_with("00:00");
            let label = if is_day { date.get(5..) } else { time.get(..5) };
            Tick {
                at: short(across(share)),
                label: label.unwrap_or_default().to_owned(),
            }
        })
        .collect()
}

/// Parts that lead to themselves, down to a few minutes.
fn parts(range: Range, href: &dyn Fn(Range) -> String) -> Vec<Part> {
    let length = range.length().0 / i64::from(PARTS);
    if length < 5 * MINUTE {
        return Vec::new();
    }
    (0..PARTS)
        .map(|number| {
            let from = range.from + Nanos(length * i64::from(number));
            let part = Range {
                from,
                to: from + Nanos(length),
            };
            let share = f64::from(number) / f64::from(PARTS);
            Part {
                x: short(across(share)),
                width: short((WIDTH - LEFT - RIGHT) / f64::from(PARTS)),
                href: href(part),
                label: format!(
                    "from {} to {}",
                    format::time(part.from),
                    format::time(part.to)
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
