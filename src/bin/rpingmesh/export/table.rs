//! A table in one of the formats.

use std::io::{self, Write};

use super::cell::{Cell, Column};
use super::csv::Csv;
use super::parquet::Parquet;

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
