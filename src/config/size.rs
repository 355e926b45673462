//! Amounts of storage in the notation people write.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::text_forms;

/// An amount of storage: `512KiB`, `64MiB`, `2GiB`, or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, shift) = UNITS
            .iter()
            .find_map(|(unit, shift)| text.strip_suffix(unit).map(|digits| (digits, *shift)))
            .unwrap_or((text, 0));
        digits
            .trim()
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is not a size such as 64MiB (units: KiB, MiB, GiB, or bytes without one)")
            })
    }
}

text_forms!(ByteSize);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, shift)| self.0 > 0 && self.0.is_multiple_of(1 << shift));
        match unit {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_alike() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1500),
            ("1KiB", 1024),
            ("3MiB", 3 << 20),
            ("2GiB", 2 << 30),
        ] {
            let size: ByteSize = text.parse().expect("size");
            assert_eq!(size, ByteSize(bytes));
            assert_eq!(size.to_string(), text);
        }
    }

    #[test]
    fn impossible_sizes_are_named() {
        for text in ["", "MiB", "-1", "1.5GiB", "1TB", "99999999999GiB"] {
            let error = text.parse::<ByteSize>().expect_err("refused");
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
