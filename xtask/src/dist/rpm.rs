//! RPMs: made by rpmbuild from `packaging/rpm/rpingmesh.spec`, looked into with rpm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::contents::{self, Format};
use super::layout::{self, File};
use super::linked::Glibc;
use super::{Build, ROLES, VERSION};
use crate::cargo::workspace;
use crate::process::{in_path, output};
use crate::vm::Arch;

/// The packages' release; the spec file says the same.
const RELEASE: &str = "1";

/// The files of each role.
pub(super) type Roles = BTreeMap<&'static str, BTreeSet<File>>;

/// Packs all roles.
pub(super) fn build(build: &Build, roles: &Roles, folder: &Path) -> Result<Vec<PathBuf>> {
    ensure!(
        in_path("rpmbuild"),
        "rpmbuild is missing (Debian's package: rpm)"
    );
    let scratch = tempfile::tempdir().context("make a scratch folder")?;
    let (staged, lists) = (scratch.path().join("staged"), scratch.path().join("lists"));
    fs::create_dir_all(&lists).with_context(|| format!("create {}", lists.display()))?;
    for (role, files) in roles {
        for file in files {
            let to = staged.join(file.path.trim_start_matches('/'));
            layout::place(&file.source, &to, file.mode)?;
        }
        fs::write(lists.join(role), list(files)).context("write a list of files")?;
    }
    let top = scratch.path().join("top");
    let mut command = Command::new("rpmbuild");
    command
        .args(["-bb", "--quiet"])
        .args(["--target", &format!("{}-linux", build.arch.gnu())])
        .envs(super::source_date());
    let (top, staged, lists) = (top.display(), staged.display(), lists.display());
    for define in [
        format!("_topdir {top}"),
        format!("_tmppath {top}"),
        format!("_rpmdir {}", folder.display()),
        "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm".to_owned(),
        format!("version_of_programs {VERSION}"),
        format!("staged {staged}"),
        format!("lists {lists}"),
        // The same bytes on every machine.
        "_buildhost rpingmesh".to_owned(),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "clamp_mtime_to_source_date_epoch 1".to_owned(),
        format!("_binary_payload {}", build.profile.rpm_payload()),
    ] {
        command.args(["--define", &define]);
    }
    fs::create_dir_all(scratch.path().join("top")).context("make a scratch folder")?;
    output(command.arg(workspace().join("packaging/rpm/rpingmesh.spec")))?;
    Ok(ROLES
        .iter()
        .map(|role| {
            let arch = build.arch.gnu();
            folder.join(format!("rpingmesh-{role}-{VERSION}-{RELEASE}.{arch}.rpm"))
        })
        .collect())
}

/// What `%files -f` reads.
fn list(files: &BTreeSet<File>) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for folder in own_folders(files) {
        let _ = writeln!(text, "%dir %attr(0755,root,root) {folder}");
    }
    for file in files {
        let kind = if file.is_configuration {
            "%config(noreplace) "
        } else if file.path.starts_with("/usr/share/licenses/") {
            "%license "
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "{kind}%attr({:04o},root,root) {}",
            file.mode, file.path
        );
    }
    text
}

/// Folders that no other package has.
fn own_folders(files: &BTreeSet<File>) -> BTreeSet<String> {
    files
        .iter()
        .flat_map(|file| Path::new(&file.path).ancestors().skip(1))
        .map(|folder| folder.display().to_string())
        .filter(|folder| folder.contains("/rpingmesh"))
        .collect()
}

/// Whether a package is what it should be.
pub(super) fn check(
    package: &Path,
    role: &str,
    arch: Arch,
    files: &BTreeSet<File>,
    declared: Glibc,
) -> Result<()> {
    let name = format!("rpingmesh-{role}");
    // Header and payload have the digests that they say.
    output(
        Command::new("rpm")
            .args(["-K", "--nosignature"])
            .arg(package),
    )?;
    for (tag, value) in [
        ("NAME", name.as_str()),
        ("VERSION", VERSION),
        ("RELEASE", RELEASE),
        ("ARCH", arch.gnu()),
        ("OS", "linux"),
    ] {
        let found = query(package, &format!("%{{{tag}}}"))?;
        ensure!(found == value, "{tag} is {found}, expected {value}");
    }
    check_files(package, role, files)?;
    let requires = query(package, "[%{REQUIRENAME}\n]")?;
    let needed = Glibc::of_requires(&requires)?;
    ensure!(
        needed <= declared,
        "Requires says glibc {needed}, Cargo.toml {declared}"
    );
    ensure!(
        requires.lines().any(|line| line == "/bin/sh"),
        "Requires lacks the shell of its scripts"
    );
    for (tag, script) in scripts(package)? {
        check_script(&script, tag, &format!("{name}.service"))
            .with_context(|| format!("the script {tag}"))?;
    }
    Ok(())
}

fn query(package: &Path, format: &str) -> Result<String> {
    let mut command = Command::new("rpm");
    command.args(["-qp", "--nosignature", "--queryformat", format]);
    output(command.arg(package))
}

/// Paths, modes, owners, configuration files, and contents by their digests.
fn check_files(package: &Path, role: &str, files: &BTreeSet<File>) -> Result<()> {
    let listing = query(
        package,
        "[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} <%{FILEFLAGS:fflags}> <%{FILEDIGESTS}> %{FILENAMES}\n]",
    )?;
    let mut found = BTreeSet::new();
    for line in listing.lines() {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap_or_default();
        let (mode, owner, flags, digest, path) = (next(), next(), next(), next(), next());
        ensure!(owner == "root:root", "{path} belongs to {owner}");
        if mode.starts_with('d') {
            continue;
        }
        found.insert(format!("{mode} {path}"));
        if path.starts_with("/etc/") {
            // Configuration, not replaced.
            ensure!(
                flags == "<cn>",
                "{path} is no configuration file that an update leaves alone: its flags are {flags}"
            );
        }
        let source = files
            .iter()
            .find(|file| file.path == path)
            .with_context(|| format!("{path} is not in Cargo.toml"))?;
        let expected = output(Command::new("sha256sum").arg(&source.source))?;
        ensure!(
            expected.split_whitespace().next() == Some(digest.trim_matches(['<', '>'])),
            "{path} is not {}",
            source.source.display()
        );
    }
    contents::compare(&found, &contents::expected(role, Format::Rpm)?)
}

/// When rpm runs a script.
const SCRIPTS: [&str; 3] = ["POSTIN", "PREUN", "POSTUN"];

fn scripts(package: &Path) -> Result<Vec<(&'static str, String)>> {
    SCRIPTS
        .iter()
        .map(|&tag| Ok((tag, query(package, &format!("%{{{tag}}}"))?)))
        .collect()
}

/// The systemctl calls that a script should make, on removal and on an update. The installation enables and starts
/// nothing.
fn calls(tag: &str, unit: &str, is_removal: bool) -> String {
    match (tag, is_removal) {
        ("PREUN", true) => format!("--no-reload disable --now {unit}\n"),
        ("PREUN", false) => String::new(),
        ("POSTUN", false) => format!("daemon-reload\ntry-restart {unit}\n"),
        _ => "daemon-reload\n".to_owned(),
    }
}

/// Runs a script as rpm does, with a systemctl that records its arguments and fails.
fn check_script(script: &str, tag: &str, unit: &str) -> Result<()> {
    let folder = tempfile::tempdir().context("make a scratch folder")?;
    let (stub, log) = (folder.path().join("systemctl"), folder.path().join("calls"));
    let text = format!("#!/bin/sh\necho \"$@\" >>{}\nexit 1\n", log.display());
    fs::write(&stub, text)
        .and_then(|()| fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)))
        .context("write a stand-in for systemctl")?;
    // The folder that shows that systemd runs.
    let runs = folder.path().join("run");
    fs::create_dir(&runs).context("make a scratch folder")?;
    let script = script.replace("/run/systemd/system", &runs.display().to_string());
    let file = folder.path().join("script");
    fs::write(&file, script).context("write the script")?;
    output(Command::new("sh").arg("-n").arg(&file)).context("it is not shell")?;
    for is_removal in [true, false] {
        fs::write(&log, "").context("empty the list of calls")?;
        let remaining = if is_removal { "0" } else { "1" };
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut command = Command::new("sh");
        command.arg("-e").arg(&file).arg(remaining);
        output(command.env("PATH", path)).context("it fails when systemctl fails")?;
        let found = fs::read_to_string(&log).context("read the list of calls")?;
        let expected = calls(tag, unit, is_removal);
        ensure!(
            found == expected,
            "with {remaining} it asks systemctl for {found:?}, expected {expected:?}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, is_configuration: bool) -> File {
        File {
            path: path.to_owned(),
            source: PathBuf::new(),
            mode: 0o644,
            is_configuration,
        }
    }

    #[test]
    fn lists_name_folders_configuration_and_licences() {
        let files = BTreeSet::from([
            file("/etc/rpingmesh/agent.toml", true),
            file("/usr/share/licenses/rpingmesh-agent/LICENSE-MIT", false),
            file("/usr/share/man/man1/rpingmesh-agent.1", false),
        ]);
        assert_eq!(
            list(&files),
            "%dir %attr(0755,root,root) /etc/rpingmesh\n\
             %dir %attr(0755,root,root) /usr/share/licenses/rpingmesh-agent\n\
             %config(noreplace) %attr(0644,root,root) /etc/rpingmesh/agent.toml\n\
             %license %attr(0644,root,root) /usr/share/licenses/rpingmesh-agent/LICENSE-MIT\n\
             %attr(0644,root,root) /usr/share/man/man1/rpingmesh-agent.1\n"
        );
    }

    #[test]
    fn scripts_are_judged_by_what_they_do() {
        let judge = |tag, script: &str| {
            check_script(script, tag, "a.service").map_err(|error| format!("{error:#}"))
        };
        let removal =
            "if [ \"$1\" -eq 0 ]; then systemctl --no-reload disable --now a.service || :; fi\n";
        assert_eq!(judge("PREUN", removal), Ok(()));
        let error = judge(
            "PREUN",
            "systemctl --no-reload disable --now a.service || :\n",
        );
        assert!(error.unwrap_err().starts_with("with 1 it asks systemctl"));
        let error = judge("PREUN", "systemctl --no-reload disable --now a.service\n");
        assert!(error.unwrap_err().contains("fails when systemctl fails"));
        let error = judge("POSTIN", "if [ -d /run/systemd/system ]; then\n");
        assert!(error.unwrap_err().starts_with("it is not shell"));
        let started = "[ -d /run/systemd/system ] && systemctl enable --now a.service || :\n";
        assert!(judge("POSTIN", started).unwrap_err().contains("expected"));
    }
}
