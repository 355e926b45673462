//! Filter and order of a page's table: parameters of its address, links in its head, and a form without a script.

use super::query::{Pairs, each, written};
use crate::api::list::filter::{Filter, LONGEST};
use crate::api::list::order::Order;
use crate::api::list::{Column, Kind, Listed};

/// Which rows of a page's table are shown, and in which order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Listing {
    /// As it was typed.
    text: String,
    filter: Filter,
    /// `None` for the page's own: the worst first.
    order: Option<Order>,
}

impl Listing {
    /// Reads `filter` and `sort` of a query for a table with these columns; `take` gets the other parameters, of which
    /// `expected` says what they are called.
    pub(super) fn parse<T: Listed>(
        pairs: &Pairs,
        expected: &str,
        mut take: impl FnMut(&str, &str) -> Result<bool, String>,
    ) -> Result<Self, String> {
        let mut listing = Self::default();
        each(
            pairs,
            &format!("{expected}, filter or sort"),
            |key, value| {
                if take(key, value)? {
                    return Ok(true);
                }
                listing.take(key, value, T::COLUMNS)
            },
        )?;
        Ok(listing)
    }

    fn take(&mut self, key: &str, value: &str, columns: &'static [Column]) -> Result<bool, String> {
        match key {
            "filter" => {
                self.filter = Filter::parse(value, columns).map_err(|error| error.to_string())?;
                value.trim().clone_into(&mut self.text);
            }
            // A form sends what is left empty.
            "sort" if value.is_empty() => {}
            "sort" => {
                let order = Order::parse(value, columns);
                self.order = Some(order.map_err(|error| error.to_string())?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether it is the page's own.
    pub(super) const fn is_usual(&self) -> bool {
        self.filter.is_empty() && self.order.is_none()
    }

    /// Whether some rows may be left out.
    pub(super) const fn is_filtered(&self) -> bool {
        !self.filter.is_empty()
    }

    /// Leaves out what the filter does not want, and sorts if an order is asked for.
    pub(super) fn apply<T: Listed>(&self, rows: &mut Vec<T>) {
        rows.retain(|row| self.filter.matches(row));
        if let Some(order) = self.order {
            order.sort(rows);
        }
    }

    /// The parameters that it was read from.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let filter = (!self.text.is_empty()).then(|| ("filter", self.text.clone()));
        let order = self.order.map(|order| ("sort", order.to_string()));
        filter.into_iter().chain(order).collect()
    }

    /// What stands above and in the head of the table at `path`, whose other parameters are `kept`.
    pub(super) fn controls<T: Listed>(
        &self,
        path: &str,
        kept: Vec<(&'static str, String)>,
    ) -> Controls {
        let href = |listing: &Self| {
            let mut pairs = kept.clone();
            pairs.extend(listing.pairs());
            format!("{path}{}", written(&pairs))
        };
        let heads = T::COLUMNS.iter().map(|column| {
            let current = self.order.filter(|order| order.column() == *column);
            let next = current.map_or_else(|| Order::by(*column), Order::reversed);
            Head {
                title: column.title,
                href: href(&Self {
                    order: Some(next),
                    ..self.clone()
                }),
                sorted: current.map(|order| {
                    if order.is_descending() {
                        "descending"
                    } else {
                        "ascending"
                    }
                }),
                is_number: column.kind != Kind::Text,
            }
        });
        Controls {
            heads: heads.collect(),
            columns: T::COLUMNS.iter().map(|column| column.name).collect(),
            usual: (!self.is_usual()).then(|| href(&Self::default())),
            filter: self.text.clone(),
            order: self
                .order
                .map(|order| order.to_string())
                .unwrap_or_default(),
            action: path.to_owned(),
            kept,
        }
    }
}

/// A column's head: a link that sorts by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) title: &'static str,
    pub(super) href: String,
    /// `ascending` or `descending`, where the table is sorted by it.
    pub(super) sorted: Option<&'static str>,
    pub(super) is_number: bool,
}

/// What stands above and in the head of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Controls {
    pub(super) heads: Vec<Head>,
    /// What a filter may ask for.
    pub(super) columns: Vec<&'static str>,
    /// The page without filter and order; `None` where it is shown.
    pub(super) usual: Option<String>,
    pub(super) filter: String,
    /// Empty for the page's own.
    pub(super) order: String,
    pub(super) action: String,
    /// Parameters that the form keeps.
    pub(super) kept: Vec<(&'static str, String)>,
}

impl Controls {
    /// The longest filter, in characters.
    pub(super) const LONGEST: usize = LONGEST;
}

#[cfg(test)]
mod tests;
