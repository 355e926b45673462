//! Generates the gRPC code from `proto/` with protox (no `protoc` binary is needed), and chooses the eBPF object that
//! the agent embeds.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use rpingmesh_ebpf_event::architecture::{self, Unfit};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = [
        "rpingmesh/v1/common.proto",
        "rpingmesh/v1/controller.proto",
        "rpingmesh/v1/analyzer.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        // Keys are never shown.
        .skip_debug([".rpingmesh.v1.ClusterKeys"])
        // Keeps the batch encoded.
        .extern_path(
            ".rpingmesh.v1.UploadRequest",
            "crate::rpc::upload::UploadRequest",
        )
        .compile_fds(descriptors)?;
    embed(ebpf_object()?.as_deref())
}

/// Names the object to embed, or says `none`.
const VARIABLE: &str = "RPINGMESH_EBPF_OBJECT";

/// The object for the agent's own target: the one that [`VARIABLE`] names, else with the feature `ebpf-build` one that
/// is built now, else the one that `cargo xtask ebpf` left in `target/ebpf`. Without any of them the agent is built
/// without tracing; the build says so, unless it was asked for, and the agent when it runs. So it is with an object in
/// `target/ebpf` from before objects had their processor's mark; one that was asked for by name is an error then.
fn ebpf_object() -> Result<Option<PathBuf>, Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(None);
    }
    if let Some(named) = env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        if named == "none" {
            return Ok(None);
        }
        let path = PathBuf::from(named);
        if !path.is_file() {
            return Err(format!(
                "{VARIABLE} names {}, which is not a file: build it with `cargo xtask ebpf`, or set {VARIABLE}=none for an \
                 agent without service tracing",
                path.display()
            )
            .into());
        }
        return Ok(Some(path.canonicalize()?));
    }
    if env::var_os("CARGO_FEATURE_EBPF_BUILD").is_some() {
        return built_now().map(Some);
    }
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("target"), PathBuf::from);
    let folder = target.join("ebpf");
    // A path that does not exist would run this script at every build; a folder shows when the object comes.
    if fs::create_dir_all(&folder).is_ok() {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    let object = folder.join(format!("bpfel-{}.o", env::var("CARGO_CFG_TARGET_ARCH")?));
    let why = if !object.is_file() {
        format!("there is no {}", object.display())
    } else if let Err(unfit @ Unfit::Unmarked) = architecture::of(&fs::read(&object)?) {
        println!("cargo::rerun-if-changed={}", object.display());
        format!("{} {unfit}", object.display())
    } else {
        return Ok(Some(object));
    };
    println!(
        "cargo::warning=the agent is built without service tracing: {why}. `cargo xtask ebpf` builds it and says what it \
         needs; {VARIABLE}=none asks for an agent without it"
    );
    Ok(None)
}

/// With aya-build: needs bpf-linker in PATH and the standard library's sources.
#[cfg(feature = "ebpf-build")]
fn built_now() -> Result<PathBuf, Box<dyn Error>> {
    let workspace = format!("{}/ebpf", env::var("CARGO_MANIFEST_DIR")?);
    let package = aya_build::Package {
        name: "rpingmesh-ebpf",
        root_dir: &workspace,
        ..aya_build::Package::default()
    };
    aya_build::build_ebpf([package], aya_build::Toolchain::default()).map_err(|error| {
        format!(
            "the eBPF object does not build: {error:#}. The feature `ebpf-build` needs a nightly toolchain with the \
             component rust-src, and bpf-linker 0.13 in PATH. `cargo xtask ebpf` does with the stable one; without the \
             feature and with {VARIABLE}=none the agent is built without service tracing"
        )
    })?;
    Ok(PathBuf::from(env::var("OUT_DIR")?).join("rpingmesh-ebpf"))
}

#[cfg(not(feature = "ebpf-build"))]
fn built_now() -> Result<PathBuf, Box<dyn Error>> {
    Err("the feature `ebpf-build` is set and was not when this script was built".into())
}

/// Writes what the agent includes: the object's file name and its bytes.
fn embed(object: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let expression = match object {
        None => "None".to_owned(),
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            check(path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!(
                "Some(({name:?}, ::aya::include_bytes_aligned!({:?})))",
                path.display().to_string()
            )
        }
    };
    let file = PathBuf::from(env::var("OUT_DIR")?).join("ebpf_object.rs");
    fs::write(file, expression)?;
    Ok(())
}

/// An eBPF object for the kernels of the agent's target.
fn check(path: &Path) -> Result<(), Box<dyn Error>> {
    let wanted = env::var("CARGO_CFG_TARGET_ARCH")?;
    architecture::check(&fs::read(path)?, &wanted).map_err(|unfit| {
        format!(
            "{} {unfit}. `cargo xtask ebpf` builds the objects into target/ebpf: the agent for {wanted} takes \
             bpfel-{wanted}.o. {VARIABLE} names another, {VARIABLE}=none asks for an agent without service tracing",
            path.display()
        )
        .into()
    })
}
