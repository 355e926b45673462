//! What each package must contain besides its programs. It repeats the list in Cargo.toml, so that a mistake there is
//! found.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::layout::{LICENSES, UNITS};
use super::manual;

/// What monitors the monitoring, in the analyzer's package.
const MONITORING: [&str; 6] = [
    "README.md",
    "grafana/rpingmesh-fabric.json",
    "grafana/rpingmesh-system.json",
    "prometheus/prometheus.yml",
    "prometheus/rpingmesh.rules.test.yml",
    "prometheus/rpingmesh.rules.yml",
];

/// Who packs the files: the formats differ in little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// With compressed man pages and one file about the licences.
    Deb,
    /// RPMs, and the folders that archives are made of.
    Rpm,
}

/// Files of a role's package: mode and path.
pub(super) fn expected(role: &str, format: Format) -> Result<BTreeSet<String>> {
    let name = format!("rpingmesh-{role}");
    let mut programs = vec![name.as_str()];
    let mut data = vec![
        format!("/etc/rpingmesh/{role}.toml"),
        format!("{UNITS}/{name}.service"),
    ];
    match format {
        Format::Deb => data.push(format!("/usr/share/doc/{name}/copyright")),
        Format::Rpm => {
            data.extend(LICENSES.map(|file| format!("/usr/share/licenses/{name}/{file}")));
        }
    }
    match role {
        "agent" => data.extend([
            "/usr/lib/modules-load.d/rpingmesh-agent.conf".to_owned(),
            "/usr/share/rpingmesh-agent/tracing.conf".to_owned(),
        ]),
        "analyzer" => {
            programs.push("rpingmesh");
            data.extend(MONITORING.map(|file| format!("/usr/share/rpingmesh/monitoring/{file}")));
        }
        _ => {}
    }
    for program in &programs {
        data.extend(manual::expected(program, format)?);
    }
    let mut files: BTreeSet<String> = data
        .into_iter()
        .map(|path| format!("-rw-r--r-- {path}"))
        .collect();
    files.extend(
        programs
            .iter()
            .map(|program| format!("-rwxr-xr-x /usr/bin/{program}")),
    );
    Ok(files)
}

/// Fails with the first file that is missing or too much.
pub(super) fn compare(found: &BTreeSet<String>, expected: &BTreeSet<String>) -> Result<()> {
    if let Some(file) = found.symmetric_difference(expected).next() {
        let problem = if expected.contains(file) {
            "is missing"
        } else {
            "should not be there, or not with this mode"
        };
        bail!("{file} {problem}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let set = |files: &[&str]| files.iter().map(|&file| file.to_owned()).collect();
        let error = |found, wanted| compare(&set(found), &set(wanted)).unwrap_err().to_string();
        assert!(compare(&set(&["a"]), &set(&["a"])).is_ok());
        assert_eq!(error(&["a"], &["a", "b"]), "b is missing");
        assert!(error(&["a", "c"], &["a"]).starts_with("c should not be there"));
    }
}
