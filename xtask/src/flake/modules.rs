//! The NixOS modules: the real programs and systemd check what they render.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::checkout::Checkout;
use super::report::{Report, Sample};
use crate::cargo;
use crate::process::{in_path, output};
use crate::vm::Arch;

/// The programs whose configuration the modules write.
pub(crate) struct Programs(PathBuf);

/// Builds them.
pub(crate) fn programs() -> Result<Programs> {
    Ok(Programs(cargo::build_programs(
        Arch::host(),
        cargo::Profile::Ci,
    )?))
}

/// Every sample is accepted or refused by `check-config` as it should be, and the samples cover every option.
pub(crate) fn check(report: &Report, checkout: &Checkout, programs: &Programs) -> Result<String> {
    for (role, options) in &report.options {
        let keys = documented_keys(&checkout.read(&format!("docs/config/{role}.toml"))?);
        let mut covered = BTreeSet::new();
        for sample in report.samples.iter().filter(|sample| sample.role == *role) {
            leaves("", &sample.settings, &mut covered);
        }
        for option in options {
            ensure!(
                keys.contains(option),
                "services.rpingmesh.{role}.settings.{option}: docs/config/{role}.toml has no such key"
            );
            ensure!(
                covered.contains(option),
                "services.rpingmesh.{role}.settings.{option}: no sample of nix/check/samples.nix sets it"
            );
        }
        if let Some(key) = keys.iter().find(|key| !options.contains(key)) {
            bail!(
                "{key} of docs/config/{role}.toml has no option: write nix/modules/keys.json anew \
                 (RPINGMESH_UPDATE_DOCS=1 cargo nextest run config::tests), and set it in the sample `every option` of nix/check/samples.nix"
            );
        }
    }
    for sample in &report.samples {
        judge(sample, programs).with_context(|| {
            format!(
                "sample `{}` of services.rpingmesh.{}",
                sample.name, sample.role
            )
        })?;
    }
    let refused = report
        .samples
        .iter()
        .filter(|sample| sample.refused.is_some())
        .count();
    Ok(format!(
        "{} configurations accepted by check-config, {refused} refused as they should be",
        report.samples.len() - refused
    ))
}

fn judge(sample: &Sample, programs: &Programs) -> Result<()> {
    let folder = tempfile::tempdir().context("make a scratch folder")?;
    let file = folder.path().join(format!("{}.toml", sample.role));
    let text = toml::to_string(&sample.build_settings).context("render as TOML")?;
    fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
    let mut command = Command::new(programs.0.join(format!("rpingmesh-{}", sample.role)));
    command.args(["check-config", "--config"]).arg(&file);
    // The host's own settings are none of the sample's.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RPINGMESH_") {
            command.env_remove(name);
        }
    }
    let outcome = output(&mut command);
    match (&sample.refused, outcome) {
        (None, Ok(_)) => Ok(()),
        (None, Err(error)) => bail!("{error:#}The configuration:\n{text}"),
        (Some(expected), Ok(_)) => {
            bail!("check-config accepts what it should refuse because of `{expected}`:\n{text}")
        }
        (Some(expected), Err(error)) => {
            let said = format!("{error:#}");
            ensure!(
                said.contains("with exit status: 2") && said.contains(expected.as_str()),
                "check-config should name `{expected}`, but says: {said}"
            );
            Ok(())
        }
    }
}

/// Keys of a sample configuration, set or commented out: `log.level`.
fn documented_keys(text: &str) -> BTreeSet<String> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c))
    };
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        // A table, or one of several.
        let name = line.trim_start_matches('[').trim_end_matches(']');
        if line.starts_with('[') && line.ends_with(']') && is_name(name) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim();
            if is_name(key) {
                keys.insert(format!("{section}{key}"));
            }
        }
    }
    keys
}

fn leaves(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let place = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                leaves(&place, value, found);
            }
        }
        _ => {
            found.insert(prefix.to_owned());
        }
    }
}

/// Directives that name programs and files of one packaging.
const OF_THE_PACKAGING: &[&str] = &["ExecStart", "ExecStartPre"];

/// The units are what systemd understands, and confined as those of the Debian packages.
pub(crate) fn units(report: &Report, checkout: &Checkout) -> Result<String> {
    if std::env::consts::OS != "linux" {
        return Ok("not looked at: systemd-analyze is a program of Linux".to_owned());
    }
    ensure!(
        in_path("systemd-analyze"),
        "systemd-analyze is missing (Debian: systemd)"
    );
    let folder = tempfile::tempdir().context("make a scratch folder")?;
    let mut seen = 0;
    for sample in report
        .samples
        .iter()
        .filter(|sample| sample.refused.is_none())
    {
        let place = format!("unit of sample `{}` of {}", sample.name, sample.role);
        let mut text = String::from("[Service]\n");
        for (directive, value) in &sample.unit {
            // The program is not there; what is checked is how it is confined.
            let value = if OF_THE_PACKAGING.contains(&directive.as_str()) {
                "/bin/true"
            } else {
                value
            };
            let _ = writeln!(text, "{directive}={value}");
        }
        verify_unit(folder.path(), &sample.role, &text).with_context(|| place.clone())?;
        same_as_packaged(sample, checkout).context(place)?;
        seen += 1;
    }
    Ok(format!(
        "{seen} units accepted by systemd-analyze verify, confined as those in packaging/systemd"
    ))
}

/// The unit of a role in `packaging/systemd`, with the drop-in where the sample asks for tracing.
fn same_as_packaged(sample: &Sample, checkout: &Checkout) -> Result<()> {
    let name = format!("packaging/systemd/rpingmesh-{}.service", sample.role);
    let mut packaged = directives(&checkout.read(&name)?);
    if sample.name == "tracing" {
        packaged.extend(directives(
            &checkout.read("packaging/systemd/tracing.conf")?,
        ));
    }
    for directive in sample.unit.keys().chain(packaged.keys()) {
        if OF_THE_PACKAGING.contains(&directive.as_str()) {
            continue;
        }
        let (ours, theirs) = (sample.unit.get(directive), packaged.get(directive));
        ensure!(
            ours == theirs,
            "{directive} is {} in nix/modules, {} in {name}",
            ours.map_or("not set", String::as_str),
            theirs.map_or("not set", String::as_str),
        );
    }
    Ok(())
}

/// Lines `KEY=VALUE` of `[Service]`.
fn directives(unit: &str) -> BTreeMap<String, String> {
    unit.lines()
        .skip_while(|line| *line != "[Service]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// `systemd-analyze verify` has no warning.
fn verify_unit(folder: &Path, role: &str, text: &str) -> Result<()> {
    let file = folder.join(format!("rpingmesh-{role}.service"));
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).arg(&file);
    let run = command.output().context("run systemd-analyze")?;
    let said = String::from_utf8_lossy(&run.stderr);
    // It looks at units of the host as well; only what it says of ours counts.
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("rpingmesh-"))
        .collect();
    ensure!(ours.is_empty(), "{}", ours.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_of_the_service_section_only() {
        let unit = "[Unit]\nAfter=a\n[Service]\n# c=d\nType=exec\n[Install]\nWantedBy=x\n";
        assert_eq!(
            directives(unit),
            BTreeMap::from([("Type".to_owned(), "exec".to_owned())])
        );
    }

    #[test]
    fn keys_of_a_documented_configuration() {
        let text = "# Prose = not a key.\n#transport = \"auto\"\ntor = \"t\"\n[log]\n# level = \"info\"\n#[[alert]]\n#url = \"x\"\n";
        let keys = documented_keys(text);
        assert_eq!(
            keys.into_iter().collect::<Vec<_>>(),
            ["alert.url", "log.level", "tor", "transport"]
        );
    }
}
