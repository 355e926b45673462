# The dependencies of all programs, compiled once for them, the lints and the tests.
{
  common,
  craneLib,
  sources,
}:
craneLib.buildDepsOnly {
  inherit (common) pname version;
  src = sources.programs;
  strictDeps = true;
  cargoExtraArgs = "--locked --package rpingmesh";
  # crane empties the members of the workspace, and tokio-postgres calls this one.
  extraDummyScript = ''
    cp --no-preserve=mode ${../../third-party/whoami/src/lib.rs} $out/third-party/whoami/src/lib.rs
  '';
}
