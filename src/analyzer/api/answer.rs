//! Structs of answers, declared with what their fields mean: the tables of `docs/api.md` are made from the declarations.

/// Declares a struct of an answer; every field has a doc comment, which is its line in `docs/api.md`.
macro_rules! answer {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[doc = $doc])+ $field: $type,)*
        }

        #[cfg(test)]
        impl $crate::analyzer::api::answer::Described for $name {
            fn kind() -> String {
                "object".to_owned()
            }

            fn members(prefix: &str, rows: &mut Vec<$crate::analyzer::api::answer::Row>) {
                $($crate::analyzer::api::answer::add::<$type>(
                    prefix, stringify!($field), concat!($($doc),+), rows,
                );)*
            }
        }
    };
}

pub(super) use answer;

#[cfg(test)]
pub(in crate::analyzer) use described::{Described, Row, add};

#[cfg(test)]
mod described {
    use std::collections::BTreeMap;

    use crate::analysis::incident::Severity;
    use crate::analysis::judge::Category;
    use crate::analysis::localize::Component;

    /// Path of a field, type, meaning.
    pub(in crate::analyzer) type Row = (String, String, String);

    /// What a value is in JSON, and what its members are.
    pub(in crate::analyzer) trait Described {
        fn kind() -> String;

        fn kinds() -> String {
            Self::kind() + "s"
        }

        fn members(_prefix: &str, _rows: &mut Vec<Row>) {}
    }

    /// Adds a field and its members.
    pub(in crate::analyzer) fn add<T: Described>(
        prefix: &str,
        name: &str,
        text: &str,
        rows: &mut Vec<Row>,
    ) {
        let path = format!("{prefix}{name}");
        let inner = format!("{path}.");
        rows.push((path, T::kind(), text.trim().to_owned()));
        T::members(&inner, rows);
    }

    macro_rules! leaves {
        ($($kind:literal: $($type:ty),+;)+) => {
            $($(impl Described for $type {
                fn kind() -> String {
                    $kind.to_owned()
                }
            })+)+
        };
    }

    leaves! {
        "integer": u16, u32, u64, usize, i64;
        "number": f64;
        "boolean": bool;
        "string": String, &str, Severity, Category;
        "object": Component;
    }

    impl<T: Described> Described for Option<T> {
        fn kind() -> String {
            format!("{} or null", T::kind())
        }

        fn kinds() -> String {
            format!("{} or nulls", T::kinds())
        }

        fn members(prefix: &str, rows: &mut Vec<Row>) {
            T::members(prefix, rows);
        }
    }

    impl<T: Described> Described for Vec<T> {
        fn kind() -> String {
            format!("list of {}", T::kinds())
        }

        fn members(prefix: &str, rows: &mut Vec<Row>) {
            T::members(prefix, rows);
        }
    }

    /// Names are not known here; `*` stands for them.
    impl<T: Described> Described for BTreeMap<&str, T> {
        fn kind() -> String {
            format!("object of {}", T::kinds())
        }

        fn members(prefix: &str, rows: &mut Vec<Row>) {
            T::members(&format!("{prefix}*."), rows);
        }
    }
}
