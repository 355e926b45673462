//! Tables: columns with types, rows of cells, and where they are written.

use std::io::{self, Write};

use super::csv::Csv;
use super::parquet::Parquet;

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

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Comma-separated values (RFC 4180), times in UTC to the second
    Csv,
    /// Apache Parquet, compressed with zstd, times in UTC to the microsecond
    Parquet,
}

/// A table while it is written.
pub(super) enum Table<W: Write> {
    Csv(Csv<W>),
    Parquet(Parquet<W>),
}

impl<W: Write> Table<W> {
    /// Begins a table.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn begin(format: Format, columns: &[Column], out: W) -> io::Result<Self> {
        Ok(match format {
            Format::Csv => Self::Csv(Csv::begin(columns, out)?),
            Format::Parquet => Self::Parquet(Parquet::begin(columns, out)?),
        })
    }

    /// Writes a row; it has as many cells as there are columns.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        match self {
            Self::Csv(csv) => csv.row(cells),
            Self::Parquet(parquet) => parquet.row(cells),
        }
    }

    /// Writes what is left. A Parquet file can be read only after this.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Csv(csv) => csv.finish(),
            Self::Parquet(parquet) => parquet.finish(),
        }
    }
}
