//! Which rows of a list are shown.
//!
//! ```text
//! filter  = *( term )                      all must hold
//! term    = [ "!" ] ( test / value )       "!" turns it round; a value alone: a text column contains it
//! test    = column op value *( "," value ) one of the values is enough
//! op      = "=" / "!=" / "~" / "<" / "<=" / ">" / ">="
//! value   = word / DQUOTE characters DQUOTE
//! ```
//!
//! `=` on text ignores case, and `*` stands for any characters; `~` is "contains". A ratio may be given in percent (`1%`),
//! a span of time needs its unit (`ns`, `us`, `ms`, `s`, `min`, `h`, `d`). A row without a value in a column fails every
//! test of it except `!=`.

use super::{Column, Kind, Listed, Value, cut, find, names};

/// The longest filter, in characters.
pub const LONGEST: usize = 512;
/// The most terms of a filter.
const MOST_TERMS: usize = 16;

/// Why a text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is too long.
    #[error("the filter is longer than {LONGEST} characters")]
    Long,
    /// It has too many terms.
    #[error("the filter has more than {MOST_TERMS} terms")]
    Many,
    /// A quotation does not end.
    #[error("the filter has a `\"` without a second one")]
    Quote,
    /// No such column.
    #[error(
        "there is no column `{name}`: use {known}. To look for this text, put it in quotation marks"
    )]
    Column {
        /// What was given.
        name: String,
        /// The columns.
        known: String,
    },
    /// Nothing to compare with.
    #[error("`{0}` has no value: write for example {0}=VALUE")]
    Empty(&'static str),
    /// A value that the column cannot have.
    #[error("`{column}` needs {wanted}, not `{value}`")]
    Value {
        /// The column.
        column: &'static str,
        /// What its values look like.
        wanted: &'static str,
        /// What was given.
        value: String,
    },
    /// An operator that says nothing about text.
    #[error("`{column}` is text: use `=`, `!=` or `~` instead of `{op}`")]
    TextOrder {
        /// The column.
        column: &'static str,
        /// What was given.
        op: &'static str,
    },
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    Unequal,
    Contains,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// The longer ones first.
const OPS: [(&str, Op); 7] = [
    ("!=", Op::Unequal),
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("=", Op::Equal),
    ("~", Op::Contains),
    ("<", Op::Less),
    (">", Op::More),
];

#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    /// In lower case.
    Text(String),
    Number(f64),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// Any text column contains this, in lower case.
    Anywhere(String),
    Column {
        column: Column,
        op: Op,
        /// One of them is enough.
        wanted: Vec<Wanted>,
    },
}

#[derive(Debug, Clone, PartialEq)]
struct Term {
    negated: bool,
    test: Test,
}

/// Which rows of a list are shown. See the module for its text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

impl Filter {
    /// From its text, for a list with these columns. An empty text lets every row through.
    ///
    /// # Errors
    /// [`FilterError`]: the message says what is wrong and what would be right.
    pub fn parse(text: &str, columns: &'static [Column]) -> Result<Self, FilterError> {
        if text.chars().count() > LONGEST {
            return Err(FilterError::Long);
        }
        let words = words(text)?;
        if words.len() > MOST_TERMS {
            return Err(FilterError::Many);
        }
        let terms = words.iter().map(|word| term(word, columns));
        Ok(Self {
            terms: terms.collect::<Result<_, _>>()?,
        })
    }

    /// Whether every row passes.
    pub const fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether a row is shown.
    pub fn matches<T: Listed>(&self, row: &T) -> bool {
        self.terms.iter().all(|term| {
            let holds = match &term.test {
                Test::Anywhere(part) => T::COLUMNS
                    .iter()
                    .filter(|column| column.kind == Kind::Text)
                    .any(|column| texts(&row.value(column.name), |text| contains(text, part))),
                Test::Column { column, op, wanted } => holds(&row.value(column.name), *op, wanted),
            };
            holds != term.negated
        })
    }
}

/// A part of a filter's text between spaces; what stood in quotation marks is marked.
type Word = Vec<(char, bool)>;

fn words(text: &str) -> Result<Vec<Word>, FilterError> {
    let mut words = Vec::new();
    let mut word = Word::new();
    let (mut quoted, mut has_quotes) = (false, false);
    for character in text.chars() {
        match character {
            '"' => (quoted, has_quotes) = (!quoted, true),
            space if space.is_whitespace() && !quoted => {
                if !word.is_empty() || has_quotes {
                    words.push(std::mem::take(&mut word));
                }
                has_quotes = false;
            }
            other => word.push((other, quoted)),
        }
    }
    if quoted {
        return Err(FilterError::Quote);
    }
    if !word.is_empty() || has_quotes {
        words.push(word);
    }
    Ok(words)
}

fn plain(word: &[(char, bool)]) -> String {
    word.iter().map(|(character, _)| character).collect()
}

fn term(word: &[(char, bool)], columns: &'static [Column]) -> Result<Term, FilterError> {
    let (negated, word) = match word {
        [('!', false), rest @ ..] => (true, rest),
        all => (false, all),
    };
    let begins = |at: usize, op: &str| {
        op.chars()
            .enumerate()
            .all(|(place, wanted)| word.get(at + place) == Some(&(wanted, false)))
    };
    let found = (0..word.len()).find_map(|at| {
        let (text, op) = OPS.iter().find(|(text, _)| begins(at, text))?;
        Some((at, *text, *op))
    });
    let test = match found {
        None => Test::Anywhere(plain(word).to_lowercase()),
        Some((at, text, op)) => {
            let (name, value) = (plain(&word[..at]), &word[at + text.len()..]);
            let column = find(&name, columns).ok_or_else(|| FilterError::Column {
                name: cut(&name),
                known: names(columns),
            })?;
            Test::Column {
                column,
                op,
                wanted: wanted(column, (text, op), value)?,
            }
        }
    };
    Ok(Term { negated, test })
}

fn wanted(
    column: Column,
    (text, op): (&'static str, Op),
    values: &[(char, bool)],
) -> Result<Vec<Wanted>, FilterError> {
    let is_text = column.kind == Kind::Text;
    if is_text && matches!(op, Op::Less | Op::AtMost | Op::More | Op::AtLeast) {
        let (column, op) = (column.name, text);
        return Err(FilterError::TextOrder { column, op });
    }
    if values.is_empty() {
        return Err(FilterError::Empty(column.name));
    }
    values
        .split(|character| *character == (',', false))
        .map(plain)
        .map(|value| {
            if is_text {
                return Ok(Wanted::Text(value.to_lowercase()));
            }
            number(column.kind, &value)
                .map(Wanted::Number)
                .ok_or_else(|| FilterError::Value {
                    column: column.name,
                    wanted: match column.kind {
                        Kind::Ratio => "a ratio such as 0.01 or 1%",
                        Kind::Time => "a time with its unit, such as 12us or 5min",
                        Kind::Text | Kind::Count => "a number",
                    },
                    value: cut(&value),
                })
        })
        .collect()
}

/// Units of spans of time, in nanoseconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("min", 6e10),
    ("s", 1e9),
    ("h", 3.6e12),
    ("d", 8.64e13),
];

fn number(kind: Kind, text: &str) -> Option<f64> {
    let finite = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
    match kind {
        Kind::Text | Kind::Count => finite(text),
        Kind::Ratio => match text.strip_suffix('%') {
            Some(percent) => Some(finite(percent)? / 100.0),
            None => finite(text),
        },
        Kind::Time => UNITS.iter().find_map(|(unit, nanos)| {
            let number = finite(text.strip_suffix(unit)?)?;
            Some(number * nanos)
        }),
    }
}

fn texts(value: &Value<'_>, test: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::Text(text) => test(text),
        Value::Texts(texts) => texts.iter().any(|text| test(text)),
        Value::Number(_) | Value::Missing => false,
    }
}

/// Whether `text` contains `part`, which is in lower case.
fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(part)
}

fn holds(value: &Value<'_>, op: Op, wanted: &[Wanted]) -> bool {
    let any = |op| wanted.iter().any(|wanted| is(value, op, wanted));
    match op {
        Op::Unequal => !any(Op::Equal),
        op => any(op),
    }
}

fn is(value: &Value<'_>, op: Op, wanted: &Wanted) -> bool {
    match (value, wanted) {
        (Value::Number(number), Wanted::Number(wanted)) => match op {
            Op::Equal => number.total_cmp(wanted).is_eq(),
            Op::Unequal => number.total_cmp(wanted).is_ne(),
            Op::Contains => (number - wanted).abs() <= wanted.abs() * 0.01,
            Op::Less => number < wanted,
            Op::AtMost => number <= wanted,
            Op::More => number > wanted,
            Op::AtLeast => number >= wanted,
        },
        (value, Wanted::Text(wanted)) => texts(value, |text| {
            if op == Op::Contains {
                contains(text, wanted)
            } else {
                fits(&text.to_lowercase(), wanted)
            }
        }),
        (_, Wanted::Number(_)) => false,
    }
}

/// Whether a text is a pattern, in which `*` stands for any characters. Takes time in proportion to the product of both.
fn fits(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<_> = rest.split('*').collect();
    let Some((last, middle)) = parts.split_last() else {
        return true;
    };
    for part in middle {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}
