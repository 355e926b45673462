//! Lists by columns: one grammar for filters and orders, for the dashboard's tables and the operator's commands alike.
//!
//! A type that can be listed names its columns ([`Listed`]). From these follow what a filter may ask ([`filter`]), by what
//! rows can be ordered ([`order`]), and what an error says about a column that does not exist.

pub mod filter;
mod natural;
pub mod order;

use std::borrow::Cow;

pub use filter::{Filter, FilterError};
pub use natural::natural;
pub use order::{Order, OrderError};

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, compared without regard to case.
    Text,
    /// A number without a unit.
    Count,
    /// A ratio; a filter may give it in percent.
    Ratio,
    /// A span of time in nanoseconds; a filter gives it with its unit.
    Time,
}

/// A column of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// As filters and orders name it.
    pub name: &'static str,
    /// As people read it.
    pub title: &'static str,
    /// What its values are.
    pub kind: Kind,
}

impl Column {
    /// A column of texts.
    pub const fn text(name: &'static str, title: &'static str) -> Self {
        Self::new(name, title, Kind::Text)
    }

    /// A column of numbers.
    pub const fn count(name: &'static str, title: &'static str) -> Self {
        Self::new(name, title, Kind::Count)
    }

    /// A column of ratios.
    pub const fn ratio(name: &'static str, title: &'static str) -> Self {
        Self::new(name, title, Kind::Ratio)
    }

    /// A column of spans of time.
    pub const fn time(name: &'static str, title: &'static str) -> Self {
        Self::new(name, title, Kind::Time)
    }

    const fn new(name: &'static str, title: &'static str, kind: Kind) -> Self {
        Self { name, title, kind }
    }
}

/// What a row has in a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// Several texts: a filter holds if it holds for one of them.
    Texts(Vec<Cow<'a, str>>),
    /// A number, a ratio, or nanoseconds.
    Number(f64),
    /// Nothing is known.
    Missing,
}

impl<'a> Value<'a> {
    /// A text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// A whole number.
    pub const fn count(number: u64) -> Self {
        Self::Number(number as f64)
    }

    /// Nanoseconds, where they are known.
    pub fn nanos(span: Option<i64>) -> Self {
        span.map_or(Self::Missing, |span| Self::Number(span as f64))
    }

    /// `part` of `whole`; nothing where the whole is nothing.
    pub fn ratio(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self::Missing;
        }
        Self::Number(part as f64 / whole as f64)
    }
}

/// A row of a list.
pub trait Listed {
    /// Its columns, in the order of the table.
    const COLUMNS: &'static [Column];

    /// What it has in the column of this name; [`Value::Missing`] for a name that is not in [`Self::COLUMNS`].
    fn value(&self, column: &str) -> Value<'_>;
}

/// The column of this name.
fn find(name: &str, columns: &'static [Column]) -> Option<Column> {
    columns.iter().copied().find(|column| column.name == name)
}

/// `host, gid or tor`.
pub fn names(columns: &[Column]) -> String {
    match columns {
        [] => String::new(),
        [only] => only.name.to_owned(),
        [all @ .., last] => {
            let all: Vec<_> = all.iter().map(|column| column.name).collect();
            format!("{} or {}", all.join(", "), last.name)
        }
    }
}

/// The beginning of what somebody has sent.
fn cut(text: &str) -> String {
    let mut characters = text.chars();
    let mut beginning: String = characters.by_ref().take(40).collect();
    if characters.next().is_some() {
        beginning.push('…');
    }
    beginning
}

#[cfg(test)]
mod tests;
