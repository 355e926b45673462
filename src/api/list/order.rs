//! By which column a list is ordered: `loss`, or `-loss` for the largest first.

use std::cmp::Ordering;
use std::fmt;

use super::{Column, Kind, Listed, Value, cut, find, names, natural};

/// Why a text is not an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no column `{name}` to sort by: use {known}. A `-` before the name puts the largest first"
)]
pub struct OrderError {
    name: String,
    known: String,
}

/// A column, and the direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    column: Column,
    descending: bool,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.descending { "-" } else { "" };
        write!(f, "{sign}{}", self.column.name)
    }
}

impl Order {
    /// By this column: the largest first for numbers, since that is the worst, the smallest first for texts.
    pub const fn by(column: Column) -> Self {
        Self {
            column,
            descending: !matches!(column.kind, Kind::Text),
        }
    }

    /// From its text, for a list with these columns.
    ///
    /// # Errors
    /// The list has no such column; the message names those that it has.
    pub fn parse(text: &str, columns: &'static [Column]) -> Result<Self, OrderError> {
        let (name, descending) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let column = find(name, columns).ok_or_else(|| OrderError {
            name: cut(name),
            known: names(columns),
        })?;
        Ok(Self { column, descending })
    }

    /// The column.
    pub const fn column(self) -> Column {
        self.column
    }

    /// Whether the largest comes first.
    pub const fn is_descending(self) -> bool {
        self.descending
    }

    /// The other direction.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            descending: !self.descending,
            ..self
        }
    }

    /// Sorts rows. Rows without a value come last in both directions; equal rows keep their order.
    pub fn sort<T: Listed>(self, rows: &mut Vec<T>) {
        let mut keyed: Vec<_> = rows.drain(..).map(|row| (self.key(&row), row)).collect();
        keyed.sort_by(|(a, _), (b, _)| self.compare(a.as_ref(), b.as_ref()));
        rows.extend(keyed.into_iter().map(|(_, row)| row));
    }

    fn key<T: Listed>(self, row: &T) -> Option<Key> {
        match row.value(self.column.name) {
            Value::Text(text) if !text.is_empty() => Some(Key::Text(text.into_owned())),
            Value::Texts(texts) => texts
                .into_iter()
                .next()
                .map(|text| Key::Text(text.into_owned())),
            Value::Number(number) if !number.is_nan() => Some(Key::Number(number)),
            Value::Text(_) | Value::Number(_) | Value::Missing => None,
        }
    }

    fn compare(self, a: Option<&Key>, b: Option<&Key>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.descending => b.compare(a),
            (Some(a), Some(b)) => a.compare(b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

/// A value that is compared again and again.
enum Key {
    Text(String),
    Number(f64),
}

impl Key {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => natural(a, b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}
