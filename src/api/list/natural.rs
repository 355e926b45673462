//! The order of names as people count.

use std::cmp::Ordering;

/// `tor2` before `tor10`: runs of digits compare as numbers.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (left, right) = (run(a), run(b));
        if left.is_empty() || right.is_empty() {
            return left.len().cmp(&right.len());
        }
        let ordering = if left[0].is_ascii_digit() && right[0].is_ascii_digit() {
            let (x, y) = (without_zeros(left), without_zeros(right));
            (x.len(), x)
                .cmp(&(y.len(), y))
                .then(left.len().cmp(&right.len()))
        } else {
            left.cmp(right)
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
        (a, b) = (&a[left.len()..], &b[right.len()..]);
    }
}

/// The digits, or the other characters, that a name begins with.
fn run(text: &[u8]) -> &[u8] {
    let Some(first) = text.first() else {
        return text;
    };
    let digits = first.is_ascii_digit();
    let end = text.iter().position(|byte| byte.is_ascii_digit() != digits);
    &text[..end.unwrap_or(text.len())]
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}
