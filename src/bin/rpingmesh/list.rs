//! `--filter` and `--sort` of the commands that list something.

use clap::Args;
use rpingmesh::api::list::{Filter, Listed, Order};
use rpingmesh::config::ConfigError;
use rpingmesh::config::program::Failure;

/// Which rows to list, and in which order.
#[derive(Debug, Default, Args)]
pub(crate) struct ListArgs {
    /// Only rows that pass, such as `train loss>1%` or `severity=P0,P1 title~spine1`: terms of `=`, `!=`, `~` (contains), `<`, `<=`, `>`,
    /// `>=`, or a word that any text contains; `*` stands for any characters, `!` before a term: rows that do not match it [default: all]
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// The column to sort by, with `-` before it for the largest first; a wrong name lists the columns [default: the worst first]
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
}

/// [`ListArgs`], checked for one kind of rows.
#[derive(Debug, Default)]
pub(crate) struct Picker {
    filter: Filter,
    order: Option<Order>,
}

impl ListArgs {
    #[cfg(test)]
    pub(crate) fn new(filter: &str, sort: Option<&str>) -> Self {
        Self {
            filter: Some(filter.to_owned()),
            sort: sort.map(str::to_owned),
        }
    }

    /// For rows of this type.
    ///
    /// # Errors
    /// Wrong usage: the message says what is wrong and which columns there are.
    pub(crate) fn picker<T: Listed>(&self) -> Result<Picker, Failure> {
        let filter = self.filter.as_deref().unwrap_or_default();
        let filter = Filter::parse(filter, T::COLUMNS)
            .map_err(|error| ConfigError::value("filter", error.to_string()))?;
        let order = self.sort.as_deref().map(|order| {
            Order::parse(order, T::COLUMNS)
                .map_err(|error| ConfigError::value("sort", error.to_string()))
        });
        Ok(Picker {
            filter,
            order: order.transpose()?,
        })
    }
}

impl Picker {
    /// Whether every row is listed, in its usual order.
    pub(crate) const fn is_usual(&self) -> bool {
        self.filter.is_empty() && self.order.is_none()
    }

    /// Whether some rows may be left out.
    pub(crate) const fn is_filtered(&self) -> bool {
        !self.filter.is_empty()
    }

    /// Whether another order than the usual one is asked for.
    pub(crate) const fn is_sorted(&self) -> bool {
        self.order.is_some()
    }

    /// Leaves out what does not pass, and sorts if that is asked for.
    pub(crate) fn apply<T: Listed>(&self, rows: &mut Vec<T>) {
        rows.retain(|row| self.filter.matches(row));
        if let Some(order) = self.order {
            order.sort(rows);
        }
    }
}
