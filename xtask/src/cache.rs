//! The one folder that holds everything downloaded or compiled for the developer commands.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

/// Names the folder when the default does not suit.
pub(crate) const VARIABLE: &str = "RPINGMESH_CACHE";

/// Where downloads live: outside the checkout, safe to delete at any time.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$RPINGMESH_CACHE`, else `$XDG_CACHE_HOME/rpingmesh`, else `~/.cache/rpingmesh`.
    pub(crate) fn open() -> Result<Self> {
        let root = folder(|name| env::var_os(name).map(PathBuf::from))
            .ok_or_else(|| anyhow!("no cache folder: set {VARIABLE} or HOME"))?;
        fs::create_dir_all(&root)
            .with_context(|| format!("create the cache folder {}", root.display()))?;
        Ok(Self { root })
    }

    /// A path below the cache folder.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// A folder that `fill` makes complete or not at all.
    ///
    /// `fill` writes into a scratch folder that is renamed when it succeeds, so an interrupted download never counts as
    /// a finished one. Two commands that need the same folder wait for each other.
    pub(crate) fn folder(
        &self,
        below: &str,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let complete = self.path(below);
        if complete.is_dir() {
            return Ok(complete);
        }
        let _lock = self.lock(below)?;
        if complete.is_dir() {
            return Ok(complete);
        }
        let scratch = self.path(format!("{below}.partial"));
        if scratch.exists() {
            fs::remove_dir_all(&scratch)
                .with_context(|| format!("remove {}", scratch.display()))?;
        }
        fs::create_dir_all(&scratch).with_context(|| format!("create {}", scratch.display()))?;
        fill(&scratch)?;
        fs::rename(&scratch, &complete)
            .with_context(|| format!("finish {}", complete.display()))?;
        Ok(complete)
    }

    /// Waits for the lock of that name; closing the file releases it.
    pub(crate) fn lock(&self, name: &str) -> Result<File> {
        let path = self.path(format!("{}.lock", name.replace('/', "-")));
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        file.lock()
            .with_context(|| format!("lock {}", path.display()))?;
        Ok(file)
    }
}

fn folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|path| path.is_absolute());
    set(VARIABLE)
        .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("rpingmesh")))
        .or_else(|| set("HOME").map(|path| path.join(".cache/rpingmesh")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)]) -> Option<PathBuf> {
        folder(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| PathBuf::from(value))
        })
    }

    #[test]
    fn the_most_specific_variable_wins() {
        let home = ("HOME", "/home/ada");
        let xdg = ("XDG_CACHE_HOME", "/var/cache/ada");
        let own = (VARIABLE, "/scratch/rpm");
        assert_eq!(chosen(&[home]), Some("/home/ada/.cache/rpingmesh".into()));
        assert_eq!(
            chosen(&[home, xdg]),
            Some("/var/cache/ada/rpingmesh".into())
        );
        assert_eq!(chosen(&[home, xdg, own]), Some("/scratch/rpm".into()));
        assert_eq!(chosen(&[("HOME", "relative")]), None);
        assert_eq!(chosen(&[]), None);
    }
}
