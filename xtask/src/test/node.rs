//! Packages from npm in the cache folder, in the versions of a lock file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cache::Cache;
use crate::process::output;

/// The `node_modules` of a folder's `package.json` and `package-lock.json`. No package's scripts run.
pub(crate) fn modules(cache: &Cache, folder: &Path) -> Result<PathBuf> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let (manifest, lock) = (read("package.json")?, read("package-lock.json")?);
    let filled = cache.folder(&format!("node-{}", versions(&lock)?), |scratch| {
        for (name, text) in [("package.json", &manifest), ("package-lock.json", &lock)] {
            fs::write(scratch.join(name), text).with_context(|| format!("write {name}"))?;
        }
        let mut install = Command::new("npm");
        install
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(scratch);
        output(&mut install).context("install packages from npm; Debian has it in npm")?;
        Ok(())
    })?;
    Ok(filled.join("node_modules"))
}

/// The packages of a lock file with their versions: `axe-core-4.14.1`.
fn versions(lock: &str) -> Result<String> {
    let lock: serde_json::Value =
        serde_json::from_str(lock).context("package-lock.json is JSON")?;
    let packages = lock["packages"]
        .as_object()
        .context("package-lock.json has no packages")?;
    let named = packages.iter().filter_map(|(path, package)| {
        let name = path.strip_prefix("node_modules/")?.replace('/', "-");
        Some(format!("{name}-{}", package["version"].as_str()?))
    });
    Ok(named.collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_named_by_packages_and_versions() {
        let lock = r#"{"packages": {"": {"name": "x"}, "node_modules/axe-core": {"version": "4.14.1"},
            "node_modules/@a/b": {"version": "1.0.0"}}}"#;
        let named = versions(lock).expect("a lock file");
        assert!(
            named.contains("axe-core-4.14.1") && named.contains("@a-b-1.0.0"),
            "{named}"
        );
        assert!(!named.contains('/'), "{named}");
        assert!(versions("{}").is_err() && versions("").is_err());
    }
}
