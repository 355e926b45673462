//! The files that a package has, for all formats: read from Cargo.toml, where cargo-deb reads them too.
//!
//! What differs between the formats is little: zsh's completions lie elsewhere in distributions that are not Debian's, and the
//! licences have a folder of their own there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::cargo::workspace;

/// The licences of everything.
pub(super) const LICENSES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Where systemd finds the units of packages.
pub(super) const UNITS: &str = "/usr/lib/systemd/system";

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct File {
    /// Where it is installed, from the root.
    pub(super) path: String,
    /// What it is copied from.
    pub(super) source: PathBuf,
    /// Permissions.
    pub(super) mode: u32,
    /// Whether an update leaves it alone once people have edited it.
    pub(super) is_configuration: bool,
}

/// What the manifest says about one package.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Variant {
    name: String,
    assets: Vec<(String, String, String)>,
    conf_files: Vec<String>,
    systemd_units: Units,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Units {
    unit_name: String,
    /// The folder that the unit is in.
    unit_scripts: String,
}

/// `package.metadata.deb` in the manifest of the root package.
pub(super) fn metadata() -> Result<toml::Table> {
    let path = workspace().join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let manifest: toml::Table =
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    manifest
        .get("package")
        .and_then(|package| package.get("metadata")?.get("deb")?.as_table())
        .cloned()
        .context("Cargo.toml has no package.metadata.deb")
}

/// The files of a role's package, with the programs of this folder.
pub(super) fn of(role: &str, programs: &Path) -> Result<BTreeSet<File>> {
    let variant = metadata()?
        .get("variants")
        .and_then(|variants| variants.get(role))
        .cloned()
        .with_context(|| format!("package.metadata.deb has no variant {role}"))?;
    files(variant.try_into()?, programs)
        .with_context(|| format!("package.metadata.deb.variants.{role}"))
}

fn files(variant: Variant, programs: &Path) -> Result<BTreeSet<File>> {
    let mut files = BTreeSet::new();
    for (source, destination, mode) in variant.assets {
        let mode = u32::from_str_radix(&mode, 8).with_context(|| format!("mode {mode}"))?;
        // cargo-deb's name for the folder of the profile and target.
        let pattern = match source.strip_prefix("target/release/") {
            Some(program) => programs.join(program),
            None => workspace().join(source),
        };
        for source in expand(&pattern)? {
            let mut path = format!("/{destination}");
            if path.ends_with('/') {
                let name = source.file_name().unwrap_or_default();
                path.push_str(&name.to_string_lossy());
            }
            let path = path.replace("/zsh/vendor-completions/", "/zsh/site-functions/");
            files.insert(File {
                is_configuration: variant.conf_files.contains(&path),
                path,
                source,
                mode,
            });
        }
    }
    let unit = format!("{}.service", variant.systemd_units.unit_name);
    files.insert(File {
        path: format!("{UNITS}/{unit}"),
        source: workspace()
            .join(variant.systemd_units.unit_scripts)
            .join(unit),
        mode: 0o644,
        is_configuration: false,
    });
    files.extend(LICENSES.map(|license| File {
        path: format!("/usr/share/licenses/{}/{license}", variant.name),
        source: workspace().join(license),
        mode: 0o644,
        is_configuration: false,
    }));
    for file in &files {
        ensure!(
            file.source.is_file(),
            "{} is missing",
            file.source.display()
        );
    }
    Ok(files)
}

/// The files that a path matches; its last part may have one `*`.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>> {
    let name = pattern
        .file_name()
        .and_then(|name| name.to_str())
        .context("a path without a name")?;
    let Some((start, end)) = name.split_once('*') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let folder = pattern.parent().context("a path without a folder")?;
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end) {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "{} matches nothing", pattern.display());
    Ok(found)
}

/// Copies a file with its permissions, and makes the folders above it.
pub(super) fn place(source: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::copy(source, to)
        .with_context(|| format!("copy {} to {}", source.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant() -> Variant {
        toml::from_str(
            r#"
            name = "rpingmesh-agent"
            conf-files = ["/etc/rpingmesh/agent.toml"]
            assets = [
              ["target/release/rpingmesh-agent", "usr/bin/", "755"],
              ["docs/config/agent.toml", "etc/rpingmesh/agent.toml", "644"],
              ["monitoring/prometheus/*.rules.yml", "usr/share/rules/", "644"],
              ["README.md", "usr/share/zsh/vendor-completions/_rpingmesh-agent", "644"],
            ]
            systemd-units = { unit-name = "rpingmesh-agent", unit-scripts = "packaging/systemd" }
            "#,
        )
        .unwrap()
    }

    #[test]
    fn the_manifest_names_the_files() {
        let programs = tempfile::tempdir().unwrap();
        let program = programs.path().join("rpingmesh-agent");
        let error = files(variant(), programs.path()).unwrap_err().to_string();
        assert_eq!(error, format!("{} is missing", program.display()));
        fs::write(&program, "").unwrap();
        let files = files(variant(), programs.path()).unwrap();
        let lines: Vec<String> = files
            .iter()
            .map(|file| format!("{:o} {} {}", file.mode, file.is_configuration, file.path))
            .collect();
        assert_eq!(
            lines,
            [
                "644 true /etc/rpingmesh/agent.toml",
                "755 false /usr/bin/rpingmesh-agent",
                "644 false /usr/lib/systemd/system/rpingmesh-agent.service",
                "644 false /usr/share/licenses/rpingmesh-agent/LICENSE-APACHE",
                "644 false /usr/share/licenses/rpingmesh-agent/LICENSE-MIT",
                "644 false /usr/share/rules/rpingmesh.rules.yml",
                "644 false /usr/share/zsh/site-functions/_rpingmesh-agent",
            ]
        );
        assert!(files.iter().any(|file| file.source == program));
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let pattern = workspace().join("docs/*.nonesuch");
        let error = expand(&pattern).unwrap_err().to_string();
        assert!(
            error.ends_with("docs/*.nonesuch matches nothing"),
            "{error}"
        );
    }
}
