//! Structures in Thrift's compact protocol, as far as Parquet's metadata needs it.
//!
//! A field is the difference of its number to the one before (4 bits) and its type (4 bits), then the value. Whole numbers are
//! zigzag LEB128; texts and lists have their length before them; a zero ends a structure.

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A structure whose fields are added in the order of their numbers, which differ by 1 to 15.
#[derive(Debug, Default)]
pub(super) struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

/// A number in LEB128.
pub(super) fn varint(number: u64, bytes: &mut Vec<u8>) {
    let mut rest = number;
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push((rest & 0x7f) as u8);
}

/// A number with its sign in the lowest bit.
pub(super) const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

impl Struct {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn field(&mut self, number: u8, kind: u8) {
        self.bytes.push((number - self.last) << 4 | kind);
        self.last = number;
    }

    pub(super) fn bool(&mut self, field: u8, value: bool) {
        self.field(field, if value { TRUE } else { FALSE });
    }

    pub(super) fn i32(&mut self, field: u8, value: i32) {
        self.field(field, I32);
        varint(zigzag(i64::from(value)), &mut self.bytes);
    }

    pub(super) fn i64(&mut self, field: u8, value: i64) {
        self.field(field, I64);
        varint(zigzag(value), &mut self.bytes);
    }

    pub(super) fn text(&mut self, field: u8, value: &str) {
        self.field(field, BINARY);
        self.bare_text(value);
    }

    fn bare_text(&mut self, value: &str) {
        varint(value.len() as u64, &mut self.bytes);
        self.bytes.extend(value.as_bytes());
    }

    pub(super) fn inner(&mut self, field: u8, value: Self) {
        self.field(field, STRUCT);
        self.bytes.extend(value.end());
    }

    pub(super) fn structs(&mut self, field: u8, values: &[Self]) {
        self.list(field, STRUCT, values.len());
        for value in values {
            self.bytes.extend(&value.bytes);
            self.bytes.push(0);
        }
    }

    pub(super) fn texts(&mut self, field: u8, values: &[&str]) {
        self.list(field, BINARY, values.len());
        for value in values {
            self.bare_text(value);
        }
    }

    /// A list of `i32`, given in zigzag.
    pub(super) fn numbers(&mut self, field: u8, values: &[u64]) {
        self.list(field, I32, values.len());
        for value in values {
            varint(*value, &mut self.bytes);
        }
    }

    fn list(&mut self, field: u8, kind: u8, length: usize) {
        self.field(field, LIST);
        match u8::try_from(length) {
            Ok(short) if short < 15 => self.bytes.push(short << 4 | kind),
            _ => {
                self.bytes.push(0xf0 | kind);
                varint(length as u64, &mut self.bytes);
            }
        }
    }

    /// Its bytes with its end.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}
