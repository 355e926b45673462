//! The flake's images are those of deploy/: the same names, users and start commands, so that Compose and Kubernetes files
//! fit both.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::checkout::Checkout;
use super::report::{Image, Report};

const DOCKERFILE: &str = "deploy/Dockerfile";
/// Folders with files that name images.
const USERS: &[&str] = &["deploy/compose", "deploy/kubernetes"];

pub(crate) fn check(report: &Report, checkout: &Checkout) -> Result<String> {
    ensure!(!report.images.is_empty(), "the flake has no image");
    let dockerfile = checkout.read(DOCKERFILE)?;
    for (output, image) in &report.images {
        compare(output, image, &dockerfile)?;
        let named = references(checkout, &image.name)?;
        let expected = format!("/{}:{}", image.name, image.tag);
        ensure!(
            !named.is_empty(),
            "{output}: no file of {} has an image `…{expected}`",
            USERS.join(", ")
        );
        for (file, reference) in named {
            ensure!(
                reference.ends_with(&expected),
                "{output} is `{}:{}`, {file} has `{reference}`",
                image.name,
                image.tag
            );
        }
    }
    Ok(format!("{} images as in deploy/", report.images.len()))
}

/// With the target of the Dockerfile that has the image's last name.
fn compare(output: &str, image: &Image, dockerfile: &str) -> Result<()> {
    let role = image.name.rsplit('/').next().unwrap_or_default();
    let target = target(dockerfile, role)
        .with_context(|| format!("{output}: {DOCKERFILE} has no target `{role}`"))?;
    let file_name = |path: &String| {
        Path::new(path)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let same = |what: &str, ours: String, theirs: String| {
        ensure!(
            ours == theirs,
            "{output}: {what} is {ours}, {DOCKERFILE} has {theirs} for {role}"
        );
        Ok(())
    };
    let program =
        |words: &[String]| format!("{:?}", words.iter().map(file_name).collect::<Vec<_>>());
    same(
        "the program",
        program(&image.entrypoint),
        program(&target.entrypoint),
    )?;
    same(
        "the start command",
        format!("{:?}", image.cmd),
        format!("{:?}", target.cmd),
    )?;
    same(
        "the user",
        format!("{:?}", image.user),
        format!("{:?}", target.user),
    )
}

/// What a target of a Dockerfile says of its start.
#[derive(Debug, Default, PartialEq, Eq)]
struct Target {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    user: Option<String>,
}

/// Reads `FROM … AS name` to the next `FROM`.
fn target(dockerfile: &str, name: &str) -> Option<Target> {
    let mut lines = dockerfile.lines().skip_while(|line| {
        let mut words = line.split_whitespace().rev();
        !(line.starts_with("FROM ") && words.next() == Some(name) && words.next() == Some("AS"))
    });
    lines.next()?;
    let mut target = Target::default();
    for line in lines.take_while(|line| !line.starts_with("FROM ")) {
        let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words = || serde_json::from_str(rest).unwrap_or_default();
        match instruction {
            "ENTRYPOINT" => target.entrypoint = words(),
            "CMD" => target.cmd = words(),
            "USER" => target.user = Some(rest.trim().to_owned()),
            _ => {}
        }
    }
    Some(target)
}

/// Files, with what their lines `image: …` say, of images that have the last name of `name`.
fn references(checkout: &Checkout, name: &str) -> Result<Vec<(String, String)>> {
    let role = name.rsplit('/').next().unwrap_or_default();
    let mut found = Vec::new();
    for folder in USERS {
        for entry in fs::read_dir(checkout.root().join(folder)).context(*folder)? {
            let path = entry?.path();
            if !path.is_file() {
                continue;
            }
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            for line in text.lines() {
                let line = line.trim().trim_start_matches("- ");
                // Compose: the registry may be a variable, with the folder in its default.
                let reference = line
                    .strip_prefix("image: ")
                    .map(|text| text.replace('}', ""));
                if let Some(reference) =
                    reference.filter(|text| text.contains(&format!("/{role}:")))
                {
                    found.push((format!("{folder}/{file}"), reference));
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_up_to_the_next() {
        let text = "FROM base AS agent\nENTRYPOINT [\"/usr/bin/a\"]\nCMD [\"run\", \"-x\"]\n\
                    FROM base AS other\nUSER 65532\nCMD [\"run\"]\n";
        let agent = target(text, "agent").unwrap();
        assert_eq!(agent.entrypoint, ["/usr/bin/a"]);
        assert_eq!(agent.cmd, ["run", "-x"]);
        assert_eq!(agent.user, None);
        assert_eq!(
            target(text, "other").unwrap().user.as_deref(),
            Some("65532")
        );
        assert_eq!(target(text, "none"), None);
    }
}
