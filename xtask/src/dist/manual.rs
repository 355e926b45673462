//! Man pages and shell completions, made by the programs themselves, where `package.metadata.deb` looks for them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::contents::Format;
use super::{PROGRAMS, Profile};
use crate::cargo::{cargo, target_folder, workspace};
use crate::process::output;

const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// Where they are: not among the packages, which are published as they lie there.
fn folder() -> PathBuf {
    workspace().join("target/manual")
}

/// Makes them with programs of the host: those of the profile if they are built, else those of another profile.
pub(super) fn make(profile: Profile) -> Result<()> {
    let folder = folder();
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    for name in PROGRAMS {
        let packaged = target_folder().join(profile.name()).join(name);
        let run = |arguments: &[&str]| {
            let mut command = if packaged.exists() {
                Command::new(&packaged)
            } else {
                let mut command = cargo();
                command.args(["run", "--quiet", "--locked", "--package", "rpingmesh"]);
                command.args(["--bin", name, "--"]);
                command
            };
            output(command.current_dir(workspace()).args(arguments))
        };
        let own = folder.join(name);
        fs::create_dir_all(&own).with_context(|| format!("create {}", own.display()))?;
        let pages = own.join("man");
        let pages = pages.to_str().context("a path that is not text")?;
        run(&["manual", "man", pages])?;
        for shell in SHELLS {
            let script = run(&["manual", "completions", shell])?;
            ensure!(!script.is_empty(), "{name} gave no completions for {shell}");
            let file = own.join(format!("{name}.{shell}"));
            fs::write(&file, script).with_context(|| format!("write {}", file.display()))?;
        }
    }
    Ok(())
}

/// Paths of a package's files about one program: one man page for it and one for each of its commands.
pub(super) fn expected(name: &str, format: Format) -> Result<Vec<String>> {
    let folder = folder().join(name).join("man");
    let (zsh, compressed) = match format {
        Format::Deb => ("vendor-completions", ".gz"),
        Format::Rpm => ("site-functions", ""),
    };
    let mut files = vec![
        format!("/usr/share/bash-completion/completions/{name}"),
        format!("/usr/share/zsh/{zsh}/_{name}"),
        format!("/usr/share/fish/vendor_completions.d/{name}.fish"),
    ];
    for page in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let page = page?.file_name();
        files.push(format!(
            "/usr/share/man/man1/{}{compressed}",
            page.to_string_lossy()
        ));
    }
    ensure!(files.len() > 5, "{} has no man pages", folder.display());
    Ok(files)
}
