//! Numbers as people read them.

use std::time::{Duration, UNIX_EPOCH};

use crate::time::{Nanos, WallTime};

/// What stands where nothing is known.
pub(super) const NOTHING: &str = "–";

/// `12.3 µs`: three digits that say something.
pub(super) fn span(span: Nanos) -> String {
    let value = span.0 as f64;
    let (value, unit) = match span.0.unsigned_abs() {
        0..1_000 => return format!("{} ns", span.0),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let digits = match value.abs() {
        magnitude if magnitude < 9.995 => 2,
        magnitude if magnitude < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// [`span`], or [`NOTHING`].
pub(super) fn maybe_span(span: Option<Nanos>) -> String {
    span.map_or_else(|| NOTHING.to_owned(), self::span)
}

/// A share from 0 to 1 in per cent; a small one is never rounded to nothing.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent <= 0.0 {
        return "0 %".to_owned();
    }
    if percent < 0.01 {
        return "<0.01 %".to_owned();
    }
    let digits = usize::from(percent < 9.95) + usize::from(percent < 0.995);
    format!("{percent:.digits$} %")
}

/// `lost` of `sent` in per cent, or [`NOTHING`].
pub(super) fn loss(lost: u64, sent: u64) -> String {
    if sent == 0 {
        return NOTHING.to_owned();
    }
    percent(lost as f64 / sent as f64)
}

/// Digits in groups of three.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `5 min`: one unit, rounded down.
pub(super) fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `2026-11-26 13:07:31 UTC`.
pub(super) fn time(at: WallTime) -> String {
    format!("{} UTC", stamp(at).replace('T', " ").trim_end_matches('Z'))
}

/// `2026-11-26T13:07:31Z`, for machines.
pub(super) fn stamp(at: WallTime) -> String {
    let nanos = u64::try_from(at.nanos()).unwrap_or(0);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(nanos)).to_string()
}

/// `2026-11-26T13:07`, as `<input type="datetime-local">` has it, in UTC.
pub(super) fn minute(at: WallTime) -> String {
    stamp(at).chars().take(16).collect()
}

/// A part of a URL's path or query.
pub(super) fn escaped(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(text, KEEP).to_string()
}
