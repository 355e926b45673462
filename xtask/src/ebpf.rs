//! `cargo xtask ebpf`: builds the eBPF objects of both architectures, the same bytes wherever the checkout lies.
//!
//! The programs are Rust for `bpfel-unknown-none`, a target without a prebuilt core library, linked by bpf-linker. The
//! instructions are the same for both architectures but for where a kprobe finds its arguments; a mark in the object says for
//! which it is.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use rpingmesh_ebpf_event::architecture;

use crate::cache::Cache;
use crate::cargo::{cargo_with_sources, target_folder, workspace};
use crate::process::{self, output};
use crate::test::tools::BPF_LINKER;

/// Builds the eBPF objects for x86_64 and aarch64 into target/ebpf/, where the agent's build finds them.
///
/// Needs LLVM 22 with its headers (Debian: llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev; elsewhere name its folder
/// in LLVM_PREFIX) and the standard library's sources (`rustup component add rust-src`, or Debian's rustc-web cargo-web
/// rust-web-src). bpf-linker is compiled once into the cache folder.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// Build a second time in a copy of the sources elsewhere; fail when a byte differs.
    #[arg(long)]
    pub(crate) check_reproducible: bool,
}

/// Processors of the kernels that the objects are for; `bpfel-<name>.o` is the file.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Folders that may hold LLVM's programs where no variable names one: Debian's.
const LLVM: &str = "/usr/lib/llvm-22";

/// Where the sources and their paths in debug information are.
struct Sources {
    /// Holds `ebpf/`.
    root: PathBuf,
    /// Where cargo builds.
    target: PathBuf,
}

/// Builds the objects and prints what they are.
pub(crate) fn run(options: Options) -> Result<bool> {
    let objects = build()?;
    for object in &objects {
        let size = fs::metadata(object)?.len();
        println!("{} ({size} bytes)", object.display());
    }
    if !options.check_reproducible {
        return Ok(true);
    }
    let copy = Copy::create()?;
    let again = build_in(&copy.sources, &copy.root.join("objects"))?;
    let mut same = true;
    for (first, second) in objects.iter().zip(&again) {
        let name = first.file_name().unwrap_or_default().to_string_lossy();
        if fs::read(first)? == fs::read(second)? {
            println!("{name}: a second build in another folder gives the same bytes");
        } else {
            println!("{name}: a second build in another folder gives other bytes");
            same = false;
        }
    }
    Ok(same)
}

/// Builds the objects of this checkout into `target/ebpf/`.
pub(crate) fn build() -> Result<Vec<PathBuf>> {
    let sources = Sources {
        root: workspace(),
        target: target_folder().join("ebpf-build"),
    };
    build_in(&sources, &target_folder().join("ebpf"))
}

fn build_in(sources: &Sources, to: &Path) -> Result<Vec<PathBuf>> {
    let linker = BPF_LINKER.provide(&Cache::open()?)?;
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    ARCHITECTURES
        .iter()
        .map(|arch| {
            let object = to.join(format!("bpfel-{arch}.o"));
            let built = compile(sources, arch, &linker)?;
            strip(&built, &object)?;
            check_mark(&object, arch)?;
            Ok(object)
        })
        .collect()
}

/// Compiles for one architecture and returns the object with its debug information.
fn compile(sources: &Sources, arch: &str, linker: &Path) -> Result<PathBuf> {
    let mut command = cargo_with_sources()?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = command
        .get_envs()
        .find(|(name, _)| *name == "PATH")
        .and_then(|(_, value)| value.map(OsStr::to_owned))
        .unwrap_or(path);
    let folders = linker.parent().map(PathBuf::from).into_iter();
    let path = env::join_paths(folders.chain(env::split_paths(&path)))?;
    let target = sources.target.join(arch);
    command
        .current_dir(sources.root.join("ebpf"))
        .env("PATH", path)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(sources, arch)?)
        // Those of the host's builds.
        .env_remove("RUSTFLAGS")
        .args(["build", "--locked", "--release", "-Zbuild-std=core"])
        .args(["--package", "rpingmesh-ebpf"])
        .args(["--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&target);
    let status = command
        .status()
        .with_context(|| process::describe(&command))?;
    ensure!(
        status.success(),
        "the eBPF programs did not build for {arch}"
    );
    Ok(target.join("bpfel-unknown-none/release/rpingmesh-ebpf"))
}

/// No path of this machine gets into the object.
fn flags(sources: &Sources, arch: &str) -> Result<String> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    let sysroot = sysroot_with_sources()?;
    Ok([
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--remap-path-prefix={}=/src", sources.root.display()),
        format!("--remap-path-prefix={}=/cargo", home.display()),
        format!("--remap-path-prefix={sysroot}=/rust"),
    ]
    .join("\x1f"))
}

fn sysroot_with_sources() -> Result<String> {
    let cargo = cargo_with_sources()?;
    let rustc = cargo
        .get_envs()
        .find(|(name, _)| *name == "RUSTC")
        .and_then(|(_, value)| value)
        .unwrap_or_else(|| OsStr::new("rustc"));
    let sysroot = output(Command::new(rustc).args(["--print", "sysroot"]))?;
    Ok(sysroot.trim().to_owned())
}

/// Without DWARF, which the kernel does not read; BTF stays. An object that stays the same is not written again, so
/// that the agent is not built again either.
fn strip(built: &Path, object: &Path) -> Result<()> {
    let fresh = built.with_extension("stripped");
    output(
        Command::new(llvm_strip()?)
            .arg("-g")
            .arg("-o")
            .arg(&fresh)
            .arg(built),
    )?;
    let bytes = fs::read(&fresh).with_context(|| format!("read {}", fresh.display()))?;
    if fs::read(object).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    fs::write(object, bytes).with_context(|| format!("write {}", object.display()))
}

/// The agent takes the object for `arch` only.
fn check_mark(object: &Path, arch: &str) -> Result<()> {
    let bytes = fs::read(object).with_context(|| format!("read {}", object.display()))?;
    if let Err(unfit) = architecture::check(&bytes, arch) {
        bail!("{} {unfit}", object.display());
    }
    for other in ARCHITECTURES.iter().filter(|other| **other != arch) {
        ensure!(
            architecture::check(&bytes, other).is_err(),
            "{} is taken for {other}, too",
            object.display()
        );
    }
    Ok(())
}

/// LLVM's, because GNU strip does not know BPF.
fn llvm_strip() -> Result<PathBuf> {
    let named = ["LLVM_PREFIX", "LLVM_SYS_221_PREFIX"]
        .into_iter()
        .filter_map(|name| env::var_os(name).map(PathBuf::from));
    let folders = named
        .chain([PathBuf::from(LLVM)])
        .map(|prefix| prefix.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    for folder in folders.chain(env::split_paths(&path)) {
        let program = folder.join("llvm-strip");
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!("llvm-strip is missing: install Debian's llvm-22, or name LLVM's folder in LLVM_PREFIX")
}

/// A copy of the eBPF sources in the system's temporary folder, removed at the end.
struct Copy {
    root: PathBuf,
    sources: Sources,
}

impl Copy {
    fn create() -> Result<Self> {
        let root = env::temp_dir().join(format!("rpingmesh-ebpf-{}", std::process::id()));
        let copy = Self {
            sources: Sources {
                root: root.join("elsewhere"),
                target: root.join("target"),
            },
            root,
        };
        let from = workspace().join("ebpf");
        copy_tree(&from, &copy.sources.root.join("ebpf"))
            .with_context(|| format!("copy {} to {}", from.display(), copy.root.display()))?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root.display());
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            // Nothing built belongs to the sources.
            if entry.file_name() != "target" {
                copy_tree(&entry.path(), &target)?;
            }
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
