//! Errors as text.

use std::error::Error;
use std::fmt::Write as _;

/// An error with all its causes in one line: `cannot read x: permission denied`.
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            let _ = write!(text, ": {next_text}");
        }
        cause = next.source();
    }
    text
}
