# `nix run .#lab -- --fault …`
{
  cli,
  lib,
  writeShellScriptBin,
}:
(writeShellScriptBin "rpingmesh-lab" ''
  exec ${lib.getExe cli} lab "$@"
'')
