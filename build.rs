//! Generates the gRPC code from `proto/` with protox: no `protoc` binary is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = [
        "rpingmesh/v1/common.proto",
        "rpingmesh/v1/controller.proto",
        "rpingmesh/v1/analyzer.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
