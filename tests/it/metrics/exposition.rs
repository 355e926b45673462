//! Reads the OpenMetrics text that the programs serve.
//!
//! Of the format (OpenMetrics 1.0, section 5) it knows what `prometheus-client` writes: `HELP`, `TYPE` and `UNIT`
//! lines, samples with labels, `EOF`. Exemplars and time stamps are not read.

use std::collections::BTreeMap;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricKind {
    /// Only grows; its sample ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts per bucket, sum and count.
    Histogram,
    /// Labels that say something, the value is 1.
    Info,
    /// Anything else.
    Unknown,
}

impl MetricKind {
    /// Its name in `TYPE` lines.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
            Self::Unknown => "unknown",
        }
    }

    fn read(text: &str) -> Self {
        [Self::Counter, Self::Gauge, Self::Histogram, Self::Info]
            .into_iter()
            .find(|kind| kind.name() == text)
            .unwrap_or(Self::Unknown)
    }
}

/// One metric with all its samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Family {
    /// Its name, without the suffixes of its samples.
    pub name: String,
    /// What it is.
    pub kind: MetricKind,
    /// What it says.
    pub help: String,
    /// What it counts, where the name does not say it.
    pub unit: String,
    /// Its values.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// What follows the family's name: `_total`, `_bucket`, …
    pub suffix: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics cannot be read: {why}")]
pub(super) struct ExpositionError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// Reads a whole text.
///
/// # Errors
/// [`ExpositionError`] names the line.
pub(super) fn read(text: &str) -> Result<Vec<Family>, ExpositionError> {
    let mut families: Vec<Family> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fail = |why| ExpositionError {
            line: index + 1,
            why,
        };
        if line.is_empty() || line == "# EOF" {
            continue;
        }
        if let Some(comment) = line.strip_prefix("# ") {
            describe(&mut families, comment).map_err(fail)?;
            continue;
        }
        let family = families.last_mut().ok_or(fail("a sample of no metric"))?;
        let rest = line
            .strip_prefix(family.name.as_str())
            .ok_or(fail("a sample of another metric"))?;
        family.samples.push(sample(rest).map_err(fail)?);
    }
    Ok(families)
}

/// Takes `HELP NAME TEXT`, `TYPE NAME KIND`, `UNIT NAME UNIT`.
fn describe(families: &mut Vec<Family>, comment: &str) -> Result<(), &'static str> {
    let mut words = comment.splitn(3, ' ');
    let (Some(what), Some(name)) = (words.next(), words.next()) else {
        return Err("a comment without a name");
    };
    let text = words.next().unwrap_or_default();
    if families.last().is_none_or(|family| family.name != name) {
        families.push(Family {
            name: name.to_owned(),
            kind: MetricKind::Unknown,
            help: String::new(),
            unit: String::new(),
            samples: Vec::new(),
        });
    }
    let Some(family) = families.last_mut() else {
        return Ok(());
    };
    match what {
        // The registry ends each help text with a full stop.
        "HELP" => text.trim_end_matches('.').clone_into(&mut family.help),
        "TYPE" => family.kind = MetricKind::read(text),
        "UNIT" => text.clone_into(&mut family.unit),
        _ => {}
    }
    Ok(())
}

/// `_total{a="b"} 1`
fn sample(text: &str) -> Result<Sample, &'static str> {
    let end = text.find(['{', ' ']).ok_or("a sample without a value")?;
    let (suffix, mut rest) = text.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = read_labels(inner, &mut labels)?;
    }
    let value = rest
        .split_whitespace()
        .next()
        .ok_or("a sample without a value")?;
    Ok(Sample {
        suffix: suffix.to_owned(),
        labels,
        value: value.parse().map_err(|_| "a value that is no number")?,
    })
}

/// `a="b",c="d"} …`: gives what follows the brace.
fn read_labels<'a>(
    mut text: &'a str,
    labels: &mut BTreeMap<String, String>,
) -> Result<&'a str, &'static str> {
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Ok(rest);
        }
        let (name, rest) = text.split_once("=\"").ok_or("labels without an end")?;
        let (value, rest) = read_value(rest)?;
        labels.insert(name.to_owned(), value);
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// Up to the quotation mark that ends it; `\\`, `\"` and `\n` stand for what they escape.
fn read_value(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, character)) = chars.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err("a label without an end")
}

#[cfg(test)]
mod tests;
