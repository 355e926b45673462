//! What values keys can have, and what is checked of them.

use std::fmt::Display;
use std::time::Duration;

use crate::time::HumanDuration;

/// So many milliseconds.
pub const fn millis(number: u64) -> HumanDuration {
    HumanDuration(Duration::from_millis(number))
}

/// So many seconds.
pub const fn secs(number: u64) -> HumanDuration {
    HumanDuration(Duration::from_secs(number))
}

/// So many minutes.
pub const fn mins(number: u64) -> HumanDuration {
    HumanDuration(Duration::from_mins(number))
}

/// So many hours.
pub const fn hours(number: u64) -> HumanDuration {
    HumanDuration(Duration::from_hours(number))
}

/// Values that a key can have one of.
pub trait Scalar: Clone + Send + Sync + 'static {
    /// Their kind.
    const KIND: Kind;
}

/// What a value is, for those who describe keys in other languages. A choice has possible values besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number from 0 to this.
    Integer(u64),
    /// A number.
    Number,
    /// A text in some notation.
    Text,
    /// `500ms`
    Duration,
    /// `64MiB`
    Size,
}

/// Says of types that a key can have them.
macro_rules! scalars {
    ($($type:ty: $kind:expr),* $(,)?) => {$(
        impl $crate::config::settings::Scalar for $type {
            const KIND: $crate::config::settings::Kind = $kind;
        }
    )*};
}
pub(crate) use scalars;

scalars! {
    bool: Kind::Bool,
    u8: Kind::Integer(u8::MAX as u64),
    u16: Kind::Integer(u16::MAX as u64),
    u32: Kind::Integer(u32::MAX as u64),
    u64: Kind::Integer(u64::MAX),
    usize: Kind::Integer(usize::MAX as u64),
    f64: Kind::Number,
    String: Kind::Text,
    std::path::PathBuf: Kind::Text,
    std::net::IpAddr: Kind::Text,
    std::net::SocketAddr: Kind::Text,
    HumanDuration: Kind::Duration,
    crate::config::size::ByteSize: Kind::Size,
    crate::config::share::Share: Kind::Text,
    crate::config::prefix::Prefix: Kind::Text,
}

/// The type of a key: a scalar, which has a default; an `Option`, which may be absent; a `Vec`, several values.
pub trait Field {
    /// What is given at once.
    type Item: Scalar;
    /// Whether there may be several.
    const MANY: bool = false;

    /// What the key has.
    fn items(&self) -> &[Self::Item];

    /// Takes over what was given.
    fn set(&mut self, given: impl Iterator<Item = Self::Item>);

    /// Whether the file needs no line for it.
    fn is_absent(&self) -> bool {
        self.items().is_empty()
    }
}

impl<T: Scalar> Field for T {
    type Item = T;

    fn items(&self) -> &[T] {
        std::slice::from_ref(self)
    }

    fn set(&mut self, given: impl Iterator<Item = T>) {
        if let Some(last) = given.last() {
            *self = last;
        }
    }
}

impl<T: Scalar> Field for Option<T> {
    type Item = T;

    fn items(&self) -> &[T] {
        self.as_slice()
    }

    fn set(&mut self, given: impl Iterator<Item = T>) {
        *self = given.last();
    }
}

impl<T: Scalar> Field for Vec<T> {
    type Item = T;
    const MANY: bool = true;

    fn items(&self) -> &[T] {
        self
    }

    fn set(&mut self, given: impl Iterator<Item = T>) {
        *self = given.collect();
    }
}

/// What a value must fulfil beyond its type.
pub struct Check<T> {
    pub(super) least: Option<String>,
    pub(super) most: Option<String>,
    pub(super) test: ValueTest<T>,
}

/// Says what is wrong with a value and what to do.
pub(super) type ValueTest<T> = Box<dyn Fn(&T) -> Result<(), String>>;

/// A check that says what is wrong and what to do.
pub fn that<T>(test: impl Fn(&T) -> Result<(), String> + 'static) -> Check<T> {
    Check {
        least: None,
        most: None,
        test: Box::new(test),
    }
}

/// From `least` to `most`.
pub fn between<T: PartialOrd + Display + 'static>(least: T, most: T) -> Check<T> {
    Check {
        least: Some(least.to_string()),
        most: Some(most.to_string()),
        // NaN is not between.
        test: Box::new(move |value| {
            if *value >= least && *value <= most {
                return Ok(());
            }
            Err(format!("{value} is not possible: use {least} to {most}"))
        }),
    }
}

/// `least` or more.
pub fn at_least<T: PartialOrd + Display + 'static>(least: T) -> Check<T> {
    Check {
        least: Some(least.to_string()),
        ..that(move |value| {
            if *value >= least {
                return Ok(());
            }
            Err(format!("{value} is too small: use {least} or more"))
        })
    }
}

/// A rate per second, above 0.
pub fn rate_up_to(most: f64) -> Check<f64> {
    that(move |rate: &f64| {
        // NaN is not such a rate.
        if *rate > 0.0 && *rate <= most {
            return Ok(());
        }
        Err(format!(
            "{rate} is not possible: use a rate above 0 and up to {most}"
        ))
    })
}
