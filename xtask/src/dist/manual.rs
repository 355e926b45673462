//! Man pages and shell completions, made by the programs themselves, where `package.metadata.deb` looks for them.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{cargo, target_folder, workspace};
use crate::process::output;

/// All programs.
const PROGRAMS: &[&str] = &[
    "rpingmesh",
    "rpingmesh-agent",
    "rpingmesh-controller",
    "rpingmesh-analyzer",
];
const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// Makes them in target/dist/manual, with the host's programs: those of the release where they are built, else others.
pub(super) fn make() -> Result<()> {
    let folder = workspace().join("target/dist/manual");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    for name in PROGRAMS {
        let release = target_folder().join("release").join(name);
        let run = |arguments: &[&str]| {
            let mut command = if release.exists() {
                Command::new(&release)
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

/// The files that packages have for one program: mode and path. One man page for it and one for each of its commands.
pub(super) fn expected(name: &str) -> Result<Vec<String>> {
    let folder = workspace()
        .join("target/dist/manual")
        .join(name)
        .join("man");
    let mut files = vec![
        format!("-rw-r--r-- ./usr/share/bash-completion/completions/{name}"),
        format!("-rw-r--r-- ./usr/share/zsh/vendor-completions/_{name}"),
        format!("-rw-r--r-- ./usr/share/fish/vendor_completions.d/{name}.fish"),
    ];
    for page in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let page = page?.file_name();
        // cargo-deb compresses them.
        files.push(format!(
            "-rw-r--r-- ./usr/share/man/man1/{}.gz",
            page.to_string_lossy()
        ));
    }
    ensure!(files.len() > 5, "{} has no man pages", folder.display());
    Ok(files)
}
