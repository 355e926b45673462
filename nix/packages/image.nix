# An OCI image with one program: `docker load < result`.
{
  common,
  dockerTools,
  lib,
  program,
}:
dockerTools.buildLayeredImage {
  name = program.meta.mainProgram;
  tag = common.version;
  config = {
    Entrypoint = [ (lib.getExe program) ];
    Cmd = [ "run" ];
  };
}
