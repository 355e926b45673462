//! `cargo xtask dist`: Debian packages, RPMs and an archive of the programs, and a check of what is in them.

mod archive;
mod contents;
mod deb;
mod guest;
mod layout;
mod linked;
mod manual;
mod object;
mod rpm;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use crate::cache::Cache;
use crate::cargo::{cargo, target_folder, workspace};
use crate::cross;
use crate::process::{output, succeed};
use crate::vm::Arch;
use linked::Glibc;

/// The variants of `package.metadata.deb` in Cargo.toml.
const ROLES: &[&str] = &["agent", "controller", "analyzer"];

/// What is packaged: all programs.
const PROGRAMS: &[&str] = &[
    "rpingmesh",
    "rpingmesh-agent",
    "rpingmesh-controller",
    "rpingmesh-analyzer",
];

/// Of everything in the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder of packages and archives. It is not `target/dist`: cargo builds the profile `dist` there.
const FOLDER: &str = "target/packages";

/// What a stripped agent may measure, in bytes.
const LARGEST_AGENT: u64 = 15 << 20;

/// Builds Debian packages, RPMs and an archive into target/packages, with their checksums, and checks them.
///
/// The agent embeds the eBPF object that RPINGMESH_EBPF_OBJECT names, else the one that `cargo xtask ebpf` left. Needs dpkg,
/// rpmbuild (Debian: rpm) and GNU tar; cargo-deb is compiled once into the cache folder.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Processors, separated by commas [default: the host's]. Another one needs what `cargo xtask cross` needs.
    #[arg(long, value_enum, value_delimiter = ',')]
    arch: Vec<Arch>,
    /// Cargo's profile; releases use `dist`.
    #[arg(long, value_enum, default_value_t = Profile::Dist)]
    profile: Profile,
    /// Package the programs that are in the profile's folder already.
    #[arg(long)]
    no_build: bool,
    /// Also install the Debian packages in a guest with systemd, start the units, and remove them.
    #[arg(long)]
    boot: bool,
    /// Of several processors boot only the host's.
    #[arg(skip)]
    boot_host_only: bool,
}

/// The profiles that packages can be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// Optimised across crates: what ships.
    Dist,
    /// Compiled faster: shows that packaging works.
    Ci,
}

impl Profile {
    /// Cargo's name for it.
    fn name(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Ci => "ci",
        }
    }

    /// How rpm compresses: its macro `_binary_payload`.
    fn rpm_payload(self) -> &'static str {
        match self {
            Self::Dist => "w19.zstdio",
            Self::Ci => "w3.zstdio",
        }
    }
}

impl Options {
    /// What CI runs.
    pub(crate) fn for_test() -> Self {
        Self {
            arch: vec![Arch::host()],
            profile: Profile::Ci,
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
    let declared = Glibc::declared()?;
    let folder = workspace().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut made = Vec::new();
    for &arch in processors {
        let build = Build::of(arch, options.profile, options.no_build)?;
        build.check(declared)?;
        manual::make(options.profile)?;
        let others = build.others(&folder, declared)?;
        let packages = build.debian(&cache, &folder, declared)?;
        if options.boot && (arch == Arch::host() || !options.boot_host_only) {
            guest::check(&cache, &packages, arch)?;
        }
        made.extend(packages);
        made.extend(others);
    }
    for file in &made {
        let size = fs::metadata(file)?.len();
        println!("{}  {:.1} MB", file.display(), megabytes(size));
    }
    let sums = archive::checksums(&made, &folder)?;
    println!("{}", sums.display());
    Ok(true)
}

/// The programs for one processor.
struct Build {
    arch: Arch,
    profile: Profile,
    /// Where cargo builds: for another processor not where it builds for the host.
    target: PathBuf,
}

impl Build {
    /// Builds them, or takes what is there.
    fn of(arch: Arch, profile: Profile, no_build: bool) -> Result<Self> {
        let build = Self {
            arch,
            profile,
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
            command.args(["build", "--locked", "--profile", profile.name()]);
            command.args(["--package", "rpingmesh", "--bins"]);
            succeed(&mut command)?;
        } else {
            cross::build_to_ship(arch, profile.name())?;
        }
        Ok(build)
    }

    fn programs(&self) -> PathBuf {
        let mut folder = self.target.clone();
        folder.extend((self.arch != Arch::host()).then(|| self.arch.rust_target()));
        folder.join(self.profile.name())
    }

    /// Whether the packages declare what the programs need, and the agent has its eBPF object.
    fn check(&self, declared: Glibc) -> Result<()> {
        let programs: Vec<PathBuf> = PROGRAMS
            .iter()
            .map(|name| self.programs().join(name))
            .collect();
        let programs: Vec<&Path> = programs.iter().map(PathBuf::as_path).collect();
        linked::check(&programs, declared)?;
        println!(
            "glibc {declared} is what the programs for {} need, and what the packages declare",
            self.arch.gnu()
        );
        let agent = self.programs().join("rpingmesh-agent");
        match object::of(&agent, self.arch.gnu())? {
            object::Embedded::Fit => {}
            object::Embedded::None => {
                let asked_for = env::var_os("RPINGMESH_EBPF_OBJECT").is_some_and(|it| it == "none");
                ensure!(
                    asked_for || self.profile != Profile::Dist,
                    "{} has no eBPF object: run `cargo xtask ebpf` first, or set RPINGMESH_EBPF_OBJECT=none to ship an \
                     agent that cannot follow services",
                    agent.display()
                );
                println!("rpingmesh-agent has no eBPF object: it cannot follow services");
            }
        }
        self.check_size(&agent)
    }

    /// Packs and checks one Debian package for each role.
    fn debian(&self, cache: &Cache, folder: &Path, declared: Glibc) -> Result<Vec<PathBuf>> {
        ROLES
            .iter()
            .map(|role| {
                let package = deb::build(cache, self, role, folder)?;
                deb::check(&package, role, self.arch, declared)
                    .with_context(|| format!("package {}", package.display()))?;
                Ok(package)
            })
            .collect()
    }

    /// Packs and checks the RPMs and the archive.
    fn others(&self, folder: &Path, declared: Glibc) -> Result<Vec<PathBuf>> {
        let programs = self.programs();
        let roles = ROLES
            .iter()
            .map(|&role| Ok((role, layout::of(role, &programs)?)))
            .collect::<Result<rpm::Roles>>()?;
        let mut made = rpm::build(self, &roles, folder)?;
        for ((role, package), files) in ROLES.iter().zip(&made).zip(ROLES.iter().map(|r| &roles[r]))
        {
            rpm::check(package, role, self.arch, files, declared)
                .with_context(|| format!("package {}", package.display()))?;
        }
        let archive = archive::build(self, &roles, folder)?;
        archive::check(&archive, self.arch)
            .with_context(|| format!("archive {}", archive.display()))?;
        made.push(archive);
        Ok(made)
    }

    /// A size limit for releases; programs of the other profile are larger.
    fn check_size(&self, agent: &Path) -> Result<()> {
        let size = fs::metadata(agent)
            .with_context(|| format!("look at {}", agent.display()))?
            .len();
        println!(
            "rpingmesh-agent for {} alone: {:.1} MB",
            self.arch.debian(),
            megabytes(size)
        );
        ensure!(
            size <= LARGEST_AGENT || self.profile != Profile::Dist,
            "{} has {size} bytes, more than {LARGEST_AGENT}",
            agent.display()
        );
        Ok(())
    }
}

/// The variable that the packaging tools take time stamps from, so that the same commit gives the same bytes: as it is set,
/// else the commit's time.
fn source_date() -> Option<(&'static str, String)> {
    const VARIABLE: &str = "SOURCE_DATE_EPOCH";
    let of_the_commit = || {
        let mut git = Command::new("git");
        git.current_dir(workspace())
            .args(["log", "-1", "--format=%ct"]);
        output(&mut git).ok()
    };
    let seconds = env::var(VARIABLE).ok().or_else(of_the_commit)?;
    Some((VARIABLE, seconds.trim().to_owned()))
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
