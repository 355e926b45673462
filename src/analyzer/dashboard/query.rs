//! What stands behind the `?` of a page: parsed strictly, and written again for links.

use std::time::SystemTime;

use super::format::escaped;
use super::grid::{Metric, Part};
use crate::analysis::windows::WindowLength;
use crate::time::WallTime;

/// The longest address of a page: names, nothing else, need room.
pub(super) const LONGEST: usize = 2_048;

/// The pairs of a query string.
pub(super) type Pairs = [(String, String)];

/// Goes through the pairs and refuses what is unknown or given twice.
pub(super) fn each(
    pairs: &Pairs,
    expected: &str,
    mut take: impl FnMut(&str, &str) -> Result<bool, String>,
) -> Result<(), String> {
    for (index, (key, value)) in pairs.iter().enumerate() {
        if pairs[..index].iter().any(|(earlier, _)| earlier == key) {
            return Err(format!("`{key}` is given twice"));
        }
        if !take(key, value)? {
            return Err(format!("`{key}` is unknown: expected {expected}"));
        }
    }
    Ok(())
}

/// What of the matrix is looked at, how, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) metric: Metric,
    pub(super) window: WindowLength,
    pub(super) rows: Part,
    pub(super) columns: Part,
    /// A point of the past.
    pub(super) at: Option<WallTime>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            metric: Metric::default(),
            window: WindowLength::Middle,
            rows: None,
            columns: None,
            at: None,
        }
    }
}

impl View {
    pub(super) fn parse(pairs: &Pairs) -> Result<Self, String> {
        let mut view = Self::default();
        let mut ends: [Option<String>; 4] = [const { None }; 4];
        each(
            pairs,
            "metric, window, at, rows_from, rows_to, cols_from or cols_to",
            |key, value| {
                match key {
                    "metric" => view.metric = metric(value)?,
                    "window" => view.window = window(value)?,
                    "at" => view.at = at(value)?,
                    "rows_from" => ends[0] = Some(value.to_owned()),
                    "rows_to" => ends[1] = Some(value.to_owned()),
                    "cols_from" => ends[2] = Some(value.to_owned()),
                    "cols_to" => ends[3] = Some(value.to_owned()),
                    _ => return Ok(false),
                }
                Ok(true)
            },
        )?;
        let [rows_from, rows_to, cols_from, cols_to] = ends;
        view.rows = part("rows", rows_from, rows_to)?;
        view.columns = part("cols", cols_from, cols_to)?;
        Ok(view)
    }

    /// The query string, `?` included, without what is as usual.
    pub(super) fn query(&self) -> String {
        let usual = Self::default();
        let mut pairs: Vec<(&str, String)> = Vec::new();
        if self.metric != usual.metric {
            pairs.push(("metric", self.metric.name().to_owned()));
        }
        if self.window != usual.window {
            pairs.push(("window", self.window.name().to_owned()));
        }
        pairs.extend(at_pair(self.at));
        for (part, from, to) in [
            (&self.rows, "rows_from", "rows_to"),
            (&self.columns, "cols_from", "cols_to"),
        ] {
            if let Some((first, last)) = part {
                pairs.push((from, first.clone()));
                pairs.push((to, last.clone()));
            }
        }
        written(&pairs)
    }
}

/// When what a page shows was measured: over a window that ends now, or in a minute of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct When {
    /// Without a meaning in the past, but kept for the way back.
    pub(super) window: WindowLength,
    pub(super) at: Option<WallTime>,
}

impl Default for When {
    fn default() -> Self {
        Self {
            window: WindowLength::Middle,
            at: None,
        }
    }
}

impl When {
    /// Takes one parameter; whether it is one of these.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "window" => self.window = window(value)?,
            "at" => self.at = at(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The parameters, without what is as usual.
    pub(super) fn pairs(self) -> Vec<(&'static str, String)> {
        let window = (self.window != WindowLength::Middle)
            .then(|| ("window", self.window.name().to_owned()));
        window.into_iter().chain(at_pair(self.at)).collect()
    }

    /// The query string, `?` included, without what is as usual.
    pub(super) fn query(self) -> String {
        written(&self.pairs())
    }
}

/// Whether a time is asked for, well formed or not.
pub(super) fn has_at(pairs: &Pairs) -> bool {
    pairs
        .iter()
        .any(|(key, value)| key == "at" && !value.is_empty())
}

/// The `at` of a page that has no other parameters.
pub(super) fn only_at(pairs: &Pairs) -> Result<Option<WallTime>, String> {
    let mut found = None;
    each(pairs, "at", |key, value| {
        if key == "at" {
            found = at(value)?;
        }
        Ok(key == "at")
    })?;
    Ok(found)
}

/// The parameter that says when.
pub(super) fn at_pair(at: Option<WallTime>) -> Option<(&'static str, String)> {
    at.map(|at| ("at", (at.nanos() / 1_000_000_000).to_string()))
}

/// A query string that says when and nothing else; empty for now.
pub(super) fn at_query(at: Option<WallTime>) -> String {
    written(at_pair(at).as_slice())
}

/// A query string, `?` included; empty without pairs.
pub(super) fn written(pairs: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        text.push(if text.is_empty() { '?' } else { '&' });
        text += key;
        text.push('=');
        text += &escaped(value);
    }
    text
}

fn part(name: &str, from: Option<String>, to: Option<String>) -> Result<Part, String> {
    match (from, to) {
        (None, None) => Ok(None),
        (Some(from), Some(to)) => Ok(Some((from, to))),
        _ => Err(format!("`{name}_from` and `{name}_to` belong together")),
    }
}

fn metric(text: &str) -> Result<Metric, String> {
    Metric::ALL
        .into_iter()
        .find(|metric| metric.name() == text)
        .ok_or_else(|| {
            format!(
                "`metric` must be loss, p50, p99, prober or responder, not `{}`",
                cut(text)
            )
        })
}

/// A window by its name in URLs.
pub(super) fn window(text: &str) -> Result<WindowLength, String> {
    WindowLength::ALL
        .into_iter()
        .find(|span| span.name() == text)
        .ok_or_else(|| format!("`window` must be 5s, 20s or 120s, not `{}`", cut(text)))
}

/// Seconds since 1970, or `2026-11-26T13:07` in UTC as a form sends it; nothing means now.
pub(super) fn at(text: &str) -> Result<Option<WallTime>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        format!(
            "`at` must be seconds since 1970 or a time such as 2026-11-26T13:07 (UTC), not `{}`",
            cut(text)
        )
    };
    let seconds = if let Ok(seconds) = text.parse::<u64>() {
        seconds
    } else {
        let full = match text.len() {
            16 => format!("{text}:00Z"),
            19 => format!("{text}Z"),
            _ => return Err(wrong()),
        };
        let time = humantime::parse_rfc3339(&full).map_err(|_| wrong())?;
        time.duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|_| wrong())?
            .as_secs()
    };
    let nanos = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1_000_000_000))
        // The year 2200: dates beyond have other digits.
        .filter(|nanos| *nanos < 7_258_118_400_000_000_000)
        .ok_or_else(wrong)?;
    Ok(Some(WallTime::from_nanos(nanos)))
}

/// A number of an incident.
pub(super) fn id(key: &str, text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{key}` must be a number, not `{}`", cut(text)))
}

/// The beginning of what somebody has sent.
fn cut(text: &str) -> String {
    let mut chars = text.chars();
    let mut beginning: String = chars.by_ref().take(40).collect();
    if chars.next().is_some() {
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests;
