//! Columns with types, and the cells of their rows.

/// What a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Real,
    /// A point in time.
    Time,
}

/// A column; each may have gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// Columns of text.
pub(super) const fn text(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Text,
    }
}

/// Columns of whole numbers.
pub(super) const fn integer(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Integer,
    }
}

/// Columns of numbers.
pub(super) const fn real(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Real,
    }
}

/// Columns of points in time.
pub(super) const fn time(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Time,
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Integer(i64),
    Real(f64),
    /// Nanoseconds since 1970.
    Time(i64),
    /// Nothing is known.
    Nothing,
}

impl Cell {
    /// A point in time in nanoseconds since 1970.
    pub(super) fn time(unix_ns: Option<i64>) -> Self {
        unix_ns
            .filter(|nanos| *nanos >= 0)
            .map_or(Self::Nothing, Self::Time)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<Option<i64>> for Cell {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Nothing, Self::from)
    }
}
