//! What is written is read again by a reader of the tests' own; the profile `external` has DuckDB read it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::cell::{integer, real, text, time};
use super::*;

/// A value of Thrift.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Bool(bool),
    Number(i64),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Struct(BTreeMap<u8, Value>),
}

impl Value {
    fn at(&self, field: u8) -> &Self {
        match self {
            Self::Struct(fields) => fields
                .get(&field)
                .unwrap_or_else(|| panic!("no field {field}: {self:?}")),
            other => panic!("no structure: {other:?}"),
        }
    }

    fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("no number: {other:?}"),
        }
    }

    fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            other => panic!("no list: {other:?}"),
        }
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("few")
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().expect("more bytes");
        self.0 = rest;
        *first
    }

    fn varint(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    fn value(&mut self, kind: u8) -> Value {
        match kind {
            1 | 2 => Value::Bool(kind == 1),
            5 | 6 => {
                let number = self.varint();
                Value::Number((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
            }
            8 => {
                let length = usize::try_from(self.varint()).expect("a length");
                let (bytes, rest) = self.0.split_at(length);
                self.0 = rest;
                Value::Bytes(bytes.to_vec())
            }
            9 => {
                let head = self.byte();
                let length = if head >> 4 == 15 {
                    self.varint()
                } else {
                    u64::from(head >> 4)
                };
                Value::List((0..length).map(|_| self.value(head & 15)).collect())
            }
            12 => self.structure(),
            other => panic!("type {other}"),
        }
    }

    fn structure(&mut self) -> Value {
        let mut fields = BTreeMap::new();
        let mut field = 0;
        loop {
            let head = self.byte();
            if head == 0 {
                return Value::Struct(fields);
            }
            assert_ne!(head >> 4, 0, "differences only");
            field += head >> 4;
            let value = self.value(head & 15);
            fields.insert(field, value);
        }
    }
}

fn metadata(file: &[u8]) -> Value {
    assert!(file.starts_with(MAGIC) && file.ends_with(MAGIC));
    let end = file.len() - 8;
    let length = u32::from_le_bytes(file[end..end + 4].try_into().expect("four bytes"));
    let mut reader = Reader(&file[end - length as usize..end]);
    let metadata = reader.structure();
    assert!(reader.0.is_empty());
    metadata
}

/// The cells of one column of a group.
fn column(file: &[u8], chunk: &Value, kind: Kind) -> Vec<Cell> {
    let meta = chunk.at(3);
    let begin = usize::try_from(meta.at(9).number()).expect("an offset");
    let size = usize::try_from(meta.at(7).number()).expect("a size");
    let mut page = Reader(&file[begin..begin + size]);
    let header = page.structure();
    assert_eq!(signed(page.0.len()), header.at(3).number());
    let body = zstd::decode_all(page.0).expect("zstd");
    assert_eq!(signed(body.len()), header.at(2).number());
    let rows = header.at(5).at(1).number();
    let (length, rest) = body.split_at(4);
    let (levels, values) =
        rest.split_at(u32::from_le_bytes(length.try_into().expect("four")) as usize);
    let (mut levels, mut values) = (Reader(levels), Reader(values));
    let mut cells = Vec::new();
    while !levels.0.is_empty() {
        let run = levels.varint();
        assert_eq!(run & 1, 0, "a run of equal levels");
        let is_there = levels.byte() == 1;
        for _ in 0..run >> 1 {
            cells.push(if is_there {
                cell(&mut values, kind)
            } else {
                Cell::Nothing
            });
        }
    }
    assert_eq!(signed(cells.len()), rows);
    assert!(values.0.is_empty());
    cells
}

fn cell(values: &mut Reader<'_>, kind: Kind) -> Cell {
    let mut taken = |count: usize| {
        let (taken, rest) = values.0.split_at(count);
        values.0 = rest;
        taken.to_vec()
    };
    if kind == Kind::Text {
        let length = u32::from_le_bytes(taken(4).try_into().expect("four"));
        return Cell::Text(String::from_utf8(taken(length as usize)).expect("UTF-8"));
    }
    let bytes = taken(8).try_into().expect("eight");
    match kind {
        Kind::Real => Cell::Real(f64::from_le_bytes(bytes)),
        Kind::Time => Cell::Time(i64::from_le_bytes(bytes) * 1_000),
        Kind::Integer | Kind::Text => Cell::Integer(i64::from_le_bytes(bytes)),
    }
}

const COLUMNS: [Column; 4] = [time("start"), text("what"), integer("sent"), real("share")];

fn written(rows: &[Vec<Cell>]) -> Vec<u8> {
    let mut table = Parquet::begin(&COLUMNS, Vec::new()).expect("begun");
    for row in rows {
        table.row(row.clone()).expect("written");
    }
    table.finish().expect("finished")
}

fn read(file: &[u8]) -> Vec<Vec<Cell>> {
    let metadata = metadata(file);
    let mut rows = Vec::new();
    for group in metadata.at(4).list() {
        let chunks = group.at(1).list().iter().zip(COLUMNS);
        let columns: Vec<_> = chunks
            .map(|(chunk, of)| column(file, chunk, of.kind))
            .collect();
        let count = usize::try_from(group.at(3).number()).expect("rows");
        rows.extend((0..count).map(|row| {
            columns
                .iter()
                .map(|column| column[row].clone())
                .collect::<Vec<_>>()
        }));
    }
    assert_eq!(signed(rows.len()), metadata.at(3).number());
    rows
}

#[test]
fn columns_have_names_and_types() {
    let schema = metadata(&written(&[]));
    assert_eq!(schema.at(3), &Value::Number(0));
    assert_eq!(schema.at(4), &Value::List(Vec::new()));
    let elements = schema.at(2).list();
    assert_eq!(elements[0].at(5), &Value::Number(4));
    let seen: Vec<_> = elements[1..]
        .iter()
        .map(|one| (one.at(4).clone(), one.at(1).number(), one.at(3).number()))
        .collect();
    let name = |name: &str| Value::Bytes(name.as_bytes().to_vec());
    assert_eq!(
        seen,
        [
            (name("start"), 2, 1),
            (name("what"), 6, 1),
            (name("sent"), 2, 1),
            (name("share"), 5, 1)
        ]
    );
    let timestamp = elements[1].at(10).at(8);
    assert_eq!(timestamp.at(1), &Value::Bool(true), "in UTC");
    assert_eq!(
        timestamp.at(2).at(2),
        &Value::Struct(BTreeMap::new()),
        "in microseconds"
    );
    assert_eq!(
        elements[2].at(10).at(1),
        &Value::Struct(BTreeMap::new()),
        "UTF-8"
    );
}

#[test]
fn many_rows_are_several_groups() {
    let rows: Vec<_> = (0..signed(MOST_ROWS) + 10)
        .map(|number| {
            vec![
                Cell::Time(number * 1_000),
                Cell::Text(format!("tor{}", number % 7)),
                Cell::Integer(number),
                Cell::Nothing,
            ]
        })
        .collect();
    let file = written(&rows);
    assert_eq!(metadata(&file).at(4).list().len(), 2);
    assert!(read(&file) == rows);
    assert!(file.len() < 8 * rows.len(), "{} bytes", file.len());
    // Few rows that are large.
    let large: Vec<_> = (0..3)
        .map(|_| {
            vec![
                Cell::Nothing,
                Cell::Text("x".repeat(MOST_BYTES / 2)),
                Cell::Nothing,
                Cell::Nothing,
            ]
        })
        .collect();
    let file = written(&large);
    assert_eq!(metadata(&file).at(4).list().len(), 2);
    assert!(read(&file) == large);
}

fn any_cell(kind: Kind) -> BoxedStrategy<Cell> {
    let filled = match kind {
        Kind::Text => ".{0,12}".prop_map(Cell::Text).boxed(),
        Kind::Integer => any::<i64>().prop_map(Cell::Integer).boxed(),
        Kind::Real => (-1e9..1e9).prop_map(Cell::Real).boxed(),
        Kind::Time => (0..1i64 << 50)
            .prop_map(|micros| Cell::Time(micros * 1_000))
            .boxed(),
    };
    prop_oneof![3 => filled, 1 => Just(Cell::Nothing)].boxed()
}

fn any_row() -> impl Strategy<Value = Vec<Cell>> {
    COLUMNS
        .map(|column| any_cell(column.kind))
        .prop_map(Vec::from)
}

proptest! {
    #[test]
    fn what_is_written_is_read(rows in prop::collection::vec(any_row(), 0..40)) {
        prop_assert_eq!(read(&written(&rows)), rows);
    }
}
