//! `flake.lock` must equal the recorded nodes with their evidence, so a revision or hash that was edited by hand is
//! found.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::checkout::Checkout;
use super::nix::INPUTS;

const RECORDED: &str = "nix/check/lock-nodes.json";

pub(crate) fn check(checkout: &Checkout) -> Result<String> {
    let lock: Value = serde_json::from_str(&checkout.read("flake.lock")?).context("flake.lock")?;
    let recorded: Value = serde_json::from_str(&checkout.read(RECORDED)?).context(RECORDED)?;
    let version = &lock["version"];
    ensure!(version == 7, "flake.lock: version is {version}, expected 7");
    let nodes = lock["nodes"]
        .as_object()
        .context("flake.lock has no nodes")?;
    let root = nodes
        .get("root")
        .context("flake.lock: node root is missing")?;
    for name in nodes.keys().filter(|name| *name != "root") {
        ensure!(
            INPUTS.contains(&name.as_str()),
            "flake.lock: node {name} is no input of the flake that was recorded in {RECORDED}"
        );
    }
    for input in INPUTS {
        ensure!(
            root["inputs"][input] == **input,
            "flake.lock: node root has no input {input}"
        );
        let node = nodes
            .get(*input)
            .with_context(|| format!("flake.lock: node {input} is missing"))?;
        compare(&format!("node {input}"), node, &recorded["nodes"][input])?;
    }
    Ok(format!("{} nodes as recorded", INPUTS.len()))
}

/// Names the first member that differs.
fn compare(place: &str, found: &Value, expected: &Value) -> Result<()> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (key, value) in expected {
                let Some(other) = found.get(key) else {
                    bail!("flake.lock: {place} has no {key}");
                };
                compare(&format!("{place}: {key}"), other, value)?;
            }
            if let Some(key) = found.keys().find(|key| !expected.contains_key(*key)) {
                bail!("flake.lock: {place} has {key}, which {RECORDED} has not");
            }
            Ok(())
        }
        _ => {
            ensure!(
                found == expected,
                "flake.lock: {place} is {found}, {RECORDED} has {expected}"
            );
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::compare;

    #[test]
    fn the_member_that_differs_is_named() {
        let expected = json!({"locked": {"rev": "a", "narHash": "h"}});
        let error = |found| {
            compare("node crane", &found, &expected)
                .unwrap_err()
                .to_string()
        };
        assert!(compare("node crane", &expected.clone(), &expected).is_ok());
        assert_eq!(
            error(json!({"locked": {"rev": "b", "narHash": "h"}})),
            r#"flake.lock: node crane: locked: rev is "b", nix/check/lock-nodes.json has "a""#
        );
        assert_eq!(
            error(json!({"locked": {"rev": "a"}})),
            "flake.lock: node crane: locked has no narHash"
        );
        assert_eq!(
            error(json!({"locked": {"rev": "a", "narHash": "h", "dir": "x"}})),
            "flake.lock: node crane: locked has dir, which nix/check/lock-nodes.json has not"
        );
    }
}
