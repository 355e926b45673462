//! Apache Parquet (the format's specification and `parquet.thrift`, version 2.11): what every reader has to know of it.
//!
//! ```text
//! file     = "PAR1" *( row group ) metadata length(4 bytes) "PAR1"
//! group    = one page per column
//! page     = header body                          the body is compressed with zstd
//! body     = length(4 bytes) definition-levels values
//! ```
//!
//! Header and metadata are structures in Thrift's compact protocol ([`super::thrift`]). Definition levels say which rows have a
//! value (1): runs of equal levels, each a count times two and one byte. Values stand one after the other (encoding PLAIN): numbers in
//! 8 bytes, texts with their length in 4 bytes before them. Numbers are little-endian.
//!
//! Rows wait in memory until there are [`MOST_ROWS`] of them or their values have [`MOST_BYTES`].

use std::io::{self, Write};

use super::cell::{Cell, Column, Kind};
use super::thrift::{Struct, zigzag};

const MAGIC: &[u8] = b"PAR1";
/// Rows of a group.
const MOST_ROWS: usize = 65_536;
/// Bytes of values of a group: far below what a page can have.
const MOST_BYTES: usize = 16 << 20;
/// zstd's level.
const LEVEL: i32 = 3;

/// `Type`
const INT64: i32 = 2;
const DOUBLE: i32 = 5;
const BYTE_ARRAY: i32 = 6;
/// `FieldRepetitionType`
const OPTIONAL: i32 = 1;
/// `ConvertedType`, for readers that know no logical types.
const UTF8: i32 = 0;
const TIMESTAMP_MICROS: i32 = 10;
/// `Encoding`
const PLAIN: i32 = 0;
const RLE: i32 = 3;
/// `CompressionCodec`
const ZSTD: i32 = 6;
/// `PageType`
const DATA_PAGE: i32 = 0;
/// `FileMetaData.version`
const FORMAT_VERSION: i32 = 1;

/// The values of a column that wait, and which rows have one.
#[derive(Debug, Default)]
struct Waiting {
    values: Vec<u8>,
    is_there: Vec<bool>,
}

/// A page of a column that is written.
#[derive(Debug)]
struct Chunk {
    offset: i64,
    rows: i64,
    compressed: i64,
    uncompressed: i64,
}

/// A table while it is written.
pub(super) struct Parquet<W: Write> {
    out: W,
    columns: Vec<Column>,
    waiting: Vec<Waiting>,
    /// The pages of each group, by column.
    groups: Vec<Vec<Chunk>>,
    /// Bytes that are written.
    at: i64,
}

impl<W: Write> Parquet<W> {
    pub(super) fn begin(columns: &[Column], mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self {
            out,
            columns: columns.to_vec(),
            waiting: columns.iter().map(|_| Waiting::default()).collect(),
            groups: Vec::new(),
            at: length(MAGIC)?,
        })
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        if cells.len() != self.columns.len() {
            return Err(io::Error::other(
                "a row has not as many cells as the table has columns",
            ));
        }
        for ((cell, column), waiting) in cells.into_iter().zip(&self.columns).zip(&mut self.waiting)
        {
            waiting.add(&cell, *column)?;
        }
        let rows = self
            .waiting
            .first()
            .map_or(0, |column| column.is_there.len());
        let bytes: usize = self.waiting.iter().map(|column| column.values.len()).sum();
        if rows >= MOST_ROWS || bytes >= MOST_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.write_group()?;
        let metadata = self.metadata();
        self.out.write_all(&metadata)?;
        let length = u32::try_from(metadata.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(MAGIC)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Writes the rows that wait, if there are any.
    fn write_group(&mut self) -> io::Result<()> {
        if self.waiting.iter().all(|column| column.is_there.is_empty()) {
            return Ok(());
        }
        let mut chunks = Vec::with_capacity(self.columns.len());
        for waiting in &mut self.waiting {
            let column = std::mem::take(waiting);
            let body = column.body()?;
            let compressed = zstd::encode_all(&body[..], LEVEL)?;
            let header = page_header(&column, body.len(), compressed.len())?;
            self.out.write_all(&header)?;
            self.out.write_all(&compressed)?;
            let chunk = Chunk {
                offset: self.at,
                rows: i64::try_from(column.is_there.len()).map_err(io::Error::other)?,
                compressed: length(&header)? + length(&compressed)?,
                uncompressed: length(&header)? + length(&body)?,
            };
            self.at += chunk.compressed;
            chunks.push(chunk);
        }
        self.groups.push(chunks);
        Ok(())
    }

    /// `FileMetaData`
    fn metadata(&self) -> Vec<u8> {
        let mut root = Struct::new();
        root.text(4, "schema");
        root.i32(5, i32::try_from(self.columns.len()).unwrap_or(i32::MAX));
        let schema = std::iter::once(root).chain(self.columns.iter().map(schema_element));
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|group| self.row_group(group))
            .collect();
        let mut file = Struct::new();
        file.i32(1, FORMAT_VERSION);
        file.structs(2, &schema.collect::<Vec<_>>());
        file.i64(3, self.groups.iter().map(|group| rows(group)).sum());
        file.structs(4, &groups);
        file.text(6, concat!("rpingmesh version ", env!("CARGO_PKG_VERSION")));
        file.end()
    }

    /// `RowGroup`
    fn row_group(&self, group: &[Chunk]) -> Struct {
        let columns = self.columns.iter().zip(group);
        let columns: Vec<_> = columns
            .map(|(column, chunk)| column_chunk(column, chunk))
            .collect();
        let mut row_group = Struct::new();
        row_group.structs(1, &columns);
        row_group.i64(2, group.iter().map(|chunk| chunk.uncompressed).sum());
        row_group.i64(3, rows(group));
        row_group
    }
}

fn rows(group: &[Chunk]) -> i64 {
    group.first().map_or(0, |chunk| chunk.rows)
}

fn length(bytes: &[u8]) -> io::Result<i64> {
    i64::try_from(bytes.len()).map_err(io::Error::other)
}

impl Waiting {
    fn add(&mut self, cell: &Cell, column: Column) -> io::Result<()> {
        match (cell, column.kind) {
            (Cell::Nothing, _) => {}
            (Cell::Text(text), Kind::Text) => {
                let length = u32::try_from(text.len()).map_err(io::Error::other)?;
                self.values.extend(length.to_le_bytes());
                self.values.extend(text.as_bytes());
            }
            (Cell::Integer(number), Kind::Integer) => self.values.extend(number.to_le_bytes()),
            (Cell::Real(number), Kind::Real) => self.values.extend(number.to_le_bytes()),
            (Cell::Time(unix_ns), Kind::Time) => {
                self.values.extend((unix_ns / 1_000).to_le_bytes());
            }
            (other, kind) => {
                let name = column.name;
                return Err(io::Error::other(format!(
                    "{name} is of {kind:?}, not {other:?}"
                )));
            }
        }
        self.is_there.push(*cell != Cell::Nothing);
        Ok(())
    }

    /// The body of a page before it is compressed.
    fn body(&self) -> io::Result<Vec<u8>> {
        let levels = levels(&self.is_there);
        let length = u32::try_from(levels.len()).map_err(io::Error::other)?;
        Ok([&length.to_le_bytes()[..], &levels, &self.values].concat())
    }
}

/// Definition levels in runs (`RLE`, one bit wide).
fn levels(is_there: &[bool]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in is_there.chunk_by(|a, b| a == b) {
        super::thrift::varint((run.len() as u64) << 1, &mut bytes);
        bytes.push(u8::from(run.first() == Some(&true)));
    }
    bytes
}

/// `PageHeader`
fn page_header(column: &Waiting, uncompressed: usize, compressed: usize) -> io::Result<Vec<u8>> {
    let size = |bytes: usize| i32::try_from(bytes).map_err(io::Error::other);
    let mut page = Struct::new();
    page.i32(1, size(column.is_there.len())?);
    page.i32(2, PLAIN);
    page.i32(3, RLE);
    page.i32(4, RLE);
    let mut header = Struct::new();
    header.i32(1, DATA_PAGE);
    header.i32(2, size(uncompressed)?);
    header.i32(3, size(compressed)?);
    header.inner(5, page);
    Ok(header.end())
}

const fn physical(kind: Kind) -> i32 {
    match kind {
        Kind::Text => BYTE_ARRAY,
        Kind::Integer | Kind::Time => INT64,
        Kind::Real => DOUBLE,
    }
}

/// `SchemaElement`
fn schema_element(column: &Column) -> Struct {
    let mut element = Struct::new();
    element.i32(1, physical(column.kind));
    element.i32(3, OPTIONAL);
    element.text(4, column.name);
    let mut logical = Struct::new();
    match column.kind {
        Kind::Text => {
            element.i32(6, UTF8);
            // `LogicalType.STRING`
            logical.inner(1, Struct::new());
        }
        Kind::Time => {
            element.i32(6, TIMESTAMP_MICROS);
            // `TimeUnit.MICROS`
            let mut unit = Struct::new();
            unit.inner(2, Struct::new());
            let mut timestamp = Struct::new();
            timestamp.bool(1, true);
            timestamp.inner(2, unit);
            // `LogicalType.TIMESTAMP`, adjusted to UTC
            logical.inner(8, timestamp);
        }
        Kind::Integer | Kind::Real => return element,
    }
    element.inner(10, logical);
    element
}

/// `ColumnChunk`
fn column_chunk(column: &Column, chunk: &Chunk) -> Struct {
    let mut meta = Struct::new();
    meta.i32(1, physical(column.kind));
    meta.numbers(2, &[PLAIN, RLE].map(|encoding| zigzag(i64::from(encoding))));
    meta.texts(3, &[column.name]);
    meta.i32(4, ZSTD);
    meta.i64(5, chunk.rows);
    meta.i64(6, chunk.uncompressed);
    meta.i64(7, chunk.compressed);
    meta.i64(9, chunk.offset);
    let mut column_chunk = Struct::new();
    column_chunk.i64(2, chunk.offset);
    column_chunk.inner(3, meta);
    column_chunk
}

#[cfg(test)]
mod tests;
