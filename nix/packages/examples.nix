# Examples of rdma-core-sys that scenarios of tests/vm call.
{
  cargoArtifacts,
  common,
  craneLib,
  lib,
  rdma-core,
  sources,
}:
craneLib.buildPackage {
  pname = "rpingmesh-examples";
  inherit (common) version;
  inherit cargoArtifacts;
  src = sources.programs;
  strictDeps = true;
  cargoExtraArgs = "--locked --package rdma-core-sys --examples";
  doCheck = false;
  installPhaseCommand = ''
    install -D -t $out/bin target/release/examples/qp-churn
  '';
  # They open libibverbs at run time: see agent.nix.
  postFixup = ''
    patchelf --add-rpath ${lib.makeLibraryPath [ rdma-core ]} $out/bin/qp-churn
  '';
}
