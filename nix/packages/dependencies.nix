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
}
