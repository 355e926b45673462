//! `cargo xtask dist`: Debian packages of the three roles, and a check of what is in them.

mod contents;
mod guest;
mod manual;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::cargo::{Profile, cargo, target_folder, workspace};
use crate::cross;
use crate::process::{output, succeed};
use crate::test::tools;
use crate::vm::Arch;

/// The variants of `package.metadata.deb` in Cargo.toml.
const ROLES: &[&str] = &["agent", "controller", "analyzer"];

/// What a stripped agent may measure, in bytes.
const LARGEST_AGENT: u64 = 15 << 20;

/// Builds Debian packages of agent, controller and analyzer into target/dist, and checks them.
///
/// The agent embeds the eBPF object that RPINGMESH_EBPF_OBJECT names, else the one that `cargo xtask ebpf` left.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Processors, separated by commas [default: the host's]. Another one needs what `cargo xtask cross` needs.
    #[arg(long, value_enum, value_delimiter = ',')]
    arch: Vec<Arch>,
    /// Package the programs that are in the release folder already.
    #[arg(long)]
    no_build: bool,
    /// Also install the packages in a Debian guest with systemd, start the units, and remove them.
    #[arg(long)]
    boot: bool,
    /// Of several processors boot only the host's.
    #[arg(skip)]
    boot_host_only: bool,
}

impl Options {
    /// What CI runs.
    pub(crate) fn for_test() -> Self {
        Self {
            arch: vec![Arch::host()],
            no_build: false,
            boot: true,
            boot_host_only: true,
        }
    }
}

/// Builds, checks and lists the packages.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let cache = Cache::open()?;
    let host = [Arch::host()];
    let processors = if options.arch.is_empty() {
        &host[..]
    } else {
        &options.arch
    };
    for &arch in processors {
        let build = Build::of(arch, options.no_build)?;
        let packages = build.packages(&cache)?;
        if options.boot && (arch == Arch::host() || !options.boot_host_only) {
            guest::check(&cache, &packages, arch)?;
        }
        build.check_size()?;
    }
    Ok(true)
}

/// The release programs for one processor.
struct Build {
    arch: Arch,
    /// Where cargo builds: for another processor not where it builds for the host.
    target: PathBuf,
}

impl Build {
    /// Builds them, or takes what is there.
    fn of(arch: Arch, no_build: bool) -> Result<Self> {
        let build = Self {
            arch,
            target: if arch == Arch::host() {
                target_folder()
            } else {
                cross::target_folder()
            },
        };
        if no_build {
            return Ok(build);
        }
        if arch == Arch::host() {
            let mut command = cargo();
            command.args(["build", "--locked", "--release"]);
            command.args(["--package", "rpingmesh", "--bins"]);
            succeed(&mut command)?;
        } else {
            cross::build(arch, Profile::Release)?;
        }
        Ok(build)
    }

    fn programs(&self) -> PathBuf {
        let mut folder = self.target.clone();
        folder.extend((self.arch != Arch::host()).then(|| self.arch.rust_target()));
        folder.join("release")
    }

    /// Packs and checks one package for each role.
    fn packages(&self, cache: &Cache) -> Result<Vec<PathBuf>> {
        let cargo_deb = tools::CARGO_DEB.provide(cache)?;
        manual::make()?;
        let folder = workspace().join("target/dist");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let mut packages = Vec::new();
        for role in ROLES {
            let package = self.package(&cargo_deb, role, &folder)?;
            contents::check(&package, role, self.arch)
                .with_context(|| format!("package {}", package.display()))?;
            let size = fs::metadata(&package)?.len();
            println!("{}  {:.1} MB", package.display(), megabytes(size));
            packages.push(package);
        }
        Ok(packages)
    }

    /// Under the name that Debian's tools expect.
    fn package(&self, cargo_deb: &Path, role: &str, folder: &Path) -> Result<PathBuf> {
        let version = env!("CARGO_PKG_VERSION");
        let name = format!("rpingmesh-{role}_{version}_{}.deb", self.arch.debian());
        let file = folder.join(name);
        let mut command = Command::new(cargo_deb);
        command
            .current_dir(workspace())
            .env("CARGO_TARGET_DIR", &self.target)
            // Called without cargo, hence with the subcommand's name.
            .arg("deb")
            .args(["--package", "rpingmesh", "--variant", role])
            .args(["--no-build", "--no-strip", "--locked"])
            .arg("--output")
            .arg(&file);
        if self.arch != Arch::host() {
            command.args(["--target", self.arch.rust_target()]);
        }
        output(&mut command)?;
        Ok(file)
    }

    fn check_size(&self) -> Result<()> {
        let agent = self.programs().join("rpingmesh-agent");
        let size = fs::metadata(&agent)
            .with_context(|| format!("look at {}", agent.display()))?
            .len();
        println!(
            "rpingmesh-agent for {} alone: {:.1} MB",
            self.arch.debian(),
            megabytes(size)
        );
        ensure!(
            size <= LARGEST_AGENT,
            "{} has {size} bytes, more than {LARGEST_AGENT}",
            agent.display()
        );
        Ok(())
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
