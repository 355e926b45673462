# On Linux the agent embeds the eBPF object of its processor and finds libibverbs, which it opens at run time, in its
# closure. On macOS it has neither.
{
  buildPackages,
  lib,
  program,
  rdma-core,
  stdenv,
}:
let
  inherit (stdenv.hostPlatform) isLinux;
  arch = stdenv.hostPlatform.parsed.cpu.name;
  # An eBPF object is made on the build platform whatever it will run on.
  object = buildPackages.rpingmesh."ebpf-bpfel-${arch}";
in
program {
  name = "rpingmesh-agent";
  env = lib.optionalAttrs isLinux { RPINGMESH_EBPF_OBJECT = "${object}/rpingmesh-ebpf"; };
  withoutVerbs = false;
  # The loader looks into the run path of the program that calls dlopen. Nothing links to the library, so the entry must
  # come after the hook that removes unused ones.
  postFixup = lib.optionalString isLinux ''
    patchelf --add-rpath ${lib.makeLibraryPath [ rdma-core ]} $out/bin/rpingmesh-agent
  '';
}
