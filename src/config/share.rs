//! Shares in the notation people write.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A share of a whole: `0.1%`, or `0.001`; at most all of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, scale) = match text.strip_suffix('%') {
            Some(digits) => (digits, 100.0),
            None => (text, 1.0),
        };
        digits
            .trim()
            .parse::<f64>()
            .ok()
            .map(|value| value / scale)
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a share such as 0.1% or 0.001, from 0 to 100%"))
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_written_alike() {
        for (text, share, written) in [
            ("0%", 0.0, "0%"),
            ("0.1%", 0.001, "0.1%"),
            ("0.25", 0.25, "25%"),
            ("100%", 1.0, "100%"),
        ] {
            let read: Share = text.parse().expect("a share");
            assert!((read.0 - share).abs() < 1e-12, "{text}");
            assert_eq!(read.to_string(), written);
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "%", "101%", "-1%", "1.5", "NaN", "0.1 percent"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
