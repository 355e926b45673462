//! The pinglist that an agent has, and how it becomes the next one.

use crate::pinglist::Pinglist;
use crate::pinglist::delta::{Misfit, PinglistDelta};

/// The list at hand and its version.
#[derive(Debug, Default)]
pub(super) struct CurrentList {
    /// 0 while there is none.
    version: u64,
    list: Pinglist,
}

impl CurrentList {
    /// Its version, 0 for none.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// What it says.
    pub(super) const fn list(&self) -> &Pinglist {
        &self.list
    }

    /// A whole list takes its place.
    pub(super) fn replace(&mut self, version: u64, list: Pinglist) {
        (self.version, self.list) = (version, list);
    }

    /// The controller says that the newest version is this very list.
    pub(super) const fn confirm(&mut self, version: u64) {
        self.version = version;
    }

    /// The list becomes the one of `version`.
    ///
    /// # Errors
    /// [`Misfit`] if another list than the controller's comes out. Nothing is changed then.
    pub(super) fn change(&mut self, version: u64, delta: PinglistDelta) -> Result<(), Misfit> {
        let list = delta.apply(&self.list)?;
        if list.version() != version {
            return Err(Misfit);
        }
        self.replace(version, list);
        Ok(())
    }

    /// Another connection begins. A version that is not a hash of the list comes from an older controller, which may number its lists
    /// from the start after it was replaced: the list is asked for anew.
    pub(super) fn reconnect(&mut self) {
        if self.list.version() != self.version {
            self.version = 0;
        }
    }
}

#[cfg(test)]
mod tests;
