# An OCI image with one role, named and started as deploy/Dockerfile's: `docker load < result`, then push it as
# `<registry>/<role>`, which deploy/compose and deploy/kubernetes name.
{
  common,
  dockerTools,
  lib,
  program,
  # Programs that are there to be called: `docker exec … rpingmesh status`.
  others ? [ ],
}:
let
  role = lib.removePrefix "rpingmesh-" program.meta.mainProgram;
in
dockerTools.buildLayeredImage {
  name = "rpingmesh/${role}";
  tag = common.version;
  contents = [ program ] ++ others;
  config = {
    Entrypoint = [ (lib.getExe program) ];
    Cmd = [
      "run"
      "--config"
      "/etc/rpingmesh/${role}.toml"
    ];
  }
  # The agent is root inside its container: only so do the few capabilities that it is given reach the process.
  // lib.optionalAttrs (role != "agent") { User = "65532"; };
}
